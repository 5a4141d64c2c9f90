//! The experiments under a folder, with their configurations and trials.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::plan::{TrialId, choice};
use crate::runs::{Description, ExperimentFolder, TrialFolder};

/// The experiment that is meant where none is named; `example` writes what would name it.
///
/// # Errors
/// Where there is none, or several.
pub(in crate::cli) fn only_experiment(runs: &Path, example: &dyn Fn(&str) -> String) -> Result<ExperimentFolder> {
    let all = experiments(runs);
    match all.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(no_experiment(runs)),
        [some, ..] => {
            let name = name_of(some).unwrap_or_default();
            let error = Error::usage(format!("there are {} experiments under {}", all.len(), runs.display()));
            Err(error.help(format!("say which: {}", example(&name))))
        }
    }
}

/// That nothing lies there yet.
pub(in crate::cli) fn no_experiment(runs: &Path) -> Error {
    Error::new(Kind::Nothing, format!("there is no experiment under {}", runs.display()))
        .help("say by `--runs` where it is, or start one: `votive run experiments/quickstart.yaml`")
}

/// Every experiment under `runs`, by name.
pub(in crate::cli) fn experiments(runs: &Path) -> Vec<ExperimentFolder> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let folders = entries.map(|entry| ExperimentFolder::at(&entry.path()));
    let mut all: Vec<ExperimentFolder> = folders.filter(|folder| folder.experiment_json().is_file()).collect();
    all.sort_by(|a, b| a.path().cmp(b.path()));
    all
}

pub(super) fn name_of(folder: &ExperimentFolder) -> Option<String> {
    folder.path().file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Every trial of these experiments: its id and its folder, by id.
pub(super) fn trials(experiments: &[ExperimentFolder]) -> Vec<(String, PathBuf)> {
    let below = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = experiments.iter().flat_map(|experiment| below(experiment.trials()));
    let named = folders.filter_map(|path| {
        let id = TrialId::parse(path.file_name()?.to_str()?)?;
        path.join("trial.json").is_file().then(|| (id.to_string(), path))
    });
    let mut trials: Vec<_> = named.collect();
    trials.sort();
    trials
}

/// The numbers of an experiment's configurations, from the smallest on.
pub(super) fn numbers(folder: &ExperimentFolder) -> Result<Vec<usize>> {
    let mut numbers: Vec<usize> = Description::read(folder)?.trials.into_iter().map(|trial| trial.configuration).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Whether an experiment has a configuration of this number.
///
/// # Errors
/// Where it has not, with the numbers that there are.
pub(in crate::cli) fn check_number(folder: &ExperimentFolder, number: usize) -> Result<()> {
    let numbers = numbers(folder)?;
    if numbers.contains(&number) {
        return Ok(());
    }
    let error = Error::usage(format!("there is no configuration {number} in {}", folder.path().display()));
    Err(error.help(format!("take {}", choice(numbers))))
}

/// The folder of an experiment by its path, or by its name under `runs`.
pub(in crate::cli) fn experiment_called(name: &str, runs: &Path) -> Option<ExperimentFolder> {
    let named = [PathBuf::from(name), runs.join(name)].map(|path| ExperimentFolder::at(&path));
    named.into_iter().find(|folder| !name.is_empty() && folder.experiment_json().is_file())
}

/// The experiment's folder that a trial's lies in, and the trial's id: the path as it was written where that holds the
/// experiment.
///
/// # Errors
/// Where it lies in none.
pub(in crate::cli) fn home_of(trial: &TrialFolder) -> Result<(ExperimentFolder, TrialId)> {
    let whole = std::fs::canonicalize(trial.path()).map_err(|e| Error::io("find", trial.path(), e))?;
    let above = |path: &Path| Some(ExperimentFolder::at(path.parent()?.parent()?)).filter(|f| f.experiment_json().is_file());
    let id = whole.file_name().and_then(|name| TrialId::parse(name.to_str()?));
    let experiment = above(trial.path()).or_else(|| above(&whole));
    experiment.zip(id).ok_or_else(|| {
        let error = Error::usage(format!("{} is not in an experiment's folder", trial.path().display()));
        error.help("name the trial where it was trained: `votive status` lists them")
    })
}
