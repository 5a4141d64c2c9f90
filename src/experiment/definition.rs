//! An experiment as it is written: base settings, and how configurations differ from them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use figment::Figment;

use super::axes::{Axis, Block, Point, Search, Target};
use super::expression::{Datum, Program};
use super::keys;
use super::overrides::Override;
use super::problem::{Place, Problem, Problems};
use super::settings::Settings;
use super::yaml::Node;
use crate::error::Error;

/// An experiment: base settings, and how configurations differ from them.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The folder's name under `runs/`.
    pub name: String,
    /// What it is for, in the author's words.
    pub description: String,
    /// The folder that the file's paths are relative to.
    pub folder: PathBuf,
    /// The file as it was given.
    pub source: String,
    /// The seeds of every configuration.
    pub seeds: Vec<u64>,
    /// The settings below the axes. Where an axis sets something that has no default, this is a placeholder.
    pub base: Settings,
    pub(super) file: String,
    pub(super) layers: Figment,
    pub(super) written: BTreeMap<String, Written>,
    pub(super) targets: Vec<Target>,
    pub(super) own: Vec<Own>,
    pub(super) blocks: Vec<Block>,
    pub(super) search: Option<Search>,
    pub(super) points: Vec<Point>,
    /// Whether the points are all configurations there are: no axis stands beside them.
    pub(super) points_alone: bool,
    pub(super) derives: Vec<Derive>,
    pub(super) excludes: Vec<Exclude>,
    pub(super) tune: Vec<String>,
    pub(super) overrides: Vec<Override>,
}

impl Experiment {
    /// Combinations of the axes, points included, before anything is excluded, times nothing: seeds are not counted.
    /// `None` is more than 2^64.
    pub fn combinations(&self) -> Option<u64> {
        let crossed = match &self.search {
            Some(search) => search.draws,
            // With points alone, they are all there is; the base is a configuration only where nothing else is.
            None if self.points_alone => 0,
            None => self.blocks.iter().try_fold(0u64, |sum, block| sum.checked_add(block.combinations()?))?,
        };
        crossed.checked_add(self.points.len() as u64)
    }

    /// Whether this setting has a value in every configuration.
    pub(super) fn always_sets(&self, key: &str) -> bool {
        let hits = |target: usize| keys::whole_setting(&self.targets[target].key) == key;
        if self.written.contains_key(key) || self.derives.iter().any(|derive| keys::whole_setting(&derive.key) == key) {
            return true;
        }
        let crossed = match &self.search {
            Some(search) => search.dimensions.iter().any(|dimension| hits(dimension.target)),
            None => self.points_alone || self.blocks.iter().all(|b| b.axes.iter().any(|a| a.targets.iter().any(|&t| hits(t)))),
        };
        crossed && self.points.iter().all(|point| point.choices.iter().any(|choice| hits(choice.target)))
    }

    /// The axis that this setting varies along.
    pub(super) fn axis_of(&self, key: &str) -> Option<&Axis> {
        let mut axes = self.blocks.iter().flat_map(|block| &block.axes);
        axes.find(|axis| axis.targets.iter().any(|&target| self.targets[target].key == key))
    }

    /// A problem that what a setting leads to has, at the place where the setting is.
    pub fn problem_with(&self, key: &str, error: &Error) -> Problems {
        let problem = Problem::error(error.chain()).key(key).maybe_help(error.help_text().map(str::to_owned));
        let of_axis = self.axis_of(key).map(|axis| &axis.place);
        let place = of_axis.or_else(|| self.written.get(key).map(|written| &written.place));
        Problems::one(&self.file, problem.maybe_at(place.cloned()))
    }
}

/// A name of one's own (`let`).
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) name: String,
    pub(super) value: Option<Datum>,
    pub(super) label: String,
    pub(super) place: Place,
    pub(super) list: Option<Node>,
}

/// A derived setting.
#[derive(Debug, Clone)]
pub(super) struct Derive {
    pub(super) target: usize,
    pub(super) key: String,
    pub(super) program: Arc<Program>,
    pub(super) place: Place,
}

/// A rule that takes combinations out.
#[derive(Debug, Clone)]
pub(super) struct Exclude {
    pub(super) program: Arc<Program>,
    pub(super) why: Option<String>,
    pub(super) place: Place,
}

/// A setting of the base, as it is written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) label: String,
    pub(super) place: Place,
}
