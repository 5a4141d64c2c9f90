//! The whole engine against a model in 64 bits, written as its definition, and its gradients against finite differences.

#![expect(clippy::single_range_in_vec_init, reason = "a division of a batch into one piece")]

use super::*;
use crate::experiment::settings::{self, Activation};
use crate::model::dropout::{MaskKey, Site, attention_mask, mask};
use crate::model::initial_values;
use crate::pulse::NEVER;

/// A model in 64 bits: parameters by name, forward only.
struct Reference<'a> {
    config: &'a Config,
    names: Vec<String>,
    ranges: Vec<Range<usize>>,
    values: Vec<f64>,
    masks: Option<(u64, u64)>,
}

impl<'a> Reference<'a> {
    fn new(config: &'a Config, values: &[f32], masks: Option<(u64, u64)>) -> Self {
        let mut ranges = Vec::new();
        let mut start = 0;
        for parameter in config.parameters() {
            ranges.push(start..start + parameter.len());
            start += parameter.len();
        }
        let names = config.parameters().into_iter().map(|p| p.name).collect();
        Self { config, names, ranges, values: values.iter().map(|&v| f64::from(v)).collect(), masks }
    }

    fn get(&self, name: &str) -> Option<&[f64]> {
        self.names.iter().position(|n| n == name).map(|i| &self.values[self.ranges[i].clone()])
    }

    fn mask(&self, sequence: usize, layer: usize, site: Site, length: usize) -> Vec<f64> {
        let config = self.config;
        let attention = site == Site::Attention;
        let n = if attention { config.heads * length * length } else { length * config.width };
        match self.masks {
            Some((seed, step)) if config.dropout > 0.0 => {
                let place = MaskKey { seed, step, sequence, layer, site };
                let mask = if attention {
                    attention_mask(place, config.dropout, config.heads, length)
                } else {
                    mask(place, config.dropout, length, config.width)
                };
                mask.into_iter().map(f64::from).collect()
            }
            _ => vec![1.0; n],
        }
    }

    fn norm(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let weight = self.get(&format!("{name}.weight")).unwrap();
        let bias = self.get(&format!("{name}.bias"));
        let centred = self.config.family == Family::Gpt2;
        let normed = |row: &Vec<f64>| {
            let n = row.len() as f64;
            let mean = if centred { row.iter().sum::<f64>() / n } else { 0.0 };
            let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let r = 1.0 / (square + self.config.norm_epsilon).sqrt();
            (0..row.len()).map(|i| (row[i] - mean) * r * weight[i] + bias.map_or(0.0, |b| b[i])).collect()
        };
        x.iter().map(normed).collect()
    }

    fn linear(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let weight = self.get(&format!("{name}.weight")).unwrap();
        let bias = self.get(&format!("{name}.bias"));
        let inputs = x[0].len();
        let outputs = weight.len() / inputs;
        let in_out = name.starts_with("transformer.h.");
        let at = |i: usize, o: usize| if in_out { weight[i * outputs + o] } else { weight[o * inputs + i] };
        let one = |row: &Vec<f64>, o: usize| (0..inputs).map(|i| row[i] * at(i, o)).sum::<f64>() + bias.map_or(0.0, |b| b[o]);
        x.iter().map(|row| (0..outputs).map(|o| one(row, o)).collect()).collect()
    }

    /// NLL of each target of one sequence.
    fn nll(&self, sequence: usize, inputs: &[u32], targets: &[u32]) -> Vec<f64> {
        let (config, t, c, d) = (self.config, inputs.len(), self.config.width, self.config.head());
        let gpt2 = config.family == Family::Gpt2;
        let embedding = self.get(if gpt2 { "transformer.wte.weight" } else { "model.embed_tokens.weight" }).unwrap();
        let mut x: Vec<Vec<f64>> = inputs.iter().map(|&i| embedding[i as usize * c..][..c].to_vec()).collect();
        if let Some(positions) = self.get("transformer.wpe.weight") {
            x.iter_mut().enumerate().for_each(|(t, row)| (0..c).for_each(|i| row[i] += positions[t * c + i]));
        }
        let fall_out = |x: &mut [Vec<f64>], mask: &[f64]| {
            x.iter_mut().enumerate().for_each(|(t, row)| (0..c).for_each(|i| row[i] *= mask[t * c + i]));
        };
        fall_out(&mut x, &self.mask(sequence, 0, Site::Embedding, t));
        for l in 0..config.layers {
            let name = |rest: &str| if gpt2 { format!("transformer.h.{l}.{rest}") } else { format!("model.layers.{l}.{rest}") };
            let normed = self.norm(&name(if gpt2 { "ln_1" } else { "input_layernorm" }), &x);
            let qkv: Vec<Vec<f64>> = if gpt2 {
                self.linear(&name("attn.c_attn"), &normed)
            } else {
                let parts = ["q_proj", "k_proj", "v_proj"].map(|p| self.linear(&name(&format!("self_attn.{p}")), &normed));
                (0..t).map(|i| parts.iter().flat_map(|p| p[i].clone()).collect()).collect()
            };
            let turned = |t: usize, first: usize| -> Vec<f64> {
                let x = &qkv[t][first..first + d];
                let angle = |i: usize| t as f64 / config.rope_theta.powf((2 * (i % (d / 2))) as f64 / d as f64);
                let one = |i: usize| {
                    let other = if i < d / 2 { -x[i + d / 2] } else { x[i - d / 2] };
                    x[i] * angle(i).cos() + other * angle(i).sin()
                };
                if gpt2 { x.to_vec() } else { (0..d).map(one).collect() }
            };
            let mask = self.mask(sequence, l, Site::Attention, t);
            let mut heads = vec![vec![0.0; c]; t];
            for h in 0..config.heads {
                let kv = h * config.kv_heads / config.heads;
                let keys: Vec<_> = (0..t).map(|j| turned(j, (config.heads + kv) * d)).collect();
                for (i, out) in heads.iter_mut().enumerate() {
                    let q = turned(i, h * d);
                    let score = |j: usize| (0..d).map(|e| q[e] * keys[j][e]).sum::<f64>() / (d as f64).sqrt();
                    let weights: Vec<f64> = (0..=i).map(|j| score(j).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for (j, w) in weights.iter().enumerate() {
                        let w = w / sum * mask[(h * t + i) * t + j];
                        let v = &qkv[j][(config.heads + config.kv_heads + kv) * d..][..d];
                        (0..d).for_each(|e| out[h * d + e] += w * v[e]);
                    }
                }
            }
            let mut added = self.linear(&name(if gpt2 { "attn.c_proj" } else { "self_attn.o_proj" }), &heads);
            fall_out(&mut added, &self.mask(sequence, l, Site::AttentionOutput, t));
            x.iter_mut().zip(added).for_each(|(x, a)| (0..c).for_each(|i| x[i] += a[i]));
            let normed = self.norm(&name(if gpt2 { "ln_2" } else { "post_attention_layernorm" }), &x);
            let active: Vec<Vec<f64>> = if gpt2 {
                let gelu = |x: f64| match config.activation {
                    Activation::Gelu => 0.5 * x * (1.0 + statrs::function::erf::erf(x / 2f64.sqrt())),
                    Activation::GeluTanh => {
                        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
                    }
                };
                let hidden = self.linear(&name("mlp.c_fc"), &normed);
                hidden.into_iter().map(|row| row.into_iter().map(gelu).collect()).collect()
            } else {
                let [gate, up] = ["gate_proj", "up_proj"].map(|p| self.linear(&name(&format!("mlp.{p}")), &normed));
                let one = |(g, u): (&f64, &f64)| g / (1.0 + (-g).exp()) * u;
                gate.iter().zip(&up).map(|(g, u)| g.iter().zip(u).map(one).collect()).collect()
            };
            let mut added = self.linear(&name(if gpt2 { "mlp.c_proj" } else { "mlp.down_proj" }), &active);
            fall_out(&mut added, &self.mask(sequence, l, Site::MlpOutput, t));
            x.iter_mut().zip(added).for_each(|(x, a)| (0..c).for_each(|i| x[i] += a[i]));
        }
        let normed = self.norm(if gpt2 { "transformer.ln_f" } else { "model.norm" }, &x);
        let head = match (config.tied, gpt2) {
            (false, _) => "lm_head",
            (true, true) => "transformer.wte",
            (true, false) => "model.embed_tokens",
        };
        let logits = self.linear(head, &normed);
        let one = |(row, &target): (&Vec<f64>, &u32)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[target as usize];
        logits.iter().zip(targets).map(one).collect()
    }

    fn total(&self, inputs: &[u32], targets: &[u32], length: usize) -> f64 {
        let sequences = inputs.chunks(length).zip(targets.chunks(length)).enumerate();
        sequences.map(|(s, (i, t))| self.nll(s, i, t).iter().sum::<f64>()).sum()
    }
}

/// One small model and a batch for it.
struct Case {
    name: &'static str,
    config: Config,
}

fn config(change: impl FnOnce(&mut settings::Model)) -> Config {
    let mut model = settings::Model { layers: 2, heads: 2, width: 12, ..settings::Model::default() };
    change(&mut model);
    Config::new(&model, 11, 24).unwrap()
}

fn cases() -> Vec<Case> {
    let case = |name, config| Case { name, config };
    let llama = |m: &mut settings::Model| m.family = Family::Llama;
    vec![
        case("gpt2", config(|_| {})),
        case("gpt2 without bias", config(|m| m.bias = Some(false))),
        case("gpt2 untied", config(|m| m.tied = false)),
        case("gpt2 with the tanh gelu", config(|m| m.activation = Activation::GeluTanh)),
        case("gpt2 with dropout", config(|m| m.dropout = 0.2)),
        case("llama", config(llama)),
        case("llama with biases", config(|m| (llama(m), m.bias = Some(true)).0)),
        case("llama untied", config(|m| (llama(m), m.tied = false).0)),
        case("llama with grouped queries", config(|m| (llama(m), m.heads = 6, m.kv_heads = Some(3), m.width = 24).0)),
    ]
}

/// Initial values of a model, spread far enough that every derivative is well above rounding.
fn values(config: &Config, spread: f32) -> Vec<f32> {
    let mut values = Vec::new();
    for parameter in config.parameters() {
        let vector = parameter.shape.len() == 1;
        let noise = crate::model::Parameter { start: crate::model::Start::Normal(0.02), ..parameter.clone() };
        let noise = initial_values(&noise, 5);
        let start = initial_values(&parameter, 5);
        let value = |(s, n): (&f32, &f32)| if vector { s + spread * n } else { spread * s };
        values.extend(start.iter().zip(&noise).map(value));
    }
    values
}

fn engine(config: &Config, threads: usize, spread: f32) -> Engine {
    let mut engine = Engine::new(config, 3, threads, config.context).unwrap();
    engine.values_mut().copy_from_slice(&values(config, spread));
    engine
}

fn tokens(config: &Config, count: usize) -> (Vec<u32>, Vec<u32>) {
    let all: Vec<u32> = (0..=count).map(|i| ((i * i * 7 + i * 3 + 1) % 97 % config.vocabulary) as u32).collect();
    (all[..count].to_vec(), all[1..].to_vec())
}

const LENGTH: usize = 7;
const BATCH: usize = 5;

fn train(engine: &mut Engine, length: usize, batch: usize, pieces: &[Range<usize>]) -> f64 {
    let (inputs, targets) = tokens(engine.config(), batch * length);
    let mut nll = 0.0;
    for piece in pieces {
        let place = piece.start * length..piece.end * length;
        let (inputs, targets) = (&inputs[place.clone()], &targets[place]);
        let scale = 1.0 / (batch * length) as f32;
        let sequences = Sequences { inputs, targets, length };
        let micro = MicroBatch { sequences, batch, first: piece.start, step: 9, scale };
        assert!(engine.train(micro, &mut nll, &NEVER).unwrap());
    }
    nll
}

#[test]
fn losses_and_all_gradients_are_those_of_the_definition_in_64_bits() {
    for Case { name, config } in cases() {
        let mut engine = engine(&config, 2, 10.0);
        let nll = train(&mut engine, LENGTH, BATCH, &[0..BATCH]);
        let (inputs, targets) = tokens(&config, BATCH * LENGTH);
        let mut reference = Reference::new(&config, engine.values(), Some((3, 9)));
        let expected = reference.total(&inputs, &targets, LENGTH);
        assert!((nll / expected - 1.0).abs() < 1e-6, "{name}: loss {nll} and {expected}");

        let scale = 1.0 / (BATCH * LENGTH) as f64;
        let (mut error, mut size) = (vec![0.0f64; config.parameters().len()], vec![0.0f64; config.parameters().len()]);
        let mut index = 0;
        // Every third value of each parameter: about a thousand derivatives a case.
        for (p, range) in engine.ranges().to_vec().into_iter().enumerate() {
            for i in range {
                index += 1;
                if index % 3 != 0 {
                    continue;
                }
                let (value, h) = (reference.values[i], 1e-5);
                reference.values[i] = value + h;
                let above = reference.total(&inputs, &targets, LENGTH);
                reference.values[i] = value - h;
                let below = reference.total(&inputs, &targets, LENGTH);
                reference.values[i] = value;
                let expected = (above - below) / (2.0 * h) * scale;
                error[p] += (f64::from(engine.gradients()[i]) - expected).powi(2);
                size[p] += expected.powi(2);
            }
        }
        for (p, parameter) in config.parameters().iter().enumerate() {
            let relative = (error[p] / size[p]).sqrt();
            // A key's bias moves all scores of a row alike: its gradient is 0 but for rounding.
            if parameter.name.ends_with("k_proj.bias") {
                assert!(error[p].sqrt() < 1e-6, "{name}: {}: {}", parameter.name, error[p].sqrt());
            } else {
                assert!(relative < 1e-5, "{name}: {}: {relative}", parameter.name);
            }
        }
    }
}

/// The plain path (candle's operations and autograd) at sizes with whole tiles and several blocks of query rows.
#[test]
fn a_step_is_that_of_the_plain_path() {
    use crate::model::plain::{self, DropoutSource, PlainModel};
    let llama = |m: &mut settings::Model| (m.family, m.kv_heads) = (Family::Llama, Some(2));
    let small = |m: &mut settings::Model| (m.layers, m.heads, m.width) = (1, 2, 32);
    let untied = |m: &mut settings::Model| (m.layers, m.heads, m.width, m.tied) = (1, 2, 32, false);
    // The last two have so many words that the logits of a shard's rows come in several pieces.
    type Change = fn(&mut settings::Model);
    let change: [(Change, [usize; 3]); 6] = [
        (|_| {}, [100, 3, 65]),
        (|m| (m.bias, m.tied) = (Some(false), false), [100, 3, 65]),
        (llama, [100, 3, 65]),
        (|m| (m.heads, m.width) = (3, 96), [100, 3, 65]),
        (small, [250, 1, 12_000]),
        (untied, [250, 1, 12_000]),
    ];
    assert_eq!(shard::head_rows(12_000, 250), 96);
    for (i, (change, [length, batch, vocabulary])) in change.into_iter().enumerate() {
        let mut model = settings::Model { layers: 2, heads: 4, width: 128, ..settings::Model::default() };
        change(&mut model);
        let config = Config::new(&model, vocabulary, length).unwrap();
        let mut engine = Engine::new(&config, 3, 2, length).unwrap();
        engine.values_mut().copy_from_slice(&values(&config, 2.0));
        let split: Vec<Vec<f32>> = engine.ranges().iter().map(|r| engine.values()[r.clone()].to_vec()).collect();
        let mut plain = PlainModel::new(&config, settings::Precision::F32, &candle_core::Device::Cpu, &split).unwrap();
        let (inputs, targets) = tokens(&config, batch * length);
        let sequences = Sequences { inputs: &inputs, targets: &targets, length };
        plain.train(&sequences, DropoutSource { seed: 3, step: 9, first: 0 }, 1.0 / (batch * length) as f64).unwrap();
        let expected = plain.gathered().unwrap();
        let gradients = plain::cut(&expected.gradients, plain.parameters()).unwrap();
        let expected = expected.nll.to_scalar::<f64>().unwrap();
        let nll = train(&mut engine, length, batch, &[0..batch]);
        assert!((nll / expected - 1.0).abs() < 1e-6, "case {i}: {nll} {expected}");
        for ((parameter, range), gradient) in config.parameters().iter().zip(engine.ranges()).zip(gradients) {
            let expected: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let error = length(&mut engine.gradients()[range.clone()].iter().zip(&expected).map(|(a, b)| a - b));
            let relative = error / length(&mut expected.iter().copied());
            assert!(relative < 1e-5, "case {i}: {}: {relative}", parameter.name);
        }
    }
}

#[test]
fn every_parameter_gets_a_gradient() {
    for Case { name, config } in cases() {
        let mut engine = engine(&config, 1, 10.0);
        train(&mut engine, LENGTH, BATCH, &[0..BATCH]);
        for (parameter, range) in config.parameters().iter().zip(engine.ranges()) {
            let gradient = &engine.gradients()[range.clone()];
            assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|&g| g != 0.0), "{name}: {}", parameter.name);
        }
    }
}

#[test]
fn threads_and_micro_batches_change_no_bit() {
    for Case { name, config } in cases() {
        // 47 sequences of 24 tokens are 8 shards of 6, the last of 5.
        assert_eq!(shard_size(47, 24), 6);
        // And 200 are 10 of 21, so that two lanes take a second shard.
        assert_eq!((shard_size(200, 24), lanes::count(10, 1000)), (21, 8));
        let few: [&[Range<usize>]; 3] = [&[0..47], &[0..24, 24..47], &[0..6, 6..18, 18..42, 42..47]];
        let many: [&[Range<usize>]; 2] = [&[0..200], &[0..21, 21..189, 189..200]];
        for (batch, divisions) in [(47, &few[..]), (200, &many[..])] {
            let mut first = engine(&config, 1, 5.0);
            let nll = train(&mut first, 24, batch, divisions[0]);
            for threads in 1..=3 {
                for &pieces in divisions {
                    let mut other = engine(&config, threads, 5.0);
                    assert_eq!(train(&mut other, 24, batch, pieces).to_bits(), nll.to_bits(), "{name} {threads} {pieces:?}");
                    assert_eq!(bits(other.gradients()), bits(first.gradients()), "{name} {threads} {pieces:?}");
                    // Buffers that have been used give the same again.
                    train(&mut other, 5, 4, &[0..4]);
                    train(&mut other, 24, batch, pieces);
                    assert_eq!(bits(other.gradients()), bits(first.gradients()), "{name} {threads} {pieces:?} again");
                }
            }
        }
    }
}

#[test]
fn one_thread_keeps_one_array_and_adds_to_it_what_several_add_up_in_the_end() {
    // A shard's logits come in several pieces: its gradient of the output layer is a sum of its own in both.
    let model = settings::Model { layers: 1, heads: 2, width: 16, ..settings::Model::default() };
    for tied in [true, false] {
        let config = Config::new(&settings::Model { tied, ..model.clone() }, 9_000, 128).unwrap();
        assert!(shard::head_rows(9_000, shard_size(8, 128) * 128) < 128);
        let [mut one, mut two] = [1, 2].map(|threads| engine(&config, threads, 5.0));
        let nll = [&mut one, &mut two].map(|engine| train(engine, 128, 8, &[0..8]).to_bits());
        assert_eq!(nll[0], nll[1]);
        assert_eq!(bits(one.gradients()), bits(two.gradients()), "tied {tied}");
        assert_eq!((one.gradients.len(), two.gradients.len()), (1, 8));
        assert_eq!([1, 2].map(|threads| arrays(8, 128, one.layout.len, threads)), [1, 8]);
    }
}

#[test]
fn scoring_is_the_definition_and_does_not_depend_on_what_else_is_scored() {
    for Case { name, config } in cases() {
        let (inputs, targets) = tokens(&config, 20 * 20);
        let mut engine = engine(&config, 2, 10.0);
        let mut all = vec![0.0; 400];
        engine.nll(Sequences { inputs: &inputs, targets: &targets, length: 20 }, &mut all, &NEVER).unwrap();
        let reference = Reference::new(&config, engine.values(), None);
        for s in 0..20 {
            let place = s * 20..(s + 1) * 20;
            let mut alone = vec![0.0; 20];
            let one = Sequences { inputs: &inputs[place.clone()], targets: &targets[place.clone()], length: 20 };
            engine.nll(one, &mut alone, &NEVER).unwrap();
            assert_eq!(bits(&alone), bits(&all[place.clone()]));
            for (nll, expected) in alone.iter().zip(reference.nll(s, &inputs[place.clone()], &targets[place])) {
                assert!((f64::from(*nll) - expected).abs() < 1e-5 * expected.abs().max(1.0), "{name}: {nll} {expected}");
            }
        }
    }
}

#[test]
fn an_untrained_model_knows_nothing() {
    for Case { name, config } in cases() {
        let mut engine = engine(&config, 1, 0.01);
        let nll = train(&mut engine, LENGTH, BATCH, &[0..BATCH]) / (LENGTH * BATCH) as f64;
        assert!((nll - (config.vocabulary as f64).ln()).abs() < 1e-3, "{name}: {nll}");
    }
}

#[test]
fn following_the_gradient_learns_a_batch_by_heart() {
    let config = config(|m| m.width = 32);
    let mut engine = engine(&config, 2, 1.0);
    let start = train(&mut engine, LENGTH, BATCH, &[0..BATCH]);
    let mut end = start;
    for _ in 0..300 {
        let gradients = engine.gradients().to_vec();
        engine.values_mut().iter_mut().zip(gradients).for_each(|(v, g)| *v -= 0.5 * g);
        end = train(&mut engine, LENGTH, BATCH, &[0..BATCH]);
    }
    assert!(end < 0.2 * start, "{start} {end}");
}

#[test]
fn dropout_depends_on_the_step_and_not_in_scoring() {
    let config = config(|m| m.dropout = 0.5);
    let mut engine = engine(&config, 1, 10.0);
    let (inputs, targets) = tokens(&config, 20);
    let mut at = |step| {
        let mut nll = 0.0;
        let sequences = Sequences { inputs: &inputs, targets: &targets, length: 10 };
        let micro = MicroBatch { sequences, batch: 2, first: 0, step, scale: 1.0 };
        assert!(engine.train(micro, &mut nll, &NEVER).unwrap());
        nll
    };
    assert_eq!(at(1), at(1));
    assert_ne!(at(1), at(2));
}

#[test]
fn a_stop_is_heeded_between_shards_and_leaves_nothing_behind() {
    let config = config(|_| {});
    let asked = AtomicBool::new(true);
    for threads in [1, 2] {
        let mut engine = engine(&config, threads, 1.0);
        let (inputs, targets) = tokens(&config, 16 * 20);
        let sequences = Sequences { inputs: &inputs, targets: &targets, length: 20 };
        let micro = MicroBatch { sequences, batch: 16, first: 0, step: 0, scale: 1.0 };
        let whole = |engine: &mut Engine| {
            let mut nll = 0.0;
            assert!(engine.train(micro, &mut nll, &NEVER).unwrap());
            (nll.to_bits(), bits(engine.gradients()))
        };
        let (first, before) = (whole(&mut engine), pulse::beats());
        assert!(!engine.train(micro, &mut 0.0, &asked).unwrap());
        assert!(!engine.nll(sequences, &mut [0.0; 320], &asked).unwrap());
        assert_eq!(whole(&mut engine), first);
        assert!(pulse::beats() >= before + 2, "a step of two shards beats for each");
    }
}

#[test]
fn mistakes_are_errors_and_not_panics() {
    let config = config(|_| {});
    let mut engine = engine(&config, 1, 1.0);
    let ok = [1; 20];
    let sequences = Sequences { inputs: &ok, targets: &ok, length: 10 };
    let micro = MicroBatch { sequences, batch: 2, first: 0, step: 0, scale: 1.0 };
    let mistakes = [
        MicroBatch { sequences: Sequences { inputs: &[11; 20], ..sequences }, ..micro },
        MicroBatch { sequences: Sequences { targets: &[99; 20], ..sequences }, ..micro },
        MicroBatch { sequences: Sequences { targets: &ok[..10], ..sequences }, ..micro },
        MicroBatch { sequences: Sequences { length: 0, ..sequences }, ..micro },
        MicroBatch { sequences: Sequences { length: 3, ..sequences }, ..micro },
        MicroBatch { first: 1, ..micro },
        MicroBatch { batch: 50, ..micro },
    ];
    for mistake in mistakes {
        assert!(engine.train(mistake, &mut 0.0, &NEVER).is_err(), "{mistake:?}");
    }
    assert!(engine.train(micro, &mut 0.0, &NEVER).is_ok());
    assert!(engine.nll(sequences, &mut [0.0; 3], &NEVER).is_err());
    assert!(Engine::new(&config, 0, 1, 25).is_err());
    assert!(Engine::new(&config, 0, 0, 24).is_err());
}

#[test]
fn shards_follow_the_batch_only() {
    let table = [
        ((12, 64), 3),
        ((8, 256), 1),
        ((6, 32), 3),
        ((12, 32), 6),
        ((1, 2048), 1),
        ((1, 1), 1),
        ((100_000, 64), 8),
        ((100, 1024), 1),
        ((16, 128), 2),
    ];
    for ((batch, length), size) in table {
        assert_eq!(shard_size(batch, length), size, "{batch} {length}");
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}
