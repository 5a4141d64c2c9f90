//! What is known of submissions and of their jobs.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::runs::{Submission, Task};
use crate::schedule::Kill;
use crate::schedule::slurm::listing::{Ending, Stands};

/// Between two calls of `squeue`: so many times as long as the last one took, which keeps it a small part of the controller's work.
pub(super) const TIMES: u32 = 50;
/// And at least, and at most.
pub(super) const LEAST: Duration = Duration::from_secs(2);
pub(super) const MOST: Duration = Duration::from_secs(30);
/// Where somebody waits for the end of a job.
pub(super) const HURRY: Duration = Duration::from_secs(1);
/// A job that is listed no more, and of which nobody knows anything, is alive while its worker gives a sign of life in so long. Also how
/// long files may take to be seen on another machine.
const SIGN_OF_LIFE: Duration = Duration::from_secs(90);

/// A submission.
pub(super) struct Open {
    pub(super) submission: Submission,
    pub(super) stands: Sent,
    /// Tasks of it that are not over.
    pub(super) left: HashSet<usize>,
}

/// How far a submission is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It waits until `sbatch` is free, or may be tried again.
    No { not_before: Instant },
    /// `sbatch` is at it.
    Now,
    /// Nobody knows: the queue is asked, from then on.
    Unclear { since: Instant },
    /// Slurm has it.
    Yes { since: Instant },
}

/// One job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) task: usize,
    pub(super) attempt: u32,
    pub(super) from_step: u64,
    pub(super) slot: u32,
    pub(super) threads: u32,
    /// Whether its worker has given a sign of life, or Slurm says that it runs.
    pub(super) begun: bool,
    pub(super) asked: bool,
    pub(super) killed: Option<Kill>,
    /// Whether Slurm has been told so.
    pub(super) told_asked: bool,
    pub(super) told_killed: bool,
    /// What Slurm says of its end.
    pub(super) ending: Option<Ending>,
    /// Its exit code, where Slurm has it on record.
    pub(super) code: Option<i32>,
    /// Since when it is listed no more.
    pub(super) gone: Option<Instant>,
    /// Whether it was looked up in the accounts since.
    pub(super) looked_up: bool,
    /// When its worker's last sign of life was seen, and what that was.
    pub(super) heard: (Instant, Option<i64>),
}

/// When what is due.
pub(super) struct Pace {
    pub(super) look: Instant,
    pub(super) ask: Instant,
    pub(super) cancel: Instant,
}

impl Open {
    pub(super) fn is_known_to_slurm(&self) -> bool {
        matches!(self.stands, Sent::Unclear { .. } | Sent::Yes { .. })
    }

    /// How `scancel` is told of a task; `None` where Slurm does not have it.
    pub(super) fn named(&self, task: usize) -> Option<String> {
        match (self.stands, &self.submission.job) {
            (Sent::No { .. } | Sent::Now, _) => None,
            (_, Some(job)) => Some(format!("{job}_{task}")),
            (_, None) => Some(format!("--name={}", self.submission.name)),
        }
    }
}

impl Job {
    pub(super) fn of(name: &str, number: usize, task: &Task, slot: u32, threads: u32) -> Self {
        Self {
            name: name.to_owned(),
            task: number,
            attempt: task.attempt,
            from_step: task.from_step,
            slot,
            threads,
            begun: false,
            asked: false,
            killed: None,
            told_asked: false,
            told_killed: false,
            ending: None,
            code: None,
            gone: None,
            looked_up: false,
            heard: (Instant::now(), None),
        }
    }

    pub(super) fn is_listed(&mut self, stands: &Stands) {
        (self.gone, self.looked_up) = (None, false);
        self.ending = match stands {
            Stands::Ended(ending) => Some(*ending),
            Stands::Waits | Stands::Runs => None,
        };
        // One that is requeued waits again.
        self.begun = match stands {
            Stands::Waits => false,
            Stands::Runs | Stands::Ended(_) => true,
        };
    }

    /// Whether it is over, as far as Slurm is to be believed: it says so, or knows nothing of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_some() || (self.gone.is_some() && self.looked_up)
    }

    /// Whether no sign of life was seen lately. What ends may take a while to be seen from another machine.
    pub(super) fn is_quiet(&self) -> bool {
        let patience = match self.ending {
            // Its script wrote nothing: a kill. Its worker may have written an outcome before.
            Some(_) => Duration::from_secs(3),
            None => SIGN_OF_LIFE,
        };
        self.heard.0.elapsed() >= patience
    }

    pub(super) fn is_to_be_asked(&self) -> bool {
        self.asked && !self.told_asked
    }

    pub(super) fn is_to_be_killed(&self) -> bool {
        self.killed.is_some() && !self.told_killed
    }
}
