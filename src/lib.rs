//! Votive: one YAML file describes a family of language-model trainings; `votive run` trains every member with candle,
//! unattended; Parquet files and a report say which configuration predicts the text best.
//!
//! # From a file to a report
//!
//! An experiment file such as `experiments/quickstart.yaml` is read by [`experiment`] into an
//! [`Experiment`](experiment::Experiment), every problem told at once; [`corpus`] reads the text, splits it, and turns it into
//! tokens that lie in files; [`plan`] expands the sweep into trials, each with all its settings and an id that depends on
//! those, its seed and the text only; [`runs`] says from the folders on disk which of them are over; [`schedule`] starts
//! the rest, a process each, as slots become free, and starts crashed ones again by policy; in that process [`train`] goes
//! on from the newest complete checkpoint, makes the steps of [`model`] and [`optimize`], and hands every row to [`record`],
//! which keeps them in Parquet; the outcome is written last; [`report`] reads the Parquet files with polars and writes
//! tables and a page. [`runner`] is that flow, [`worker`] the process of one trial, and [`cli`] the commands and what they show.
//!
//! # The rule of this house
//!
//! The modules are listed below in the order in which the data flows, and **a module uses only modules above it in this
//! list** (`tests/it/layering.rs` enforces it, and that each library lives in one module only). So `schedule` owns the
//! trait that starts a trial and `train` the trait that receives a step: neither knows the other, nor Parquet.
//!
//! # Why is it like this?
//!
//! *Why a process a trial?* Memory, panics, errors of a GPU and thread pools stay inside it; the system frees everything,
//! and a trial that is killed takes no other with it. Runner and worker share only the trial's folder and a pipe.
//!
//! *Why is there no database, and no shut-down path?* The folder is the database: a trial's status is derived from its
//! outcome, its lock and its attempts each time it is asked for. Files are written whole or not at all, so what a kill
//! leaves behind is what the same command goes on from.
//!
//! *Why our own optimizer, layers and random streams?* candle's AdamW hides its moments, several of its layers cut the
//! gradient silently, and its generator on the CPU cannot be seeded: a trial could neither be resumed nor repeated.
//!
//! *What is promised?* On the CPU, the same binary on the same kind of processor gives the same bits for the same trial:
//! whatever the number of kills, slots and resumes. The engine for NVIDIA GPUs promises the same on one kind of GPU with
//! the same libraries; where they are others, an unfinished trial starts over. Not promised: the same bits on another kind
//! of processor or GPU, with another build, or with a budget in minutes.

pub mod error;

pub mod device;

pub mod terminal;

pub mod random;

pub mod pulse;

pub mod durable;

pub mod experiment;

pub mod corpus;

pub mod model;

pub mod optimize;

pub mod plan;

pub mod train;

pub mod runs;

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
