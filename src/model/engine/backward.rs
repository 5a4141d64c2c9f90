//! One shard's way back: from the loss to the gradients of all parameters.
//!
//! A layer's weights get their gradient as soon as the gradient of its output is there, while both operands are in the
//! cache. Everything goes into one array, which the shard's lane has to itself (see `lanes`).

use super::activation;
use super::attention;
use super::block::{Gradient, Layer, Model, Scratch, Shard, Space, Tokens, Training, head_rows, three};
use super::layout::{Linear, NormPlace, Way};
use super::loss;
use super::matrix::{Onto, outer_product, product};
use super::packing::{Packed, pack_columns, pack_rows};
use super::vector::{add, vectorized, warm};
use crate::experiment::settings::Family;
use crate::model::dropout::{Place, Site};

impl Model<'_> {
    /// The output layer with its loss, forward and backward, some rows at a time: the logits of all rows never exist at once.
    pub(super) fn head(
        &self,
        shard: &mut Shard,
        scratch: &mut Scratch,
        tokens: Tokens<'_>,
        scale: f32,
        gradient: &mut Gradient<'_>,
        nll: &mut [f64],
    ) {
        let Shard { stream, normed, statistics, .. } = shard;
        let Scratch { narrow, logits, space, .. } = scratch;
        let (layer, last) = (&self.layout.head, 2 * self.config.layers);
        self.normalize(&self.layout.norm, normed, &stream[last], statistics);
        let [width, vocabulary] = [self.config.width, self.config.vocabulary];
        let (rows, mut pieces) = (head_rows(vocabulary, tokens.targets.len()), gradient.pieces());
        let chunks = normed.chunks(rows * width).zip(narrow.chunks_mut(rows * width)).zip(tokens.targets.chunks(rows));
        for (chunk, ((x, dx), targets)) in chunks.enumerate() {
            let logits = &mut logits[..targets.len() * vocabulary];
            self.linear(layer, logits, x, None);
            let sums = &mut *nll;
            vectorized(
                self.arch,
                #[inline(always)]
                || {
                    loss::cross_entropy(logits, targets, scale, |i, loss| {
                        sums[(chunk * rows + i) / tokens.length] += f64::from(loss);
                    });
                },
            );
            self.linear_backward(layer, dx, x, logits, &mut pieces, space);
            pieces.begin = false;
        }
        let dy = &mut narrow[..stream[last].len()];
        self.norm_backward(&self.layout.norm, &mut stream[last], None, dy, statistics, gradient);
    }

    /// A block's way back: the gradient of the stream behind it becomes that of the stream before it.
    pub(super) fn block_backward(
        &self,
        l: usize,
        shard: &mut Shard,
        scratch: &mut Scratch,
        tokens: Tokens<'_>,
        training: Training,
        gradient: &mut Gradient<'_>,
    ) {
        let block = &self.layout.blocks[l];
        let layer = &mut shard.layers[l];
        let [x, mid, next] = three(&mut shard.stream[2 * l..]);
        let Scratch { wide, narrow, masked, mask, attention, space, .. } = scratch;
        let narrow = &mut narrow[..x.len()];

        let place = |s| self.place(training, s, l, Site::MlpOutput);
        let dy = self.before_dropout(next, masked, mask, tokens, place);
        let dactive = &mut wide[..layer.active.len()];
        self.linear_backward(&block.mlp_out, dactive, &layer.active, dy, gradient, space);
        self.activate_backward(&mut layer.hidden, dactive);
        self.linear_backward(&block.mlp_in, narrow, &layer.normed2, &layer.hidden, gradient, space);
        self.norm_backward(&block.norm2, mid, Some(next), narrow, &layer.statistics2, gradient);

        let place = |s| self.place(training, s, l, Site::AttentionOutput);
        let dy = self.before_dropout(mid, masked, mask, tokens, place);
        let dheads = &mut wide[..layer.heads.len()];
        self.linear_backward(&block.attention_out, dheads, &layer.heads, dy, gradient, space);
        self.attend_backward(l, layer, dheads, attention, tokens, training);
        self.linear_backward(&block.attention_in, narrow, &layer.normed1, &layer.qkv, gradient, space);
        self.norm_backward(&block.norm1, x, Some(mid), narrow, &layer.statistics1, gradient);
    }

    /// dx = dy · Wᵀ; adds dW = xᵀ · dy and the bias's gradient.
    pub(super) fn linear_backward(
        &self,
        linear: &Linear,
        dx: &mut [f32],
        x: &[f32],
        dy: &[f32],
        gradient: &mut Gradient<'_>,
        space: &mut Space,
    ) {
        self.linear_weights(linear, x, dy, gradient, space);
        self.linear_inputs(linear, dx, dy);
    }

    /// dx = dy · Wᵀ.
    pub(super) fn linear_inputs(&self, linear: &Linear, dx: &mut [f32], dy: &[f32]) {
        let weight = Packed { data: &self.copies[linear.backward.clone()], size: [linear.outputs, linear.inputs] };
        product(self.arch, dx, dy, weight, Onto::Zero);
    }

    /// Adds dW = xᵀ · dy, as each weight lies, and the bias's gradient.
    pub(super) fn linear_weights(&self, linear: &Linear, x: &[f32], dy: &[f32], gradient: &mut Gradient<'_>, space: &mut Space) {
        let Linear { inputs, outputs, .. } = *linear;
        let onto = if gradient.begin { Onto::Zero } else { Onto::Itself };
        let Space { left, right } = space;
        let right = match linear.way {
            Way::InOut => pack_rows(self.arch, right, dy, outputs),
            Way::OutIn => pack_rows(self.arch, right, x, inputs),
        };
        for part in &linear.parts {
            let left = match linear.way {
                Way::InOut => pack_columns(self.arch, left, x, inputs, 0..inputs),
                Way::OutIn => pack_columns(self.arch, left, dy, outputs, part.first..part.first + part.outputs),
            };
            outer_product(self.arch, &mut gradient.all[part.weight.clone()], left, right, onto);
            if let Some(bias) = part.bias.clone() {
                let bias = begun(gradient, bias);
                dy.chunks_exact(outputs).for_each(|row| add(bias, &row[part.first..][..part.outputs]));
            }
        }
    }

    /// `x` becomes `residual` + the gradient of the norm's input; adds the gradients of its weight and bias. `dy` is overwritten.
    pub(super) fn norm_backward(
        &self,
        place: &NormPlace,
        x: &mut [f32],
        residual: Option<&[f32]>,
        dy: &mut [f32],
        statistics: &[[f32; 2]],
        gradient: &mut Gradient<'_>,
    ) {
        let norm = self.norm(place);
        let both = place.weight.start..place.bias.as_ref().unwrap_or(&place.weight).end;
        let (weight, bias) = begun(gradient, both).split_at_mut(place.weight.len());
        let mut bias = place.bias.is_some().then_some(bias);
        vectorized(
            self.arch,
            #[inline(always)]
            || norm.backward(x, residual, dy, statistics, weight, bias.as_deref_mut()),
        );
    }

    /// Adds the gradients of the embeddings, given that of their sum.
    pub(super) fn embed_backward(&self, dx: &[f32], tokens: Tokens<'_>, gradient: &mut Gradient<'_>) {
        let width = self.config.width;
        // A tied table has its gradient as the output layer already.
        let table = if self.config.tied {
            &mut gradient.pieces().all[self.layout.tokens.clone()]
        } else {
            begun(gradient, self.layout.tokens.clone())
        };
        for (row, &token) in dx.chunks_exact(width).zip(tokens.inputs) {
            add(&mut table[token as usize * width..][..width], row);
        }
        if let Some(positions) = self.layout.positions.clone() {
            let positions = begun(gradient, positions);
            dx.chunks_exact(tokens.length * width).for_each(|sequence| add(positions, sequence));
        }
    }

    /// `hidden`, the activation's slope, becomes its gradient, given that of what the activation made of it.
    pub(super) fn activate_backward(&self, hidden: &mut [f32], dactive: &[f32]) {
        let (family, width) = (self.config.family, self.config.hidden);
        vectorized(
            self.arch,
            #[inline(always)]
            || match family {
                Family::Gpt2 => activation::backward(hidden, dactive),
                Family::Llama => activation::gated_backward(hidden, dactive, width),
            },
        );
    }

    /// `layer.qkv` becomes its gradient, given that of the heads.
    pub(super) fn attend_backward(
        &self,
        l: usize,
        layer: &mut Layer,
        dheads: &[f32],
        scratch: &mut attention::Scratch,
        tokens: Tokens<'_>,
        training: Training,
    ) {
        let (config, length, row) = (self.config, tokens.length, self.layout.blocks[l].attention_in.outputs);
        for s in 0..tokens.inputs.len() / length {
            let place = s * length * config.width..(s + 1) * length * config.width;
            let sums = &layer.sums[s * length * config.heads..][..length * config.heads];
            let setting = self.setting(length, l, s, Some(training));
            let qkv = &mut layer.qkv[s * length * row..][..length * row];
            warm(qkv);
            warm(&layer.heads[place.clone()]);
            attention::backward(self.arch, setting, qkv, &layer.heads[place.clone()], &dheads[place], sums, scratch);
        }
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
        let masked = &mut masked[..gradient.len()];
        self.masked(scratch, tokens, place, |i, mask| {
            let (y, d) = (&mut masked[i * width..][..width], &gradient[i * width..][..width]);
            y.iter_mut().zip(d).zip(mask).for_each(|((y, d), m)| *y = d * m);
        });
        masked
    }
}

/// A parameter's gradient to be added to in pieces.
fn begun<'a>(gradient: &'a mut Gradient<'_>, range: std::ops::Range<usize>) -> &'a mut [f32] {
    let Gradient { all, begin, .. } = gradient.pieces();
    let sums = &mut all[range];
    if begin {
        sums.fill(0.0);
    }
    sums
}
