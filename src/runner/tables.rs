//! The table of a whole experiment, written again while its trials run.

use std::time::Duration;

use super::context::Context;
use super::session::Session;
use super::turn::Turn;
use crate::error::Result;
use crate::plan::Trial;
use crate::record::{TrialState, write_trials};
use crate::runs::{probed_memory, state_of};
use crate::schedule::{Event, Observer};

/// Between two rewritings of `trials.parquet` while trials run.
const EVERY: Duration = Duration::from_secs(30);
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

/// Keeps `trials.parquet` up to date while trials run.
pub(super) struct Tables<'a> {
    context: Context<'a>,
    turn: Turn,
    /// Whether a trial stands otherwise than when it was written.
    changed: bool,
}

impl<'a> Tables<'a> {
    /// It was written just now.
    pub(super) fn new(context: Context<'a>) -> Self {
        Self { context, turn: Turn::new(EVERY, context.world.clock().steady()), changed: false }
    }
}

impl Observer for Tables<'_> {
    fn observe(&mut self, event: &Event, _now_utc: i64) {
        self.changed |= !matches!(event, Event::Overview(_) | Event::Progressed { .. } | Event::Stopping { .. });
        let clock = self.context.world.clock();
        let began = clock.steady();
        if self.changed && self.turn.is_due(began) {
            self.changed = false;
            // What cannot be written now must not stop the trials; at the end it is told why.
            drop(write_tables(self.context.session));
            self.turn.done(began, clock.steady());
        }
    }
}
