//! The table of a whole experiment, written again while its trials run.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::context::Context;
use super::session::Session;
use super::throttle::Turn;
use crate::error::Result;
use crate::plan::TrialId;
use crate::record::{TrialState, write_trials};
use crate::runs::{State, Status, probed_memory, states_of};
use crate::schedule::{Event, Observer};

/// Between two rewritings of `trials.parquet` while trials run.
const EVERY: Duration = Duration::from_secs(30);

/// Writes `trials.parquet` from what the trials' folders say; how many of them are aliases. `standing` are the states of the trials that
/// are asked for, where they were read just now.
pub(super) fn write_tables(session: &Session, standing: Option<&[State]>) -> Result<usize> {
    let known = standing.filter(|_| session.only().is_none()).map(<[State]>::to_vec);
    let all: Vec<usize> = (0..session.whole().trials.len()).collect();
    let states = known.map_or_else(|| read(session, &all), |known| with_probed(session, &all, known));
    write(session, &states)
}

/// How these trials of the whole plan stand.
fn read(session: &Session, numbers: &[usize]) -> Vec<TrialState> {
    let trials = &session.whole().trials;
    let ids: Vec<&TrialId> = numbers.iter().map(|&number| &trials[number].id).collect();
    with_probed(session, numbers, states_of(&session.folder, &ids))
}

/// The states of these trials with what their probes said.
fn with_probed(session: &Session, numbers: &[usize], states: Vec<State>) -> Vec<TrialState> {
    let (trials, probed) = (&session.whole().trials, probed_memory(&session.folder));
    let with = |(&number, state): (&usize, State)| TrialState {
        probed_memory_bytes: probed.get(&trials[number].id).copied(),
        ..state.into()
    };
    numbers.iter().zip(states).map(with).collect()
}

fn write(session: &Session, states: &[TrialState]) -> Result<usize> {
    write_trials(&session.folder.trials_parquet(), session.whole(), states)?;
    Ok(states.iter().filter(|state| state.outcome.as_ref().is_some_and(|o| o.alias_of.is_some())).count())
}

/// How trials stand, by their places in the plan. Their folders are read again only where something has happened: of thousands of trials
/// hardly any.
#[derive(Default)]
struct States {
    /// As they were read last.
    known: Vec<TrialState>,
    changed: BTreeSet<usize>,
}

impl States {
    /// How so many trials stand now; `read` looks at some.
    fn now(&mut self, trials: usize, read: &dyn Fn(&[usize]) -> Vec<TrialState>) -> &[TrialState] {
        if self.known.len() != trials {
            self.known = read(&(0..trials).collect::<Vec<_>>());
        } else {
            let changed: Vec<usize> = std::mem::take(&mut self.changed).into_iter().collect();
            for (&number, state) in changed.iter().zip(read(&changed)) {
                self.known[number] = state;
            }
        }
        // A worker writes down what it does, and nobody is told.
        self.changed = (0..trials).filter(|&number| self.known[number].status == Status::Running).collect();
        &self.known
    }
}

/// Keeps `trials.parquet` up to date while trials run.
pub(super) struct Tables<'a> {
    context: Context<'a>,
    turn: Turn,
    states: States,
    /// The place of each trial in the plan.
    numbers: HashMap<&'a TrialId, usize>,
    /// Whether a trial stands otherwise than when it was written.
    changed: bool,
}

impl<'a> Tables<'a> {
    /// It was written just now.
    pub(super) fn new(context: Context<'a>) -> Self {
        let numbers = context.session.whole().trials.iter().enumerate().map(|(number, trial)| (&trial.id, number)).collect();
        let turn = Turn::new(EVERY, context.world.clock().steady());
        Self { context, turn, states: States::default(), numbers, changed: false }
    }
}

impl Observer for Tables<'_> {
    fn observe(&mut self, event: &Event, _now_utc: i64) {
        if !matches!(event, Event::Overview(_) | Event::Progressed { .. } | Event::Stopping { .. }) {
            self.changed = true;
            self.states.changed.extend(event.trial().and_then(|trial| self.numbers.get(trial)));
        }
        let clock = self.context.world.clock();
        let began = clock.steady();
        if self.changed && self.turn.is_due(began) {
            self.changed = false;
            // What cannot be written now must not stop the trials; at the end it is told why.
            let session = self.context.session;
            drop(write(session, self.states.now(session.whole().trials.len(), &|numbers| read(session, numbers))));
            self.turn.done(began, clock.steady());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::record::tests::{completed, waiting};

    #[test]
    fn only_trials_to_which_something_happened_and_those_that_run_are_read_again() {
        let (read, running) = (RefCell::new(Vec::<usize>::new()), RefCell::new(2));
        let look = |numbers: &[usize]| {
            read.borrow_mut().extend(numbers);
            let status = |number| if number == *running.borrow() { Status::Running } else { Status::Waiting };
            numbers.iter().map(|&number| TrialState { status: status(number), ..waiting() }).collect()
        };
        let mut states = States::default();
        let reads = |states: &mut States| {
            assert_eq!(states.now(5, &look).len(), 5);
            std::mem::take(&mut *read.borrow_mut())
        };
        assert_eq!(reads(&mut states), [0, 1, 2, 3, 4], "nothing is known");
        assert_eq!(reads(&mut states), [2]);
        states.changed.extend([0, 4]);
        *running.borrow_mut() = 4;
        assert_eq!(reads(&mut states), [0, 2, 4]);
        assert_eq!(reads(&mut states), [4]);
        let mut done = States { known: vec![completed(2.0, None)], changed: BTreeSet::from([0]) };
        assert_eq!(done.now(1, &|_| vec![waiting()]), [waiting()], "it stands as it does now");
    }
}
