//! A run that is given to a cluster as a job itself, and the script of its first jobs.

use std::path::PathBuf;

use super::cluster::{is_asked_for, memory, slots, threads};
use super::cluster_jobs::{absolute, program, shared};
use super::failure::Failure;
use super::notice::Listener;
use super::run::Request;
use super::session::Session;
use crate::error::{Error, Result};
use crate::experiment::load;
use crate::plan::Trial;
use crate::runs::{ExperimentFolder, Submission, Task, attempts, list_checkpoints, state_of};
use crate::schedule::Work;
use crate::schedule::slurm::{self, Shared};

/// The script that would be given to Slurm first. Nothing is started, and nothing written but what planning writes.
///
/// # Errors
/// Where the experiment cannot be planned, or does not run on a cluster.
pub fn dry_run(request: &Request, listener: &dyn Listener) -> Result<String, Failure> {
    let session = Session::open(&request.asked, listener)?;
    let run = &session.experiment.base.run;
    if !is_asked_for(run) {
        let error = Error::usage("`--dry-run` prints what would be given to Slurm, and trials run on this machine");
        return Err(error.help("add `--on slurm`; `votive plan` shows the trials").into());
    }
    let is_open = |trial: &&Trial| state_of(&session.folder.trial(&trial.id)).outcome.is_none();
    let missing: Vec<&Trial> = session.plan.trials.iter().filter(is_open).collect();
    if missing.is_empty() {
        return Ok(String::new());
    }
    let task = |trial: &&Trial| {
        let folder = session.folder.trial(&trial.id);
        let attempt = attempts(&folder).unwrap_or_default().last().map_or(0, |last| last.attempt) + 1;
        let from_step = list_checkpoints(&folder.checkpoints())?.last().map_or(0, |(step, _)| *step);
        Ok(Task { trial: trial.id.clone(), attempt, from_step })
    };
    let at_a_time = slots(request.slots.or(run.slots), missing.len());
    let tasks = missing.iter().take(at_a_time).map(task).collect::<Result<Vec<Task>>>()?;
    let submission = Submission::new(&session.folder, tasks);
    let memory = missing.iter().map(|trial| memory(trial, session.device)).max().unwrap_or(0);
    let threads = u32::try_from(threads(run)).unwrap_or(u32::MAX);
    Ok(slurm::dry_run(&shared(&session, Work::Train)?, &submission, threads, memory, None))
}

/// Gives this run to Slurm as a job of its own: `words` is its command line. What there is to say of it.
///
/// # Errors
/// Where the file is not right, or Slurm refuses the job.
pub fn detach(request: &Request, words: &[String]) -> Result<String, Failure> {
    let (experiment, _) = load(&request.asked.file, &request.asked.overrides)?;
    let run = &experiment.base.run;
    if !is_asked_for(run) {
        let error = Error::usage("`--detach` leaves the run to Slurm, and trials run on this machine");
        return Err(error.help("add `--on slurm`").into());
    }
    let folder = ExperimentFolder::new(&request.asked.runs, &experiment.name);
    let here = std::env::current_dir().map_err(|e| Error::io("find", &PathBuf::from("."), e))?;
    let shared = Shared {
        slurm: run.slurm.clone(),
        patience: run.patience,
        program: [&[program()?], words].concat(),
        arguments: Vec::new(),
        train: true,
        folder: absolute(&folder)?,
    };
    let job = slurm::submit_runner(&shared, &folder, &experiment.name, &here)?;
    let log = folder.slurm().join("runner.log");
    Ok(format!(
        "the run is job {job} of Slurm: `votive status {}` shows how far it is, `scancel {job}` stops it (each trial saves and leaves); \
         what it says is in {}",
        folder.path().display(),
        log.display()
    ))
}
