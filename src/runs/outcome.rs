//! What a worker leaves behind: its outcome, its progress, its attempts.

use serde::{Deserialize, Serialize};

use super::{AttemptEnd, Clipping, End, Published};
use crate::device::{Device, Gpu};
use crate::plan::TrialId;
use crate::rows::{CheckpointKind, EvaluationRow, Phase, Protocol};
use crate::rows::{PROTOCOL, ScoredPart};

/// `outcome.json`: written last, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Why, in a sentence; `None` where it is complete.
    pub reason: Option<String>,
    /// Steps done.
    pub steps: i64,
    /// Target tokens trained on.
    pub tokens_seen: i64,
    /// Seconds inside training steps, over all attempts that count.
    pub training_seconds: f64,
    /// Largest resident memory of the last attempt's process, bytes.
    pub peak_memory_bytes: i64,
    /// The most memory that the last attempt took of a GPU, bytes; `None` where it was trained on the processor or nobody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_device_memory_bytes: Option<i64>,
    /// Evaluations in full of the final and the best weights.
    pub scores: Vec<EvaluationRow>,
    /// Version of the protocol that they were made by.
    #[serde(default = "first_protocol")]
    pub protocol: u32,
    /// Microseconds since 1970 (UTC).
    pub finished_utc: i64,
    /// The program that finished it.
    pub program: String,
    /// Version of that program's arithmetic: trials of the same compare, whatever else changed in the program. `None` in outcomes of
    /// before it was written down, and where the runner gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<u32>,
    /// The kind of processor or GPU that trained it, as far as it matters to bits; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// The GPU that trained it at last, where it was an NVIDIA one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// How large the gradients were, and how often they were clipped; `None` where no step was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipping: Option<Clipping>,
    /// The trained trial that this one is the same as, to the bit; `None` where it was trained itself. Steps, scores,
    /// clipping, and what trained it are the source's then, `training_seconds` is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<TrialId>,
    /// What its files are. None are named by an earlier version, and where the runner gave up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Published>,
}

/// What outcomes of before there were versions were scored by.
fn first_protocol() -> u32 {
    1
}

impl Outcome {
    /// Whether it was called diverged by the rule of an earlier version: by the mean of the last 20 losses alone, also where the
    /// loss had come back. Those versions left nothing but the sentence.
    pub fn by_an_earlier_rule(&self) -> bool {
        let by_the_mean = |reason: &String| reason.starts_with("the mean loss of the last 20 steps is ");
        self.end == End::Diverged && self.reason.as_ref().is_some_and(by_the_mean)
    }

    /// Of a trial that is given up, with this end: what its worker said last is all that is known of it.
    pub fn given_up(end: End, reason: &str, progress: Option<&Progress>, finished_utc: i64, program: &str) -> Self {
        Self {
            end,
            reason: Some(reason.to_owned()),
            steps: progress.map_or(0, |p| p.step),
            tokens_seen: progress.map_or(0, |p| p.tokens_seen),
            training_seconds: progress.map_or(0.0, |p| p.training_seconds),
            peak_memory_bytes: 0,
            peak_device_memory_bytes: None,
            scores: Vec::new(),
            protocol: PROTOCOL,
            finished_utc,
            program: program.to_owned(),
            arithmetic: None,
            processor: None,
            gpu: None,
            clipping: None,
            alias_of: None,
            files: Vec::new(),
        }
    }

    /// The newest score of a part.
    pub fn score(&self, part: ScoredPart, protocol: Protocol, kind: CheckpointKind) -> Option<&EvaluationRow> {
        self.scores.iter().rev().find(|row| row.protocol == protocol && row.kind == kind && row.part == part)
    }
}

#[cfg(test)]
impl Outcome {
    /// A trial that ended so after one step, never scored: what tests begin with.
    pub(crate) fn example(end: End) -> Self {
        Self {
            end,
            reason: None,
            steps: 1,
            tokens_seen: 1,
            training_seconds: 1.0,
            peak_memory_bytes: 1,
            peak_device_memory_bytes: None,
            scores: Vec::new(),
            protocol: 1,
            finished_utc: 1,
            program: String::new(),
            arithmetic: None,
            processor: None,
            gpu: None,
            clipping: None,
            alias_of: None,
            files: Vec::new(),
        }
    }
}

/// `progress.json`: how far a worker is. Decides nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Attempt, from 1.
    pub attempt: u32,
    /// What it is doing.
    pub phase: Phase,
    /// Steps done.
    pub step: i64,
    /// Steps of the whole trial; 0 where the budget is in minutes.
    pub steps: i64,
    /// Target tokens trained on.
    pub tokens_seen: i64,
    /// Share of the budget that is done, 0 to 1.
    pub fraction: f64,
    /// Mean training loss of the last steps.
    pub loss: Option<f64>,
    /// Latest validation loss.
    pub validation_loss: Option<f64>,
    /// Target tokens a second over the last steps.
    pub tokens_per_second: Option<f64>,
    /// Seconds inside training steps so far.
    pub training_seconds: f64,
    /// Why it began with its first step although there was a checkpoint, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_over: Option<String>,
    /// Microseconds since 1970 (UTC).
    pub time_utc: i64,
}

impl Progress {
    /// Steps of the whole trial; `None` where the budget is in minutes.
    pub fn counted_steps(&self) -> Option<i64> {
        Some(self.steps).filter(|steps| *steps > 0)
    }
}

impl Progress {
    /// Whether it says how far the trial is: a worker that is still looking for its checkpoint does not know yet, and one that
    /// scores a finished trial again has nothing to train.
    pub fn knows_how_far(&self) -> bool {
        !matches!(self.phase, Phase::Starting | Phase::Rescoring)
    }
}

/// `attempts/0001.json`: one execution of a trial, and its worker's claim on the trial. Created by the worker when it starts, written again
/// when it has found its checkpoint and when it ends well, by the runner when the worker ended otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number, from 1.
    pub attempt: u32,
    /// Process id.
    pub pid: u32,
    /// Name of the machine.
    pub host: String,
    /// The boot of that machine; `None` where it does not say, and in attempts of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// What no other attempt has, of whatever machine; an earlier version had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Slot it ran in, from 1.
    pub slot: u32,
    /// CPU threads.
    pub threads: u32,
    /// What it was computed on.
    pub device: Device,
    /// Which GPU that is, where it is an NVIDIA one; an earlier version did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// The program's version and build.
    pub program: String,
    /// Steps done when it began to train: those of the checkpoint that it went on from.
    pub from_step: i64,
    /// Microseconds since 1970 (UTC).
    pub started_utc: i64,
    /// Microseconds since 1970 (UTC); `None` while it runs and after a kill.
    pub ended_utc: Option<i64>,
    /// How it ended; `None` while it runs and after a kill.
    pub ended: Option<AttemptEnd>,
    /// The last lines it said, where it ended badly.
    pub last_lines: Vec<String>,
}

impl Attempt {
    /// Whether it ended badly: without an outcome, and not because somebody stopped it. Of one that was killed with its runner
    /// nobody knows.
    pub fn ended_badly(&self) -> bool {
        matches!(self.ended, Some(AttemptEnd::Badly(_)))
    }
}

#[cfg(test)]
impl Attempt {
    /// A first attempt that goes on: what tests begin with.
    pub(crate) fn example() -> Self {
        Self {
            attempt: 1,
            pid: 1,
            host: String::new(),
            boot: None,
            token: None,
            slot: 1,
            threads: 1,
            device: Device::Cpu,
            gpu: None,
            program: String::new(),
            from_step: 0,
            started_utc: 1,
            ended_utc: None,
            ended: None,
            last_lines: Vec::new(),
        }
    }
}

/// What a trial is doing now: derived from its folder, never stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Never started.
    #[default]
    Waiting,
    /// A worker holds its lock.
    Running,
    /// Started, not finished, nobody is at it.
    Interrupted,
    /// The whole budget was trained and scored.
    Completed,
    /// Loss or gradient norm were not finite.
    Diverged,
    /// It does not fit into memory.
    DidNotFit,
    /// It crashed for good.
    Failed,
    /// Its files cannot be read.
    Damaged,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Running,
        Self::Interrupted,
        Self::Completed,
        Self::Diverged,
        Self::DidNotFit,
        Self::Failed,
        Self::Damaged,
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The same for people: `did not fit`.
    pub fn words(self) -> String {
        self.name().replace('_', " ")
    }

    /// Whether a trial ended so without a result.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Diverged | Self::Failed | Self::DidNotFit | Self::Damaged)
    }

    /// The word for it, as in tables and Parquet.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Completed => "completed",
            Self::Diverged => "diverged",
            Self::DidNotFit => "did_not_fit",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
        }
    }
}

impl From<End> for Status {
    fn from(end: End) -> Self {
        match end {
            End::Completed => Self::Completed,
            End::Diverged => Self::Diverged,
            End::DidNotFit => Self::DidNotFit,
            End::Failed => Self::Failed,
        }
    }
}
