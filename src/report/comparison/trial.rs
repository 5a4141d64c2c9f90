//! The trials of an experiment, each with the figures that rank.

use polars::prelude::DataFrame;

use crate::error::Result;
use crate::report::frames::{integers, numbers, statuses, words};
use crate::report::protocol::Protocol;
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
    pub(in crate::report) started_utc: Option<i64>,
    pub(in crate::report) finished_utc: Option<i64>,
}

/// The trials of the table, in its order; those that were scored at another context than this do not count.
pub(super) fn trial_lines(frame: &DataFrame, protocol: &Protocol, context: Option<i64>) -> Result<Vec<TrialLine>> {
    let score = protocol.score();
    let (id, status, reason) = (words(frame, "trial_id")?, statuses(frame)?, words(frame, "reason")?);
    let (configuration, seed) = (integers(frame, "configuration")?, integers(frame, "seed")?);
    let (last_lines, attempts) = (words(frame, "last_lines")?, integers(frame, "attempts")?);
    let perplexity = numbers(frame, &format!("{score}_perplexity"))?;
    let (loss, bits) = (numbers(frame, &format!("{score}_loss"))?, numbers(frame, &format!("{score}_bits_per_byte"))?);
    let (started, finished) = (integers(frame, "started_utc")?, integers(frame, "finished_utc")?);
    let contexts = integers(frame, "common_context")?;
    // Tables of older versions know no aliases.
    let alias_of = words(frame, "alias_of").unwrap_or_else(|_| vec![None; frame.height()]);
    Ok((0..frame.height())
        .map(|row| TrialLine {
            id: id[row].clone().unwrap_or_default(),
            configuration: configuration[row].unwrap_or(0),
            seed: seed[row],
            status: status[row],
            reason: reason[row].clone(),
            last_lines: last_lines[row].clone(),
            attempts: attempts[row].unwrap_or(0),
            counts: status[row] == Status::Completed
                && loss[row].is_some()
                && (context.is_none() || contexts[row].is_none() || contexts[row] == context),
            alias_of: alias_of[row].clone(),
            perplexity: perplexity[row],
            loss: loss[row],
            bits_per_byte: bits[row],
            started_utc: started[row],
            finished_utc: finished[row],
        })
        .collect())
}
