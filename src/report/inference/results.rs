//! Results by configuration, the same ones counted once.

use std::collections::{BTreeMap, BTreeSet};

use super::residual::Observation;

/// The responses of each configuration, by seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::report) struct Results {
    by_configuration: BTreeMap<i64, Vec<(i64, f64)>>,
}

impl Results {
    /// From (configuration, seed, response).
    pub(in crate::report) fn new(results: impl IntoIterator<Item = (i64, i64, f64)>) -> Self {
        let mut by_configuration: BTreeMap<i64, Vec<(i64, f64)>> = BTreeMap::new();
        for (configuration, seed, response) in results {
            by_configuration.entry(configuration).or_default().push((seed, response));
        }
        by_configuration.values_mut().for_each(|own| own.sort_by_key(|&(seed, _)| seed));
        Self { by_configuration }
    }

    /// The responses of a configuration, by seed.
    pub(in crate::report) fn of(&self, configuration: i64) -> &[(i64, f64)] {
        self.by_configuration.get(&configuration).map_or(&[], Vec::as_slice)
    }

    /// The first configuration with the very same results, for each: a clip norm that never bound gives the same trial as another
    /// one, and counted twice it would pass for two that agree by chance.
    pub(in crate::report) fn twins(&self) -> BTreeMap<i64, i64> {
        let mut first: BTreeMap<Vec<(i64, u64)>, i64> = BTreeMap::new();
        let of = |(&number, results): (&i64, &Vec<(i64, f64)>)| {
            let key = results.iter().map(|&(seed, response)| (seed, response.to_bits())).collect();
            (number, *first.entry(key).or_insert(number))
        };
        self.by_configuration.iter().map(of).collect()
    }

    /// All of them but those of twins.
    pub(in crate::report) fn observations(&self, twins: &BTreeMap<i64, i64>) -> Vec<Observation> {
        let own = self.by_configuration.iter().filter(|(number, _)| twins.get(number) == Some(number));
        own.flat_map(|(&configuration, results)| {
            results.iter().map(move |&(seed, response)| Observation { configuration, seed, response })
        })
        .collect()
    }

    /// Whether every configuration has every seed.
    pub(in crate::report) fn is_complete(&self) -> bool {
        let seeds: BTreeSet<i64> = self.by_configuration.values().flatten().map(|&(seed, _)| seed).collect();
        self.by_configuration.values().all(|own| own.len() == seeds.len())
    }
}
