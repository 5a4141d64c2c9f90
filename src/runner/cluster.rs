//! Trials that run on a Slurm cluster: what is asked of it, what would be given to it, and a runner that is a job itself.

use std::collections::HashSet;
use std::path::PathBuf;

use super::device::cuda_libraries;
use super::failure::Failure;
use super::memory::Memory;
use super::notice::Listener;
use super::run::Request;
use super::session::Session;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::experiment::load;
use crate::experiment::settings::{On, Run};
use crate::plan::{Trial, TrialId};
use crate::runs::{ExperimentFolder, Submission, Task, attempts, state_of, submissions};
use crate::schedule::Work;
use crate::schedule::slurm::{self, Shared};
use crate::train::checkpoint;

/// Memory of the machine beside a GPU, where nobody has measured it, bytes.
const ON_GPU: u64 = 8 << 30;
/// Trials at a time where nobody says how many.
const SLOTS: usize = 32;

/// Whether these settings run trials on a cluster.
pub(super) fn is_asked_for(run: &Run) -> bool {
    run.on == On::Slurm
}

/// CPU threads of a trial.
pub(super) fn threads(run: &Run) -> usize {
    run.threads.or(run.slurm.cpus).unwrap_or(1)
}

/// Trials at a time, of so many.
pub(super) fn slots(asked: Option<usize>, trials: usize) -> usize {
    asked.unwrap_or(SLOTS).min(trials).max(1)
}

/// Memory of the machine that a trial is planned to take, bytes. Of one on a GPU that is not planned: CUDA maps some gigabytes.
pub(super) fn memory(trial: &Trial, device: Device) -> u64 {
    if device.is_cpu() { Memory::planned(trial, device).host } else { ON_GPU }
}

/// The program, where it lies for every machine that has the same file system: not `/proc/self/exe`.
///
/// # Errors
/// Where it is gone from there: it was built anew while it ran.
fn program() -> Result<String> {
    let path = std::env::current_exe().map_err(|e| Error::internal("this program does not know its own path").caused_by(e))?;
    if !path.exists() {
        let message = format!("{} is gone: jobs of a cluster could not start it", path.display());
        return Err(Error::usage(message).help("run it again with the program that is there now"));
    }
    Ok(path.to_string_lossy().into_owned())
}

/// What the scripts of the jobs of this experiment have in common.
pub(super) fn shared(session: &Session, work: Work) -> Result<Shared> {
    let run = &session.experiment.base.run;
    let mut words = vec![program()?, "worker".to_owned()];
    if work == Work::ScoreAgain {
        words.push("--score-again".to_owned());
    }
    let mut arguments = vec!["--device".to_owned(), session.device.to_string()];
    if let Some(libraries) = cuda_libraries(&session.experiment) {
        arguments.extend(["--cuda-libraries".to_owned(), libraries.to_string_lossy().into_owned()]);
    }
    let folder = absolute(&session.folder)?;
    let train = work == Work::Train;
    Ok(Shared { slurm: run.slurm.clone(), patience: run.patience, program: words, arguments, train, folder })
}

/// What the script of a job that measures a shape begins with.
pub(super) fn prober(session: &Session) -> Result<Shared> {
    let words = vec![program()?, "probe".to_owned(), "--request".to_owned()];
    Ok(Shared { program: words, ..shared(session, Work::Train)? })
}

fn absolute(folder: &ExperimentFolder) -> Result<String> {
    let path = std::path::absolute(folder.path()).map_err(|e| Error::io("find", folder.path(), e))?;
    Ok(path.to_string_lossy().into_owned())
}

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
        let from_step = checkpoint::list(&folder.checkpoints())?.last().map_or(0, |(step, _)| *step);
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

/// The trials of which jobs are in a cluster's queue, or were when the last runner left.
pub(super) fn submitted(folder: &ExperimentFolder) -> Result<HashSet<TrialId>> {
    let open = submissions(folder)?;
    Ok(open.into_iter().flat_map(|submission| submission.tasks).map(|task| task.trial).collect())
}
