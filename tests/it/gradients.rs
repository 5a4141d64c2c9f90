//! Gradients of the plain model, held against finite differences; what an untrained and a fully trained model must give.

use candle_core::Device as CandleDevice;
use votive::device::Device;
use votive::experiment::settings::{Activation, Family, Model, Precision, Train};
use votive::model::plain::{DropoutSource, PlainModel, cut};
use votive::model::{Config, Sequences, initial_values};
use votive::pulse::NEVER;
use votive::random::Stream;
use votive::train::backend::{Backend, Candle, CpuEngine, State, Step, StepResult, make_step};

const NO_DROPOUT: DropoutSource = DropoutSource { seed: 1, step: 0, first: 0 };

fn config(model: &Model, vocabulary: usize, context: usize) -> Config {
    Config::new(model, vocabulary, context).unwrap()
}

/// Values large enough that every path through the model matters.
fn lively_values(config: &Config) -> Vec<Vec<f32>> {
    let mut stream = Stream::new(3, "lively", &[]);
    let parameters = config.parameters();
    let value = |p: &votive::model::Parameter, stream: &mut Stream| {
        let centre =
            if p.name.contains("norm") || p.name.contains("ln_") { f64::from(p.name.ends_with("weight") as u8) } else { 0.0 };
        (centre + 0.3 * stream.normal()) as f32
    };
    parameters.iter().map(|p| (0..p.len()).map(|_| value(p, &mut stream)).collect()).collect()
}

fn text(tokens: usize, vocabulary: usize) -> Vec<u32> {
    let mut stream = Stream::new(5, "text", &[]);
    (0..tokens).map(|_| stream.below(vocabulary as u64) as u32).collect()
}

/// Central differences along random directions within each parameter agree with the gradient.
fn agrees_with_finite_differences(model: &Model) {
    let config = config(model, 7, 6);
    let values = lively_values(&config);
    let (inputs, targets) = (text(12, 7), text(13, 7)[1..].to_vec());
    let windows = Sequences { inputs: &inputs, targets: &targets, length: 6 };
    let loss = |values: &[Vec<f32>]| {
        let mut model = PlainModel::new(&config, Precision::F32, &CandleDevice::Cpu, values).unwrap();
        model.train(&windows, NO_DROPOUT, 1.0).unwrap();
        model.gathered().unwrap().nll.to_scalar::<f64>().unwrap()
    };
    let mut plain = PlainModel::new(&config, Precision::F32, &CandleDevice::Cpu, &values).unwrap();
    plain.train(&windows, NO_DROPOUT, 1.0).unwrap();
    let gradients = cut(&plain.gathered().unwrap().gradients, plain.parameters()).unwrap();
    let mut stream = Stream::new(9, "direction", &[]);
    for (place, parameter) in config.parameters().iter().enumerate() {
        let gradient: Vec<f32> = gradients[place].flatten_all().unwrap().to_vec1().unwrap();
        let direction: Vec<f32> = (0..parameter.len()).map(|_| if stream.uniform() < 0.5 { -1.0 } else { 1.0 }).collect();
        let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let size = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        assert!(size > 1e-4, "`{}` has no gradient", parameter.name);
        let h = 2e-2 / (parameter.len() as f64).sqrt();
        let moved = |sign: f64| {
            let mut moved = values.clone();
            for (value, d) in moved[place].iter_mut().zip(&direction) {
                *value += (sign * h * f64::from(*d)) as f32;
            }
            loss(&moved)
        };
        let measured = (moved(1.0) - moved(-1.0)) / (2.0 * h);
        let tolerance = 0.03 * size + 5e-3;
        assert!((measured - expected).abs() < tolerance, "`{}`: measured {measured}, gradient {expected}", parameter.name);
    }
}

#[test]
fn every_gradient_of_gpt2_agrees_with_finite_differences() {
    for (bias, tied, activation) in [(true, true, Activation::Gelu), (false, false, Activation::GeluTanh)] {
        let model = Model { layers: 2, heads: 2, width: 8, bias: Some(bias), tied, activation, ..Model::default() };
        agrees_with_finite_differences(&model);
    }
}

#[test]
fn every_gradient_of_llama_agrees_with_finite_differences() {
    for (kv_heads, tied, bias) in [(2, false, false), (4, true, true)] {
        let model = Model {
            family: Family::Llama,
            layers: 2,
            heads: 4,
            width: 16,
            kv_heads: Some(kv_heads),
            tied,
            bias: Some(bias),
            ..Model::default()
        };
        agrees_with_finite_differences(&model);
    }
}

#[test]
fn an_untrained_models_loss_is_that_of_guessing() {
    for family in [Family::Gpt2, Family::Llama] {
        for vocabulary in [65, 512] {
            let model = Model { family, layers: 2, heads: 2, width: 64, ..Model::default() };
            let config = config(&model, vocabulary, 32);
            let values: Vec<_> = config.parameters().iter().map(|p| initial_values(p, 1)).collect();
            let plain = PlainModel::new(&config, Precision::F32, &CandleDevice::Cpu, &values).unwrap();
            let (inputs, targets) = (text(256, vocabulary), text(257, vocabulary)[1..].to_vec());
            let nll = plain.nll(&Sequences { inputs: &inputs, targets: &targets, length: 32 }).unwrap();
            let loss = nll.iter().copied().map(f64::from).sum::<f64>() / nll.len() as f64;
            assert!((loss - (vocabulary as f64).ln()).abs() < 0.05, "{family:?} {vocabulary}: {loss}");
        }
    }
}

fn untrained(config: &Config) -> State {
    State::untrained(config.parameters().iter().map(|p| initial_values(p, 1)).collect())
}

fn engine(config: &Config, train: &Train) -> CpuEngine {
    CpuEngine::new(config, train, 1, 2, &untrained(config)).unwrap()
}

/// One step; at a learning rate of 0 it leaves the weights as they are.
fn step(backend: &mut dyn Backend, windows: Sequences<'_>, number: u64, learning_rate: f64) -> StepResult {
    make_step(backend, Step { sequences: windows, number, learning_rate }).unwrap()
}

#[test]
fn one_batch_can_be_learned_by_heart() {
    let model = Model { layers: 2, heads: 2, width: 32, ..Model::default() };
    let config = config(&model, 11, 16);
    let train = Train { weight_decay: 0.0, ..Train::default() };
    let mut engine = engine(&config, &train);
    let sequence = text(65, 11);
    let windows = Sequences { inputs: &sequence[..64], targets: &sequence[1..], length: 16 };
    let mut loss = f64::INFINITY;
    for number in 0..300 {
        loss = step(&mut engine, windows, number, 5e-3).loss;
    }
    assert!(loss < 0.05, "{loss}");
}

#[test]
fn gradients_in_micro_batches_are_those_of_the_whole_batch() {
    let model = Model { layers: 1, heads: 2, width: 16, dropout: 0.2, ..Model::default() };
    let config = config(&model, 11, 8);
    let sequence = text(41, 11);
    let windows = Sequences { inputs: &sequence[..40], targets: &sequence[1..], length: 8 };
    let gradients = |micro_batch| {
        let mut engine = engine(&config, &Train { micro_batch, ..Train::default() });
        let loss = step(&mut engine, windows, 4, 0.0).loss;
        (loss, engine.gradients().unwrap())
    };
    let (whole_loss, whole) = gradients(Some(5));
    for micro in [1, 2, 3] {
        let (loss, parts) = gradients(Some(micro));
        assert!((loss / whole_loss - 1.0).abs() < 1e-6, "{micro}: {loss} {whole_loss}");
        for (a, b) in whole.iter().flatten().zip(parts.iter().flatten()) {
            assert!((a - b).abs() < 1e-6 + 1e-4 * a.abs(), "{micro}: {a} {b}");
        }
    }
}

#[test]
fn dropout_is_a_function_of_seed_step_and_window_and_never_touches_scoring() {
    let model = Model { layers: 1, heads: 2, width: 16, dropout: 0.5, ..Model::default() };
    let config = config(&model, 11, 8);
    let sequence = text(17, 11);
    let windows = Sequences { inputs: &sequence[..16], targets: &sequence[1..], length: 8 };
    let mut engine = engine(&config, &Train::default());
    let scored = engine.nll(&windows, &NEVER).unwrap();
    let [first, again, other] = [0, 0, 1].map(|number| step(&mut engine, windows, number, 0.0).loss);
    assert_eq!(first.to_bits(), again.to_bits());
    assert_ne!(first.to_bits(), other.to_bits());
    assert_eq!(scored, engine.nll(&windows, &NEVER).unwrap());
}

#[test]
fn a_gradient_that_dropout_leaves_at_zero_is_one() {
    let model = Model { layers: 1, heads: 2, width: 16, dropout: 0.99, ..Model::default() };
    let config = config(&model, 11, 8);
    let sequence = text(9, 11);
    let windows = Sequences { inputs: &sequence[..8], targets: &sequence[1..], length: 8 };
    let train = Train::default();
    let candle = Candle::new(&config, &train, 1, Device::Cpu, &untrained(&config)).unwrap();
    let backends: [(&str, Box<dyn Backend>); 2] = [("engine", Box::new(engine(&config, &train))), ("candle", Box::new(candle))];
    for (name, mut backend) in backends {
        let mut zeros = 0;
        for number in 0..4 {
            step(&mut *backend, windows, number, 1e-3);
            let gradients = backend.gradients().unwrap();
            assert!(gradients.iter().all(|values| !values.is_empty()), "each parameter has a gradient");
            zeros += gradients.iter().filter(|values| values.iter().all(|value| *value == 0.0)).count();
        }
        assert!(zeros > 0, "{name}: dropout takes nothing away, so this shows nothing");
    }
}
