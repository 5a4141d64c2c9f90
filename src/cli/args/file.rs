//! What is said to the commands that begin with an experiment file.

use std::path::PathBuf;

use clap::Args;

use super::values::{RUNS, environment, setting, slots, stride, tokens};
use crate::error::Result;
use crate::experiment::Overrides;
use crate::experiment::settings::BatchSize;
use crate::runner::Asked;

/// An experiment file with what is laid over it.
#[derive(Debug, Args)]
pub(in crate::cli) struct File {
    /// The experiment file
    pub(in crate::cli) file: PathBuf,
    /// Replace a value of the file: `--set train.batch_size=8`, `--set 'seeds=[1, 2, 3]'`. A swept key is no longer swept; a list,
    /// as in `--set train.batch_size=[8,16]`, makes an axis or replaces it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(in crate::cli) set: Vec<String>,
    /// Refuse more trials than this, before they are expanded
    #[arg(long, value_name = "N", default_value_t = MOST_TRIALS)]
    pub(in crate::cli) max_trials: u64,
}

/// Trials that are allowed where nothing else is said.
const MOST_TRIALS: u64 = 10_000;

impl File {
    pub(in crate::cli) fn overrides(&self) -> Result<Overrides> {
        Ok(Overrides { set: self.set.clone(), environment: environment()? })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Planning {
    #[command(flatten)]
    pub(in crate::cli) file: File,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(in crate::cli) runs: PathBuf,
    /// Only trials for which this holds: `--only 'sequence_length == 128'`, `--only 'configuration in [3, 7] and seed == 1'`
    #[arg(long, value_name = "CONDITION")]
    pub(in crate::cli) only: Option<String>,
    /// Where to train: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`; overrules the file's `run.device`, also where earlier trials ran on another one
    #[arg(long, value_name = "DEVICE")]
    pub(in crate::cli) device: Option<String>,
}

impl Planning {
    /// What is asked for. A device on the command line is chosen as if no trial had run yet.
    pub(in crate::cli) fn asked(&self) -> Result<Asked> {
        let mut overrides = self.file.overrides()?;
        overrides.set.extend(self.device.as_ref().map(|device| format!("run.device={device}")));
        Ok(Asked {
            file: self.file.file.clone(),
            overrides,
            runs: self.runs.clone(),
            only: self.only.clone(),
            limit: self.file.max_trials,
            anew: self.device.is_some(),
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    #[command(flatten)]
    pub(in crate::cli) planning: Planning,
    /// End by this time of the day: `07:00`; replaces the file's `run.until`
    #[arg(long, value_name = "HH:MM")]
    pub(in crate::cli) until: Option<String>,
    /// Where trials are started: `local`, or `slurm`, a job each; replaces the file's `run.on`
    #[arg(long, value_name = "WHERE")]
    pub(in crate::cli) on: Option<String>,
    /// On Slurm: print what would be given to `sbatch` first, and submit nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// On Slurm: leave the run itself to the cluster as a small job, so that no terminal has to stay open
    #[arg(long, conflicts_with = "dry_run")]
    pub(in crate::cli) detach: bool,
    /// Trials at a time on the processor, or jobs at a time on Slurm; replaces the file's `run.slots`
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = slots)]
    pub(in crate::cli) slots: Option<usize>,
    /// Do not measure time and memory before training
    #[arg(long)]
    pub(in crate::cli) no_probe: bool,
    /// Score finished trials again whose scores no longer compare, since a shorter sequence length joined or `evaluate.context` or
    /// `evaluate.max_bytes` changed. Nothing is trained again
    #[arg(long)]
    pub(in crate::cli) rescore: bool,
    /// Go on with this trial although it diverged or did not fit (then with all of its shape), from its newest checkpoint. A completed
    /// one is never trained again; to begin anew, remove its folder
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) retry: Vec<String>,
    /// Train also trials that would come to the same bits as a trained one, whose clip norm never bound (`votive guide clipping`)
    #[arg(long)]
    pub(in crate::cli) no_alias: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Plan {
    #[command(flatten)]
    pub(in crate::cli) planning: Planning,
    /// The whole plan as JSON
    #[arg(long, conflicts_with = "csv")]
    pub(in crate::cli) json: bool,
    /// A row a trial as CSV
    #[arg(long)]
    pub(in crate::cli) csv: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// The text: a file, a pattern such as 'books/*.txt', or the built-in book
    #[arg(default_value = "builtin:keeper")]
    pub(in crate::cli) text: String,
    /// The file to write; without it, one named after the text, in this folder
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) into: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// The experiment file; without one, the four numbers below
    pub(in crate::cli) file: Option<PathBuf>,
    /// Which configuration, by its number (`#` in the plan); without one, the first of the file
    #[arg(long, value_name = "N", requires = "file")]
    pub(in crate::cli) configuration: Option<usize>,
    /// Replace a value of the file, as in `run`
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "file")]
    pub(in crate::cli) set: Vec<String>,
    /// Refuse more trials than this, before they are expanded
    #[arg(long, value_name = "N", default_value_t = MOST_TRIALS)]
    pub(in crate::cli) max_trials: u64,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(in crate::cli) runs: PathBuf,
    /// Tokens of the text
    #[arg(long, value_name = "N", conflicts_with = "file", allow_negative_numbers = true, value_parser = tokens)]
    pub(in crate::cli) tokens: Option<u64>,
    /// Tokens in a window
    #[arg(long, value_name = "L", conflicts_with = "file", allow_negative_numbers = true,
        value_parser = setting("train.sequence_length", |all| all.train.sequence_length))]
    pub(in crate::cli) sequence_length: Option<usize>,
    /// How far the window moves; the default is the sequence length
    #[arg(long, value_name = "S", conflicts_with = "file", allow_negative_numbers = true,
        value_parser = stride)]
    pub(in crate::cli) stride: Option<usize>,
    /// Windows in a step, or `full` for all of them
    #[arg(long, value_name = "B", conflicts_with = "file", allow_negative_numbers = true,
        value_parser = setting("train.batch_size", |all| all.train.batch_size))]
    pub(in crate::cli) batch_size: Option<BatchSize>,
}
