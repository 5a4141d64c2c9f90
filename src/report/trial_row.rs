//! A trial as its row of the table says it. Every column that is the same in all tables is named here, and nowhere else in the report.

use polars::prelude::DataFrame;

use super::content::{Content, contents};
use super::frames::{integers, numbers, statuses, words};
use crate::error::Result;
use crate::experiment::settings::tokenizer_label;
use crate::runs::Status;

/// What is known of a trial. A figure is `None` where there is none yet, and where the table is of a version that did not have it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct TrialRow {
    pub(super) id: String,
    pub(super) configuration: Option<i64>,
    pub(super) seed: Option<i64>,
    pub(super) status: Status,
    pub(super) reason: Option<String>,
    pub(super) last_lines: Option<String>,
    pub(super) attempts: Option<i64>,
    /// The trial whose result it shares, where it was not trained itself.
    pub(super) alias_of: Option<String>,
    /// Microseconds since 1970.
    pub(super) started_utc: Option<i64>,
    pub(super) finished_utc: Option<i64>,
    pub(super) training_seconds: Option<f64>,
    pub(super) program: Option<String>,
    /// Version of the program's arithmetic.
    pub(super) arithmetic: Option<i64>,
    pub(super) host: Option<String>,
    /// `cpu`, `cuda:1` …
    pub(super) device: Option<String>,
    /// The kind of processor or GPU.
    pub(super) processor: Option<String>,
    pub(super) threads: Option<i64>,
    /// What its tokenizer is called: `char`, `bpe-512` …
    pub(super) tokenizer: String,
    /// What it learned from and was scored on.
    pub(super) content: Content,
    pub(super) parameters: Option<i64>,
    /// Tokens of the vocabulary.
    pub(super) vocabulary: Option<i64>,
    /// What the plan and the probe expected of it: of the machine on the processor, of the device elsewhere.
    pub(super) planned_memory_bytes: Option<i64>,
    pub(super) probed_memory_bytes: Option<i64>,
    /// How it was scored in the common context, and on how much.
    pub(super) common_context: Option<i64>,
    pub(super) common_stride: Option<i64>,
    pub(super) scored_tokens: Option<i64>,
    pub(super) scored_bytes: Option<i64>,
    /// Step of the best weights.
    pub(super) best_step: Option<i64>,
    /// `None` where gradients are not clipped.
    pub(super) clip_norm: Option<f64>,
    /// Share of the steps whose gradient was clipped.
    pub(super) clipped_share: Option<f64>,
    pub(super) median_gradient_norm: Option<f64>,
    pub(super) amounts: Amounts,
}

/// How much it trains on, and how: what follows from its settings and its text by arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Amounts {
    /// Planned; `None` where the budget is in minutes.
    pub(super) steps: Option<f64>,
    pub(super) target_tokens: Option<f64>,
    /// Done.
    pub(super) steps_done: Option<f64>,
    pub(super) tokens_seen: Option<f64>,
    /// Of the training part.
    pub(super) train_bytes: Option<f64>,
    pub(super) train_tokens: Option<f64>,
    /// Share of the steps.
    pub(super) warmup: Option<f64>,
    pub(super) distinct_targets: Option<f64>,
    /// How often each of those is trained on.
    pub(super) views: Option<f64>,
    pub(super) tokens_per_step: Option<f64>,
    pub(super) flops: Option<f64>,
    pub(super) sequence_length: Option<f64>,
    pub(super) stride: Option<f64>,
}

/// Sets something of each row to the value of a column.
fn set<T>(rows: &mut [TrialRow], values: Vec<T>, set: impl Fn(&mut TrialRow, T)) {
    for (row, value) in rows.iter_mut().zip(values) {
        set(row, value);
    }
}

/// The rows of a table.
///
/// # Errors
/// A column is missing that every version has written.
pub(super) fn rows(frame: &DataFrame) -> Result<Vec<TrialRow>> {
    let mut rows = vec![TrialRow::default(); frame.height()];
    let all = rows.as_mut_slice();
    set(all, words(frame, "trial_id")?, |row, value| row.id = value.unwrap_or_default());
    set(all, integers(frame, "configuration")?, |row, value| row.configuration = value);
    set(all, integers(frame, "seed")?, |row, value| row.seed = value);
    set(all, statuses(frame)?, |row, value| row.status = value);
    set(all, words(frame, "reason")?, |row, value| row.reason = value);
    set(all, words(frame, "last_lines")?, |row, value| row.last_lines = value);
    set(all, integers(frame, "attempts")?, |row, value| row.attempts = value);
    set(all, integers(frame, "started_utc")?, |row, value| row.started_utc = value);
    set(all, integers(frame, "finished_utc")?, |row, value| row.finished_utc = value);
    set(all, numbers(frame, "training_seconds")?, |row, value| row.training_seconds = value);
    set(all, words(frame, "program")?, |row, value| row.program = value);
    set(all, words(frame, "host")?, |row, value| row.host = value);
    set(all, words(frame, "device")?, |row, value| row.device = value);
    set(all, integers(frame, "threads")?, |row, value| row.threads = value);
    set(all, tokenizers(frame)?, |row, value| row.tokenizer = value);
    set(all, contents(frame), |row, value| row.content = value);
    set(all, integers(frame, "parameters")?, |row, value| row.parameters = value);
    set(all, integers(frame, "vocabulary")?, |row, value| row.vocabulary = value);
    set(all, integers(frame, "common_context")?, |row, value| row.common_context = value);
    set(all, integers(frame, "common_stride")?, |row, value| row.common_stride = value);
    set(all, integers(frame, "scored_tokens")?, |row, value| row.scored_tokens = value);
    set(all, integers(frame, "scored_bytes")?, |row, value| row.scored_bytes = value);
    set_later_ones(frame, all);
    set_amounts(frame, all);
    Ok(rows)
}

/// Columns that some versions have not written.
fn set_later_ones(frame: &DataFrame, all: &mut [TrialRow]) {
    let (words, integers) = (|name| words(frame, name).unwrap_or_default(), |name| integers(frame, name).unwrap_or_default());
    let numbers = |name| numbers(frame, name).unwrap_or_default();
    set(all, words("alias_of"), |row, value| row.alias_of = value);
    set(all, integers("arithmetic"), |row, value| row.arithmetic = value);
    set(all, words("processor"), |row, value| row.processor = value);
    set(all, integers("memory_bytes"), |row, value| row.planned_memory_bytes = value);
    set(all, integers("best_step"), |row, value| row.best_step = value);
    set(all, integers("probed_memory_bytes"), |row, value| row.probed_memory_bytes = value);
    set(all, numbers("train_clip_norm"), |row, value| row.clip_norm = value);
    set(all, numbers("clipped_share"), |row, value| row.clipped_share = value);
    set(all, numbers("grad_norm_p50"), |row, value| row.median_gradient_norm = value);
}

/// What is unknown where its column is missing.
fn set_amounts(frame: &DataFrame, all: &mut [TrialRow]) {
    let numbers = |name| numbers(frame, name).unwrap_or_default();
    set(all, numbers("steps"), |row, value| row.amounts.steps = value.filter(|n| *n > 0.0));
    set(all, numbers("target_tokens"), |row, value| row.amounts.target_tokens = value.filter(|n| *n > 0.0));
    set(all, numbers("steps_done"), |row, value| row.amounts.steps_done = value);
    set(all, numbers("tokens_seen"), |row, value| row.amounts.tokens_seen = value);
    set(all, numbers("train_bytes"), |row, value| row.amounts.train_bytes = value);
    set(all, numbers("train_tokens"), |row, value| row.amounts.train_tokens = value);
    set(all, numbers("train_warmup"), |row, value| row.amounts.warmup = value);
    set(all, numbers("distinct_targets"), |row, value| row.amounts.distinct_targets = value);
    set(all, numbers("views"), |row, value| row.amounts.views = value);
    set(all, numbers("tokens_per_step"), |row, value| row.amounts.tokens_per_step = value);
    set(all, numbers("flops"), |row, value| row.amounts.flops = value);
    set(all, numbers("train_sequence_length"), |row, value| row.amounts.sequence_length = value);
    set(all, numbers("train_stride"), |row, value| row.amounts.stride = value);
}

/// The short label of each trial's tokenizer.
fn tokenizers(frame: &DataFrame) -> Result<Vec<String>> {
    let (kind, size) = (words(frame, "tokenizer_kind")?, integers(frame, "tokenizer_vocab_size")?);
    let all = kind.into_iter().zip(size).zip(words(frame, "tokenizer_path")?);
    Ok(all.map(|((kind, size), path)| tokenizer_label(&kind.unwrap_or_default(), size, path.as_deref())).collect())
}
