//! One trial's process. Runner and worker share nothing but the trial's folder and a pipe.
//!
//! Whoever started it, the life of a worker is the same: it takes the trial's lock, claims an attempt, clears away what a killed one left half-written,
//! trains from the newest checkpoint or scores again, and writes the outcome last. The end of the pipe from its runner, SIGTERM and
//! SIGINT ask it to save and to leave.

mod assignment;
mod heartbeat;
mod log;
mod memory;
mod note;
mod probe;
mod score;
mod train;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use self::heartbeat::Heart;
use crate::durable::{self, taken_over};
use crate::error::{Error, Kind, Result};
use crate::runs::{Attempt, Outcome, TrialLock, claim_attempt, next_attempt};
use crate::schedule::watch_runner;

pub use assignment::{Assignment, Leaves};
pub use memory::peak_memory_bytes;
pub use probe::probe;

/// How long the lock of a worker that is just leaving is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Does what a worker is told to, from lock to outcome. Call it once in a process: it takes the log, the signals and standard input.
///
/// # Errors
/// Of kind [`Kind::Busy`] where another worker holds the trial, [`Kind::TakenOver`] where one has taken it over; where the trial cannot be
/// trained or scored, which its log then says too.
pub fn work(assignment: &Assignment) -> Result<Leaves> {
    let folder = &assignment.folder;
    let Some(_lock) = TrialLock::wait(folder, LOCK_WAIT)? else {
        return Err(Error::new(Kind::Busy, "another worker holds this trial"));
    };
    // Whoever started this did not see that another one was at it, and has ended it.
    if !assignment.score_again && durable::read_json::<Outcome>(&folder.outcome()).is_ok_and(|outcome| outcome.is_some()) {
        return Ok(Leaves::Done);
    }
    log::start(folder)?;
    let attempt = claim(assignment)?;
    for swept in [folder.path(), &folder.checkpoints(), &folder.attempts(), &folder.steps_parts()] {
        durable::sweep(swept)?;
    }
    let stop = stop_flag()?;
    let heart = Heart::start(folder, attempt.attempt, &stop)?;
    let (result, failed) = if assignment.score_again {
        (score::score_again(assignment, &heart, &stop), "the trial could not be scored again")
    } else {
        (train::train(assignment, &attempt, heart, &stop), "the trial failed")
    };
    // Whatever it failed of then: the other one removes what this one had begun to write.
    let result = result.map_err(|error| if durable::has_given_way(folder.path()) { taken_over() } else { error });
    result.inspect_err(|error| tracing::error!(error = error.chain(), "{failed}"))
}

/// Claims the trial, and gives way from here on to whoever claims it after that. To score it again is no attempt, and no claim.
fn claim(assignment: &Assignment) -> Result<Attempt> {
    let folder = &assignment.folder;
    let number = assignment.attempt.map_or_else(|| next_attempt(folder), Ok)?;
    let on = (assignment.device, assignment.gpu.clone());
    let attempt = Attempt::beginning(number, std::process::id(), (assignment.slot, assignment.threads), on);
    if assignment.score_again {
        durable::give_way(folder.path(), &folder.attempt(number));
        return Ok(attempt);
    }
    if !claim_attempt(folder, &attempt)? {
        return Err(Error::new(Kind::Busy, "another worker was quicker to claim this trial"));
    }
    durable::give_way(folder.path(), &folder.attempt(number + 1));
    Ok(attempt)
}

/// Set when the runner is gone or asks to stop, and by signals.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    watch_runner(stop.clone()).map_err(|e| Error::internal("the pipe from the runner cannot be watched").caused_by(e))?;
    // SIGTERM (a cluster that takes its machine back) is a request to stop as well; SIGHUP and Ctrl-C are the runner's.
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Error::internal("a signal cannot be caught").caused_by(e))?;
    }
    Ok(stop)
}
