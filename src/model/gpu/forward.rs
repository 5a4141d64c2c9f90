//! The way forward, of a unit in training and of windows that are scored: reads like `plain/gpt2.rs` and `plain/llama.rs`.

use super::arena::{Arrays, Attended, Layer, Masks, Normed, Passage};
use super::cuda::{Address, Argument, Array};
use super::launch::{Launcher, int, long, or_null};
use super::layout::{Layout, Linear, Norm};
use super::product_shapes::Shapes;
use super::ring::Slot;
use super::sizes::{Rows, Sizes, short_shared, tiled_shared};
use crate::error::{Error, Result};
use crate::experiment::settings::Activation;
use crate::model::Config;

/// A model on the device, and where its launches go.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    pub(super) config: &'a Config,
    pub(super) sizes: &'a Sizes,
    pub(super) layout: &'a Layout,
    pub(super) slot: &'a Slot,
    pub(super) arrays: &'a Arrays<Array>,
    pub(super) shapes: Shapes<'a>,
    pub(super) launcher: Launcher<'a>,
}

/// Windows on their way through the model.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    /// What they fill.
    pub(super) passage: &'a Passage<Array>,
    /// How many and how long they are.
    pub(super) rows: Rows,
    /// Int [K, W, L + 1].
    pub(super) tokens: Address,
    /// What falls out.
    pub(super) masks: Option<&'a Masks<Array>>,
}

impl<'a> Pass<'a> {
    /// What a block fills.
    pub(super) fn layer(&self, layer: usize) -> &'a Layer<Array> {
        let layers = &self.passage.layers;
        &layers[layer % layers.len()]
    }
}

impl Model<'_> {
    /// Through all blocks and the last norm.
    pub(super) fn forward(&self, pass: Pass<'_>) -> Result<()> {
        let passage = pass.passage;
        self.embed(pass)?;
        for (l, block) in self.layout.blocks.iter().enumerate() {
            let layer = pass.layer(l);
            // The first norm of a block makes the residual stream of what the block before has left.
            match l.checked_sub(1) {
                None => self.norm(&block.norm1, pass, None, &layer.norm1)?,
                Some(before) => {
                    let added = Some((&pass.layer(before).norm2.x, self.mlp_mask(pass, before)));
                    self.norm(&block.norm1, pass, added, &layer.norm1)?;
                }
            }
            let qkv = match &layer.attended {
                Attended::Short { qkv, .. } | Attended::Tiles { qkv, .. } => qkv,
                Attended::Products { .. } => &passage.qkv,
            };
            self.linear(&block.attention_in, pass, &layer.norm1.normed, qkv)?;
            match &layer.attended {
                Attended::Short { qkv, p } => self.short_attention(l, pass, qkv, p)?,
                Attended::Products { q, k, v, p } => self.attention(l, pass, [q, k, v], p)?,
                Attended::Tiles { qkv, logs } => self.tiled_attention(l, pass, qkv, logs)?,
            }
            self.linear(&block.attention_out, pass, &layer.mixed, &passage.delta)?;

            let added = Some((&layer.norm1.x, self.attention_mask(pass, l)));
            self.norm(&block.norm2, pass, added, &layer.norm2)?;
            self.linear(&block.mlp_in, pass, &layer.norm2.normed, &layer.hidden_in)?;
            self.activate(pass, layer)?;
            self.linear(&block.mlp_out, pass, &layer.hidden, &passage.delta)?;
        }
        let last = self.sizes.layers - 1;
        let added = Some((&pass.layer(last).norm2.x, self.mlp_mask(pass, last)));
        self.norm(&self.layout.norm, pass, added, &passage.last)
    }

    /// Token embeddings, and positions where they are learned.
    fn embed(&self, pass: Pass<'_>) -> Result<()> {
        let Sizes { members, width, .. } = *self.sizes;
        let rows = pass.rows.all();
        let arguments = [
            self.values(self.layout.tokens),
            self.layout.positions.map_or(Argument::Pointer(Address::NULL), |positions| self.values(positions)),
            long(self.sizes.parameters),
            Argument::Pointer(pass.tokens),
            or_null(self.embedding_mask(pass)),
            self.members(),
            Argument::Pointer(pass.layer(0).norm1.x.at(0)),
            int(rows),
            int(pass.rows.length),
            int(width),
        ];
        self.launcher.kernel("embed", [rows, members, 1], 128, 0, &arguments)
    }

    /// The residual stream `into.x`, where something is added to what it was before (`delta`, through this mask), and its norm.
    fn norm(&self, norm: &Norm, pass: Pass<'_>, added: Option<(&Array, Option<Address>)>, into: &Normed<Array>) -> Result<()> {
        let Sizes { members, width, .. } = *self.sizes;
        let rows = pass.rows.all();
        let (x, delta, mask, x_out) = match added {
            None => (into.x.at(0), None, None, None),
            Some((before, mask)) => (before.at(0), Some(pass.passage.delta.at(0)), mask, Some(into.x.at(0))),
        };
        let mut arguments =
            vec![Argument::Pointer(x), or_null(delta), or_null(mask), self.members(), self.values(norm.weight.start)];
        let mean = into.statistics.mean.as_ref();
        if mean.is_some() {
            arguments.push(norm.bias.map_or(Argument::Pointer(Address::NULL), |bias| self.values(bias.start)));
        }
        arguments.extend([long(self.sizes.parameters), or_null(x_out), Argument::Pointer(into.normed.at(0))]);
        arguments.extend(mean.map(|mean| Argument::Pointer(mean.at(0))));
        arguments.extend([
            Argument::Pointer(into.statistics.rstd.at(0)),
            int(rows),
            int(width),
            Argument::Float(self.config.norm_epsilon as f32),
        ]);
        let name = if mean.is_some() { "layer_norm" } else { "rms_norm" };
        self.launcher.kernel(name, [rows.div_ceil(4), members, 1], 128, 0, &arguments)
    }

    /// y = x · weight + bias.
    fn linear(&self, linear: &Linear, pass: Pass<'_>, x: &Array, y: &Array) -> Result<()> {
        let shape = self.shapes.linear(linear, pass.rows.all());
        let bias = linear.bias.map(|bias| self.weights(bias.start));
        self.launcher.multiply(shape, x.at(0), self.weights(linear.weight), y.at(0), bias)
    }

    /// Attention in one launch.
    fn short_attention(&self, l: usize, pass: Pass<'_>, qkv: &Array, p: &Array) -> Result<()> {
        let Sizes { members, heads, kv_heads, head, .. } = *self.sizes;
        let (layer, Rows { windows, length }) = (pass.layer(l), pass.rows);
        let arguments = [
            Argument::Pointer(qkv.at(0)),
            self.angles(),
            or_null(self.weights_mask(pass, l)),
            self.members(),
            Argument::Pointer(p.at(0)),
            Argument::Pointer(layer.mixed.at(0)),
            int(length),
            int(heads),
            int(kv_heads),
            int(head),
            self.softmax_scale(),
        ];
        let [shared, _] = short_shared(length, head);
        self.launcher.kernel("short_attention", [windows * heads, members, 1], 512, shared, &arguments)
    }

    /// Attention in tiles. Queries and keys are turned where they lie.
    fn tiled_attention(&self, l: usize, pass: Pass<'_>, qkv: &Array, logs: &Array) -> Result<()> {
        let Sizes { members, heads, head, .. } = *self.sizes;
        self.turn_rows(pass, qkv, 1.0)?;
        let arguments = [
            Argument::Pointer(qkv.at(0)),
            or_null(self.weights_mask(pass, l)),
            self.members(),
            Argument::Pointer(pass.layer(l).mixed.at(0)),
            Argument::Pointer(logs.at(0)),
        ];
        let arguments = [&arguments[..], &self.tile_sizes(pass.rows)].concat();
        let [shared, _] = tiled_shared(head);
        self.launcher.kernel("tiled_attention", [self.sizes.tiles(pass.rows, heads), members, 1], 128, shared, &arguments)
    }

    /// Queries and keys of rows turned by their positions, or back with `direction` −1, where positions are rotary.
    pub(super) fn turn_rows(&self, pass: Pass<'_>, qkv: &Array, direction: f32) -> Result<()> {
        let Sizes { members, heads, kv_heads, head, qkv: columns, rotary, .. } = *self.sizes;
        if !rotary {
            return Ok(());
        }
        let rows = pass.rows.all();
        let arguments = [
            Argument::Pointer(qkv.at(0)),
            self.angles(),
            int(rows),
            int(pass.rows.length),
            int(columns),
            int(heads + kv_heads),
            int(head),
            Argument::Float(direction),
        ];
        self.launcher.kernel("turn_rows", [rows, members, 1], 128, 0, &arguments)
    }

    /// Attention head by head, by products. Queries, keys and values lie side by side in rows before.
    fn attention(&self, l: usize, pass: Pass<'_>, [q, k, v]: [&Array; 3], p: &Array) -> Result<()> {
        let Sizes { members, heads, kv_heads, head, .. } = *self.sizes;
        let (passage, layer, rows) = (pass.passage, pass.layer(l), pass.rows.all());
        let mixed = in_heads(&passage.heads)?.at(0);
        let head_sizes = [int(rows), int(pass.rows.length), int(heads)];
        let arguments = [
            Argument::Pointer(passage.qkv.at(0)),
            self.angles(),
            Argument::Pointer(q.at(0)),
            Argument::Pointer(k.at(0)),
            Argument::Pointer(v.at(0)),
        ];
        let arguments = [&arguments[..], &head_sizes, &[int(kv_heads), int(head)]].concat();
        self.launcher.kernel("split_heads", [rows, members, 1], 128, 0, &arguments)?;

        self.launcher.multiply(self.shapes.scores(pass.rows), q.at(0), k.at(0), p.at(0), None)?;
        let dropped = passage.dropped.as_ref();
        let arguments = [
            Argument::Pointer(p.at(0)),
            or_null(self.weights_mask(pass, l)),
            self.members(),
            or_null(dropped.map(|dropped| dropped.at(0))),
        ];
        let arguments = [&arguments[..], &self.softmax_sizes(pass.rows), &[self.softmax_scale()]].concat();
        self.launcher.kernel("causal_softmax", self.softmax_grid(pass.rows), 128, 0, &arguments)?;
        let p = dropped.unwrap_or(p);
        self.launcher.multiply(self.shapes.mixed(pass.rows), p.at(0), v.at(0), mixed, None)?;

        let arguments = [Argument::Pointer(mixed), Argument::Pointer(layer.mixed.at(0))];
        let arguments = [&arguments[..], &head_sizes, &[int(head)]].concat();
        self.launcher.kernel("merge_heads", [rows, members, 1], 128, 0, &arguments)
    }

    fn activate(&self, pass: Pass<'_>, layer: &Layer<Array>) -> Result<()> {
        let Sizes { members, hidden, rotary, .. } = *self.sizes;
        let rows = members * pass.rows.all();
        let from_to = [Argument::Pointer(layer.hidden_in.at(0)), Argument::Pointer(layer.hidden.at(0))];
        if rotary {
            return self.launcher.kernel("swiglu", [rows, 1, 1], 128, 0, &[&from_to[..], &[int(hidden)]].concat());
        }
        let name = match self.config.activation {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
        };
        let count = rows * hidden;
        self.launcher.kernel(name, [count.div_ceil(1024), 1, 1], 256, 0, &[&from_to[..], &[long(count)]].concat())
    }

    /// The NLL of every target, after [`Model::forward`].
    pub(super) fn score(&self, pass: Pass<'_>) -> Result<()> {
        self.chunks(pass, |first, rows| {
            self.logits(pass, first, rows)?;
            self.loss_kernel("nll_only", pass, first, rows)
        })
    }

    /// Rows of the output layer, a chunk at a time: (first, number).
    pub(super) fn chunks(&self, pass: Pass<'_>, mut each: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        let all = pass.rows.all();
        let chunk = self.sizes.logits_rows(all);
        (0..all).step_by(chunk).try_for_each(|first| each(first, chunk.min(all - first)))
    }

    /// The logits of some rows.
    pub(super) fn logits(&self, pass: Pass<'_>, first: usize, rows: usize) -> Result<()> {
        let shape = self.shapes.logits(rows, pass.rows.all());
        let x = self.last_normed(pass, first);
        self.launcher.multiply(shape, x, self.weights(self.layout.head), pass.passage.logits.at(0), None)
    }

    /// `first` of the rows that the output layer reads.
    pub(super) fn last_normed(&self, pass: Pass<'_>, first: usize) -> Address {
        pass.passage.last.normed.at(first as u64 * self.sizes.width as u64 * self.sizes.operand)
    }

    /// The losses of some rows, and in training the gradient of their logits.
    pub(super) fn loss_kernel(&self, name: &str, pass: Pass<'_>, first: usize, rows: usize) -> Result<()> {
        let Sizes { members, vocabulary, padded, .. } = *self.sizes;
        let mut arguments = vec![Argument::Pointer(pass.passage.logits.at(0)), Argument::Pointer(pass.tokens)];
        if name == "cross_entropy" {
            arguments.push(self.members());
        }
        let all = pass.rows.all();
        arguments.push(Argument::Pointer(pass.passage.nll.at(0)));
        arguments.extend([first, all, pass.rows.length, vocabulary, padded].map(int));
        let block = match vocabulary {
            0..=256 => 32,
            257..=4_096 => 128,
            _ => 512,
        };
        self.launcher.kernel(name, [rows, members, 1], block, 0, &arguments)
    }
}

/// What is there only where attention is made head by head.
pub(super) fn in_heads<T>(array: &Option<T>) -> Result<&T> {
    array.as_ref().ok_or_else(|| Error::internal("attention in one launch has no arrays of heads"))
}

/// Places of what many launches take.
impl Model<'_> {
    /// Values of all members' parameters from this one on.
    pub(super) fn values(&self, start: usize) -> Argument {
        Argument::Pointer(self.arrays.values.at(4 * start as u64))
    }

    /// What products read of the parameters from this one on.
    pub(super) fn weights(&self, start: usize) -> Address {
        match &self.arrays.weights {
            Some(weights) => weights.at(self.sizes.operand * start as u64),
            None => self.arrays.values.at(4 * start as u64),
        }
    }

    /// The members' table.
    pub(super) fn members(&self) -> Argument {
        Argument::Pointer(self.slot_at(self.slot.members))
    }

    /// A word of the unit's slot.
    pub(super) fn slot_at(&self, word: usize) -> Address {
        self.arrays.slot.at(4 * word as u64)
    }

    /// Cosines and sines of rotary positions.
    pub(super) fn angles(&self) -> Argument {
        or_null(self.arrays.angles.as_ref().map(|angles| angles.at(0)))
    }

    /// The mask of a site of the residual stream's width, in the order of their keys.
    fn row_mask(&self, pass: Pass<'_>, site: usize) -> Option<Address> {
        let Sizes { members, width, .. } = *self.sizes;
        let words = site * members * pass.rows.all() * width.div_ceil(32);
        pass.masks.map(|masks| masks.rows.at(4 * words as u64))
    }

    /// The mask of the embedding.
    pub(super) fn embedding_mask(&self, pass: Pass<'_>) -> Option<Address> {
        self.row_mask(pass, 0)
    }

    /// The mask of what a block's attention adds.
    pub(super) fn attention_mask(&self, pass: Pass<'_>, layer: usize) -> Option<Address> {
        self.row_mask(pass, 1 + 2 * layer)
    }

    /// The mask of what a block's MLP adds.
    pub(super) fn mlp_mask(&self, pass: Pass<'_>, layer: usize) -> Option<Address> {
        self.row_mask(pass, 2 + 2 * layer)
    }

    /// The mask of a block's attention weights.
    pub(super) fn weights_mask(&self, pass: Pass<'_>, layer: usize) -> Option<Address> {
        let Sizes { members, heads, .. } = *self.sizes;
        let words = layer * members * heads * pass.rows.all() * pass.rows.length.div_ceil(32);
        pass.masks.map(|masks| masks.attention.at(4 * words as u64))
    }

    /// Rows of attention weights: of all members, and of one; and their length.
    pub(super) fn softmax_sizes(&self, rows: Rows) -> [Argument; 3] {
        let of_member = self.sizes.heads * rows.all();
        [long(self.sizes.members * of_member), long(of_member), int(rows.length)]
    }

    /// What attention in tiles takes last: W, L, H, KV, and log2 e / √D.
    pub(super) fn tile_sizes(&self, rows: Rows) -> [Argument; 5] {
        let Sizes { heads, kv_heads, head, .. } = *self.sizes;
        let scale = std::f64::consts::LOG2_E / (head as f64).sqrt();
        let [windows, length, heads, kv_heads] = [rows.windows, rows.length, heads, kv_heads].map(int);
        [windows, length, heads, kv_heads, Argument::Float(scale as f32)]
    }

    /// 1 / √D.
    pub(super) fn softmax_scale(&self) -> Argument {
        Argument::Float((1.0 / (self.sizes.head as f64).sqrt()) as f32)
    }

    pub(super) fn softmax_grid(&self, rows: Rows) -> [usize; 3] {
        [(self.sizes.members * self.sizes.heads * rows.all()).div_ceil(4), 1, 1]
    }
}
