//! An experiment's file is read, its texts are prepared, its plan is made: what `plan`, `explain` and `run` have in common.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::cluster;
use super::device::{Devices, devices};
use super::failure::Failure;
use super::fixed::Fixed;
use super::gpus;
use super::memory::Memory;
use super::notice::{Listener, Notice};
use super::signals::Asked as Signalled;
use super::texts::{Corpora, unused_field};
use crate::corpus::{Prepared, PreparedPart};
use crate::device::{Device, Gpu};
use crate::error::{Error, Result};
use crate::experiment::settings::{self, Precision, Settings};
use crate::experiment::{Experiment, Filter, Overrides, Problems, load};
use crate::plan::{self, Circumstances, Known, Plan, Refusal, Trial, TrialId, build};
use crate::runs::{ExperimentFolder, report_memory};
use crate::schedule::{Allotment, Deadline, GpuSlots, Machine, allot, gpu_slots};

/// Which experiment, and which of its trials.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The experiment file.
    pub file: PathBuf,
    /// What lies over it.
    pub overrides: Overrides,
    /// Where output goes.
    pub runs: PathBuf,
    /// The condition that trials must meet, if any.
    pub only: Option<String>,
    /// Most trials that are planned.
    pub limit: u64,
    /// Whether the device is chosen as if no trial had run yet.
    pub anew: bool,
}

/// An experiment with its plan.
pub struct Session {
    /// The experiment.
    pub experiment: Experiment,
    /// Its folder.
    pub folder: ExperimentFolder,
    /// What trials run on; of several GPUs the first.
    pub device: Device,
    /// The NVIDIA GPUs that they run on, each with its memory that trials may take, bytes.
    gpus: Vec<(Gpu, u64)>,
    /// The kinds of GPU that its trials were run on so far.
    pub(super) kinds: BTreeSet<String>,
    /// What is asked for: all of it, or what `--only` leaves.
    pub plan: Plan,
    /// All of it, where `--only` took some away.
    whole: Option<Plan>,
    corpora: Corpora,
    /// When everything must have ended.
    pub(super) deadline: Deadline,
}

impl Session {
    /// Reads the file, prepares its texts in the experiment's folder, and plans.
    ///
    /// # Errors
    /// Where the file, its texts or its starting weights are not right; where no trial is left.
    pub fn open(asked: &Asked, listener: &dyn Listener) -> Result<Self, Failure> {
        Self::open_before(&|_| Ok(Deadline::default()), &Signalled::default(), asked, false, listener)
    }

    /// As [`Session::open`], until the deadline that is found in the file, or a signal. `to_run` says whether its trials are about to
    /// be run: GPUs that others use are left alone then.
    pub(super) fn open_before(
        deadline: &dyn Fn(&settings::Run) -> Result<Deadline>,
        signalled: &Signalled,
        asked: &Asked,
        to_run: bool,
        listener: &dyn Listener,
    ) -> Result<Self, Failure> {
        let (experiment, warnings) = load(&asked.file, &asked.overrides)?;
        let deadline = deadline(&experiment.base.run)?;
        for warning in &warnings {
            listener.notice(&Notice::File(warning));
        }
        let filter = asked.only.as_deref().map(Filter::parse).transpose()?;
        let folder = ExperimentFolder::new(&asked.runs, &experiment.name);
        let fixed = Fixed::read(&folder, listener)?;
        let kept = fixed.device.filter(|_| !asked.anew);
        let Devices { device, gpus } = devices(&experiment, (&folder, &fixed), kept, to_run, listener)?;
        let Fixed { gpus: known, common_context, numbers, .. } = fixed;
        let mut kinds = known.unwrap_or_default();
        kinds.extend(gpus.iter().map(|(gpu, _)| gpu.name.clone()));
        let corpora = Corpora::new(experiment.folder.clone(), folder.clone(), deadline, signalled.clone());
        let machine = Machine::this();
        // What fits into one GPU can be trained.
        let run = &experiment.base.run;
        let on_cluster = cluster::is_asked_for(run);
        let memory_bytes = if on_cluster {
            run.slurm.memory_bytes().filter(|_| device.is_cpu())
        } else if device.is_cpu() {
            machine.memory.total
        } else {
            gpus.iter().map(|(_, memory)| *memory).max()
        };
        let threads = if on_cluster { cluster::threads(run) } else { run.threads.unwrap_or(machine.cores) };
        let limit = asked.limit;
        let circumstances = Circumstances { device, memory_bytes, threads, limit, common_context, numbers: &numbers };
        let mut known = |settings: &Settings| corpora.prepare(settings, listener);
        let mut look = |from: &str| corpora.folder(from);
        let (plan, warnings) =
            build(&experiment, circumstances, &mut known, &mut look).map_err(|refusal| failure(refusal, &experiment))?;
        corpora.tell(listener);
        if let Some(field) = corpora.unused_field() {
            return Err(unused_field(&experiment, &field).into());
        }
        listener.notice(&Notice::Warnings(&warnings));
        let (plan, whole) = match &filter {
            Some(filter) => (part(&plan, filter, asked.only.as_deref().unwrap_or_default())?, Some(plan)),
            None => (plan, None),
        };
        Ok(Self { experiment, folder, device, gpus, kinds, plan, whole, corpora, deadline })
    }

    /// What trials run on, in words.
    pub fn device_in_words(&self) -> String {
        if cluster::is_asked_for(&self.experiment.base.run) {
            return self.experiment.base.run.slurm.place();
        }
        let gpus: Vec<&Gpu> = self.gpus().collect();
        if gpus.is_empty() { self.device.to_string() } else { gpus::in_words(&gpus) }
    }

    /// The NVIDIA GPUs that trials run on; none elsewhere.
    pub(super) fn gpus(&self) -> impl Iterator<Item = &Gpu> {
        self.gpus.iter().map(|(gpu, _)| gpu)
    }

    /// The slots on each GPU, for trials that take so much memory at most; none where there is no NVIDIA GPU.
    pub(super) fn gpu_slots(&self, largest: Memory) -> Vec<GpuSlots> {
        gpu_slots(&self.gpus, self.experiment.base.run.per_device, largest.device.unwrap_or(0))
    }

    /// Trials at a time where so many are asked for and each takes so much memory at most: on GPUs those that they have slots for,
    /// on an Apple GPU one.
    pub fn slots(&self, asked: Option<usize>, largest: Memory) -> Option<usize> {
        match self.device {
            Device::Cpu => asked,
            Device::Cuda(_) => Some(self.gpu_slots(largest).iter().map(|one| one.slots).sum()),
            Device::Metal => Some(1),
        }
    }

    /// Shares the machine among so many trials of which the largest needs so much memory, and the report that is written beside them.
    /// `asked` are trials at a time, where somebody has asked for them.
    pub(super) fn allotment(&self, machine: Machine, asked: Option<usize>, trials: usize, largest: Memory) -> Allotment {
        if cluster::is_asked_for(&self.experiment.base.run) {
            let threads = cluster::threads(&self.experiment.base.run);
            return Allotment { slots: cluster::slots(asked, trials), threads };
        }
        let memory = machine.memory.without(report_memory(&self.folder, self.whole().trials.len()));
        let slots = self.slots(asked, largest);
        let slots = if self.device.is_cpu() { slots } else { slots.map(|slots| slots.min(trials)) };
        allot(Machine { memory, ..machine }, slots, self.experiment.base.run.threads, trials, largest.host)
    }

    /// Refuses to train what the processor does not take, where a plan only warned of it.
    pub(super) fn refuse_unfit(&self) -> Result<(), Problems> {
        let settings = self.plan.trials.iter().map(|trial| &trial.settings);
        let half = |settings: &&Settings| self.device.is_cpu() && settings.train.precision != Precision::F32;
        match settings.into_iter().find(half) {
            Some(_) => {
                let error = Error::usage("trials with another `train.precision` than `f32` need a GPU, and none is used")
                    .help("leave it at `f32`, take those trials out with `--only`, or run it on a machine with a GPU");
                Err(self.experiment.problem_with("train.precision", &error))
            }
            None => Ok(()),
        }
    }

    /// The whole plan, also where `--only` asks for a part of it: what is written down and reported.
    pub fn whole(&self) -> &Plan {
        self.whole.as_ref().unwrap_or(&self.plan)
    }

    /// How many trials `--only` leaves of how many; `None` without it.
    pub fn only(&self) -> Option<(usize, usize)> {
        Some((self.plan.trials.len(), self.whole.as_ref()?.trials.len()))
    }

    /// A trial's name for people: its configuration's values, and its seed where there are several.
    pub fn label(&self, trial: &Trial) -> String {
        let label = self.plan.label(trial);
        if self.plan.seeds.len() > 1 { format!("{label}, seed {}", trial.seed) } else { label }
    }

    /// The prepared text of a configuration, its files relative to the experiment's folder.
    pub fn prepared(&self, settings: &Settings) -> Result<Prepared> {
        let known = self.corpora.known(settings)?;
        let root = self.folder.path();
        let relative = |path: &Path| path.strip_prefix(root).map_or_else(|_| path.to_owned(), Path::to_owned);
        let part = |part: &PreparedPart| PreparedPart { file: relative(&part.file), ..part.clone() };
        let prepared = &known.prepared;
        Ok(Prepared {
            tokenizer_file: relative(&prepared.tokenizer_file),
            train: part(&prepared.train),
            validation: prepared.validation.as_ref().map(part),
            test: prepared.test.as_ref().map(part),
            ..prepared.clone()
        })
    }

    /// What trials have in common of which one may turn out to be the same as another; see [`plan::kinship`].
    pub(super) fn kinship(&self, settings: &Settings, with_any_clip_norm: bool) -> Result<TrialId> {
        Ok(plan::kinship(settings, &*self.corpora.known(settings)?, self.device, with_any_clip_norm))
    }

    /// Whether two tokenizers are the same under other names.
    pub fn has_equal_tokenizers(&self) -> bool {
        self.corpora.have_equal_tokenizers()
    }

    /// Every text that the trials read, with the label of its tokenizer.
    pub fn texts(&self) -> Vec<(String, Rc<Known>)> {
        self.corpora.all()
    }

    /// Every text that a trial reads with every tokenizer, once by content, with the name that the report gives to the tokenizer.
    pub(super) fn texts_of_trials(&self) -> Result<Vec<(String, Rc<Known>)>> {
        let (mut seen, mut texts) = (HashSet::new(), Vec::new());
        for Trial { settings, facts, .. } in &self.whole().trials {
            if seen.insert((&facts.text_hash, &facts.tokenizer_hash)) {
                texts.push((settings.tokenizer.full_label(), self.corpora.known(settings)?));
            }
        }
        Ok(texts)
    }
}

/// Why an experiment cannot be planned, at the place in its file where that is known.
fn failure(refusal: Refusal, experiment: &Experiment) -> Failure {
    match refusal {
        Refusal::File(problems) => problems.into(),
        Refusal::Other(error) => match error.setting() {
            Some(setting) => experiment.problem_with(setting, &error).into(),
            None => error.into(),
        },
    }
}

/// The trials of a plan for which a condition holds.
///
/// # Errors
/// Where it holds for none.
fn part(whole: &Plan, filter: &Filter, condition: &str) -> Result<Plan> {
    let mut trials = Vec::new();
    for trial in &whole.trials {
        if filter.matches(&trial.settings, trial.seed, trial.configuration)? {
            trials.push(trial.clone());
        }
    }
    if trials.is_empty() {
        let error = Error::usage(format!("no trial fits `--only {condition}`"));
        return Err(error.help("see the trials with `votive plan`"));
    }
    Ok(Plan { trials, ..whole.clone() })
}
