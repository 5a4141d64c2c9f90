//! The difference of two sides, taken seed by seed, and what may be said of it.

use std::collections::BTreeSet;

use super::over_text::{OverText, clause};
use super::side::{Side, pairs};
use crate::report::confounding::{self, Changed};
use crate::report::controlled::{Forbids, forbidding};
use crate::report::inference::effects::Interval;
use crate::report::inference::reach::added;
use crate::report::inference::rule::quantile;
use crate::report::statistics::Statistics;
use crate::report::subject::{QUANTITIES, Subject};

/// By what share two ratios of the same counts differ at most: figures are kept to about 16 digits.
const ROUNDING: f64 = 1e-9;

/// Two sides, and what may be said of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub(super) first: Side,
    pub(super) second: Side,
    /// Settings whose values differ: key, first value, second value.
    pub(super) settings: Vec<(String, String, String)>,
    /// What follows from them; `low` is the first side's value, `high` the second's.
    pub(super) also_changed: Vec<Changed>,
    /// What forbids the word "better".
    pub(super) forbids: Vec<Forbids>,
    /// Seeds that both sides have.
    pub(super) seeds: Vec<i64>,
    /// Whether the difference is in bits per byte, since tokenizers differ.
    pub(super) by_bytes: bool,
    /// `common`, `best_native` …
    pub(super) score: &'static str,
    /// Mean of the first side less that of the second: negative where the first predicts better. In nats per token, or in bits per byte.
    pub(super) difference: f64,
    /// What the difference is taken over.
    pub(super) over: Over,
    /// How sure that is, or why nothing says.
    pub(super) error: Result<Error, String>,
    /// Why the noise of the text is not part of that, where it is not.
    pub(super) no_text: Option<String>,
    /// Of two configurations of one experiment: whether each is in its set of the best. `None` where there is no set.
    pub(super) in_best_set: Option<(bool, bool)>,
    /// Configurations that the set is of.
    pub(super) compared: usize,
    /// Relative differences under this are not worth a choice.
    pub(super) margin: f64,
    /// What the difference holds at.
    pub(super) labels: Vec<String>,
    pub(super) damaged: Vec<String>,
}

/// What a difference is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The seeds that both sides have.
    Shared,
    /// The seeds that each side has, whichever they are.
    Own,
    /// All seeds of their experiment: what a side lacks is made up for by least squares.
    All,
}

/// How sure a difference is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Error {
    /// Of seeds and text together.
    pub(super) standard_error: f64,
    pub(super) degrees: f64,
}

impl Error {
    /// The 95 % limits of this difference.
    pub(super) fn limits(self, difference: f64) -> Interval {
        let half = quantile(0.025, self.degrees) * self.standard_error;
        Interval { lower: difference - half, upper: difference + half }
    }
}

/// What the two come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The first predicts better, by more than chance explains.
    First,
    /// The second does.
    Second,
    /// The limits contain no difference.
    Alike,
    /// There are no limits.
    Undecided,
    /// Something else than what is compared differs.
    Refused,
}

impl Pair {
    /// Compares two sides seed by seed; of the text and of a set nothing is said yet.
    pub(super) fn of(first: Side, second: Side) -> Self {
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
            let keeps = |side: &Side| if side.is_lossless { "gives the text back" } else { "loses some of the text" }.to_owned();
            forbids.push(Forbids { what: "tokenizer", name: "tokenizer", first: keeps(&first), second: keeps(&second) });
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
            // What was swept was chosen, also where it is what it would have been of itself.
            let chosen = [&first, &second].iter().any(|side| side.swept.iter().any(|s| confounding::covers(s, key)));
            let follows = a[0].follows(key) && b[0].follows(key) && !chosen;
            (value != other && !follows).then(|| (key.clone(), first.value(key, value), second.value(key, other)))
        });
        let (settings, labels) = (settings.collect::<Vec<_>>(), holds_at(&a, &b));
        let also_changed = also_changed(a[0], b[0], &settings);
        let error = over_seeds(&differences);
        let over = if pairs.is_empty() { Over::Own } else { Over::Shared };
        Self {
            settings,
            also_changed,
            forbids,
            seeds: pairs.iter().filter_map(|(x, _)| x.seed).collect(),
            by_bytes,
            score: first.score,
            difference,
            over,
            error,
            no_text: None,
            in_best_set: None,
            compared: 2,
            margin: first.margin,
            labels,
            damaged: Vec::new(),
            first,
            second,
        }
    }

    /// Takes what the report of their experiment says of the two, and returns whether the noise of the text is dealt with by that. What the
    /// report has in bits per byte, since other tokenizers of the experiment differ, becomes nats per token.
    pub(super) fn judge(&mut self, statistics: &Statistics) -> bool {
        let [a, b] = [&self.first, &self.second].map(|side| side.stands_as);
        let found = statistics.difference(a, b).zip(self.unit(statistics.by_bytes));
        // Two that share too few seeds are judged by what all configurations scatter by; by that alone only where the report judges too.
        if let Some((found, unit)) = found.filter(|_| self.error.is_ok() || statistics.no_set.is_none()) {
            self.difference = unit * found.estimate;
            self.error = Ok(Error { standard_error: unit * found.variance.sqrt(), degrees: found.degrees });
            // Where both have the same seeds nothing is made up for.
            let seeds = |side: &Side| side.subjects.iter().filter_map(|s| s.seed).collect::<BTreeSet<i64>>();
            if seeds(&self.first) != seeds(&self.second) {
                self.over = if statistics.scatter.is_some_and(|scatter| scatter.blocks) { Over::All } else { Over::Own };
            }
        }
        let member = |number: i64| statistics.of(number)?.in_best_set;
        self.in_best_set = member(a).zip(member(b));
        self.compared = statistics.against.len();
        let with_text = found.is_some() && statistics.by_bytes == self.by_bytes;
        if with_text {
            self.no_text = statistics.no_text.as_ref().map(|sentence| clause(sentence));
        }
        with_text
    }

    /// How much one unit of the report is in that of this difference: a byte has as many tokens for the one as for the other where both
    /// have the same tokenizer and text. `None` where it is not one number.
    fn unit(&self, by_bytes: bool) -> Option<f64> {
        if by_bytes == self.by_bytes {
            return Some(1.0);
        }
        let ratio = |s: &Subject| s.loss.zip(s.bits_per_byte).map(|(loss, bits)| loss / bits);
        let subjects = self.first.subjects.iter().chain(&self.second.subjects);
        let ratios: Vec<f64> = subjects.map(ratio).collect::<Option<_>>()?;
        let first = *ratios.first().filter(|_| by_bytes)?;
        ratios.iter().all(|ratio| (ratio / first - 1.0).abs() < ROUNDING).then_some(first)
    }

    /// Adds the noise of the text.
    pub(super) fn add(&mut self, noise: OverText) {
        if let Ok(error) = &mut self.error {
            let seeds = error.standard_error * error.standard_error;
            let (variance, degrees) = added(seeds, error.degrees, noise.variance, noise.text.degrees());
            *error = Error { standard_error: variance.sqrt(), degrees };
        }
    }

    /// The 95 % limits of the difference, where there are some.
    pub(super) fn limits(&self) -> Option<Interval> {
        self.error.as_ref().ok().map(|error| error.limits(self.difference))
    }

    pub(super) fn finding(&self) -> Finding {
        match self.limits() {
            _ if !self.forbids.is_empty() => Finding::Refused,
            None => Finding::Undecided,
            Some(limits) if limits.upper < 0.0 => Finding::First,
            Some(limits) if limits.lower > 0.0 => Finding::Second,
            Some(_) => Finding::Alike,
        }
    }

    /// Whether the set of their experiment says the same as the pair alone; `None` where there is no set.
    pub(super) fn set_agrees(&self) -> Option<bool> {
        let expected = if self.difference < 0.0 { (true, false) } else { (false, true) };
        self.in_best_set.map(|found| found == expected)
    }
}

/// The standard error of the mean of the seeds' differences, or why there is none.
fn over_seeds(differences: &[f64]) -> Result<Error, String> {
    let n = differences.len() as f64;
    match differences.len() {
        0 => return Err("the two have no seed in common, so that nothing can be paired".to_owned()),
        1 => return Err("with one seed nothing says how far another seed would move it".to_owned()),
        _ => {}
    }
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Ok(Error { standard_error: (variance / n).sqrt(), degrees: n - 1.0 })
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
