//! What is said to the commands that begin with what was trained.

use std::path::PathBuf;

use clap::Args;

use super::values::{NAME, RUNS, seed};

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    #[arg(value_name = "NAME", help = format!("{NAME}; of an experiment the best configuration is shown"))]
    pub(in crate::cli) name: PathBuf,
    /// The configuration's number in the table, where the name is an experiment's
    #[arg(value_name = "N")]
    pub(in crate::cli) configuration: Option<usize>,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(in crate::cli) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    #[arg(value_name = "NAME", help = format!("{NAME}; without one, every experiment is shown"))]
    pub(in crate::cli) name: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long)]
    pub(in crate::cli) watch: bool,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(in crate::cli) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Report {
    #[arg(required = true, value_name = "NAME", help = format!("{NAME}; its whole experiment is reported. Of several, those that were measured \
        alike stand in one table"))]
    pub(in crate::cli) names: Vec<PathBuf>,
    /// Write the report here; of one experiment the default is its own `report` folder, of several none
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) into: Option<PathBuf>,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(in crate::cli) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Compare {
    #[arg(value_name = "A", help = format!("{NAME}; of an experiment the best configuration is taken"))]
    pub(in crate::cli) first: PathBuf,
    /// The other one
    #[arg(value_name = "B")]
    pub(in crate::cli) second: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(in crate::cli) runs: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Sample {
    #[arg(value_name = "NAME", help = format!("{NAME}; of an experiment the best trial is taken. Also a checkpoint's folder"))]
    pub(in crate::cli) trial: PathBuf,
    /// What the model goes on from; without it, from an empty text
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(in crate::cli) prompt: String,
    /// Most tokens; fewer where the text comes to its end
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(in crate::cli) tokens: usize,
    /// Below 1 likely tokens become likelier, above 1 less so; 0 takes the likeliest each time
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    pub(in crate::cli) temperature: f64,
    /// Draw from the K likeliest tokens only; 0 draws from all
    #[arg(long, value_name = "K", default_value_t = 50)]
    pub(in crate::cli) top_k: usize,
    /// The same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = seed)]
    pub(in crate::cli) seed: u64,
    /// Which weights: `final` (the last ones there are), `best` (lowest validation loss), or a step
    #[arg(long, value_name = "WHICH", default_value = "final")]
    pub(in crate::cli) checkpoint: String,
    /// Where to compute: `auto`, `cpu`; `cuda`, `cuda:1`, `metal` in a build with that feature
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(in crate::cli) device: String,
    #[arg(long, value_name = "DIR", default_value = "runs", help = RUNS)]
    pub(in crate::cli) runs: PathBuf,
}
