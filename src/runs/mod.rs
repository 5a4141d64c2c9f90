//! The folder on disk is the database: paths, locks, outcomes, and the status that is derived from them.
//!
//! # What each file of a trial is for
//!
//! | file | who writes it, when | what it decides |
//! | --- | --- | --- |
//! | `trial.json` | the runner, before the first attempt | what the worker is to do |
//! | `lock` | the worker, in place, while it runs | whether anybody is at it: the lock counts, not the text in it |
//! | `attempts/0001.json` | the worker at start and good end, the runner after a bad one | that it was started at all, how each try ended, and which worker may write: the newest |
//! | `progress.json` | the worker, renamed without a flush, or written over where the disk is full | nothing: it is shown to people |
//! | `sample.json` | the worker, just before the outcome | nothing: it is shown to people |
//! | `outcome.json` | the worker, last and once; the runner when it gives up | that it is over, and how |
//!
//! A trial with an outcome is over; one without is running while its lock is held, else waiting or interrupted by whether it
//! has an attempt ([`state_of`]). No status is stored, so none can be wrong after a kill.
//!
//! # A trial that is the same as another
//!
//! Where a clip norm never bound, a trial that differs in nothing but a clip norm that would not have bound either is the same
//! to the bit: it is not trained, but recorded as the other's alias. Its `outcome.json` names the source (`alias_of`, always a trial
//! that was trained, never another alias) and holds the source's scores; evaluations, token losses and the sample are there
//! under its own id, steps and checkpoints are not: those are the source's. It is over like any other trial. If the source's
//! folder is taken away, the alias keeps its scores and has no weights; the next `votive run` opens it again and trains it.
//!
//! # What was submitted to a cluster
//!
//! `slurm/<name>.json` ([`Submission`]) is on disk before `sbatch` is called, and gone when all its tasks are over: a runner that is
//! started again finds its jobs in the cluster's queue by that name, and a job whose file is gone does nothing.
//!
//! Of the experiment: `runner.lock` says who runs it ([`RunnerLock`]); `events.jsonl` what happened when ([`EventLog`]).

mod attempts;
mod checkpoints;
mod clipping;
mod description;
mod ends;
mod events;
mod kinds;
mod layout;
mod lock;
mod outcome;
mod probed;
mod published;
mod report_memory;
mod stamp;
mod state;
mod states;
mod submission;

pub use attempts::{attempts, begin_attempt, claim_attempt, end_attempt, next_attempt};
pub use checkpoints::{WEIGHTS, checkpoint_name, list_checkpoints};
pub use clipping::Clipping;
pub use description::{Commit, DescribedReferences, DescribedTokenizer, DescribedTrial, Description};
pub use ends::{AttemptEnd, End};
pub use events::{Entry, EventLog, read_events};
pub use kinds::kinds_of_gpus;
pub use layout::{ExperimentFolder, TrialFolder};
pub use lock::{RunnerLock, TrialLock, is_held, runner_of, worker_of};
pub use outcome::{Attempt, Outcome, Progress, Status};
pub use probed::{keep_probed_memory, probed_memory};
pub use published::{Published, overwritten};
pub use report_memory::{keep_report_memory, report_memory};
pub use stamp::{Holder, boot, host, rfc3339};
pub use state::{
    Reopen, State, hear_progress, read_progress, reopen, set_aside_outcome, state_of, write_outcome, write_progress,
};
pub use states::states_of;
pub use submission::{QueuedJob, Submission, Task, queued_jobs, submissions, sweep_submissions};
