//! The order of the configurations, with what those are given that lack seeds which others have.

use std::collections::BTreeSet;

use super::configuration::{Configuration, Figure};
use super::trial::TrialLine;
use crate::report::inference::residual::Fit;
use crate::report::inference::results::Results;

/// The responses of the trials that count, of these configurations.
pub(super) fn results(configurations: &[Configuration], trials: &[TrialLine], by_bytes: bool) -> Results {
    let known: BTreeSet<i64> = configurations.iter().filter(|c| c.figure(by_bytes).is_some()).map(|c| c.number).collect();
    let counting = trials.iter().filter(|trial| trial.counts && known.contains(&trial.configuration));
    Results::new(counting.filter_map(|trial| {
        let response = if by_bytes { trial.bits_per_byte } else { trial.loss };
        Some((trial.configuration, trial.seed.unwrap_or_default(), response?))
    }))
}

/// Sets the means over all seeds where some are missing.
pub(super) fn adjust(configurations: &mut [Configuration], trials: &[TrialLine], by_bytes: bool) {
    let results = results(configurations, trials, by_bytes);
    if results.is_complete() {
        return;
    }
    let twins = results.twins();
    let fit = Fit::new(&results.observations(&twins));
    for configuration in configurations {
        let place = twins.get(&configuration.number).and_then(|&number| fit.place(number));
        configuration.adjusted = place.map(|place| fit.mean(place));
    }
}

/// Best first; then those that a tuned setting's better value stands for; then those whose tokenizer forbids a rank, by tokenizer and
/// perplexity, since that compares within one only; then those without a figure, in file order.
pub(super) fn rank(configurations: &mut [Configuration], by_bytes: bool) {
    let ranked = |c: &Configuration| c.figure(by_bytes).is_some() && c.tuned.as_ref().is_none_or(|tuned| tuned.chosen);
    let mean = |figure: Option<Figure>| figure.map_or(f64::INFINITY, |f| f.mean);
    let key = |c: &Configuration| match c.figure(by_bytes) {
        Some(figure) => (usize::from(!ranked(c)), String::new(), figure.mean, c.order),
        None if c.has_result() => (2, c.tokenizer.clone(), mean(c.perplexity), c.order),
        None => (3, String::new(), f64::INFINITY, c.order),
    };
    configurations.sort_by(|a, b| {
        let ((a0, a1, a2, a3), (b0, b1, b2, b3)) = (key(a), key(b));
        a0.cmp(&b0).then(a1.cmp(&b1)).then(a2.total_cmp(&b2)).then(a3.cmp(&b3))
    });
    for (place, configuration) in configurations.iter_mut().enumerate() {
        configuration.place = ranked(configuration).then_some(place + 1);
    }
}
