//! Trials that wait, run and end: which is started next, and what follows when one ends.
//!
//! Pure: no clock (each call is told the time, microseconds since 1970, UTC), no process, no file. Whoever drives it
//! asks [`Queue::next`] until it says nothing, tells [`Queue::on_exit`] how each worker ended, and calls [`Queue::finish`] when
//! [`Queue::is_over`]. Every trial is then concluded exactly once.
//!
//! Where a trial turned out to be the same as one that ended, [`Queue::next_alias`] says so before [`Queue::next`] is asked.

use super::devices::Devices;
use super::disk::Disk;
use super::estimate::{Experience, Track, micros, seconds};
use super::shapes::{Room, Shapes};
use super::{Candidate, Cause, Conclusion, Event, Exit, Failure, Left, Policy, Standing, Stop};
use crate::plan::TrialId;
use crate::runs::{End, Outcome};

mod aliases;
mod failures;
mod overview;
mod start;
mod streak;
mod trials;

use streak::Streak;
use trials::{QueuedTrial, Ran, Situation, Trials};

/// Seconds for which it is waited that a slot becomes free again in which a worker cannot be killed, where there is no other.
const SLOT_PATIENCE: f64 = 3600.0;

/// The trials of an experiment and what becomes of them.
#[derive(Debug)]
pub struct Queue {
    trials: Trials,
    policy: Policy,
    stop: Option<Stop>,
    /// Whether running workers are to save and leave.
    stops_running: bool,
    anything_failed: bool,
    streak: Streak,
    /// Nothing is started before, microseconds: the last start failed.
    rests_until: i64,
    /// Since when no slot is left.
    no_slot_since: Option<i64>,
    shapes: Shapes,
    disk: Disk,
    devices: Devices,
    experience: Experience,
}

impl Queue {
    /// A queue of these trials, in the order of the file. Their ids differ.
    pub fn new(candidates: Vec<Candidate>, mut policy: Policy) -> Self {
        let mut devices = Devices::new(&policy.gpus, candidates.iter().map(|c| c.needs.memory).max().unwrap_or(0));
        policy.slots = devices.slots().unwrap_or(policy.slots);
        let trials = Trials::new(candidates);
        let mut shapes = Shapes::default();
        for trial in trials.iter().filter(|t| matches!(t.situation, Situation::Over(Conclusion::DoneBefore(End::Completed)))) {
            shapes.completed(trial.candidate.shape);
            devices.was_completed(trial.candidate.shape);
        }
        Self {
            trials,
            policy,
            stop: None,
            stops_running: false,
            anything_failed: false,
            streak: Streak::default(),
            rests_until: i64::MIN,
            no_slot_since: None,
            shapes,
            disk: Disk::default(),
            devices,
            experience: Experience::default(),
        }
    }

    /// What is to be told before anything starts: trials that are over already, and those that others hold.
    pub fn begin(&self) -> Vec<Event> {
        let tell = |trial: &QueuedTrial| match trial.situation {
            Situation::Over(Conclusion::DoneBefore(end)) => Some(Event::Skipped { trial: trial.candidate.id.clone(), end }),
            Situation::HeldElsewhere => Some(Event::HeldElsewhere { trial: trial.candidate.id.clone() }),
            _ => None,
        };
        self.trials.iter().filter_map(tell).collect()
    }

    /// A worker says how far it is: `fraction` of its budget, 0 to 1.
    pub fn on_progress(&mut self, id: &TrialId, fraction: f64, now: i64) {
        let Some(running) = self.trials.number(id).and_then(|i| self.trials.running_mut(i)) else { return };
        match &mut running.track {
            Some(track) => track.add(fraction, now),
            none => *none = Some(Track::new(fraction, now)),
        }
    }

    /// A running trial waits for its turn in a cluster's queue: that is no time of its own.
    pub fn on_pending(&mut self, id: &TrialId, now: i64) {
        if let Some(running) = self.trials.number(id).and_then(|i| self.trials.running_mut(i)) {
            running.since_utc = now;
            running.waits = true;
            // How fast it was before it was requeued is no part of how fast it is with the pause.
            running.track = None;
        }
    }

    /// The worker of a running trial that waited in a cluster's queue has begun.
    pub fn on_begun(&mut self, id: &TrialId) {
        if let Some(running) = self.trials.number(id).and_then(|i| self.trials.running_mut(i)) {
            running.waits = false;
        }
    }

    /// The worker of a trial was killed and is still there. Its slot is not used any more, and nothing waits for it; where it ends
    /// after all, [`Queue::on_exit`] is told as ever.
    pub fn on_still_there(&mut self, id: &TrialId) -> Vec<Event> {
        let Some(i) = self.running_index(id) else { return Vec::new() };
        let waits = self.trials[i].running().is_some_and(|running| running.waits);
        let slot = self.trials.change(i, |trial| {
            trial.situation = match std::mem::replace(&mut trial.situation, Situation::AT_ONCE) {
                Situation::Running(running) => Situation::StillThere(running),
                other => other,
            };
            trial.slot()
        });
        let Some(slot) = slot else { return Vec::new() };
        self.devices.set_stuck(slot, true);
        self.shapes.ended(self.trials[i].candidate.shape, i);
        vec![Event::StillThere { trial: id.clone(), slot, waits }]
    }

    /// A worker ended, or could not be started. Not running ones are passed over.
    pub fn on_exit(&mut self, id: &TrialId, exit: Exit, now: i64) -> Vec<Event> {
        self.ends_after_all(id);
        let Some(i) = self.running_index(id) else { return Vec::new() };
        let (slot, room, threads) = self.trials[i].running().map_or((0, Room::Planned, 1), |r| (r.slot, r.room, r.threads));
        let took = self.take_time(i, now);
        if matches!(&exit, Exit::Done(_)) {
            self.devices.went_well(slot, self.trials[i].candidate.shape);
        }
        match exit {
            Exit::Done(outcome) => self.on_done(i, outcome, took, now),
            Exit::Interrupted => self.on_interrupted(i, now),
            Exit::Displaced(why) => self.on_displaced(i, why),
            Exit::HeldElsewhere => self.on_held(i, Event::HeldElsewhere { trial: id.clone() }),
            Exit::TakenOver => self.on_held(i, Event::TakenOver { trial: id.clone() }),
            Exit::Failed(failure) => match self.device_fault(i, slot, &failure) {
                Some(left_out) => self.on_device_fault(i, failure, left_out, now),
                None => self.on_failure(i, failure, Ran { slot, room, threads }, took, now),
            },
        }
    }

    /// A trial that another worker held stands so now.
    pub fn on_standing(&mut self, id: &TrialId, standing: Standing) -> Vec<Event> {
        let held = |i: &usize| matches!(self.trials[*i].situation, Situation::HeldElsewhere);
        let Some(i) = self.trials.number(id).filter(held) else { return Vec::new() };
        match standing {
            Standing::HeldElsewhere => Vec::new(),
            Standing::Done(end) => {
                self.trials.change(i, |trial| trial.situation = Situation::Over(Conclusion::DoneBefore(end)));
                vec![Event::Skipped { trial: id.clone(), end }]
            }
            Standing::Waiting | Standing::Interrupted | Standing::Failed => {
                self.trials.change(i, |trial| {
                    trial.interrupted |= standing != Standing::Waiting;
                    trial.failed |= standing == Standing::Failed;
                    trial.situation = Situation::AT_ONCE;
                });
                self.end_what_cannot_fit()
            }
        }
    }

    /// A trial that another worker holds is not waited for any more: that worker has been silent for too long.
    pub fn leave_held(&mut self, id: &TrialId) -> Vec<Event> {
        let held = |i: &usize| matches!(self.trials[*i].situation, Situation::HeldElsewhere);
        self.trials.number(id).filter(held).map(|i| self.leave(i, Left::HeldElsewhere)).into_iter().collect()
    }

    /// The deadline is this now: the clock on the wall may have been set.
    pub fn move_deadline(&mut self, until_utc: i64) {
        self.policy.until_utc = Some(until_utc);
    }

    /// Looks at the time: the deadline may have come, or it was waited for a slot for too long.
    pub fn tick(&mut self, now: i64) -> Vec<Event> {
        if self.is_late(now) && !self.trials.are_all_over() {
            return self.stop(Stop::Deadline);
        }
        let has_slot = self.trials.queued().len() == 0 || self.lost_slots() < self.policy.slots.max(1);
        if has_slot || self.stop.is_some() {
            self.no_slot_since = None;
            return Vec::new();
        }
        // What cannot be killed now may end in a moment: a worker whose memory is given back, or whose disk is away.
        let since = *self.no_slot_since.get_or_insert(now);
        if now.saturating_sub(since) >= micros(SLOT_PATIENCE) { self.stop(Stop::NoSlot) } else { Vec::new() }
    }

    /// Starts nothing any more. Told once, and again where running workers are to leave only now.
    pub fn stop(&mut self, why: Stop) -> Vec<Event> {
        let new = self.stop.is_none() || (why.reaches_running() && !self.stops_running);
        self.stops_running |= why.reaches_running();
        self.stop.get_or_insert_with(|| why.clone());
        if new { vec![Event::Stopping { why }] } else { Vec::new() }
    }

    /// Whether nothing is started any more.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether running workers are to save and leave.
    pub fn stops_running(&self) -> bool {
        self.stops_running
    }

    /// Trials with a worker.
    pub fn running(&self) -> impl Iterator<Item = &TrialId> {
        self.trials.running().map(|i| &self.trials[i].candidate.id)
    }

    /// Trials that are waited for because another worker holds them.
    pub fn held_elsewhere(&self) -> impl Iterator<Item = &TrialId> {
        self.trials.held_elsewhere().map(|i| &self.trials[i].candidate.id)
    }

    /// Whether nothing runs and nothing will be started any more.
    pub fn is_over(&self, now: i64) -> bool {
        let trials = &self.trials;
        if trials.running().len() > 0 || trials.same_as().len() > 0 {
            return false;
        }
        if self.stop.is_some() {
            return true;
        }
        let is_late =
            |i: usize| matches!(trials[i].situation, Situation::Queued { ready_utc } if self.is_late(now.max(ready_utc)));
        let never = |i: usize| is_late(i) || !self.has_place(i);
        trials.held_elsewhere().len() == 0 && (self.is_late(now) || trials.queued().all(never))
    }

    /// Whether the deadline has come.
    pub fn is_late(&self, now: i64) -> bool {
        self.policy.until_utc.is_some_and(|until| now >= until)
    }

    /// A worker that was not waited for any more has ended.
    fn ends_after_all(&mut self, id: &TrialId) {
        let Some(i) = self.trials.number(id) else { return };
        if let Situation::StillThere(running) = &self.trials[i].situation {
            self.devices.set_stuck(running.slot, false);
        }
        self.trials.change(i, |trial| {
            trial.situation = match std::mem::replace(&mut trial.situation, Situation::AT_ONCE) {
                Situation::StillThere(running) => Situation::Running(running),
                other => other,
            };
        });
    }

    fn running_index(&self, id: &TrialId) -> Option<usize> {
        self.trials.number(id).filter(|i| self.trials[*i].running().is_some())
    }

    /// Adds up the time of an attempt that ends, and what of the trial it has done; its seconds.
    fn take_time(&mut self, i: usize, now: i64) -> f64 {
        self.trials.change(i, |trial| {
            let Situation::Running(running) = &trial.situation else { return 0.0 };
            let took = seconds(now - running.since_utc).max(0.0);
            trial.spent += took;
            trial.share_left *= running.track.map_or(1.0, |t| t.share_left());
            took
        })
    }

    fn on_done(&mut self, i: usize, outcome: Box<Outcome>, took: f64, now: i64) -> Vec<Event> {
        let (end, reason) = (outcome.end, outcome.reason.clone());
        let (mut events, mut alike) = (Vec::new(), Vec::new());
        self.shapes.ended(self.trials[i].candidate.shape, i);
        self.disk.trial_ended();
        if end == End::Failed {
            let reason = reason.clone().unwrap_or_else(|| "failed".to_owned());
            let failure = Failure { cause: Cause::Refused, reason, last_lines: Vec::new() };
            alike = self.count_alike(i, &failure, now);
            events.push(self.failed_event(i, failure));
        } else {
            self.streak = Streak::default();
        }
        self.find_aliases(i, &outcome);
        if end == End::Completed {
            let trial = &self.trials[i];
            self.shapes.completed(trial.candidate.shape);
            self.experience.add(trial.spent, trial.candidate.expected_seconds);
        }
        events.push(self.end(i, end, reason, took, Some(outcome)));
        events.extend(alike);
        events
    }

    fn on_interrupted(&mut self, i: usize, now: i64) -> Vec<Event> {
        // Somebody stopped this worker alone: it is started again, but not for ever.
        let failures = self.trials.change(i, |trial| {
            trial.failures += 1;
            trial.failures
        });
        self.shapes.ended(self.trials[i].candidate.shape, i);
        if self.stop.is_some() {
            return vec![self.leave(i, Left::Interrupted)];
        }
        let stopped = Event::Stopped { trial: self.trials[i].candidate.id.clone() };
        let out_of_retries = failures > self.policy.retries;
        let then = if out_of_retries { self.leave(i, Left::Interrupted) } else { self.retry(i, failures, None, now) };
        vec![stopped, then]
    }

    /// Another worker has it: it is waited for.
    fn on_held(&mut self, i: usize, told: Event) -> Vec<Event> {
        self.shapes.ended(self.trials[i].candidate.shape, i);
        self.trials.change(i, |trial| trial.situation = Situation::HeldElsewhere);
        vec![told]
    }

    fn on_displaced(&mut self, i: usize, why: String) -> Vec<Event> {
        self.shapes.ended(self.trials[i].candidate.shape, i);
        if self.stop.is_some() {
            return vec![self.leave(i, Left::Interrupted)];
        }
        // It has not failed, and has come further: there is nothing to count.
        self.trials.change(i, |trial| {
            trial.interrupted = true;
            trial.situation = Situation::AT_ONCE;
        });
        vec![Event::Displaced { trial: self.trials[i].candidate.id.clone(), why }]
    }

    fn end(&mut self, i: usize, end: End, reason: Option<String>, took: f64, outcome: Option<Box<Outcome>>) -> Event {
        self.trials.change(i, |trial| trial.situation = Situation::Over(Conclusion::Ended(end)));
        Event::Ended { trial: self.trials[i].candidate.id.clone(), end, reason, seconds: took, outcome }
    }

    fn leave(&mut self, i: usize, why: Left) -> Event {
        self.trials.change(i, |trial| trial.situation = Situation::Over(Conclusion::Left(why)));
        Event::Left { trial: self.trials[i].candidate.id.clone(), why }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "queue/gpus_tests.rs"]
mod on_gpus;
