//! `checkpoint`: what is kept.

use serde::{Deserialize, Serialize};

use crate::experiment::text::fields;

/// `checkpoint`: what is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Between checkpoints, as a fraction of the steps.
    #[serde(deserialize_with = "fields::share")]
    pub every: f64,
    /// How many periodic checkpoints stay.
    #[serde(deserialize_with = "fields::size")]
    pub keep_last: usize,
    /// What stays of a complete trial.
    pub when_done: WhenDone,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { every: 0.1, keep_last: 1, when_done: WhenDone::Weights }
    }
}

/// What stays of a complete trial's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenDone {
    /// Weights of final and best; optimizer state goes.
    Weights,
    /// Everything.
    All,
    /// Weights of the final checkpoint only.
    Final,
}
