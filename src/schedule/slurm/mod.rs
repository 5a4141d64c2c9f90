//! A job a trial on a Slurm cluster.
//!
//! The queue decides trial by trial, as everywhere: what starts next depends on how others ended (which are the same, what fits into
//! memory, what can end before the deadline). So what it starts at one moment is one job array, and what it starts when a job ends is
//! the next one; never more jobs at a time than there are slots.
//!
//! A job starts the worker with nothing but the trial's folder on the shared file system (`script`). What became of it is read from
//! that folder: the outcome first, then the exit code that the job's script leaves, then what Slurm says: `squeue`, which lists the jobs
//! of all submissions at once, and `sacct` for a job that is listed no more, where the site has it (`listing`). What nobody knows
//! is not taken for dead while its worker gives signs of life (`verdict`).
//!
//! The intent to submit is on disk, under a name that nothing else has, before `sbatch` is called
//! ([`Submission`](crate::runs::Submission)): a runner that is started again finds its jobs by their names. Where `sbatch` fails without
//! saying why, the queue is asked for that name; a job whose submission was given up finds its file gone and does nothing.
//!
//! Each command has a time limit, and runs on a thread of its own: while Slurm does not answer, running jobs go on, and so does the run.

mod command;
mod command_threads;
mod executor;
mod job;
mod job_end;
mod listing;
mod runner_job;
mod script;
mod shared_files;

pub use executor::{Needed, SlurmExecutor, SlurmSettings};
pub use job::{JobEnd, run_job};
pub use runner_job::{DEADLINE, Ends, submit_runner};
pub use script::{Shared, dry_run};
