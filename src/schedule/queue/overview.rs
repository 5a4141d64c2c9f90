//! How the whole run stands, when it will end, and what it came to.

use super::Queue;
use super::trials::{QueuedTrial, Running, Situation};
use crate::schedule::estimate::{micros, seconds, until_all_end};
use crate::schedule::{Conclusion, Event, Left, Overview, Stop, Summary};

impl Queue {
    /// Concludes every trial that is not over: what is left and why, and what the run came to.
    pub fn finish(&mut self) -> (Vec<Event>, Summary) {
        let mut events = Vec::new();
        for i in 0..self.trials.len() {
            let why = match self.trials[i].situation {
                Situation::Over(_) => continue,
                Situation::Running(_) => Left::Interrupted,
                Situation::StillThere(Running { waits: true, .. }) => Left::StillQueued,
                Situation::StillThere(_) => Left::StillThere,
                Situation::HeldElsewhere => Left::HeldElsewhere,
                Situation::SameAs(_) => Left::NotStarted,
                Situation::Queued { .. } if !self.has_place(i) && self.stop.is_none() => Left::NoGpu,
                Situation::Queued { .. } if self.stop.is_none() => Left::WouldNotEnd,
                Situation::Queued { .. } if self.trials[i].failures + self.trials[i].killed_for_memory > 0 => Left::Failed,
                // It found the disk full, or somebody stopped its worker.
                Situation::Queued { .. } if self.trials[i].spent > 0.0 => Left::Interrupted,
                Situation::Queued { .. } => Left::NotStarted,
            };
            events.push(self.leave(i, why));
        }
        for (left, why) in [(Left::WouldNotEnd, Stop::Deadline), (Left::NoGpu, Stop::NoGpu)] {
            let is_left = |t: &QueuedTrial| matches!(t.situation, Situation::Over(Conclusion::Left(why)) if why == left);
            if self.stop.is_none() && self.trials.iter().any(is_left) {
                self.stop = Some(why);
            }
        }
        let conclusions = self.trials.iter().filter_map(|t| match t.situation {
            Situation::Over(conclusion) => Some(conclusion),
            _ => None,
        });
        (events, Summary::of(conclusions, self.stop.clone()))
    }

    /// How the whole run stands.
    pub fn overview(&self, now: i64) -> Overview {
        Overview { ends_utc: self.ends_utc(now), ..self.overview_without_end() }
    }

    /// The same, but for when it ends, which takes a look at every trial.
    pub fn overview_without_end(&self) -> Overview {
        self.trials.overview()
    }

    /// When everything is expected to have ended, the deadline at the latest; `None` while that is unknown.
    pub(super) fn ends_utc(&self, now: i64) -> Option<i64> {
        let left_of_running = |i: usize| {
            let running = self.trials[i].running()?;
            let expected = self.expected(i).map(|s| s - seconds(now - running.since_utc));
            Some(running.track.and_then(|t| t.seconds_left(now)).or(expected)?.max(0.0))
        };
        let running = self.trials.running().map(left_of_running).collect::<Option<Vec<f64>>>()?;
        let queued = self.trials.queued().filter(|_| self.stop.is_none());
        let queued = queued.map(|i| self.expected(i)).collect::<Option<Vec<f64>>>()?;
        let ends = now.saturating_add(micros(until_all_end(
            &running,
            &queued,
            self.policy.slots.saturating_sub(self.lost_slots()).max(1),
        )));
        Some(self.policy.until_utc.map_or(ends, |until| ends.min(until.max(now))))
    }

    /// Seconds that are left of a trial that is not running (of a running one: from its start).
    pub(super) fn expected(&self, i: usize) -> Option<f64> {
        let trial = &self.trials[i];
        self.experience.seconds(trial.candidate.expected_seconds).map(|s| s * trial.share_left)
    }
}
