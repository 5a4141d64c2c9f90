//! The folder on disk is the database: paths, locks, outcomes, and the status that is derived from them.

mod layout;
mod outcome;

pub use layout::{ExperimentFolder, TrialFolder};
pub use outcome::{Attempt, End, Outcome, Progress, Status};
