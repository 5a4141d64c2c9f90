//! Which trial is started next, and what follows when one ends.
//!
//! Pure: no clock (each call is told the time, microseconds since 1970, UTC), no process, no file. Whoever drives it
//! asks [`Queue::next`] until it says nothing, tells [`Queue::on_exit`] how each worker ended, and calls [`Queue::finish`] when
//! [`Queue::is_over`]. Every trial is then concluded exactly once.
//!
//! Where a trial turned out to be the same as one that ended, [`Queue::next_alias`] says so before [`Queue::next`] is asked.

use std::collections::{BTreeSet, HashSet};

use super::devices::Devices;
use super::disk::Disk;
use super::estimate::{Experience, Track, seconds, until_all_end};
use super::family::{self, Verdict};
use super::shapes::{Room, Shapes};
use super::{Candidate, Cause, Conclusion, Event, Exit, Failure, Left, Overview, Policy, Standing, Start, Stop, Summary};
use crate::plan::TrialId;
use crate::runs::{End, Outcome};

mod failures;
mod streak;
mod trials;

use failures::Ran;
use streak::Streak;
use trials::{Place, Running, Trial, Trials};

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
        for trial in trials.iter().filter(|t| matches!(t.place, Place::Over(Conclusion::DoneBefore(End::Completed)))) {
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
            shapes,
            disk: Disk::default(),
            devices,
            experience: Experience::default(),
        }
    }

    /// What is to be told before anything starts: trials that are over already, and those that others hold.
    pub fn begin(&self) -> Vec<Event> {
        let tell = |trial: &Trial| match trial.place {
            Place::Over(Conclusion::DoneBefore(end)) => Some(Event::Skipped { trial: trial.candidate.id.clone(), end }),
            Place::HeldElsewhere => Some(Event::HeldElsewhere { trial: trial.candidate.id.clone() }),
            _ => None,
        };
        self.trials.iter().filter_map(tell).collect()
    }

    /// What is to be started now; `None` where no slot is free or nothing may start. The trial counts as running from here on:
    /// where it cannot be started after all, tell [`Queue::on_exit`].
    pub fn next(&mut self, now: i64) -> Option<Start> {
        if self.stop.is_some() || self.is_late(now) || self.disk.is_full() || self.one_runs_alone() {
            return None;
        }
        let taken: BTreeSet<u32> = self.taken();
        self.free_slot(&taken, None)?;
        // Where GPUs are alike, a slot that is free is free for all.
        let has_slot = |i: usize| !self.devices.differ_for(i) || self.free_slot(&taken, Some(i)).is_some();
        // What cannot end before the deadline goes on another time: it is begun only where nothing shorter is left.
        let late_ones_too = !self.any_can_end(now);
        let at_work = self.families_at_work(now);
        let first = |alone: bool| {
            let ready = self
                .trials
                .queued()
                .filter(|i| self.may_start(*i, now) && (self.room(*i) == Room::Alone) == alone && has_slot(*i));
            let ready = ready.filter(|i| late_ones_too || self.can_end(*i, now));
            family::first(ready.map(|i| (i, &self.trials[i].candidate, self.trials[i].begun())), &at_work)
        };
        // What runs alone keeps all slots: it comes when nothing else is left to start.
        let best = first(false).or_else(|| if self.has_nothing_else_to_do(now) { first(true) } else { None })?;
        let slot = self.free_slot(&taken, Some(best))?;
        let gpu = self.devices.gpu(slot).cloned();
        let (room, most_threads) = (self.room(best), self.shapes.most_threads(self.trials[best].candidate.shape));
        let threads = self.threads().min(most_threads);
        let running = Running { slot, threads, room, since_utc: now, track: None };
        self.trials.change(best, |trial| {
            trial.candidate.needs.kind = gpu.as_ref().map(|gpu| gpu.name.clone());
            trial.place = Place::Running(running);
        });
        Some(Start { trial: self.trials[best].candidate.id.clone(), slot, threads, gpu })
    }

    /// Whether a trial may start now, were it its turn.
    fn may_start(&self, i: usize, now: i64) -> bool {
        let ready = matches!(self.trials[i].place, Place::Queued { ready_utc } if ready_utc <= now);
        ready && !self.waits_for_another(i, now)
    }

    /// How a trial is started.
    fn room(&self, i: usize) -> Room {
        self.shapes.room(self.trials[i].candidate.shape)
    }

    /// Whether another trial of its shape shows first how much memory they need.
    fn waits_for_another(&self, i: usize, now: i64) -> bool {
        let Some(other) = self.shapes.trying(self.trials[i].candidate.shape).filter(|other| *other != i) else { return false };
        match self.trials[other].place {
            Place::Running(_) => true,
            Place::Queued { ready_utc } => self.can_end(other, now.max(ready_utc)),
            Place::HeldElsewhere | Place::SameAs(_) | Place::StillThere(_) | Place::Over(_) => false,
        }
    }

    fn one_runs_alone(&self) -> bool {
        self.trials.running().any(|i| self.trials[i].running().is_some_and(|r| r.room == Room::Alone))
    }

    /// Whether nothing runs, and nothing that may run beside others waits for the end of a pause.
    fn has_nothing_else_to_do(&self, now: i64) -> bool {
        let other = |i: usize| match self.trials[i].place {
            Place::Queued { ready_utc } => self.room(i) != Room::Alone && self.can_end(i, ready_utc),
            _ => false,
        };
        self.trials.running().len() == 0 && !self.trials.paused(now).any(other)
    }

    /// Families of which a trial is worked on, or will be again after its pause. One that failed keeps no relative waiting.
    fn families_at_work(&self, now: i64) -> HashSet<usize> {
        let trials = &self.trials;
        let paused = trials.paused(now).filter(|i| !trials[*i].failed);
        let at_work = trials.running().chain(trials.held_elsewhere()).chain(trials.same_as()).chain(paused);
        at_work.flat_map(|i| family::relations(&trials[i].candidate)).collect()
    }

    /// A trial that is to be recorded as an alias, and the one it is the same as; the same again until
    /// [`Queue::on_alias`] is told.
    pub fn next_alias(&self) -> Option<(TrialId, TrialId)> {
        let trial = &self.trials[self.trials.same_as().next()?];
        match &trial.place {
            Place::SameAs(source) => Some((trial.candidate.id.clone(), source.clone())),
            _ => None,
        }
    }

    /// No alias is recorded any more: those that were to be are left, and the next run records them.
    pub fn leave_aliases(&mut self) {
        let left: Vec<usize> = self.trials.same_as().collect();
        for i in left {
            self.trials.change(i, |trial| trial.place = Place::AT_ONCE);
        }
    }

    /// The alias was recorded with this outcome; without one it could not be, and the trial is trained.
    pub fn on_alias(&mut self, id: &TrialId, outcome: Option<Box<Outcome>>) -> Vec<Event> {
        let Some(i) = self.trials.number(id) else { return Vec::new() };
        let Place::SameAs(source) = &self.trials[i].place else { return Vec::new() };
        let source = source.clone();
        let Some(outcome) = outcome else {
            self.trials.change(i, |trial| {
                (trial.candidate.family, trial.candidate.twins) = (None, None);
                trial.place = Place::AT_ONCE;
            });
            return self.end_what_cannot_fit();
        };
        self.trials.change(i, |trial| trial.place = Place::Over(Conclusion::Ended(outcome.end)));
        vec![Event::Aliased { trial: id.clone(), source, end: outcome.end, outcome }]
    }

    /// A worker says how far it is: `fraction` of its budget, 0 to 1.
    pub fn on_progress(&mut self, id: &TrialId, fraction: f64, now: i64) {
        let Some(running) = self.trials.number(id).and_then(|i| self.trials.running_mut(i)) else { return };
        match &mut running.track {
            Some(track) => track.add(fraction, now),
            none => *none = Some(Track::new(fraction, now)),
        }
    }

    /// The worker of a trial was killed and is still there. Its slot is not used any more, and nothing waits for it; where it ends
    /// after all, [`Queue::on_exit`] is told as ever.
    pub fn on_still_there(&mut self, id: &TrialId) -> Vec<Event> {
        let Some(i) = self.running_index(id) else { return Vec::new() };
        let slot = self.trials.change(i, |trial| {
            trial.place = match std::mem::replace(&mut trial.place, Place::AT_ONCE) {
                Place::Running(running) => Place::StillThere(running),
                other => other,
            };
            trial.slot()
        });
        let Some(slot) = slot else { return Vec::new() };
        self.devices.set_stuck(slot, true);
        self.shapes.ended(self.trials[i].candidate.shape, i);
        let mut events = vec![Event::StillThere { trial: id.clone(), slot }];
        if self.lost_slots() >= self.policy.slots.max(1) {
            events.extend(self.stop(Stop::NoSlot));
        }
        events
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
            Exit::Done(outcome) => self.on_done(i, outcome, took),
            Exit::Interrupted => self.on_interrupted(i, now),
            Exit::HeldElsewhere => {
                self.shapes.ended(self.trials[i].candidate.shape, i);
                self.trials.change(i, |trial| trial.place = Place::HeldElsewhere);
                vec![Event::HeldElsewhere { trial: id.clone() }]
            }
            Exit::Failed(failure) => match self.device_fault(i, slot, &failure) {
                Some(left_out) => self.on_device_fault(i, failure, left_out, now),
                None => self.on_failure(i, failure, Ran { slot, room, threads }, took, now),
            },
        }
    }

    /// A trial that another worker held stands so now.
    pub fn on_standing(&mut self, id: &TrialId, standing: Standing) -> Vec<Event> {
        let held = |i: &usize| matches!(self.trials[*i].place, Place::HeldElsewhere);
        let Some(i) = self.trials.number(id).filter(held) else { return Vec::new() };
        match standing {
            Standing::HeldElsewhere => Vec::new(),
            Standing::Done(end) => {
                self.trials.change(i, |trial| trial.place = Place::Over(Conclusion::DoneBefore(end)));
                vec![Event::Skipped { trial: id.clone(), end }]
            }
            Standing::Waiting | Standing::Interrupted | Standing::Failed => {
                self.trials.change(i, |trial| {
                    trial.interrupted |= standing != Standing::Waiting;
                    trial.failed |= standing == Standing::Failed;
                    trial.place = Place::AT_ONCE;
                });
                self.end_what_cannot_fit()
            }
        }
    }

    /// The deadline is this now: the clock on the wall may have been set.
    pub fn move_deadline(&mut self, until_utc: i64) {
        self.policy.until_utc = Some(until_utc);
    }

    /// Looks at the time: the deadline may have come.
    pub fn tick(&mut self, now: i64) -> Vec<Event> {
        if self.is_late(now) && !self.trials.are_all_over() { self.stop(Stop::Deadline) } else { Vec::new() }
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
        let is_late = |i: usize| matches!(trials[i].place, Place::Queued { ready_utc } if self.is_late(now.max(ready_utc)));
        let never = |i: usize| is_late(i) || !self.has_place(i);
        trials.held_elsewhere().len() == 0 && (self.is_late(now) || trials.queued().all(never))
    }

    /// Concludes every trial that is not over: what is left and why, and what the run came to.
    pub fn finish(&mut self) -> (Vec<Event>, Summary) {
        let mut events = Vec::new();
        for i in 0..self.trials.len() {
            let why = match self.trials[i].place {
                Place::Over(_) => continue,
                Place::Running(_) => Left::Interrupted,
                Place::StillThere(_) => Left::StillThere,
                Place::HeldElsewhere => Left::HeldElsewhere,
                Place::SameAs(_) => Left::NotStarted,
                Place::Queued { .. } if !self.has_place(i) && self.stop.is_none() => Left::NoGpu,
                Place::Queued { .. } if self.stop.is_none() => Left::WouldNotEnd,
                Place::Queued { .. } if self.trials[i].failures + self.trials[i].killed_for_memory > 0 => Left::Failed,
                // It found the disk full, or somebody stopped its worker.
                Place::Queued { .. } if self.trials[i].spent > 0.0 => Left::Interrupted,
                Place::Queued { .. } => Left::NotStarted,
            };
            events.push(self.leave(i, why));
        }
        for (left, why) in [(Left::WouldNotEnd, Stop::Deadline), (Left::NoGpu, Stop::NoGpu)] {
            let is_left = |t: &Trial| matches!(t.place, Place::Over(Conclusion::Left(why)) if why == left);
            if self.stop.is_none() && self.trials.iter().any(is_left) {
                self.stop = Some(why);
            }
        }
        let conclusions = self.trials.iter().filter_map(|t| match t.place {
            Place::Over(conclusion) => Some(conclusion),
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
    fn ends_utc(&self, now: i64) -> Option<i64> {
        let left_of_running = |i: usize| {
            let running = self.trials[i].running()?;
            let expected = self.expected(i).map(|s| s - seconds(now - running.since_utc));
            Some(running.track.and_then(|t| t.seconds_left(now)).or(expected)?.max(0.0))
        };
        let running = self.trials.running().map(left_of_running).collect::<Option<Vec<f64>>>()?;
        let queued = self.trials.queued().filter(|_| self.stop.is_none());
        let queued = queued.map(|i| self.expected(i)).collect::<Option<Vec<f64>>>()?;
        let ends = now.saturating_add(super::estimate::micros(until_all_end(
            &running,
            &queued,
            self.policy.slots.saturating_sub(self.lost_slots()).max(1),
        )));
        Some(self.policy.until_utc.map_or(ends, |until| ends.min(until.max(now))))
    }

    /// Seconds that are left of a trial that is not running (of a running one: from its start).
    fn expected(&self, i: usize) -> Option<f64> {
        let trial = &self.trials[i];
        self.experience.seconds(trial.candidate.expected_seconds).map(|s| s * trial.share_left)
    }

    /// Whether a trial that starts now ends before the deadline, as far as is known, and has a GPU that it can run on.
    fn can_end(&self, i: usize, now: i64) -> bool {
        if !self.has_place(i) {
            return false;
        }
        let Some(until) = self.policy.until_utc else { return true };
        let needs = self.expected(i).map_or(0, super::estimate::micros);
        now < until && now.saturating_add(needs) <= until
    }

    /// Whether a trial that waits, or its pause, can end before the deadline.
    fn any_can_end(&self, now: i64) -> bool {
        self.trials.queued().any(|i| match self.trials[i].place {
            Place::Queued { ready_utc } => self.can_end(i, now.max(ready_utc)),
            _ => false,
        })
    }

    /// Whether the deadline has come.
    pub fn is_late(&self, now: i64) -> bool {
        self.policy.until_utc.is_some_and(|until| now >= until)
    }

    /// The slots in which a worker is.
    fn taken(&self) -> BTreeSet<u32> {
        let taken = self.trials.running().chain(self.trials.still_there());
        taken.filter_map(|i| self.trials[i].slot()).collect()
    }

    /// A free slot for this trial, or for any.
    fn free_slot(&self, taken: &BTreeSet<u32>, trial: Option<usize>) -> Option<u32> {
        if self.devices.slots().is_some() {
            return self.devices.free(taken, trial.map(|i| (i, &self.trials[i].candidate.needs)));
        }
        let slots = u32::try_from(self.policy.slots.max(1)).unwrap_or(u32::MAX);
        (1..=slots).find(|slot| !taken.contains(slot))
    }

    /// Whether a GPU is left on which this trial can run; on the processor always.
    fn has_place(&self, i: usize) -> bool {
        self.devices.are_alike() || self.devices.has_place(&self.trials[i].candidate.needs)
    }

    /// CPU threads for the next trial: what is asked for, or its part of the free cores among the slots that will be used.
    fn threads(&self) -> u32 {
        let share = self.policy.threads.unwrap_or_else(|| {
            let running = self.trials.running().filter_map(|i| self.trials[i].running());
            let used = running.map(|running| running.threads as usize).sum();
            let (busy, queued) = (self.trials.running().len(), self.trials.queued().len());
            let free_slots = self.policy.slots.max(1).saturating_sub(busy + self.lost_slots());
            self.policy.cores.saturating_sub(used) / free_slots.min(queued).max(1)
        });
        u32::try_from(share.max(1)).unwrap_or(u32::MAX)
    }

    /// Slots that are not used any more: a worker is there that was killed and is still there, or its GPU is left out.
    fn lost_slots(&self) -> usize {
        let slot = |i: usize| self.trials[i].slot();
        let stuck: BTreeSet<u32> = self.trials.still_there().filter_map(slot).collect();
        let on_gpus = u32::try_from(self.devices.slots().unwrap_or(0)).unwrap_or(u32::MAX);
        let out = (1..=on_gpus).filter(|slot| self.devices.is_out(*slot) && !stuck.contains(slot)).count();
        stuck.len() + out
    }

    /// A worker that was not waited for any more has ended.
    fn ends_after_all(&mut self, id: &TrialId) {
        let Some(i) = self.trials.number(id) else { return };
        if let Place::StillThere(running) = &self.trials[i].place {
            self.devices.set_stuck(running.slot, false);
        }
        self.trials.change(i, |trial| {
            trial.place = match std::mem::replace(&mut trial.place, Place::AT_ONCE) {
                Place::StillThere(running) => Place::Running(running),
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
            let Place::Running(running) = &trial.place else { return 0.0 };
            let took = seconds(now - running.since_utc).max(0.0);
            trial.spent += took;
            trial.share_left *= running.track.map_or(1.0, |t| t.share_left());
            took
        })
    }

    fn on_done(&mut self, i: usize, outcome: Box<Outcome>, took: f64) -> Vec<Event> {
        let (end, reason) = (outcome.end, outcome.reason.clone());
        let mut events = Vec::new();
        self.shapes.ended(self.trials[i].candidate.shape, i);
        self.disk.trial_ended();
        if end == End::Failed {
            let reason = reason.clone().unwrap_or_else(|| "failed".to_owned());
            let failure = Failure { cause: Cause::Refused, reason, last_lines: Vec::new() };
            self.count_alike(i, &failure);
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
        events.extend(self.stop_after_same_failures());
        events
    }

    /// Which relatives of a trial that ended so are the same, and need not be started.
    fn find_aliases(&mut self, i: usize, outcome: &Outcome) {
        let trained = self.trials[i].candidate.clone();
        let source = outcome.alias_of.as_ref().unwrap_or(&trained.id);
        for relative in self.trials.relatives(&trained) {
            let trial = &self.trials[relative];
            if !trial.is_queued() || !family::are_related(&trial.candidate, &trained) {
                continue;
            }
            match family::verdict(outcome, &trained, &trial.candidate) {
                Verdict::Same => self.trials.change(relative, |trial| trial.place = Place::SameAs(source.clone())),
                Verdict::Different => self.trials.change(relative, |trial| trial.candidate.family = None),
                Verdict::Open => {}
            }
        }
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

    fn end(&mut self, i: usize, end: End, reason: Option<String>, took: f64, outcome: Option<Box<Outcome>>) -> Event {
        self.trials.change(i, |trial| trial.place = Place::Over(Conclusion::Ended(end)));
        Event::Ended { trial: self.trials[i].candidate.id.clone(), end, reason, seconds: took, outcome }
    }

    fn leave(&mut self, i: usize, why: Left) -> Event {
        self.trials.change(i, |trial| trial.place = Place::Over(Conclusion::Left(why)));
        Event::Left { trial: self.trials[i].candidate.id.clone(), why }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "queue/gpus_tests.rs"]
mod on_gpus;
