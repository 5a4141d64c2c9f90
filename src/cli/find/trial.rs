//! The trial or the configuration that a name stands for, where it could be several: the best one.

use super::folders::numbers;
use super::name::{Found, is_checkpoint};
use crate::error::{Error, Kind, Result};
use crate::plan::TrialId;
use crate::report::SummaryFile;
use crate::runs::{Description, ExperimentFolder, Status, TrialFolder, list_checkpoints, state_of};

/// The trial that a name stands for: of an experiment the best, of a configuration the first that is complete.
///
/// # Errors
/// Where there is none yet.
pub(in crate::cli) fn trial_of(found: &Found) -> Result<TrialFolder> {
    match found {
        Found::Trial(trial) => Ok(trial.clone()),
        Found::Experiment(folder) => best(folder).map(|id| folder.trial(&id)),
        Found::Configuration(folder, number) => {
            let trials = Description::read(folder)?.trials;
            let mine: Vec<_> = trials.into_iter().filter(|t| t.configuration == *number).map(|t| folder.trial(&t.id)).collect();
            let complete = mine.iter().find(|trial| state_of(trial).status == Status::Completed);
            let trained = || mine.iter().find(|trial| list_checkpoints(&trial.checkpoints()).is_ok_and(|list| !list.is_empty()));
            complete
                .or_else(trained)
                .or(mine.first())
                .cloned()
                .ok_or_else(|| Error::usage(format!("there is no configuration {number} in {}", folder.path().display())))
        }
        Found::Checkpoint(path) => Err(is_checkpoint(path)),
    }
}

/// The first complete trial of the configuration that the report calls the best; the only trial where there is one.
fn best(experiment: &ExperimentFolder) -> Result<TrialId> {
    let trials = Description::read(experiment)?.trials;
    if let [only] = trials.as_slice() {
        return Ok(only.id.clone());
    }
    let complete = |id: &&TrialId| state_of(&experiment.trial(id)).status == Status::Completed;
    let report = SummaryFile::read(experiment)?.unwrap_or_default();
    report.best().and_then(|best| best.trials.iter().find(complete).cloned()).ok_or_else(|| no_best(experiment))
}

/// The number of the configuration that the report calls the best; the only one where there is one.
pub(in crate::cli) fn best_configuration(experiment: &ExperimentFolder) -> Result<usize> {
    if let [only] = numbers(experiment)?.as_slice() {
        return Ok(*only);
    }
    let report = SummaryFile::read(experiment)?.unwrap_or_default();
    let number = report.best().and_then(|best| usize::try_from(best.configuration).ok());
    number.ok_or_else(|| no_best(experiment))
}

fn no_best(experiment: &ExperimentFolder) -> Error {
    let path = experiment.path().display();
    Error::new(Kind::Nothing, format!("the report of {path} ranks no trial yet"))
        .help(format!("name one of its configurations or trials: `votive status {path}` lists them"))
}
