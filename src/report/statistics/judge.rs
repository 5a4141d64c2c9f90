//! How sure the difference of two configurations is, over seeds and over the text together.

use std::collections::{BTreeMap, BTreeSet};

use super::super::inference::effects::Weights;
use super::super::inference::pairs::{Difference, Pairs};
use super::super::inference::reach::added;
use super::super::inference::rule::beaten_by;
use super::text::Noise;

/// Everything that a difference is judged by.
#[derive(Debug, Clone)]
pub(in crate::report) struct Judge {
    pub(super) pairs: Pairs,
    /// The first configuration with the very same results, for each.
    pub(super) twins: BTreeMap<i64, i64>,
    /// Of the held-out text, where it is known.
    pub(super) noise: Option<Noise>,
    /// Configurations with a diverged seed: they exclude no other.
    pub(super) diverged: BTreeSet<i64>,
}

impl Judge {
    /// The place of a configuration among the different ones.
    pub(super) fn place(&self, configuration: i64) -> Option<usize> {
        self.pairs.fit().place(*self.twins.get(&configuration)?)
    }

    /// The first less the second, with the variance of seeds and text; `None` where nothing says how sure it is.
    pub(super) fn difference(&self, a: i64, b: i64) -> Option<Difference> {
        self.between(self.place(a)?, self.place(b)?)
    }

    /// The variance that the text adds to a difference, and its degrees of freedom.
    pub(super) fn by_text(&self, i: usize, j: usize) -> Option<(f64, f64)> {
        let noise = self.noise.as_ref()?;
        let configurations = self.pairs.fit().configurations();
        Some((noise.variance(configurations[i], configurations[j]), noise.degrees()))
    }

    /// The same for a difference of means over several configurations, by their numbers.
    pub(super) fn by_text_of(&self, weights: &Weights) -> Option<(f64, f64)> {
        self.noise.as_ref().map(|noise| (noise.of_difference(weights), noise.degrees()))
    }

    fn between(&self, i: usize, j: usize) -> Option<Difference> {
        let by_seeds = self.pairs.difference(i, j)?;
        let Some((text, degrees)) = self.by_text(i, j) else { return Some(by_seeds) };
        let (variance, degrees) = added(by_seeds.variance, by_seeds.degrees, text, degrees);
        Some(Difference { variance, degrees, ..by_seeds })
    }

    /// For each different configuration, by its place, the one that beats it by most, if any does.
    pub(super) fn beaten_by(&self) -> Vec<Option<usize>> {
        let configurations = self.pairs.fit().configurations();
        let places: Vec<usize> = (0..configurations.len()).collect();
        let shaken: BTreeSet<i64> = self.diverged.iter().filter_map(|number| self.twins.get(number)).copied().collect();
        beaten_by(&places, |i, j| self.between(i, j), |place| !shaken.contains(&configurations[place]))
    }
}
