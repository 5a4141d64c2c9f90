//! Each operation of a step alone, over one shard on one thread: what the benchmarks run, and say where a step's time goes.
//!
//! It is a module of `model::cpu`, whose inside it reads, with the feature `benchmarks`.

use super::backward::InputEpilogue;
use super::buffer::Buffer;
use super::forward::Model;
use super::layout::{Layout, Linear};
use super::panels::{Panels, PanelsMut, room};
use super::shard::{Gradient, Scratch, Shard, Training, streams_of_block};
use super::{Engine, shard_size};
use crate::error::Result;
use crate::experiment::settings::Family;
use crate::model::{Config, Sequences};
use crate::random::Stream;

/// What a step is made of, the optimizer aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Rows of the token and position embeddings.
    Embed,
    /// Layer norm or RMS norm.
    Norm,
    /// Backward of [`Operation::Norm`].
    NormBackward,
    /// Queries, keys and values.
    AttentionIn,
    /// Gradient of the input of [`Operation::AttentionIn`].
    AttentionInBackward,
    /// Gradient of the weights of [`Operation::AttentionIn`].
    AttentionInWeights,
    /// Causal attention of every head, rotary positions included.
    Attention,
    /// Backward of [`Operation::Attention`].
    AttentionBackward,
    /// The projection after attention.
    AttentionOut,
    /// Gradient of the input of [`Operation::AttentionOut`].
    AttentionOutBackward,
    /// Gradient of the weights of [`Operation::AttentionOut`].
    AttentionOutWeights,
    /// The MLP's first layer.
    MlpIn,
    /// Gradient of the input of [`Operation::MlpIn`].
    MlpInBackward,
    /// Gradient of the weights of [`Operation::MlpIn`].
    MlpInWeights,
    /// GELU or SwiGLU.
    Activation,
    /// Backward of [`Operation::Activation`] where that is SwiGLU; GELU's is in [`Operation::MlpOutBackward`].
    ActivationBackward,
    /// The MLP's projection.
    MlpOut,
    /// Gradient of the input of [`Operation::MlpOut`], and through GELU.
    MlpOutBackward,
    /// Gradient of the weights of [`Operation::MlpOut`].
    MlpOutWeights,
    /// The output layer with its norm and cross-entropy, forward and backward, some rows at a time.
    Head,
    /// Gradients of the embeddings.
    EmbedBackward,
    /// The weights' copies in panels, all of them.
    Copies,
}

impl Operation {
    /// All of them, in the order of a step.
    const ALL: [Self; 22] = [
        Self::Copies,
        Self::Embed,
        Self::Norm,
        Self::AttentionIn,
        Self::Attention,
        Self::AttentionOut,
        Self::MlpIn,
        Self::Activation,
        Self::MlpOut,
        Self::Head,
        Self::NormBackward,
        Self::MlpOutBackward,
        Self::ActivationBackward,
        Self::MlpInBackward,
        Self::AttentionOutBackward,
        Self::AttentionBackward,
        Self::AttentionInBackward,
        Self::AttentionInWeights,
        Self::AttentionOutWeights,
        Self::MlpInWeights,
        Self::MlpOutWeights,
        Self::EmbedBackward,
    ];

    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copies => "copies of the weights",
            Self::Embed => "embedding",
            Self::Norm => "norm",
            Self::NormBackward => "norm, backward",
            Self::AttentionIn => "attention in",
            Self::AttentionInBackward => "attention in, backward",
            Self::AttentionInWeights => "attention in, weights",
            Self::Attention => "attention",
            Self::AttentionBackward => "attention, backward",
            Self::AttentionOut => "attention out",
            Self::AttentionOutBackward => "attention out, backward",
            Self::AttentionOutWeights => "attention out, weights",
            Self::MlpIn => "MLP in",
            Self::MlpInBackward => "MLP in, backward",
            Self::MlpInWeights => "MLP in, weights",
            Self::Activation => "activation",
            Self::ActivationBackward => "activation, backward",
            Self::MlpOut => "MLP out",
            Self::MlpOutBackward => "MLP out, backward",
            Self::MlpOutWeights => "MLP out, weights",
            Self::Head => "head and loss",
            Self::EmbedBackward => "embedding, backward",
        }
    }

    /// The linear layer that it belongs to, if it is a product.
    fn linear(self, layout: &Layout) -> Option<&Linear> {
        let block = &layout.blocks[0];
        match self {
            Self::AttentionIn | Self::AttentionInBackward | Self::AttentionInWeights => Some(&block.attention_in),
            Self::AttentionOut | Self::AttentionOutBackward | Self::AttentionOutWeights => Some(&block.attention_out),
            Self::MlpIn | Self::MlpInBackward | Self::MlpInWeights => Some(&block.mlp_in),
            Self::MlpOut | Self::MlpOutBackward | Self::MlpOutWeights => Some(&block.mlp_out),
            Self::Head => Some(&layout.head),
            _ => None,
        }
    }
}

/// One shard of a batch with everything an operation reads, random numbers throughout.
pub struct Operations {
    engine: Engine,
    shard: Shard,
    scratch: Scratch,
    gradient: Buffer,
    nll: Vec<f64>,
    noise: Buffer,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    length: usize,
    shards: usize,
    /// The block that is worked on.
    block: usize,
}

impl Operations {
    /// The first shard of a batch of so many sequences of `length` tokens.
    pub fn new(config: &Config, batch: usize, length: usize) -> Result<Self> {
        let mut engine = Engine::new(config, 1, 1, length)?;
        let mut stream = Stream::new(1, "operations", &[]);
        engine.values_mut().iter_mut().for_each(|value| *value = (0.05 * stream.normal()) as f32);
        engine.renew_copies();
        let size = shard_size(batch, length);
        let mut token = || (0..size * length).map(|_| stream.below(config.vocabulary as u64) as u32).collect();
        let (inputs, targets): (Vec<_>, Vec<_>) = (token(), token());
        let (shard, scratch) = (Shard::default(), Scratch::default());
        let longest = room(inputs.len(), config.vocabulary.max(3 * config.width).max(2 * config.hidden));
        let mut noise = Buffer::zeros(longest);
        noise.iter_mut().for_each(|value| *value = (2.0 * stream.uniform() - 1.0) as f32);
        let gradient = Buffer::zeros(engine.layout.len);
        let (nll, shards) = (vec![0.0; size], batch.div_ceil(size));
        let mut all = Self { engine, shard, scratch, gradient, nll, noise, inputs, targets, length, shards, block: 0 };
        let tokens = Sequences { inputs: &all.inputs, targets: &all.targets, length };
        let gradient = &mut Gradient { all: &mut all.gradient, begin: true, aside: None };
        all.engine.model().train(&mut all.shard, &mut all.scratch, tokens, TRAINING, gradient, &mut all.nll);
        Ok(all)
    }

    /// What a step of this model is made of, in its order.
    pub fn all(&self) -> Vec<Operation> {
        let gated = self.engine.config.family == Family::Llama;
        Operation::ALL.into_iter().filter(|&operation| gated || operation != Operation::ActivationBackward).collect()
    }

    /// How often a step does this: shards × blocks, for most.
    pub fn times(&self, operation: Operation) -> usize {
        let layers = self.engine.config.layers;
        match operation {
            Operation::Copies => 1,
            Operation::Embed | Operation::EmbedBackward | Operation::Head => self.shards,
            Operation::Norm | Operation::NormBackward => self.shards * 2 * layers,
            _ => self.shards * layers,
        }
    }

    /// Floating-point operations of one run in matrix products; only the causal half of attention's.
    pub fn flops(&self, operation: Operation) -> f64 {
        let (config, rows) = (&self.engine.config, self.inputs.len() as f64);
        let pairs = rows * (self.length + 1) as f64 / 2.0 * config.width as f64;
        match (operation, operation.linear(&self.engine.layout)) {
            (Operation::Attention, _) => 4.0 * pairs,
            (Operation::AttentionBackward, _) => 10.0 * pairs,
            (operation, Some(linear)) => {
                let products = if operation == Operation::Head { 6.0 } else { 2.0 };
                products * rows * (linear.inputs * linear.outputs) as f64
            }
            _ => 0.0,
        }
    }

    /// Goes on to the next block, and makes what the operation overwrites there again.
    pub fn prepare(&mut self, operation: Operation) {
        self.block = (self.block + 1) % self.engine.config.layers;
        let renew = |buffer: &mut Buffer, noise: &[f32]| {
            let len = buffer.len();
            buffer.copy_from_slice(&noise[..len]);
        };
        let (layer, noise) = (&mut self.shard.layers[self.block], &self.noise);
        match operation {
            Operation::NormBackward => {
                renew(&mut self.shard.stream[2 * self.block + 1], noise);
                renew(&mut self.scratch.narrow, noise);
            }
            Operation::Attention | Operation::AttentionBackward => {
                renew(&mut layer.qkv, noise);
                renew(&mut self.scratch.wide, noise);
            }
            Operation::Activation | Operation::ActivationBackward => {
                renew(&mut layer.hidden, noise);
                renew(&mut self.scratch.wide, noise);
            }
            _ => {}
        }
        if operation == Operation::AttentionBackward {
            self.run(Operation::Attention);
        }
    }

    /// Does it once; [`Operations::prepare`] comes before.
    pub fn run(&mut self, operation: Operation) {
        if operation == Operation::Copies {
            self.engine.stale = true;
            self.engine.renew_copies();
            return;
        }
        let Self { engine, shard, scratch, gradient, nll, inputs, targets, length, block, .. } = self;
        let (model, tokens) = (engine.model(), Sequences { inputs, targets, length: *length });
        let gradient = &mut Gradient { all: gradient, begin: false, aside: None };
        if operation == Operation::Head {
            model.head(shard, scratch, tokens, TRAINING.scale, gradient, nll);
        } else {
            one(operation, *block, &model, shard, scratch, tokens, gradient);
        }
    }
}

const TRAINING: Training = Training { seed: 1, step: 0, first: 0, scale: 1e-3 };

fn one(
    operation: Operation,
    l: usize,
    model: &Model<'_>,
    shard: &mut Shard,
    scratch: &mut Scratch,
    tokens: Sequences<'_>,
    gradient: &mut Gradient<'_>,
) {
    let block = &model.layout.blocks[l];
    let layer = &mut shard.layers[l];
    let [x, mid, next] = streams_of_block(&mut shard.stream[2 * l..]);
    if operation == Operation::Attention {
        model.attend(l, layer, scratch, tokens, Some(TRAINING));
        return;
    }
    let Scratch { narrow, wide, attention, .. } = scratch;
    let rows = tokens.inputs.len();
    let read = |x| Panels::new(x, rows);
    match operation {
        Operation::Embed => model.embed(x, tokens),
        Operation::EmbedBackward => model.embed_backward(x, tokens, gradient),
        Operation::Norm => model.normalize(&block.norm1, &mut layer.normed1, x, &mut layer.statistics1),
        Operation::NormBackward => {
            model.norm_backward(&block.norm2, mid, Some(next), narrow, &layer.statistics2, gradient);
        }
        Operation::AttentionIn => {
            model.linear(&block.attention_in, PanelsMut::new(&mut layer.qkv, rows), read(&layer.normed1), None);
        }
        Operation::AttentionInBackward => {
            model.linear_inputs(&block.attention_in, PanelsMut::new(narrow, rows), read(&layer.qkv), InputEpilogue::default());
        }
        Operation::AttentionInWeights => {
            model.linear_weights(&block.attention_in, read(&layer.normed1), read(&layer.qkv), gradient);
        }
        Operation::AttentionBackward => {
            model.attend_backward(l, layer, &wide[..x.len()], attention, tokens, TRAINING);
        }
        Operation::AttentionOut => {
            model.linear(&block.attention_out, PanelsMut::new(narrow, rows), read(&layer.heads), Some(read(x)));
        }
        Operation::AttentionOutBackward => {
            let into = PanelsMut::new(&mut wide[..x.len()], rows);
            model.linear_inputs(&block.attention_out, into, read(mid), InputEpilogue::default());
        }
        Operation::AttentionOutWeights => {
            model.linear_weights(&block.attention_out, read(&layer.heads), read(mid), gradient);
        }
        Operation::MlpIn => {
            model.linear(&block.mlp_in, PanelsMut::new(&mut layer.hidden, rows), read(&layer.normed2), None);
        }
        Operation::MlpInBackward => {
            model.linear_inputs(&block.mlp_in, PanelsMut::new(narrow, rows), read(&layer.hidden), InputEpilogue::default());
        }
        Operation::MlpInWeights => {
            model.linear_weights(&block.mlp_in, read(&layer.normed2), read(&layer.hidden), gradient);
        }
        Operation::Activation => model.activate(&mut layer.active, &mut layer.hidden, rows),
        Operation::ActivationBackward => {
            model.gate_backward(&mut layer.hidden, &wide[..layer.active.len()], rows);
        }
        Operation::MlpOut => {
            model.linear(&block.mlp_out, PanelsMut::new(narrow, rows), read(&layer.active), Some(read(mid)));
        }
        Operation::MlpOutBackward => {
            let times = (model.config.family == Family::Gpt2).then(|| read(&layer.hidden));
            let into = PanelsMut::new(&mut wide[..layer.active.len()], rows);
            model.linear_inputs(&block.mlp_out, into, read(next), InputEpilogue { times, next: &[] });
        }
        Operation::MlpOutWeights => {
            model.linear_weights(&block.mlp_out, read(&layer.active), read(next), gradient);
        }
        Operation::Copies | Operation::Head | Operation::Attention => {}
    }
}
