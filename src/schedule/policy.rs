//! The rules of a run, and what follows when an attempt ends badly.

use serde::Serialize;

use super::{Cause, GpuSlots};

/// The rules of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Trials at a time.
    pub slots: usize,
    /// Cores that the slots share.
    pub cores: usize,
    /// CPU threads a slot; `None` shares the cores that are free among the slots that will be used.
    pub threads: Option<usize>,
    /// Whether trials run on a GPU, whose memory threads do not fill.
    pub on_gpu: bool,
    /// Whether trials run on a cluster: each has memory of its own there, and can be given more.
    pub on_cluster: bool,
    /// The NVIDIA GPUs and their slots, which `slots` counts then; empty elsewhere.
    pub gpus: Vec<GpuSlots>,
    /// How often a trial that crashed, hung or was killed is started again.
    pub retries: u32,
    /// Seconds before the first retry; four times as many before each further one, at most [`Policy::LONGEST_BACKOFF`].
    pub backoff_seconds: f64,
    /// When everything must have ended, microseconds since 1970 (UTC).
    pub until_utc: Option<i64>,
    /// After trials of so many shapes, one after another, that failed for the same reason nothing is started any more.
    pub same_failures: usize,
}

impl Policy {
    /// Longest pause before a retry, seconds.
    pub const LONGEST_BACKOFF: f64 = 300.0;

    /// Microseconds to wait after this many failures.
    pub(super) fn backoff(&self, failures: u32) -> i64 {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = (self.backoff_seconds * 4f64.powi(exponent)).min(Self::LONGEST_BACKOFF);
        (seconds * 1e6) as i64
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            slots: 1,
            cores: 1,
            threads: None,
            on_gpu: false,
            on_cluster: false,
            gpus: Vec::new(),
            retries: 2,
            backoff_seconds: 2.0,
            until_utc: None,
            same_failures: 5,
        }
    }
}

/// How a trial is tried again that ran out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lighter {
    /// On fewer threads, at most so many: fewer windows are worked on at once. The result is the same to the bit.
    Threads(u32),
    /// While no other trial runs.
    Alone,
    /// With four times the memory: a cluster has more.
    MoreMemory,
}

/// What follows from a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The trial is over: it would end so again.
    Final,
    /// It goes on from its checkpoint after a pause, [`Policy::retries`] times.
    Retry,
    /// It is tried where it has more memory, and others of its shape wait for what becomes of it: see `shapes`.
    MoreMemory,
    /// Nothing is started until the disk has room; then it goes on, as often as need be: see `disk`.
    WaitForDisk,
}

impl Cause {
    /// What follows from it.
    pub(super) fn consequence(self) -> Consequence {
        match self {
            Self::Refused | Self::BadData => Consequence::Final,
            Self::NotStarted | Self::Crash | Self::Hang | Self::Device | Self::Unknown => Consequence::Retry,
            Self::Memory => Consequence::MoreMemory,
            Self::Disk => Consequence::WaitForDisk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_fourfold_up_to_five_minutes() {
        let policy = Policy::default();
        let seconds: Vec<i64> = (1..=6).map(|n| policy.backoff(n) / 1_000_000).collect();
        assert_eq!(seconds, [2, 8, 32, 128, 300, 300]);
        assert_eq!(policy.backoff(u32::MAX), 300_000_000);
    }
}
