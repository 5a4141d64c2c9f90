//! The two sides of a comparison, found in their experiments.

use crate::error::{Error, Kind, Result};
use crate::plan::{TrialId, choice};
use crate::report::ranking::Ranking;
use crate::report::subject::{Subject, subjects};
use crate::report::wording;
use crate::runs::{ExperimentFolder, Status};

/// A configuration or a trial, by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The experiment's folder.
    pub folder: ExperimentFolder,
    /// Which one there.
    pub which: Which,
}

/// Which configuration or trial of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The configuration of this number, with all its complete trials.
    Configuration(i64),
    /// This trial alone.
    Trial(TrialId),
    /// The best one, as the report names it.
    Best,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Side {
    /// Where it lies.
    pub(super) folder: ExperimentFolder,
    /// Its experiment's name.
    pub(super) experiment: String,
    /// Its number there.
    pub(super) configuration: i64,
    /// The number by which the report's figures have it: where its tokenizer came to the same as another's, that of the other one.
    pub(super) stands_as: i64,
    /// Where it is a single trial: which.
    pub(super) trial: Option<String>,
    /// Its swept settings, as a run's lines have them.
    pub(super) name: String,
    /// Its complete trials.
    pub(super) subjects: Vec<Subject>,
    /// What its experiment sweeps.
    pub(super) swept: Vec<String>,
    /// The values of that, as the file has them.
    values: Vec<String>,
    /// Whether its tokenizer is known to give every text back.
    pub(super) is_lossless: bool,
    /// The figure that is compared: `common`, `best_native` …
    pub(super) score: &'static str,
    /// Relative differences under this are not worth a choice in its experiment.
    pub(super) margin: f64,
}

impl Side {
    /// The value of a setting, as its file writes it where it is swept there.
    pub(super) fn value(&self, key: &str, otherwise: &str) -> String {
        let written = self.swept.iter().position(|swept| swept == key).and_then(|place| self.values.get(place));
        written.cloned().unwrap_or_else(|| otherwise.to_owned())
    }

    /// Mean of its trials' figures, in loss or in bits per byte.
    pub(super) fn mean(&self, by_bytes: bool) -> f64 {
        let values = self.subjects.iter().filter_map(|s| if by_bytes { s.bits_per_byte } else { s.loss });
        let values: Vec<f64> = values.collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    }
}

/// Finds both sides, by the figure that ranks in both experiments; and the ranking of the first one's experiment.
pub(super) fn read(first: &Named, second: &Named, damaged: &mut Vec<String>) -> Result<(Side, Side, Ranking)> {
    let (a, b) = (Ranking::read(&first.folder, damaged)?, Ranking::read(&second.folder, damaged)?);
    // Where each ranks by another figure, the one that every experiment has is taken for both.
    let score = if a.design.score() == b.design.score() { a.design.score() } else { "common" };
    let (first, second) = (side(first, &a, score)?, side(second, &b, score)?);
    Ok((first, second, a))
}

fn side(named: &Named, ranking: &Ranking, score: &'static str) -> Result<Side> {
    let path = named.folder.path().display();
    let all = subjects(&ranking.trials, score)?;
    let (configuration, trial) = asked(named, ranking, &all)?;
    let mine = |s: &&Subject| s.configuration == configuration && trial.as_ref().is_none_or(|id| *id == s.id);
    let subjects: Vec<Subject> = all.iter().filter(mine).filter(|s| s.counts()).cloned().collect();
    if subjects.is_empty() {
        let what = match &trial {
            Some(id) => format!("the trial {id} of {path}"),
            None => format!("configuration {configuration} of {path}"),
        };
        let status = all.iter().find(mine).map_or(Status::Waiting, |s| s.status).words();
        let error = Error::new(Kind::Nothing, format!("{what} has no result to compare, and is {status}"));
        return Err(error.help(format!("`votive status {path}` says how it stands")));
    }
    let shown = ranking.comparison.configuration(configuration);
    let tokenizer = subjects[0].setting("tokenizer").unwrap_or_default();
    let is_lossless = ranking.design.is_lossless(tokenizer, subjects[0].content.tokenizer.as_deref());
    Ok(Side {
        folder: named.folder.clone(),
        experiment: ranking.design.name.clone(),
        configuration,
        stands_as: shown.map_or(configuration, |c| c.number),
        trial,
        name: shown.map(|c| wording::named(&ranking.design.swept, &c.values)).unwrap_or_default(),
        subjects,
        swept: ranking.design.swept.clone(),
        values: shown.map(|c| c.values.clone()).unwrap_or_default(),
        is_lossless,
        score,
        margin: ranking.design.margin,
    })
}

/// The configuration that is asked for, and the trial where it is one alone.
fn asked(named: &Named, ranking: &Ranking, all: &[Subject]) -> Result<(i64, Option<String>)> {
    let path = named.folder.path().display();
    match &named.which {
        Which::Configuration(number) if all.iter().any(|s| s.configuration == *number) => Ok((*number, None)),
        Which::Configuration(number) => {
            let numbers = all.iter().filter_map(|s| usize::try_from(s.configuration).ok());
            let error = Error::usage(format!("there is no configuration {number} in {path}"));
            Err(error.help(format!("take {}", choice(numbers))))
        }
        Which::Trial(id) => match all.iter().find(|s| s.id == id.as_str()) {
            Some(subject) => Ok((subject.configuration, Some(subject.id.clone()))),
            None => {
                let error = Error::usage(format!("the trial {id} is not in the table of {path}"));
                Err(error.help("it may belong to an earlier version of the file: `votive run` of the file lists orphans"))
            }
        },
        Which::Best => match ranking.comparison.best() {
            Some(best) => Ok((best.number, None)),
            None => {
                let error = Error::new(Kind::Nothing, format!("the report of {path} ranks no configuration yet"));
                Err(error.help(format!("`votive status {path}` says how its trials stand")))
            }
        },
    }
}

/// Trials of the same seed on both sides; of two single trials these two, whatever their seeds.
pub(super) fn pairs<'a>(first: &[&'a Subject], second: &[&'a Subject]) -> Vec<(&'a Subject, &'a Subject)> {
    if let ([one], [other]) = (first, second) {
        return vec![(one, other)];
    }
    let same = |x: &&Subject| second.iter().find(|y| y.seed == x.seed && x.seed.is_some());
    first.iter().filter_map(|x| Some((*x, *same(x)?))).collect()
}
