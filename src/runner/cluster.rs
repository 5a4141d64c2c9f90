//! What it means for a run that its trials run on a Slurm cluster.

use std::collections::HashSet;

use super::memory::Memory;
use crate::device::Device;
use crate::error::Result;
use crate::experiment::settings::{On, Run};
use crate::plan::{Trial, TrialId};
use crate::runs::{ExperimentFolder, submissions};

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

/// The trials of which jobs are in a cluster's queue, or were when the last runner left.
pub(super) fn submitted(folder: &ExperimentFolder) -> Result<HashSet<TrialId>> {
    let open = submissions(folder)?;
    Ok(open.into_iter().flat_map(|submission| submission.tasks).map(|task| task.trial).collect())
}
