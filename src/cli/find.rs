//! Experiments, configurations, trials and checkpoints by what a person calls them: the same in every command.
//!
//! A name is a folder (of an experiment, a trial or a checkpoint), an experiment's name, a configuration (`quickstart#3`, its number
//! alone where there is one experiment), or a trial's id or the beginning of one. Names and ids are looked for under `--runs`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::show::words::thousands;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::plan::{TrialId, choice};
use crate::runs::Description;
use crate::runs::{ExperimentFolder, Outcome, Status, TrialFolder, state_of};
use crate::train::checkpoint::{self, Position, Reason};
use crate::train::recorder::CheckpointKind;

/// Trials, experiments and numbers that an error lists.
const LISTED: usize = 4;
/// Longer digits are the beginning of a trial's id.
const DIGITS: usize = 5;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// An experiment's folder.
    Experiment(ExperimentFolder),
    /// A configuration of an experiment, by its number there.
    Configuration(ExperimentFolder, usize),
    /// A trial's folder.
    Trial(TrialFolder),
    /// A folder with weights.
    Checkpoint(PathBuf),
}

/// Finds what is called so. A folder goes before a name, a whole name before a number, and both before the beginning of an id.
///
/// # Errors
/// Where nothing is called so, with what is called nearly so; where several are.
pub(super) fn find(name: &Path, runs: &Path) -> Result<Found> {
    if let Some(found) = folder(name) {
        return Ok(found);
    }
    let word = name.to_string_lossy();
    if let Some((experiment, number)) = word.rsplit_once('#') {
        return configuration(&word, experiment, number, runs);
    }
    if let Some(found) = folder(&runs.join(name)).filter(|_| !word.is_empty()) {
        return Ok(found);
    }
    if name.is_dir() {
        return Err(empty(name));
    }
    let experiments = experiments(runs);
    if let (Some(number), [only]) = (as_number(&word), experiments.as_slice())
        && numbers(only)?.contains(&number)
    {
        return Ok(Found::Configuration(only.clone(), number));
    }
    let trials = trials(&experiments);
    let hex = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let begun: Vec<_> = trials.iter().filter(|(id, _)| hex && id.starts_with(&*word)).collect();
    match begun.as_slice() {
        [] => Err(nothing(&word, &experiments, &trials, runs)),
        [(_, folder)] => Ok(Found::Trial(TrialFolder::at(folder))),
        several => {
            let what = if word.len() == TrialId::DIGITS { "the id" } else { "the beginning" };
            let shown: Vec<String> = several.iter().take(LISTED).map(|(_, path)| format!("`{}`", path.display())).collect();
            let more = if several.len() > LISTED { ", …" } else { "" };
            let mut help = format!("write more of the id, or name the folder: {}{more}", shown.join(", "));
            if let Some(name) = as_number(&word).and_then(|_| name_of(experiments.first()?)) {
                help += &format!("; a configuration is called `{name}#{word}`");
            }
            Err(Error::usage(format!("`{word}` is {what} of {} trials", several.len())).help(help))
        }
    }
}

/// What lies in a folder, if it is one of ours.
fn folder(path: &Path) -> Option<Found> {
    let (trial, experiment) = (TrialFolder::at(path), ExperimentFolder::at(path));
    if path.join("config.json").is_file() {
        Some(Found::Checkpoint(path.to_owned()))
    } else if trial.job().is_file() {
        Some(Found::Trial(trial))
    } else {
        experiment.experiment_json().is_file().then_some(Found::Experiment(experiment))
    }
}

/// The configuration that `experiment#number` names.
fn configuration(word: &str, experiment: &str, number: &str, runs: &Path) -> Result<Found> {
    let folder = match experiment {
        "" => only_experiment(runs, &|name| format!("`{name}#{number}`"))?,
        name => experiment_called(name, runs).ok_or_else(|| {
            let error = Error::usage(format!("there is no experiment `{name}`"));
            error.help(match near(name, experiments(runs).iter().filter_map(name_of)) {
                Some(near) => format!("did you mean `{near}#{number}`?"),
                None => format!("name a folder, or one under {}", runs.display()),
            })
        })?,
    };
    let wrong =
        || Error::usage(format!("`{word}` names no configuration")).help("write its number: `quickstart#3`, quoted if alone");
    let number = number.parse().map_err(|_| wrong())?;
    check_number(&folder, number)?;
    Ok(Found::Configuration(folder, number))
}

/// Whether an experiment has a configuration of this number.
///
/// # Errors
/// Where it has not, with the numbers that there are.
pub(super) fn check_number(folder: &ExperimentFolder, number: usize) -> Result<()> {
    let numbers = numbers(folder)?;
    if numbers.contains(&number) {
        return Ok(());
    }
    let error = Error::usage(format!("there is no configuration {number} in {}", folder.path().display()));
    Err(error.help(format!("take {}", choice(numbers))))
}

/// The numbers of an experiment's configurations, from the smallest on.
fn numbers(folder: &ExperimentFolder) -> Result<Vec<usize>> {
    let mut numbers: Vec<usize> = Description::read(folder)?.trials.into_iter().map(|trial| trial.configuration).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// A configuration's number alone.
pub(super) fn as_number(word: &str) -> Option<usize> {
    (word.len() <= DIGITS && word.bytes().all(|b| b.is_ascii_digit())).then(|| word.parse().ok()).flatten()
}

/// The folder of an experiment by its path, or by its name under `runs`.
pub(super) fn experiment_called(name: &str, runs: &Path) -> Option<ExperimentFolder> {
    let named = [PathBuf::from(name), runs.join(name)].map(|path| ExperimentFolder::at(&path));
    named.into_iter().find(|folder| !name.is_empty() && folder.experiment_json().is_file())
}

/// The experiment that is meant where none is named; `example` writes what would name it.
///
/// # Errors
/// Where there is none, or several.
pub(super) fn only_experiment(runs: &Path, example: &dyn Fn(&str) -> String) -> Result<ExperimentFolder> {
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
pub(super) fn no_experiment(runs: &Path) -> Error {
    Error::new(Kind::Nothing, format!("there is no experiment under {}", runs.display()))
        .help("say by `--runs` where it is, or start one: `votive run experiments/quickstart.yaml`")
}

/// Every experiment under `runs`, by name.
pub(super) fn experiments(runs: &Path) -> Vec<ExperimentFolder> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let folders = entries.map(|entry| ExperimentFolder::at(&entry.path()));
    let mut all: Vec<ExperimentFolder> = folders.filter(|folder| folder.experiment_json().is_file()).collect();
    all.sort_by(|a, b| a.path().cmp(b.path()));
    all
}

fn name_of(folder: &ExperimentFolder) -> Option<String> {
    folder.path().file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Every trial of these experiments: its id and its folder, by id.
fn trials(experiments: &[ExperimentFolder]) -> Vec<(String, PathBuf)> {
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

/// That a folder is none of ours, with those below it.
fn empty(path: &Path) -> Error {
    let error = Error::new(Kind::Nothing, format!("there is no experiment in {}, nor a trial or a checkpoint", path.display()));
    error.help(match experiments(path).first().and_then(name_of) {
        Some(name) => format!("it holds experiments: name one, as in `{}`", path.join(name).display()),
        None => "name a folder such as `runs/quickstart`".to_owned(),
    })
}

/// That nothing is called so, with what is called nearly so.
fn nothing(word: &str, experiments: &[ExperimentFolder], trials: &[(String, PathBuf)], runs: &Path) -> Error {
    let names = trials.iter().map(|(id, _)| id.clone()).chain(experiments.iter().filter_map(name_of));
    let help = match (near(word, names), experiments) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => format!("there are no experiments under {}: say by `--runs` where they are", runs.display()),
        (None, [_]) => "`votive status` lists the trials with their ids".to_owned(),
        (None, several) => {
            let shown: Vec<String> = several.iter().take(LISTED).filter_map(name_of).map(|name| format!("`{name}`")).collect();
            let more = if several.len() > LISTED { ", …" } else { "" };
            match as_number(word).and_then(|_| name_of(&several[0])) {
                Some(name) => format!("a number alone does not say of which experiment: write `{name}#{word}`"),
                None => format!("there are {}{more}; `votive status` lists the trials with their ids", shown.join(", ")),
            }
        }
    };
    Error::usage(format!("there is no experiment, configuration, trial or checkpoint `{word}`")).help(help)
}

/// The name that is nearest to a word, if one is near.
fn near(word: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let near = names.map(|name| (strsim::damerau_levenshtein(word, &name), name));
    near.filter(|(distance, name)| 3 * distance <= name.len()).min().map(|(_, name)| name)
}

/// The experiment's folder that a trial's lies in, and the trial's id: the path as it was written where that holds the
/// experiment.
///
/// # Errors
/// Where it lies in none.
pub(super) fn home_of(trial: &TrialFolder) -> Result<(ExperimentFolder, TrialId)> {
    let whole = std::fs::canonicalize(trial.path()).map_err(|e| Error::io("find", trial.path(), e))?;
    let above = |path: &Path| Some(ExperimentFolder::at(path.parent()?.parent()?)).filter(|f| f.experiment_json().is_file());
    let id = whole.file_name().and_then(|name| TrialId::parse(name.to_str()?));
    let experiment = above(trial.path()).or_else(|| above(&whole));
    experiment.zip(id).ok_or_else(|| {
        let error = Error::usage(format!("{} is not in an experiment's folder", trial.path().display()));
        error.help("name the trial where it was trained: `votive status` lists them")
    })
}

/// The experiment that a name belongs to: itself, or the one of a configuration or a trial.
///
/// # Errors
/// Where it belongs to none.
pub(super) fn experiment_of(found: &Found) -> Result<ExperimentFolder> {
    match found {
        Found::Experiment(folder) | Found::Configuration(folder, _) => Ok(folder.clone()),
        Found::Trial(trial) => Ok(home_of(trial)?.0),
        Found::Checkpoint(path) => Err(is_checkpoint(path)),
    }
}

/// That a checkpoint stands for nothing but its weights.
pub(super) fn is_checkpoint(path: &Path) -> Error {
    Error::usage(format!("{} is a checkpoint, which has no result", path.display())).help("name its trial, or the configuration")
}

/// The trial that a name stands for: of an experiment the best, of a configuration the first that is complete.
///
/// # Errors
/// Where there is none yet.
pub(super) fn trial_of(found: &Found) -> Result<TrialFolder> {
    match found {
        Found::Trial(trial) => Ok(trial.clone()),
        Found::Experiment(folder) => best(folder).map(|id| folder.trial(&id)),
        Found::Configuration(folder, number) => {
            let trials = Description::read(folder)?.trials;
            let mine: Vec<_> = trials.into_iter().filter(|t| t.configuration == *number).map(|t| folder.trial(&t.id)).collect();
            let complete = mine.iter().find(|trial| state_of(trial).status == Status::Completed);
            let trained = || mine.iter().find(|trial| checkpoint::list(&trial.checkpoints()).is_ok_and(|list| !list.is_empty()));
            complete
                .or_else(trained)
                .or(mine.first())
                .cloned()
                .ok_or_else(|| Error::usage(format!("there is no configuration {number} in {}", folder.path().display())))
        }
        Found::Checkpoint(path) => Err(is_checkpoint(path)),
    }
}

/// The first trial of the configuration that the report has first; the only trial where there is one.
fn best(experiment: &ExperimentFolder) -> Result<TrialId> {
    let trials = Description::read(experiment)?.trials;
    if let [only] = trials.as_slice() {
        return Ok(only.id.clone());
    }
    let ids = ranked_first(experiment)?.map(|first| first.trials).unwrap_or_default();
    let complete = |id: &TrialId| state_of(&experiment.trial(id)).status == Status::Completed;
    ids.into_iter().find(complete).ok_or_else(|| no_best(experiment))
}

/// The number of the configuration that the report has first; the only one where there is one.
pub(super) fn best_configuration(experiment: &ExperimentFolder) -> Result<usize> {
    if let [only] = numbers(experiment)?.as_slice() {
        return Ok(*only);
    }
    ranked_first(experiment)?.map(|first| first.configuration).ok_or_else(|| no_best(experiment))
}

/// What the report says of the configuration that it has first.
struct First {
    configuration: usize,
    trials: Vec<TrialId>,
}

fn ranked_first(experiment: &ExperimentFolder) -> Result<Option<First>> {
    let report: Option<Value> = durable::read_json(&experiment.report().join("summary.json"))?;
    let first = report.as_ref().map(|report| &report["configurations"][0]).filter(|first| first["place"] == 1);
    Ok(first.and_then(|first| {
        let trials = first["trials"].as_array()?.iter().filter_map(|id| TrialId::parse(id.as_str()?)).collect();
        Some(First { configuration: usize::try_from(first["configuration"].as_u64()?).ok()?, trials })
    }))
}

fn no_best(experiment: &ExperimentFolder) -> Error {
    let path = experiment.path().display();
    Error::new(Kind::Nothing, format!("the report of {path} ranks no trial yet"))
        .help(format!("name one of its configurations or trials: `votive status {path}` lists them"))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Folders of experiments with these trials: beginning of the id (made up to its length), configuration.
    fn runs(experiments: &[(&str, &[(&str, usize)])]) -> tempfile::TempDir {
        let runs = tempfile::tempdir().unwrap();
        for (name, trials) in experiments {
            let folder = ExperimentFolder::new(runs.path(), name);
            let listed = trials.iter().map(|(id, n)| json!({"id": whole(id), "configuration": n, "seed": 1, "label": ""}));
            let json = json!({"name": name, "trials": listed.collect::<Vec<_>>()});
            std::fs::create_dir_all(folder.path()).unwrap();
            durable::write_json(&folder.experiment_json(), &json).unwrap();
            for (id, _) in *trials {
                let trial = folder.trial(&TrialId::parse(&whole(id)).unwrap());
                std::fs::create_dir_all(trial.path()).unwrap();
                std::fs::write(trial.job(), "{}").unwrap();
            }
        }
        runs
    }

    fn whole(id: &str) -> String {
        format!("{id:0<12}")
    }

    fn said(name: &str, runs: &Path) -> String {
        let error = find(Path::new(name), runs).unwrap_err();
        format!("{error}; {}", error.help_text().unwrap_or_default()).replace(&*runs.to_string_lossy(), "RUNS")
    }

    #[test]
    fn every_name_leads_to_what_is_called_so() {
        let runs = runs(&[("night", &[("12ab", 1), ("12cd", 2), ("9e", 7)])]);
        let runs = runs.path();
        let night = ExperimentFolder::new(runs, "night");
        let path = night.path().to_string_lossy().into_owned();
        let found = |name: &str| find(Path::new(name), runs).unwrap();
        for name in ["night", &path] {
            assert_eq!(found(name), Found::Experiment(night.clone()), "{name}");
        }
        for name in ["night#2", &format!("{path}#2"), "#2", "2"] {
            assert_eq!(found(name), Found::Configuration(night.clone(), 2), "{name}");
        }
        let trial = night.trial(&TrialId::parse(&whole("12cd")).unwrap());
        for name in ["12c", &whole("12cd"), &trial.path().to_string_lossy(), &format!("night/trials/{}", whole("12cd"))] {
            assert_eq!(found(name), Found::Trial(trial.clone()), "{name}");
        }
        assert_eq!(found("9"), Found::Trial(night.trial(&TrialId::parse(&whole("9e")).unwrap())), "there is no configuration 9");
        std::fs::create_dir(trial.path().join("step")).unwrap();
        std::fs::write(trial.path().join("step/config.json"), "{}").unwrap();
        let checkpoint = trial.path().join("step");
        assert_eq!(found(&checkpoint.to_string_lossy()), Found::Checkpoint(checkpoint.clone()));
        assert_eq!(home_of(&trial).unwrap().0, night);
    }

    #[test]
    fn an_experiment_may_be_called_as_an_id_begins() {
        let runs = runs(&[("abc", &[("abc1", 1)])]);
        assert!(matches!(find(Path::new("abc"), runs.path()).unwrap(), Found::Experiment(_)), "a whole name goes before a part");
        assert!(matches!(find(Path::new("abc1"), runs.path()).unwrap(), Found::Trial(_)));
    }

    #[test]
    fn what_is_not_found_or_found_twice_is_said_with_what_there_is() {
        let runs_of_two = runs(&[("night", &[("12ab", 1), ("12cd", 2), ("9e", 7)]), ("day", &[("12ab", 1)])]);
        let two = runs_of_two.path();
        let one = runs(&[("night", &[("12ab", 1)])]);
        std::fs::create_dir(two.join("other")).unwrap();
        let told: Vec<String> = [
            said("12", two),
            said(&whole("12ab"), two),
            said("nigth", two),
            said("nigth#2", two),
            said("night#3", two),
            said("day#3", two),
            said("night#x", two),
            said("#1", two),
            said("1", two),
            said("77", two),
            said("zebra", two),
            said("zebra", one.path()),
            said("zebra", &two.join("nowhere")),
            said(&two.join("other").to_string_lossy(), two),
            said(&two.to_string_lossy(), two),
        ]
        .into();
        insta::assert_snapshot!(told.join("\n"));
    }
}
