//! Who talks to Slurm: one command of a sort at a time, each on a thread of its own, so that nobody waits for an answer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::command::{Fault, LIMIT, run};
use super::listing::{ACCOUNT_FORMAT, Listed, QUEUE_FORMAT, read_accounts, read_queue};

/// Jobs that are named in one call.
const MOST: usize = 500;

/// An answer of Slurm's.
#[derive(Debug)]
pub(super) enum Answer {
    /// A submission was given to it: the number of its array.
    Submitted(String, Result<String, Fault>),
    /// The jobs that it lists, as they stood when it was asked.
    Queue { asked: Instant, jobs: Result<Vec<Listed>, Fault> },
    /// What it has on record of jobs that it lists no more, with their exit codes.
    Accounts(Result<Vec<(Listed, Option<i32>)>, Fault>),
    /// Jobs were cancelled.
    Cancelled(Result<(), Fault>),
}

/// Which jobs are to be ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    /// What waits is taken out of the queue, and what runs is asked to save.
    Ask,
    /// At once.
    Kill,
}

/// Talks to Slurm.
#[derive(Debug)]
pub(super) struct Clerk {
    answers: (Sender<Answer>, Receiver<Answer>),
    submitting: bool,
    asking: bool,
    looking_up: bool,
    cancelling: bool,
}

impl Clerk {
    pub(super) fn new() -> Self {
        Self { answers: channel(), submitting: false, asking: false, looking_up: false, cancelling: false }
    }

    fn start(&self, work: impl FnOnce() -> Answer + Send + 'static) {
        let answers = self.answers.0.clone();
        thread::spawn(move || {
            // The executor may be gone: then nobody asks.
            let _ = answers.send(work());
        });
    }

    /// Waits for an answer, at most this long.
    pub(super) fn answer(&mut self, at_most: Duration) -> Option<Answer> {
        let answer = self.answers.1.recv_timeout(at_most).ok()?;
        *match answer {
            Answer::Submitted(..) => &mut self.submitting,
            Answer::Queue { .. } => &mut self.asking,
            Answer::Accounts(_) => &mut self.looking_up,
            Answer::Cancelled(_) => &mut self.cancelling,
        } = false;
        Some(answer)
    }

    pub(super) fn is_submitting(&self) -> bool {
        self.submitting
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }

    pub(super) fn is_looking_up(&self) -> bool {
        self.looking_up
    }

    pub(super) fn is_cancelling(&self) -> bool {
        self.cancelling
    }

    /// Gives the script of this name to `sbatch`.
    pub(super) fn submit(&mut self, name: &str, script: String) {
        self.submitting = true;
        let name = name.to_owned();
        self.start(move || {
            let answer = run("sbatch", &["--parsable".to_owned(), script], LIMIT);
            // `12`, or `12;cluster`.
            let job = answer.map(|said| said.trim().split(';').next().unwrap_or_default().to_owned());
            Answer::Submitted(name, job)
        });
    }

    /// Asks for the jobs of these names.
    pub(super) fn ask(&mut self, names: &[String]) {
        self.asking = true;
        let asked = Instant::now();
        let arguments = ["--noheader", "--array", "--states=all", "--format", QUEUE_FORMAT].map(str::to_owned);
        let names = format!("--name={}", names.join(","));
        self.start(move || {
            let said = run("squeue", &[&arguments[..], &[names]].concat(), LIMIT);
            Answer::Queue { asked, jobs: said.map(|text| read_queue(&text)) }
        });
    }

    /// Looks up jobs of these names that were submitted so many seconds ago at most.
    pub(super) fn look_up(&mut self, names: &[String], seconds: u64) {
        self.looking_up = true;
        let arguments = ["--noheader", "--parsable2", "--allocations", "--format", ACCOUNT_FORMAT].map(str::to_owned);
        let since = [format!("--starttime=now-{}minutes", seconds / 60 + 2), format!("--name={}", names.join(","))];
        self.start(move || {
            let said = run("sacct", &[&arguments[..], &since].concat(), LIMIT);
            Answer::Accounts(said.map(|text| read_accounts(&text)))
        });
    }

    /// Ends these jobs, each named by its number or by options that name it.
    pub(super) fn cancel(&mut self, jobs: Vec<String>, how: Cancel) {
        self.cancelling = true;
        self.start(move || Answer::Cancelled(cancel(&jobs, how, LIMIT)));
    }
}

/// Ends these jobs.
pub(super) fn cancel(jobs: &[String], how: Cancel, limit: Duration) -> Result<(), Fault> {
    // Options that name jobs narrow each other down, and the numbers beside them: each is a call of its own.
    let (options, numbers): (Vec<String>, Vec<String>) = jobs.iter().cloned().partition(|job| job.starts_with('-'));
    let calls = options.into_iter().map(|option| vec![option]).chain(numbers.chunks(MOST).map(<[String]>::to_vec));
    for jobs in calls {
        for options in how.options() {
            let arguments = options.iter().map(|option| (*option).to_owned()).chain(jobs.iter().cloned());
            match run("scancel", &arguments.collect::<Vec<_>>(), limit) {
                Err(fault) if fault.passes() || matches!(fault, Fault::Missing(_)) => return Err(fault),
                // It complains of those that have ended.
                _ => {}
            }
        }
    }
    Ok(())
}

impl Cancel {
    /// Options of the calls that it takes: signals reach running jobs only.
    fn options(self) -> [&'static [&'static str]; 2] {
        match self {
            Self::Ask => [&["--quiet", "--state=PENDING"], &["--quiet", "--batch", "--signal=TERM"]],
            Self::Kill => [&["--quiet", "--full", "--signal=KILL"], &["--quiet"]],
        }
    }
}
