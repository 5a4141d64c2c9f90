//! The tables of a whole experiment and its report, written again while its trials run.

use std::time::{Duration, Instant};

use super::session::Session;
use crate::error::Result;
use crate::plan::Trial;
use crate::record::{TrialState, write_trials};
use crate::report::Report;
use crate::runs::{probed_memory, state_of};
use crate::schedule::Event;

/// Between two rewritings of `trials.parquet` while trials run.
const TABLE_EVERY: Duration = Duration::from_secs(30);
/// Between two rewritings of the report.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// A pause is at least so many times as long as the work before it: the work takes no more than 2 % of the time.
const PAUSE: u32 = 49;

/// Writes `trials.parquet` from what the trials' folders say; how many of them are aliases.
pub(super) fn write_tables(session: &Session) -> Result<usize> {
    let plan = session.whole();
    let probed = probed_memory(&session.folder);
    let state = |trial: &Trial| TrialState {
        probed_memory_bytes: probed.get(&trial.id).copied(),
        ..state_of(&session.folder.trial(&trial.id)).into()
    };
    let states: Vec<TrialState> = plan.trials.iter().map(state).collect();
    write_trials(&session.folder.trials_parquet(), plan, &states)?;
    Ok(states.iter().filter(|state| state.outcome.as_ref().is_some_and(|o| o.alias_of.is_some())).count())
}

/// Keeps `trials.parquet` and the report up to date while trials run.
pub(super) struct Tables<'a> {
    session: &'a Session,
    table: Turn,
    report: Turn,
    /// Whether a trial stands otherwise than when the table was written.
    changed: bool,
}

impl<'a> Tables<'a> {
    /// Both were written, or begun, just now.
    pub(super) fn new(session: &'a Session) -> Self {
        let now = Instant::now();
        Self { session, table: Turn::new(TABLE_EVERY, now), report: Turn::new(REPORT_EVERY, now), changed: false }
    }

    /// Writes what is due after this event. What cannot be written now must not stop the trials; at the end it is told why.
    pub(super) fn after(&mut self, event: &Event) {
        self.changed |= !matches!(event, Event::Overview(_) | Event::Progressed { .. } | Event::Stopping { .. });
        if self.changed && self.table.is_due(Instant::now()) {
            self.changed = false;
            self.table.take(|| drop(write_tables(self.session)));
        }
        if matches!(event, Event::Ended { .. } | Event::Aliased { .. }) && self.report.is_due(Instant::now()) {
            let folder = &self.session.folder;
            self.report.take(|| drop(Report::read(folder).and_then(|report| report.write(&folder.report()))));
        }
    }
}

/// When work is done again that is done at most so often, and takes a small share of the time however long it is.
struct Turn {
    every: Duration,
    /// When it was done last, and how long it took.
    ended: Instant,
    took: Duration,
}

impl Turn {
    fn new(every: Duration, now: Instant) -> Self {
        Self { every, ended: now, took: Duration::ZERO }
    }

    fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.ended) >= self.every.max(self.took * PAUSE)
    }

    fn take(&mut self, work: impl FnOnce()) {
        let began = Instant::now();
        work();
        self.ended = Instant::now();
        self.took = self.ended - began;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_due_at_most_so_often_and_takes_a_small_share_of_the_time() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        for (took, due) in [(seconds(0), seconds(30)), (Duration::from_millis(500), seconds(30)), (seconds(2), seconds(98))] {
            let turn = Turn { took, ..Turn::new(seconds(30), start) };
            assert!(!turn.is_due(start + due - Duration::from_millis(1)), "{took:?}");
            assert!(turn.is_due(start + due), "{took:?}");
            assert!(took.as_secs_f64() / (took + due).as_secs_f64() <= 0.02);
        }
    }

    #[test]
    fn what_was_done_says_how_long_it_took() {
        let mut turn = Turn::new(Duration::ZERO, Instant::now());
        assert!(turn.is_due(Instant::now()));
        turn.take(|| std::thread::sleep(Duration::from_millis(5)));
        assert!(turn.took >= Duration::from_millis(5) && !turn.is_due(turn.ended + 40 * turn.took));
    }
}
