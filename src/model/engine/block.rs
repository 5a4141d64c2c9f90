//! The whole model over one shard: forward, loss and backward down to the gradients of each layer's outputs.
//!
//! A shard is a few sequences that go through the model together on one thread. Its buffers keep what backward needs, and
//! backward writes gradients over them: afterwards each linear layer's input is still there and where its output was lies
//! the output's gradient, which is all that the weights' gradients need (see `weights`).

use pulp::Arch;

use super::activation;
use super::attention::{self, Setting, Shape};
use super::buffer::Buffer;
use super::layout::{Layout, Linear, NormPlace};
use super::loss;
use super::matrix::{Onto, Packed, product};
use super::norm::Norm;
use super::vector::{add, vectorized};
use crate::experiment::settings::{Activation, Family};
use crate::model::Config;
use crate::model::dropout::{Place, Rows, Site};

/// Everything that all shards read.
pub(super) struct Model<'a> {
    pub(super) config: &'a Config,
    pub(super) layout: &'a Layout,
    pub(super) values: &'a [f32],
    pub(super) copies: &'a [f32],
    /// Cosines and sines of each position (llama).
    pub(super) angles: &'a [f32],
    pub(super) arch: Arch,
}

/// The tokens of a shard.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub(super) inputs: &'a [u32],
    pub(super) targets: &'a [u32],
    /// Tokens of a sequence.
    pub(super) length: usize,
}

/// What training needs to know beside the tokens.
#[derive(Clone, Copy)]
pub(super) struct Training {
    pub(super) seed: u64,
    pub(super) step: u64,
    /// Index of the shard's first sequence within the step.
    pub(super) first: usize,
    /// What the NLL sum is multiplied by before its gradient is taken.
    pub(super) scale: f32,
}

/// One block's values, rows by rows.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// Input of the attention layer.
    pub(super) normed1: Buffer,
    statistics1: Vec<[f32; 2]>,
    /// Queries, keys and values; then their gradient.
    pub(super) qkv: Buffer,
    /// Two numbers of each row's softmax.
    sums: Vec<[f32; 2]>,
    /// What attention's heads give.
    pub(super) heads: Buffer,
    /// Gradient of the projection's output where dropout makes it another than the residual stream's.
    pub(super) heads_gradient: Buffer,
    /// Input of the MLP.
    pub(super) normed2: Buffer,
    statistics2: Vec<[f32; 2]>,
    /// The MLP's hidden layer before its activation; then its gradient.
    pub(super) hidden: Buffer,
    /// And after it.
    pub(super) active: Buffer,
    /// As `heads_gradient`.
    pub(super) active_gradient: Buffer,
}

/// The buffers of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Blocks.
    pub(super) layers: Vec<Layer>,
    /// The residual stream before each block, within it, and at the end: 2 · layers + 1; then its gradients.
    pub(super) stream: Vec<Buffer>,
    /// Input of the output layer.
    pub(super) normed: Buffer,
    statistics: Vec<[f32; 2]>,
    /// Logits; then their gradient.
    pub(super) logits: Buffer,
    /// Gradients of each norm's weight and bias, summed over the shard's rows.
    pub(super) norms: Buffer,
    /// NLL sum of each sequence.
    pub(super) nll: Vec<f64>,
}

/// A thread's own buffers.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    wide: Buffer,
    narrow: Buffer,
    mask: Buffer,
    attention: attention::Scratch,
    /// For whatever a product needs.
    pub(super) space: Buffer,
}

fn width_of_hidden(config: &Config) -> usize {
    match config.family {
        Family::Gpt2 => config.hidden,
        Family::Llama => 2 * config.hidden,
    }
}

impl Shard {
    /// Buffers of the right size for so many rows. `kept` blocks: all of them for training, one for scoring.
    pub(super) fn prepare(&mut self, config: &Config, rows: usize, kept: usize) {
        let (width, dropout) = (config.width, config.dropout > 0.0);
        let row = (config.heads + 2 * config.kv_heads) * config.head();
        self.layers.resize_with(kept, Layer::default);
        for layer in &mut self.layers {
            layer.normed1.set_len(rows * width);
            layer.statistics1.resize(rows, [0.0; 2]);
            layer.qkv.set_len(rows * row);
            layer.sums.resize(rows * config.heads, [0.0; 2]);
            layer.heads.set_len(rows * width);
            layer.normed2.set_len(rows * width);
            layer.statistics2.resize(rows, [0.0; 2]);
            layer.hidden.set_len(rows * width_of_hidden(config));
            layer.active.set_len(rows * config.hidden);
            if dropout {
                layer.heads_gradient.set_len(rows * width);
                layer.active_gradient.set_len(rows * width);
            }
        }
        self.stream.resize_with(2 * kept + 1, Buffer::default);
        self.stream.iter_mut().for_each(|x| x.set_len(rows * width));
        self.normed.set_len(rows * width);
        self.statistics.resize(rows, [0.0; 2]);
        self.logits.set_len(rows * config.vocabulary);
        self.norms.set_len((2 * config.layers + 1) * 2 * width);
        self.norms.fill(0.0);
    }
}

impl Scratch {
    /// Buffers of the right size for so many rows.
    pub(super) fn prepare(&mut self, config: &Config, rows: usize) {
        self.wide.set_len(rows * config.hidden.max(config.width));
        self.narrow.set_len(rows * config.width);
        self.mask.set_len(config.width);
    }
}

impl Model<'_> {
    /// Forward, loss and backward of one shard.
    pub(super) fn train(&self, shard: &mut Shard, scratch: &mut Scratch, tokens: Tokens<'_>, training: Training) {
        let count = tokens.inputs.len();
        shard.prepare(self.config, count, self.config.layers);
        scratch.prepare(self.config, count);
        self.embed(&mut shard.stream[0], tokens);
        self.fall_out_whole(&mut shard.stream[0], scratch, tokens, Some(training));
        for l in 0..self.config.layers {
            let [x, mid, next] = three(&mut shard.stream[2 * l..]);
            self.block_forward(l, &mut shard.layers[l], [x, mid, next], scratch, tokens, Some(training));
        }
        self.head_forward(shard, 2 * self.config.layers);
        let Shard { logits, nll, .. } = shard;
        nll.clear();
        nll.resize(count / tokens.length, 0.0);
        vectorized(
            self.arch,
            #[inline(always)]
            || {
                loss::cross_entropy(logits, tokens.targets, training.scale, |i, loss| nll[i / tokens.length] += f64::from(loss));
            },
        );
        self.head_backward(shard, scratch);
        for l in (0..self.config.layers).rev() {
            self.block_backward(l, shard, scratch, tokens, training);
        }
        self.fall_out_whole(&mut shard.stream[0], scratch, tokens, Some(training));
    }

    /// The NLL of each target. `shard` needs the buffers of one block only.
    pub(super) fn score(&self, shard: &mut Shard, scratch: &mut Scratch, tokens: Tokens<'_>, into: &mut [f32]) {
        let count = tokens.inputs.len();
        shard.prepare(self.config, count, 1);
        scratch.prepare(self.config, count);
        self.embed(&mut shard.stream[0], tokens);
        for l in 0..self.config.layers {
            let [x, mid, next] = three(&mut shard.stream);
            self.block_forward(l, &mut shard.layers[0], [x, mid, next], scratch, tokens, None);
            shard.stream.swap(0, 2);
        }
        self.head_forward(shard, 0);
        let logits = &mut shard.logits;
        vectorized(
            self.arch,
            #[inline(always)]
            || loss::nll(logits, tokens.targets, into),
        );
    }

    fn norm(&self, place: &NormPlace) -> Norm<'_> {
        Norm {
            weight: &self.values[place.weight.clone()],
            bias: place.bias.clone().map(|bias| &self.values[bias]),
            centred: self.config.family == Family::Gpt2,
            epsilon: self.config.norm_epsilon as f32,
        }
    }

    fn embed(&self, x: &mut [f32], tokens: Tokens<'_>) {
        let width = self.config.width;
        let table = &self.values[self.layout.tokens.clone()];
        for (row, &token) in x.chunks_exact_mut(width).zip(tokens.inputs) {
            row.copy_from_slice(&table[token as usize * width..][..width]);
        }
        if let Some(positions) = self.layout.positions.clone() {
            let positions = &self.values[positions][..tokens.length * width];
            x.chunks_exact_mut(positions.len()).for_each(|sequence| add(sequence, positions));
        }
    }

    /// y = x · W + b, added to `base` where there is one.
    fn linear(&self, linear: &Linear, y: &mut [f32], x: &[f32], base: Option<&[f32]>) {
        let mut onto = base.map_or(Onto::Zero, Onto::Other);
        for part in &linear.parts {
            let Some(bias) = part.bias.clone() else { continue };
            if let Onto::Other(base) = onto {
                y.copy_from_slice(base);
            }
            onto = Onto::Itself;
            let bias = &self.values[bias];
            for row in y.chunks_exact_mut(linear.outputs) {
                let row = &mut row[part.first..][..part.outputs];
                if base.is_some() { add(row, bias) } else { row.copy_from_slice(bias) }
            }
        }
        let weight = Packed { data: &self.copies[linear.forward.clone()], size: [linear.inputs, linear.outputs] };
        product(self.arch, y, x, weight, onto);
    }

    /// dx = dy · Wᵀ.
    fn linear_backward(&self, linear: &Linear, dx: &mut [f32], dy: &[f32]) {
        let weight = Packed { data: &self.copies[linear.backward.clone()], size: [linear.outputs, linear.inputs] };
        product(self.arch, dx, dy, weight, Onto::Zero);
    }

    fn place(&self, training: Training, sequence: usize, layer: usize, site: Site) -> Place {
        Place { seed: training.seed, step: training.step, sequence: training.first + sequence, layer, site }
    }

    /// Multiplies rows by their dropout mask; `each` gets row, index of the row and mask.
    fn masked(
        &self,
        scratch: &mut [f32],
        tokens: Tokens<'_>,
        place: impl Fn(usize) -> Place,
        mut each: impl FnMut(usize, &[f32]),
    ) {
        for sequence in 0..tokens.inputs.len() / tokens.length {
            let mut mask = Rows::new(place(sequence), None, self.config.dropout);
            for t in 0..tokens.length {
                mask.fill(scratch);
                each(sequence * tokens.length + t, scratch);
            }
        }
    }

    fn fall_out_whole(&self, x: &mut [f32], scratch: &mut Scratch, tokens: Tokens<'_>, training: Option<Training>) {
        let (Some(training), true) = (training, self.dropout()) else { return };
        let width = self.config.width;
        self.masked(
            &mut scratch.mask,
            tokens,
            |s| self.place(training, s, 0, Site::Embedding),
            |i, mask| {
                x[i * width..][..width].iter_mut().zip(mask).for_each(|(x, m)| *x *= m);
            },
        );
    }

    fn dropout(&self) -> bool {
        self.config.dropout > 0.0 && self.config.family == Family::Gpt2
    }

    /// y = x + linear(input), what is added going through dropout in training.
    #[expect(clippy::too_many_arguments, reason = "a layer, its place, its input and where it goes")]
    fn add_projection(
        &self,
        linear: &Linear,
        y: &mut [f32],
        x: &[f32],
        input: &[f32],
        scratch: &mut Scratch,
        tokens: Tokens<'_>,
        training: Option<(Training, usize, Site)>,
    ) {
        let (Some((training, layer, site)), true) = (training, self.dropout()) else {
            self.linear(linear, y, input, Some(x));
            return;
        };
        y.copy_from_slice(x);
        let width = self.config.width;
        let added = &mut scratch.narrow[..y.len()];
        self.linear(linear, added, input, None);
        self.masked(
            &mut scratch.mask,
            tokens,
            |s| self.place(training, s, layer, site),
            |i, mask| {
                let (y, added) = (&mut y[i * width..][..width], &added[i * width..][..width]);
                y.iter_mut().zip(added).zip(mask).for_each(|((y, a), m)| *y += a * m);
            },
        );
    }

    fn setting(&self, length: usize, l: usize, sequence: usize, training: Option<Training>) -> Setting<'_> {
        let config = self.config;
        let dropout = training.filter(|_| self.dropout());
        Setting {
            shape: Shape { length, heads: config.heads, kv_heads: config.kv_heads, head: config.head() },
            angles: (config.family == Family::Llama).then_some(self.angles),
            dropout: dropout.map(|training| (self.place(training, sequence, l, Site::Attention), config.dropout)),
        }
    }

    fn block_forward(
        &self,
        l: usize,
        layer: &mut Layer,
        [x, mid, next]: [&mut [f32]; 3],
        scratch: &mut Scratch,
        tokens: Tokens<'_>,
        training: Option<Training>,
    ) {
        let (config, block, arch) = (self.config, &self.layout.blocks[l], self.arch);
        vectorized(
            arch,
            #[inline(always)]
            || self.norm(&block.norm1).forward(&mut layer.normed1, x, &mut layer.statistics1),
        );
        self.linear(&block.attention_in, &mut layer.qkv, &layer.normed1, None);
        let (length, row) = (tokens.length, block.attention_in.outputs);
        for s in 0..tokens.inputs.len() / length {
            let out = &mut layer.heads[s * length * config.width..][..length * config.width];
            let sums = &mut layer.sums[s * length * config.heads..][..length * config.heads];
            let setting = self.setting(length, l, s, training);
            attention::forward(arch, setting, &layer.qkv[s * length * row..][..length * row], out, sums, &mut scratch.attention);
        }
        let site = training.map(|t| (t, l, Site::AttentionOutput));
        self.add_projection(&block.attention_out, mid, x, &layer.heads, scratch, tokens, site);
        vectorized(
            arch,
            #[inline(always)]
            || self.norm(&block.norm2).forward(&mut layer.normed2, mid, &mut layer.statistics2),
        );
        self.linear(&block.mlp_in, &mut layer.hidden, &layer.normed2, None);
        let (active, hidden) = (&mut layer.active, &layer.hidden);
        match (config.family, config.activation) {
            (Family::Llama, _) => vectorized(
                arch,
                #[inline(always)]
                || activation::swiglu(active, hidden, config.hidden),
            ),
            (Family::Gpt2, Activation::Gelu) => vectorized(
                arch,
                #[inline(always)]
                || activation::gelu(active, hidden),
            ),
            (Family::Gpt2, Activation::GeluTanh) => vectorized(
                arch,
                #[inline(always)]
                || activation::gelu_tanh(active, hidden),
            ),
        }
        let site = training.map(|t| (t, l, Site::MlpOutput));
        self.add_projection(&block.mlp_out, next, mid, &layer.active, scratch, tokens, site);
    }

    fn head_forward(&self, shard: &mut Shard, last: usize) {
        let Shard { stream, normed, statistics, logits, .. } = shard;
        vectorized(
            self.arch,
            #[inline(always)]
            || self.norm(&self.layout.norm).forward(normed, &stream[last], statistics),
        );
        self.linear(&self.layout.head, logits, normed, None);
    }

    fn head_backward(&self, shard: &mut Shard, scratch: &mut Scratch) {
        let Shard { stream, statistics, logits, norms, .. } = shard;
        let last = 2 * self.config.layers;
        let dy = &mut scratch.narrow[..stream[last].len()];
        self.linear_backward(&self.layout.head, dy, logits);
        self.norm_backward(&self.layout.norm, last, &mut stream[last], None, dy, statistics, norms);
    }

    #[expect(clippy::too_many_arguments, reason = "the norm, its place, and the arrays of its backward")]
    fn norm_backward(
        &self,
        place: &NormPlace,
        index: usize,
        x: &mut [f32],
        residual: Option<&[f32]>,
        dy: &mut [f32],
        statistics: &[[f32; 2]],
        norms: &mut [f32],
    ) {
        let width = self.config.width;
        let (weight, bias) = norms[index * 2 * width..][..2 * width].split_at_mut(width);
        let norm = self.norm(place);
        let mut bias = norm.bias.is_some().then_some(bias);
        vectorized(
            self.arch,
            #[inline(always)]
            || norm.backward(x, residual, dy, statistics, weight, bias.as_deref_mut()),
        );
    }

    /// The gradient of what a projection adds: the residual stream's, through dropout where there is any.
    fn before_dropout<'b>(
        &self,
        gradient: &'b [f32],
        masked: &'b mut [f32],
        scratch: &mut [f32],
        tokens: Tokens<'_>,
        place: impl Fn(usize) -> Place,
    ) -> &'b [f32] {
        if !self.dropout() {
            return gradient;
        }
        let width = self.config.width;
        self.masked(scratch, tokens, place, |i, mask| {
            let (y, d) = (&mut masked[i * width..][..width], &gradient[i * width..][..width]);
            y.iter_mut().zip(d).zip(mask).for_each(|((y, d), m)| *y = d * m);
        });
        masked
    }

    fn block_backward(&self, l: usize, shard: &mut Shard, scratch: &mut Scratch, tokens: Tokens<'_>, training: Training) {
        let (config, block, arch) = (self.config, &self.layout.blocks[l], self.arch);
        let Shard { layers, stream, norms, .. } = shard;
        let layer = &mut layers[l];
        let [x, mid, next] = three(&mut stream[2 * l..]);
        let Scratch { wide, narrow, mask, attention, .. } = scratch;
        let narrow = &mut narrow[..x.len()];

        let place = |s| self.place(training, s, l, Site::MlpOutput);
        let dy = self.before_dropout(next, &mut layer.active_gradient, mask, tokens, place);
        let dactive = &mut wide[..layer.active.len()];
        self.linear_backward(&block.mlp_out, dactive, dy);
        let hidden = &mut layer.hidden;
        match (config.family, config.activation) {
            (Family::Llama, _) => vectorized(
                arch,
                #[inline(always)]
                || activation::swiglu_backward(hidden, dactive, config.hidden),
            ),
            (Family::Gpt2, Activation::Gelu) => vectorized(
                arch,
                #[inline(always)]
                || activation::gelu_backward(hidden, dactive),
            ),
            (Family::Gpt2, Activation::GeluTanh) => vectorized(
                arch,
                #[inline(always)]
                || activation::gelu_tanh_backward(hidden, dactive),
            ),
        }
        self.linear_backward(&block.mlp_in, narrow, hidden);
        self.norm_backward(&block.norm2, 2 * l + 1, mid, Some(next), narrow, &layer.statistics2, norms);

        let place = |s| self.place(training, s, l, Site::AttentionOutput);
        let dy = self.before_dropout(mid, &mut layer.heads_gradient, mask, tokens, place);
        let dheads = &mut wide[..layer.heads.len()];
        self.linear_backward(&block.attention_out, dheads, dy);
        let (length, row) = (tokens.length, block.attention_in.outputs);
        for s in 0..tokens.inputs.len() / length {
            let place = s * length * config.width..(s + 1) * length * config.width;
            let sums = &layer.sums[s * length * config.heads..][..length * config.heads];
            let setting = self.setting(length, l, s, Some(training));
            let qkv = &mut layer.qkv[s * length * row..][..length * row];
            attention::backward(arch, setting, qkv, &layer.heads[place.clone()], &dheads[place], sums, attention);
        }
        self.linear_backward(&block.attention_in, narrow, &layer.qkv);
        self.norm_backward(&block.norm1, 2 * l, x, Some(mid), narrow, &layer.statistics1, norms);
    }
}

/// The first three buffers, apart.
fn three(stream: &mut [Buffer]) -> [&mut [f32]; 3] {
    let (x, rest) = stream.split_at_mut(1);
    let (mid, next) = rest.split_at_mut(1);
    [&mut x[0], &mut mid[0], &mut next[0]]
}
