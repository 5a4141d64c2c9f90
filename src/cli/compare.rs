//! `votive compare`: two configurations or trials side by side.

use std::path::{Path, PathBuf};

use super::args::Compare;
use super::exit_code::Code;
use super::find::{Found, find};
use super::{Failure, print, say};
use crate::error::{Error, Result};
use crate::plan::TrialId;
use crate::report::{Named, Pair, Which};
use crate::runs::ExperimentFolder;

/// Longer digits are the beginning of a trial's id.
const DIGITS: usize = 5;

pub(super) fn execute(arguments: &Compare) -> Result<Code, Failure> {
    let (first, second) = sides(&arguments.first, &arguments.second, &arguments.runs)?;
    let pair = Pair::read(&first, &second)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&pair.json())
            .map_err(|e| Error::internal("the comparison has no JSON form").caused_by(e))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&pair.text())?;
    }
    for damaged in pair.damaged() {
        say(&format!("damaged and left out: {damaged}"));
    }
    Ok(Code::Ok)
}

/// What a name stands for, before it is known which experiment a bare number is of.
enum Asked {
    Named(Named),
    Number(i64),
}

/// Finds both sides: a bare number is a configuration of the other side's experiment, or of the only one there is.
fn sides(first: &str, second: &str, runs: &Path) -> Result<(Named, Named)> {
    let of = |number: i64, folder: &ExperimentFolder| Named { folder: folder.clone(), which: Which::Configuration(number) };
    Ok(match (asked(first, runs)?, asked(second, runs)?) {
        (Asked::Named(a), Asked::Named(b)) => (a, b),
        (Asked::Named(a), Asked::Number(n)) => (a.clone(), of(n, &a.folder)),
        (Asked::Number(n), Asked::Named(b)) => (of(n, &b.folder), b),
        (Asked::Number(m), Asked::Number(n)) => {
            let folder = only_experiment(first, second, runs)?;
            (of(m, &folder), of(n, &folder))
        }
    })
}

fn asked(name: &str, runs: &Path) -> Result<Asked> {
    if let Some((experiment, number)) = name.rsplit_once('#') {
        let number = number.parse().map_err(|_| {
            Error::usage(format!("`{name}` names no configuration")).help("write its number: `quickstart#3`, quoted if alone")
        })?;
        let folder = experiment_called(experiment, runs).ok_or_else(|| {
            Error::usage(format!("there is no experiment `{experiment}`"))
                .help(format!("name a folder, or one under {}", runs.display()))
        })?;
        return Ok(Asked::Named(Named { folder, which: Which::Configuration(number) }));
    }
    if name.len() <= DIGITS
        && !Path::new(name).exists()
        && name.bytes().all(|b| b.is_ascii_digit())
        && let Ok(number) = name.parse()
    {
        return Ok(Asked::Number(number));
    }
    if let Some(folder) = experiment_called(name, runs) {
        return Ok(Asked::Named(Named { folder, which: Which::Best }));
    }
    match find(Path::new(name), runs)? {
        Found::Trial(folder) => {
            let path = std::fs::canonicalize(folder.path()).map_err(|e| Error::io("find", folder.path(), e))?;
            let id = path.file_name().and_then(|name| TrialId::parse(name.to_str()?));
            match (id, path.parent().and_then(Path::parent)) {
                (Some(id), Some(experiment)) => {
                    let folder = shorter(folder.path()).unwrap_or_else(|| experiment.to_owned());
                    Ok(Asked::Named(Named { folder: ExperimentFolder::at(&folder), which: Which::Trial(id) }))
                }
                _ => Err(Error::usage(format!("{} is not in an experiment's folder", folder.path().display()))),
            }
        }
        Found::Checkpoint(path) => Err(Error::usage(format!("{} is a checkpoint, which has no result", path.display()))
            .help("name its trial, or the configuration")),
    }
}

/// The experiment's folder above a trial's, as it was written; `None` where the path as written does not hold it.
fn shorter(trial: &Path) -> Option<PathBuf> {
    let folder = trial.parent()?.parent()?.to_owned();
    ExperimentFolder::at(&folder).experiment_json().is_file().then_some(folder)
}

/// The folder of an experiment by its path, or by its name under `runs`.
fn experiment_called(name: &str, runs: &Path) -> Option<ExperimentFolder> {
    let named = [PathBuf::from(name), runs.join(name)].map(|path| ExperimentFolder::at(&path));
    named.into_iter().find(|folder| !name.is_empty() && folder.experiment_json().is_file())
}

/// The experiment that numbers without a name are of.
fn only_experiment(first: &str, second: &str, runs: &Path) -> Result<ExperimentFolder> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let folders = entries.map(|entry| ExperimentFolder::at(&entry.path()));
    let mut all: Vec<ExperimentFolder> = folders.filter(|folder| folder.experiment_json().is_file()).collect();
    all.sort_by(|a, b| a.path().cmp(b.path()));
    match all.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::usage(format!("there is no experiment under {}", runs.display()))
            .help("say by `--runs` where it is, or name its folder: `runs/quickstart#3`")),
        [some, ..] => {
            let name = some.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let error = Error::usage(format!("there are {} experiments under {}", all.len(), runs.display()));
            Err(error.help(format!("say which: `votive compare {name}#{first} {name}#{second}`")))
        }
    }
}
