//! An experiment is counted, and expanded into its configurations.

mod derive;
mod draws;
mod exclude;
mod expanding;
mod expansion;
mod finish;
mod labels;

use std::hash::{DefaultHasher, Hash, Hasher};

use figment::value::Value;

use super::axes::{Block, Search};
use super::columns::Cell;
use super::definition::Experiment;
use super::expression::Datum;
use super::held_out::HeldOut;
use super::problem::{Problem, Problems, Severity};
use super::settings::Settings;
use super::surroundings::{Folder, Surroundings, Unfit};
use super::{check, keys, layers, start};
use crate::words::thousands;
use expanding::{Expanding, Row};

pub use expansion::{Configuration, Excluded, Expansion};

impl Experiment {
    /// Expands the experiment. `limit` is the largest number of trials (combinations × seeds); it is compared before
    /// anything is expanded. Where `surroundings` do not know something, rules that need it do not apply.
    ///
    /// # Errors
    /// Too many trials; configurations whose settings do not go together, or that cannot be run in these surroundings;
    /// configurations that would be scored on different texts; no configuration left.
    pub fn expand(&self, limit: u64, surroundings: &mut dyn Surroundings) -> Result<Expansion, Problems> {
        let refuse = |problem| Problems::one(&self.file, problem);
        let combinations = self.count(limit).map_err(refuse)?;
        let mut state = Expanding::new(self, surroundings);
        match &self.search {
            Some(search) => state.drawn(search),
            None if self.points_alone => {}
            None => self.blocks.iter().for_each(|block| state.crossed(block)),
        }
        for point in &self.points {
            state.add(&Row { choices: point.choices.iter().collect(), place: Some(&point.place) });
        }
        state.finish(combinations)
    }

    /// Counts the trials before any is made.
    fn count(&self, limit: u64) -> Result<u64, Problem> {
        let combinations = self.combinations();
        let trials = combinations.and_then(|n| n.checked_mul(self.seeds.len() as u64));
        let place = || self.blocks.iter().flat_map(|b| &b.axes).max_by_key(|axis| axis.positions.len()).map(|axis| &axis.place);
        match (combinations, trials) {
            (Some(combinations), Some(trials)) if trials <= limit => Ok(combinations),
            (combinations, trials) => {
                let many = |n: Option<u64>| n.map_or("more than 2^64".to_owned(), thousands);
                let sum = match self.seeds.len() {
                    1 => format!("{} combinations", many(combinations)),
                    seeds => format!("{} combinations × {seeds} seeds = {} trials", many(combinations), many(trials)),
                };
                let message = format!("{sum}: more than the {} that are allowed", thousands(limit));
                let help = "make an axis shorter, use `search: {random: 100, ...}`, or allow more with `--max-trials`";
                let problem = Problem::error(message).help(help);
                Err(match place() {
                    Some(place) => problem.at(place).label("the longest axis"),
                    None => problem,
                })
            }
        }
    }
}

impl Expanding<'_, '_> {
    /// Every combination of a block's axes, the last going fastest.
    fn crossed(&mut self, block: &Block) {
        let mut at = vec![0usize; block.axes.len()];
        loop {
            let choices = block.axes.iter().zip(&at).flat_map(|(axis, &position)| &axis.positions[position]).collect();
            self.add(&Row { choices, place: None });
            let Some(axis) = (0..at.len()).rev().find(|&axis| at[axis] + 1 < block.axes[axis].positions.len()) else {
                return;
            };
            at[axis] += 1;
            at[axis + 1..].fill(0);
        }
    }

    /// Every random draw.
    fn drawn(&mut self, search: &Search) {
        for draw in 0..search.draws {
            let choices = draws::choices(search, &self.experiment.targets, draw);
            self.add(&Row { choices: choices.iter().collect(), place: search.dimensions.first().map(|d| &d.place) });
        }
    }

    /// A combination becomes a configuration, unless it is excluded, cannot be, or equals an earlier one.
    fn add(&mut self, row: &Row<'_>) {
        let experiment = self.experiment;
        let (own, set) = given(experiment, row);
        let layers = layers::over(experiment.layers.clone(), "axes", &set);
        let settings = match layers::extract(&layers) {
            Ok(settings) => settings,
            Err(misfit) => {
                let keys: Vec<&str> = set.iter().map(|(key, _)| *key).collect();
                let place = self.place_of(&keys, row);
                let shown: Vec<String> =
                    row.choices.iter().map(|c| format!("{} = {}", experiment.targets[c.target].key, c.label)).collect();
                let message = format!("a configuration ({}) {}", shown.join(", "), misfit.message);
                return self.problem(Problem::error(message).maybe_help(misfit.help).maybe_at(place));
            }
        };
        let mut derived = Vec::with_capacity(experiment.derives.len());
        let (settings, folder) = match self.derive(layers, settings, row, &own, &mut derived) {
            Ok(settings) => settings,
            Err(problem) => return self.problem(*problem),
        };
        let columns = settings.columns();
        if self.excluded(&settings, &columns, &own) || !self.fits(&settings, folder.as_ref(), row) {
            return;
        }
        let same = self.seen.entry(hash(&columns)).or_default();
        if same.iter().any(|&index| self.configurations[index].settings.columns() == columns) {
            self.merged += 1;
            return;
        }
        same.push(self.configurations.len());
        let values = self.in_one_spelling(self.values(row, &settings, &derived), &columns);
        self.configurations.push(Configuration { settings, values });
    }

    /// Whether settings go together, and can be run in these surroundings. What does not is told.
    fn fits(&mut self, settings: &Settings, folder: Option<&Folder>, row: &Row<'_>) -> bool {
        let experiment = self.experiment;
        let mut conflicts = check::conflicts(settings);
        if let Some(from) = &settings.model.from {
            conflicts.extend(start::conflicts(settings, from, &experiment.folder, &|key| self.sets(key, row)));
        }
        conflicts.extend(folder.and_then(|folder| start::too_long(settings, folder)));
        if self.sweeps_corpus {
            let held_out = HeldOut::of(&settings.corpus);
            conflicts.extend(self.held_out.get_or_insert_with(|| held_out.clone()).conflicts(&held_out));
        }
        let mut fits = conflicts.is_empty();
        for Unfit { keys, message, help, severity } in self.surroundings.unfit(settings) {
            let problem = Problem::new(severity, message).key(keys[0]).help(help).maybe_at(self.place_of(keys, row));
            if severity == Severity::Error {
                fits = false;
                self.problem(problem);
            } else if !self.remarks.contains(&problem) {
                self.remarks.push(problem);
            }
        }
        for conflict in conflicts {
            let problem = Problem::error(conflict.message).key(conflict.keys[0]).maybe_help(conflict.help);
            self.problem(problem.maybe_at(self.place_of(conflict.keys, row)));
        }
        fits
    }
}

/// The names of one's own and the settings that a combination gives, a whole block before a part of it.
fn given<'a>(experiment: &'a Experiment, row: &Row<'a>) -> (Vec<Datum>, Vec<(&'a str, &'a Value)>) {
    let mut own: Vec<Datum> = experiment.own.iter().map(|own| own.value.clone().unwrap_or(Datum::Number(f64::NAN))).collect();
    let mut set: Vec<(&str, &Value)> = Vec::with_capacity(row.choices.len());
    for choice in &row.choices {
        let target = &experiment.targets[choice.target];
        match (target.own, &choice.datum) {
            (Some(index), Some(datum)) => own[index] = datum.clone(),
            _ => set.push((target.key.as_str(), &choice.value)),
        }
    }
    set.sort_by_key(|(key, _)| keys::block_part(key).is_some());
    (own, set)
}

/// A hash of what the settings mean.
fn hash(columns: &[(&'static str, Cell)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (_, cell) in columns {
        match cell {
            Cell::Bool(value) => value.hash(&mut hasher),
            Cell::Int(value) => value.hash(&mut hasher),
            Cell::Float(value) => value.map(f64::to_bits).hash(&mut hasher),
            Cell::Text(value) => value.hash(&mut hasher),
        }
    }
    hasher.finish()
}
