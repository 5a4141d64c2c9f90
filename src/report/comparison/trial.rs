//! The trials of an experiment, each with the figures that rank.

use crate::error::Result;
use crate::report::design::Design;
use crate::report::loss_scale::LossScale;
use crate::report::trial_row::TrialRow;
use crate::report::trials::{Scored, Trials};
use crate::runs::Status;

/// A trial as the report knows it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct TrialLine {
    pub(in crate::report) id: String,
    pub(in crate::report) configuration: i64,
    pub(in crate::report) seed: Option<i64>,
    pub(in crate::report) status: Status,
    pub(in crate::report) reason: Option<String>,
    pub(in crate::report) last_lines: Option<String>,
    pub(in crate::report) attempts: i64,
    /// Whether its figures count: complete, and scored at the context of the others.
    pub(in crate::report) counts: bool,
    /// The trial whose result it shares, where it was not trained itself.
    pub(in crate::report) alias_of: Option<String>,
    pub(in crate::report) perplexity: Option<f64>,
    pub(in crate::report) loss: Option<f64>,
    pub(in crate::report) bits_per_byte: Option<f64>,
    /// Step of its best weights; of the final ones where these are the best.
    pub(in crate::report) best_step: Option<i64>,
    /// How its losses are drawn.
    pub(in crate::report) loss_scale: LossScale,
    pub(in crate::report) started_utc: Option<i64>,
    pub(in crate::report) finished_utc: Option<i64>,
}

/// The trials of the table, in its order; those that were scored at another context than this do not count.
pub(super) fn trial_lines(trials: &Trials, design: &Design, context: Option<i64>) -> Result<Vec<TrialLine>> {
    let scored = trials.scored(design.score())?;
    let line = |(row, scored): (&TrialRow, Scored)| TrialLine {
        id: row.id.clone(),
        configuration: row.configuration.unwrap_or(0),
        seed: row.seed,
        status: row.status,
        reason: row.reason.clone(),
        last_lines: row.last_lines.clone(),
        attempts: row.attempts.unwrap_or(0),
        counts: row.status == Status::Completed
            && scored.loss.is_some()
            && (context.is_none() || row.common_context.is_none() || row.common_context == context),
        alias_of: row.alias_of.clone(),
        perplexity: scored.perplexity,
        loss: scored.loss,
        bits_per_byte: scored.bits_per_byte,
        best_step: row.best_step,
        loss_scale: LossScale::Nats,
        started_utc: row.started_utc,
        finished_utc: row.finished_utc,
    };
    Ok(trials.rows().iter().zip(scored).map(line).collect())
}
