//! What happened while trials ran: facts for others to show, to write down, or to count.

use serde::Serialize;
use serde_json::Value;

use super::cause::Cause;
use super::policy::Lighter;
use super::stop::Stop;
use crate::device::Gpu;
use crate::plan::TrialId;
use crate::rows::Phase;
use crate::runs::{End, Entry, Outcome, Progress};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The trial was over before this run began: nothing is to be done.
    Skipped {
        /// The one that was over.
        trial: TrialId,
        /// How it had ended.
        end: End,
    },
    /// A worker that is not ours is at it: it is waited for.
    HeldElsewhere {
        /// The one that is waited for.
        trial: TrialId,
    },
    /// A worker that is not ours took it over from ours, which wrote nothing since: that one is waited for.
    TakenOver {
        /// The one that was taken over.
        trial: TrialId,
    },
    /// A worker was given to a cluster's queue, and begins when its turn comes.
    Submitted {
        /// What the worker trains.
        trial: TrialId,
        /// Attempt, from 1.
        attempt: u32,
    },
    /// A worker was started.
    Started {
        /// The one that it works on.
        trial: TrialId,
        /// Attempt, from 1.
        attempt: u32,
        /// Slot, from 1.
        slot: u32,
        /// CPU threads.
        threads: u32,
        /// The GPU, where it is on one.
        #[serde(skip_serializing_if = "Option::is_none")]
        gpu: Option<Gpu>,
    },
    /// A worker begins its trial with the first step, although there was a checkpoint.
    StartsOver {
        /// The one that begins anew.
        trial: TrialId,
        /// Why, in words.
        why: String,
    },
    /// A worker got further.
    Progressed {
        /// The one that got further.
        trial: TrialId,
        /// How far it is.
        #[serde(skip)]
        progress: Progress,
    },
    /// A worker has given no sign of life for longer than it uses to.
    Silent {
        /// The one that it works on.
        trial: TrialId,
        /// For how long.
        seconds: u64,
        /// What it was doing when it was heard last.
        phase: Phase,
    },
    /// A worker was killed and is still there: its slot is not used any more, until it ends after all.
    StillThere {
        /// The one that it worked on.
        trial: TrialId,
        /// Its slot, from 1.
        slot: u32,
        /// Whether it had not begun: its job was cancelled, and is still in the cluster's queue.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        waits: bool,
    },
    /// An attempt ended badly. What follows from it is told next: a retry, the end, or that it is left.
    Failed {
        /// The one whose attempt ended so.
        trial: TrialId,
        /// What sort of failure.
        cause: Cause,
        /// What is known of it, in a few words.
        reason: String,
        /// The last lines the worker said.
        last_lines: Vec<String>,
        /// Whether it is the first of this run.
        first: bool,
    },
    /// Somebody stopped its worker, and nothing else: it saved and left. What follows from it is told next.
    Stopped {
        /// The one whose worker was stopped.
        trial: TrialId,
    },
    /// Its place on the cluster was taken away: it goes on from its checkpoint, as soon as there is another.
    Displaced {
        /// The one that lost its place.
        trial: TrialId,
        /// Why, in a few words.
        why: String,
    },
    /// It will be started again.
    Retrying {
        /// The one that is tried again.
        trial: TrialId,
        /// After this pause.
        in_seconds: f64,
        /// How often it can still be started again after that, whatever it fails of then.
        retries_left: u32,
        /// What it is given so that its memory suffices; `None` where that is not what it failed of.
        lighter: Option<Lighter>,
    },
    /// It ran out of memory, and waits for what becomes of another one of its shape, which was killed before it.
    Waits {
        /// The one that waits.
        trial: TrialId,
        /// The other one.
        other: TrialId,
    },
    /// The trial is over.
    Ended {
        /// The one that is over.
        trial: TrialId,
        /// How.
        end: End,
        /// Why, where it is not complete.
        reason: Option<String>,
        /// Seconds of its last attempt.
        seconds: f64,
        /// What the worker wrote; `None` where the runner gave up on it.
        #[serde(skip)]
        outcome: Option<Box<Outcome>>,
    },
    /// The trial is over without having been trained: it is the same as another, to the bit.
    Aliased {
        /// The one that was not trained.
        trial: TrialId,
        /// The one that was trained.
        source: TrialId,
        /// How that one ended, and this one with it.
        end: End,
        /// What stands in its outcome.
        #[serde(skip)]
        outcome: Box<Outcome>,
    },
    /// The trial is not over, and this run does no more for it.
    Left {
        /// The one that stays open.
        trial: TrialId,
        /// Why.
        why: Left,
    },
    /// A GPU failed, and is used no more: its trials go on with the others.
    GpuLeftOut {
        /// The GPU.
        gpu: Gpu,
        /// What its last trial failed of, in words.
        reason: String,
        /// GPUs that are left.
        left: usize,
    },
    /// A trial could not be started: nothing is for a while.
    Pause {
        /// How long.
        seconds: f64,
        /// How many starts failed, one after another.
        failures: u32,
    },
    /// The disk is full: nothing is started until it has room. Running trials go on.
    DiskFull,
    /// The disk has room again.
    DiskHasRoom,
    /// Nothing is started any more.
    Stopping {
        /// Why.
        why: Stop,
    },
    /// How the whole run stands.
    Overview(Overview),
}

/// Why a trial is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// It was never started in this run, since the run stopped.
    NotStarted,
    /// It would not have ended before the deadline.
    WouldNotEnd,
    /// Its worker saved and left, or was killed because the run stopped: it goes on from its last checkpoint.
    Interrupted,
    /// It failed, and could have been tried again, had the run not stopped.
    Failed,
    /// Another worker still holds it.
    HeldElsewhere,
    /// Its worker was killed, and is still there.
    StillThere,
    /// Its job was cancelled before it began, and is still in the cluster's queue.
    StillQueued,
    /// No GPU is left that it could run on.
    NoGpu,
}

/// Who hears what happens: one shows it, another writes it down, a third counts.
pub trait Observer {
    /// This happened at this time (microseconds since 1970, UTC).
    fn observe(&mut self, event: &Event, now_utc: i64);
}

impl<F: FnMut(&Event, i64)> Observer for F {
    fn observe(&mut self, event: &Event, now_utc: i64) {
        self(event, now_utc);
    }
}

/// How the whole run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Overview {
    /// All trials of the plan.
    pub trials: usize,
    /// Over, whenever and however.
    pub done: usize,
    /// Of those, failed for good.
    pub failed: usize,
    /// Running now.
    pub running: usize,
    /// Neither.
    pub left: usize,
    /// When everything is expected to have ended (microseconds since 1970, UTC); `None` while that is unknown.
    pub ends_utc: Option<i64>,
}

/// How a trial stands when the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// It was over before.
    DoneBefore(End),
    /// It ended in this run.
    Ended(End),
    /// It is not over.
    Left(Left),
}

impl Conclusion {
    /// How the trial ended, if it did.
    pub fn end(self) -> Option<End> {
        match self {
            Self::DoneBefore(end) | Self::Ended(end) => Some(end),
            Self::Left(_) => None,
        }
    }
}

/// What a run came to. Each trial is counted once among `completed`, `diverged`, `did_not_fit`, `failed` and `left`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// All trials of the plan.
    pub trials: usize,
    /// Over before this run began, and counted below too.
    pub done_before: usize,
    /// The whole budget was trained and scored.
    pub completed: usize,
    /// Loss or gradient norm were not finite.
    pub diverged: usize,
    /// Did not fit into memory.
    pub did_not_fit: usize,
    /// Failed for good.
    pub failed: usize,
    /// Not over.
    pub left: usize,
    /// Why something is left.
    pub stopped: Option<Stop>,
}

impl Summary {
    /// Counts these conclusions.
    pub fn of(conclusions: impl IntoIterator<Item = Conclusion>, stopped: Option<Stop>) -> Self {
        let mut summary = Self { stopped, ..Self::default() };
        for conclusion in conclusions {
            summary.trials += 1;
            summary.done_before += usize::from(matches!(conclusion, Conclusion::DoneBefore(_)));
            *match conclusion.end() {
                Some(End::Completed) => &mut summary.completed,
                Some(End::Diverged) => &mut summary.diverged,
                Some(End::DidNotFit) => &mut summary.did_not_fit,
                Some(End::Failed) => &mut summary.failed,
                None => &mut summary.left,
            } += 1;
        }
        summary
    }

    /// Whether every trial trained its whole budget.
    pub fn all_completed(&self) -> bool {
        self.completed == self.trials
    }

    /// Whether this run had nothing to do.
    pub fn nothing_was_to_do(&self) -> bool {
        self.done_before == self.trials
    }
}

impl Event {
    /// The trial it happened to.
    pub fn trial(&self) -> Option<&TrialId> {
        match self {
            Self::Skipped { trial, .. }
            | Self::HeldElsewhere { trial }
            | Self::TakenOver { trial }
            | Self::Submitted { trial, .. }
            | Self::Started { trial, .. }
            | Self::Displaced { trial, .. }
            | Self::StartsOver { trial, .. }
            | Self::Progressed { trial, .. }
            | Self::Silent { trial, .. }
            | Self::StillThere { trial, .. }
            | Self::Failed { trial, .. }
            | Self::Stopped { trial }
            | Self::Retrying { trial, .. }
            | Self::Waits { trial, .. }
            | Self::Ended { trial, .. }
            | Self::Aliased { trial, .. }
            | Self::Left { trial, .. } => Some(trial),
            Self::GpuLeftOut { .. }
            | Self::Pause { .. }
            | Self::DiskFull
            | Self::DiskHasRoom
            | Self::Stopping { .. }
            | Self::Overview(_) => None,
        }
    }

    /// The line of `events.jsonl` for it. `None` for what happens all the time and is written elsewhere, or not at all.
    pub fn entry(&self, time_utc: i64) -> Option<Entry> {
        if matches!(self, Self::Progressed { .. } | Self::Silent { .. } | Self::Overview(_) | Self::Skipped { .. }) {
            return None;
        }
        let Ok(Value::Object(mut details)) = serde_json::to_value(self) else { return None };
        let Some(Value::String(kind)) = details.remove("kind") else { return None };
        details.remove("trial");
        Some(Entry { time_utc, kind, trial: self.trial().cloned(), details })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_flat_line_of_the_log() {
        let trial = TrialId::of("a");
        let line = |event: &Event| serde_json::to_string(&event.entry(7).unwrap()).unwrap();
        let started = Event::Started { trial: trial.clone(), attempt: 2, slot: 1, threads: 4, gpu: None };
        assert_eq!(
            line(&started),
            format!(
                r#"{{"time_utc":"1970-01-01T00:00:00.000007Z","kind":"started","trial":"{trial}","attempt":2,"slot":1,"threads":4}}"#
            )
        );
        let gpu = Some(Gpu::example(1, "NVIDIA H200"));
        let on_gpu = line(&Event::Started { trial: trial.clone(), attempt: 2, slot: 1, threads: 4, gpu });
        assert!(on_gpu.contains(r#""gpu":{"name":"NVIDIA H200","number":1,"uuid":"GPU-1"}"#), "{on_gpu}");
        let stopping = Event::Stopping { why: Stop::SameFailure { reason: "exit code 1".to_owned(), trials: 5 } };
        let value: Value = serde_json::from_str(&line(&stopping)).unwrap();
        assert_eq!(value["kind"], "stopping");
        assert_eq!(value["why"]["reason"], "exit code 1");
        let left = Event::Left { trial, why: Left::WouldNotEnd };
        assert!(line(&left).ends_with(r#""why":"would_not_end"}"#));
    }

    #[test]
    fn what_happens_all_the_time_is_not_logged() {
        assert_eq!(Event::Overview(Overview::default()).entry(1), None);
        assert_eq!(Event::Skipped { trial: TrialId::of("a"), end: End::Completed }.entry(1), None);
    }

    #[test]
    fn a_summary_counts_each_trial_once() {
        let summary = Summary::of(
            [
                Conclusion::DoneBefore(End::Completed),
                Conclusion::Ended(End::Completed),
                Conclusion::Ended(End::Diverged),
                Conclusion::Ended(End::DidNotFit),
                Conclusion::DoneBefore(End::Failed),
                Conclusion::Left(Left::Interrupted),
            ],
            Some(Stop::Asked),
        );
        let ends = summary.completed + summary.diverged + summary.did_not_fit + summary.failed + summary.left;
        assert_eq!((summary.trials, ends, summary.done_before), (6, 6, 2));
        assert!(!summary.all_completed() && !summary.nothing_was_to_do());
        assert!(Summary::of([Conclusion::DoneBefore(End::Completed)], None).nothing_was_to_do());
    }
}
