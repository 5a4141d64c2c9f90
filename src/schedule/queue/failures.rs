//! What follows when an attempt ends badly.

use super::Queue;
use super::streak::{Ended, Streak};
use super::trials::{QueuedTrial, Ran, Situation};
use crate::device::Gpu;
use crate::plan::TrialId;
use crate::runs::End;
use crate::schedule::devices::Fault;
use crate::schedule::estimate::seconds;
use crate::schedule::policy::Consequence;
use crate::schedule::shapes::{Next, Room};
use crate::schedule::{Cause, Event, Failure, Left, Lighter, Stop};

impl Queue {
    /// The worker of trial `i` ended badly after `took` seconds.
    pub(super) fn on_failure(&mut self, i: usize, failure: Failure, ran: Ran, took: f64, now: i64) -> Vec<Event> {
        let consequence = failure.cause.consequence();
        let sentence = failure.sentence();
        let alike = match consequence {
            Consequence::Final | Consequence::Retry => self.count_alike(i, &failure, now),
            Consequence::MoreMemory | Consequence::WaitForDisk => Vec::new(),
        };
        let mut events = vec![self.failed_event(i, failure)];
        events.extend(match consequence {
            Consequence::Final => self.give_up(i, sentence, took),
            Consequence::Retry => self.try_again(i, sentence, took, now),
            Consequence::MoreMemory => self.on_memory(i, sentence, ran, took, now),
            Consequence::WaitForDisk => self.on_full_disk(i, now),
        });
        events.extend(alike);
        events
    }

    /// Whether a failure is the fault of the GPU that the slot is on, and not the trial's; the GPU where that leaves it out.
    pub(super) fn device_fault(&mut self, i: usize, slot: u32, failure: &Failure) -> Option<Option<Gpu>> {
        // A driver that does not answer any more says nothing: its worker hangs.
        if !matches!(failure.cause, Cause::Device | Cause::Hang) {
            return None;
        }
        let fault = Fault { trial: i, shape: self.trials[i].candidate.shape, is_lost: failure.says_lost() };
        let left_out = self.devices.failed(slot, fault, self.has_open_besides(fault.shape));
        self.devices.is_out(slot).then_some(left_out)
    }

    /// Whether trials of another shape than this are to be run, or run.
    fn has_open_besides(&self, shape: usize) -> bool {
        let is_open = |trial: &QueuedTrial| !matches!(trial.situation, Situation::Over(_) | Situation::StillThere(_));
        self.trials.iter().any(|trial| trial.candidate.shape != shape && is_open(trial))
    }

    /// The GPU of trial `i` failed, and is left out: the trial goes on from its checkpoint on another one.
    pub(super) fn on_device_fault(&mut self, i: usize, failure: Failure, left_out: Option<Gpu>, now: i64) -> Vec<Event> {
        self.shapes.ended(self.trials[i].candidate.shape, i);
        let reason = failure.sentence();
        let mut events = vec![self.failed_event(i, failure)];
        if let Some(gpu) = left_out {
            let left = self.devices.left();
            events.push(Event::GpuLeftOut { gpu, reason, left });
            if self.lost_slots() >= self.policy.slots.max(1) {
                events.extend(self.stop(Stop::NoGpu));
            }
        }
        self.trials.change(i, |trial| trial.interrupted = true);
        let then = if self.stop.is_some() {
            self.leave(i, Left::Interrupted)
        } else {
            // It is not its own failure that counts, and the pause is the shortest one.
            self.retry(i, 1, None, now)
        };
        events.push(then);
        events
    }

    fn give_up(&mut self, i: usize, sentence: String, took: f64) -> Vec<Event> {
        self.shapes.ended(self.trials[i].candidate.shape, i);
        vec![self.end(i, End::Failed, Some(sentence), took, None)]
    }

    fn try_again(&mut self, i: usize, sentence: String, took: f64, now: i64) -> Vec<Event> {
        let failures = self.trials.change(i, |trial| {
            trial.failures += 1;
            trial.failed = true;
            trial.failures
        });
        if failures > self.policy.retries {
            return self.give_up(i, sentence, took);
        }
        self.shapes.ended(self.trials[i].candidate.shape, i);
        if self.stop.is_some() {
            return vec![self.leave(i, Left::Failed)];
        }
        vec![self.retry(i, failures, None, now)]
    }

    fn on_memory(&mut self, i: usize, sentence: String, ran: Ran, took: f64, now: i64) -> Vec<Event> {
        let (kills, shape, id) = self.trials.change(i, |trial| {
            trial.failed = true;
            trial.killed_for_memory += 1;
            (trial.killed_for_memory, trial.candidate.shape, trial.candidate.id.clone())
        });
        if let Some(memory) = self.devices.more_memory(ran.slot) {
            return vec![self.try_on_larger_gpu(i, shape, memory, now)];
        }
        if ran.room == Room::Alone && self.trials.still_there().len() > 0 {
            // One that was killed and is still there has kept its memory: this says nothing of what the machine has.
            self.shapes.ended(shape, i);
            return vec![self.leave(i, Left::Failed)];
        }
        let more_only = self.policy.on_gpu || self.policy.on_cluster;
        match self.shapes.killed(shape, i, &id, (ran.room, ran.threads), more_only) {
            next @ (Next::NoneFits | Next::DoesNotFit) => {
                let also = if self.policy.on_cluster { "with four times the memory" } else { "when nothing else ran" };
                let reason = format!("{sentence}, also {also}");
                let mut events = vec![self.end(i, End::DidNotFit, Some(reason), took, None)];
                if next == Next::NoneFits {
                    events.extend(self.end_what_cannot_fit());
                }
                events
            }
            Next::Again | Next::Waits(_) if self.stop.is_some() => vec![self.leave(i, Left::Failed)],
            Next::Again => {
                let lighter = match self.shapes.room(shape) {
                    Room::Alone if self.policy.on_cluster => Lighter::MoreMemory,
                    Room::Alone => Lighter::Alone,
                    Room::Planned | Room::HalfThreads => Lighter::Threads(self.shapes.most_threads(shape)),
                };
                vec![self.retry(i, kills, Some(lighter), now)]
            }
            Next::Waits(other) => {
                self.trials.change(i, |trial| trial.situation = Situation::AT_ONCE);
                vec![Event::Waits { trial: id, other: self.trials[other].candidate.id.clone() }]
            }
        }
    }

    /// Has all trials of a shape run on GPUs with so much memory at least, bytes: one was killed on a smaller one.
    fn try_on_larger_gpu(&mut self, i: usize, shape: usize, memory: u64, now: i64) -> Event {
        let of_shape: Vec<usize> = (0..self.trials.len()).filter(|j| self.trials[*j].candidate.shape == shape).collect();
        for j in of_shape {
            self.trials.change(j, |trial| {
                let needs = &mut trial.candidate.needs;
                needs.memory = needs.memory.max(memory);
                if trial.is_queued() || i == j {
                    // It would wait for ever for the kind on which it was begun.
                    trial.candidate.needs.kind = None;
                }
            });
        }
        if self.stop.is_some() { self.leave(i, Left::Failed) } else { self.retry(i, 1, None, now) }
    }

    /// Ends those trials that wait to be started although another one has shown that their shape does not fit.
    pub(super) fn end_what_cannot_fit(&mut self) -> Vec<Event> {
        let shown = |i: usize| Some((i, self.shapes.does_not_fit(self.trials[i].candidate.shape)?.clone()));
        let mut cannot_fit: Vec<(usize, TrialId)> = self.trials.queued().filter_map(shown).collect();
        cannot_fit.sort_by_key(|(i, _)| *i);
        let reason = |shown_by| Some(format!("as {shown_by}, which has the same shape"));
        let end = |(i, shown_by)| self.end(i, End::DidNotFit, reason(shown_by), 0.0, None);
        cannot_fit.into_iter().map(end).collect()
    }

    pub(super) fn on_full_disk(&mut self, i: usize, now: i64) -> Vec<Event> {
        self.shapes.ended(self.trials[i].candidate.shape, i);
        let news = self.disk.found_full(i, now);
        if self.stop.is_some() {
            return vec![self.leave(i, Left::Interrupted)];
        }
        // The trial has not failed: it goes on as if it had been stopped.
        self.trials.change(i, |trial| {
            trial.interrupted = true;
            trial.situation = Situation::AT_ONCE;
        });
        if news { vec![Event::DiskFull] } else { Vec::new() }
    }

    /// The trial for which it is time to look whether the full disk has room; tell [`Queue::on_disk`].
    pub fn disk_to_look_at(&self, now: i64) -> Option<&TrialId> {
        self.disk.to_look(now).filter(|_| self.stop.is_none()).map(|i| &self.trials[i].candidate.id)
    }

    /// Somebody looked whether the full disk has room.
    pub fn on_disk(&mut self, has_room: bool, now: i64) -> Vec<Event> {
        if !self.disk.is_full() {
            return Vec::new();
        }
        let too_long = self.disk.looked(has_room, now);
        let mut events = if has_room { vec![Event::DiskHasRoom] } else { Vec::new() };
        if too_long {
            events.extend(self.stop(Stop::DiskFull));
        }
        events
    }

    /// The attempt on trial `i`, which is not concluded yet, failed so; what follows for the others.
    pub(super) fn count_alike(&mut self, i: usize, failure: &Failure, now: i64) -> Vec<Event> {
        let since = |i: usize| self.trials[i].running().map_or(now, |running| running.since_utc);
        if self.trials.running().any(|other| other != i && since(other) > self.streak.last())
            && failure.cause == Cause::NotStarted
        {
            // Another one could be started in between.
            self.streak = Streak::default();
        }
        let (shape, began) = (self.trials[i].candidate.shape, since(i));
        let pause = self.streak.count(Ended { failure, shape, began, now });
        if self.stop.is_some() {
            return Vec::new();
        }
        if let Some(why) = self.streak.stop(failure, self.policy.same_failures) {
            return self.stop(why);
        }
        let Some(failures) = pause else { return Vec::new() };
        let pause = self.policy.backoff(failures);
        self.rests_until = now.saturating_add(pause);
        vec![Event::Pause { seconds: seconds(pause), failures }]
    }

    pub(super) fn failed_event(&mut self, i: usize, failure: Failure) -> Event {
        // A full disk is nobody's failure, and is not told in full.
        let first = failure.cause != Cause::Disk && !std::mem::replace(&mut self.anything_failed, true);
        let reason = failure.sentence();
        let Failure { cause, last_lines, .. } = failure;
        Event::Failed { trial: self.trials[i].candidate.id.clone(), cause, reason, last_lines, first }
    }

    /// Has a trial started again after the pause that follows so many failures.
    pub(super) fn retry(&mut self, i: usize, failures: u32, lighter: Option<Lighter>, now: i64) -> Event {
        let pause = self.policy.backoff(failures);
        self.trials.change(i, |trial| {
            trial.interrupted = true;
            trial.situation = Situation::Queued { ready_utc: now.saturating_add(pause) };
        });
        let trial = &self.trials[i];
        let retries_left = self.policy.retries.saturating_sub(trial.failures);
        Event::Retrying { trial: trial.candidate.id.clone(), in_seconds: seconds(pause), retries_left, lighter }
    }
}

#[cfg(test)]
#[path = "failures_tests.rs"]
mod tests;
