//! The trials of a queue, found by their places: nobody has to look through all of them to know which one is next.

use std::collections::{BTreeSet, HashMap};
use std::ops::Index;

use crate::plan::TrialId;
use crate::runs::End;
use crate::schedule::candidate::{Begun, Rank};
use crate::schedule::estimate::Track;
use crate::schedule::kinship::relations;
use crate::schedule::shapes::Room;
use crate::schedule::{Candidate, Conclusion, Overview, Standing};

/// A trial, and what has become of it.
#[derive(Debug)]
pub(super) struct QueuedTrial {
    pub(super) candidate: Candidate,
    /// Whether it was started before, in this run or an earlier one.
    pub(super) interrupted: bool,
    pub(super) situation: Situation,
    /// Whether its last attempt ended badly, in this run or an earlier one.
    pub(super) failed: bool,
    /// Attempts of this run that count against [`Policy::retries`](crate::schedule::Policy::retries).
    pub(super) failures: u32,
    /// Attempts of this run that were killed for memory.
    pub(super) killed_for_memory: u32,
    /// Seconds of this run's attempts.
    pub(super) spent: f64,
    /// Share of the expected seconds that is left.
    pub(super) share_left: f64,
}

#[derive(Debug)]
pub(super) enum Situation {
    Queued {
        ready_utc: i64,
    },
    HeldElsewhere,
    /// To be recorded as an alias of this trial.
    SameAs(TrialId),
    Running(Running),
    /// Its worker was killed and is still there: so is its slot taken.
    StillThere(Running),
    Over(Conclusion),
}

impl Situation {
    /// To be started without a pause, whatever the clock is set to.
    pub(super) const AT_ONCE: Self = Self::Queued { ready_utc: i64::MIN };
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) slot: u32,
    pub(super) threads: u32,
    pub(super) room: Room,
    pub(super) since_utc: i64,
    pub(super) track: Option<Track>,
    /// Whether its worker has not begun: it waits for its turn in a cluster's queue.
    pub(super) waits: bool,
}

/// With what a worker ran.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    pub(super) slot: u32,
    pub(super) room: Room,
    pub(super) threads: u32,
}

impl QueuedTrial {
    fn new(candidate: Candidate) -> Self {
        let situation = match candidate.standing {
            Standing::Waiting | Standing::Interrupted | Standing::Failed => Situation::AT_ONCE,
            Standing::HeldElsewhere => Situation::HeldElsewhere,
            Standing::Done(end) => Situation::Over(Conclusion::DoneBefore(end)),
        };
        let failed = candidate.standing == Standing::Failed;
        let interrupted = failed || candidate.standing == Standing::Interrupted;
        Self { candidate, interrupted, failed, situation, failures: 0, killed_for_memory: 0, spent: 0.0, share_left: 1.0 }
    }

    pub(super) fn begun(&self) -> Begun {
        match (self.failed, self.interrupted) {
            (true, _) => Begun::Failed,
            (false, true) => Begun::Interrupted,
            (false, false) => Begun::Fresh,
        }
    }

    pub(super) fn running(&self) -> Option<&Running> {
        match &self.situation {
            Situation::Running(running) => Some(running),
            _ => None,
        }
    }

    /// The slot that it takes.
    pub(super) fn slot(&self) -> Option<u32> {
        match &self.situation {
            Situation::Running(running) | Situation::StillThere(running) => Some(running.slot),
            _ => None,
        }
    }

    pub(super) fn is_queued(&self) -> bool {
        matches!(self.situation, Situation::Queued { .. })
    }
}

/// All trials of a queue. Their numbers are their places in the file.
#[derive(Debug, Default)]
pub(super) struct Trials {
    all: Vec<QueuedTrial>,
    by_id: HashMap<TrialId, usize>,
    /// Those that may turn out to be the same as another, by what they share: [`relations`].
    related: HashMap<usize, Vec<usize>>,
    situations: Situations,
    /// How often a trial was looked at.
    #[cfg(test)]
    looks: std::cell::Cell<u64>,
}

/// Which trials stand where.
#[derive(Debug, Default, PartialEq)]
struct Situations {
    queued: BTreeSet<Rank>,
    /// Those of the queued ones that had to pause, by the end of the pause, which may be over.
    paused: BTreeSet<(i64, usize)>,
    held_elsewhere: BTreeSet<usize>,
    same_as: BTreeSet<usize>,
    running: BTreeSet<usize>,
    still_there: BTreeSet<usize>,
    /// Over with an end.
    ended: BTreeSet<usize>,
    /// Those of them that failed.
    failed: BTreeSet<usize>,
}

impl Trials {
    /// These trials, in the order of the file. Their ids differ.
    pub(super) fn new(candidates: Vec<Candidate>) -> Self {
        let mut trials = Self::default();
        for (i, candidate) in candidates.into_iter().enumerate() {
            trials.by_id.insert(candidate.id.clone(), i);
            relations(&candidate).for_each(|number| trials.related.entry(number).or_default().push(i));
            trials.all.push(QueuedTrial::new(candidate));
            trials.situations.add(i, &trials.all[i]);
        }
        trials
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The number of a trial.
    pub(super) fn number(&self, id: &TrialId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// All, in the order of the file.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, QueuedTrial> {
        self.all.iter()
    }

    /// The numbers of those that wait to be started, in the order of starts.
    pub(super) fn queued(&self) -> impl ExactSizeIterator<Item = usize> {
        self.situations.queued.iter().map(Rank::number)
    }

    /// The numbers of those that are still to pause after `now`.
    pub(super) fn paused(&self, now: i64) -> impl Iterator<Item = usize> {
        let later = now.checked_add(1).into_iter();
        later.flat_map(|later| self.situations.paused.range((later, 0)..)).map(|(_, number)| *number)
    }

    /// The numbers of those that another worker holds, in the order of the file, as all below.
    pub(super) fn held_elsewhere(&self) -> impl ExactSizeIterator<Item = usize> {
        self.situations.held_elsewhere.iter().copied()
    }

    /// The numbers of those that are to be recorded as aliases.
    pub(super) fn same_as(&self) -> impl ExactSizeIterator<Item = usize> {
        self.situations.same_as.iter().copied()
    }

    /// The numbers of those with a worker.
    pub(super) fn running(&self) -> impl ExactSizeIterator<Item = usize> {
        self.situations.running.iter().copied()
    }

    /// The numbers of those whose worker was killed and is still there.
    pub(super) fn still_there(&self) -> impl ExactSizeIterator<Item = usize> {
        self.situations.still_there.iter().copied()
    }

    /// Whether each of them is over, with an end or without.
    pub(super) fn are_all_over(&self) -> bool {
        let Situations { queued, held_elsewhere, same_as, running, still_there, .. } = &self.situations;
        queued.is_empty() && [held_elsewhere, same_as, running, still_there].into_iter().all(BTreeSet::is_empty)
    }

    /// How many stand where; when it ends is not known here.
    pub(super) fn overview(&self) -> Overview {
        let (trials, done, running) = (self.all.len(), self.situations.ended.len(), self.situations.running.len());
        Overview { trials, done, failed: self.situations.failed.len(), running, left: trials - done - running, ends_utc: None }
    }

    /// The numbers of those that began with something in common with this one, each once.
    pub(super) fn relatives(&self, of: &Candidate) -> BTreeSet<usize> {
        relations(of).filter_map(|number| self.related.get(&number)).flatten().copied().collect()
    }

    /// Changes a trial, and where it is found.
    pub(super) fn change<T>(&mut self, i: usize, change: impl FnOnce(&mut QueuedTrial) -> T) -> T {
        self.situations.remove(i, &self.all[i]);
        let result = change(&mut self.all[i]);
        self.situations.add(i, &self.all[i]);
        result
    }

    /// What is known of the worker of a trial that has one; it stays where it is found.
    pub(super) fn running_mut(&mut self, i: usize) -> Option<&mut Running> {
        match &mut self.all[i].situation {
            Situation::Running(running) => Some(running),
            _ => None,
        }
    }
}

impl Index<usize> for Trials {
    type Output = QueuedTrial;

    fn index(&self, i: usize) -> &QueuedTrial {
        #[cfg(test)]
        self.looks.update(|looks| looks + 1);
        &self.all[i]
    }
}

impl Situations {
    fn add(&mut self, i: usize, trial: &QueuedTrial) {
        match &trial.situation {
            Situation::Queued { ready_utc } => {
                self.queued.insert(Rank::of(&trial.candidate, trial.begun(), i));
                if *ready_utc != i64::MIN {
                    self.paused.insert((*ready_utc, i));
                }
            }
            Situation::HeldElsewhere => drop(self.held_elsewhere.insert(i)),
            Situation::SameAs(_) => drop(self.same_as.insert(i)),
            Situation::Running(_) => drop(self.running.insert(i)),
            Situation::StillThere(_) => drop(self.still_there.insert(i)),
            Situation::Over(conclusion) => {
                if let Some(end) = conclusion.end() {
                    self.ended.insert(i);
                    if end == End::Failed {
                        self.failed.insert(i);
                    }
                }
            }
        }
    }

    fn remove(&mut self, i: usize, trial: &QueuedTrial) {
        match &trial.situation {
            Situation::Queued { ready_utc } => {
                self.queued.remove(&Rank::of(&trial.candidate, trial.begun(), i));
                self.paused.remove(&(*ready_utc, i));
            }
            Situation::HeldElsewhere => drop(self.held_elsewhere.remove(&i)),
            Situation::SameAs(_) => drop(self.same_as.remove(&i)),
            Situation::Running(_) => drop(self.running.remove(&i)),
            Situation::StillThere(_) => drop(self.still_there.remove(&i)),
            Situation::Over(_) => {
                self.ended.remove(&i);
                self.failed.remove(&i);
            }
        }
    }
}

#[cfg(test)]
#[path = "trials_tests.rs"]
pub(super) mod tests;
