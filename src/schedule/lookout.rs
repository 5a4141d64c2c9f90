//! What is known of each running worker: how long it has been silent, and whether it was asked to stop, or killed.
//!
//! Pure: whoever drives it tells what was heard and when ([`Lookout::pass`], [`Lookout::hears`]), and is told what is to be done
//! ([`Lookout::findings`]).
//!
//! A worker gives a sign of life after each piece of its work, so how long it may be silent follows from how long it was before, in
//! the same phase of the same trial ([`longest`]). Time that the looks themselves missed is no silence of the worker's: the runner was
//! stopped then, or busy, or the machine was suspended.

use std::collections::HashMap;

use super::Kill;
use super::estimate::{micros, seconds};
use crate::experiment::settings::Timeout;
use crate::plan::TrialId;
use crate::rows::Phase;
use crate::runs::Progress;

/// `auto`: the least that a silence may last, seconds; how often the longest one that is known; and the most before one is known.
const LEAST: f64 = 120.0;
const TIMES: f64 = 20.0;
const UNKNOWN: f64 = 600.0;

/// A silence of so many seconds is told, where it is so many times the longest that is known.
const TOLD: f64 = 10.0;
const TOLD_TIMES: f64 = 3.0;

/// Looks that are so many times further apart than they should be, and at least so many microseconds, have missed the time between.
const GAP: i64 = 10;
const LEAST_GAP: i64 = 1_000_000;

/// How long a silence may last, seconds, where the longest one before of that sort was `known`; `None` for ever.
pub fn longest(timeout: Timeout, known: Option<f64>) -> Option<f64> {
    match timeout {
        Timeout::Never => None,
        Timeout::After(seconds) => Some(seconds as f64),
        Timeout::Auto => Some(known.map_or(UNKNOWN, |known| (TIMES * known).max(LEAST))),
    }
}

/// A silence, as it adds up from look to look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silence {
    /// Microseconds.
    lasts: i64,
}

impl Silence {
    /// Nothing was heard between two looks that are `apart`, and should be `pace`, microseconds.
    pub fn grows(&mut self, apart: i64, pace: i64) {
        let missed = apart > (GAP * pace).max(LEAST_GAP);
        self.lasts += if missed { pace } else { apart.max(0) };
    }

    /// How long it has lasted, seconds.
    pub fn seconds(self) -> f64 {
        seconds(self.lasts)
    }

    /// It is over; how long it has lasted, seconds.
    pub fn ends(&mut self) -> f64 {
        std::mem::take(self).seconds()
    }
}

/// Rules of a lookout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// How long a worker may be silent.
    pub timeout: Timeout,
    /// Seconds from the wish to stop until workers are killed that have not.
    pub stopping: f64,
    /// Seconds after which a worker that was killed and is still there is not waited for any more.
    pub killed: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeout: Timeout::Auto, stopping: 30.0, killed: 10.0 }
    }
}

/// What is to be done about a worker, or told of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    /// It is to be killed.
    Kill(Kill),
    /// It was killed, and is still there.
    StillThere,
    /// It has been silent for so many seconds, longer than it uses to be, since it said it was in this phase.
    Silent(u64, Phase),
}

#[derive(Debug, Default)]
pub(super) struct Lookout {
    patience: Patience,
    /// Between two looks, microseconds.
    pace: i64,
    looked: Option<i64>,
    /// Since when workers are to stop.
    stops_since: Option<i64>,
    workers: HashMap<TrialId, Worker>,
    /// The longest silence of each phase of a trial, seconds, over all its attempts.
    known: HashMap<TrialId, HashMap<Phase, f64>>,
}

#[derive(Debug, Default)]
struct Worker {
    silence: Silence,
    /// What it said last: the phase it is in, and when that was said.
    phase: Option<Phase>,
    said_utc: Option<i64>,
    /// The seconds of its silence that were told last.
    told: u64,
    asked: bool,
    killed: Option<i64>,
    /// Whether it was told that it is still there although it was killed.
    is_told: bool,
    starts_over: bool,
}

impl Lookout {
    pub(super) fn new(patience: Patience, pace: i64) -> Self {
        Self { patience, pace, ..Self::default() }
    }

    /// A trial has a worker now.
    pub(super) fn started(&mut self, trial: &TrialId) {
        self.workers.insert(trial.clone(), Worker::default());
    }

    /// A worker ended.
    pub(super) fn ended(&mut self, trial: &TrialId) {
        self.workers.remove(trial);
    }

    /// Time has passed since the last look.
    pub(super) fn pass(&mut self, now: i64) {
        let apart = now - self.looked.replace(now).unwrap_or(now);
        self.workers.values_mut().for_each(|worker| worker.silence.grows(apart, self.pace));
    }

    /// A worker has not begun, or not begun anew: it is not silent, and what it does first is to start.
    pub(super) fn waits(&mut self, trial: &TrialId) {
        if let Some(worker) = self.workers.get_mut(trial) {
            (worker.silence, worker.told, worker.phase) = (Silence::default(), 0, None);
        }
    }

    /// A worker's note was read; whether it is a new one.
    pub(super) fn hears(&mut self, trial: &TrialId, progress: &Progress) -> bool {
        let Some(worker) = self.workers.get_mut(trial) else { return false };
        if worker.said_utc.replace(progress.time_utc) == Some(progress.time_utc) {
            return false;
        }
        let silence = worker.silence.ends();
        worker.told = 0;
        let before = worker.phase.replace(progress.phase);
        // The first note ends the start of a process, which is nobody's phase.
        if let Some(phase) = before {
            let known = self.known.entry(trial.clone()).or_default().entry(phase).or_default();
            *known = known.max(silence);
        }
        true
    }

    /// Whether it is news that a worker says it starts over.
    pub(super) fn starts_over(&mut self, trial: &TrialId) -> bool {
        self.workers.get_mut(trial).is_some_and(|worker| !std::mem::replace(&mut worker.starts_over, true))
    }

    /// Workers are to stop from now on; whether this one was not asked to before.
    pub(super) fn is_to_ask(&mut self, trial: &TrialId, now: i64) -> bool {
        self.stops_since.get_or_insert(now);
        self.workers.get_mut(trial).is_some_and(|worker| !std::mem::replace(&mut worker.asked, true))
    }

    /// Whether a worker was not killed before; it is now.
    pub(super) fn is_to_kill(&mut self, trial: &TrialId, now: i64) -> bool {
        self.workers.get_mut(trial).is_some_and(|worker| worker.killed.replace(worker.killed.unwrap_or(now)).is_none())
    }

    /// What is to be done now, in the order of the trials' ids. What is killed is taken for killed.
    pub(super) fn findings(&mut self, now: i64) -> Vec<(TrialId, Finding)> {
        let Patience { timeout, stopping, killed } = self.patience;
        let impatient = self.stops_since.is_some_and(|since| now - since >= micros(stopping));
        let mut findings = Vec::new();
        for (trial, worker) in &mut self.workers {
            let phase = worker.phase.unwrap_or(Phase::Starting);
            let known = self.known.get(trial).and_then(|known| known.get(&phase)).copied();
            let silent = worker.silence.seconds();
            let whole = silent as u64;
            let finding = if let Some(since) = worker.killed {
                let is_news = now - since >= micros(killed) && !std::mem::replace(&mut worker.is_told, true);
                is_news.then_some(Finding::StillThere)
            } else if longest(timeout, known).is_some_and(|longest| silent >= longest) {
                Some(Finding::Kill(Kill::Hung(format!("silent for {whole} s while {}", phase.name()))))
            } else if impatient {
                Some(Finding::Kill(Kill::Late(stopping)))
            } else {
                let is_news = silent >= TOLD.max(TOLD_TIMES * known.unwrap_or(0.0)) && whole != worker.told;
                is_news.then_some(Finding::Silent(whole, phase))
            };
            match &finding {
                Some(Finding::Kill(_)) => worker.killed = Some(now),
                Some(Finding::Silent(seconds, _)) => worker.told = *seconds,
                _ => {}
            }
            findings.extend(finding.map(|finding| (trial.clone(), finding)));
        }
        findings.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        findings
    }
}

#[cfg(test)]
#[path = "lookout_tests.rs"]
mod tests;
