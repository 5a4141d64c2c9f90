//! Ten steps of small fixed models, held against PyTorch's numbers (`scripts/golden_training.py` made them).

use std::collections::BTreeMap;

use serde::Deserialize;
use votive::device::Device;
use votive::experiment::settings::{Activation, ClipNorm, Family, Model, Train};
use votive::model::{Config, Sequences};
use votive::optimize::LearningRate;
use votive::train::backend::{Backend, Candle, CpuEngine, State, Step, make_step};

#[derive(Deserialize)]
struct Golden {
    vocabulary: usize,
    length: usize,
    batch: usize,
    train: GoldenTrain,
    model: GoldenModel,
    steps: Vec<GoldenStep>,
    gradients: BTreeMap<String, Vec<f64>>,
    weights: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct GoldenTrain {
    learning_rate: f64,
    warmup: f64,
    final_learning_rate: f64,
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

#[derive(Deserialize)]
struct GoldenModel {
    family: Family,
    layers: usize,
    heads: usize,
    kv_heads: Option<usize>,
    width: usize,
    bias: bool,
    tied: bool,
    activation: Option<Activation>,
    clip_norm: f64,
}

#[derive(Deserialize)]
struct GoldenStep {
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
}

fn start(place: usize, shape: &[usize], norm: bool) -> Vec<f32> {
    let noise = (0..shape.iter().product::<usize>() as u64).map(|i| {
        let whole = (i * 1_103_515_245 + 12_345 + place as u64 * 7_919) % (1 << 31);
        (0.4 * (whole as f64 / (1u64 << 31) as f64 - 0.5)) as f32
    });
    noise.map(|u| if norm { u + 1.0 } else { u }).collect()
}

fn far(a: f64, b: f64, relative: f64, absolute: f64) -> bool {
    (a - b).abs() > relative * b.abs() + absolute
}

fn ten_steps_are_pytorchs(name: &str) {
    for plain in [false, true] {
        ten_steps_of(name, plain);
    }
}

fn ten_steps_of(name: &str, plain: bool) {
    let path = format!("{}/tests/it/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (m, t) = (&golden.model, &golden.train);
    let model = Model {
        family: m.family,
        layers: m.layers,
        heads: m.heads,
        kv_heads: m.kv_heads,
        width: m.width,
        bias: Some(m.bias),
        tied: m.tied,
        activation: m.activation.unwrap_or(Activation::Gelu),
        ..Model::default()
    };
    let train = Train {
        clip_norm: ClipNorm::At(m.clip_norm),
        learning_rate: t.learning_rate,
        warmup: t.warmup,
        final_learning_rate: t.final_learning_rate,
        weight_decay: t.weight_decay,
        beta1: t.beta1,
        beta2: t.beta2,
        epsilon: t.epsilon,
        ..Train::default()
    };
    let config = Config::new(&model, golden.vocabulary, golden.length).unwrap();
    let parameters = config.parameters();
    let is_norm = |name: &str, shape: &[usize]| name.ends_with("weight") && shape.len() == 1;
    let values = parameters.iter().enumerate().map(|(i, p)| start(i, &p.shape, is_norm(&p.name, &p.shape))).collect();
    let state = State::untrained(values);
    let mut backend: Box<dyn Backend> = if plain {
        Box::new(Candle::new(&config, &train, 1, Device::Cpu, &state).unwrap())
    } else {
        Box::new(CpuEngine::new(&config, &train, 1, 2, &state).unwrap())
    };
    let schedule = LearningRate::new(&train);
    let (steps, size) = (golden.steps.len(), golden.batch * golden.length);
    let text: Vec<u32> = (0..=steps * size).map(|i| ((i * i * 7 + 3 * i) % golden.vocabulary) as u32).collect();
    let mut clipped = 0;
    for (step, expected) in golden.steps.iter().enumerate() {
        let first = step * size;
        let windows =
            Sequences { inputs: &text[first..first + size], targets: &text[first + 1..=first + size], length: golden.length };
        let rate = schedule.at_step(step as u64, steps as u64);
        assert!(!far(rate, expected.learning_rate, 1e-12, 0.0), "{name} step {step}: {rate}");
        let made = make_step(&mut *backend, Step { sequences: windows, number: step as u64, learning_rate: rate }).unwrap();
        let (loss, norm) = (made.loss, made.norm);
        if step == 0 {
            for (parameter, gradient) in parameters.iter().zip(backend.gradients().unwrap()) {
                let expected = &golden.gradients[&parameter.name];
                let largest = expected.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
                for (g, e) in gradient.iter().zip(expected) {
                    assert!(!far(f64::from(*g), *e, 1e-5, 1e-5 * largest), "{name} `{}`: {g} instead of {e}", parameter.name);
                }
            }
        }
        assert!(!far(loss, expected.loss, 1e-4, 0.0), "{name} step {step}: loss {loss} instead of {}", expected.loss);
        assert!(!far(norm, expected.grad_norm, 1e-4, 0.0), "{name} step {step}: norm {norm} instead of {}", expected.grad_norm);
        clipped += usize::from(made.clip_coefficient < 1.0);
    }
    assert!(0 < clipped && clipped < steps, "{clipped} of {steps} steps were clipped");
    for (parameter, values) in parameters.iter().zip(backend.values().unwrap()) {
        for (place, (v, e)) in values.iter().zip(&golden.weights[&parameter.name]).enumerate() {
            // A softmax does not change when all keys move together, so the true gradient of a key's bias is 0 and what AdamW
            // makes of it is the rounding's sign, blown up.
            let key_bias = parameter.name.ends_with("c_attn.bias") && (m.width..2 * m.width).contains(&place);
            let wrong = far(f64::from(*v), *e, 1e-4, 2e-5) && !key_bias;
            assert!(!wrong, "{name} `{}` after {steps} steps: {v} instead of {e}", parameter.name);
        }
    }
}

#[test]
fn ten_steps_of_gpt2_are_pytorchs() {
    ten_steps_are_pytorchs("gpt2");
}

#[test]
fn ten_steps_of_gpt2_with_tanh_and_an_untied_head_are_pytorchs() {
    ten_steps_are_pytorchs("gpt2_tanh_untied");
}

#[test]
fn ten_steps_of_llama_with_grouped_heads_are_pytorchs() {
    ten_steps_are_pytorchs("llama");
}

#[test]
fn ten_steps_of_tied_llama_with_biases_are_pytorchs() {
    ten_steps_are_pytorchs("llama_tied_bias");
}
