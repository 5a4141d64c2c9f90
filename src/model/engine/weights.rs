//! Gradients of the parameters, each from all rows of the micro-batch.
//!
//! The gradient array is cut into jobs by a rule that knows only the model's sizes. A job goes through the shards in their
//! order and adds what each contributes, so that neither threads nor micro-batches change a sum.

use std::ops::Range;

use super::block::{Shard, Tokens};
use super::buffer::Buffer;
use super::layout::{Layout, Linear, Way};
use super::matrix::{Onto, outer_product};
use super::vector::add;
use pulp::Arch;

/// A linear layer of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Queries, keys and values of a block.
    AttentionIn(usize),
    /// The projection after attention.
    AttentionOut(usize),
    /// The MLP's first layer.
    MlpIn(usize),
    /// The MLP's projection.
    MlpOut(usize),
    /// The output layer.
    Head,
}

/// What a job's piece of the gradients belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// These rows of a part's weight as it lies.
    Weight { which: Which, part: usize, rows: Range<usize> },
    /// A part's bias.
    Bias { which: Which, part: usize },
    /// A norm's weights (0) or biases (1).
    Norm { index: usize, side: usize },
    /// These rows of the token embedding, and of the output layer where they are tied.
    Tokens { rows: Range<usize>, tied: bool },
    /// The position embedding.
    Positions,
}

/// One piece of the gradients.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Its place among the gradients.
    pub(super) range: Range<usize>,
    /// Something like its floating-point operations a row.
    pub(super) cost: usize,
    kind: Kind,
}

/// The jobs that together are all gradients, in the order of their places.
pub(super) fn jobs(layout: &Layout, tied: bool, width: usize) -> Vec<Job> {
    let mut jobs = Vec::new();
    let piece = (layout.len / 48).max(65_536);
    let linear = |jobs: &mut Vec<Job>, linear: &Linear, which: Which| {
        for (index, part) in linear.parts.iter().enumerate() {
            let (count, columns) = match linear.way {
                Way::InOut => (linear.inputs, linear.outputs),
                Way::OutIn => (part.outputs, linear.inputs),
            };
            for rows in pieces(count, columns, piece) {
                let range = part.weight.start + rows.start * columns..part.weight.start + rows.end * columns;
                jobs.push(Job { cost: range.len(), range, kind: Kind::Weight { which, part: index, rows } });
            }
            if let Some(bias) = part.bias.clone() {
                jobs.push(Job { cost: bias.len(), range: bias, kind: Kind::Bias { which, part: index } });
            }
        }
    };
    for (l, block) in layout.blocks.iter().enumerate() {
        linear(&mut jobs, &block.attention_in, Which::AttentionIn(l));
        linear(&mut jobs, &block.attention_out, Which::AttentionOut(l));
        linear(&mut jobs, &block.mlp_in, Which::MlpIn(l));
        linear(&mut jobs, &block.mlp_out, Which::MlpOut(l));
    }
    if !tied {
        linear(&mut jobs, &layout.head, Which::Head);
    }
    for rows in pieces(layout.tokens.len() / width, width, piece) {
        let range = layout.tokens.start + rows.start * width..layout.tokens.start + rows.end * width;
        let cost = if tied { range.len() } else { 2 * width };
        jobs.push(Job { range, cost, kind: Kind::Tokens { rows, tied } });
    }
    if let Some(range) = layout.positions.clone() {
        jobs.push(Job { range, cost: 2 * width, kind: Kind::Positions });
    }
    for (index, norm) in layout.norms().enumerate() {
        for (side, range) in [Some(norm.weight.clone()), norm.bias.clone()].into_iter().flatten().enumerate() {
            jobs.push(Job { range, cost: 1, kind: Kind::Norm { index, side } });
        }
    }
    jobs.sort_by_key(|job| job.range.start);
    jobs
}

/// Cuts `count` rows of `columns` values into pieces of about `size` values.
fn pieces(count: usize, columns: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = (count * columns).div_ceil(size).clamp(1, count);
    let step = count.div_ceil(parts);
    (0..count).step_by(step).map(move |start| start..(start + step).min(count))
}

fn linear(layout: &Layout, which: Which) -> &Linear {
    match which {
        Which::AttentionIn(l) => &layout.blocks[l].attention_in,
        Which::AttentionOut(l) => &layout.blocks[l].attention_out,
        Which::MlpIn(l) => &layout.blocks[l].mlp_in,
        Which::MlpOut(l) => &layout.blocks[l].mlp_out,
        Which::Head => &layout.head,
    }
}

/// The gradient of what is added to the residual stream: without dropout the stream's own.
fn added<'a>(masked: &'a [f32], stream: &'a [f32]) -> &'a [f32] {
    if masked.is_empty() { stream } else { masked }
}

/// A linear layer's input and the gradient of its output.
fn input_and_gradient(shard: &Shard, which: Which) -> (&[f32], &[f32]) {
    match which {
        Which::AttentionIn(l) => (&shard.layers[l].normed1, &shard.layers[l].qkv),
        Which::AttentionOut(l) => (&shard.layers[l].heads, added(&shard.layers[l].heads_gradient, &shard.stream[2 * l + 1])),
        Which::MlpIn(l) => (&shard.layers[l].normed2, &shard.layers[l].hidden),
        Which::MlpOut(l) => (&shard.layers[l].active, added(&shard.layers[l].active_gradient, &shard.stream[2 * l + 2])),
        Which::Head => (&shard.normed, &shard.logits),
    }
}

impl Job {
    /// Adds one shard's contribution to this piece, or begins it; `space` is any buffer, used on the way.
    #[expect(clippy::too_many_arguments, reason = "where it goes, and all that a gradient depends on")]
    pub(super) fn add(
        &self,
        arch: Arch,
        gradient: &mut [f32],
        layout: &Layout,
        shard: &Shard,
        tokens: Tokens<'_>,
        begin: bool,
        space: &mut Buffer,
    ) {
        let onto = if begin { Onto::Zero } else { Onto::Itself };
        let product_first = matches!(self.kind, Kind::Weight { .. } | Kind::Tokens { tied: true, .. });
        if begin && !product_first {
            gradient.fill(0.0);
        }
        let width = layout.head.inputs;
        match &self.kind {
            Kind::Weight { which, part, rows: piece } => {
                let linear = linear(layout, *which);
                let (inputs, outputs) = (linear.inputs, linear.outputs);
                let (x, dy) = input_and_gradient(shard, *which);
                let first = linear.parts[*part].first;
                match linear.way {
                    Way::InOut => outer_product(arch, gradient, (&x[piece.start..], inputs), dy, outputs, onto, space),
                    Way::OutIn => outer_product(arch, gradient, (&dy[first + piece.start..], outputs), x, inputs, onto, space),
                }
            }
            Kind::Bias { which, part } => {
                let linear = linear(layout, *which);
                let part = &linear.parts[*part];
                let (_, dy) = input_and_gradient(shard, *which);
                for row in dy.chunks_exact(linear.outputs) {
                    add(gradient, &row[part.first..][..part.outputs]);
                }
            }
            Kind::Norm { index, side } => add(gradient, &shard.norms[(2 * index + side) * width..][..width]),
            Kind::Tokens { rows: piece, tied } => {
                if *tied {
                    let (x, dy) = input_and_gradient(shard, Which::Head);
                    outer_product(arch, gradient, (&dy[piece.start..], layout.head.outputs), x, width, onto, space);
                }
                for (row, &token) in shard.stream[0].chunks_exact(width).zip(tokens.inputs) {
                    if piece.contains(&(token as usize)) {
                        add(&mut gradient[(token as usize - piece.start) * width..][..width], row);
                    }
                }
            }
            Kind::Positions => {
                for sequence in shard.stream[0].chunks_exact(tokens.length * width) {
                    add(gradient, sequence);
                }
            }
        }
    }
}
