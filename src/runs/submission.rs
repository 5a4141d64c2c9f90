//! What was submitted to a cluster: an array of jobs, each of which trains a trial.
//!
//! The file is written before anything is submitted, under a name that no other submission has: whatever happens after that, its jobs
//! are found by their name. It is removed when all are over. Beside it lie the script (`.sh`), what each job said (`.0.log`) and its exit
//! code (`.0.exit`).

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ExperimentFolder;
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
        Self { name, tasks, submitted_utc, job: None }
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

#[cfg(test)]
mod tests {
    use super::*;

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
