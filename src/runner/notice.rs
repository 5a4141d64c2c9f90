//! What there is to tell while an experiment is planned and run: facts for others to put into words.

use super::probe::Memory;
use crate::error::Error;

/// Something that a person should know.
#[derive(Debug)]
pub enum Notice {
    /// A shape could not be measured.
    NotProbed(Error),
    /// How far probing is, where it takes long.
    Probing {
        /// Shapes done.
        done: usize,
        /// Of so many.
        all: usize,
    },
    /// Shapes were measured.
    Probed {
        /// How many.
        shapes: usize,
        /// Seconds that took.
        seconds: f64,
        /// The most memory that a trial takes.
        largest: Memory,
    },
}
