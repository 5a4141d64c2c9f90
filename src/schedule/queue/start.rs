//! Which trial is started next, and where.

use std::collections::{BTreeSet, HashSet};

use super::Queue;
use super::trials::{Running, Situation};
use crate::schedule::Start;
use crate::schedule::estimate::micros;
use crate::schedule::kinship;
use crate::schedule::shapes::Room;

impl Queue {
    /// What is to be started now; `None` where no slot is free or nothing may start. The trial counts as running from here on:
    /// where it cannot be started after all, tell [`Queue::on_exit`].
    pub fn next(&mut self, now: i64) -> Option<Start> {
        if self.stop.is_some() || self.is_late(now) || self.disk.is_full() || now < self.rests_until || self.one_runs_alone() {
            return None;
        }
        let taken: BTreeSet<u32> = self.taken();
        self.free_slot(&taken, None)?;
        // Where GPUs are alike, a slot that is free is free for all.
        let has_slot = |i: usize| !self.devices.differ_for(i) || self.free_slot(&taken, Some(i)).is_some();
        // What cannot end before the deadline goes on another time: it is begun only where nothing shorter is left.
        let late_ones_too = !self.any_can_end(now);
        let at_work = self.kin_at_work(now);
        let first = |alone: bool| {
            let ready = self
                .trials
                .queued()
                .filter(|i| self.may_start(*i, now) && (self.room(*i) == Room::Alone) == alone && has_slot(*i));
            let ready = ready.filter(|i| late_ones_too || self.can_end(*i, now));
            kinship::first(ready.map(|i| (i, &self.trials[i].candidate, self.trials[i].begun())), &at_work)
        };
        // What runs alone keeps all slots: it comes when nothing else is left to start.
        // On a cluster it has memory of its own in any case.
        let may_be_alone = self.policy.on_cluster || self.has_nothing_else_to_do(now);
        let best = first(false).or_else(|| if may_be_alone { first(true) } else { None })?;
        let slot = self.free_slot(&taken, Some(best))?;
        let gpu = self.devices.gpu(slot).cloned();
        let (room, most_threads) = (self.room(best), self.shapes.most_threads(self.trials[best].candidate.shape));
        let threads = self.threads().min(most_threads);
        let running = Running { slot, threads, room, since_utc: now, track: None, waits: false };
        self.trials.change(best, |trial| {
            trial.candidate.needs.kind = gpu.as_ref().map(|gpu| gpu.name.clone());
            trial.situation = Situation::Running(running);
        });
        let ample = room == Room::Alone;
        Some(Start { trial: self.trials[best].candidate.id.clone(), slot, threads, gpu, ample })
    }

    /// Whether a trial may start now, were it its turn.
    pub(super) fn may_start(&self, i: usize, now: i64) -> bool {
        let ready = matches!(self.trials[i].situation, Situation::Queued { ready_utc } if ready_utc <= now);
        ready && !self.waits_for_another(i, now)
    }

    /// How a trial is started.
    pub(super) fn room(&self, i: usize) -> Room {
        self.shapes.room(self.trials[i].candidate.shape)
    }

    /// Whether another trial of its shape shows first how much memory they need.
    pub(super) fn waits_for_another(&self, i: usize, now: i64) -> bool {
        let Some(other) = self.shapes.trying(self.trials[i].candidate.shape).filter(|other| *other != i) else { return false };
        match self.trials[other].situation {
            Situation::Running(_) => true,
            Situation::Queued { ready_utc } => self.can_end(other, now.max(ready_utc)),
            Situation::HeldElsewhere | Situation::SameAs(_) | Situation::StillThere(_) | Situation::Over(_) => false,
        }
    }

    pub(super) fn one_runs_alone(&self) -> bool {
        !self.policy.on_cluster && self.trials.running().any(|i| self.trials[i].running().is_some_and(|r| r.room == Room::Alone))
    }

    /// Whether nothing runs, and nothing that may run beside others waits for the end of a pause.
    pub(super) fn has_nothing_else_to_do(&self, now: i64) -> bool {
        let other = |i: usize| match self.trials[i].situation {
            Situation::Queued { ready_utc } => self.room(i) != Room::Alone && self.can_end(i, ready_utc),
            _ => false,
        };
        self.trials.running().len() == 0 && !self.trials.paused(now).any(other)
    }

    /// Kin of which a trial is worked on, or will be again after its pause. One that failed keeps no relative waiting.
    pub(super) fn kin_at_work(&self, now: i64) -> HashSet<usize> {
        let trials = &self.trials;
        let paused = trials.paused(now).filter(|i| !trials[*i].failed);
        let at_work = trials.running().chain(trials.held_elsewhere()).chain(trials.same_as()).chain(paused);
        at_work.flat_map(|i| kinship::relations(&trials[i].candidate)).collect()
    }

    /// Whether a trial that starts now ends before the deadline, as far as is known, and has a GPU that it can run on.
    pub(super) fn can_end(&self, i: usize, now: i64) -> bool {
        if !self.has_place(i) {
            return false;
        }
        let Some(until) = self.policy.until_utc else { return true };
        let needs = self.expected(i).map_or(0, micros);
        now < until && now.saturating_add(needs) <= until
    }

    /// Whether a trial that waits, or its pause, can end before the deadline.
    pub(super) fn any_can_end(&self, now: i64) -> bool {
        self.trials.queued().any(|i| match self.trials[i].situation {
            Situation::Queued { ready_utc } => self.can_end(i, now.max(ready_utc)),
            _ => false,
        })
    }

    /// The slots in which a worker is.
    pub(super) fn taken(&self) -> BTreeSet<u32> {
        let taken = self.trials.running().chain(self.trials.still_there());
        taken.filter_map(|i| self.trials[i].slot()).collect()
    }

    /// A free slot for this trial, or for any.
    pub(super) fn free_slot(&self, taken: &BTreeSet<u32>, trial: Option<usize>) -> Option<u32> {
        if self.devices.slots().is_some() {
            return self.devices.free(taken, trial.map(|i| (i, &self.trials[i].candidate.needs)));
        }
        let slots = u32::try_from(self.policy.slots.max(1)).unwrap_or(u32::MAX);
        (1..=slots).find(|slot| !taken.contains(slot))
    }

    /// Whether a GPU is left on which this trial can run; on the processor always.
    pub(super) fn has_place(&self, i: usize) -> bool {
        self.devices.are_alike() || self.devices.has_place(&self.trials[i].candidate.needs)
    }

    /// CPU threads for the next trial: what is asked for, or its part of the free cores among the slots that will be used.
    pub(super) fn threads(&self) -> u32 {
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
    pub(super) fn lost_slots(&self) -> usize {
        let slot = |i: usize| self.trials[i].slot();
        let stuck: BTreeSet<u32> = self.trials.still_there().filter_map(slot).collect();
        let on_gpus = u32::try_from(self.devices.slots().unwrap_or(0)).unwrap_or(u32::MAX);
        let out = (1..=on_gpus).filter(|slot| self.devices.is_out(*slot) && !stuck.contains(slot)).count();
        stuck.len() + out
    }
}
