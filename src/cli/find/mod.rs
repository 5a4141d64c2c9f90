//! Experiments, configurations, trials and checkpoints by what a person calls them: the same in every command.
//!
//! A name is a folder (of an experiment, a trial or a checkpoint), an experiment's name or its file, a configuration (`quickstart#3`, its number
//! alone where there is one experiment), or a trial's id or the beginning of one. Names and ids are looked for under `--runs`.

mod checkpoint;
mod folders;
mod name;
mod trial;

pub(super) use checkpoint::{at_step, checkpoint_of};
pub(super) use folders::{check_number, experiment_called, experiments, home_of, no_experiment, only_experiment};
pub(super) use name::{Found, as_number, experiment_of, find, is_checkpoint};
pub(super) use trial::{best_configuration, trial_of};
