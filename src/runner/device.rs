//! What an experiment's trials run on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::cluster;
use super::fixed::Fixed;
use super::gpus::{Others, Rules, Usable, choose, instead};
use super::notice::{Listener, Notice};
use crate::device::{Device, Gpu};
use crate::error::Error;
use crate::experiment::settings::DeviceChoice;
use crate::experiment::{Experiment, Problems};
use crate::model::gpu::cuda::{self, Listed, Search};
use crate::runs::{ExperimentFolder, kinds_of_gpus};
use crate::train::device::{self, Found};

/// What trials run on.
#[derive(Debug, Clone)]
pub(super) struct Devices {
    /// The device; of several the first.
    pub(super) device: Device,
    /// The NVIDIA GPUs, of which it is the first, each with its memory that trials may take, bytes.
    pub(super) gpus: Vec<(Gpu, u64)>,
}

/// The device that the experiment's trials run on; of several GPUs the first. One that is there and cannot be used is told.
///
/// # Errors
/// One that this program on this machine does not have, at the place that names it.
pub fn usable_device(experiment: &Experiment, kept: Option<Device>, listener: &dyn Listener) -> Result<Device, Problems> {
    find(experiment, kept, listener).map(|found| found.device)
}

/// The devices that the experiment's trials run on, of which an earlier run says this; those that are left alone are told.
/// `to_run` says whether they are about to be used: what others use of them counts then, and where it decides between GPUs and the
/// processor.
///
/// Under `auto`, where others use every GPU and nothing was trained on one, it is the processor: a GPU that is there and not to be
/// had is as one that cannot be used, and a run that nobody watches waits for nobody.
///
/// # Errors
/// One that this program on this machine does not have, at the place that names it; where all GPUs are in use.
pub(super) fn devices(
    experiment: &Experiment,
    (folder, fixed): (&ExperimentFolder, &Fixed),
    kept: Option<Device>,
    to_run: bool,
    listener: &dyn Listener,
) -> Result<Devices, Problems> {
    let Found { device, gpus, .. } = find(experiment, kept, listener)?;
    let run = &experiment.base.run;
    if gpus.is_empty() {
        return Ok(Devices { device, gpus: Vec::new() });
    }
    let tell = |sentence: &str| listener.notice(&Notice::Device(sentence));
    let is_open = run.device == DeviceChoice::Auto && kept.is_none();
    let usable = usable(gpus, experiment, folder, to_run || is_open);
    if is_open && usable.iter().all(|one| one.is_busy(run.gpu_busy)) {
        let device = device::without_nvidia();
        tell(&instead(&usable, device));
        return Ok(Devices { device, gpus: Vec::new() });
    }
    if let DeviceChoice::This(_) = run.device {
        // It is named, so it is taken.
        for one in &usable {
            if let Some(others) = one.others.as_ref().filter(|_| one.is_busy(run.gpu_busy)) {
                tell(&format!("{}: {}", one.gpu.device(), others.sentence()));
            }
        }
        return Ok(Devices { device, gpus: for_trials(usable) });
    }
    let kept = kinds(&usable, folder, fixed);
    let rules = Rules { busy: run.gpu_busy, mixed: run.mixed, kept: &kept };
    let (taken, left) = choose(usable, rules).map_err(|error| problem(experiment, &error))?;
    left.iter().for_each(|one| tell(&one.sentence()));
    let device = taken.first().map_or(device, |one| one.gpu.device());
    Ok(Devices { device, gpus: for_trials(taken) })
}

fn find(experiment: &Experiment, kept: Option<Device>, listener: &dyn Listener) -> Result<Found, Problems> {
    let run = &experiment.base.run;
    if cluster::is_asked_for(run) {
        // This machine's own say nothing of those of the nodes.
        let device = if run.slurm.gpus > 0 { Device::Cuda(0) } else { Device::Cpu };
        return Ok(Found { device, gpus: Vec::new(), notices: Vec::new() });
    }
    let found = device::find(run.device, kept, run.engine, cuda_libraries(experiment).as_deref()).map_err(|mut error| {
        if let (DeviceChoice::Auto, Some(kept)) = (run.device, kept) {
            let help = error.help_text().map_or_else(String::new, |help| format!("{help}; "));
            error = error.help(format!(
                "{help}this experiment was run on `{kept}`: `--device cpu` would train all of it anew on the processor"
            ));
        }
        problem(experiment, &error)
    })?;
    for notice in &found.notices {
        listener.notice(&Notice::Device(notice));
    }
    Ok(found)
}

fn problem(experiment: &Experiment, error: &Error) -> Problems {
    experiment.problem_with("run.device", error)
}

/// The GPUs with what others use of them, which is asked for where they are about to be used.
fn usable(gpus: Vec<Listed>, experiment: &Experiment, folder: &ExperimentFolder, to_run: bool) -> Vec<Usable> {
    let search = Search { libraries: cuda_libraries(experiment), cache: PathBuf::new() };
    let uuids: Vec<&str> = gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    let usage = if to_run { cuda::usage(&search, &uuids) } else { vec![None; gpus.len()] };
    let trials = folder.trials().canonicalize().unwrap_or_else(|_| folder.trials());
    let is_own = |pid| is_worker_of(&trials, pid);
    let one = |(gpu, usage): (&Listed, Option<cuda::Usage>)| Usable {
        gpu: gpu.gpu(),
        memory: gpu.memory,
        others: usage.map(|usage| Others::of(usage, &is_own)),
    };
    gpus.iter().zip(usage).map(one).collect()
}

/// Whether a process is a worker that an earlier run of this experiment has left, which is still saving.
fn is_worker_of(trials: &Path, pid: u32) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let Ok(folder) = std::fs::read_link(format!("/proc/{pid}/cwd")) else { return false };
    let words = line.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    words.into_iter().any(|word| folder.join(word).canonicalize().is_ok_and(|path| path.starts_with(trials)))
}

/// The kinds of GPU that trials have results of. Looked for in their folders where it could be another one than is there.
fn kinds(usable: &[Usable], folder: &ExperimentFolder, fixed: &Fixed) -> BTreeSet<String> {
    let there: BTreeSet<&String> = usable.iter().map(|one| &one.gpu.name).collect();
    let is_the_only_one =
        fixed.gpus.as_ref().is_some_and(|known| there.len() == 1 && known.iter().all(|kind| there.contains(kind)));
    if !fixed.is_begun || is_the_only_one { BTreeSet::new() } else { kinds_of_gpus(folder) }
}

/// Each with its memory that others leave.
fn for_trials(usable: Vec<Usable>) -> Vec<(Gpu, u64)> {
    let left = |one: &Usable| one.memory.saturating_sub(one.others.as_ref().map_or(0, |others| others.bytes));
    usable.iter().map(|one| (one.gpu.clone(), left(one))).collect()
}

/// The folder in which NVIDIA's libraries are looked for first, absolute.
pub(super) fn cuda_libraries(experiment: &Experiment) -> Option<PathBuf> {
    let folder = experiment.folder.join(experiment.base.run.cuda_libraries.as_deref()?);
    Some(std::path::absolute(&folder).unwrap_or(folder))
}
