//! One shard's way back: from the loss to the gradients of all parameters.
//!
//! A layer's weights get their gradient as soon as the gradient of its output is there, while both operands are in the
//! cache. Everything goes into one array, which the shard's lane has to itself (see `lanes`).

use super::activation;
use super::attention;
use super::forward::Model;
use super::layout::{Linear, NormPlace, WeightOrder};
use super::loss;
use super::matrix::{Epilogue, outer_product, product};
use super::norm;
use super::panels::{Panels, PanelsMut, WIDTH, room, rows};
use super::shard::{Gradient, Layer, Scratch, Shard, Training, head_rows, streams_of_block};
use super::vector::vectorized;
use crate::experiment::settings::Family;
use crate::model::Sequences;
use crate::model::dropout::{MaskKey, Site};

/// What comes after the gradient of a linear layer's input.
#[derive(Clone, Copy, Default)]
pub(super) struct InputEpilogue<'a> {
    /// The slope of the activation whose output that input is, each value's own: the gradient goes on to before it.
    pub(super) times: Option<Panels<'a>>,
    /// What the operation behind it reads.
    pub(super) next: &'a [f32],
}

impl Model<'_> {
    /// The output layer with its loss, forward and backward, some rows at a time: the logits of all rows never exist at once.
    pub(super) fn head(
        &self,
        shard: &mut Shard,
        scratch: &mut Scratch,
        tokens: Sequences<'_>,
        scale: f32,
        gradient: &mut Gradient<'_>,
        nll: &mut [f64],
    ) {
        let Shard { stream, normed, statistics, .. } = shard;
        let Scratch { narrow, logits, .. } = scratch;
        let (layer, last, vocabulary) = (&self.layout.head, 2 * self.config.layers, self.config.vocabulary);
        self.normalize(&self.layout.norm, normed, &stream[last], statistics);
        let all = tokens.targets.len();
        let (rows, mut pieces) = (head_rows(vocabulary, all), gradient.pieces());
        for (chunk, targets) in tokens.targets.chunks(rows).enumerate() {
            let (count, place) = (targets.len(), chunk * rows..chunk * rows + targets.len());
            let x = Panels::new(normed, all).some(place.clone());
            let dx = PanelsMut::new(narrow, all).some(place);
            let logits = &mut logits[..room(count, vocabulary)];
            self.linear(layer, PanelsMut::new(logits, count), x, None);
            let sums = &mut *nll;
            vectorized(
                self.arch,
                #[inline(always)]
                || {
                    loss::cross_entropy(PanelsMut::new(logits, count), vocabulary, targets, scale, |i, loss| {
                        sums[(chunk * rows + i) / tokens.length] += f64::from(loss);
                    });
                },
            );
            self.linear_backward(layer, dx, x, Panels::new(logits, count), &mut pieces, InputEpilogue::default());
            pieces.begin = false;
        }
        self.norm_backward(&self.layout.norm, &mut stream[last], None, narrow, statistics, gradient);
    }

    /// A block's way back: the gradient of the stream behind it becomes that of the stream before it.
    pub(super) fn block_backward(
        &self,
        l: usize,
        shard: &mut Shard,
        scratch: &mut Scratch,
        tokens: Sequences<'_>,
        training: Training,
        gradient: &mut Gradient<'_>,
    ) {
        let block = &self.layout.blocks[l];
        let layer = &mut shard.layers[l];
        let [x, mid, next] = streams_of_block(&mut shard.stream[2 * l..]);
        let Scratch { wide, narrow, masked, mask, attention, .. } = scratch;
        let rows = tokens.inputs.len();

        let place = |s| self.place(training, s, l, Site::MlpOutput);
        let dy = Panels::new(self.before_dropout(next, masked, mask, tokens, place), rows);
        let dactive = &mut wide[..layer.active.len()];
        let (into, active) = (PanelsMut::new(dactive, rows), Panels::new(&layer.active, rows));
        let gated = self.config.family == Family::Llama;
        let times = (!gated).then(|| Panels::new(&layer.hidden, rows));
        self.linear_backward(&block.mlp_out, into, active, dy, gradient, InputEpilogue { times, next: &[] });
        if gated {
            self.gate_backward(&mut layer.hidden, dactive, rows);
        }
        let dhidden = Panels::new(if gated { &layer.hidden } else { dactive }, rows);
        let normed = Panels::new(&layer.normed2, rows);
        let after = InputEpilogue { next: mid, ..InputEpilogue::default() };
        self.linear_backward(&block.mlp_in, PanelsMut::new(narrow, rows), normed, dhidden, gradient, after);
        self.norm_backward(&block.norm2, mid, Some(next), narrow, &layer.statistics2, gradient);

        let place = |s| self.place(training, s, l, Site::AttentionOutput);
        let dy = Panels::new(self.before_dropout(mid, masked, mask, tokens, place), rows);
        let dheads = &mut wide[..layer.heads.len()];
        let (into, heads) = (PanelsMut::new(dheads, rows), Panels::new(&layer.heads, rows));
        self.linear_backward(&block.attention_out, into, heads, dy, gradient, InputEpilogue::default());
        self.attend_backward(l, layer, dheads, attention, tokens, training);
        let (normed, dqkv) = (Panels::new(&layer.normed1, rows), Panels::new(&layer.qkv, rows));
        let after = InputEpilogue { next: x, ..InputEpilogue::default() };
        self.linear_backward(&block.attention_in, PanelsMut::new(narrow, rows), normed, dqkv, gradient, after);
        self.norm_backward(&block.norm1, x, Some(mid), narrow, &layer.statistics1, gradient);
    }

    /// dx = dy · Wᵀ, with what comes `after`; adds dW = xᵀ · dy and the bias's gradient.
    fn linear_backward(
        &self,
        linear: &Linear,
        dx: PanelsMut<'_>,
        x: Panels<'_>,
        dy: Panels<'_>,
        gradient: &mut Gradient<'_>,
        after: InputEpilogue<'_>,
    ) {
        self.linear_weights(linear, x, dy, gradient);
        self.linear_inputs(linear, dx, dy, after);
    }

    /// dx = dy · Wᵀ, with what comes `after`.
    pub(super) fn linear_inputs(&self, linear: &Linear, dx: PanelsMut<'_>, dy: Panels<'_>, after: InputEpilogue<'_>) {
        let epilogue = Epilogue { times: after.times, ..Epilogue::default() };
        product(self.arch, dx, dy, rows(&self.copies[linear.backward.clone()]), epilogue, rows(after.next));
    }

    /// Adds dW = xᵀ · dy, as each weight lies, and the bias's gradient.
    pub(super) fn linear_weights(&self, linear: &Linear, x: Panels<'_>, dy: Panels<'_>, gradient: &mut Gradient<'_>) {
        let added = !gradient.begin;
        for part in &linear.parts {
            let (weight, outputs) = (part.weight.clone(), part.first..part.first + part.outputs);
            match linear.order {
                WeightOrder::InOut => outer_product(self.arch, &mut gradient.all[weight], x, 0..linear.inputs, dy, added),
                WeightOrder::OutIn => outer_product(self.arch, &mut gradient.all[weight], dy, outputs.clone(), x, added),
            }
            if let Some(bias) = part.bias.clone() {
                let bias = accumulator(gradient, bias);
                vectorized(
                    self.arch,
                    #[inline(always)]
                    || add_rows(bias, dy, outputs.clone()),
                );
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
        let (weight, bias) = accumulator(gradient, both).split_at_mut(place.weight.len());
        let (bias, rows) = (place.bias.is_some().then_some(bias), statistics.len());
        let residual = residual.map(|residual| Panels::new(residual, rows));
        let (x, dy) = (PanelsMut::new(x, rows), PanelsMut::new(dy, rows));
        self.arch.dispatch(norm::Backward { norm, x, residual, dy, statistics, weight, bias });
    }

    /// Adds the gradients of the embeddings, given that of their sum.
    pub(super) fn embed_backward(&self, dx: &[f32], tokens: Sequences<'_>, gradient: &mut Gradient<'_>) {
        let width = self.config.width;
        // A tied table has its gradient as the output layer already.
        let table = if self.config.tied {
            &mut gradient.pieces().all[self.layout.tokens.clone()]
        } else {
            accumulator(gradient, self.layout.tokens.clone())
        };
        let dx = Panels::new(dx, tokens.inputs.len());
        for (i, &token) in tokens.inputs.iter().enumerate() {
            add_to(&mut table[token as usize * width..][..width], dx, i);
        }
        if let Some(positions) = self.layout.positions.clone() {
            let positions = accumulator(gradient, positions);
            for i in 0..tokens.inputs.len() {
                add_to(&mut positions[i % tokens.length * width..][..width], dx, i);
            }
        }
    }

    /// `hidden`, the slopes along gate and up, becomes the gradient, given that of what the activation made of them.
    pub(super) fn gate_backward(&self, hidden: &mut [f32], dactive: &[f32], rows: usize) {
        let width = self.config.hidden;
        vectorized(
            self.arch,
            #[inline(always)]
            || activation::gated_backward(PanelsMut::new(hidden, rows), Panels::new(dactive, rows), width),
        );
    }

    /// `layer.qkv` becomes its gradient, given that of the heads.
    pub(super) fn attend_backward(
        &self,
        l: usize,
        layer: &mut Layer,
        dheads: &[f32],
        scratch: &mut attention::Scratch,
        tokens: Sequences<'_>,
        training: Training,
    ) {
        let (length, heads, rows) = (tokens.length, self.config.heads, tokens.inputs.len());
        for s in 0..rows / length {
            let sequence = s * length..(s + 1) * length;
            let sums = &layer.sums[s * length * heads..][..length * heads];
            let qkv = PanelsMut::new(&mut layer.qkv, rows).some(sequence.clone());
            let [out, dout] = [&layer.heads, dheads].map(|x| Panels::new(x, rows).some(sequence.clone()));
            let kept = layer.exponentials.len() * length / rows;
            let kept = &layer.exponentials[s * kept..];
            attention::backward(self.arch, self.setting(length, l, s, Some(training)), qkv, out, dout, sums, kept, scratch);
        }
    }

    /// The gradient of what a projection adds: the residual stream's, through dropout where there is any.
    fn before_dropout<'b>(
        &self,
        gradient: &'b [f32],
        masked: &'b mut [f32],
        scratch: &mut [f32],
        tokens: Sequences<'_>,
        place: impl Fn(usize) -> MaskKey,
    ) -> &'b [f32] {
        if !self.dropout() {
            return gradient;
        }
        let rows = tokens.inputs.len();
        let (mut into, gradient) = (PanelsMut::new(masked, rows), Panels::new(gradient, rows));
        self.masked(scratch, tokens, place, |i, mask| {
            for ((y, d), mask) in into.row(i).zip(gradient.row(i)).zip(mask.chunks(WIDTH)) {
                y.iter_mut().zip(d).zip(mask).for_each(|((y, d), m)| *y = d * m);
            }
        });
        masked
    }
}

/// sums += row i of x.
fn add_to(sums: &mut [f32], x: Panels<'_>, i: usize) {
    for (sums, x) in sums.chunks_mut(WIDTH).zip(x.row(i)) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
}

/// sums += all rows of these columns of x, one after another.
#[inline(always)]
fn add_rows(sums: &mut [f32], x: Panels<'_>, columns: std::ops::Range<usize>) {
    for p in columns.start / WIDTH..columns.end.div_ceil(WIDTH) {
        let here = columns.start.max(p * WIDTH)..columns.end.min((p + 1) * WIDTH);
        let sums = &mut sums[here.start - columns.start..here.end - columns.start];
        let place = here.start - p * WIDTH;
        let mut lanes = [0.0; WIDTH];
        lanes[place..place + sums.len()].copy_from_slice(sums);
        for row in x.panel(p) {
            for e in 0..WIDTH {
                lanes[e] += row[e];
            }
        }
        sums.copy_from_slice(&lanes[place..place + sums.len()]);
    }
}

/// A parameter's gradient to be added to in pieces.
fn accumulator<'a>(gradient: &'a mut Gradient<'_>, range: std::ops::Range<usize>) -> &'a mut [f32] {
    let Gradient { all, begin, .. } = gradient.pieces();
    let sums = &mut all[range];
    if begin {
        sums.fill(0.0);
    }
    sums
}
