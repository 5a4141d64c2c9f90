//! What a worker is told: on its command line, and in the job of its trial's folder.

use std::path::{Path, PathBuf};

use crate::device::{Device, Gpu};
use crate::durable;
use crate::error::{Error, Result};
use crate::model::gpu::cuda::Search;
use crate::runs::{ExperimentFolder, TrialFolder};
use crate::train::Job;
use crate::train::backend::Hardware;

/// What a worker does, and what it may use for that.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Its trial.
    pub folder: TrialFolder,
    /// Whether the finished trial is scored again, and nothing trained.
    pub score_again: bool,
    /// Number of the attempt, from 1; `None` is the next one, by what is there when it has the trial: a job of a cluster may be started
    /// more than once.
    pub attempt: Option<u32>,
    /// Its slot, from 1.
    pub slot: u32,
    /// CPU threads.
    pub threads: u32,
    /// What it computes on, as this process sees it.
    pub device: Device,
    /// Which GPU that is, as its runner sees it: it may show this process no other one.
    pub gpu: Option<Gpu>,
    /// The folder in which NVIDIA's libraries are looked for first.
    pub cuda_libraries: Option<PathBuf>,
}

/// How a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// What it was told to do is done.
    Done,
    /// It was asked to stop, and has saved.
    Interrupted,
}

impl Assignment {
    /// What the trial's folder says is to be done.
    ///
    /// # Errors
    /// Where it says nothing, or says it in the words of another version.
    pub(super) fn job(&self) -> Result<Job> {
        let path = self.folder.job();
        let job: Job = durable::read_json(&path)?.ok_or_else(|| Error::data(format!("{} is missing", path.display())))?;
        if job.version != Job::VERSION {
            let message = format!("{} has version {}, and this program reads {}", path.display(), job.version, Job::VERSION);
            return Err(Error::data(message).help("run the experiment with the program that wrote it"));
        }
        Ok(job)
    }

    /// What the trial may use.
    pub(super) fn hardware(&self, job: &Job) -> Result<Hardware> {
        let experiment = ExperimentFolder::at(self.experiment()?);
        Ok(Hardware {
            device: self.device,
            engine: job.settings.run.engine,
            threads: self.threads as usize,
            search: Search::usual(self.cuda_libraries.clone(), &experiment.cache()),
        })
    }

    /// `runs/<experiment>/trials/<id>` → `runs/<experiment>`.
    pub(super) fn experiment(&self) -> Result<&Path> {
        let trial = self.folder.path();
        let above = trial.parent().and_then(Path::parent);
        above.ok_or_else(|| Error::usage(format!("{} is not a trial's folder", trial.display())))
    }
}
