//! An experiment's table of trials, how it ranks, and the ranking.

use super::comparison::{Comparison, compare};
use super::design::Design;
use super::trials::Trials;
use crate::error::Result;
use crate::runs::{Description, ExperimentFolder};

/// How the configurations of an experiment rank, and by what.
pub(super) struct Ranking {
    pub(super) trials: Trials,
    pub(super) design: Design,
    pub(super) comparison: Comparison,
}

impl Ranking {
    /// Reads it; damaged files are listed. An error of kind [`Kind::Nothing`](crate::error::Kind::Nothing) where there is no plan and
    /// no trial.
    pub(super) fn read(folder: &ExperimentFolder, damaged: &mut Vec<String>) -> Result<Self> {
        let described = Description::find(folder);
        let context = described.as_ref().ok().and_then(|described| described.as_ref()?.common_context);
        let trials = Trials::read(folder, context, damaged)?;
        let columns: Vec<String> = trials.columns().map(str::to_owned).collect();
        // What is missing there has a default, so that no report fails for it.
        let described = described.unwrap_or_else(|error| {
            damaged.push(error.chain());
            None
        });
        let design = Design::of(described.unwrap_or_default(), folder, &columns);
        let comparison = compare(&trials, &design)?;
        Ok(Self { trials, design, comparison })
    }
}
