//! What a trial tells: the rows of its tables, and the trait that receives them while it trains.
//!
//! They are plain data. What trains makes them, what keeps, ranks and shows them has no tensors.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Version of the arithmetic that makes steps: where it differs, an unfinished trial starts over, since it could not go on bit for bit.
pub const ARITHMETIC: u32 = 4;

/// Version of the protocol that makes scores: where it differs, a score is not comparable, and finished trials are to be scored again.
pub const PROTOCOL: u32 = 1;

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// The trial's attempt that made the step, from 1.
    pub attempt: i32,
    /// Steps done after this one, from 1.
    pub step: i64,
    /// The epoch this step belongs to, from 1.
    pub epoch: i64,
    /// Target tokens trained on after this step.
    pub tokens_seen: i64,
    /// Mean training loss of this batch, nats per token.
    pub loss: Option<f64>,
    /// Global L2 norm of the gradients before clipping.
    pub grad_norm: Option<f64>,
    /// What the gradients were multiplied with; 1 where nothing was clipped.
    pub clip_coefficient: Option<f64>,
    /// Whether the coefficient was below 1.
    pub clipped: bool,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Seconds this step took.
    pub step_seconds: f64,
    /// Target tokens a second in this step.
    pub tokens_per_second: f64,
    /// Microseconds since 1970 (UTC).
    pub time_utc: i64,
}

/// How a score was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The context that every configuration of the experiment has.
    Common,
    /// The configuration's own sequence length.
    Native,
}

impl Protocol {
    /// `common` or `native`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Common => "common",
            Self::Native => "native",
        }
    }
}

/// Which weights were scored or kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// On the way.
    Periodic,
    /// Those with the lowest validation loss so far.
    Best,
    /// At the end of the budget.
    Final,
}

impl CheckpointKind {
    /// `periodic`, `best` or `final`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Periodic => "periodic",
            Self::Best => "best",
            Self::Final => "final",
        }
    }
}

/// What is held out of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoredPart {
    /// What ranks.
    Validation,
    /// What is scored once, at the end.
    Test,
}

impl ScoredPart {
    /// `validation` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// One evaluation on held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRow {
    /// Steps done when it was made.
    pub step: i64,
    /// Target tokens trained on by then.
    pub tokens_seen: i64,
    /// `common` or `native`.
    pub protocol: Protocol,
    /// `periodic` (cheap, on the way), `best` or `final` (in full).
    pub kind: CheckpointKind,
    /// The part that was scored.
    pub part: ScoredPart,
    /// Largest number of tokens a prediction saw.
    pub context: i64,
    /// How far the evaluation window moved.
    pub stride: i64,
    /// Tokens scored, each exactly once.
    pub scored_tokens: i64,
    /// UTF-8 bytes of exactly those tokens.
    pub scored_bytes: i64,
    /// Sum of the negative log-likelihoods, nats; `None` where it is not finite.
    pub nll_sum: Option<f64>,
    /// Seconds it took. Windows that an earlier evaluation of the same weights predicted take none.
    pub seconds: f64,
    /// Microseconds since 1970 (UTC).
    pub time_utc: i64,
}

impl EvaluationRow {
    /// Mean loss, nats per token.
    pub fn loss(&self) -> Option<f64> {
        self.nll_sum.map(|sum| sum / self.scored_tokens as f64)
    }

    /// exp(loss); `None` where it overflows.
    pub fn perplexity(&self) -> Option<f64> {
        self.loss().map(f64::exp).filter(|p| p.is_finite())
    }

    /// NLL sum / (bytes × ln 2).
    pub fn bits_per_byte(&self) -> Option<f64> {
        self.nll_sum.map(|sum| sum / (self.scored_bytes as f64 * std::f64::consts::LN_2))
    }
}

/// One checkpoint written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRow {
    /// Steps done.
    pub step: i64,
    /// Target tokens trained on.
    pub tokens_seen: i64,
    /// `periodic`, `best` or `final`.
    pub kind: CheckpointKind,
    /// Its folder, relative to the trial's.
    pub path: String,
    /// Bytes of weights, optimizer and what describes them.
    pub bytes: i64,
    /// BLAKE3 of its weights, `model.safetensors`.
    pub blake3: String,
    /// Validation loss at that step, where one was measured.
    pub validation_loss: Option<f64>,
    /// Seconds it took to write.
    pub save_seconds: f64,
    /// Microseconds since 1970 (UTC).
    pub time_utc: i64,
    /// When it was deleted again; `None` while it is on disk.
    pub deleted_utc: Option<i64>,
}

/// The NLL of each scored token of an evaluation in full.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenNll {
    /// `common` or `native`.
    pub protocol: Protocol,
    /// Largest number of tokens a prediction saw.
    pub context: i64,
    /// How far the evaluation window moved.
    pub stride: i64,
    /// `best` or `final`.
    pub kind: CheckpointKind,
    /// Position of each scored token in the part, from 1 (token 1 is context only, so the first is 2).
    pub positions: Vec<i64>,
    /// The tokens' numbers in the vocabulary.
    pub tokens: Vec<u32>,
    /// Nats.
    pub nll: Vec<f32>,
}

/// The loss by the place in the window, over every target of every window of an evaluation in full in a configuration's own
/// context. Windows overlap by half, so most tokens count twice: once with little before them and once with much. What is scored
/// counts each once and is in [`EvaluationRow`]; this says what more context is worth to the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Positions {
    /// `native`.
    pub protocol: Protocol,
    /// Tokens in a window.
    pub context: i64,
    /// `best` or `final`.
    pub kind: CheckpointKind,
    /// From the first place to the last.
    pub bins: Vec<PositionBin>,
}

/// Places in the window, from 1 (a target at place p is predicted from p tokens): 1, 2, 3–4, 5–8, 9–16 …
#[derive(Debug, Clone, PartialEq)]
pub struct PositionBin {
    /// The first of them.
    pub first: i64,
    /// The last of them.
    pub last: i64,
    /// Targets there.
    pub tokens: i64,
    /// Sum of their NLL, nats; not finite where one of them is not.
    pub nll_sum: f64,
}

/// `sample.json`: what a trial's final weights write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Steps that the weights were trained for.
    pub step: u64,
    /// The text it goes on from.
    pub prompt: String,
    /// What follows.
    pub text: String,
    /// Tokens of it.
    pub tokens: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// How they were drawn.
    pub sampling: Sampling,
}

/// How a token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// What the logits are divided by: below 1 likely tokens become likelier; 0 takes the likeliest, the lowest number on ties.
    pub temperature: f64,
    /// Only so many of the likeliest tokens are drawn from (the lower number on ties); 0: all of them.
    pub top_k: usize,
}

/// What a trial is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading its job and its checkpoint.
    Starting,
    /// Making steps.
    Training,
    /// Scoring a part of the validation text on the way.
    Evaluating,
    /// Writing a checkpoint.
    Saving,
    /// Scoring in full at the end.
    Scoring,
    /// Scoring a finished trial again.
    Rescoring,
    /// Waiting until the disk has room for what it is to write.
    #[serde(rename = "waiting")]
    WaitingForRoom,
}

impl Phase {
    /// `starting`, `training`, `evaluating`, `saving`, `scoring`, `rescoring` or `waiting`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Training => "training",
            Self::Evaluating => "evaluating",
            Self::Saving => "saving",
            Self::Scoring => "scoring",
            Self::Rescoring => "rescoring",
            Self::WaitingForRoom => "waiting",
        }
    }
}

/// Now, as rows and every other record have it: microseconds since 1970 (UTC), by this machine's clock.
pub fn now_utc() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// How much of a trial is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Steps, from the first one without a gap.
    pub steps: i64,
    /// Evaluations on the way.
    pub evaluations: i64,
}

/// Receives what a trial tells. Rows of a step come in order; an evaluation at a step before the checkpoint of that step.
pub trait Recorder {
    /// The trial does something else now.
    fn phase(&mut self, _phase: Phase) {}
    /// The trial starts over although it has a checkpoint: why, in words. Told before [`Recorder::resume`].
    fn starts_over(&mut self, _why: &str) {}
    /// What is recorded of the trial, of evaluations those up to `step`; `None` where nothing is kept that a checkpoint relies on.
    fn recorded(&self, _step: i64) -> Option<Recorded> {
        None
    }
    /// A trial starts or goes on after `step` steps: rows after that step are of an attempt that was lost, and go. So do the scores in full
    /// of the final weights, which will be made again; those of the best ones, whose weights may be gone, wait for
    /// [`Recorder::keep_best`].
    fn resume(&mut self, step: i64) -> Result<()>;
    /// What an earlier attempt recorded of the best weights stays where all of it was measured as one of these evaluations of the final
    /// weights was; else it goes. The evaluations that stay.
    fn keep_best(&mut self, _like: &[EvaluationRow]) -> Result<Vec<EvaluationRow>> {
        Ok(Vec::new())
    }
    /// A step was made.
    fn step(&mut self, row: &StepRow) -> Result<()>;
    /// An evaluation was made. A row of the same step, protocol, kind and part (of a scoring that was cut off) is replaced.
    fn evaluation(&mut self, row: &EvaluationRow) -> Result<()>;
    /// A checkpoint was written. A row of the same step is replaced.
    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()>;
    /// A checkpoint was deleted at this time (microseconds since 1970, UTC).
    fn checkpoint_deleted(&mut self, path: &str, time_utc: i64) -> Result<()>;
    /// Every token of an evaluation in full was scored. Rows of the same protocol and kind are replaced.
    fn token_nll(&mut self, scores: &TokenNll) -> Result<()>;
    /// The loss by the place in the window. Rows of the same protocol and kind are replaced.
    fn positions(&mut self, positions: &Positions) -> Result<()>;
    /// What was received must be on disk when this returns.
    fn flush(&mut self) -> Result<()>;
}
