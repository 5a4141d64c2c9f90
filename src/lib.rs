//! Votive: one YAML file describes a family of language-model trainings; `votive run` trains every member.
//!
//! # How the data flows
//!
//! The modules are listed in the order in which the data flows, and **a module uses only modules above it in
//! this list** (`tests/it/layering.rs` enforces it).

pub mod error;
pub mod random;

pub mod durable;

pub mod experiment;

pub mod corpus;

pub mod model;

pub mod optimize;

pub mod plan;

pub mod train;

pub mod runs;

pub mod record;

pub mod schedule;

pub mod report;

pub mod cli;

/// The program's name, version and build, as it stands in every record.
pub fn program() -> String {
    concat!("votive ", env!("CARGO_PKG_VERSION")).to_owned()
}
