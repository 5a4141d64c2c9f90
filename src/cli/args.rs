//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::device::{Device, Gpu};
use crate::error::{Error, Result};
use crate::experiment::settings::{BatchSize, Budget, Settings};
use crate::experiment::{Overrides, read_setting};
use crate::runner::Asked;

const EXIT_CODES: &str = "\
Exit codes:
    0  everything is done (run: all trials completed)
    1  an error of the system or of votive
    2  the command line or the experiment file is wrong
    3  some trials failed, diverged or did not fit
    4  nothing to report
    5  stopped by the deadline, a full disk, or since the last GPU failed; trials are left
   75  another runner holds this experiment
  130, 143  interrupted by Ctrl-C or SIGTERM; the same command goes on where it stopped

More: `votive guide`, `votive COMMAND --help`, `votive man COMMAND`";

/// What is said where nothing is asked for.
pub(super) const OVERVIEW: &str = "\
Votive trains a family of language models from one YAML file, and says which configuration predicts the text best.

  votive new notes.txt      write a commented experiment file about a text
  votive plan notes.yaml    show its trials; nothing is started
  votive run notes.yaml     train what is missing and report; given again, it goes on where it stopped

  votive guide              how sweeps are written, results compared, nights spent
  votive --help             all commands";

/// What a name may be, the same in all commands.
const NAME: &str = "An experiment (`quickstart`) or its folder, a configuration (`quickstart#3`, or `3` where there is one experiment), or a \
                    trial by its id, the beginning of one, or its folder";
const RUNS: &str = "Where experiments lie";

const RUN: &str = "\
Examples:
    votive run experiments/quickstart.yaml
    votive run overnight.yaml --until 07:00
    votive run quickstart.yaml --only 'sequence_length == 64' --set train.budget.tokens=20000";
const EXPLAIN: &str = "\
Examples:
    votive explain quickstart.yaml --configuration 3
    votive explain --tokens 20000 --sequence-length 512 --stride 256 --batch-size 8";
const COMPARE: &str = "\
Examples:
    votive compare quickstart#3 quickstart#7
    votive compare stride batch-size";
const SAMPLE: &str = "\
Example:
    votive sample quickstart --prompt 'The keeper' --tokens 100";
const COMPLETIONS: &str = "\
Examples:
    votive completions bash > ~/.local/share/bash-completion/completions/votive
    votive completions zsh > ~/.zfunc/_votive      (with ~/.zfunc in $fpath)
    votive completions fish > ~/.config/fish/completions/votive.fish";
const SCHEMA: &str = "\
Write it beside the experiment files, and name it in their first line:
    votive schema > votive.schema.json
    # yaml-language-server: $schema=votive.schema.json";

/// Trains a family of language models from one YAML file, unattended, and says which configuration predicts the text best.
#[derive(Debug, Parser)]
#[command(name = "votive", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Votive {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a commented experiment file to begin with
    New(New),
    /// Say whether an experiment file is right; nothing is read but the file
    Check(File),
    /// Show the trials and what each comes to; nothing is started
    Plan(Plan),
    /// Explain one configuration: its tokens, windows, stride, batches, steps and epochs
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
    /// Train what is missing and report; given again, it goes on where it stopped
    #[command(after_help = RUN)]
    Run(Run),
    /// Show what is done, running, waiting or failed, and why; changes nothing
    Status(Status),
    /// Print the table of results and write the report again; of several experiments, one table
    Report(Report),
    /// Compare two configurations or trials: what differs, by how much, and how sure that is
    #[command(after_help = COMPARE)]
    Compare(Compare),
    /// Let a trained model go on with a text
    #[command(after_help = SAMPLE)]
    Sample(Sample),
    /// Print one configuration as an experiment file of its own
    Show(Show),
    /// Show the guide: its pages, or one of them
    Guide {
        /// The page, or a word for it (`sweeps`, `gpu`, `systemd`); without one, all pages are listed
        #[arg(value_name = "TOPIC")]
        topic: Option<String>,
    },
    /// Show what an experiment file may say: every setting, or one in full
    Settings {
        /// A setting (`train.stride`), a part of its name (`stride`), a section (`train`), or another program's word (`grad_clip`)
        #[arg(value_name = "KEY")]
        key: Option<String>,
    },
    /// Print the JSON Schema of an experiment file, by which editors complete and check it
    #[command(after_help = SCHEMA)]
    Schema,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Show the man page of votive, or of one of its commands
    Man {
        /// The command: `votive man run`
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
        /// Write all pages into this folder, such as ~/.local/share/man/man1
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        into: Option<PathBuf>,
    },
    /// Train one trial: started by `run`
    #[command(hide = true)]
    Worker(Worker),
    /// Write the report beside a run: started by `run`
    #[command(hide = true)]
    WriteReport(WriteReport),
    /// Measure one shape: started by `run`
    #[command(hide = true)]
    Probe(Probe),
    /// Try the engine on a GPU: products, gradients and bits, a line of JSON each
    #[command(hide = true)]
    CheckGpu(CheckGpu),
}

/// An experiment file with what is laid over it.
#[derive(Debug, Args)]
pub(super) struct File {
    /// The experiment file
    pub(super) file: PathBuf,
    /// Replace a value of the file: `--set train.batch_size=8`, `--set 'seeds=[1, 2, 3]'`. A swept key is no longer swept; a list,
    /// as in `--set train.batch_size=[8,16]`, makes an axis or replaces it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

impl File {
    pub(super) fn overrides(&self) -> Result<Overrides> {
        Ok(Overrides { set: self.set.clone(), environment: environment()? })
    }
}

/// The variables that set something; no other leaves the environment, and what others hold is nobody's concern here.
///
/// # Errors
/// One of them that is not UTF-8.
pub(super) fn environment() -> Result<Vec<(String, String)>> {
    let setting = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"VOTIVE_SET__"));
    let texts = setting.map(|(name, value)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(name), Err(_)) => Err(Error::usage(format!("the environment variable `{name}` is not UTF-8"))),
        (Err(name), _) => Err(Error::usage(format!("the name of `{}` is not UTF-8", name.display()))),
    });
    texts.map(|text| text.map_err(|error| error.help("set it anew, or `unset` it"))).collect()
}

/// Reads a flag that stands for a setting as the experiment file reads the setting.
fn setting<T: 'static>(
    key: &'static str,
    of: fn(Settings) -> T,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| read_setting(key, text).map(of)
}

/// How far a window moves; `auto` has no meaning on the command line, where the flag can be left out.
fn stride(text: &str) -> Result<usize, String> {
    read_setting("train.stride", text)?.train.stride.ok_or_else(|| "should be a whole number from 1 up".to_owned())
}

/// How many trials at a time; left out, the program chooses.
fn gpu(text: &str) -> Result<Gpu, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

fn slots(text: &str) -> Result<usize, String> {
    read_setting("run.slots", text)?.run.slots.ok_or_else(|| "should be a whole number from 1 up".to_owned())
}

/// A number of tokens, read as in a budget.
fn tokens(text: &str) -> Result<u64, String> {
    match read_setting("train.budget.tokens", text)?.train.budget {
        Budget::Tokens(tokens) => Ok(tokens),
        other => Err(format!("is no number of tokens: {other:?}")),
    }
}

/// A seed of a sample: any number of 64 bits.
fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

#[derive(Debug, Args)]
pub(super) struct Planning {
    #[command(flatten)]
    pub(super) file: File,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(super) runs: PathBuf,
    /// Only trials for which this holds: `--only 'sequence_length == 128'`, `--only 'configuration in [3, 7] and seed == 1'`
    #[arg(long, value_name = "CONDITION")]
    pub(super) only: Option<String>,
    /// Refuse to plan more trials than this
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(super) max_trials: u64,
    /// Where to train: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`; replaces the file's `run.device`, and where its trials ran before
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Option<String>,
}

impl Planning {
    /// What is asked for. A device on the command line is chosen as if no trial had run yet.
    pub(super) fn asked(&self) -> Result<Asked> {
        let mut overrides = self.file.overrides()?;
        overrides.set.extend(self.device.as_ref().map(|device| format!("run.device={device}")));
        Ok(Asked {
            file: self.file.file.clone(),
            overrides,
            runs: self.runs.clone(),
            only: self.only.clone(),
            limit: self.max_trials,
            anew: self.device.is_some(),
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) planning: Planning,
    /// End by this time of the day: `07:00`; replaces the file's `run.until`
    #[arg(long, value_name = "HH:MM")]
    pub(super) until: Option<String>,
    /// Where trials are started: `local`, or `slurm`, a job each; replaces the file's `run.on`
    #[arg(long, value_name = "WHERE")]
    pub(super) on: Option<String>,
    /// On Slurm: print what would be given to `sbatch` first, and submit nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// On Slurm: leave the run itself to the cluster as a small job, so that no terminal has to stay open
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) detach: bool,
    /// Trials at a time on the processor, or jobs at a time on Slurm; replaces the file's `run.slots`
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = slots)]
    pub(super) slots: Option<usize>,
    /// Do not measure time and memory before training
    #[arg(long)]
    pub(super) no_probe: bool,
    /// Score finished trials again whose scores no longer compare, since a shorter sequence length joined or `evaluate.context` or
    /// `evaluate.max_bytes` changed. Nothing is trained again
    #[arg(long)]
    pub(super) rescore: bool,
    /// Train this trial again, also one that diverged or did not fit
    #[arg(long, value_name = "ID")]
    pub(super) retry: Vec<String>,
    /// Train also trials that would come to the same bits as a trained one, whose clip norm never bound (`votive guide clipping`)
    #[arg(long)]
    pub(super) no_alias: bool,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) planning: Planning,
    /// The whole plan as JSON
    #[arg(long, conflicts_with = "csv")]
    pub(super) json: bool,
    /// A row a trial as CSV
    #[arg(long)]
    pub(super) csv: bool,
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// The text: a file, a pattern such as 'books/*.txt', or the built-in book
    #[arg(default_value = "builtin:keeper")]
    pub(super) text: String,
    /// The file to write; without it, one named after the text, in this folder
    #[arg(long, value_name = "FILE")]
    pub(super) into: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The experiment file; without one, the four numbers below
    pub(super) file: Option<PathBuf>,
    /// Which configuration, by its number (`#` in the plan); without one, the first of the file
    #[arg(long, value_name = "N")]
    pub(super) configuration: Option<usize>,
    /// Replace a value of the file, as in `run`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(super) runs: PathBuf,
    /// Tokens of the text
    #[arg(long, value_name = "N", conflicts_with = "file", allow_negative_numbers = true, value_parser = tokens)]
    pub(super) tokens: Option<u64>,
    /// Tokens in a window
    #[arg(long, value_name = "L", conflicts_with = "file", allow_negative_numbers = true,
        value_parser = setting("train.sequence_length", |all| all.train.sequence_length))]
    pub(super) sequence_length: Option<usize>,
    /// How far the window moves; the default is the sequence length
    #[arg(long, value_name = "S", conflicts_with = "file", allow_negative_numbers = true,
        value_parser = stride)]
    pub(super) stride: Option<usize>,
    /// Windows in a step, or `full` for all of them
    #[arg(long, value_name = "B", conflicts_with = "file", allow_negative_numbers = true,
        value_parser = setting("train.batch_size", |all| all.train.batch_size))]
    pub(super) batch_size: Option<BatchSize>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[arg(value_name = "NAME", help = format!("{NAME}; of an experiment the best configuration is shown"))]
    pub(super) name: PathBuf,
    /// The configuration's number in the table, where the name is an experiment's
    #[arg(value_name = "N")]
    pub(super) configuration: Option<usize>,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(super) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[arg(value_name = "NAME", help = format!("{NAME}; without one, every experiment is shown"))]
    pub(super) name: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(super) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Report {
    #[arg(required = true, value_name = "NAME", help = format!("{NAME}; its whole experiment is reported. Of several, those that were measured \
        alike stand in one table"))]
    pub(super) names: Vec<PathBuf>,
    /// Write the report here; of one experiment the default is its own `report` folder, of several none
    #[arg(long, value_name = "DIR")]
    pub(super) into: Option<PathBuf>,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(super) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct WriteReport {
    /// The experiment's folder
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
    /// Show it on standard output
    #[arg(long)]
    pub(super) show: bool,
}

#[derive(Debug, Args)]
pub(super) struct Compare {
    #[arg(value_name = "A", help = format!("{NAME}; of an experiment the best configuration is taken"))]
    pub(super) first: PathBuf,
    /// The other one
    #[arg(value_name = "B")]
    pub(super) second: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(super) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Sample {
    #[arg(value_name = "NAME", help = format!("{NAME}; of an experiment the best trial is taken. Also a checkpoint's folder"))]
    pub(super) trial: PathBuf,
    /// What the model goes on from; without it, from an empty text
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) prompt: String,
    /// Most tokens; fewer where the text comes to its end
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(super) tokens: usize,
    /// Below 1 likely tokens become likelier, above 1 less so; 0 takes the likeliest each time
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    pub(super) temperature: f64,
    /// Draw from the K likeliest tokens only; 0 draws from all
    #[arg(long, value_name = "K", default_value_t = 50)]
    pub(super) top_k: usize,
    /// The same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = seed)]
    pub(super) seed: u64,
    /// Which weights: `final` (the last ones there are), `best` (lowest validation loss), or a step
    #[arg(long, value_name = "WHICH", default_value = "final")]
    pub(super) checkpoint: String,
    /// Where to compute: `auto`, `cpu`; `cuda`, `cuda:1`, `metal` in a build with that feature
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(super) device: String,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(super) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Probe {
    /// The file that holds the shape; without it, the first line of standard input
    #[arg(long, value_name = "FILE")]
    pub(super) request: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Worker {
    /// The trial's folder, which may lie below one whose name begins with a dash
    #[arg(allow_hyphen_values = true)]
    pub(super) folder: PathBuf,
    /// Score a finished trial again, and train nothing
    #[arg(long)]
    pub(super) score_again: bool,
    /// The number of the attempt; without it, the next one
    #[arg(long)]
    pub(super) attempt: Option<u32>,
    #[arg(long)]
    pub(super) slot: u32,
    #[arg(long)]
    pub(super) threads: u32,
    #[arg(long)]
    pub(super) device: Device,
    /// Which GPU that is, as JSON
    #[arg(long, value_parser = gpu)]
    pub(super) gpu: Option<Gpu>,
    /// The folder in which NVIDIA's libraries are looked for first
    #[arg(long)]
    pub(super) cuda_libraries: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CheckGpu {
    /// The GPU's number
    #[arg(long, default_value_t = 0)]
    pub(super) gpu: u32,
    /// The folder in which NVIDIA's libraries are looked for first
    #[arg(long, value_name = "DIR")]
    pub(super) libraries: Option<PathBuf>,
    /// The folder that keeps compiled kernels
    #[arg(long, value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
    /// Up to which sizes
    #[arg(long, value_enum, default_value_t = Sizes::Usual)]
    pub(super) sizes: Sizes,
}

/// Sizes of the models that a GPU is tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Sizes {
    /// Models that a processor computes in a moment
    Small,
    /// nanoGPT's small one for a processor, too
    Usual,
    /// Those that take a whole GPU, too
    Large,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Votive::command().debug_assert();
    }
}
