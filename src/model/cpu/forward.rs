//! One shard's way forward through the whole model.

use pulp::Arch;

use super::activation;
use super::attention::{self, Setting};
use super::layout::{Layout, Linear, NormPlace};
use super::loss;
use super::matrix::{Epilogue, product};
use super::norm::{Forward, Norm};
use super::panels::{Panels, PanelsMut, WIDTH, room, rows};
use super::shard::{Gradient, Layer, Scratch, Shard, Training, dropout, exponentials, head_rows, shape, streams_of_block};
use super::vector::vectorized;
use crate::experiment::settings::{Activation, Family};
use crate::model::dropout::{MaskKey, Rows, Site};
use crate::model::{Config, Sequences};

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

impl Model<'_> {
    /// Forward, loss and backward of one shard; `nll` gets the sum of each sequence, `gradient` that of every parameter.
    pub(super) fn train(
        &self,
        shard: &mut Shard,
        scratch: &mut Scratch,
        tokens: Sequences<'_>,
        training: Training,
        gradient: &mut Gradient<'_>,
        nll: &mut [f64],
    ) {
        let count = tokens.inputs.len();
        let exponentials = count / tokens.length * exponentials(self.config, tokens.length);
        shard.prepare(self.config, count, self.config.layers, exponentials);
        scratch.prepare(self.config, count);
        self.embed(&mut shard.stream[0], tokens);
        self.drop_embedding(&mut shard.stream[0], scratch, tokens, Some(training));
        for l in 0..self.config.layers {
            let [x, mid, next] = streams_of_block(&mut shard.stream[2 * l..]);
            self.block_forward(l, &mut shard.layers[l], [x, mid, next], scratch, tokens, Some(training));
        }
        self.head(shard, scratch, tokens, training.scale, gradient, nll);
        for l in (0..self.config.layers).rev() {
            self.block_backward(l, shard, scratch, tokens, training, gradient);
        }
        self.drop_embedding(&mut shard.stream[0], scratch, tokens, Some(training));
        self.embed_backward(&shard.stream[0], tokens, gradient);
    }

    /// The NLL of each target. `shard` needs the buffers of one block only.
    pub(super) fn score(&self, shard: &mut Shard, scratch: &mut Scratch, tokens: Sequences<'_>, into: &mut [f32]) {
        let count = tokens.inputs.len();
        shard.prepare(self.config, count, 1, 0);
        scratch.prepare(self.config, count);
        self.embed(&mut shard.stream[0], tokens);
        for l in 0..self.config.layers {
            let [x, mid, next] = streams_of_block(&mut shard.stream);
            self.block_forward(l, &mut shard.layers[0], [x, mid, next], scratch, tokens, None);
            shard.stream.swap(0, 2);
        }
        self.nll(shard, scratch, 0, tokens.targets, into);
    }

    /// y = norm(x), its statistics kept.
    pub(super) fn normalize(&self, place: &NormPlace, y: &mut [f32], x: &[f32], statistics: &mut [[f32; 2]]) {
        let (norm, rows) = (self.norm(place), statistics.len());
        self.arch.dispatch(Forward { norm, y: PanelsMut::new(y, rows), x: Panels::new(x, rows), statistics });
    }

    pub(super) fn norm(&self, place: &NormPlace) -> Norm<'_> {
        Norm {
            weight: &self.values[place.weight.clone()],
            bias: place.bias.clone().map(|bias| &self.values[bias]),
            centred: self.config.family == Family::Gpt2,
            epsilon: self.config.norm_epsilon as f32,
        }
    }

    pub(super) fn embed(&self, x: &mut [f32], tokens: Sequences<'_>) {
        let (width, table) = (self.config.width, &self.values[self.layout.tokens.clone()]);
        let positions = self.layout.positions.clone().map(|positions| &self.values[positions]);
        let mut x = PanelsMut::new(x, tokens.inputs.len());
        for (i, &token) in tokens.inputs.iter().enumerate() {
            let row = &table[token as usize * width..][..width];
            let position = positions.map(|positions| &positions[i % tokens.length * width..][..width]);
            for (p, (x, row)) in x.row(i).zip(row.chunks(WIDTH)).enumerate() {
                match position {
                    Some(position) => {
                        let position = &position[p * WIDTH..];
                        x.iter_mut().zip(row).zip(position).for_each(|((x, row), position)| *x = row + position);
                    }
                    None => x[..row.len()].copy_from_slice(row),
                }
            }
        }
    }

    /// y = x · W + b, added to `base` where there is one.
    pub(super) fn linear(&self, linear: &Linear, y: PanelsMut<'_>, x: Panels<'_>, base: Option<Panels<'_>>) {
        let bias = linear.bias.clone().map(|bias| rows(&self.copies[bias]));
        product(self.arch, y, x, rows(&self.copies[linear.forward.clone()]), Epilogue { base, bias, times: None }, &[]);
    }

    pub(super) fn place(&self, training: Training, sequence: usize, layer: usize, site: Site) -> MaskKey {
        MaskKey { seed: training.seed, step: training.step, sequence: training.first + sequence, layer, site }
    }

    /// Multiplies rows by their dropout mask; `each` gets row, index of the row and mask.
    pub(super) fn masked(
        &self,
        scratch: &mut [f32],
        tokens: Sequences<'_>,
        place: impl Fn(usize) -> MaskKey,
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

    pub(super) fn drop_embedding(&self, x: &mut [f32], scratch: &mut Scratch, tokens: Sequences<'_>, training: Option<Training>) {
        let (Some(training), true) = (training, self.dropout()) else { return };
        let mut x = PanelsMut::new(x, tokens.inputs.len());
        self.masked(
            &mut scratch.mask,
            tokens,
            |s| self.place(training, s, 0, Site::Embedding),
            |i, mask| {
                for (x, mask) in x.row(i).zip(mask.chunks(WIDTH)) {
                    x.iter_mut().zip(mask).for_each(|(x, m)| *x *= m);
                }
            },
        );
    }

    pub(super) fn dropout(&self) -> bool {
        dropout(self.config)
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
        tokens: Sequences<'_>,
        training: Option<(Training, usize, Site)>,
    ) {
        let rows = tokens.inputs.len();
        let (x, input) = (Panels::new(x, rows), Panels::new(input, rows));
        let (Some((training, layer, site)), true) = (training, self.dropout()) else {
            self.linear(linear, PanelsMut::new(y, rows), input, Some(x));
            return;
        };
        let added = &mut scratch.narrow[..y.len()];
        self.linear(linear, PanelsMut::new(added, rows), input, None);
        let (mut y, added) = (PanelsMut::new(y, rows), Panels::new(added, rows));
        self.masked(
            &mut scratch.mask,
            tokens,
            |s| self.place(training, s, layer, site),
            |i, mask| {
                for (((y, x), added), mask) in y.row(i).zip(x.row(i)).zip(added.row(i)).zip(mask.chunks(WIDTH)) {
                    y.iter_mut().zip(x).zip(added).zip(mask).for_each(|(((y, x), a), m)| *y = x + a * m);
                }
            },
        );
    }

    pub(super) fn setting(&self, length: usize, l: usize, sequence: usize, training: Option<Training>) -> Setting<'_> {
        let config = self.config;
        let dropout = training.filter(|_| self.dropout());
        Setting {
            shape: shape(config, length),
            angles: (config.family == Family::Llama).then_some(self.angles),
            dropout: dropout.map(|training| (self.place(training, sequence, l, Site::Attention), config.dropout)),
        }
    }

    /// The MLP's activation, in training: `active` from `hidden`, which becomes the activation's slope.
    pub(super) fn activate(&self, active: &mut [f32], hidden: &mut [f32], rows: usize) {
        let config = self.config;
        vectorized(
            self.arch,
            #[inline(always)]
            || match (config.family, config.activation) {
                (Family::Llama, _) => {
                    activation::swiglu(PanelsMut::new(active, rows), PanelsMut::new(hidden, rows), config.hidden);
                }
                (Family::Gpt2, Activation::Gelu) => activation::forward(active, hidden, activation::gelu),
                (Family::Gpt2, Activation::GeluTanh) => activation::forward(active, hidden, activation::gelu_tanh),
            },
        );
    }

    /// The MLP's activation where there is no way back: what it makes of `layer.hidden`, in place where it can.
    fn activated<'b>(&self, layer: &'b mut Layer, rows: usize) -> &'b [f32] {
        if self.config.family == Family::Llama {
            self.activate(&mut layer.active, &mut layer.hidden, rows);
            return &layer.active;
        }
        let hidden = &mut layer.hidden;
        vectorized(
            self.arch,
            #[inline(always)]
            || match self.config.activation {
                Activation::Gelu => activation::in_place(hidden, activation::gelu),
                Activation::GeluTanh => activation::in_place(hidden, activation::gelu_tanh),
            },
        );
        hidden
    }

    /// Attention of each sequence: `layer.heads` from `layer.qkv`.
    pub(super) fn attend(
        &self,
        l: usize,
        layer: &mut Layer,
        scratch: &mut Scratch,
        tokens: Sequences<'_>,
        training: Option<Training>,
    ) {
        let (length, heads, rows) = (tokens.length, self.config.heads, tokens.inputs.len());
        for s in 0..rows / length {
            let sequence = s * length..(s + 1) * length;
            let out = PanelsMut::new(&mut layer.heads, rows).some(sequence.clone());
            let sums = &mut layer.sums[s * length * heads..][..length * heads];
            let qkv = Panels::new(&layer.qkv, rows).some(sequence);
            let kept = layer.exponentials.len() * length / rows;
            let kept = &mut layer.exponentials[s * kept..][..kept];
            attention::forward(self.arch, self.setting(length, l, s, training), qkv, out, sums, kept, &mut scratch.attention);
        }
    }

    fn block_forward(
        &self,
        l: usize,
        layer: &mut Layer,
        [x, mid, next]: [&mut [f32]; 3],
        scratch: &mut Scratch,
        tokens: Sequences<'_>,
        training: Option<Training>,
    ) {
        let (block, rows) = (&self.layout.blocks[l], tokens.inputs.len());
        self.normalize(&block.norm1, &mut layer.normed1, x, &mut layer.statistics1);
        self.linear(&block.attention_in, PanelsMut::new(&mut layer.qkv, rows), Panels::new(&layer.normed1, rows), None);
        self.attend(l, layer, scratch, tokens, training);
        let site = training.map(|t| (t, l, Site::AttentionOutput));
        self.add_projection(&block.attention_out, mid, x, &layer.heads, scratch, tokens, site);
        self.normalize(&block.norm2, &mut layer.normed2, mid, &mut layer.statistics2);
        self.linear(&block.mlp_in, PanelsMut::new(&mut layer.hidden, rows), Panels::new(&layer.normed2, rows), None);
        let site = training.map(|t| (t, l, Site::MlpOutput));
        let active = match training {
            None => self.activated(layer, rows),
            Some(_) => {
                self.activate(&mut layer.active, &mut layer.hidden, rows);
                &layer.active
            }
        };
        self.add_projection(&block.mlp_out, next, mid, active, scratch, tokens, site);
    }

    /// The NLL of the targets of a shard whose blocks are done, row by row; `last` is the stream's place.
    fn nll(&self, shard: &mut Shard, scratch: &mut Scratch, last: usize, targets: &[u32], into: &mut [f32]) {
        let Shard { stream, normed, statistics, .. } = shard;
        self.normalize(&self.layout.norm, normed, &stream[last], statistics);
        let (vocabulary, all) = (self.config.vocabulary, targets.len());
        let rows = head_rows(vocabulary, all);
        for (chunk, (targets, into)) in targets.chunks(rows).zip(into.chunks_mut(rows)).enumerate() {
            let count = targets.len();
            let x = Panels::new(normed, all).some(chunk * rows..chunk * rows + count);
            let logits = &mut scratch.logits[..room(count, vocabulary)];
            self.linear(&self.layout.head, PanelsMut::new(logits, count), x, None);
            vectorized(
                self.arch,
                #[inline(always)]
                || loss::nll(PanelsMut::new(logits, count), vocabulary, targets, into),
            );
        }
    }
}
