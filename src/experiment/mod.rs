//! YAML text becomes an experiment. figment and YAML live only here.

mod columns;
pub mod settings;

pub use columns::Cell;
