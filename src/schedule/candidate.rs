//! What the queue knows of a trial before it runs, and the order in which trials are started.

use std::cmp::{Ordering, Reverse};

use super::Needs;
use crate::device::Gpu;
use crate::experiment::settings::ClipNorm;
use crate::plan::TrialId;
use crate::runs::{Attempt, End, State, Status};

/// What a trial's folder says when the runner starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never started.
    Waiting,
    /// Started, not finished, nobody is at it.
    Interrupted,
    /// The same, and its last attempt ended badly.
    Failed,
    /// A worker that is not ours holds its lock: an earlier runner's that is still saving, or one started by hand. Or one of another machine
    /// has claimed it, and did not say that it ended.
    HeldElsewhere,
    /// It is over.
    Done(End),
}

impl From<&State> for Standing {
    /// A damaged trial is worked on again; one that is to be tried again must be reopened in its folder first.
    fn from(state: &State) -> Self {
        let failed = state.attempts.last().is_some_and(Attempt::ended_badly);
        match state.status {
            Status::Waiting => Self::Waiting,
            Status::Running => Self::HeldElsewhere,
            Status::Interrupted if state.is_claimed_elsewhere() => Self::HeldElsewhere,
            Status::Interrupted if failed => Self::Failed,
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
    /// Which trial it is.
    pub id: TrialId,
    /// Which of its configuration's seeds it has, from 0: a round is one seed of every configuration.
    pub round: usize,
    /// The number of its shape: trials of the same one need the same memory.
    pub shape: usize,
    /// Its largest gradient norm.
    pub clip_norm: ClipNorm,
    /// The number of its kin: trials that are equal but for the clip norm, of which one may turn out to be the same as another.
    /// `None` where it is trained in any case.
    pub kin: Option<usize>,
    /// A number that it shares with those trials that are the same as this one under other names: one of them is trained. No
    /// kin has that number. `None` where there is no other.
    pub twins: Option<usize>,
    /// What it needs of a GPU.
    pub needs: Needs,
    /// Seconds of work that are left of it, where they are known.
    pub expected_seconds: Option<f64>,
    /// What its folder says.
    pub standing: Standing,
}

impl Candidate {
    /// The largest norm that is let through.
    pub(super) fn limit(&self) -> f64 {
        match self.clip_norm {
            ClipNorm::Off => f64::INFINITY,
            ClipNorm::At(norm) => norm,
        }
    }
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which trial it is.
    pub trial: TrialId,
    /// The slot, from 1.
    pub slot: u32,
    /// CPU threads.
    pub threads: u32,
    /// The GPU of the slot, where it is on one.
    pub gpu: Option<Gpu>,
    /// Whether it is to have more memory than was planned, where there is more: the planned memory did not suffice.
    pub ample: bool,
}

/// What has become of a trial that is to be started. In the order of starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Begun {
    /// Started before, and stopped.
    Interrupted,
    /// Never started.
    Fresh,
    /// Its last attempt ended badly.
    Failed,
}

/// The place of a trial in the order of starts: one seed of every configuration; within a round what was interrupted, and at its end what
/// failed, so that it keeps nothing from being tried at all; then those of kin, `off` and large clip norms before smaller
/// (where those never bind, smaller ones need not be trained at all: see `kin`); then the longest, since a long trial
/// begun last leaves the other slots idle; then as in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    round: usize,
    begun: Begun,
    limit: Reverse<Total>,
    seconds: Reverse<Total>,
    number: usize,
}

impl Rank {
    /// That of the trial with this number, which is its place in the file.
    pub(super) fn of(candidate: &Candidate, begun: Begun, number: usize) -> Self {
        // What is trained in any case has nobody waiting for it, whatever its clip norm.
        let limit = if candidate.kin.is_some() { candidate.limit() } else { f64::NEG_INFINITY };
        // A trial of unknown length may be the longest.
        let seconds = candidate.expected_seconds.unwrap_or(f64::INFINITY);
        Self { round: candidate.round, begun, limit: Reverse(Total(limit)), seconds: Reverse(Total(seconds)), number }
    }

    /// The trial's number.
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

/// A number in the order of all numbers, those that are none included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total(pub(super) f64);

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Total {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Total {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_standing() {
        for (status, ended, standing) in [
            (Status::Waiting, None, Standing::Waiting),
            (Status::Running, None, Standing::HeldElsewhere),
            (Status::Interrupted, None, Standing::Interrupted),
            (Status::Interrupted, Some("interrupted"), Standing::Interrupted),
            (Status::Interrupted, Some("killed for memory"), Standing::Failed),
            (Status::Interrupted, Some("crashed: exit code 101"), Standing::Failed),
            (Status::Damaged, None, Standing::Interrupted),
            (Status::Completed, Some("crashed: exit code 101"), Standing::Done(End::Completed)),
            (Status::Diverged, None, Standing::Done(End::Diverged)),
            (Status::DidNotFit, None, Standing::Done(End::DidNotFit)),
            (Status::Failed, None, Standing::Done(End::Failed)),
        ] {
            let ended = ended.map(str::to_owned);
            let attempts = vec![Attempt { ended: ended.map(Into::into), ..Attempt::example() }];
            let state = State { status, progress: None, outcome: None, attempts, reason: None };
            assert_eq!(Standing::from(&state), standing, "{state:?}");
        }
    }

    #[test]
    fn each_rule_of_the_order_yields_to_the_one_before_it() {
        let make = |round, clip_norm, expected_seconds| Candidate {
            id: TrialId::of(""),
            round,
            shape: 0,
            clip_norm,
            kin: Some(7),
            twins: None,
            needs: Needs::default(),
            expected_seconds,
            standing: Standing::Waiting,
        };
        let alone = |clip_norm, seconds| Candidate { kin: None, ..make(0, clip_norm, Some(seconds)) };
        // In the order in which they are to start.
        let right = [
            (make(0, ClipNorm::At(0.1), Some(1.0)), Begun::Interrupted),
            (make(0, ClipNorm::Off, None), Begun::Fresh),
            (make(0, ClipNorm::Off, Some(9.0)), Begun::Fresh),
            (make(0, ClipNorm::Off, Some(1.0)), Begun::Fresh),
            (make(0, ClipNorm::At(2.0), Some(1.0)), Begun::Fresh),
            (make(0, ClipNorm::At(1.0), Some(9.0)), Begun::Fresh),
            (make(0, ClipNorm::At(1.0), Some(2.0)), Begun::Fresh),
            (alone(ClipNorm::At(0.1), 8.0), Begun::Fresh),
            (alone(ClipNorm::Off, 7.0), Begun::Fresh),
            (make(0, ClipNorm::Off, Some(9.0)), Begun::Failed),
            (make(0, ClipNorm::At(1.0), None), Begun::Failed),
            (make(1, ClipNorm::Off, Some(99.0)), Begun::Interrupted),
            (make(1, ClipNorm::Off, Some(99.0)), Begun::Fresh),
        ];
        for (i, a) in right.iter().enumerate() {
            for (j, b) in right.iter().enumerate() {
                let rank = |(candidate, begun): &(Candidate, Begun)| Rank::of(candidate, *begun, 0);
                assert_eq!(rank(a).cmp(&rank(b)), i.cmp(&j), "{i} and {j}");
            }
        }
    }
}
