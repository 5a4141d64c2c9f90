//! YAML text becomes an experiment. figment and YAML live only here.
//!
//! The text is read into a tree with places ([`yaml`]); the tree is read into an [`Experiment`] ([`read`]), every problem
//! of the file collected with its place ([`problem`]). Layers of settings are figment's ([`layers`]), and each
//! configuration's settings come out of it by the same typed parse ([`expand`]): base → grid × zip, or search (+ points,
//! from base) → derive → exclude → seeds. What a single setting may say is said in [`settings`] and [`text`], what settings
//! must hold together in [`check`].

mod axes;
mod check;
mod columns;
mod expand;
mod expression;
mod filter;
mod held_out;
mod keys;
mod layers;
mod names;
mod overrides;
mod problem;
mod read;
pub mod settings;
mod show;
mod start;
mod surroundings;
mod text;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use figment::Figment;

pub use columns::Cell;
pub use expand::{Configuration, Excluded, Expansion};
pub use filter::Filter;
pub use layers::read_setting;
pub use overrides::Overrides;
pub use problem::{Place, Problem, Problems, Severity, Style};
pub use read::{load, parse};
pub use show::to_yaml;
pub use surroundings::{Folder, Surroundings, Unfit};
pub use text::{clock_time, duration};

use axes::{Block, Point, Search, Target};
use expression::{Datum, Program};
use overrides::Override;
use read::Written;
use settings::Settings;

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
    file: String,
    layers: Figment,
    written: BTreeMap<String, Written>,
    targets: Vec<Target>,
    own: Vec<Own>,
    blocks: Vec<Block>,
    search: Option<Search>,
    points: Vec<Point>,
    derives: Vec<Derive>,
    excludes: Vec<Exclude>,
    tune: Vec<String>,
    overrides: Vec<Override>,
}

/// A name of one's own (`let`).
#[derive(Debug, Clone)]
struct Own {
    name: String,
    value: Option<Datum>,
    label: String,
    place: Place,
    list: Option<yaml::Node>,
}

/// A derived setting.
#[derive(Debug, Clone)]
struct Derive {
    target: usize,
    key: String,
    program: Arc<Program>,
    place: Place,
}

/// A rule that takes combinations out.
#[derive(Debug, Clone)]
struct Exclude {
    program: Arc<Program>,
    why: Option<String>,
    place: Place,
}
