//! Two configurations or trials side by side: what differs, by how much one predicts better, and whether that may be said.
//!
//! The difference is taken seed by seed: trials of one seed share their random numbers as far as they can, so that what a seed does to
//! both falls out. Two sorts of uncertainty stand beside it. **Training**: another seed would give another difference; a
//! t-interval over the seeds' differences. **Text**: the noise of this one stretch of held-out text; a t-interval over blocks of
//! the per-token differences. The wider one decides. It is one pair, looked at because somebody chose it: nothing is adjusted for the pairs
//! that were not looked at, which is what the report's set is for.

mod over_text;
mod said;
mod side;

use serde_json::Value;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::confounding::{self, Changed};
use super::controlled::{Forbids, forbidding};
use super::statistics::Interval;
use super::subject::{QUANTITIES, Subject};
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::ExperimentFolder;
use over_text::OverText;
use side::Side;
pub(in crate::report) use side::{Figures, figures};

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
    /// The configuration that the report has first.
    Best,
}

/// Two sides, and what may be said of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    first: Side,
    second: Side,
    /// Settings whose values differ: key, first value, second value.
    settings: Vec<(String, String, String)>,
    /// What follows from them; `low` is the first side's value, `high` the second's.
    also_changed: Vec<Changed>,
    /// What forbids the word "better".
    forbids: Vec<Forbids>,
    /// Seeds that both sides have.
    seeds: Vec<i64>,
    /// Whether the difference is in bits per byte, since tokenizers differ.
    by_bytes: bool,
    /// `common`, `best_native` …
    score: &'static str,
    /// Mean of the first side less that of the second: negative where the first predicts better.
    difference: f64,
    /// Over seeds, or why not.
    training: Result<Interval, String>,
    /// Over text, or why not.
    text: Result<OverText, String>,
    /// What the difference holds at.
    labels: Vec<String>,
    damaged: Vec<String>,
}

/// What the two come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// The first predicts better, by more than chance explains.
    First,
    /// The second does.
    Second,
    /// The interval that decides contains no difference.
    Alike,
    /// There is no interval over seeds.
    Undecided,
    /// Something else than what is compared differs.
    Refused,
}

impl Pair {
    /// Reads both sides and compares them.
    ///
    /// # Errors
    /// Where a side does not exist, or has no complete trial.
    pub fn read(first: &Named, second: &Named) -> Result<Self> {
        let mut damaged = Vec::new();
        let (first, second) = side::read(first, second, &mut damaged)?;
        let mut pair = of(first, second);
        pair.text = over_text::over_text(&pair, &mut damaged);
        damaged.sort();
        damaged.dedup();
        pair.damaged = damaged;
        Ok(pair)
    }

    /// For people: a paragraph a subject.
    pub fn text(&self) -> String {
        said::text(self)
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        said::json(self)
    }

    /// Files that could not be read.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// The interval that decides: the wider one of those there are, where there is one over seeds.
    fn deciding(&self) -> Option<(&'static str, Interval)> {
        let training = *self.training.as_ref().ok()?;
        match &self.text {
            Ok(text) if width(text.interval()) > width(training) => Some(("text", text.interval())),
            _ => Some(("training", training)),
        }
    }

    fn finding(&self) -> Finding {
        match self.deciding() {
            _ if !self.forbids.is_empty() => Finding::Refused,
            None => Finding::Undecided,
            Some((_, interval)) if interval.upper < 0.0 => Finding::First,
            Some((_, interval)) if interval.lower > 0.0 => Finding::Second,
            Some(_) => Finding::Alike,
        }
    }
}

fn width(interval: Interval) -> f64 {
    interval.upper - interval.lower
}

/// Compares two sides; over the text nothing is said yet.
fn of(first: Side, second: Side) -> Pair {
    let together = first.folder == second.folder;
    let swept: &[String] = if together { &first.swept } else { &[] };
    let chosen = |key: &str| swept.iter().any(|s| confounding::covers(s, key));
    let (a, b): (Vec<&Subject>, Vec<&Subject>) = (first.subjects.iter().collect(), second.subjects.iter().collect());
    let mut forbids = forbidding(&a, &b, &chosen);
    let by_bytes = match (&a[0].content.tokenizer, &b[0].content.tokenizer) {
        (Some(one), Some(other)) => one != other,
        _ => a[0].setting("tokenizer") != b[0].setting("tokenizer"),
    };
    // Bits per byte say nothing of bytes that a tokenizer did not keep.
    if by_bytes && !(first.is_lossless && second.is_lossless) && !forbids.iter().any(|f| f.what == "tokenizer") {
        let said = |side: &Side| if side.is_lossless { "gives the text back" } else { "loses some of the text" }.to_owned();
        forbids.push(Forbids { what: "tokenizer", name: "tokenizer", first: said(&first), second: said(&second) });
    }
    let value = |s: &Subject| if by_bytes { s.bits_per_byte } else { s.loss };
    let pairs = pairs(&a, &b);
    let differences: Vec<f64> = pairs.iter().filter_map(|(x, y)| Some(value(x)? - value(y)?)).collect();
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
    let difference = if differences.is_empty() {
        let all = |side: &[&Subject]| mean(&side.iter().filter_map(|s| value(s)).collect::<Vec<_>>());
        all(&a) - all(&b)
    } else {
        mean(&differences)
    };
    let settings = a[0].settings.iter().filter_map(|(key, value)| {
        let other = b[0].setting(key)?;
        let follows = a[0].follows(key) && b[0].follows(key);
        (value != other && !follows).then(|| (key.clone(), first.value(key, value), second.value(key, other)))
    });
    let (settings, labels) = (settings.collect::<Vec<_>>(), holds_at(&a, &b));
    let also_changed = also_changed(a[0], b[0], &settings);
    let training = over_seeds(&differences);
    Pair {
        settings,
        also_changed,
        forbids,
        seeds: pairs.iter().filter_map(|(x, _)| x.seed).collect(),
        by_bytes,
        score: first.score,
        difference,
        training,
        text: Err(String::new()),
        labels,
        damaged: Vec::new(),
        first,
        second,
    }
}

/// Trials of the same seed on both sides; of two single trials these two, whatever their seeds.
fn pairs<'a>(first: &[&'a Subject], second: &[&'a Subject]) -> Vec<(&'a Subject, &'a Subject)> {
    if let ([one], [other]) = (first, second) {
        return vec![(one, other)];
    }
    let same = |x: &&Subject| second.iter().find(|y| y.seed == x.seed && x.seed.is_some());
    first.iter().filter_map(|x| Some((*x, *same(x)?))).collect()
}

/// The t-interval over the seeds' differences, or why there is none.
fn over_seeds(differences: &[f64]) -> Result<Interval, String> {
    let n = differences.len() as f64;
    match differences.len() {
        0 => return Err("the two have no seed in common, so that nothing can be paired".to_owned()),
        1 => return Err("with one seed nothing says how far another seed would move it".to_owned()),
        _ => {}
    }
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).map_err(|e| e.to_string())?.inverse_cdf(0.975);
    let half = t * (variance / n).sqrt();
    Ok(Interval { lower: mean - half, upper: mean + half })
}

/// What follows from the settings that differ, as first and second value.
fn also_changed(first: &Subject, second: &Subject, settings: &[(String, String, String)]) -> Vec<Changed> {
    let swept: Vec<String> = settings.iter().map(|(key, _, _)| key.clone()).collect();
    let both = [first.clone(), second.clone()];
    let mut changed = confounding::also_changed(&both, &swept);
    for change in &mut changed {
        if let Some(place) = QUANTITIES.iter().position(|q| *q == change.quantity)
            && let (Some(a), Some(b)) = (first.quantities[place], second.quantities[place])
        {
            (change.low, change.high) = (a, b);
        }
    }
    changed
}

/// The conditions that both sides share and the difference was not looked at beyond.
fn holds_at(first: &[&Subject], second: &[&Subject]) -> Vec<String> {
    let both: Vec<Subject> = first.iter().chain(second).map(|s| (*s).clone()).collect();
    let keys = both[0].settings.iter().map(|(key, _)| key);
    let differ: Vec<String> = keys.filter(|key| both.iter().any(|s| s.setting(key) != both[0].setting(key))).cloned().collect();
    confounding::labels(&both, &differ)
}

#[cfg(test)]
mod tests;
