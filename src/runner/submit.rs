//! A run that is given to a cluster as a job itself, and the script of its first jobs.

use std::path::PathBuf;

use super::cluster::{is_asked_for, memory, slots, threads};
use super::cluster_jobs::{absolute, program, shared};
use super::deadline::deadline;
use super::failure::Failure;
use super::notice::Listener;
use super::run::Request;
use super::session::Session;
use crate::error::{Error, Result};
use crate::experiment::{duration, load};
use crate::plan::Trial;
use crate::runs::{ExperimentFolder, Submission, Task, attempts, list_checkpoints, state_of};
use crate::schedule::slurm::{self, Ends, Shared};
use crate::schedule::{Moment, Work};

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
    let ends = ends(request.until.as_deref().or(run.until.as_deref()), run.time.as_deref(), Moment::now())?;
    let job = slurm::submit_runner(&shared, &folder, &experiment.name, &here, ends)?;
    let log = folder.slurm().join("runner.log");
    Ok(format!(
        "the run is job {job} of Slurm: `votive status {}` shows how far it is, `scancel {job}` stops it (each trial saves and leaves); \
         what it says is in {}",
        folder.path().display(),
        log.display()
    ))
}

/// When a run must have ended that is given away at this moment: a clock time is the next one from now on, a length of time is counted from
/// when its runner begins.
fn ends(until: Option<&str>, time: Option<&str>, now: Moment) -> Result<Ends> {
    let until = deadline(until, None, &now.on_the_wall()?, now)?.until_utc.map(|until| until.div_euclid(1_000_000));
    Ok(Ends { until, time: time.and_then(duration).map(|length| length.as_secs()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_time_is_fixed_when_a_run_is_given_away_and_a_length_of_time_when_it_begins() {
        let now = Moment::now();
        let seconds = now.utc / 1_000_000;
        assert_eq!(ends(None, None, now).unwrap(), Ends::default());
        assert_eq!(ends(None, Some("1h30m"), now).unwrap(), Ends { until: None, time: Some(5_400) });
        let Ends { until, time } = ends(Some("07:00"), Some("8h"), now).unwrap();
        // A day is an hour longer where summer time ends.
        assert!(until.is_some_and(|until| (seconds..=seconds + 25 * 3_600).contains(&until)), "{until:?}");
        assert_eq!(time, Some(8 * 3_600));
        assert!(ends(Some("25:00"), None, now).is_err());
    }
}
