//! Votive: one YAML file describes a family of language-model trainings; `votive run` trains every member, unattended; Parquet files
//! and a report say which configuration predicts the text best, and whether the difference is real.
//!
//! For using it there is the [`guide`]. This page is for who works on it.
//!
//! # From a file to a report
//!
//! An experiment file such as `experiments/quickstart.yaml` is read by [`experiment`] into an [`Experiment`](experiment::Experiment),
//! every problem of it reported at once. [`corpus`] reads the text, splits it, and turns it into tokens that lie in files. [`plan`]
//! expands the sweep into trials, each with all its settings and an id that depends on those, its seed and the text only. [`runs`] says
//! from the folders on disk which of them are over. [`schedule`] starts the rest, a process each, as slots become free, and starts
//! crashed ones again by policy. In that process [`train`] goes on from the newest complete checkpoint, makes the steps of [`model`] and
//! [`optimize`], and hands every row to [`record`], which keeps them in Parquet; the outcome is written last. [`report`] reads the
//! Parquet files with polars and writes tables and a page. [`runner`] is that flow, [`worker`] the process of one trial, and [`cli`] the
//! commands and what they show.
//!
//! # The rooms
//!
//! | module | turns | into |
//! | --- | --- | --- |
//! | [`error`], [`device`], [`terminal`], [`words`], [`random`], [`pulse`], [`durable`] | | what all others stand on: errors, devices, what a terminal shows, numbers in words, random streams, signs of life, whole files |
//! | [`experiment`] | YAML text | an experiment; figment and YAML live only here. [`experiment::reference`] is the table of all settings |
//! | [`rows`] | | what a trial tells while it trains, and the trait that receives it: data without tensors |
//! | [`corpus`] | text | split, tokens, windows, batches; tokenizers lives only here |
//! | [`model`] | a batch | loss and gradients: plain in candle, and the engines for processors and NVIDIA GPUs |
//! | [`optimize`] | gradients | new weights |
//! | [`plan`] | an experiment | trials; no clock, no processes |
//! | [`runs`] | folders | what is over, running, left |
//! | [`train`] | one trial | its rows, checkpoints and scores; knows no YAML, no Parquet, no sweep |
//! | [`record`] | rows | Parquet; parquet lives only here |
//! | [`schedule`] | a plan | started, retried, finished trials: a state machine without a clock, and executors (this machine, a Slurm cluster) |
//! | [`report`] | Parquet | tables, statistics, figures, a page; polars lives only here |
//! | [`runner`], [`worker`] | a file; a trial's folder | the flow of `votive run` without printing; the process of one trial |
//! | [`guide`] | | the pages of `votive guide` |
//! | [`cli`] | a command line | all of that, and what is printed |
//!
//! # The rules of this house
//!
//! 1. The modules are listed below in the order in which the data flows, and **a module uses only modules above it in this list**
//!    (`tests/it/layering.rs` enforces it, and that each library lives in one module only). So `schedule` owns the trait that starts a
//!    trial and [`rows`] the trait that receives a step: who trains, who schedules and who keeps rows do not know each other.
//! 2. Compute, return a value, show it elsewhere. Only [`cli`] prints.
//! 3. Files are written whole or not at all ([`durable`]), and what can be derived is never stored twice.
//! 4. A trial's settings come out of the layers by a typed parse; nothing about them is patched afterwards.
//! 5. What is promised is tested by doing it: trials are killed, disks filled, results compared byte for byte.
//! 6. A file has one subject, and a function can be seen whole: at most 400 and 60 lines, tables and tests aside (`tests/it/size.rs`). The files of
//!    a module use each other in one direction (`tests/it/circles.rs`).
//!
//! # Ten decisions
//!
//! *1. A process a trial.* Memory, panics, errors of a GPU and thread pools stay inside it. The system frees everything, and a trial that
//! is killed takes no other with it. Runner and worker share only the trial's folder and a pipe, so the same worker serves a local run, a
//! cluster and a test.
//!
//! *2. The folder is the database.* A trial's status follows from its outcome, its lock and its attempts each time it is asked for. There
//! is no shut-down path to get wrong: what a kill leaves behind is what the same command goes on from. Process ids were not enough (they
//! are given again); a file lock is released by the system when its holder dies.
//!
//! *3. A trial's id is a hash of what makes it what it is*: its settings in canonical form without those at their default, seed, kind of
//! device and the content of what it reads. So a value added to an axis renames nothing, and nothing is trained twice. How a trial is
//! scored is not in it: final weights stay, and can be scored again.
//!
//! *4. Steps are computed by hand.* candle is the version to read and to test against. As its users write it, a step took 8 times as long
//! as PyTorch's: nearly all of its operations on a processor but products run on one thread, and its reverse pass adds each gradient to a
//! fresh tensor of zeros. Several of its layers cut the gradient without a word (`layer_norm` with a bias, `rms_norm`,
//! `softmax_last_dim`, rotary positions, `sdpa`), its AdamW hides its moments, and its generator on the processor cannot be seeded: a trial
//! could neither be resumed nor repeated. So layers, optimizer and random streams are our own.
//!
//! *5. The same bits on the processor.* A batch is cut into shards by its size and the model's alone, and gradients are added up in that
//! order: the number of threads, slots and micro-batches changes nothing. That makes kills testable, lets one trial stand for another
//! that would be the same ([aliases](guide::clipping)), and shows every mistake at once. Not promised: the same bits on another kind of
//! processor or GPU, with another build, or with a budget in minutes.
//!
//! *6. On NVIDIA GPUs a step is a CUDA graph*, or as many as its size asks for, with kernels that are compiled when they are first needed, so that the ordinary build
//! needs no toolkit. candle's own path was kept as a choice (`run.engine: candle`): with waits and launches taken out a step of
//! a small model still took 19.7 ms where PyTorch took 8: an autograd that allocates cannot be captured as a graph.
//!
//! *7. One set of scored tokens, one context.* Each configuration scored in windows of its own length gives the longest one more to go by.
//! All are ranked in the shortest length, each token once, and their own length stands beside it.
//!
//! *8. Seeds are blocks, each pair has its own variance.* One pooled variance was tried: the spreads of a sweep of learning rates
//! differ thirtyfold, and a loss of 13 % with t = 19 was called tied. The rule now is in `report::inference`, with how often it is wrong.
//!
//! *9. Parquet files of one schema a kind, written again whole while a trial runs.* A Parquet file without its end cannot be read,
//! even where whole row groups were flushed; a single long-lived file would be lost with its writer. The first design had small closed
//! parts for every trial. Now a file is written again at checkpoints and at most every half minute, and only beyond 100,000 rows are
//! there parts, merged at the end.
//!
//! *10. Every setting reads its own text*, from a YAML reader that leaves scalars as they are written. figment's own YAML makes `off` a
//! boolean and `007` a seven, loses the place of a mistake, and stops at the first one. So errors name line and column, all at once, and
//! [one table](experiment::reference) says what each setting is: hints, `votive settings`, the guide's page and the JSON Schema come from
//! it. `schemars`, which makes schemas from Rust types, was not taken: the types read text in words of their own, and each would have
//! needed a schema by hand beside it.
//!
//! Also tried and dropped: expressions by evalexpr (its licence), words in arithmetic (`"full" * 2` is `fullfull` to the expression engine:
//! names and types are checked before anything is evaluated), training of unigram and WordPiece tokenizers (differs from run to run).

pub mod error;

pub mod device;

pub mod terminal;

pub mod words;

pub mod random;

pub mod pulse;

pub mod durable;

pub mod experiment;

pub mod rows;

pub mod corpus;

pub mod model;

pub mod optimize;

pub mod plan;

pub mod runs;

pub mod train;

pub mod record;

pub mod schedule;

pub mod report;

pub mod runner;

pub mod worker;

pub mod guide;

pub mod cli;

/// The program's name and version, as it stands in every record.
pub fn program() -> String {
    concat!("votive ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Hash of the `Cargo.lock` that this program was built with: which version of every dependency is in it.
pub fn lock_file() -> String {
    blake3::hash(include_bytes!("../Cargo.lock")).to_hex().to_string()
}
