//! Configurations that are one under several names. Where their tokenizers came to the same, and what was trained of one was recorded for
//! the others, one line stands for them. Where their results are the very same, as with a clip norm that never bound, it is told.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::configuration::Configuration;
use super::trial::TrialLine;
use crate::report::wording::numbers;
use crate::words::{counted, small_number};

/// Configurations with the same results that are written out, by groups.
const GROUPS: usize = 4;

/// A configuration's seeds, each with the trial that was trained for it.
type Trained<'a> = BTreeSet<(Option<i64>, &'a str)>;

/// What is left where one configuration stands for several.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// The first of each, whose values then say all names.
    pub(super) configurations: Vec<Configuration>,
    /// The number of each other one, with that of the one that stands for it.
    pub(super) stands_for: BTreeMap<i64, i64>,
    /// On what was done.
    pub(super) notes: Vec<String>,
}

/// Leaves the first of such configurations.
pub(super) fn fold(configurations: Vec<Configuration>, trials: &[TrialLine], swept: &[String]) -> Folded {
    let names: Vec<bool> = swept.iter().map(|key| key.split('.').next() == Some("tokenizer")).collect();
    let mut trained: BTreeMap<i64, Trained<'_>> = BTreeMap::new();
    for trial in trials {
        let one = (trial.seed, trial.alias_of.as_ref().unwrap_or(&trial.id).as_str());
        trained.entry(trial.configuration).or_default().insert(one);
    }
    let (mut left, mut stands_for): (Vec<Configuration>, _) = (Vec::new(), BTreeMap::new());
    let mut known: BTreeMap<(Vec<String>, &Trained<'_>), usize> = BTreeMap::new();
    // What the tokenizers are called that are one, and how many trials were not trained for it.
    let mut folded: BTreeMap<usize, (Vec<String>, usize)> = BTreeMap::new();
    for configuration in configurations {
        let Some(own) = trained.get(&configuration.number) else {
            left.push(configuration);
            continue;
        };
        let others = configuration.values.iter().zip(&names).filter(|(_, names)| !**names).map(|(value, _)| value.clone());
        match known.entry((others.collect(), own)) {
            Entry::Vacant(new) => {
                new.insert(left.len());
                left.push(configuration);
            }
            Entry::Occupied(place) => {
                let first = &mut left[*place.get()];
                stands_for.insert(configuration.number, first.number);
                let note = folded.entry(*place.get()).or_insert_with(|| (vec![first.tokenizer.clone()], 0));
                note.0.push(configuration.tokenizer);
                note.1 += own.len();
                for ((value, other), _) in
                    first.values.iter_mut().zip(configuration.values).zip(&names).filter(|(_, names)| **names)
                {
                    if *value != other {
                        *value = format!("{value} or {other}");
                    }
                }
            }
        }
    }
    let mut notes: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for (names, trials) in folded.into_values() {
        *notes.entry(names).or_default() += trials;
    }
    let told = |(names, trials): (Vec<String>, usize)| {
        let (was, them) = (if trials == 1 { "was" } else { "were" }, if names.len() == 2 { "both" } else { "all" });
        let names = names.join(" and ");
        format!(
            "{names} are the same tokenizer: one line stands for {them}, and {} {was} not trained again.",
            counted(trials, "trial")
        )
    };
    Folded { configurations: left, stands_for, notes: notes.into_iter().map(told).collect() }
}

/// `#2 and #5 have the very same results: one configuration under two names.` `None` where all differ.
///
/// The results are the mean losses of all seeds that count, to the bit: over thousands of tokens other weights do not come to them.
pub(super) fn same_results(configurations: &[Configuration], trials: &[TrialLine]) -> Option<String> {
    let known: BTreeSet<i64> = configurations.iter().map(|c| c.number).collect();
    let mut results: BTreeMap<i64, Vec<(Option<i64>, u64)>> = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.counts && known.contains(&trial.configuration)) {
        results.entry(trial.configuration).or_default().extend(trial.loss.map(|loss| (trial.seed, loss.to_bits())));
    }
    let mut groups: BTreeMap<Vec<(Option<i64>, u64)>, Vec<i64>> = BTreeMap::new();
    for (configuration, mut result) in results {
        result.sort_unstable();
        groups.entry(result).or_default().push(configuration);
    }
    let mut groups: Vec<Vec<i64>> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    let shown: Vec<String> = groups.iter().take(GROUPS).map(|group| numbers(group)).collect();
    match (groups.as_slice(), groups.len().saturating_sub(GROUPS)) {
        ([], _) => None,
        ([group], _) => Some(format!(
            "{} have the very same results: one configuration under {} names.",
            shown.concat(),
            small_number(group.len())
        )),
        (_, more) => {
            let more = if more == 0 { String::new() } else { format!("; and {} more", counted(more, "group")) };
            Some(format!(
                "These have the very same results, and are one configuration under several names each: {}{more}.",
                shown.join("; ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compared_as, order};
    use crate::experiment::settings::{ClipNorm, Tokenizer};
    use crate::record::TrialState;
    use crate::record::tests::{completed, plan, waiting};

    #[test]
    fn configurations_with_the_very_same_results_are_named() {
        let (off, one, ten) = (ClipNorm::Off, ClipNorm::At(1.0), ClipNorm::At(10.0));
        let named = |lengths: &[usize], losses: &[f64]| {
            let plan = plan(lengths, &[off, one, ten], &[1, 2]);
            compared_as(&plan, &losses.iter().map(|&loss| completed(loss, None)).collect::<Vec<_>>(), "{}").twins
        };
        let two = "#1 and #3 have the very same results: one configuration under two names.";
        assert_eq!(named(&[32], &[1.5, 1.6, 1.4, 1.6, 1.5, 1.6]), [two]);
        assert_eq!(
            named(&[32], &[1.5, 1.6, 1.5, 1.6, 1.5, 1.6]),
            ["#1, #2 and #3 have the very same results: one configuration under three names."]
        );
        assert!(named(&[32], &[1.5, 1.6, 1.6, 1.5, 1.5, 1.61]).is_empty(), "equal means of other results are not the same");
        let losses: Vec<f64> = (0..5).flat_map(|n| [1.0 + f64::from(n); 6]).collect();
        assert_eq!(
            named(&[32, 64, 128, 256, 512], &losses),
            [
                "These have the very same results, and are one configuration under several names each: #1, #2 and #3; #4, #5 and #6; \
              #7, #8 and #9; #10, #11 and #12; and 1 group more."
            ]
        );
    }

    #[test]
    fn tokenizers_that_came_to_the_same_have_one_line_that_says_both_names() {
        // Three sizes of a vocabulary with two clip norms and two seeds; the third size is another tokenizer.
        let (one, off) = (ClipNorm::At(1.0), ClipNorm::Off);
        let mut plan = plan(&[1, 2, 3], &[one, off], &[1, 2]);
        plan.swept[0] = "tokenizer.vocab_size".to_owned();
        for (place, trial) in plan.trials.iter_mut().enumerate() {
            let vocab_size = [2_000, 8_000, 300][place / 4];
            trial.settings.tokenizer = Tokenizer::Bpe { vocab_size };
            trial.values[0] = vocab_size.to_string();
            trial.facts.tokenizer_hash = if place / 4 < 2 { "a" } else { "b" }.to_owned();
        }
        let same = |n: usize, source: usize| -> TrialState {
            let mut state = completed(2.0 - source as f64 / 10.0, None);
            state.outcome.as_mut().unwrap().alias_of = (n != source).then(|| plan.trials[source].id.clone());
            state
        };
        // `off` never bound, so that 1.0 is the same as `off`; 8,000 is the same as 2,000.
        let sources = [2, 3, 2, 3, 2, 3, 2, 3, 8, 9, 10, 11];
        let states: Vec<TrialState> = sources.iter().enumerate().map(|(n, &source)| same(n, source)).collect();
        let json = r#"{"swept": ["tokenizer.vocab_size", "train.clip_norm"]}"#;
        let comparison = compared_as(&plan, &states, json);
        let values: Vec<Vec<&str>> =
            comparison.configurations.iter().map(|c| c.values.iter().map(String::as_str).collect()).collect();
        assert!(values.contains(&vec!["2000 or 8000", "off"]) && values.contains(&vec!["2000 or 8000", "1"]), "{values:?}");
        assert_eq!(comparison.configurations.len(), 4, "{values:?}");
        assert_eq!(
            comparison.twins,
            [
                "bpe-2000 and bpe-8000 are the same tokenizer: one line stands for both, and 4 trials were not trained again.",
                "#1 and #2 have the very same results: one configuration under two names.",
            ]
        );

        // Trained under both names, or not yet: two lines.
        let mut apart: Vec<TrialState> = (0..12).map(|n| same(n, n)).collect();
        assert_eq!(compared_as(&plan, &apart, json).configurations.len(), 6);
        apart[6] = waiting();
        let comparison = compared_as(&plan, &apart, json);
        assert_eq!((order(&comparison).len(), comparison.twins.len()), (6, 0));
    }
}
