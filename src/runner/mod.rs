//! From a file to finished trials: what `votive run` does, without a word of it on a terminal.

pub mod notice;
pub mod probe;
