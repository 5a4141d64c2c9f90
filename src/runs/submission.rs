//! What was submitted to a cluster: an array of jobs, each of which trains a trial.
//!
//! The file is written before anything is submitted, under a name that no other submission has: whatever happens after that, its jobs
//! are found by their name. It is removed when all are over. Beside it lie the script (`.sh`), what each job said (`.0.log`) and its exit
//! code (`.0.exit`).

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ExperimentFolder, State, Status};
use crate::durable;
use crate::error::{Error, Result};
use crate::plan::TrialId;
use crate::rows::now_utc;

/// `slurm/<name>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// What its jobs are called.
    pub name: String,
    /// Its jobs, in the order of the array.
    pub tasks: Vec<Task>,
    /// When it was written down: microseconds since 1970 (UTC).
    pub submitted_utc: i64,
    /// The number that Slurm gave it; `None` until that is known.
    #[serde(default)]
    pub job: Option<String>,
    /// Whether its jobs score finished trials again, rather than train.
    #[serde(default)]
    pub scores_again: bool,
}

/// One job of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The trial.
    pub trial: TrialId,
    /// The attempt that it is at least: one that is requeued takes the next number.
    pub attempt: u32,
    /// Steps of the newest checkpoint when it was submitted.
    pub from_step: u64,
}

impl Submission {
    /// One of these tasks, under a name that no other one has. Nothing is written yet.
    pub fn new(folder: &ExperimentFolder, tasks: Vec<Task>) -> Self {
        let submitted_utc = now_utc();
        // The same experiment may be run under several folders at the same moment.
        let seed = format!("{}\n{submitted_utc}\n{}\n{tasks:?}", folder.path().display(), std::process::id());
        let name = format!("votive-{}", &blake3::hash(seed.as_bytes()).to_hex()[..12]);
        Self { name, tasks, submitted_utc, job: None, scores_again: false }
    }

    fn file(&self, folder: &ExperimentFolder, end: &str) -> PathBuf {
        folder.slurm().join(format!("{}.{end}", self.name))
    }

    /// The file that says that it is wanted.
    pub fn intent(&self, folder: &ExperimentFolder) -> PathBuf {
        self.file(folder, "json")
    }

    /// The script.
    pub fn script(&self, folder: &ExperimentFolder) -> PathBuf {
        self.file(folder, "sh")
    }

    /// What the job of this number said.
    pub fn log(&self, folder: &ExperimentFolder, task: usize) -> PathBuf {
        self.file(folder, &format!("{task}.log"))
    }

    /// The exit code of the worker of this number, once it has ended by itself.
    pub fn exit(&self, folder: &ExperimentFolder, task: usize) -> PathBuf {
        self.file(folder, &format!("{task}.exit"))
    }

    /// Writes it down: on disk when this returns.
    pub fn write(&self, folder: &ExperimentFolder) -> Result<()> {
        durable::create_folder(&folder.slurm())?;
        durable::write_json(&self.intent(folder), self)
    }

    /// It is over, or not wanted any more: a job of it that starts after all does nothing.
    pub fn remove(&self, folder: &ExperimentFolder) -> Result<()> {
        let logs = (0..self.tasks.len()).flat_map(|task| [self.log(folder, task), self.exit(folder, task)]);
        for path in [self.intent(folder), self.script(folder)].into_iter().chain(logs) {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &path, e)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Removes what is left of submissions that were removed: a job may write its last words after that. Only by the runner.
pub fn sweep_submissions(folder: &ExperimentFolder) {
    let entries = fs::read_dir(folder.slurm()).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let open = |name: &str| names.iter().any(|other| other.strip_suffix(".json") == Some(name));
    for name in names.iter().filter(|name| name.starts_with("votive-") && !name.ends_with(".json")) {
        if !name.split('.').next().is_some_and(open) {
            // What stays does no harm.
            let _ = fs::remove_file(folder.slurm().join(name));
        }
    }
}

/// What is submitted and not known to be over, oldest first. One that cannot be read is passed over: its jobs do what they were told, and
/// a trial has one worker whatever is submitted.
pub fn submissions(folder: &ExperimentFolder) -> Result<Vec<Submission>> {
    let path = folder.slurm();
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", &path, e)),
    };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut found: Vec<Submission> = paths.filter_map(|path| durable::read_json(&path).ok().flatten()).collect();
    found.sort_by(|one, other| (one.submitted_utc, &one.name).cmp(&(other.submitted_utc, &other.name)));
    Ok(found)
}

/// A job that was submitted for a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedJob {
    /// Its number in the cluster's queue: `12_3`.
    pub number: String,
    /// The attempt that it is at least.
    attempt: u32,
}

impl QueuedJob {
    /// Whether a trial that stands so waits for this job to begin, as far as the files say, which anybody can read: nobody is at the trial,
    /// and no attempt of this job has begun.
    pub fn is_waited_for(&self, state: &State) -> bool {
        let open = matches!(state.status, Status::Waiting | Status::Interrupted);
        open && state.attempts.last().is_none_or(|last| last.attempt < self.attempt)
    }
}

/// The jobs of submissions that a cluster has, by trial, without those that have ended by themselves.
pub fn queued_jobs(folder: &ExperimentFolder) -> Result<HashMap<TrialId, QueuedJob>> {
    let mut jobs = HashMap::new();
    for submission in submissions(folder)? {
        let Some(job) = &submission.job else { continue };
        for (number, task) in submission.tasks.iter().enumerate().filter(|(number, _)| !submission.exit(folder, *number).exists())
        {
            jobs.insert(task.trial.clone(), QueuedJob { number: format!("{job}_{number}"), attempt: task.attempt });
        }
    }
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{Attempt, End, Outcome, begin_attempt, state_of, write_outcome};

    #[test]
    fn a_trial_waits_for_its_job_until_that_begins_or_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path(), "e");
        assert!(queued_jobs(&folder).unwrap().is_empty());
        let ids = ["a", "b", "c", "d", "e"].map(TrialId::of);
        let task = |trial: &TrialId| Task { trial: trial.clone(), attempt: 2, from_step: 0 };
        let mut submission = Submission::new(&folder, ids[..4].iter().map(task).collect());
        submission.write(&folder).unwrap();
        assert!(queued_jobs(&folder).unwrap().is_empty(), "nobody knows whether the cluster has it");
        submission.job = Some("12".to_owned());
        submission.write(&folder).unwrap();
        let begin = |id: &TrialId, attempt| begin_attempt(&folder.trial(id), &Attempt { attempt, ..Attempt::example() }).unwrap();
        begin(&ids[0], 1);
        begin(&ids[1], 2);
        fs::write(submission.exit(&folder, 2), "0").unwrap();
        begin(&ids[3], 1);
        write_outcome(&folder.trial(&ids[3]), &Outcome::example(End::Completed)).unwrap();
        let jobs = queued_jobs(&folder).unwrap();
        let waited_for =
            |id: &TrialId| Some(&jobs.get(id)?.number).filter(|_| jobs[id].is_waited_for(&state_of(&folder.trial(id))));
        assert_eq!(ids.each_ref().map(waited_for), [Some(&"12_0".to_owned()), None, None, None, None]);
    }

    #[test]
    fn a_submission_is_found_until_it_is_removed_and_takes_its_files_along() {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path(), "e");
        assert!(submissions(&folder).unwrap().is_empty());
        let task = |n: &str| Task { trial: TrialId::of(n), attempt: 1, from_step: 0 };
        let (one, other) = (Submission::new(&folder, vec![task("a"), task("b")]), Submission::new(&folder, vec![task("c")]));
        assert_ne!(one.name, other.name);
        for submission in [&other, &one] {
            submission.write(&folder).unwrap();
        }
        fs::write(one.exit(&folder, 1), "0").unwrap();
        fs::write(folder.slurm().join("torn.json"), "{").unwrap();
        let mut found = submissions(&folder).unwrap();
        found.sort_by_key(|found| found.tasks.len());
        assert_eq!(found, [other.clone(), one.clone()]);
        fs::write(folder.slurm().join("votive-gone.0.exit"), "0").unwrap();
        sweep_submissions(&folder);
        assert!(one.exit(&folder, 1).exists());
        for submission in [&one, &other] {
            submission.remove(&folder).unwrap();
        }
        let left: Vec<_> = fs::read_dir(folder.slurm()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["torn.json"]);
    }
}
