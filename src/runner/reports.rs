//! The report of a run: written again while its trials run, one at a time, and once more at the end.

use std::time::Duration;

use super::context::Context;
use super::notice::Notice;
use super::throttle::Turn;
use super::world::Reporting;
use crate::error::{Error, Result};
use crate::schedule::{Event, Observer};

/// Between two reports while trials run.
const EVERY: Duration = Duration::from_secs(300);
/// Between two looks at the last one.
const LOOK: Duration = Duration::from_millis(100);
/// After so long a report has hung, microseconds: it takes seconds.
const LONGEST: i64 = 3_600_000_000;

/// Has reports written.
pub(super) struct Reports<'a> {
    context: Context<'a>,
    /// The one that is being written, and since when.
    running: Option<(Box<dyn Reporting>, i64)>,
    /// Whether a trial has ended since the last one was begun.
    wanted: bool,
    turn: Turn,
    /// Why the last one was not written, as it was told.
    last_failure: Option<String>,
}

impl<'a> Reports<'a> {
    /// None is written yet: the first one is due a while after now.
    pub(super) fn new(context: Context<'a>) -> Self {
        let turn = Turn::new(EVERY, context.world.clock().steady());
        Self { context, running: None, wanted: false, turn, last_failure: None }
    }

    fn now(&self) -> i64 {
        self.context.world.clock().steady()
    }

    /// Takes up what has ended, and begins what is due.
    fn look(&mut self, at_most: Duration) {
        if let Some((report, began)) = &mut self.running {
            let began = *began;
            let hangs = self.context.world.clock().steady() - began > LONGEST;
            let result = match report.ended(at_most) {
                Some(result) => result,
                None if hangs => {
                    report.give_up();
                    Err(Error::internal("it took longer than an hour"))
                }
                None => return,
            };
            self.running = None;
            self.turn.done(began, self.now());
            self.tell(result.err());
        }
        let now = self.now();
        if self.wanted && self.turn.is_due(now) {
            self.wanted = false;
            match self.context.world.report(&self.context.session.folder, false) {
                Ok(report) => self.running = Some((report, now)),
                Err(error) => {
                    self.turn.done(now, now);
                    self.tell(Some(error));
                }
            }
        }
    }

    /// Tells why a report was not written, unless the one before was not for the same reason.
    fn tell(&mut self, error: Option<Error>) {
        let why = error.as_ref().map(Error::chain);
        if let Some(error) = error.filter(|_| why != self.last_failure) {
            self.context.listener.notice(&Notice::NotReported(error));
        }
        self.last_failure = why;
    }

    /// Has the last report written and shown; what there is to say about it.
    ///
    /// # Errors
    /// Where it cannot be written; where it is given up since somebody asks once more to stop, or takes too long after the deadline.
    pub(super) fn last(mut self) -> Result<String> {
        let mut patience = Patience::new(self.context);
        self.wanted = false;
        while self.running.is_some() {
            if patience.is_over() {
                return Err(given_up());
            }
            self.look(LOOK);
        }
        let mut report = self.context.world.report(&self.context.session.folder, true)?;
        loop {
            if let Some(result) = report.ended(LOOK) {
                return result;
            }
            if patience.is_over() {
                report.give_up();
                return Err(given_up());
            }
        }
    }
}

fn given_up() -> Error {
    Error::internal("it was given up, since it took longer than the end of the run can wait for")
}

impl Observer for Reports<'_> {
    fn observe(&mut self, event: &Event, _now_utc: i64) {
        self.wanted |= matches!(event, Event::Ended { .. } | Event::Aliased { .. });
        self.look(Duration::ZERO);
    }
}

/// How long the last report is waited for.
struct Patience<'a> {
    context: Context<'a>,
    began: i64,
    /// What signals had asked for before.
    asked: u8,
    /// Since when it is to end.
    since: Option<i64>,
}

impl<'a> Patience<'a> {
    fn new(context: Context<'a>) -> Self {
        Self { context, began: context.world.clock().steady(), asked: context.signals.so_far(), since: None }
    }

    /// Whether somebody has asked once more to stop, or it has taken longer than `run.patience` since the run is to end.
    fn is_over(&mut self) -> bool {
        let now = self.context.world.clock().steady();
        if self.since.is_none() && self.context.must_end() {
            self.since = Some(now);
        }
        let patience = Duration::from_secs(self.context.session.experiment.base.run.patience).as_micros() as i64;
        let too_long = self.since.is_some_and(|since| now - since > patience);
        self.context.signals.so_far() > self.asked || too_long || now - self.began > LONGEST
    }
}
