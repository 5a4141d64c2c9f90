//! The numbers by which people call configurations.
//!
//! A number belongs to a configuration, by the hash of what it is without its seed, for as long as the experiment's folder is
//! there: an edited file gives none to another configuration, nor that of one which is no longer planned. New ones go on from the
//! largest that was ever given. So `name#7` means the same today and next week, whatever was added before it in the file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::TrialId;

/// Rows of numbers that are listed.
const LISTED: usize = 8;

/// The numbers that the configurations of an experiment have, also those that are no longer planned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Numbers {
    by_hash: BTreeMap<String, usize>,
    /// Numbers that were given by a program that kept no hashes, by the trials that they were given to.
    #[serde(skip)]
    by_trial: HashMap<TrialId, usize>,
    /// The largest number that was ever given; `None` until it is asked for.
    #[serde(skip)]
    largest: Option<usize>,
}

impl Numbers {
    /// With the numbers of trials whose configurations' hashes may not be known.
    pub fn with_trials(self, trials: impl IntoIterator<Item = (TrialId, usize)>) -> Self {
        Self { by_trial: trials.into_iter().collect(), ..self }
    }

    /// The number of the configuration with this hash: its own, else that of one of its trials, else a new one, which is then its own.
    pub(super) fn of(&mut self, hash: String, trials: &[TrialId]) -> usize {
        if let Some(&known) = self.by_hash.get(&hash) {
            return known;
        }
        let number = trials.iter().find_map(|trial| self.by_trial.get(trial).copied()).unwrap_or_else(|| self.new_number());
        self.by_hash.insert(hash, number);
        number
    }

    fn new_number(&mut self) -> usize {
        let given = || self.by_hash.values().chain(self.by_trial.values()).max().copied();
        let number = self.largest.or_else(given).unwrap_or(0) + 1;
        self.largest = Some(number);
        number
    }
}

/// What can be chosen among these numbers, in words: `a number from 1 to 12`, `one of 1 to 6, 8 and 13 to 15`.
pub fn choice(numbers: impl IntoIterator<Item = usize>) -> String {
    let numbers: BTreeSet<usize> = numbers.into_iter().collect();
    let mut rows: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match rows.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => rows.push((number, number)),
        }
    }
    let row = |&(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    match rows.as_slice() {
        [] => "another experiment: this one has none".to_owned(),
        [(first, last)] if first == last => format!("number {first}"),
        [(first, last)] => format!("a number from {first} to {last}"),
        [rows @ .., last] if rows.len() < LISTED => {
            format!("one of {} and {}", rows.iter().map(row).collect::<Vec<_>>().join(", "), row(last))
        }
        rows => format!("one of {}, …", rows.iter().take(LISTED).map(row).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(name: &str) -> TrialId {
        TrialId::of(name)
    }

    #[test]
    fn a_number_stays_with_its_configuration_and_is_not_given_again() {
        let mut numbers = Numbers::default();
        let mut of = |hash: &str| numbers.of(hash.to_owned(), &[]);
        assert_eq!(["a", "b", "c", "b"].map(&mut of), [1, 2, 3, 2]);
        let text = serde_json::to_string(&numbers).unwrap();
        assert_eq!(text, r#"{"a":1,"b":2,"c":3}"#);
        // Later `c` is no longer planned, and two are put before `b`.
        let mut numbers: Numbers = serde_json::from_str(&text).unwrap();
        let mut of = |hash: &str| numbers.of(hash.to_owned(), &[]);
        assert_eq!(["a", "x", "y", "b"].map(&mut of), [1, 4, 5, 2]);
    }

    #[test]
    fn where_no_hash_is_known_a_trial_says_which_number_its_configuration_had() {
        let old = [(trial("a 1"), 1), (trial("b 1"), 2), (trial("b 2"), 2), (trial("gone"), 9)];
        let mut numbers = Numbers::default().with_trials(old);
        assert_eq!(numbers.of("b".to_owned(), &[trial("b 3"), trial("b 2")]), 2);
        assert_eq!(numbers.of("new".to_owned(), &[trial("new 1")]), 10);
        assert_eq!(numbers.of("a".to_owned(), &[trial("a 1")]), 1);
        assert_eq!(numbers.of("b".to_owned(), &[]), 2, "from here on by its hash");
    }

    #[test]
    fn what_can_be_chosen_is_told_in_rows() {
        for (numbers, said) in [
            (vec![1, 2, 3], "a number from 1 to 3"),
            (vec![4], "number 4"),
            (vec![8, 1, 2, 3], "one of 1 to 3 and 8"),
            (vec![1, 3, 4, 6, 7, 8], "one of 1, 3, 4 and 6 to 8"),
            ((1..100).step_by(2).collect(), "one of 1, 3, 5, 7, 9, 11, 13, 15, …"),
        ] {
            assert_eq!(choice(numbers), said);
        }
    }
}
