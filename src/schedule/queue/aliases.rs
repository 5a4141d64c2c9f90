//! Trials that turn out to be the same as one that ended: they are recorded, and not trained.

use super::Queue;
use super::trials::Situation;
use crate::plan::TrialId;
use crate::runs::Outcome;
use crate::schedule::kinship::{self, Verdict};
use crate::schedule::{Conclusion, Event};

impl Queue {
    /// A trial that is to be recorded as an alias, and the one it is the same as; the same again until
    /// [`Queue::on_alias`] is told.
    ///
    /// None while the disk is full, unless nothing is started any more.
    pub fn next_alias(&self) -> Option<(TrialId, TrialId)> {
        if self.disk.is_full() && self.stop.is_none() {
            return None;
        }
        let trial = &self.trials[self.trials.same_as().next()?];
        match &trial.situation {
            Situation::SameAs(source) => Some((trial.candidate.id.clone(), source.clone())),
            _ => None,
        }
    }

    /// No alias is recorded any more: those that were to be are left, and the next run records them.
    pub fn leave_aliases(&mut self) {
        let left: Vec<usize> = self.trials.same_as().collect();
        for i in left {
            self.trials.change(i, |trial| trial.situation = Situation::AT_ONCE);
        }
    }

    /// The alias could not be recorded, since the disk is full: it is when there is room, or by the next run.
    pub fn on_alias_without_room(&mut self, id: &TrialId, now: i64) -> Vec<Event> {
        let Some(i) = self.trials.number(id) else { return Vec::new() };
        if self.stop.is_some() {
            self.leave_aliases();
            return Vec::new();
        }
        if self.disk.found_full(i, now) { vec![Event::DiskFull] } else { Vec::new() }
    }

    /// The alias was recorded with this outcome; without one it could not be, and the trial is trained.
    pub fn on_alias(&mut self, id: &TrialId, outcome: Option<Box<Outcome>>) -> Vec<Event> {
        let Some(i) = self.trials.number(id) else { return Vec::new() };
        let Situation::SameAs(source) = &self.trials[i].situation else { return Vec::new() };
        let source = source.clone();
        let Some(outcome) = outcome else {
            self.trials.change(i, |trial| {
                (trial.candidate.kin, trial.candidate.twins) = (None, None);
                trial.situation = Situation::AT_ONCE;
            });
            return self.end_what_cannot_fit();
        };
        self.trials.change(i, |trial| trial.situation = Situation::Over(Conclusion::Ended(outcome.end)));
        vec![Event::Aliased { trial: id.clone(), source, end: outcome.end, outcome }]
    }

    /// Which relatives of a trial that ended so are the same, and need not be started.
    pub(super) fn find_aliases(&mut self, i: usize, outcome: &Outcome) {
        let trained = self.trials[i].candidate.clone();
        let source = outcome.alias_of.as_ref().unwrap_or(&trained.id);
        for relative in self.trials.relatives(&trained) {
            let trial = &self.trials[relative];
            if !trial.is_queued() || !kinship::are_related(&trial.candidate, &trained) {
                continue;
            }
            match kinship::verdict(outcome, &trained, &trial.candidate) {
                Verdict::Same => self.trials.change(relative, |trial| trial.situation = Situation::SameAs(source.clone())),
                Verdict::Different => self.trials.change(relative, |trial| trial.candidate.kin = None),
                Verdict::Open => {}
            }
        }
    }
}
