//! Attention's way back, in each of the three ways in which it is made.

use super::cuda::{Argument, Array};
use super::forward::{Model, Pass, in_heads};
use super::launch::{int, long, or_null};
use super::layout::Block;
use super::sizes::{Sizes, short_shared, tiled_shared};
use crate::error::{Error, Result};

impl Model<'_> {
    /// From the gradient of what attention mixed, in `delta`, to that of queries, keys and values side by side, in one launch.
    pub(super) fn short_attention_backward(&self, l: usize, block: &Block, pass: Pass<'_>, qkv: &Array, p: &Array) -> Result<()> {
        let Sizes { members, heads, kv_heads, head, windows, length, columns, .. } = *self.sizes;
        let passage = pass.passage;
        let arguments = [
            Argument::Pointer(qkv.at(0)),
            self.angles(),
            Argument::Pointer(p.at(0)),
            or_null(self.weights_mask(pass, l)),
            self.members(),
            Argument::Pointer(passage.delta.at(0)),
            Argument::Pointer(passage.qkv.at(0)),
            self.sums(block.attention_in.bias),
            long(columns),
            int(self.sizes.groups()),
            int(length),
            int(heads),
            int(kv_heads),
            int(head),
            self.softmax_scale(),
        ];
        let [_, shared] = short_shared(length, head);
        self.launcher.kernel("short_attention_backward", [windows * kv_heads, members, 1], 512, shared, &arguments)
    }

    /// The same in tiles.
    pub(super) fn tiled_attention_backward(
        &self,
        l: usize,
        block: &Block,
        pass: Pass<'_>,
        qkv: &Array,
        logs: &Array,
    ) -> Result<()> {
        let Sizes { members, heads, kv_heads, head, columns, qkv: width, .. } = *self.sizes;
        let (passage, layer, rows) = (pass.passage, pass.layer(l), pass.rows.all());
        let dots = self.arrays.back.dots.as_ref();
        let dots = dots.ok_or_else(|| Error::internal("attention in tiles has no array of sums"))?.at(0);
        let read = [Argument::Pointer(qkv.at(0)), or_null(self.weights_mask(pass, l)), self.members()];
        let rest = [passage.delta.at(0), logs.at(0), dots, passage.qkv.at(0)].map(Argument::Pointer);
        let sizes = self.tile_sizes(pass.rows);
        let [for_queries, for_keys] = tiled_shared(head);

        let arguments = [&read[..], &[Argument::Pointer(layer.mixed.at(0))], &rest, &sizes].concat();
        let grid = [self.sizes.tiles(pass.rows, heads), members, 1];
        self.launcher.kernel("tiled_attention_queries", grid, 128, for_queries, &arguments)?;
        let arguments = [&read[..], &rest, &sizes].concat();
        let grid = [self.sizes.tiles(pass.rows, kv_heads), members, 1];
        self.launcher.kernel("tiled_attention_keys", grid, 128, for_keys, &arguments)?;

        self.turn_rows(pass, &passage.qkv, -1.0)?;
        if block.attention_in.bias.is_none() {
            return Ok(());
        }
        let arguments = [
            Argument::Pointer(passage.qkv.at(0)),
            self.sums(block.attention_in.bias),
            long(columns),
            int(rows),
            int(width),
            int(self.sizes.group_rows()),
        ];
        self.launcher.kernel("group_sums", [width.div_ceil(128), self.sizes.groups(), members], 128, 0, &arguments)
    }

    /// The same head by head, by products.
    pub(super) fn attention_backward(
        &self,
        l: usize,
        block: &Block,
        pass: Pass<'_>,
        [q, k, v]: [&Array; 3],
        p: &Array,
    ) -> Result<()> {
        let Sizes { members, heads, kv_heads, head, qkv, columns, .. } = *self.sizes;
        let (passage, rows, length) = (pass.passage, pass.rows.all(), pass.rows.length);
        let dheads = in_heads(&passage.heads)?.at(0);
        let back = in_heads(&self.arrays.back.heads)?;
        let arguments =
            [Argument::Pointer(passage.delta.at(0)), Argument::Pointer(dheads), int(rows), int(length), int(heads), int(head)];
        self.launcher.kernel("merge_heads_backward", [rows, members, 1], 128, 0, &arguments)?;

        let (dp, p) = (back.dp.at(0), p.at(0));
        self.launcher.multiply(self.shapes.scores(pass.rows), dheads, v.at(0), dp, None)?;
        let mask = or_null(self.weights_mask(pass, l));
        if let Some(dropped) = &passage.dropped {
            let arguments = [Argument::Pointer(p), mask, self.members(), Argument::Pointer(dropped.at(0))];
            let arguments = [&arguments[..], &self.softmax_sizes(pass.rows)].concat();
            self.launcher.kernel("attention_dropout", self.softmax_grid(pass.rows), 128, 0, &arguments)?;
        }
        let dropped = passage.dropped.as_ref().map_or(p, |dropped| dropped.at(0));
        self.launcher.multiply(self.shapes.keys(pass.rows), dropped, dheads, back.dv.at(0), None)?;
        let arguments = [Argument::Pointer(p), mask, self.members(), Argument::Pointer(dp)];
        let arguments = [&arguments[..], &self.softmax_sizes(pass.rows), &[self.softmax_scale()]].concat();
        self.launcher.kernel("softmax_backward", self.softmax_grid(pass.rows), 128, 0, &arguments)?;
        self.launcher.multiply(self.shapes.mixed(pass.rows), dp, k.at(0), back.dq.at(0), None)?;
        self.launcher.multiply(self.shapes.keys(pass.rows), dp, q.at(0), back.dk.at(0), None)?;

        let arguments = [
            Argument::Pointer(back.dq.at(0)),
            Argument::Pointer(back.dk.at(0)),
            Argument::Pointer(back.dv.at(0)),
            self.angles(),
            Argument::Pointer(passage.qkv.at(0)),
            self.sums(block.attention_in.bias),
            long(columns),
            int(rows),
            int(length),
            int(heads),
            int(kv_heads),
            int(head),
            int(self.sizes.group_rows()),
        ];
        self.launcher.kernel("split_heads_backward", [qkv.div_ceil(128), self.sizes.groups(), members], 128, 0, &arguments)
    }
}
