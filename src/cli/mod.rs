//! cli

pub mod progress;
pub mod status;
