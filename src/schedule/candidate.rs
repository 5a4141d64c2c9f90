//! What the queue knows of a trial before it runs, and the order in which trials are started.

use std::cmp::Ordering;

use super::family::limit;
use crate::experiment::settings::ClipNorm;
use crate::plan::TrialId;
use crate::runs::{End, Status};

/// What a trial's folder says when the runner starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never started.
    Waiting,
    /// Started, not finished, nobody is at it.
    Interrupted,
    /// A worker that is not ours holds its lock: an earlier runner's that is still saving, or one started by hand.
    HeldElsewhere,
    /// It is over.
    Done(End),
}

impl From<Status> for Standing {
    /// A damaged trial is worked on again; one that is to be tried again must be reopened in its folder first.
    fn from(status: Status) -> Self {
        match status {
            Status::Waiting => Self::Waiting,
            Status::Running => Self::HeldElsewhere,
            Status::Interrupted | Status::Damaged => Self::Interrupted,
            Status::Completed => Self::Done(End::Completed),
            Status::Diverged => Self::Done(End::Diverged),
            Status::DidNotFit => Self::Done(End::DidNotFit),
            Status::Failed => Self::Done(End::Failed),
        }
    }
}

/// A trial as the queue sees it. Their order in the queue's list is the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The trial.
    pub id: TrialId,
    /// Which of its configuration's seeds it has, from 0: a round is one seed of every configuration.
    pub round: usize,
    /// Its largest gradient norm.
    pub clip_norm: ClipNorm,
    /// The number of its family: trials that are equal but for the clip norm, of which one may turn out to be the same as another.
    /// `None` where it is trained in any case.
    pub family: Option<usize>,
    /// A number that it shares with those trials that are the same as this one under other names: one of them is trained. No
    /// family has that number. `None` where there is no other.
    pub twins: Option<usize>,
    /// Seconds of work that are left of it, where they are known.
    pub expected_seconds: Option<f64>,
    /// What its folder says.
    pub standing: Standing,
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The trial.
    pub trial: TrialId,
    /// The slot, from 1.
    pub slot: u32,
    /// CPU threads.
    pub threads: u32,
}

/// The rules of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Trials at a time.
    pub slots: usize,
    /// Cores that the slots share.
    pub cores: usize,
    /// CPU threads a slot; `None` shares the cores that are free among the slots that will be used.
    pub threads: Option<usize>,
    /// How often a trial that crashed, hung or was killed is started again.
    pub retries: u32,
    /// Seconds before the first retry; four times as many before each further one, at most [`Policy::LONGEST_BACKOFF`].
    pub backoff_seconds: f64,
    /// When everything must have ended, microseconds since 1970 (UTC).
    pub until_utc: Option<i64>,
    /// After so many trials one after another that failed for the same reason nothing is started any more.
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
        Self { slots: 1, cores: 1, threads: None, retries: 2, backoff_seconds: 2.0, until_utc: None, same_failures: 5 }
    }
}

/// Which of two trials is started first: one seed of every configuration; within a round what was interrupted; then those of
/// families, `off` and large clip norms before smaller (where those never bind, smaller ones need not be trained at all: see
/// `family`); then the longest, since a long trial begun last leaves the other slots idle.
pub(super) fn order(a: (&Candidate, bool), b: (&Candidate, bool)) -> Ordering {
    let ((a, a_interrupted), (b, b_interrupted)) = (a, b);
    // A trial of unknown length may be the longest.
    let seconds = |c: &Candidate| c.expected_seconds.unwrap_or(f64::INFINITY);
    // What is trained in any case has nobody waiting for it, whatever its clip norm.
    let limit = |c: &Candidate| if c.family.is_some() { limit(c) } else { f64::NEG_INFINITY };
    a.round
        .cmp(&b.round)
        .then(b_interrupted.cmp(&a_interrupted))
        .then(limit(b).total_cmp(&limit(a)))
        .then(seconds(b).total_cmp(&seconds(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_standing() {
        for (status, standing) in [
            (Status::Waiting, Standing::Waiting),
            (Status::Running, Standing::HeldElsewhere),
            (Status::Interrupted, Standing::Interrupted),
            (Status::Damaged, Standing::Interrupted),
            (Status::Completed, Standing::Done(End::Completed)),
            (Status::Diverged, Standing::Done(End::Diverged)),
            (Status::DidNotFit, Standing::Done(End::DidNotFit)),
            (Status::Failed, Standing::Done(End::Failed)),
        ] {
            assert_eq!(Standing::from(status), standing);
        }
    }

    #[test]
    fn the_pause_grows_fourfold_up_to_five_minutes() {
        let policy = Policy::default();
        let seconds: Vec<i64> = (1..=6).map(|n| policy.backoff(n) / 1_000_000).collect();
        assert_eq!(seconds, [2, 8, 32, 128, 300, 300]);
        assert_eq!(policy.backoff(u32::MAX), 300_000_000);
    }

    #[test]
    fn each_rule_of_the_order_yields_to_the_one_before_it() {
        let make = |round, clip_norm, expected_seconds| Candidate {
            id: TrialId::of(""),
            round,
            clip_norm,
            family: Some(7),
            twins: None,
            expected_seconds,
            standing: Standing::Waiting,
        };
        let alone = |clip_norm, seconds| Candidate { family: None, ..make(0, clip_norm, Some(seconds)) };
        // In the order in which they are to start.
        let right = [
            (make(0, ClipNorm::At(0.1), Some(1.0)), true),
            (make(0, ClipNorm::Off, None), false),
            (make(0, ClipNorm::Off, Some(9.0)), false),
            (make(0, ClipNorm::Off, Some(1.0)), false),
            (make(0, ClipNorm::At(2.0), Some(1.0)), false),
            (make(0, ClipNorm::At(1.0), Some(9.0)), false),
            (make(0, ClipNorm::At(1.0), Some(2.0)), false),
            (alone(ClipNorm::At(0.1), 8.0), false),
            (alone(ClipNorm::Off, 7.0), false),
            (make(1, ClipNorm::Off, Some(99.0)), true),
            (make(1, ClipNorm::Off, Some(99.0)), false),
        ];
        for (i, a) in right.iter().enumerate() {
            for (j, b) in right.iter().enumerate() {
                assert_eq!(order((&a.0, a.1), (&b.0, b.1)), i.cmp(&j), "{i} and {j}");
            }
        }
    }
}
