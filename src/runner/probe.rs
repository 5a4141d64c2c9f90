//! Measuring each distinct shape before the night: what is to be measured, and what is known.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::notice::{Listener, Notice};
use crate::device::{Device, Gpu};
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings::{BatchSize, ClipNorm, Engine, Settings, Train};
use crate::model::Config;
use crate::model::gpu::cuda::Search;
use crate::plan::{Plan, Trial, TrialId, memory_beside_steps};
use crate::runs::{ExperimentFolder, TrialFolder, keep_probed_memory, list_checkpoints};
use crate::schedule::Patience;
use crate::schedule::slurm::Shared;
use crate::train::checkpoint::position;

/// How long probing goes on before it is told how far it is.
const QUIET: Duration = Duration::from_secs(3);

/// What is to be measured: one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    pub(crate) program: String,
    pub(crate) device: Device,
    /// The kind of GPU, where it is an NVIDIA one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gpu: Option<String>,
    /// What computes on it, where it is an NVIDIA GPU.
    pub(crate) engine: Engine,
    pub(crate) threads: usize,
    /// The partition, and the features of its nodes, where it is measured on a cluster: another processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// Trials at a time: they share caches and memory channels.
    pub(crate) slots: usize,
    pub(crate) config: Config,
    pub(crate) train: Train,
    /// Windows of a full step.
    pub(crate) batch: usize,
    pub(crate) common_context: usize,
}

impl Shape {
    fn of(trial: &Trial, plan: &Plan, how: &How) -> Result<Self> {
        let settings: &Settings = &trial.settings;
        let length = settings.train.sequence_length;
        let config = trial.model()?;
        let batch = (trial.facts.tokens_per_step / length as u64) as usize;
        // What changes neither time nor memory of a step is no part of a shape.
        let train = Train {
            sequence_length: length,
            batch_size: BatchSize::Windows(batch),
            clip_norm: ClipNorm::Off,
            precision: settings.train.precision,
            micro_batch: settings.train.micro_batch,
            ..Train::default()
        };
        let common_context = plan.common_context;
        let &How { slots, threads, .. } = how;
        // A process sees one GPU, and all of a kind are alike.
        let gpu = how.gpus.first().map(|gpu| gpu.name.clone());
        let device = if gpu.is_some() { Device::Cuda(0) } else { how.device };
        let (program, engine) = (crate::program(), settings.run.engine);
        let cluster = how.cluster.as_ref().map(|(shared, _)| shared.slurm.place());
        Ok(Self { program, device, gpu, engine, threads, cluster, slots, config, train, batch, common_context })
    }

    /// The name under which what was measured is kept.
    fn key(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
    }
}

/// Numbers the shapes of these trials, by what decides the memory of one: equal numbers, equal needs.
pub fn shapes(plan: &Plan, trials: &[&Trial], device: Device) -> Result<HashMap<TrialId, usize>> {
    // How many run at a time, and on how many threads each, is what is changed where memory does not suffice.
    let how = How {
        device,
        gpus: Vec::new(),
        slots: 0,
        threads: 0,
        search: Search { libraries: None, cache: PathBuf::new() },
        patience: Patience::default(),
        cluster: None,
    };
    let mut numbers = HashMap::new();
    let mut shapes = HashMap::with_capacity(trials.len());
    for trial in trials {
        let next = numbers.len();
        let number = *numbers.entry(Shape::of(trial, plan, &how)?.key()).or_insert(next);
        shapes.insert(trial.id.clone(), number);
    }
    Ok(shapes)
}

/// On what trials will run.
#[derive(Debug, Clone)]
pub struct How {
    /// What they compute on.
    pub device: Device,
    /// The NVIDIA GPUs among which they are shared out; none elsewhere.
    pub gpus: Vec<Gpu>,
    /// Trials at a time.
    pub slots: usize,
    /// Threads of each.
    pub threads: usize,
    /// Where NVIDIA's libraries are looked for.
    pub search: Search,
    /// How long a probe is waited for.
    pub patience: Patience,
    /// The cluster that measures, and the memory that a job asks for, bytes; without one, this machine does.
    pub cluster: Option<(Shared, u64)>,
}

impl How {
    /// The GPUs on which shapes are measured: those of the first one's kind.
    fn alike(&self) -> Vec<&Gpu> {
        self.gpus.iter().filter(|gpu| gpu.name == self.gpus[0].name).collect()
    }

    /// How many are measured at a time: as many as there will be trials, so that what shares the machine then shares it now; of GPUs of
    /// several kinds as many as those of the first kind take.
    fn at_a_time(&self) -> usize {
        let share = if self.gpus.is_empty() { self.slots } else { self.slots * self.alike().len() / self.gpus.len() };
        share.max(1)
    }

    /// The same for one of those that are measured at the same time: on a GPU of its own, as far as there are so many.
    fn of_one(&self, number: usize) -> Self {
        let alike = self.alike();
        let gpus = if alike.is_empty() { Vec::new() } else { vec![alike[number % alike.len()].clone()] };
        Self { gpus, ..self.clone() }
    }
}

/// What the process that measures is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request<S = Shape> {
    pub(crate) shape: S,
    /// The folder in which NVIDIA's libraries are looked for first.
    pub(crate) libraries: Option<PathBuf>,
    /// The folder that keeps compiled kernels.
    pub(crate) kernels: PathBuf,
}

/// What was measured of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds of a full step.
    pub step_seconds: f64,
    /// Seconds to score a token in the common context.
    pub common_seconds: f64,
    /// Seconds to score a token in the configuration's own context.
    pub native_seconds: f64,
    /// Seconds until the first step.
    pub start_seconds: f64,
    /// Most memory of the host that was held by the process that measured, bytes.
    pub peak_memory_bytes: i64,
    /// Most memory of a GPU that was taken, bytes; `None` on the processor, and where nobody counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_device_memory_bytes: Option<i64>,
}

/// How far a trial is: it goes on from its newest checkpoint, which its worker may have been well beyond when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Done {
    /// Steps that are made.
    pub steps: u64,
    /// Seconds inside them; looked for only where the budget is a time.
    pub training_seconds: f64,
}

impl Done {
    /// By the newest checkpoint in the trial's folder.
    ///
    /// # Errors
    /// Where its checkpoints cannot be listed.
    pub fn of(trial: &Trial, folder: &TrialFolder) -> Result<Self> {
        let checkpoints = list_checkpoints(&folder.checkpoints())?;
        let Some((steps, newest)) = checkpoints.last() else { return Ok(Self::default()) };
        let is_timed = trial.settings.train.budget.seconds().is_some();
        // One that is damaged is found so by the worker, which then goes on from an older one.
        let position = is_timed.then(|| position(newest).ok()).flatten();
        Ok(Self { steps: *steps, training_seconds: position.map_or(0.0, |position| position.training_seconds) })
    }
}

impl Measured {
    /// Seconds that a trial that has come so far will take, all included.
    pub fn seconds(&self, trial: &Trial, common_context: usize, done: Done) -> Result<f64> {
        let evaluation = trial.evaluation(common_context)?;
        // The budget is a number of steps, or a time.
        let (all, past, of_one) = match (trial.facts.counted_steps(), trial.settings.train.budget.seconds()) {
            (None, Some(seconds)) => (seconds, done.training_seconds, 1.0),
            (steps, _) => (steps.unwrap_or(0) as f64, done.steps as f64, self.step_seconds),
        };
        let amount = (all - past).max(0.0);
        let left = if all > 0.0 { amount / all } else { 0.0 };
        let periodic = left / evaluation.every * evaluation.periodic_tokens as f64 * self.common_seconds;
        // In full, windows overlap by half: each token goes through the model twice. What was just predicted is not again: by the
        // last evaluation on the way, and by the longer windows where shorter ones begin with them.
        let (length, scored) = (trial.settings.train.sequence_length, 2.0 * evaluation.scored_tokens as f64);
        let begin_longer = if length > common_context { scored * common_context as f64 / length as f64 } else { 0.0 };
        let in_full = |predicted: f64| {
            let native = if length == common_context { 0.0 } else { scored * self.native_seconds };
            let test = 2.0 * trial.facts.test_tokens as f64 * self.common_seconds;
            (scored - begin_longer.max(predicted)) * self.common_seconds + native + test
        };
        // The best weights on the way may be others than the final ones, and are scored as those then.
        let best = if evaluation.periodic_tokens > 0 { in_full(0.0) } else { 0.0 };
        Ok(self.start_seconds + amount * of_one + periodic + in_full(evaluation.periodic_tokens as f64) + best)
    }

    /// The memory that a trial of this shape will take.
    pub(super) fn memory(&self, trial: &Trial) -> Memory {
        let known = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        let host = known(self.peak_memory_bytes) + memory_beside_steps(&trial.facts);
        Memory { host, device: self.peak_device_memory_bytes.map(known) }
    }
}

/// Measures a shape; `None` where what it is given last, which is asked all the time, says first that it must end.
pub(super) type Measure<'a> = dyn Fn(&Shape, &How, &dyn Fn() -> bool) -> Result<Option<Measured>> + Sync + 'a;

/// Who measures shapes, which may take long.
pub(super) struct Prober<'a> {
    /// Measures one.
    pub(super) measure: &'a Measure<'a>,
    /// Whether nothing more is to be begun.
    pub(super) must_end: &'a (dyn Fn() -> bool + Sync),
}

/// What is known of the shapes of a plan.
pub struct Probes {
    by_key: BTreeMap<String, Measured>,
    how: How,
}

impl Probes {
    /// What earlier runs measured.
    pub fn known(folder: &ExperimentFolder, how: How) -> Self {
        Self { by_key: durable::read_json(&kept(folder)).ok().flatten().unwrap_or_default(), how }
    }

    /// Has every shape of the `wanted` trials measured that is not known yet, and tells what it did. A shape that cannot be measured is
    /// left out: its trials will show why. So is what was not measured yet when `must_end` says so.
    pub(super) fn measure(
        folder: &ExperimentFolder,
        plan: &Plan,
        wanted: &[&Trial],
        how: How,
        prober: &Prober<'_>,
        listener: &dyn Listener,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut probes = Self::known(folder, how);
        let missing = probes.missing(plan, wanted)?;
        let (all, mut done) = (missing.len(), 0);
        for group in missing.chunks(probes.how.at_a_time()) {
            if (prober.must_end)() {
                break;
            }
            done += probes.measure_together(group, prober, listener);
            if done < all && started.elapsed() > QUIET {
                listener.notice(&Notice::Probing { done, all });
            }
        }
        let measured = probes.memory_of(plan, wanted)?;
        if !measured.is_empty() {
            keep_probed_memory(folder, measured)?;
        }
        if done > 0 {
            durable::write_json(&kept(folder), &probes.by_key)?;
            let seconds = started.elapsed().as_secs_f64();
            let largest = probes.largest(plan, wanted)?;
            listener.notice(&Notice::Probed { shapes: done, seconds, largest });
        }
        Ok(probes)
    }

    /// The shapes of these trials of which nothing is known, by their names.
    fn missing(&self, plan: &Plan, wanted: &[&Trial]) -> Result<Vec<(String, Shape)>> {
        let mut missing = BTreeMap::new();
        for trial in wanted {
            let shape = Shape::of(trial, plan, &self.how)?;
            let key = shape.key();
            if !self.by_key.contains_key(&key) {
                missing.insert(key, shape);
            }
        }
        Ok(missing.into_iter().collect())
    }

    /// Has these shapes measured at the same time; of how many something has become.
    fn measure_together(&mut self, group: &[(String, Shape)], prober: &Prober<'_>, listener: &dyn Listener) -> usize {
        let hows: Vec<How> = (0..group.len()).map(|n| self.how.of_one(n)).collect();
        let results: Vec<Result<Option<Measured>>> = thread::scope(|scope| {
            let measure = |shape, how| scope.spawn(move || (prober.measure)(shape, how, prober.must_end));
            let runs: Vec<_> = group.iter().zip(&hows).map(|((_, shape), how)| measure(shape, how)).collect();
            runs.into_iter().map(|r| r.join().unwrap_or_else(|_| Err(Error::internal("a probe panicked")))).collect()
        });
        let mut done = 0;
        for ((key, _), result) in group.iter().zip(results) {
            match result {
                Ok(None) => continue,
                Ok(Some(measured)) => drop(self.by_key.insert(key.clone(), measured)),
                Err(error) => listener.notice(&Notice::NotProbed(error)),
            }
            done += 1;
        }
        done
    }

    /// What was measured of a trial's shape.
    pub fn of(&self, trial: &Trial, plan: &Plan) -> Result<Option<Measured>> {
        let shape = Shape::of(trial, plan, &self.how)?;
        Ok(self.by_key.get(&shape.key()).copied())
    }

    /// The most memory that one of the trials will take; of those that could not be measured what is planned.
    pub fn largest(&self, plan: &Plan, trials: &[&Trial]) -> Result<Memory> {
        let mut largest = Memory::default();
        for trial in trials {
            let measured = self.of(trial, plan)?.map(|measured| measured.memory(trial));
            largest = largest.largest(measured.unwrap_or_else(|| Memory::planned(trial, self.how.device)));
        }
        Ok(largest)
    }

    /// The memory of each measured trial, as the plan counts it: of the device where there is one, bytes.
    fn memory_of(&self, plan: &Plan, trials: &[&Trial]) -> Result<BTreeMap<TrialId, i64>> {
        let mut bytes = BTreeMap::new();
        for trial in trials {
            if let Some(measured) = self.of(trial, plan)? {
                let Memory { host, device } = measured.memory(trial);
                bytes.insert(trial.id.clone(), device.unwrap_or(host) as i64);
            }
        }
        Ok(bytes)
    }
}

/// Where what was measured is kept.
fn kept(folder: &ExperimentFolder) -> PathBuf {
    folder.cache().join("probes.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Budget;

    #[test]
    fn on_gpus_of_several_kinds_no_two_are_measured_on_one_of_the_first() {
        let how = |kinds: &[&str], slots| How {
            device: Device::Cuda(0),
            gpus: (0..).zip(kinds).map(|(number, kind)| Gpu::example(number, kind)).collect(),
            slots,
            threads: 1,
            search: Search { libraries: None, cache: PathBuf::new() },
            patience: Patience::default(),
            cluster: None,
        };
        assert_eq!(how(&[], 4).at_a_time(), 4);
        assert_eq!(how(&["A", "A"], 4).at_a_time(), 4, "two share each");
        assert_eq!(how(&["A", "B", "B"], 3).at_a_time(), 1);
        assert_eq!(how(&["A", "B", "B", "A"], 8).at_a_time(), 4);
        let numbers: Vec<u32> = (0..3).map(|n| how(&["A", "B", "A"], 3).of_one(n).gpus[0].number).collect();
        assert_eq!(numbers, [0, 2, 0]);
    }

    #[test]
    fn what_is_done_of_a_budget_is_not_expected_again() {
        let measured = Measured {
            step_seconds: 2.0,
            common_seconds: 0.0,
            native_seconds: 0.0,
            start_seconds: 3.0,
            peak_memory_bytes: 0,
            peak_device_memory_bytes: None,
        };
        let mut plan = crate::record::tests::plan(&[32], &[ClipNorm::Off], &[1]);
        let seconds = |trial: &Trial, done: Done| measured.seconds(trial, 32, done).unwrap();
        let done = Done { steps: 60, training_seconds: 420.0 * 60.0 };
        assert_eq!([seconds(&plan.trials[0], Done::default()), seconds(&plan.trials[0], done)], [203.0, 83.0]);
        plan.trials[0].facts.steps = 0;
        plan.trials[0].settings.train.budget = Budget::Minutes(480.0);
        assert_eq!([seconds(&plan.trials[0], Done::default()), seconds(&plan.trials[0], done)], [28_803.0, 3_603.0]);
    }

    #[test]
    fn the_test_part_and_the_best_weights_take_their_time() {
        let measured = Measured {
            step_seconds: 2.0,
            common_seconds: 0.01,
            native_seconds: 0.02,
            start_seconds: 0.0,
            peak_memory_bytes: 0,
            peak_device_memory_bytes: None,
        };
        let mut plan = crate::record::tests::plan(&[32], &[ClipNorm::Off], &[1]);
        let trial = &mut plan.trials[0];
        trial.facts.validation_tokens = 3_000;
        let seconds = |trial: &Trial| measured.seconds(trial, 32, Done { steps: 100, training_seconds: 0.0 }).unwrap();
        // Without an evaluation on the way there are no best weights but the final ones.
        trial.facts.flops = 0.0;
        assert_eq!(seconds(trial), 60.0);
        trial.facts.test_tokens = 1_000;
        assert_eq!(seconds(trial), 80.0);
        trial.facts.flops = 1e15;
        let predicted = trial.evaluation(32).unwrap().periodic_tokens;
        assert_eq!(predicted, 3_000);
        assert_eq!(seconds(trial), 2.0 * 80.0 - 30.0, "the last evaluation on the way is a part of it");
    }

    #[test]
    fn what_an_earlier_version_measured_is_read() {
        let kept = r#"{"step_seconds":1.0,"common_seconds":1.0,"native_seconds":1.0,"start_seconds":1.0,"peak_memory_bytes":7}"#;
        let measured: Measured = serde_json::from_str(kept).unwrap();
        assert_eq!((measured.peak_memory_bytes, measured.peak_device_memory_bytes), (7, None));
        assert_eq!(serde_json::to_string(&measured).unwrap(), kept, "on the processor nothing is added");
    }
}
