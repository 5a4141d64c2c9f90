//! Why a run, or a plan, ends early.

use crate::error::Error;
use crate::experiment::Problems;

/// Problems of a file are drawn with their lines, everything else is a sentence.
#[derive(Debug)]
pub enum Failure {
    /// What is wrong with an experiment file.
    File(Problems),
    /// Anything else.
    Other(Error),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::File(problems)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}
