//! What is known while an experiment is expanded.

use std::collections::HashMap;

use super::expansion::Configuration;
use crate::experiment::axes::Choice;
use crate::experiment::definition::Experiment;
use crate::experiment::held_out::HeldOut;
use crate::experiment::keys;
use crate::experiment::problem::{Place, Problem};
use crate::experiment::surroundings::Surroundings;

/// Most problems of single configurations that are told.
const MOST_PROBLEMS: usize = 10;

/// One combination of axes, before `derive`.
pub(super) struct Row<'a> {
    pub(super) choices: Vec<&'a Choice>,
    pub(super) place: Option<&'a Place>,
}

/// What is known while an experiment is expanded.
pub(super) struct Expanding<'a, 's> {
    pub(super) experiment: &'a Experiment,
    pub(super) surroundings: &'s mut dyn Surroundings,
    /// What the first configuration is scored on.
    pub(super) held_out: Option<HeldOut>,
    pub(super) sweeps_corpus: bool,
    pub(super) counts: Vec<u64>,
    pub(super) matched: Vec<bool>,
    pub(super) undecided: Vec<bool>,
    pub(super) merged: u64,
    pub(super) seen: HashMap<u64, Vec<usize>>,
    /// How each value of each target, by what it means, was written first.
    pub(super) spellings: HashMap<(usize, String), String>,
    pub(super) configurations: Vec<Configuration>,
    /// What is said of configurations that are expanded nevertheless.
    pub(super) remarks: Vec<Problem>,
    pub(super) problems: Vec<Problem>,
    pub(super) more_problems: usize,
}

impl<'a, 's> Expanding<'a, 's> {
    pub(super) fn new(experiment: &'a Experiment, surroundings: &'s mut dyn Surroundings) -> Self {
        Self {
            experiment,
            surroundings,
            held_out: None,
            sweeps_corpus: experiment.targets.iter().any(|target| target.key.starts_with("corpus.")),
            counts: vec![0; experiment.excludes.len()],
            matched: vec![false; experiment.excludes.len()],
            undecided: vec![false; experiment.excludes.len()],
            merged: 0,
            seen: HashMap::new(),
            spellings: HashMap::new(),
            configurations: Vec::new(),
            remarks: Vec::new(),
            problems: Vec::new(),
            more_problems: 0,
        }
    }

    /// Whether this setting is given for this combination, by the file or by what lies over it.
    pub(super) fn sets(&self, key: &str, row: &Row<'_>) -> bool {
        let experiment = self.experiment;
        let hits = |other: &str| keys::whole_setting(other) == key;
        experiment.written.contains_key(key)
            || row.choices.iter().any(|choice| hits(&experiment.targets[choice.target].key))
            || experiment.derives.iter().any(|derive| hits(&derive.key))
    }

    /// Where one of these settings is set for this combination.
    pub(super) fn place_of(&self, keys: &[&str], row: &Row<'_>) -> Option<Place> {
        let experiment = self.experiment;
        let hits = |key: &str| keys.contains(&key) || keys.contains(&keys::whole_setting(key));
        let axes = experiment.blocks.iter().flat_map(|block| &block.axes);
        let varies = |target: &usize| hits(&experiment.targets[*target].key);
        row.place
            .or_else(|| axes.rev().find(|axis| axis.targets.iter().any(varies)).map(|axis| &axis.place))
            .or_else(|| experiment.derives.iter().find(|d| hits(&d.key)).map(|d| &d.place))
            .or_else(|| keys.iter().find_map(|key| experiment.written.get(*key)).map(|written| &written.place))
            .cloned()
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        if self.problems.contains(&problem) {
            return;
        }
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}
