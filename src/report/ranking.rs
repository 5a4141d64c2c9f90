//! An experiment's table of trials, how it ranks, and the ranking.

use polars::prelude::DataFrame;

use super::comparison::{Comparison, compare};
use super::protocol::Protocol;
use super::trials::trials;
use crate::error::Result;
use crate::runs::{Description, ExperimentFolder};

/// How the configurations of an experiment rank, and by what.
pub(super) struct Ranking {
    /// The table of trials.
    pub(super) frame: DataFrame,
    pub(super) protocol: Protocol,
    pub(super) comparison: Comparison,
}

impl Ranking {
    /// Reads it; damaged files are listed. An error of kind [`Kind::Nothing`](crate::error::Kind::Nothing) where there is no plan and
    /// no trial.
    pub(super) fn read(folder: &ExperimentFolder, damaged: &mut Vec<String>) -> Result<Self> {
        let described = Description::find(folder);
        let context = described.as_ref().ok().and_then(|described| described.as_ref()?.common_context);
        let frame = trials(folder, context, damaged)?;
        let columns: Vec<String> = frame.get_column_names().iter().map(|name| name.to_string()).collect();
        // What is missing there has a default, so that no report fails for it.
        let described = described.unwrap_or_else(|error| {
            damaged.push(error.chain());
            None
        });
        let protocol = Protocol::of(described.unwrap_or_default(), folder, &columns);
        let comparison = compare(&frame, &protocol)?;
        Ok(Self { frame, protocol, comparison })
    }
}
