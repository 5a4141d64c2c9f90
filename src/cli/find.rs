//! Trials and checkpoints by what a person calls them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::figures::thousands;
use super::session::Summary;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::plan::TrialId;
use crate::runs::{ExperimentFolder, Outcome, Status, TrialFolder, state_of};
use crate::train::checkpoint::{self, Position, Reason};
use crate::train::recorder::CheckpointKind;

/// Trials that an ambiguous name lists.
const LISTED: usize = 4;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A trial's folder.
    Trial(TrialFolder),
    /// A folder with weights.
    Checkpoint(PathBuf),
}

/// Finds what is called so: a folder (of a checkpoint, a trial or an experiment), else a trial's id or the beginning of one, else an
/// experiment's name. Ids and names are looked for under `runs`.
///
/// # Errors
/// Where nothing is called so, with what is called nearly so; where several trials are.
pub(super) fn find(name: &Path, runs: &Path) -> Result<Found> {
    if name.is_dir() {
        return folder(name);
    }
    let word = name.to_string_lossy();
    let trials = trials(runs);
    let hex = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let begun: Vec<_> = trials.iter().filter(|(id, _)| hex && id.starts_with(&*word)).collect();
    match begun.as_slice() {
        [] => {}
        [(_, folder)] => return Ok(Found::Trial(TrialFolder::at(folder))),
        several => {
            let error = Error::usage(format!("`{word}` is the beginning of {} trials", several.len()));
            let shown: Vec<String> = several.iter().take(LISTED).map(|(_, path)| format!("`{}`", path.display())).collect();
            let more = if several.len() > LISTED { ", …" } else { "" };
            return Err(error.help(format!("write more of the id, or name the folder: {}{more}", shown.join(", "))));
        }
    }
    let experiment = runs.join(name);
    if experiment.is_dir() {
        return folder(&experiment);
    }
    let help = match (near(&word, &trials, runs), trials.is_empty()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, true) => format!("there are no trials under {}: say by `--runs` where they are", runs.display()),
        (None, false) => "`votive status` lists the trials with their ids".to_owned(),
    };
    Err(Error::usage(format!("there is no trial, checkpoint or experiment `{word}`")).help(help))
}

/// What lies in a folder.
fn folder(path: &Path) -> Result<Found> {
    if path.join("config.json").is_file() {
        return Ok(Found::Checkpoint(path.to_owned()));
    }
    let trial = TrialFolder::at(path);
    if trial.job().is_file() {
        return Ok(Found::Trial(trial));
    }
    let experiment = ExperimentFolder::at(path);
    if !experiment.experiment_json().is_file() {
        let error = Error::usage(format!("{} is neither a trial's folder nor a checkpoint's", path.display()));
        return Err(error.help("name one that holds `trial.json` or `config.json`"));
    }
    best(&experiment).map(|id| Found::Trial(experiment.trial(&id)))
}

/// The first trial of the configuration that the report has first; the only trial where there is one.
fn best(experiment: &ExperimentFolder) -> Result<TrialId> {
    let trials = Summary::read(experiment)?.trials;
    if let [only] = trials.as_slice() {
        return Ok(only.id.clone());
    }
    let report: Option<Value> = durable::read_json(&experiment.report().join("summary.json"))?;
    let first = report.as_ref().map(|report| &report["configurations"][0]).filter(|first| first["place"] == 1);
    let ids = first.and_then(|first| first["trials"].as_array()).into_iter().flatten();
    let complete = |id: &TrialId| state_of(&experiment.trial(id)).status == Status::Completed;
    ids.filter_map(|id| TrialId::parse(id.as_str()?)).find(complete).ok_or_else(|| {
        let path = experiment.path().display();
        Error::new(Kind::Nothing, format!("the report of {path} ranks no trial yet"))
            .help(format!("name one of its trials: `votive status {path}` lists them"))
    })
}

/// Every trial under `runs`: its id and its folder, by id.
fn trials(runs: &Path) -> Vec<(String, PathBuf)> {
    let below = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = below(runs.to_owned()).flat_map(|experiment| below(ExperimentFolder::at(&experiment).trials()));
    let named = folders.filter_map(|path| {
        let id = TrialId::parse(path.file_name()?.to_str()?)?;
        path.join("trial.json").is_file().then(|| (id.to_string(), path))
    });
    let mut trials: Vec<_> = named.collect();
    trials.sort();
    trials
}

/// The id, or the experiment's name, that is nearest to a word, if one is near.
fn near(word: &str, trials: &[(String, PathBuf)], runs: &Path) -> Option<String> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let experiments = entries.filter(|e| ExperimentFolder::at(&e.path()).experiment_json().is_file());
    let names = experiments.filter_map(|entry| entry.file_name().into_string().ok());
    let all = trials.iter().map(|(id, _)| id.clone()).chain(names);
    let near = all.map(|name| (strsim::damerau_levenshtein(word, &name), name));
    near.filter(|(distance, name)| 3 * distance <= name.len()).min().map(|(_, name)| name)
}

/// The checkpoint of a trial that is asked for, and what it is in words.
///
/// # Errors
/// Where there is none yet, or not that one, with those that there are.
pub(super) fn checkpoint_of(trial: &TrialFolder, which: &str) -> Result<(PathBuf, String)> {
    let (trial, alias) = &trained(trial)?;
    let all = checkpoint::list(&trial.checkpoints())?;
    let name = trial.path().display();
    let Some((last, folder)) = all.last() else {
        let status = state_of(trial).status;
        let error = Error::new(Kind::Nothing, format!("the trial {name} has no checkpoint, and is {}", word(status)));
        return Err(match status {
            Status::Running => error.help("wait for the first one: `votive status` says how far it is"),
            Status::Waiting | Status::Interrupted | Status::Failed => {
                error.help("train it: `votive run` of its experiment goes on with it")
            }
            _ => error,
        });
    };
    let position = checkpoint::position(folder)?;
    let step = match which {
        "final" => *last,
        "best" => position.best.map(|best| best.step).ok_or_else(|| {
            Error::new(Kind::Nothing, format!("the trial {name} has no validation loss to be best at"))
                .help("leave out `--checkpoint` to take the last weights")
        })?,
        step => step.replace([',', '_'], "").parse().map_err(|_| {
            Error::usage(format!("`{which}` is not a checkpoint")).help("`--checkpoint` takes `final`, `best`, or a step")
        })?,
    };
    let Some((_, folder)) = all.iter().find(|(there, _)| *there == step) else {
        let steps: Vec<String> = all.iter().map(|(step, _)| step.to_string()).collect();
        let error = Error::usage(format!("the trial {name} has no checkpoint of step {step}"));
        let which = if which == "best" { "the best weights were not kept; there are" } else { "there are" };
        return Err(error.help(format!("{which} checkpoints of step {}", steps.join(", "))));
    };
    Ok((folder.clone(), described(&checkpoint::position(folder)?, &position) + alias))
}

/// The trial that was trained: itself, or the one that an alias is the same as, with words for that.
///
/// # Errors
/// Where the one that was trained is gone.
fn trained(trial: &TrialFolder) -> Result<(TrialFolder, String)> {
    // An outcome that cannot be read takes no checkpoint away.
    let outcome = durable::read_json::<Outcome>(&trial.outcome()).ok().flatten();
    let Some(source) = outcome.and_then(|outcome| outcome.alias_of) else {
        return Ok((trial.clone(), String::new()));
    };
    let path = trial.path().canonicalize().map_err(|e| Error::io("open", trial.path(), e))?;
    let (alias, folder) = (TrialFolder::at(&path), trial.beside(&source));
    let folder = if folder.path().is_dir() { folder } else { alias.beside(&source) };
    if !folder.path().is_dir() {
        let message = format!("the trial {} is the same as {source}, which is gone", trial.path().display());
        return Err(Error::new(Kind::Nothing, message).help("train it: `votive run` of its experiment opens it again"));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((folder, format!("; of trial {source}, which {name} is the same as")))
}

/// `final, step 40`; `best, step 20, validation loss 2.31`; `step 30, the last so far`.
fn described(position: &Position, last: &Position) -> String {
    let step = at_step(position.step);
    let mut words = match position.reason {
        Reason::Kept(CheckpointKind::Final) => format!("final, {step}"),
        _ if last.best.is_some_and(|best| best.step == position.step) => format!("best so far, {step}"),
        _ => step,
    };
    if let Some(loss) = position.validation_loss {
        words += &format!(", validation loss {loss:.3}");
    }
    if last.reason != Reason::Kept(CheckpointKind::Final) {
        words += "; the trial is not complete";
    }
    words
}

/// `step 1,200`.
pub(super) fn at_step(step: u64) -> String {
    format!("step {}", thousands(step))
}

fn word(status: Status) -> String {
    status.name().replace('_', " ")
}
