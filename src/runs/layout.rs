//! Every file name under `runs/`, in one place.

use std::path::{Path, PathBuf};

use crate::plan::TrialId;

/// `runs/<experiment>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentFolder(PathBuf);

impl ExperimentFolder {
    /// The folder of the experiment `name` under `runs`.
    pub fn new(runs: &Path, name: &str) -> Self {
        Self(runs.join(name))
    }

    /// An experiment's folder named directly.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file as it was given, byte for byte.
    pub fn experiment_yaml(&self) -> PathBuf {
        self.0.join("experiment.yaml")
    }

    /// The resolved layers.
    pub fn experiment_json(&self) -> PathBuf {
        self.0.join("experiment.json")
    }

    /// A row a trial: settings and planned figures.
    pub fn plan_parquet(&self) -> PathBuf {
        self.0.join("plan.parquet")
    }

    /// A row a trial: plan, status and final figures.
    pub fn trials_parquet(&self) -> PathBuf {
        self.0.join("trials.parquet")
    }

    /// What happened when.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    /// Held by the runner.
    pub fn lock(&self) -> PathBuf {
        self.0.join("runner.lock")
    }

    /// Trained tokenizers.
    pub fn tokenizers(&self) -> PathBuf {
        self.0.join("tokenizers")
    }

    /// Token files keyed by content.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// The memory that probes said each trial would take; decides nothing.
    pub fn probed(&self) -> PathBuf {
        self.cache().join("probed.json")
    }

    /// The memory that the last report took; decides nothing.
    pub fn report_memory(&self) -> PathBuf {
        self.cache().join("report.json")
    }

    /// What was submitted to a cluster and is not over.
    pub fn slurm(&self) -> PathBuf {
        self.0.join("slurm")
    }

    /// All trials.
    pub fn trials(&self) -> PathBuf {
        self.0.join("trials")
    }

    /// One trial.
    pub fn trial(&self, id: &TrialId) -> TrialFolder {
        TrialFolder(self.trials().join(id.as_str()))
    }

    /// `report`: the page, the tables and the figures.
    pub fn report(&self) -> PathBuf {
        self.0.join("report")
    }
}

/// `runs/<experiment>/trials/<id>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialFolder(PathBuf);

impl TrialFolder {
    /// A trial's folder named directly.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Another trial of the same experiment.
    pub fn beside(&self, id: &TrialId) -> Self {
        Self(self.0.with_file_name(id.as_str()))
    }

    /// What the worker is to do.
    pub fn job(&self) -> PathBuf {
        self.0.join("trial.json")
    }

    /// Held by the worker.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Written last, once.
    pub fn outcome(&self) -> PathBuf {
        self.0.join("outcome.json")
    }

    /// What the final weights write, for people; decides nothing.
    pub fn sample(&self) -> PathBuf {
        self.0.join("sample.json")
    }

    /// How far the worker is; decides nothing.
    pub fn progress(&self) -> PathBuf {
        self.0.join("progress.json")
    }

    /// All attempts.
    pub fn attempts(&self) -> PathBuf {
        self.0.join("attempts")
    }

    /// One attempt, from 1.
    pub fn attempt(&self, number: u32) -> PathBuf {
        self.attempts().join(format!("{number:04}.json"))
    }

    /// A row a step.
    pub fn steps(&self) -> PathBuf {
        self.0.join("steps.parquet")
    }

    /// Complete parts of a long trial's steps.
    pub fn steps_parts(&self) -> PathBuf {
        self.0.join("steps.parts")
    }

    /// A row an evaluation.
    pub fn evaluations(&self) -> PathBuf {
        self.0.join("evaluations.parquet")
    }

    /// A row a checkpoint ever written.
    pub fn checkpoints_parquet(&self) -> PathBuf {
        self.0.join("checkpoints.parquet")
    }

    /// The NLL of every scored token.
    pub fn token_nll(&self) -> PathBuf {
        self.0.join("token_nll.parquet")
    }

    /// The loss by the place in the window.
    pub fn positions(&self) -> PathBuf {
        self.0.join("positions.parquet")
    }

    /// All checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// The worker's log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }
}
