//! Failures that are alike, one after another: they stop the queue, and trials that cannot be started slow it down before.

use std::collections::BTreeSet;

use crate::schedule::estimate::micros;
use crate::schedule::{Cause, Failure, Stop};

/// Attempts that ran when one failed, and fail within so many seconds after it, may have failed of the same event.
const ONE_EVENT: f64 = 60.0;
/// Seconds for which it is tried whether trials can be started again.
const PATIENCE: f64 = 3600.0;

/// Failures one after another for the same reason: of different shapes, since what ails one shape need not ail others, and by different
/// events, since what ended all trials that ran at some moment need not end those that come after it.
#[derive(Debug, Default)]
pub(super) struct Streak {
    of: Option<(Cause, String)>,
    shapes: BTreeSet<usize>,
    events: u32,
    /// When the first and the last event came, microseconds.
    first: i64,
    last: i64,
}

/// An attempt that ended badly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) failure: &'a Failure,
    pub(super) shape: usize,
    /// When it began, and when it ended, microseconds.
    pub(super) began: i64,
    pub(super) now: i64,
}

impl Streak {
    /// When the last event came.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// An attempt ended badly. Where a trial could not be started, how many in a row could not: the queue is to pause before it starts
    /// anything. Such a try costs next to nothing, and without a pause an outage of seconds would use up the tries of all trials.
    pub(super) fn count(&mut self, ended: Ended<'_>) -> Option<u32> {
        let Ended { failure, shape, began, now } = ended;
        // Why a trial could not be started is said with its own folder's name.
        let of = (failure.cause, if failure.cause == Cause::NotStarted { String::new() } else { failure.reason.clone() });
        if self.of.as_ref() != Some(&of) {
            *self = Self { of: Some(of), first: now, ..Self::default() };
        }
        self.shapes.insert(shape);
        let is_new = self.events == 0 || began >= self.last || now.saturating_sub(self.last) >= micros(ONE_EVENT);
        if is_new {
            (self.last, self.events) = (now, self.events.saturating_add(1));
        }
        (failure.cause == Cause::NotStarted).then_some(self.events)
    }

    /// Why nothing is to be started any more, where so many shapes failed alike, or nothing could be started for too long.
    pub(super) fn stop(&self, failure: &Failure, same_failures: usize) -> Option<Stop> {
        let reason = || failure.reason.clone();
        if failure.cause == Cause::NotStarted {
            let is_over = self.last.saturating_sub(self.first) >= micros(PATIENCE);
            return is_over.then(|| Stop::CannotStart { reason: reason() });
        }
        let (least, trials) = (same_failures.max(1), self.shapes.len());
        (trials >= least && self.events as usize >= least).then(|| Stop::SameFailure { reason: reason(), trials })
    }
}
