//! YAML text becomes an [`Experiment`]. figment and YAML live only here.

pub mod settings;
