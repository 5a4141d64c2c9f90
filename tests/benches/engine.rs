//! Whole training steps, timed: the engine's or the plain path's, one configuration a call, as one line of JSON.
//!
//! `cargo bench --bench engine -- engine layers=4 heads=4 width=128 vocabulary=65 length=64 batch=12 threads=2 steps=50`
//! prints the milliseconds of each step and of its parts. `plain` instead of `engine` times candle's own operations (on
//! candle's threads: set `RAYON_NUM_THREADS`); `family=llama` the other family. `scripts/bench_training.py` calls it.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::collections::HashMap;
use std::time::Instant;

use votive::error::{Error, Result};
use votive::experiment::settings::{self, Family, Train};
use votive::model::engine::{Engine, MicroBatch};
use votive::model::{Config, initial_values};
use votive::optimize::flat::FlatAdamW;
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

    fn engine(&self) -> Result<Vec<[f64; 4]>> {
        let mut engine = Engine::new(&self.config, 1, self.threads, self.length)?;
        let values: Vec<f32> = self.config.parameters().iter().flat_map(|p| initial_values(p, 1)).collect();
        engine.values_mut().copy_from_slice(&values);
        let mut optimizer = FlatAdamW::new(&self.config, &Train::default());
        let mut times = Vec::new();
        for step in 0..self.steps {
            let start = Instant::now();
            let mut nll = 0.0;
            let micro = MicroBatch {
                inputs: &self.inputs,
                targets: &self.targets,
                length: self.length,
                batch: self.batch,
                first: 0,
                step: step as u64,
                scale: 1.0 / self.targets.len() as f32,
            };
            engine.train(micro, &mut nll)?;
            let trained = start.elapsed();
            let (pool, values, gradients) = engine.for_update();
            let norm = optimizer.norm(pool, gradients);
            optimizer.update(pool, values, gradients, 1e-3, (1.0 / (norm + 1e-6)).min(1.0));
            let all = start.elapsed().as_secs_f64() * 1e3;
            times.push([all, trained.as_secs_f64() * 1e3, nll / self.targets.len() as f64, norm]);
        }
        Ok(times)
    }
}

fn main() -> Result<()> {
    let arguments: HashMap<String, String> =
        std::env::args().skip(1).filter_map(|a| a.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    let task = Task::parse(&arguments)?;
    let times = task.engine()?;
    let mut steps: Vec<f64> = times.iter().skip(2).map(|t| t[0]).collect();
    let mut parts: Vec<f64> = times.iter().skip(2).map(|t| t[1]).collect();
    steps.sort_by(f64::total_cmp);
    parts.sort_by(f64::total_cmp);
    let (min, median) = (steps[0], steps[steps.len() / 2]);
    let tokens = (task.batch * task.length) as f64;
    println!(
        "{}",
        serde_json::json!({
            "min_ms": min, "median_ms": median, "gradients_min_ms": parts[0], "gradients_median_ms": parts[parts.len() / 2],
            "tokens_per_second": tokens / median * 1e3, "first_loss": times[0][2], "last_loss": times[times.len() - 1][2],
        })
    );
    Ok(())
}
