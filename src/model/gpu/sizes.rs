//! How a step is cut: windows of a unit, units of a step, rows whose logits exist at once, windows that are scored together.
//!
//! All of it follows from the configuration, the length, the batch and the precision: never from the members or the device.

use super::by_token;
use super::kernels::WIDEST_TILED;
use super::layout::Layout;
use crate::error::{Error, Result};
use crate::experiment::settings::{Family, Precision};
use crate::model::{Config, shape};

/// Logits of a member that exist at once, at most.
const LOGITS: usize = 1 << 28;

/// Tokens that are scored together at most, where one window is not longer.
const SCORED_TOKENS: usize = 8_192;

/// Tokens of a window, and elements of a head, up to which attention is one launch each way.
const SHORT: usize = 64;

/// Bytes of shared memory that `short_attention` and its way back take: at most 66 KiB, and every GPU since Ampere has 99.
pub(super) fn short_shared(length: usize, head: usize) -> [usize; 2] {
    let forward = 4_096 + 2 * length * (head | 1);
    [forward, forward + length * (length | 1)].map(|floats| 4 * floats)
}

/// Queries, and keys, of a tile.
const TILE: usize = 64;

/// Bytes of shared memory that `tiled_attention` takes, with the gradient of queries; and the gradient of keys.
pub(super) fn tiled_shared(head: usize) -> [usize; 2] {
    let row = 2 * (head + 8);
    // As `QUERIES` in `tiled_attention.cu`.
    let queries = if head <= 64 { 64 } else { 32 };
    [4 * TILE * row, (2 * TILE + 4 * queries) * row + 4 * 4 * queries]
}

/// How attention is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    /// In one launch each way, for short windows.
    Short,
    /// Head by head, by products, with all weights in memory.
    Products,
    /// In tiles, without weights in memory: in bfloat16, for heads that are not too wide.
    Tiles,
}

/// The sizes that every array and every launch follows.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// Members (K).
    pub(super) members: usize,
    /// Windows of a unit (W).
    pub(super) windows: usize,
    /// Units of a step.
    pub(super) units: usize,
    /// Windows of a step, at most.
    pub(super) batch: usize,
    /// Tokens of a window (L).
    pub(super) length: usize,
    /// Tokens of the longest window that is scored.
    pub(super) longest: usize,
    /// Width of the residual stream (C).
    pub(super) width: usize,
    /// Query heads (H).
    pub(super) heads: usize,
    /// Key and value heads (KV).
    pub(super) kv_heads: usize,
    /// Width of a head (D).
    pub(super) head: usize,
    /// Queries, keys and values side by side: C + 2 KV D.
    pub(super) qkv: usize,
    /// Width of the MLP's hidden layer (F).
    pub(super) hidden: usize,
    /// What the MLP's first layer makes: F, or 2 F for gate and up.
    pub(super) hidden_in: usize,
    /// Vocabulary (V).
    pub(super) vocabulary: usize,
    /// The vocabulary with its padding (Vp).
    pub(super) padded: usize,
    /// Values of a member's parameters (P).
    pub(super) parameters: usize,
    /// Blocks.
    pub(super) layers: usize,
    /// Bytes of an element that products read.
    pub(super) operand: u64,
    /// Whether something falls out.
    pub(super) dropout: bool,
    /// Whether positions are rotary, norms without means and the MLP gated: llama.
    pub(super) rotary: bool,
    /// Columns of all norms and biases, whose gradients are sums over rows.
    pub(super) columns: usize,
    /// Rows whose logits exist at once, at most.
    pub(super) chunk: usize,
}

/// Windows that go through the model at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    /// Windows (W).
    pub(super) windows: usize,
    /// Tokens of each (L).
    pub(super) length: usize,
}

impl Rows {
    /// Rows of the residual stream (N).
    pub(super) fn all(self) -> usize {
        self.windows * self.length
    }
}

impl Sizes {
    /// The sizes of training models of one shape on windows of so many tokens, and of scoring windows of up to so many, with
    /// this batch and so many members.
    pub(super) fn new(
        config: &Config,
        layout: &Layout,
        precision: Precision,
        [length, longest, batch, members]: [usize; 4],
        dropout: bool,
    ) -> Self {
        let (head, rotary) = (config.head(), config.family == Family::Llama);
        let sizes = Self {
            members,
            windows: 1,
            units: 1,
            batch,
            length,
            longest,
            width: config.width,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head,
            qkv: config.width + 2 * config.kv_heads * head,
            hidden: config.hidden,
            hidden_in: if rotary { 2 } else { 1 } * config.hidden,
            vocabulary: config.vocabulary,
            padded: layout.vocabulary,
            parameters: layout.len,
            layers: config.layers,
            operand: if precision == Precision::Bf16 { 2 } else { 4 },
            dropout,
            rotary,
            columns: layout.columns.len(),
            chunk: (LOGITS / layout.vocabulary).max(1),
        };
        let windows = shape::unit(length, batch, |windows| sizes.kept_bytes(windows));
        sizes.with_unit(windows)
    }

    /// The same with units of so many windows.
    pub(super) fn with_unit(self, windows: usize) -> Self {
        Self { windows, units: self.batch.div_ceil(windows), ..self }
    }

    /// Refuses what kernels could not count: they take sizes and the places of values as 32-bit integers.
    pub(super) fn check(&self) -> Result<()> {
        let Self { parameters, width, hidden_in, padded, qkv, .. } = *self;
        let row = width.max(hidden_in).max(qkv).max(padded).max(self.longest);
        let largest = parameters.max(self.unit().all().max(self.scored_tokens()).max(row));
        if i32::try_from(largest).is_err() || self.members > 65_535 {
            return Err(Error::usage(format!(
                "a model of {parameters} parameters on units of {} tokens is too large for the engine",
                self.unit().all()
            )));
        }
        Ok(())
    }

    /// A unit.
    pub(super) fn unit(&self) -> Rows {
        Rows { windows: self.windows, length: self.length }
    }

    /// Tokens that are scored at once, at most: as many as four units have, which do not keep what training does, and one
    /// window at least.
    pub(super) fn scored_tokens(&self) -> usize {
        (4 * self.unit().all()).min(SCORED_TOKENS).max(self.longest)
    }

    /// Windows of so many tokens that are scored at once.
    pub(super) fn scored(&self, length: usize) -> Rows {
        Rows { windows: self.scored_tokens() / length, length }
    }

    /// Rows whose logits exist at once, of so many.
    pub(super) fn logits_rows(&self, rows: usize) -> usize {
        rows.min(self.chunk)
    }

    /// Rows over which columns are summed in the first stage: a block each, so many that they fill a GPU.
    pub(super) fn group_rows(&self) -> usize {
        (self.unit().all() / 512).clamp(8, 64)
    }

    /// Groups of rows.
    pub(super) fn groups(&self) -> usize {
        self.unit().all().div_ceil(self.group_rows())
    }

    /// Whether attention is made in tiles.
    pub(super) fn tiled(&self) -> bool {
        self.operand == 2 && self.head.is_multiple_of(16) && self.head <= WIDEST_TILED
    }

    /// Tiles of this many heads in each window.
    pub(super) fn tiles(&self, rows: Rows, heads: usize) -> usize {
        rows.length.div_ceil(TILE) * rows.windows * heads
    }

    /// How a unit's attention is made.
    pub(super) fn attention(&self) -> Attention {
        match self.scored_attention() {
            // Its columns are summed over each window, as a group of rows.
            Attention::Products if self.length <= SHORT && self.head <= SHORT && self.windows <= self.groups() => {
                Attention::Short
            }
            other => other,
        }
    }

    /// How attention is made where windows are scored.
    pub(super) fn scored_attention(&self) -> Attention {
        if self.tiled() { Attention::Tiles } else { Attention::Products }
    }

    /// Pieces that the gradient of a member's embedding is summed in, at most.
    pub(super) fn pieces(&self) -> usize {
        by_token::most_pieces(self.unit().all(), self.vocabulary)
    }

    /// Pieces of the gradients' squares.
    pub(super) fn squares(&self) -> usize {
        self.parameters.div_ceil(4_096)
    }

    /// Masks of the residual stream's width: the embedding's, and two of each block.
    pub(super) fn row_sites(&self) -> usize {
        1 + 2 * self.layers
    }
}
