//! Measuring each distinct shape before the night: two steps (on a GPU twenty, after it has warmed up) and one evaluation batch, in
//! a process of its own, so that time and peak memory are those that a worker will have.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::exit_code::Code;
use super::output::{Failure, print, say};
use super::show::words::bytes;
use super::worker::peak_memory_bytes;
use crate::device::Device;
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings::{BatchSize, ClipNorm, Engine, Settings, Train};
use crate::model::gpu::cuda::Search;
use crate::model::plain::Windows;
use crate::model::{Config, initial_values, shape};
use crate::plan::{Plan, Trial};
use crate::random::Stream;
use crate::runs::ExperimentFolder;
use crate::schedule::this_program;
use crate::train::backend::{self, Backend, Hardware, State, Step, make_step};

/// Steps before those that are timed on a GPU, and times that windows are scored.
const WARM_UP: u64 = 3;
/// Steps that are timed on a GPU.
const IN_A_ROW: u64 = 20;

/// What is to be measured: one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    program: String,
    device: Device,
    /// What computes on it, where it is an NVIDIA GPU.
    engine: Engine,
    threads: usize,
    /// Trials at a time: they share caches and memory channels.
    slots: usize,
    config: Config,
    train: Train,
    /// Windows of a full step.
    batch: usize,
    common_context: usize,
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
        let &How { device, slots, threads, .. } = how;
        let (program, engine) = (crate::program(), settings.run.engine);
        Ok(Self { program, device, engine, threads, slots, config, train, batch, common_context })
    }

    /// The name under which what was measured is kept.
    fn key(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
    }
}

/// On what trials will run.
#[derive(Debug, Clone)]
pub(super) struct How {
    pub(super) device: Device,
    /// Trials at a time.
    pub(super) slots: usize,
    /// Threads of each.
    pub(super) threads: usize,
    pub(super) search: Search,
}

/// What the process that measures is told.
#[derive(Debug, Serialize, Deserialize)]
struct Request<S> {
    shape: S,
    /// The folder in which NVIDIA's libraries are looked for first.
    libraries: Option<PathBuf>,
    /// The folder that keeps compiled kernels.
    kernels: PathBuf,
}

/// What was measured of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Seconds of a full step.
    pub(super) step_seconds: f64,
    /// Seconds to score a token in the common context.
    pub(super) common_seconds: f64,
    /// Seconds to score a token in the configuration's own context.
    pub(super) native_seconds: f64,
    /// Seconds until the first step.
    pub(super) start_seconds: f64,
    /// Most memory of the host that was held, bytes.
    pub(super) peak_memory_bytes: i64,
    /// Most memory of a GPU that was taken, bytes; `None` on the processor, and where nobody counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peak_device_memory_bytes: Option<i64>,
}

impl Measured {
    /// Seconds that a trial will take from step `done` on, all included.
    pub(super) fn seconds(&self, trial: &Trial, common_context: usize, done: i64) -> Result<f64> {
        let steps = (trial.facts.steps as f64 - done as f64).max(0.0);
        let evaluation = trial.evaluation(common_context)?;
        let left = steps / trial.facts.steps.max(1) as f64;
        let periodic = left / evaluation.every * evaluation.periodic_tokens as f64 * self.common_seconds;
        // In full, windows overlap by half: each token goes through the model twice. What was just predicted is not again: by the
        // last evaluation on the way, and by the longer windows where shorter ones begin with them.
        let (length, scored) = (trial.settings.train.sequence_length, 2.0 * evaluation.scored_tokens as f64);
        let begin_longer = if length > common_context { scored * common_context as f64 / length as f64 } else { 0.0 };
        let mut in_full = (scored - begin_longer.max(evaluation.periodic_tokens as f64)) * self.common_seconds;
        if length != common_context {
            in_full += scored * self.native_seconds;
        }
        let minutes = match trial.settings.train.budget {
            crate::experiment::settings::Budget::Minutes(minutes) => 60.0 * minutes,
            _ => 0.0,
        };
        Ok(self.start_seconds + minutes + steps * self.step_seconds + periodic + in_full)
    }
}

/// Memory of a trial, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Of the machine: by it, it is decided how many trials run at a time.
    pub(super) host: u64,
    /// Of a GPU.
    pub(super) device: Option<u64>,
}

impl Memory {
    /// `3.10 GB of the GPU, 400 MB of the host`; `None` where no GPU is used.
    pub(super) fn in_words(self) -> Option<String> {
        let device = self.device?;
        Some(format!("{} of the GPU, {} of the host", bytes(device), bytes(self.host)))
    }
}

/// What is known of the shapes of a plan.
pub(super) struct Probes {
    by_key: BTreeMap<String, Measured>,
    how: How,
}

impl Probes {
    /// Measures every shape of the plan's trials that is not known yet. `told` hears how many of how many are done.
    /// A shape that cannot be measured is left out: its trials will show why.
    pub(super) fn measure(
        folder: &ExperimentFolder,
        plan: &Plan,
        wanted: &[&Trial],
        how: How,
        told: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let path = folder.cache().join("probes.json");
        let known: BTreeMap<String, Measured> = durable::read_json(&path).ok().flatten().unwrap_or_default();
        let mut probes = Self { by_key: known, how };
        let mut missing: BTreeMap<String, Shape> = BTreeMap::new();
        for trial in wanted {
            let shape = Shape::of(trial, plan, &probes.how)?;
            let key = shape.key();
            if !probes.by_key.contains_key(&key) {
                missing.insert(key, shape);
            }
        }
        let (all, mut done) = (missing.len(), 0);
        let missing: Vec<(String, Shape)> = missing.into_iter().collect();
        // As many at a time as there will be trials: what shares the machine then shares it now.
        for group in missing.chunks(probes.how.slots.max(1)) {
            let search = &probes.how.search;
            let results: Vec<Result<Measured>> = std::thread::scope(|scope| {
                let runs: Vec<_> = group.iter().map(|(_, shape)| scope.spawn(|| run(shape, search))).collect();
                runs.into_iter().map(|r| r.join().unwrap_or_else(|_| Err(Error::internal("a probe panicked")))).collect()
            });
            for ((key, _), result) in group.iter().zip(results) {
                done += 1;
                match result {
                    Ok(measured) => {
                        probes.by_key.insert(key.clone(), measured);
                    }
                    Err(error) => say(&format!("probe       {}", error.chain())),
                }
            }
            told(done, all);
        }
        if all > 0 {
            durable::write_json(&path, &probes.by_key)?;
        }
        Ok(probes)
    }

    /// What was measured of a trial's shape.
    pub(super) fn of(&self, trial: &Trial, plan: &Plan) -> Result<Option<Measured>> {
        let shape = Shape::of(trial, plan, &self.how)?;
        Ok(self.by_key.get(&shape.key()).copied())
    }

    /// The most memory that one of the trials will hold; of the host 0 where nothing was measured.
    pub(super) fn largest(&self, plan: &Plan, trials: &[&Trial]) -> Result<Memory> {
        let mut largest = Memory::default();
        for trial in trials {
            let Some(measured) = self.of(trial, plan)? else { continue };
            let known = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
            largest.host = largest.host.max(known(measured.peak_memory_bytes));
            largest.device = largest.device.max(measured.peak_device_memory_bytes.map(known));
        }
        Ok(largest)
    }
}

/// Measures a shape in a process of its own.
fn run(shape: &Shape, search: &Search) -> Result<Measured> {
    let failed = |what: &str| Error::internal(format!("a shape could not be measured: {what}"));
    let threads = shape.threads.to_string();
    let mut child = Command::new(this_program()?)
        .arg0("votive")
        .arg("probe")
        .env("RAYON_NUM_THREADS", &threads)
        .env("OMP_NUM_THREADS", &threads)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed("no process").caused_by(e))?;
    let request = Request { shape, libraries: search.libraries.clone(), kernels: search.cache.clone() };
    let text = serde_json::to_vec(&request).map_err(|e| failed("no description").caused_by(e))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(&text).map_err(|e| failed("no pipe").caused_by(e))?;
    }
    let output = child.wait_with_output().map_err(|e| failed("no answer").caused_by(e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        return Err(failed(&format!("{} ({last})", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| failed("an answer that cannot be read").caused_by(e))
}

/// The hidden command: reads a shape, prints what it measured.
pub(super) fn execute() -> Result<Code, Failure> {
    let started = Instant::now();
    let request = serde_json::from_reader(std::io::stdin());
    let Request::<Shape> { shape, libraries, kernels } =
        request.map_err(|e| Error::usage("standard input holds no shape").caused_by(e))?;
    let config = &shape.config;
    let search = Search { libraries, cache: kernels };
    let hardware = Hardware { device: shape.device, engine: shape.engine, threads: shape.threads, search };
    let values = config.parameters().iter().map(|p| initial_values(p, 1)).collect();
    let mut backend = backend::open(config, &shape.train, (1, shape.batch), &hardware, &State::untrained(values))?;
    let start_seconds = started.elapsed().as_secs_f64();

    let length = shape.train.sequence_length;
    let own = hardware.is_own_gpu();
    // A step of very many micro-batches takes as long as they do together; the engine on a GPU has steps of one size.
    let cut = if shape.device.is_cpu() { shape::micro_batch } else { shape::plain_unit };
    let micro = shape.train.micro_batch.unwrap_or_else(|| cut(config, length, shape.batch));
    let windows = if own { shape.batch } else { shape.batch.min(2 * micro) };
    let mut stream = Stream::new(1, "probe", &[]);
    let tokens: Vec<u32> = (0..=windows * length).map(|_| stream.below(config.vocabulary as u64) as u32).collect();
    let batch = Windows { inputs: &tokens[..windows * length], targets: &tokens[1..], length };
    let step = |number| Step { windows: batch, number, learning_rate: 1e-4 };
    let a_step = if own { seconds_in_a_row(&mut *backend, &step)? } else { seconds_alone(&mut *backend, &step)? };
    let step_seconds = a_step * shape.batch as f64 / windows as f64;
    let mut score = |context: usize| -> Result<f64> {
        let windows = (2_048 / context).clamp(1, 64);
        let tokens: Vec<u32> = (0..=windows * context).map(|i| tokens[i % tokens.len()]).collect();
        let scored = Windows { inputs: &tokens[..windows * context], targets: &tokens[1..], length: context };
        let mut seconds = 0.0;
        for _ in 0..if own { WARM_UP } else { 1 } {
            let started = Instant::now();
            backend.nll(&scored)?;
            seconds = started.elapsed().as_secs_f64();
        }
        Ok(seconds / (windows * context) as f64)
    };
    let common_seconds = score(shape.common_context)?;
    let native_seconds = if length == shape.common_context { common_seconds } else { score(length)? };
    let measured = Measured {
        step_seconds,
        common_seconds,
        native_seconds,
        start_seconds,
        peak_memory_bytes: peak_memory_bytes(),
        peak_device_memory_bytes: backend.peak_device_memory_bytes().map(|bytes| bytes as i64),
    };
    let text = serde_json::to_string(&measured).map_err(|e| Error::internal("no JSON").caused_by(e))?;
    print(&text)?;
    Ok(Code::Ok)
}

/// Seconds of the second of two steps, each waited for.
fn seconds_alone<'a>(backend: &mut dyn Backend, step: &dyn Fn(u64) -> Step<'a>) -> Result<f64> {
    make_step(backend, step(0))?;
    let started = Instant::now();
    make_step(backend, step(1))?;
    Ok(started.elapsed().as_secs_f64())
}

/// Seconds of one of the steps that follow each other on a device, after those in which it loads and records what it needs.
fn seconds_in_a_row<'a>(backend: &mut dyn Backend, step: &dyn Fn(u64) -> Step<'a>) -> Result<f64> {
    for number in 0..WARM_UP {
        make_step(backend, step(number))?;
    }
    let (started, mut in_flight) = (Instant::now(), 0);
    for number in WARM_UP..WARM_UP + IN_A_ROW {
        if in_flight == backend.depth() {
            backend.result()?;
            in_flight -= 1;
        }
        backend.submit(step(number))?;
        in_flight += 1;
    }
    for _ in 0..in_flight {
        backend.result()?;
    }
    Ok(started.elapsed().as_secs_f64() / IN_A_ROW as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_gpu_is_said_beside_the_hosts() {
        let host = Memory { host: 400_000_000, device: None };
        assert_eq!(host.in_words(), None, "on the processor there is nothing beside it");
        let both = Memory { device: Some(3_100_000_000), ..host };
        assert_eq!(both.in_words().unwrap(), "3.10 GB of the GPU, 400 MB of the host");
    }

    #[test]
    fn what_an_earlier_version_measured_is_read() {
        let kept = r#"{"step_seconds":1.0,"common_seconds":1.0,"native_seconds":1.0,"start_seconds":1.0,"peak_memory_bytes":7}"#;
        let measured: Measured = serde_json::from_str(kept).unwrap();
        assert_eq!((measured.peak_memory_bytes, measured.peak_device_memory_bytes), (7, None));
        assert_eq!(serde_json::to_string(&measured).unwrap(), kept, "on the processor nothing is added");
    }
}
