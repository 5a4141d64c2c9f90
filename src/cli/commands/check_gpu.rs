//! `votive check-gpu`: what a GPU has to show before it is trusted, for `scripts/check_gpu.py`. Each result is a line of JSON on
//! standard output as soon as it is known, so that what was known before a fault is kept.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::args::{CheckGpu, Sizes};
use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::{self, Family, Precision, Train};
use crate::model::gpu::cuda::{Search, user_cache};
use crate::model::gpu::{Engine, Member, Options, Outcome, State};
use crate::model::plain::{DropoutSource, PlainModel};
use crate::model::{Config, Parameter, Sequences, Start, Step, initial_values};
use crate::optimize::loss_and_norm;
use crate::runner::Failure;

/// Steps after which bits are compared.
const STEPS: usize = 5;

/// A model with the length of its windows and their number in a step.
struct Sized {
    name: &'static str,
    config: Config,
    length: usize,
    batch: usize,
}

fn sized(
    name: &'static str,
    vocabulary: usize,
    length: usize,
    batch: usize,
    change: impl FnOnce(&mut settings::Model),
) -> Result<Sized> {
    let mut model = settings::Model::default();
    change(&mut model);
    Ok(Sized { name, config: Config::new(&model, vocabulary, length)?, length, batch })
}

/// Small models of both families, with what makes them differ.
fn small() -> Result<Vec<Sized>> {
    let sizes = |model: &mut settings::Model, [layers, heads, width]: [usize; 3]| {
        (model.layers, model.heads, model.width) = (layers, heads, width);
    };
    Ok(vec![
        sized("gpt2", 65, 40, 3, |m| {
            sizes(m, [2, 2, 32]);
            m.bias = Some(true);
        })?,
        sized("gpt2 with dropout, untied", 65, 40, 3, |m| {
            sizes(m, [2, 4, 32]);
            (m.dropout, m.tied) = (0.2, false);
        })?,
        sized("llama with grouped queries", 300, 48, 3, |m| {
            sizes(m, [2, 4, 32]);
            (m.family, m.kv_heads) = (Family::Llama, Some(2));
        })?,
    ])
}

/// nanoGPT's configurations, and one as large as a GPU likes.
fn well_known(up_to: Sizes) -> Result<Vec<Sized>> {
    let sizes =
        |[layers, heads, width]: [usize; 3]| move |m: &mut settings::Model| (m.layers, m.heads, m.width) = (layers, heads, width);
    let mut models = Vec::new();
    if up_to >= Sizes::Usual {
        models.push(sized("S", 65, 64, 12, sizes([4, 4, 128]))?);
    }
    if up_to >= Sizes::Large {
        models.push(sized("M", 65, 256, 64, sizes([6, 6, 384]))?);
        models.push(sized("12/12/768", 4_096, 1_024, 8, sizes([12, 12, 768]))?);
    }
    Ok(models)
}

pub(super) fn execute(arguments: &CheckGpu) -> Result<Code, Failure> {
    let cache = arguments.cache.clone().or_else(user_cache).unwrap_or_else(|| PathBuf::from("cache/kernels"));
    let search = Search { libraries: arguments.libraries.clone(), cache };
    let bench = Bench { search: &search, gpu: arguments.gpu };
    let small = small()?;
    let well_known = well_known(arguments.sizes)?;
    let all = [Precision::F32, Precision::Tf32, Precision::Bf16];
    let mut good = bench.facts(&small[0])?;
    for sized in small.iter().chain(&well_known) {
        for precision in all {
            good &= bench.products(sized, precision)?;
        }
    }
    for sized in &small {
        for (precision, allowed) in [(Precision::F32, 1e-4), (Precision::Tf32, 2e-2), (Precision::Bf16, 1e-1)] {
            good &= bench.gradients(sized, precision, allowed)?;
        }
    }
    for sized in &small {
        for precision in all {
            good &= bench.bits(sized, precision)?;
        }
    }
    for sized in small.iter().take(1).chain(&well_known) {
        for precision in all {
            bench.speed(sized, precision)?;
        }
    }
    if good {
        return Ok(Code::Ok);
    }
    Err(Error::new(Kind::Device, "this GPU does not compute what it should")
        .help("look for `\"good\": false` in the lines above")
        .into())
}

/// Writes a line. `good` is whether it is as it should be.
fn tell(part: &str, mut line: Value) -> Result<bool> {
    line["part"] = part.into();
    print(&format!("{line}\n"))?;
    Ok(line["good"].as_bool().unwrap_or(true))
}

/// Tokens of a step: inputs and targets.
type Tokens = (Vec<u32>, Vec<u32>);

fn tokens(sized: &Sized, number: usize) -> Tokens {
    let token = |i: usize| ((i * i * 7 + i * (3 + number) + number * number + 1) % 97 % sized.config.vocabulary) as u32;
    let count = sized.length * sized.batch;
    let all: Vec<u32> = (0..=count).map(token).collect();
    (all[..count].to_vec(), all[1..].to_vec())
}

/// Initial values, parameter by parameter, spread far enough that every gradient is well above rounding.
fn values(config: &Config, seed: u64) -> Vec<Vec<f32>> {
    let spread = |parameter: &Parameter| {
        let vector = parameter.shape.len() == 1;
        let noise = initial_values(&Parameter { start: Start::Normal(0.02), ..parameter.clone() }, seed);
        let start = initial_values(parameter, seed);
        let value = |(s, n): (f32, f32)| if vector { s + 10.0 * n } else { 3.0 * s };
        start.into_iter().zip(noise).map(value).collect()
    };
    config.parameters().iter().map(spread).collect()
}

fn state(config: &Config, seed: u64) -> State {
    let values: Vec<f32> = values(config, seed).concat();
    let zeros = vec![0.0; values.len()];
    State { updates: 0, values, first: zeros.clone(), second: zeros }
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// Engines on the GPU that is tried.
struct Bench<'a> {
    search: &'a Search,
    gpu: u32,
}

impl Bench<'_> {
    /// An engine whose members have seeds and initial values of their own, the first ones the same for any number of members.
    fn engine(&self, sized: &Sized, precision: Precision, members: usize, depth: usize) -> Result<Engine> {
        let Train { beta1, beta2, epsilon, weight_decay, .. } = Train::default();
        let member = |seed| Member { seed, dropout: sized.config.dropout, beta1, beta2, epsilon, weight_decay, clip: Some(1.0) };
        let options = Options {
            precision,
            length: sized.length,
            longest: sized.length,
            batch: sized.batch,
            members: (0..members as u64).map(member).collect(),
            depth,
            immediate: false,
            unit: None,
            chunk: None,
        };
        let mut engine = Engine::new(&sized.config, options, self.search, self.gpu)?;
        for k in 0..members {
            engine.write_state(k, &state(&sized.config, k as u64))?;
        }
        Ok(engine)
    }

    /// What the GPU and its libraries are.
    fn facts(&self, sized: &Sized) -> Result<bool> {
        let started = Instant::now();
        let engine = self.engine(sized, Precision::F32, 1, 1)?;
        let facts = engine.gpu().facts();
        tell(
            "facts",
            json!({
                "gpu": facts.name, "uuid": facts.uuid, "multiprocessors": facts.multiprocessors, "capability": facts.capability,
                "memory": facts.memory, "driver": facts.driver, "products": facts.products, "compiler": facts.compiler,
                "kernels": engine.stamp().kernels, "seconds_to_open": started.elapsed().as_secs_f64(),
            }),
        )
    }

    /// Each product of a step beside the same on the processor.
    fn products(&self, sized: &Sized, precision: Precision) -> Result<bool> {
        let mut good = true;
        for check in self.engine(sized, precision, 1, 1)?.check_products()? {
            // Written so that what is no number is not good.
            let right = check.off <= 1.0;
            let line = json!({ "model": sized.name, "product": check.product, "off": check.off, "good": right });
            good &= tell("product", line)?;
        }
        Ok(good)
    }

    /// Loss and gradients of a step beside those of candle's operations on the processor, in 32 bits.
    fn gradients(&self, sized: &Sized, precision: Precision, allowed: f64) -> Result<bool> {
        let config = &sized.config;
        let tokens = tokens(sized, 1);
        let mut engine = self.engine(sized, precision, 1, 1)?;
        let outcome = make_step(&mut engine, sized.length, std::slice::from_ref(&tokens), 7)?[0];
        let gradients = engine.gradients(0)?;

        let mut plain = PlainModel::on_processor(config, &values(config, 0))?;
        let sequences = Sequences { inputs: &tokens.0, targets: &tokens.1, length: sized.length };
        let dropout = DropoutSource { seed: 0, step: 7, first: 0 };
        plain.train(&sequences, dropout, 1.0 / tokens.1.len() as f64)?;
        let (nll, _) = loss_and_norm(plain.gathered()?)?;
        let loss = nll / tokens.1.len() as f64;
        let expected: Vec<f32> = plain.gathered()?.gradients.to_vec1()?;

        let mut worst = (0f64, "none".to_owned());
        let mut first = 0;
        for parameter in config.parameters() {
            let place = first..first + parameter.len();
            first = place.end;
            let error = norm(gradients[place.clone()].iter().zip(&expected[place.clone()]).map(|(a, b)| a - b));
            // What is 0 but for rounding, as the gradient of a key's bias, is compared with all of the gradient.
            let size = norm(expected[place].iter().copied()).max(1e-3 * norm(expected.iter().copied()));
            let off = error / size;
            if off > worst.0 || off.is_nan() {
                worst = (off, parameter.name);
            }
        }
        let loss_off = (outcome.loss / loss - 1.0).abs();
        let good = worst.0 <= allowed && loss_off <= allowed / 10.0;
        let line = json!({
            "model": sized.name, "precision": precision, "loss": outcome.loss, "loss_off": loss_off, "gradient_off": worst.0,
            "worst": worst.1, "allowed": allowed, "good": good,
        });
        tell("gradients", line)
    }

    /// Whether a run repeats, and whether a member is the same alone and among others.
    fn bits(&self, sized: &Sized, precision: Precision) -> Result<bool> {
        let run = |members: usize, depth: usize| -> Result<(Vec<Outcome>, State)> {
            let mut engine = self.engine(sized, precision, members, depth)?;
            let texts: Vec<Tokens> = (0..members).map(|k| tokens(sized, k)).collect();
            let mut outcomes = Vec::new();
            for number in 0..STEPS {
                outcomes.push(make_step(&mut engine, sized.length, &texts, number as u64)?[0]);
            }
            Ok((outcomes, engine.read_state(0)?))
        };
        let alone = run(1, 1)?;
        let (again, among) = (run(1, 2)? == alone, run(4, 1)? == alone);
        let line = json!({
            "model": sized.name, "precision": precision, "repeats": again, "alone_and_among_four": among, "good": again && among,
        });
        tell("bits", line)
    }

    /// What a step takes, and what the host does for it.
    fn speed(&self, sized: &Sized, precision: Precision) -> Result<bool> {
        const DEPTH: usize = 4;
        let mut engine = self.engine(sized, precision, 1, DEPTH)?;
        let (inputs, targets) = tokens(sized, 1);
        let sequences = Sequences { inputs: &inputs, targets: &targets, length: sized.length };
        let mut number = 0;
        let mut submit = |engine: &mut Engine| {
            number += 1;
            engine.submit(&[Some(Step { sequences, number, learning_rate: 1e-4 })])
        };
        // The first step goes launch by launch, the second is recorded.
        let before = engine.gpu().counts();
        submit(&mut engine)?;
        engine.result()?;
        let first = engine.gpu().counts();
        let nodes = first.launches + first.products - before.launches - before.products;
        for _ in 0..2 {
            submit(&mut engine)?;
            engine.result()?;
        }
        let (before, started) = (engine.gpu().counts(), Instant::now());
        let mut steps = 0u64;
        while steps < 5 || (steps < 1_000 && started.elapsed().as_secs_f64() < 1.0) {
            if engine.in_flight() == DEPTH {
                engine.result()?;
            }
            submit(&mut engine)?;
            steps += 1;
        }
        engine.drain()?;
        let (seconds, after) = (started.elapsed().as_secs_f64() / steps as f64, engine.gpu().counts());
        let each = |of: u64, was: u64| (of - was) as f64 / steps as f64;
        let line = json!({
            "model": sized.name, "precision": precision, "step_seconds": seconds, "steps": steps, "units": engine.units(), "nodes": nodes,
            "graphs_a_step": each(after.replays, before.replays), "launches_a_step": each(after.launches, before.launches),
            "waits_a_step": each(after.waits, before.waits), "allocations_a_step": each(after.allocations, before.allocations),
        });
        tell("speed", line)
    }
}

/// A step of every member.
fn make_step(engine: &mut Engine, length: usize, texts: &[Tokens], number: u64) -> Result<Vec<Outcome>> {
    let mut steps = Vec::new();
    for text in texts {
        let sequences = Sequences { inputs: &text.0, targets: &text.1, length };
        steps.push(Some(Step { sequences, number, learning_rate: 1e-3 }));
    }
    engine.submit(&steps)?;
    let outcomes: Option<Vec<Outcome>> = engine.result()?.into_iter().collect();
    outcomes.ok_or_else(|| Error::internal("a member took no part in a step"))
}
