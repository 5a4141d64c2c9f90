//! The columns of what became of a trial.

use super::cell::{NamedCell, float, int, text, time};
use super::planned::Planned;
use super::scores::score_cells;
use crate::plan::TrialId;
use crate::runs::{Attempt, Clipping, Outcome, State, Status};

/// What became of one trial so far.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialState {
    /// What it is doing now.
    pub status: Status,
    /// Why, in a sentence, where it did not go well.
    pub reason: Option<String>,
    /// Its executions, in order.
    pub attempts: Vec<Attempt>,
    /// How it ended, where it did.
    pub outcome: Option<Outcome>,
    /// The memory that a probe said it would take, bytes: of the machine on the processor, of the device elsewhere. `None` where
    /// none was made.
    pub probed_memory_bytes: Option<i64>,
}

impl TrialState {
    /// Of a trial that nobody has started.
    pub(super) fn waiting() -> Self {
        Self { status: Status::Waiting, reason: None, attempts: Vec::new(), outcome: None, probed_memory_bytes: None }
    }
}

impl From<State> for TrialState {
    fn from(state: State) -> Self {
        let State { status, reason, attempts, outcome, .. } = state;
        Self { status, reason, attempts, outcome, probed_memory_bytes: None }
    }
}

/// How a trial stands, what it took, its scores, what trained it, and what clipping met.
pub(super) fn state_cells(planned: Planned, state: &TrialState) -> Vec<NamedCell> {
    let outcome = state.outcome.as_ref();
    let mut cells = Vec::from(course_cells(state));
    cells.extend(score_cells(planned, outcome));
    cells.extend(origin_cells(outcome, state.attempts.last()));
    let clipping = outcome.and_then(|o| o.clipping.as_ref());
    cells.extend([
        float("clipped_share", clipping.map(Clipping::clipped_share)),
        float("grad_norm_p50", clipping.map(|c| c.grad_norm_p50)),
        float("grad_norm_p90", clipping.map(|c| c.grad_norm_p90)),
        float("grad_norm_p99", clipping.map(|c| c.grad_norm_p99)),
        float("grad_norm_max", clipping.map(|c| c.grad_norm_max)),
    ]);
    cells
}

/// How it stands, and the time and memory that it took.
fn course_cells(state: &TrialState) -> [NamedCell; 12] {
    let outcome = state.outcome.as_ref();
    let tokens = outcome.map(|o| o.tokens_seen);
    // Nothing was trained for an alias: a time would be counted twice.
    let seconds = outcome.filter(|o| o.alias_of.is_none()).map(|o| o.training_seconds);
    let rate = tokens.zip(seconds).filter(|(_, s)| *s > 0.0).map(|(t, s)| t as f64 / s);
    let reason = state.reason.as_deref().or_else(|| outcome.and_then(|o| o.reason.as_deref()));
    [
        text("status", Some(state.status.name())),
        text("reason", reason),
        int("attempts", Some(state.attempts.len() as i64)),
        time("started_utc", state.attempts.first().map(|a| a.started_utc)),
        time("finished_utc", outcome.map(|o| o.finished_utc)),
        int("steps_done", outcome.map(|o| o.steps)),
        int("tokens_seen", tokens),
        float("training_seconds", seconds),
        float("tokens_per_second", rate),
        int("probed_memory_bytes", state.probed_memory_bytes),
        int("peak_memory_bytes", outcome.map(|o| o.peak_memory_bytes)),
        int("peak_device_memory_bytes", outcome.and_then(|o| o.peak_device_memory_bytes)),
    ]
}

/// By which program and where it was trained, and the last lines that were written there.
fn origin_cells(outcome: Option<&Outcome>, last: Option<&Attempt>) -> [NamedCell; 9] {
    let program = outcome.map(|o| o.program.as_str()).or_else(|| last.map(|a| a.program.as_str()));
    let device = last.map(|a| a.device.to_string());
    // An alias has no attempt: it is that of its source.
    let gpu = outcome.and_then(|o| o.gpu.as_ref()).or_else(|| last?.gpu.as_ref());
    let last_lines = last.map(|a| a.last_lines.join("\n")).filter(|lines| !lines.is_empty());
    let alias_of = outcome.and_then(|o| o.alias_of.as_ref());
    [
        text("program", program),
        int("arithmetic", outcome.and_then(|o| o.arithmetic).map(i64::from)),
        text("host", last.map(|a| a.host.as_str())),
        text("device", device.as_deref()),
        text("gpu_uuid", gpu.map(|gpu| gpu.uuid.as_str())),
        text("processor", outcome.and_then(|o| o.processor.as_deref())),
        int("threads", last.map(|a| i64::from(a.threads))),
        text("last_lines", last_lines.as_deref()),
        text("alias_of", alias_of.map(TrialId::as_str)),
    ]
}
