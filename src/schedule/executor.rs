//! The trait that starts a trial.

use std::time::Duration;

use super::{Exit, Kill, Standing, Start};
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::{End, Outcome, Progress};

/// What a worker does with its trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It trains it: an attempt.
    Train,
    /// It scores a finished trial again, which is no attempt: the outcome is there from the start and says nothing of this work,
    /// the worker's exit code does.
    ScoreAgain,
}

/// Prepares a trial's folder just before its worker starts.
pub type Prepare<'a> = Box<dyn FnMut(&TrialId) -> Result<()> + 'a>;

/// Records that a trial is the same as another one, which was trained; its outcome.
pub type MakeAlias<'a> = Box<dyn FnMut(&TrialId, &TrialId) -> Result<Outcome> + 'a>;

/// A worker that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// What it is to train or to score.
    pub trial: TrialId,
    /// How it ended.
    pub exit: Exit,
    /// What it said of itself last, if anything.
    pub progress: Option<Progress>,
}

/// Starts workers somewhere and says how they ended. Decides nothing: when, which and how often is the queue's.
pub trait Executor {
    /// Starts a worker; the number of the attempt. After an error there is no worker, and none will be reported.
    fn start(&mut self, start: &Start) -> Result<u32>;

    /// Workers that ended since the last call, each once. Waits for the first one, at most this long.
    fn wait(&mut self, at_most: Duration) -> Vec<Finished>;

    /// Whether the worker of this trial has not begun: it waits for its turn in a cluster's queue.
    fn is_pending(&mut self, _trial: &TrialId) -> bool {
        false
    }

    /// How far the worker of this trial says it is.
    fn progress(&mut self, trial: &TrialId) -> Option<Progress>;

    /// When the worker of a trial that another one holds gave its last sign of life, microseconds since 1970 by its own clock.
    fn said_last(&mut self, trial: &TrialId) -> Option<i64>;

    /// Asks the worker of this trial to save and leave. Returns at once; asking twice does no harm.
    fn ask_to_stop(&mut self, trial: &TrialId);

    /// Kills the worker of this trial. It is still reported as finished, if it ends: [`Kill::exit`] says how.
    fn kill(&mut self, trial: &TrialId, why: &Kill);

    /// How a trial stands of which another worker holds the lock.
    fn standing(&mut self, trial: &TrialId) -> Standing;

    /// Writes that a trial is the same as `source`, which was trained; what its outcome says. After an error it is as it was, and
    /// can be trained.
    fn alias(&mut self, trial: &TrialId, source: &TrialId) -> Result<Box<Outcome>>;

    /// Writes that a trial is over with this end: its worker cannot any more, or there was none.
    fn give_up(&mut self, trial: &TrialId, end: End, reason: &str) -> Result<()>;

    /// Whether the disk has room for the trial to go on, which found it full.
    fn has_room(&mut self, trial: &TrialId) -> bool;
}
