//! A unit in training, forward and back, and the update after a step's last unit.
//!
//! Gradients of weights go straight to their place. Those of norms and biases are sums over rows: kernels that pass there anyway
//! add up groups of rows, and one launch at a unit's end adds up the groups of all of them.

use super::arena::{Attended, Normed, Statistics};
use super::by_token;
use super::cuda::{Address, Argument, Array};
use super::forward::{Model, Pass};
use super::launch::{int, long, or_null};
use super::layout::{Block, Linear, Norm, Vector, WeightOrder};
use super::sizes::Sizes;
use crate::error::Result;
use crate::experiment::settings::Activation;

/// What stood before a norm: what was added to the residual stream there.
#[derive(Clone, Copy, Default)]
struct Added {
    /// Its mask.
    mask: Option<Address>,
    /// The bias of the layer that made it.
    bias: Option<Vector>,
    /// Whether its gradient is needed: not where the embedding stood.
    wanted: bool,
}

/// Threads of a block of `norm_backward`: a thread has four columns where that goes up, and a block as many rows of a group side
/// by side as it has room for, or takes wide rows in as few passes as it can.
fn norm_block(width: usize, group_rows: usize) -> usize {
    let across = if width.is_multiple_of(4) { width / 4 } else { width };
    let threads = match 384 / across {
        0 => across.div_ceil(across.div_ceil(384)),
        rows => across * rows.min(group_rows),
    };
    threads.next_multiple_of(32)
}

impl Model<'_> {
    /// A unit: its gradients are added to those of the units before it in the step, if it is not the first. `slots` are the
    /// ring in the host's memory, so many of them.
    pub(super) fn train(&self, slots: Address, count: usize, first: bool) -> Result<()> {
        let pass = Pass {
            passage: &self.arrays.training,
            rows: self.sizes.unit(),
            tokens: self.slot_at(self.slot.tokens),
            masks: self.arrays.masks.as_ref(),
        };
        self.fetch(slots, count)?;
        self.make_masks(pass)?;
        self.forward(pass)?;
        self.head(pass, first)?;
        for (l, block) in self.layout.blocks.iter().enumerate().rev() {
            let before = l.checked_sub(1).map(|before| (before, &self.layout.blocks[before]));
            self.block_backward(l, block, before, pass, first)?;
        }
        self.embedding_backward(pass, first)?;
        let Sizes { members, columns, parameters, .. } = *self.sizes;
        let back = &self.arrays.back;
        let arguments = [
            Argument::Pointer(back.sums.at(0)),
            Argument::Pointer(back.places.at(0)),
            Argument::Pointer(self.gradient(0)),
            long(parameters),
            int(self.sizes.groups()),
            int(columns),
            switch(!first),
        ];
        self.launcher.kernel("column_sums", [columns.div_ceil(32), members, 1], 256, 0, &arguments)
    }

    /// The slot whose turn it is.
    fn fetch(&self, slots: Address, count: usize) -> Result<()> {
        let arguments = [
            Argument::Pointer(slots),
            Argument::Pointer(self.arrays.update.units.at(0)),
            int(count),
            int(self.slot.words),
            Argument::Pointer(self.slot_at(0)),
        ];
        self.launcher.kernel("fetch_slot", [self.slot.words.div_ceil(1024), 1, 1], 256, 0, &arguments)
    }

    /// The masks of the whole unit.
    fn make_masks(&self, pass: Pass<'_>) -> Result<()> {
        let Some(masks) = pass.masks else { return Ok(()) };
        let Sizes { windows, length, width, heads, layers, .. } = *self.sizes;
        self.mask_kernel(self.slot.row_keys, &masks.rows, self.sizes.row_sites(), windows, width, false)?;
        self.mask_kernel(self.slot.attention_keys, &masks.attention, layers, windows * heads, length, true)
    }

    fn mask_kernel(&self, keys: usize, bits: &Array, sites: usize, streams: usize, width: usize, causal: bool) -> Result<()> {
        let Sizes { members, length, .. } = *self.sizes;
        let words = width.div_ceil(32);
        let tiles = if words <= 512 { length.div_ceil(512 / words) } else { length * words.div_ceil(512) };
        let arguments = [
            Argument::Pointer(self.slot_at(keys)),
            self.members(),
            Argument::Pointer(bits.at(0)),
            int(streams),
            int(members),
            int(length),
            int(width),
            switch(causal),
        ];
        self.launcher.kernel("dropout_bits", [sites * members * streams, tiles, 1], 128, 0, &arguments)
    }

    /// The output layer with its loss, there and back, a chunk of rows at a time.
    fn head(&self, pass: Pass<'_>, first: bool) -> Result<()> {
        let Sizes { members, width, operand, layers, .. } = *self.sizes;
        let (passage, all) = (pass.passage, pass.rows.all());
        self.chunks(pass, |begin, rows| {
            self.logits(pass, begin, rows)?;
            self.loss_kernel("cross_entropy", pass, begin, rows)?;
            let dlogits = passage.logits.at(0);
            let dnormed = passage.delta.at(begin as u64 * width as u64 * operand);
            self.launcher.multiply(
                self.shapes.logits_inputs(rows, all),
                dlogits,
                self.weights(self.layout.head),
                dnormed,
                None,
            )?;
            let shape = self.shapes.logits_weights(rows, all, !first || begin > 0);
            self.launcher.multiply(shape, dlogits, self.last_normed(pass, begin), self.gradient(self.layout.head), None)
        })?;
        let update = &self.arrays.update;
        let arguments = [
            Argument::Pointer(passage.nll.at(0)),
            Argument::Pointer(update.loss.at(0)),
            Argument::Pointer(update.units.at(0)),
            int(all),
            switch(!first),
        ];
        self.launcher.kernel("loss_sum", [members, 1, 1], 1024, 0, &arguments)?;
        let last = layers - 1;
        let bias = self.layout.blocks[last].mlp_out.bias;
        let added = Added { mask: self.mlp_mask(pass, last), bias, wanted: true };
        self.norm_backward(&self.layout.norm, pass, &passage.last, added, false)
    }

    /// A block's way back: the gradient of the residual stream behind it becomes that of the stream before it.
    fn block_backward(
        &self,
        l: usize,
        block: &Block,
        before: Option<(usize, &Block)>,
        pass: Pass<'_>,
        first: bool,
    ) -> Result<()> {
        let (passage, back, layer) = (pass.passage, &self.arrays.back, pass.layer(l));
        let dy = back.dy.as_ref().unwrap_or(&back.dx);
        let delta = &passage.delta;

        self.linear_weights(&block.mlp_out, pass, &layer.hidden, dy, first)?;
        self.linear_inputs(&block.mlp_out, pass, dy, &back.dhidden)?;
        self.activation_backward(block, pass, l)?;
        let dhidden_in = back.dhidden_in.as_ref().unwrap_or(&back.dhidden);
        self.linear_weights(&block.mlp_in, pass, &layer.norm2.normed, dhidden_in, first)?;
        self.linear_inputs(&block.mlp_in, pass, dhidden_in, delta)?;
        let added = Added { mask: self.attention_mask(pass, l), bias: block.attention_out.bias, wanted: true };
        self.norm_backward(&block.norm2, pass, &layer.norm2, added, true)?;

        self.linear_weights(&block.attention_out, pass, &layer.mixed, dy, first)?;
        self.linear_inputs(&block.attention_out, pass, dy, delta)?;
        match &layer.attended {
            Attended::Short { qkv, p } => self.short_attention_backward(l, block, pass, qkv, p)?,
            Attended::Products { q, k, v, p } => self.attention_backward(l, block, pass, [q, k, v], p)?,
            Attended::Tiles { qkv, logs } => self.tiled_attention_backward(l, block, pass, qkv, logs)?,
        }
        self.linear_weights(&block.attention_in, pass, &layer.norm1.normed, &passage.qkv, first)?;
        self.linear_inputs(&block.attention_in, pass, &passage.qkv, delta)?;
        let added = before.map_or_else(Added::default, |(before, block)| Added {
            mask: self.mlp_mask(pass, before),
            bias: block.mlp_out.bias,
            wanted: true,
        });
        self.norm_backward(&block.norm1, pass, &layer.norm1, added, true)
    }

    /// The gradient of a layer's weight.
    fn linear_weights(&self, linear: &Linear, pass: Pass<'_>, x: &Array, dy: &Array, first: bool) -> Result<()> {
        let shape = self.shapes.linear_weights(linear, pass.rows.all(), !first);
        let [a, b] = if linear.order == WeightOrder::InOut { [x, dy] } else { [dy, x] };
        self.launcher.multiply(shape, a.at(0), b.at(0), self.gradient(linear.weight), None)
    }

    /// dx = dy · weightᵀ.
    fn linear_inputs(&self, linear: &Linear, pass: Pass<'_>, dy: &Array, dx: &Array) -> Result<()> {
        let shape = self.shapes.linear_inputs(linear, pass.rows.all());
        self.launcher.multiply(shape, dy.at(0), self.weights(linear.weight), dx.at(0), None)
    }

    /// From the gradient of the norm's output, in `delta`, to that of the residual stream, and of what was added to it there.
    fn norm_backward(&self, norm: &Norm, pass: Pass<'_>, normed: &Normed<Array>, before: Added, add: bool) -> Result<()> {
        let Sizes { members, width, parameters, columns, .. } = *self.sizes;
        let Statistics { mean, rstd } = &normed.statistics;
        let back = &self.arrays.back;
        let dy = back.dy.as_ref().filter(|_| before.wanted);
        let group_rows = self.sizes.group_rows();
        let arguments = [
            Argument::Pointer(pass.passage.delta.at(0)),
            Argument::Pointer(normed.x.at(0)),
            or_null(mean.as_ref().map(|mean| mean.at(0))),
            Argument::Pointer(rstd.at(0)),
            self.values(norm.weight.start),
            long(parameters),
            or_null(before.mask),
            self.members(),
            Argument::Pointer(back.dx.at(0)),
            or_null(dy.map(|dy| dy.at(0))),
            self.sums(Some(norm.weight)),
            self.sums(norm.bias),
            self.sums(before.bias),
            long(columns),
            int(pass.rows.all()),
            int(width),
            int(group_rows),
            switch(add),
        ];
        let (name, block, shared) = match width {
            128..=512 if width.is_multiple_of(128) => ("norm_backward_rows", 128, 16 * width),
            640..=1_024 if width.is_multiple_of(128) => ("norm_backward_wide_rows", 128, 16 * width),
            _ => {
                let block = norm_block(width, group_rows);
                ("norm_backward", block, 8 * group_rows + 48 * block)
            }
        };
        self.launcher.kernel(name, [self.sizes.groups(), members, 1], block as u32, shared, &arguments)
    }

    /// `dhidden` becomes the gradient of the hidden layer's input, or makes that of gate and up.
    fn activation_backward(&self, block: &Block, pass: Pass<'_>, l: usize) -> Result<()> {
        let Sizes { members, hidden, columns, .. } = *self.sizes;
        let (back, rows) = (&self.arrays.back, pass.rows.all());
        let x = Argument::Pointer(pass.layer(l).hidden_in.at(0));
        let dy = Argument::Pointer(back.dhidden.at(0));
        if let Some(dx) = &back.dhidden_in {
            let arguments = [x, dy, Argument::Pointer(dx.at(0)), int(hidden)];
            return self.launcher.kernel("swiglu_backward", [members * rows, 1, 1], 128, 0, &arguments);
        }
        let name = match self.config.activation {
            Activation::Gelu => "gelu_backward",
            Activation::GeluTanh => "gelu_tanh_backward",
        };
        let bias = self.sums(block.mlp_in.bias);
        let arguments = [x, dy, bias, long(columns), int(rows), int(hidden), int(self.sizes.group_rows())];
        let columns_of_block = if hidden.is_multiple_of(4) { 256 } else { 64 };
        self.launcher.kernel(name, [hidden.div_ceil(columns_of_block), self.sizes.groups(), members], 64, 0, &arguments)
    }

    /// The gradients of the embeddings, from that of the residual stream.
    fn embedding_backward(&self, pass: Pass<'_>, first: bool) -> Result<()> {
        let Sizes { members, width, vocabulary, length, windows, parameters, .. } = *self.sizes;
        let (back, rows) = (&self.arrays.back, pass.rows.all());
        let pieces = by_token::most_pieces(rows, vocabulary);
        let dx = [Argument::Pointer(back.dx.at(0)), or_null(self.embedding_mask(pass)), self.members()];
        let [order, piece_start, first_piece] =
            [self.slot.order, self.slot.pieces, self.slot.first_piece].map(|word| Argument::Pointer(self.slot_at(word)));
        let sums = Argument::Pointer(back.pieces.at(0));
        let sorted = [order, piece_start, first_piece, sums, int(rows), int(width), int(pieces), int(vocabulary)];
        let arguments = [&dx[..], &sorted].concat();
        self.launcher.kernel("embedding_gradient_pieces", [pieces, members, 1], 128, 0, &arguments)?;
        // A tied table has its gradient as the output layer already.
        let arguments = [
            sums,
            first_piece,
            Argument::Pointer(self.gradient(self.layout.tokens)),
            long(parameters),
            int(width),
            int(pieces),
            int(vocabulary),
            switch(self.config.tied || !first),
        ];
        self.launcher.kernel("embedding_gradient_sum", [vocabulary, members, 1], 128, 0, &arguments)?;
        let Some(positions) = self.layout.positions else { return Ok(()) };
        let context = self.config.context;
        let place = [
            Argument::Pointer(self.gradient(positions)),
            long(parameters),
            int(windows),
            int(length),
            int(width),
            int(context),
            switch(!first),
        ];
        let grid = [(context * width).div_ceil(256), members, 1];
        self.launcher.kernel("position_gradient", grid, 256, 0, &[&dx[..], &place].concat())
    }

    /// The update after a step's last unit, and its results into the ring of so many slots at this place.
    pub(super) fn update(&self, results: Address, count: usize) -> Result<()> {
        let Sizes { members, parameters, .. } = *self.sizes;
        let (arrays, update, squares) = (self.arrays, &self.arrays.update, self.sizes.squares());
        let [sums, loss, norm, clip, dead, steps, decays] =
            [&update.squares, &update.loss, &update.norm, &update.clip, &update.dead, &update.steps, &update.decays]
                .map(|array| Argument::Pointer(array.at(0)));
        let gradients = Argument::Pointer(self.gradient(0));
        let arguments = [gradients, sums, long(parameters)];
        self.launcher.kernel("gradient_squares", [squares, members, 1], 256, 0, &arguments)?;
        let arguments = [sums, loss, self.members(), norm, clip, dead, int(squares)];
        self.launcher.kernel("prepare_update", [members, 1, 1], 256, 0, &arguments)?;
        let [values, first, second] = [&arrays.values, &arrays.first, &arrays.second].map(|array| Argument::Pointer(array.at(0)));
        let weights = or_null(arrays.weights.as_ref().map(|weights| weights.at(0)));
        let arguments = [values, gradients, first, second, weights, self.members(), clip, dead, decays, long(parameters)];
        self.launcher.kernel("adamw", [parameters.div_ceil(1024), members, 1], 256, 0, &arguments)?;
        let arguments = [loss, norm, dead, steps, Argument::Pointer(results), int(count), int(members)];
        self.launcher.kernel("publish", [1, 1, 1], 128, 0, &arguments)
    }

    /// The copies of all members' weights that products read, made from the values.
    pub(super) fn round_weights(&self) -> Result<()> {
        let Some(weights) = &self.arrays.weights else { return Ok(()) };
        let count = self.sizes.members * self.sizes.parameters;
        let arguments = [self.values(0), Argument::Pointer(weights.at(0)), long(count)];
        self.launcher.kernel("round_weights", [count.div_ceil(1024), 1, 1], 256, 0, &arguments)
    }

    /// The gradients of all members from this value on.
    fn gradient(&self, start: usize) -> Address {
        self.arrays.gradients.at(4 * start as u64)
    }

    /// Where groups of rows of a vector's gradient go.
    pub(super) fn sums(&self, vector: Option<Vector>) -> Argument {
        or_null(vector.map(|vector| self.arrays.back.sums.at(4 * vector.column as u64)))
    }
}

/// A switch, such as whether a kernel adds to what is there.
fn switch(on: bool) -> Argument {
    Argument::Int(i32::from(on))
}
