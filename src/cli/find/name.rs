//! What a name stands for.

use std::path::{Path, PathBuf};

use super::folders::{check_number, experiment_called, experiments, home_of, name_of, numbers, only_experiment, trials};
use crate::error::{Error, Kind, Result};
use crate::experiment::{Overrides, load};
use crate::plan::TrialId;
use crate::runs::{ExperimentFolder, TrialFolder};

/// Trials, experiments and numbers that an error lists.
const LISTED: usize = 4;
/// Longer digits are the beginning of a trial's id.
const DIGITS: usize = 5;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Found {
    /// An experiment's folder.
    Experiment(ExperimentFolder),
    /// A configuration of an experiment, by its number there.
    Configuration(ExperimentFolder, usize),
    /// A trial's folder.
    Trial(TrialFolder),
    /// A folder with weights.
    Checkpoint(PathBuf),
}

/// Finds what is called so. A folder goes before a name, that before an experiment file, a whole name before a number, and both before the beginning of an id.
///
/// # Errors
/// Where nothing is called so, with what is called nearly so; where several are.
pub(in crate::cli) fn find(name: &Path, runs: &Path) -> Result<Found> {
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
    if name.extension().is_some_and(|e| e == "yaml" || e == "yml") && name.is_file() {
        return of_file(name, runs);
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

/// The experiment that a file describes, where it has been run.
fn of_file(file: &Path, runs: &Path) -> Result<Found> {
    let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    // One with a mistake in it, made since it was run, is looked for by what the file is called.
    let name = load(file, &Overrides::default()).map_or_else(|_| stem(), |(experiment, _)| experiment.name);
    experiment_called(&name, runs).map(Found::Experiment).ok_or_else(|| {
        let message = format!("the experiment of {} was not run yet: there is no {}", file.display(), runs.join(&name).display());
        Error::new(Kind::Nothing, message).help(format!("`votive run {}` runs it", file.display()))
    })
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

/// A configuration's number alone.
pub(in crate::cli) fn as_number(word: &str) -> Option<usize> {
    (word.len() <= DIGITS && word.bytes().all(|b| b.is_ascii_digit())).then(|| word.parse().ok()).flatten()
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

/// The experiment that a name belongs to: itself, or the one of a configuration or a trial.
///
/// # Errors
/// Where it belongs to none.
pub(in crate::cli) fn experiment_of(found: &Found) -> Result<ExperimentFolder> {
    match found {
        Found::Experiment(folder) | Found::Configuration(folder, _) => Ok(folder.clone()),
        Found::Trial(trial) => Ok(home_of(trial)?.0),
        Found::Checkpoint(path) => Err(is_checkpoint(path)),
    }
}

/// That a checkpoint stands for nothing but its weights.
pub(in crate::cli) fn is_checkpoint(path: &Path) -> Error {
    Error::usage(format!("{} is a checkpoint, which has no result", path.display())).help("name its trial, or the configuration")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::durable;

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
