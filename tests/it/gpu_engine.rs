//! The engine for GPUs, all of it, on stand-ins of NVIDIA's libraries: against the plain path, and against itself.

use std::path::{Path, PathBuf};

use votive::error::Kind;
use votive::experiment::settings::{self, Activation, ClipNorm, Family, Precision, Train};
use votive::model::gpu::cuda::Search;
use votive::model::gpu::{self, Engine, Member, Options, Outcome, State};
use votive::model::plain::{DropoutSource, PlainModel};
use votive::model::{Config, Parameter, Sequences, Start, Step, initial_values};
use votive::optimize::{AdamW, loss_and_norm};

use crate::host_gpu;

/// Where the stand-ins lie and what is compiled for them is kept.
fn search(libraries: &Path) -> Search {
    Search { libraries: Some(libraries.to_owned()), cache: kept() }
}

fn kept() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("host_gpu_kernels")
}

fn config(change: impl FnOnce(&mut settings::Model)) -> Config {
    let mut model = settings::Model { layers: 2, heads: 2, width: 12, ..settings::Model::default() };
    change(&mut model);
    Config::new(&model, 11, 24).unwrap()
}

fn llama(model: &mut settings::Model) {
    model.family = Family::Llama;
}

/// Every variant of both families.
fn variants() -> Vec<(&'static str, Config)> {
    vec![
        ("gpt2", config(|_| {})),
        ("gpt2 without bias", config(|m| m.bias = Some(false))),
        ("gpt2 untied", config(|m| m.tied = false)),
        ("gpt2 with the tanh gelu", config(|m| m.activation = Activation::GeluTanh)),
        ("gpt2 with dropout", config(|m| m.dropout = 0.2)),
        ("gpt2 with odd heads", config(|m| m.width = 10)),
        // Wide heads take attention by products; all others here are short windows in one launch.
        ("gpt2 with wide heads", config(|m| (m.heads, m.width) = (1, 66))),
        ("gpt2 with wide heads and dropout", config(|m| (m.heads, m.width, m.dropout) = (1, 66, 0.2))),
        ("llama", config(llama)),
        ("llama with biases", config(|m| (llama(m), m.bias = Some(true)).0)),
        ("llama untied", config(|m| (llama(m), m.tied = false).0)),
        ("llama with grouped queries", config(|m| (llama(m), m.heads = 6, m.kv_heads = Some(3), m.width = 24).0)),
    ]
}

/// Initial values of a model, spread far enough that every derivative is well above rounding.
fn values(config: &Config, seed: u64) -> Vec<f32> {
    let mut values = Vec::new();
    for parameter in config.parameters() {
        let vector = parameter.shape.len() == 1;
        let noise = Parameter { start: Start::Normal(0.02), ..parameter.clone() };
        let start = initial_values(&parameter, seed);
        let value = |(s, n): (&f32, f32)| if vector { s + 10.0 * n } else { 10.0 * s };
        values.extend(start.iter().zip(initial_values(&noise, seed)).map(value));
    }
    values
}

fn state(config: &Config, seed: u64) -> State {
    let values = values(config, seed);
    let zeros = vec![0.0; values.len()];
    State { updates: 0, values, first: zeros.clone(), second: zeros }
}

fn member(config: &Config) -> Member {
    let Train { beta1, beta2, epsilon, weight_decay, .. } = Train::default();
    Member { seed: 3, dropout: config.dropout, beta1, beta2, epsilon, weight_decay, clip: Some(1.0) }
}

fn options(config: &Config, length: usize, batch: usize) -> Options {
    Options {
        precision: Precision::F32,
        length,
        longest: config.context,
        batch,
        members: vec![member(config)],
        depth: 1,
        immediate: false,
        unit: None,
        chunk: None,
    }
}

fn engine(config: &Config, options: Options) -> Engine {
    let mut engine = Engine::new(config, options, &search(host_gpu::libraries()), 0).unwrap();
    for k in 0..engine.options().members.len() {
        engine.write_state(k, &state(config, 5 + k as u64)).unwrap();
    }
    engine
}

/// Inputs and targets.
type Tokens = (Vec<u32>, Vec<u32>);

/// Windows of tokens that follow each other in a text of this number.
fn windows(config: &Config, length: usize, count: usize, text: usize) -> Tokens {
    let token = |i: usize| ((i * i * 7 + i * (3 + text) + text * text + 1) % 97 % config.vocabulary) as u32;
    let all: Vec<u32> = (0..=length * count).map(token).collect();
    (all[..length * count].to_vec(), all[1..].to_vec())
}

/// One step of the only member, and what came of it.
fn step(engine: &mut Engine, tokens: &Tokens, number: u64, learning_rate: f64) -> Outcome {
    let length = engine.options().length;
    let step = tokens_step(length, tokens, number, learning_rate);
    engine.submit(&[Some(step)]).unwrap();
    engine.result().unwrap()[0].unwrap()
}

/// The plain path with its optimizer.
struct Plain {
    model: PlainModel,
    optimizer: AdamW,
    length: usize,
}

impl Plain {
    fn new(config: &Config, length: usize) -> Self {
        let mut rest = &values(config, 5)[..];
        let mut values = Vec::new();
        for parameter in config.parameters() {
            let (here, after) = rest.split_at(parameter.len());
            values.push(here.to_vec());
            rest = after;
        }
        let model = PlainModel::new(config, Precision::F32, &candle_core::Device::Cpu, &values).unwrap();
        let optimizer = AdamW::new(&Train::default(), model.parameters(), model.weights()).unwrap();
        Self { model, optimizer, length }
    }

    /// Mean loss and norm; the gradients are the model's then.
    fn backward(&mut self, (inputs, targets): &Tokens, number: u64) -> [f64; 2] {
        self.model.forget();
        let windows = Sequences { inputs, targets, length: self.length };
        let dropout = DropoutSource { seed: 3, step: number, first: 0 };
        self.model.train(&windows, dropout, 1.0 / targets.len() as f64).unwrap();
        let (nll, norm) = loss_and_norm(self.model.gathered().unwrap()).unwrap();
        [nll / targets.len() as f64, norm]
    }

    /// All gradients in the order of the parameters.
    fn gradients(&self) -> Vec<f32> {
        self.model.gathered().unwrap().gradients.to_vec1().unwrap()
    }

    /// Loss and norm of a step.
    fn step(&mut self, tokens: &Tokens, number: u64, learning_rate: f64) -> [f64; 2] {
        let [loss, norm] = self.backward(tokens, number);
        let clip = ClipNorm::At(1.0).coefficient(norm);
        let gradients = &self.model.gathered().unwrap().gradients;
        self.optimizer.step(self.model.weights(), gradients, learning_rate, clip).unwrap();
        [loss, norm]
    }
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a / b - 1.0).abs() <= tolerance
}

/// The gradients of all parameters, and the loss, of one step of both.
fn compare_gradients(name: &str, config: &Config, options: Options, windows_here: usize) {
    let length = options.length;
    let tokens = windows(config, length, windows_here, 1);
    let mut plain = Plain::new(config, length);
    let [loss, _] = plain.backward(&tokens, 9);
    let mut engine = engine(config, options);
    let outcome = step(&mut engine, &tokens, 9, 1e-3);
    assert!(outcome.updated && close(outcome.loss, loss, 1e-5), "{name}: loss {} and {loss}", outcome.loss);
    let (all, expected) = (engine.gradients(0).unwrap(), plain.gradients());
    let mut first = 0;
    for parameter in config.parameters() {
        let place = first..first + parameter.len();
        first = place.end;
        let error = norm(all[place.clone()].iter().zip(&expected[place.clone()]).map(|(a, b)| a - b));
        let size = norm(expected[place].iter().copied());
        // A key's bias moves all scores of a row alike: its gradient is 0 but for rounding; with one token all of attention's is.
        let allowed = if size < 1e-6 { 1e-6 } else { 1e-4 * size };
        assert!(error <= allowed, "{name}: `{}`: {error} of {size}", parameter.name);
    }
    let expected = norm(all.into_iter());
    assert!(close(outcome.norm, expected, 1e-6), "{name}: norm {} and {expected}", outcome.norm);
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn all_gradients_of_every_variant_are_those_of_the_plain_path() {
    for (name, config) in variants() {
        compare_gradients(name, &config, options(&config, 7, 5), 5);
    }
}

#[test]
fn gradients_are_those_of_the_plain_path_for_any_length_batch_and_unit() {
    let gpt2 = config(|m| m.dropout = 0.2);
    let wide = config(|m| (m.heads, m.width, m.dropout) = (1, 66, 0.2));
    let grouped = config(|m| (llama(m), m.heads = 6, m.kv_heads = Some(2), m.width = 24).0);
    let wide_grouped = config(|m| (llama(m), m.kv_heads = Some(1), m.width = 132, m.bias = Some(true)).0);
    for (i, config) in [gpt2, wide, grouped, wide_grouped].iter().enumerate() {
        // (L, batch, windows of this step, windows of a unit)
        for (length, batch, here, unit) in
            [(1, 3, 3, None), (24, 1, 1, None), (8, 6, 2, None), (7, 5, 5, Some(2)), (9, 7, 3, Some(2))]
        {
            let name = format!("{i}: {here} of {batch} windows of {length} in units of {unit:?}");
            compare_gradients(&name, config, Options { unit, ..options(config, length, batch) }, here);
        }
    }
}

#[test]
fn gradients_are_those_of_the_plain_path_where_logits_come_in_chunks() {
    for (name, config) in [("tied", config(llama)), ("untied", config(|m| m.tied = false))] {
        // 35 rows in chunks of 16, and units of 14 rows in chunks of 5.
        for (chunk, unit) in [(16, None), (5, Some(2))] {
            compare_gradients(name, &config, Options { chunk: Some(chunk), unit, ..options(&config, 7, 5) }, 5);
        }
    }
}

#[test]
fn gradients_of_nanogpts_small_configuration_are_those_of_the_plain_path() {
    // The second has windows that are too long for attention in one launch.
    for (length, batch) in [(64, 3), (130, 2)] {
        let model = settings::Model { layers: 2, heads: 4, width: 128, dropout: 0.1, ..settings::Model::default() };
        let config = Config::new(&model, 65, length).unwrap();
        compare_gradients("nanoGPT", &config, options(&config, length, batch), batch);
    }
}

#[test]
fn ten_steps_are_those_of_the_plain_path() {
    for (name, config) in variants() {
        let mut plain = Plain::new(&config, 7);
        let mut engine = engine(&config, options(&config, 7, 5));
        for number in 0..10 {
            let tokens = windows(&config, 7, 5, number as usize);
            let learning_rate = 1e-3 * (1 + number) as f64;
            let [loss, norm] = plain.step(&tokens, number, learning_rate);
            let outcome = step(&mut engine, &tokens, number, learning_rate);
            assert!(close(outcome.loss, loss, 2e-5), "{name}: step {number}: loss {} and {loss}", outcome.loss);
            assert!(close(outcome.norm, norm, 1e-4), "{name}: step {number}: norm {} and {norm}", outcome.norm);
        }
        assert_eq!(engine.updates(0), 10);
        let state = engine.read_state(0).unwrap();
        let mut rest = &state.values[..];
        for (place, parameter) in config.parameters().iter().enumerate() {
            let (here, after) = rest.split_at(parameter.len());
            rest = after;
            // A bias of keys has no gradient but rounding, which AdamW makes as large as any other.
            if parameter.shape.len() == 2 {
                let expected = plain.model.values(place).unwrap();
                let worst = here.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 2e-4, "{name}: `{}` differs by {worst}", parameter.name);
            }
        }
    }
}

#[test]
fn losses_of_scored_windows_are_those_of_the_plain_path_whatever_they_are_grouped_with() {
    for (name, config) in variants() {
        let plain = Plain::new(&config, 7);
        let mut engine = engine(&config, Options { unit: Some(2), chunk: Some(9), ..options(&config, 7, 4) });
        for length in [1, 7, 24] {
            let (inputs, targets) = windows(&config, length, 9, 2);
            let expected = plain.model.nll(&Sequences { inputs: &inputs, targets: &targets, length }).unwrap();
            let all = engine.nll(&[Sequences { inputs: &inputs, targets: &targets, length }]).unwrap().remove(0);
            assert_eq!(all.len(), expected.len());
            for (a, b) in all.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{name}: {length}: {a} and {b}");
            }
            for first in [0, 4, 8] {
                let place = first * length..(first + 1) * length;
                let one = Sequences { inputs: &inputs[place.clone()], targets: &targets[place.clone()], length };
                let alone = engine.nll(&[one]).unwrap().remove(0);
                assert_eq!(alone, all[place], "{name}: window {first} of length {length}");
            }
        }
    }
}

/// Steps with all that follows from them to the bit.
fn train(engine: &mut Engine, config: &Config, steps: std::ops::Range<u64>) -> Vec<Outcome> {
    let (length, batch) = (engine.options().length, engine.options().batch);
    // Every third batch is a part of one.
    let count = |number: u64| if number % 3 == 2 { batch.div_ceil(2) } else { batch };
    steps.map(|n| step(engine, &windows(config, length, count(n), n as usize), n, 1e-2)).collect()
}

#[test]
fn the_same_run_gives_the_same_bits_with_graphs_and_without_and_for_any_depth() {
    for (name, config) in [("gpt2", config(|m| m.dropout = 0.2)), ("llama", config(llama))] {
        for unit in [None, Some(2)] {
            let options = Options { unit, ..options(&config, 7, 5) };
            let run = |change: fn(&mut Options)| {
                let mut options = options.clone();
                change(&mut options);
                let mut engine = engine(&config, options);
                let outcomes = train(&mut engine, &config, 0..6);
                (outcomes, engine.read_state(0).unwrap())
            };
            let first = run(|_| {});
            assert!(first.0.iter().all(|outcome| outcome.updated) && first.1.updates == 6);
            assert_eq!(first, run(|_| {}), "{name} {unit:?} again");
            assert_eq!(first, run(|options| options.immediate = true), "{name} {unit:?} without graphs");
            assert_eq!(first, run(|options| options.depth = 3), "{name} {unit:?} in a deeper ring");
        }
    }
}

#[test]
fn steps_that_are_submitted_ahead_give_the_same_results_in_their_order() {
    let config = config(|m| m.dropout = 0.1);
    let mut one = engine(&config, options(&config, 7, 5));
    let mut ahead = engine(&config, Options { depth: 4, ..options(&config, 7, 5) });
    let expected = train(&mut one, &config, 0..8);
    let mut outcomes = Vec::new();
    for number in 0..8 {
        if ahead.in_flight() == 4 {
            outcomes.extend(ahead.result().unwrap());
        }
        let tokens = windows(&config, 7, if number % 3 == 2 { 3 } else { 5 }, number as usize);
        let step = tokens_step(7, &tokens, number, 1e-2);
        ahead.submit(&[Some(step)]).unwrap();
    }
    assert!(ahead.submit(&[None]).is_err() && ahead.read_state(0).is_err(), "four are in flight");
    outcomes.extend(ahead.drain().unwrap().into_iter().flatten());
    assert_eq!(outcomes, expected.into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!(ahead.read_state(0).unwrap(), one.read_state(0).unwrap());
    assert!(ahead.result().is_err(), "nothing is in flight");
}

#[test]
fn steps_of_many_units_are_not_submitted_far_ahead() {
    let config = config(llama);
    for (batch, depth) in [(1, 16), (4, 8), (40, 1)] {
        let engine = engine(&config, Options { unit: Some(1), depth: 16, ..options(&config, 7, batch) });
        assert_eq!((engine.units(), engine.options().depth), (batch, depth));
    }
}

#[test]
fn a_state_that_is_read_and_written_goes_on_bit_for_bit() {
    for (name, config) in variants() {
        let mut whole = engine(&config, options(&config, 7, 5));
        train(&mut whole, &config, 0..3);
        let state = whole.read_state(0).unwrap();
        let rest = train(&mut whole, &config, 3..6);
        let mut other = engine(&config, options(&config, 7, 5));
        assert_eq!(other.stamp(), whole.stamp());
        other.write_state(0, &state).unwrap();
        assert_eq!(other.read_state(0).unwrap(), state, "{name}");
        assert_eq!(train(&mut other, &config, 3..6), rest, "{name}");
        assert_eq!(other.read_state(0).unwrap(), whole.read_state(0).unwrap(), "{name}");
    }
}

/// Four members with other seeds, settings and rates, one of which makes fewer steps, and has other windows.
fn members(config: &Config) -> Vec<Member> {
    let one = member(config);
    vec![
        one,
        Member { seed: 4, weight_decay: 0.3, ..one },
        Member { seed: 5, beta1: 0.8, beta2: 0.95, clip: None, ..one },
        Member { seed: 6, dropout: config.dropout / 2.0, epsilon: 1e-6, clip: Some(0.2), ..one },
    ]
}

/// Windows and step of a member: member 1 has smaller batches, and member 2 ends after four steps.
fn member_step(config: &Config, k: usize, number: u64) -> Option<(Tokens, f64)> {
    let count = if k == 1 { 3 } else { 5 };
    (k != 2 || number < 4).then(|| (windows(config, 7, count, number as usize * 5 + k), 1e-2 / (1 + k) as f64))
}

#[test]
fn a_member_has_the_same_bits_alone_and_with_three_others() {
    let gpt2 = config(|m| m.dropout = 0.2);
    let grouped = config(|m| (llama(m), m.heads = 6, m.kv_heads = Some(2), m.width = 24).0);
    for (config, unit) in [(&gpt2, None), (&grouped, Some(2))] {
        let all = members(config);
        let mut together = engine(config, Options { members: all.clone(), unit, ..options(config, 7, 5) });
        let outcomes: Vec<Vec<Option<Outcome>>> = (0..6)
            .map(|number| {
                let tokens: Vec<_> = (0..4).map(|k| member_step(config, k, number)).collect();
                let steps = tokens
                    .iter()
                    .map(|of_one| of_one.as_ref().map(|(tokens, learning_rate)| tokens_step(7, tokens, number, *learning_rate)));
                together.submit(&steps.collect::<Vec<_>>()).unwrap();
                together.result().unwrap()
            })
            .collect();
        let scored: Vec<_> = (0..4).map(|k| windows(config, 6, 2 + k, k)).collect();
        let scored: Vec<_> = scored.iter().map(|(inputs, targets)| Sequences { inputs, targets, length: 6 }).collect();
        let losses = together.nll(&scored).unwrap();
        for k in 0..4 {
            let mut alone = Engine::new(
                config,
                Options { members: vec![all[k]], unit, ..options(config, 7, 5) },
                &search(host_gpu::libraries()),
                0,
            )
            .unwrap();
            alone.write_state(0, &state(config, 5 + k as u64)).unwrap();
            for number in 0..6 {
                let Some((tokens, learning_rate)) = member_step(config, k, number) else { continue };
                let outcome = step(&mut alone, &tokens, number, learning_rate);
                assert_eq!(outcomes[number as usize][k], Some(outcome), "member {k}, step {number}");
            }
            assert_eq!(alone.nll(&scored[k..=k]).unwrap()[0], losses[k], "member {k}");
            let (alone, together) = (alone.read_state(0).unwrap(), together.read_state(k).unwrap());
            if k == 2 {
                // It ended: its moments decay on, and its weights stay.
                assert_eq!((alone.updates, &alone.values), (together.updates, &together.values));
            } else {
                assert_eq!(alone, together, "member {k}");
            }
        }
    }
}

fn tokens_step(length: usize, (inputs, targets): &Tokens, number: u64, learning_rate: f64) -> Step<'_> {
    Step { sequences: Sequences { inputs, targets, length }, number, learning_rate }
}

#[test]
fn what_is_not_finite_touches_no_weight_and_no_other_member() {
    [None, Some(2)].into_iter().for_each(one_that_is_not_finite);
}

/// Two members with units of so many windows, one of which breaks.
fn one_that_is_not_finite(unit: Option<usize>) {
    let config = config(|m| m.dropout = 0.1);
    let pair = vec![member(&config), Member { seed: 4, ..member(&config) }];
    let mut both = engine(&config, Options { members: pair.clone(), depth: 3, unit, ..options(&config, 7, 5) });
    // The first member's loss becomes infinite at its next step.
    let mut broken = both.read_state(0).unwrap();
    broken.values[0] = f32::INFINITY;
    both.write_state(0, &broken).unwrap();
    let mut alone = Engine::new(
        &config,
        Options { members: vec![pair[1]], unit, ..options(&config, 7, 5) },
        &search(host_gpu::libraries()),
        0,
    )
    .unwrap();
    alone.write_state(0, &state(&config, 6)).unwrap();
    for number in 0..3 {
        let tokens = windows(&config, 7, 5, number as usize);
        both.submit(&[Some(tokens_step(7, &tokens, number, 1e-2)), Some(tokens_step(7, &tokens, number, 1e-2))]).unwrap();
    }
    for (number, outcomes) in both.drain().unwrap().into_iter().enumerate() {
        let first = outcomes[0].unwrap();
        assert!(!first.updated, "step {number} {first:?}");
        let tokens = windows(&config, 7, 5, number);
        assert_eq!(outcomes[1], Some(step(&mut alone, &tokens, number as u64, 1e-2)), "step {number}");
    }
    assert_eq!(both.updates(0), 0);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let after = both.read_state(0).unwrap();
    assert_eq!(bits(&after.values), bits(&broken.values));
    assert_eq!((bits(&after.first), bits(&after.second)), (bits(&broken.first), bits(&broken.second)));
    assert_eq!(both.read_state(1).unwrap(), alone.read_state(0).unwrap());
    // A state that is written begins anew.
    both.write_state(0, &state(&config, 5)).unwrap();
    let tokens = windows(&config, 7, 5, 3);
    both.submit(&[Some(tokens_step(7, &tokens, 3, 1e-2)), None]).unwrap();
    let outcomes = both.result().unwrap();
    assert!(outcomes[0].unwrap().updated && outcomes[1].is_none());
    assert_eq!((both.updates(0), both.updates(1)), (1, 3));
}

#[test]
fn missing_windows_change_neither_loss_nor_gradients() {
    let config = config(|m| m.bias = Some(false));
    let mut whole = engine(&config, options(&config, 7, 2));
    let mut padded = engine(&config, options(&config, 7, 6));
    let tokens = windows(&config, 7, 2, 1);
    let (one, other) = (step(&mut whole, &tokens, 0, 1e-2), step(&mut padded, &tokens, 0, 1e-2));
    assert!(close(one.loss, other.loss, 1e-6) && close(one.norm, other.norm, 1e-5), "{one:?} {other:?}");
}

#[test]
fn a_fault_of_the_device_ends_the_wait_for_a_result() {
    let config = config(|_| {});
    // An illegal address, in the second step.
    let broken = host_gpu::libraries_with(&[("FAIL_LAUNCH", "40:700")]);
    let mut engine = Engine::new(&config, options(&config, 7, 5), &search(broken.path()), 0).unwrap();
    engine.write_state(0, &state(&config, 5)).unwrap();
    step(&mut engine, &windows(&config, 7, 5, 0), 0, 1e-2);
    let tokens = windows(&config, 7, 5, 1);
    let failed = engine.submit(&[Some(tokens_step(7, &tokens, 1, 1e-2))]).and_then(|()| engine.result()).unwrap_err();
    assert_eq!(failed.kind(), Kind::Device, "{failed}");
}

#[test]
fn every_order_of_a_kernels_threads_gives_the_same_bits() {
    for config in [config(|m| m.dropout = 0.2), config(|m| (llama(m), m.heads = 6, m.kv_heads = Some(2), m.width = 24).0)] {
        let strict = host_gpu::strict_libraries();
        let mut options = options(&config, 5, 3);
        options.members = members(&config)[..2].to_vec();
        let mut engines = [strict.as_path(), host_gpu::libraries()].map(|libraries| {
            let mut engine = Engine::new(&config, options.clone(), &search(libraries), 0).unwrap();
            (0..2).for_each(|k| engine.write_state(k, &state(&config, 5 + k as u64)).unwrap());
            engine
        });
        let tokens = windows(&config, 5, 2, 1);
        let results = engines.each_mut().map(|engine| {
            let step = tokens_step(5, &tokens, 0, 1e-2);
            engine.submit(&[Some(step), Some(step)]).unwrap();
            let outcomes = engine.result().unwrap();
            let one = Sequences { inputs: &tokens.0, targets: &tokens.1, length: 5 };
            (outcomes, engine.nll(&[one, one]).unwrap(), engine.read_state(1).unwrap())
        });
        assert_eq!(results[0], results[1]);
    }
}

#[test]
fn a_step_of_nanogpts_small_configuration_is_one_graph_of_few_launches() {
    let model = settings::Model { layers: 4, heads: 4, width: 128, bias: Some(false), ..settings::Model::default() };
    let config = Config::new(&model, 65, 64).unwrap();
    let mut engine = engine(&config, options(&config, 64, 12));
    let counted = |engine: &mut Engine, number: u64| {
        let before = engine.gpu().counts();
        step(engine, &windows(&config, 64, 12, number as usize), number, 1e-3);
        let after = engine.gpu().counts();
        let [launches, products] = [after.launches - before.launches, after.products - before.products];
        (launches, products, after.waits - before.waits, after.replays - before.replays, after.allocations - before.allocations)
    };
    let first = counted(&mut engine, 0);
    assert_eq!(first, (46, 51, 0, 0, 0), "launches, products, waits, graphs and allocations of a step");
    counted(&mut engine, 1);
    assert_eq!(counted(&mut engine, 2), (0, 0, 0, 1, 0));
}

#[test]
fn an_engine_takes_the_memory_that_was_planned_for_it() {
    for (name, config) in [("gpt2", config(|m| m.dropout = 0.2)), ("llama", config(llama))] {
        let planned = |options: &Options| {
            let arrays = gpu::bytes(&config, options.precision, 8, options.longest, 5, options.members.len());
            gpu::AROUND + arrays.unwrap()
        };
        let one = options(&config, 8, 5);
        let mut alone = engine(&config, one.clone());
        assert_eq!(alone.peak_memory_bytes(), planned(&one), "{name}");
        train(&mut alone, &config, 0..3);
        assert_eq!(alone.peak_memory_bytes(), planned(&one), "{name}: a step takes no more");
        let four = Options { members: members(&config), ..one };
        assert_eq!(engine(&config, four.clone()).peak_memory_bytes(), planned(&four), "{name}: four members");
    }
}

/// Models whose widths bfloat16 takes; the heads of the last two are made in tiles.
fn narrow() -> [(&'static str, Config); 4] {
    let gpt2 = |width| config(|m| (m.width, m.dropout) = (width, 0.1));
    let grouped = |width| config(|m| (llama(m), m.heads = 4, m.kv_heads = Some(2), m.width = width).0);
    [("gpt2", gpt2(16)), ("llama", grouped(32)), ("gpt2 in tiles", gpt2(32)), ("llama in tiles", grouped(64))]
}

#[test]
fn bfloat16_follows_the_plain_path_in_32_bits_at_a_distance() {
    for (name, config) in narrow() {
        let mut plain = Plain::new(&config, 8);
        let mut engine = engine(&config, Options { precision: Precision::Bf16, ..options(&config, 8, 5) });
        for number in 0..5 {
            let tokens = windows(&config, 8, 5, number as usize);
            let [loss, norm] = plain.step(&tokens, number, 1e-3);
            let outcome = step(&mut engine, &tokens, number, 1e-3);
            assert!(close(outcome.loss, loss, 0.01), "{name}: step {number}: loss {} and {loss}", outcome.loss);
            assert!(close(outcome.norm, norm, 0.03), "{name}: step {number}: norm {} and {norm}", outcome.norm);
            if number == 0 {
                let (all, expected) = (engine.gradients(0).unwrap(), plain.gradients());
                let error = self::norm(all.iter().zip(&expected).map(|(a, b)| a - b)) / self::norm(expected.into_iter());
                assert!((1e-4..0.03).contains(&error), "{name}: gradients {error}");
            }
        }
        let (inputs, targets) = windows(&config, 9, 3, 1);
        let expected = plain.model.nll(&Sequences { inputs: &inputs, targets: &targets, length: 9 }).unwrap();
        let losses = engine.nll(&[Sequences { inputs: &inputs, targets: &targets, length: 9 }]).unwrap().remove(0);
        let worst = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.15, "{name}: {worst}");
    }
}

#[test]
fn tf32_is_what_the_products_are_asked_for() {
    // On a processor they are made in 32 bits all the same: what can be seen is that nothing else changes.
    let config = config(llama);
    let [exact, rounded] = [Precision::F32, Precision::Tf32].map(|precision| {
        let mut engine = engine(&config, Options { precision, ..options(&config, 7, 5) });
        train(&mut engine, &config, 0..3)
    });
    assert!(exact.iter().zip(&rounded).all(|(a, b)| close(a.loss, b.loss, 1e-2)), "{exact:?} {rounded:?}");
}

#[test]
fn in_bfloat16_a_state_goes_on_and_members_stay_apart_to_the_bit() {
    for (name, config) in narrow() {
        let of = |members: Vec<Member>| Options { precision: Precision::Bf16, members, ..options(&config, 8, 5) };
        let mut whole = engine(&config, of(vec![member(&config)]));
        let mut together = engine(&config, of(members(&config)));
        for number in 0..4 {
            let tokens = windows(&config, 8, 5, number as usize);
            if number == 2 {
                let state = whole.read_state(0).unwrap();
                whole = engine(&config, of(vec![member(&config)]));
                whole.write_state(0, &state).unwrap();
            }
            let outcome = step(&mut whole, &tokens, number, 1e-2);
            together.submit(&[Some(tokens_step(8, &tokens, number, 1e-2)); 4]).unwrap();
            assert_eq!(together.result().unwrap()[0], Some(outcome), "{name}: step {number}");
        }
        assert_eq!(whole.read_state(0).unwrap(), together.read_state(0).unwrap(), "{name}");
    }
}

#[test]
fn bfloat16_refuses_widths_that_its_products_do_not_take() {
    for (heads, width) in [(2, 12), (4, 48), (1, 20)] {
        let config = config(|m| (m.heads, m.width) = (heads, width));
        let options = Options { precision: Precision::Bf16, ..options(&config, 8, 5) };
        let refused = Engine::new(&config, options, &search(host_gpu::libraries()), 0).err().unwrap();
        assert!(refused.kind() == Kind::Usage && refused.to_string().contains("multiples of 8"), "{refused}");
    }
}
