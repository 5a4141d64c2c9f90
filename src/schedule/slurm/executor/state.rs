//! What is known of submissions and of their jobs.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::runs::{Progress, Submission, Task};
use crate::schedule::Kill;
use crate::schedule::slurm::listing::{Ending, Stands};
use crate::schedule::slurm::shared_files::{KILLED, SEEN_ELSEWHERE};

/// Between two calls of `squeue`: so many times as long as the last one took, which keeps it a small part of the controller's work.
pub(super) const TIMES: u32 = 50;
/// And at least, and at most.
pub(super) const LEAST: Duration = Duration::from_secs(2);
pub(super) const MOST: Duration = Duration::from_secs(30);
/// Where somebody waits for the end of a job.
pub(super) const HURRY: Duration = Duration::from_secs(1);
/// A job that is listed no more, and of which nobody knows anything, is alive while its worker gives a sign of life in so long.
const SIGN_OF_LIFE: Duration = SEEN_ELSEWHERE;

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
    /// Whether Slurm says that it runs, or has run.
    pub(super) begun: bool,
    pub(super) asked: bool,
    pub(super) killed: Option<Kill>,
    /// Whether Slurm has been told so.
    pub(super) told_asked: bool,
    pub(super) told_killed: bool,
    /// What Slurm says of its end, and since when.
    pub(super) ended: Option<(Instant, Ending)>,
    /// Its exit code, where Slurm has it on record.
    pub(super) code: Option<i32>,
    /// Since when it is listed no more.
    pub(super) gone: Option<Instant>,
    /// Whether it was looked up in the accounts since.
    pub(super) looked_up: bool,
    /// When its worker's last sign of life was seen, and what that was.
    pub(super) heard: (Instant, Option<i64>),
    /// What its worker said last before it was requeued: no sign of life of the next one.
    pub(super) stale: Option<i64>,
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
            ended: None,
            code: None,
            gone: None,
            looked_up: false,
            heard: (Instant::now(), None),
            stale: None,
        }
    }

    /// What Slurm says of it; whether that is news of a job that had begun, and waits again.
    pub(super) fn is_listed(&mut self, stands: &Stands) -> bool {
        let requeued = *stands == Stands::Waits && self.has_begun();
        if requeued {
            self.stale = self.heard.1.or(self.stale);
            self.heard = (Instant::now(), None);
        }
        (self.gone, self.looked_up) = (None, false);
        match stands {
            Stands::Ended(ending) => self.ends(*ending),
            Stands::Waits | Stands::Runs => self.ended = None,
        }
        self.begun = *stands != Stands::Waits;
        requeued
    }

    /// Slurm says that it has ended so.
    pub(super) fn ends(&mut self, ending: Ending) {
        let since = self.ended.map_or_else(Instant::now, |(since, _)| since);
        self.ended = Some((since, ending));
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.ended.map(|(_, ending)| ending)
    }

    /// Whether it runs, or has run. A worker may be seen before Slurm is asked again.
    pub(super) fn has_begun(&self) -> bool {
        self.begun || self.heard.1.is_some()
    }

    /// Whether its worker said this, and no earlier one.
    pub(super) fn is_said_by(&self, said: &Progress) -> bool {
        said.attempt >= self.attempt && self.stale != Some(said.time_utc)
    }

    /// Whether it is over, as far as Slurm is to be believed: it says so, or knows nothing of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some() || (self.gone.is_some() && self.looked_up)
    }

    /// Whether no sign of life was seen lately, nor is anything still to be seen of its end.
    pub(super) fn is_quiet(&self) -> bool {
        let unheard = self.heard.0.elapsed();
        match self.ended {
            // Its script came to its end, and has left a file.
            Some((since, ending)) if !ending.is_a_kill() && !self.asked && self.killed.is_none() => {
                unheard.min(since.elapsed()) >= SEEN_ELSEWHERE
            }
            // Its script wrote nothing. Its worker may have written an outcome before.
            Some(_) => unheard >= KILLED,
            None => unheard >= SIGN_OF_LIFE,
        }
    }

    pub(super) fn is_to_be_asked(&self) -> bool {
        self.asked && !self.told_asked
    }

    pub(super) fn is_to_be_killed(&self) -> bool {
        self.killed.is_some() && !self.told_killed
    }
}
