//! What a run needs of the world: the time, and processes of this program. Tests hand in a world of their own, which starts none.

use std::path::PathBuf;
use std::time::Duration;

use super::probe::{How, Measured, Shape};
use super::probe_process;
use super::report_process::ReportProcess;
use crate::device::Device;
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::ExperimentFolder;
use crate::schedule::slurm::{Needed, Shared, SlurmExecutor, SlurmSettings};
use crate::schedule::{Clock, Executor, LocalExecutor, LocalSettings, MakeAlias, Prepare, SystemClock, Work};

/// The time, and who works.
pub trait World: Sync {
    /// Where the time comes from.
    fn clock(&self) -> &dyn Clock;

    /// Who starts workers.
    ///
    /// # Errors
    /// Where no process can be started at all.
    fn executor<'a>(&self, workers: Workers<'a>) -> Result<Box<dyn Executor + 'a>>;

    /// Whether the cluster takes such jobs on so many threads.
    ///
    /// # Errors
    /// What it says against them.
    fn check(&self, shared: &Shared, folder: &ExperimentFolder, threads: usize) -> Result<()>;

    /// Measures a shape; `None` where `stop`, which is asked all the time, says so first.
    ///
    /// # Errors
    /// Where it cannot be measured.
    fn measure(&self, shape: &Shape, how: &How, stop: &dyn Fn() -> bool) -> Result<Option<Measured>>;

    /// Has the report of an experiment written, and shown on standard output where that is asked for.
    ///
    /// # Errors
    /// Where that cannot be begun.
    fn report(&self, folder: &ExperimentFolder, show: bool) -> Result<Box<dyn Reporting>>;
}

/// What workers are to do.
pub struct Workers<'a> {
    /// The folder of their experiment.
    pub folder: ExperimentFolder,
    /// What they compute on.
    pub device: Device,
    /// The folder in which NVIDIA's libraries are looked for first.
    pub libraries: Option<PathBuf>,
    /// What they do with a trial.
    pub work: Work,
    /// Prepares a trial's folder just before its worker starts.
    pub prepare: Prepare<'a>,
    /// Records that a trial is the same as another one.
    pub make_alias: MakeAlias<'a>,
    /// The cluster that they run on; without one, this machine.
    pub cluster: Option<Cluster<'a>>,
}

/// A cluster that trials run on.
pub struct Cluster<'a> {
    /// What the scripts of its jobs have in common.
    pub shared: Shared,
    /// What a trial needs, as far as is known.
    pub needed: Box<dyn Fn(&TrialId) -> Needed + 'a>,
    /// Tells people what there is to know of the cluster.
    pub tell: Box<dyn Fn(&str) + 'a>,
}

/// A report that is being written.
pub trait Reporting {
    /// What there was to say when it was written, line by line, or why it was not; `None` while it is written, which is waited for at
    /// most so long.
    fn ended(&mut self, at_most: Duration) -> Option<Result<String>>;

    /// Gives it up. The report that was there stays.
    fn give_up(&mut self);
}

/// This machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl World for ThisMachine {
    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }

    fn executor<'a>(&self, workers: Workers<'a>) -> Result<Box<dyn Executor + 'a>> {
        let Workers { folder, device, libraries, work, prepare, make_alias, cluster } = workers;
        if let Some(Cluster { shared, needed, tell }) = cluster {
            let settings = SlurmSettings { shared, device, version: crate::program(), work, needed, tell };
            return Ok(Box::new(SlurmExecutor::new(settings, folder, prepare, make_alias)?));
        }
        let mut settings = LocalSettings::this_program(device, &crate::program(), work)?;
        if let Some(libraries) = libraries {
            settings.arguments.extend(["--cuda-libraries".into(), libraries.into()]);
        }
        Ok(Box::new(LocalExecutor::new(settings, folder, prepare).with_alias(make_alias)))
    }

    fn check(&self, shared: &Shared, folder: &ExperimentFolder, threads: usize) -> Result<()> {
        SlurmExecutor::check(shared, folder, u32::try_from(threads).unwrap_or(u32::MAX))
    }

    fn measure(&self, shape: &Shape, how: &How, stop: &dyn Fn() -> bool) -> Result<Option<Measured>> {
        probe_process::measure(shape, how, stop)
    }

    fn report(&self, folder: &ExperimentFolder, show: bool) -> Result<Box<dyn Reporting>> {
        Ok(Box::new(ReportProcess::start(folder, show)?))
    }
}

impl Reporting for ReportProcess {
    fn ended(&mut self, at_most: Duration) -> Option<Result<String>> {
        self.wait(at_most)
    }

    fn give_up(&mut self) {
        self.kill();
    }
}
