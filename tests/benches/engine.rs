//! Whole training steps, timed: the engine's or the plain path's, one configuration a call, as one line of JSON.
//!
//! `cargo bench --features benchmarks --bench engine -- engine layers=4 heads=4 width=128 vocabulary=65 length=64 batch=12
//! threads=2 steps=50` prints the milliseconds of each step and of its parts. `plain` instead of `engine` times candle's own
//! operations (on candle's threads: set `RAYON_NUM_THREADS`); `family=llama` the other family; `operations` the engine's
//! operations one by one, on one thread. `scripts/bench_training.py` calls it.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::collections::HashMap;
use std::time::Instant;

use candle_core::Device;
use votive::error::{Error, Result};
use votive::experiment::settings::{self, ClipNorm, Family, Precision, Train};
use votive::model::cpu::operations::Operations;
use votive::model::cpu::{Engine, MicroBatch};
use votive::model::plain::{DropoutSource, PlainModel};
use votive::model::{Config, Sequences, initial_values, shape};
use votive::optimize::flat::FlatAdamW;
use votive::optimize::{AdamW, loss_and_norm};
use votive::pulse::NEVER;
use votive::random::Stream;

struct Task {
    config: Config,
    length: usize,
    batch: usize,
    threads: usize,
    steps: usize,
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

impl Task {
    fn parse(arguments: &HashMap<String, String>) -> Result<Self> {
        let get = |name: &str, default: usize| -> Result<usize> {
            match arguments.get(name) {
                Some(text) => text.parse().map_err(|_| Error::usage(format!("`{name}={text}` is not a number"))),
                None => Ok(default),
            }
        };
        let model = settings::Model {
            family: if arguments.get("family").is_some_and(|f| f == "llama") { Family::Llama } else { Family::Gpt2 },
            layers: get("layers", 4)?,
            heads: get("heads", 4)?,
            width: get("width", 128)?,
            bias: Some(false),
            dropout: get("dropout_percent", 0)? as f64 / 100.0,
            ..settings::Model::default()
        };
        let (length, batch) = (get("length", 64)?, get("batch", 12)?);
        let config = Config::new(&model, get("vocabulary", 65)?, length)?;
        let mut stream = Stream::new(1, "bench", &[]);
        let tokens: Vec<u32> = (0..=batch * length).map(|_| stream.below(config.vocabulary as u64) as u32).collect();
        let (inputs, targets) = (tokens[..batch * length].to_vec(), tokens[1..].to_vec());
        Ok(Self { config, length, batch, threads: get("threads", 2)?, steps: get("steps", 30)?, inputs, targets })
    }

    fn values(&self) -> Vec<Vec<f32>> {
        self.config.parameters().iter().map(|p| initial_values(p, 1)).collect()
    }

    fn engine(&self) -> Result<Vec<Step>> {
        let mut engine = Engine::new(&self.config, 1, self.threads, self.length)?;
        engine.values_mut().copy_from_slice(&self.values().concat());
        let mut optimizer = FlatAdamW::new(&self.config, &Train::default());
        let micro = MicroBatch {
            sequences: Sequences { inputs: &self.inputs, targets: &self.targets, length: self.length },
            batch: self.batch,
            first: 0,
            step: 0,
            scale: 1.0 / self.targets.len() as f32,
        };
        (0..self.steps)
            .map(|step| {
                let start = Instant::now();
                let mut nll = 0.0;
                engine.train(MicroBatch { step: step as u64, ..micro }, &mut nll, &NEVER)?;
                let gradients_ms = start.elapsed().as_secs_f64() * 1e3;
                let (pool, values, gradients) = engine.for_update();
                let norm = optimizer.norm(pool, gradients);
                optimizer.update(pool, values, gradients, 1e-3, ClipNorm::At(1.0).coefficient(norm));
                let all_ms = start.elapsed().as_secs_f64() * 1e3;
                Ok(Step { all_ms, gradients_ms, loss: nll / self.targets.len() as f64 })
            })
            .collect()
    }

    fn plain(&self) -> Result<Vec<Step>> {
        let mut model = PlainModel::new(&self.config, Precision::F32, &Device::Cpu, &self.values())?;
        let mut optimizer = AdamW::new(&Train::default(), model.parameters(), model.weights())?;
        let windows = Sequences { inputs: &self.inputs, targets: &self.targets, length: self.length };
        let scale = 1.0 / self.targets.len() as f64;
        (0..self.steps)
            .map(|step| {
                let start = Instant::now();
                model.forget();
                model.train(&windows, DropoutSource { seed: 1, step: step as u64, first: 0 }, scale)?;
                let gradients_ms = start.elapsed().as_secs_f64() * 1e3;
                let (nll, norm) = loss_and_norm(model.gathered()?)?;
                let clip = ClipNorm::At(1.0).coefficient(norm);
                optimizer.step(model.weights(), &model.gathered()?.gradients, 1e-3, clip)?;
                Ok(Step { all_ms: start.elapsed().as_secs_f64() * 1e3, gradients_ms, loss: nll * scale })
            })
            .collect()
    }
}

/// Prints each operation's time in a step on one thread, and what its products reach.
fn operations(task: &Task) -> Result<()> {
    let mut operations = Operations::new(&task.config, task.batch, task.length)?;
    for operation in operations.all() {
        let mut times: Vec<f64> = (0..task.steps)
            .map(|_| {
                operations.prepare(operation);
                let start = Instant::now();
                operations.run(operation);
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (seconds, count) = (times[times.len() / 2], operations.times(operation));
        println!(
            "{}",
            serde_json::json!({
                "operation": operation.name(),
                "ms_per_step": seconds * 1e3 * count as f64,
                "times_per_step": count,
                "gflops_per_second": operations.flops(operation) / seconds / 1e9,
            })
        );
    }
    Ok(())
}

/// One step's times, and the loss before it.
struct Step {
    all_ms: f64,
    gradients_ms: f64,
    loss: f64,
}

/// The largest number of bytes that the process held, where the system says (Linux).
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn sorted(steps: &[Step], of: impl Fn(&Step) -> f64) -> Vec<f64> {
    // The first two steps make buffers and warm caches.
    let mut times: Vec<f64> = steps.iter().skip(2).map(of).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let settings: HashMap<String, String> =
        arguments.iter().filter_map(|a| a.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    let task = Task::parse(&settings)?;
    if task.steps < 3 {
        return Err(Error::usage("`steps` must be at least 3: the first two are not counted"));
    }
    if arguments.iter().any(|a| a == "operations") {
        return operations(&task);
    }
    let steps = if arguments.iter().any(|a| a == "plain") { task.plain()? } else { task.engine()? };
    let (all, gradients) = (sorted(&steps, |s| s.all_ms), sorted(&steps, |s| s.gradients_ms));
    println!(
        "{}",
        serde_json::json!({
            "min_ms": all[0],
            "median_ms": all[all.len() / 2],
            "gradients_min_ms": gradients[0],
            "gradients_median_ms": gradients[gradients.len() / 2],
            "tokens": task.batch * task.length,
            "flops_per_token": shape::training_flops_per_token(&task.config, task.length),
            "parameters": shape::parameter_count(&task.config),
            "peak_bytes": peak_bytes(),
            "planned_bytes": shape::engine_bytes(&task.config, task.length, task.batch, task.threads),
            "first_loss": steps[0].loss,
            "last_loss": steps[steps.len() - 1].loss,
        })
    );
    Ok(())
}
