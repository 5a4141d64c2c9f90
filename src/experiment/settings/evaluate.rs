//! `evaluate`: how a trial is scored.

use serde::{Deserialize, Serialize};

use crate::experiment::text::fields;

/// `evaluate`: how a trial is scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Between evaluations, as a fraction of the steps.
    #[serde(deserialize_with = "fields::share")]
    pub every: f64,
    /// Largest share of the training work that periodic evaluation may cost.
    #[serde(deserialize_with = "fields::fraction")]
    pub at_most: f64,
    /// How much of each held-out part is scored.
    #[serde(deserialize_with = "fields::positive")]
    pub max_bytes: u64,
    /// The common context; the default is the smallest sequence length of the planned trials.
    #[serde(deserialize_with = "fields::maybe_size")]
    pub context: Option<usize>,
    /// `common` or `native`.
    pub rank_by: RankBy,
    /// `final` or `best`.
    pub rank_at: RankAt,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self { every: 0.1, at_most: 0.05, max_bytes: 1_000_000, context: None, rank_by: RankBy::Common, rank_at: RankAt::Final }
    }
}

/// Which context ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankBy {
    /// The context that every configuration has.
    Common,
    /// Each configuration's own.
    Native,
}

/// Which weights rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankAt {
    /// Those at the end of the budget.
    Final,
    /// Those with the lowest validation loss on the way (chosen on validation).
    Best,
}
