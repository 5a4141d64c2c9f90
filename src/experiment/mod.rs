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
mod definition;
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
pub mod reference;
mod resolved;
pub mod settings;
mod show;
mod start;
mod surroundings;
mod template;
mod text;
mod yaml;

#[cfg(test)]
mod tests;

pub use columns::Cell;
pub use definition::Experiment;
pub use expand::{Configuration, Excluded, Expansion};
pub use filter::Filter;
pub use layers::read_setting;
pub use overrides::Overrides;
pub use problem::{Place, Problem, Problems, Severity, Style};
pub use read::{load, parse};
pub use resolved::Resolved;
pub use show::to_yaml;
pub use surroundings::{Folder, Surroundings, Unfit};
pub use template::{Subject, template};
pub use text::{clock_time, duration};
