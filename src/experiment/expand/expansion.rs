//! What an expansion comes to.

use crate::experiment::problem::Problem;
use crate::experiment::settings::Settings;

/// All configurations of an experiment.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// The full names of what varies: axes, settings of points, derived settings, names of one's own.
    pub swept: Vec<String>,
    /// Combinations of the axes, points included, before anything was excluded.
    pub combinations: u64,
    /// What was excluded, a row a rule.
    pub excluded: Vec<Excluded>,
    /// Combinations that were equal to an earlier one.
    pub merged: u64,
    /// The configurations in the order of the file: the last axis goes fastest.
    pub configurations: Vec<Configuration>,
    /// What is probably not meant.
    pub warnings: Vec<Problem>,
}

/// What one rule took out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The rule's expression.
    pub when: String,
    /// The rule's reason.
    pub why: Option<String>,
    /// How many combinations it took out, of those that no earlier rule had.
    pub count: u64,
}

/// One configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// All its settings.
    pub settings: Settings,
    /// The value of each of [`Expansion::swept`], as a person writes it.
    pub values: Vec<String>,
}
