//! What is to be known about a plan, or why there is none.

use crate::error::Error;
use crate::experiment::{Problem, Problems};

/// Why there is no plan.
#[derive(Debug)]
pub enum Refusal {
    /// The file asks for something that is not possible.
    File(Problems),
    /// Something else, such as a text that is too short.
    Other(Error),
}

impl From<Problems> for Refusal {
    fn from(problems: Problems) -> Self {
        Self::File(problems)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What a person should know about a plan.
#[derive(Debug, Clone)]
pub enum Warning {
    /// About a place of the file.
    File(Problem),
    /// About one configuration.
    Configuration {
        /// What people call the configuration.
        label: String,
        /// What a person should know about it before it runs.
        text: String,
    },
}
