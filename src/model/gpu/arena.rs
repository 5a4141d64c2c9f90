//! Every array on the device, with its size: a function of the sizes only, so that a plan knows the memory of a training
//! before it starts.
//!
//! [`Arrays::new`] walks through all of them in order and asks for each by name and bytes. What it is given for them may be
//! an allocation or a number: the list that is allocated is the list that is counted. Each array is an allocation of its own.
//!
//! Letters as in the kernels: K members come first in every array, W windows of L tokens are a unit's N rows.

use super::ring::Slot;
use super::sizes::{Attention, Rows, Sizes};
use crate::error::Result;

/// Bytes of a 32-bit value.
const WORD: u64 = 4;

/// Asks for an array by its name and bytes.
pub(super) type Make<'a, T> = &'a mut dyn FnMut(&'static str, u64) -> Result<T>;

/// What a norm keeps for its way back.
pub(super) struct Statistics<T> {
    /// Float [K, N]; none of an RMS norm.
    pub(super) mean: Option<T>,
    /// Float [K, N].
    pub(super) rstd: T,
}

/// A norm's input and output.
pub(super) struct Normed<T> {
    /// The residual stream that is normed: float [K, N, C].
    pub(super) x: T,
    /// Its mean and deviation.
    pub(super) statistics: Statistics<T>,
    /// The norm of it: operand [K, N, C].
    pub(super) normed: T,
}

/// What attention reads, and keeps for its way back.
pub(super) enum Attended<T> {
    /// In one launch.
    Short {
        /// Queries, keys and values side by side in rows: operand [K, N, C + 2 KV D].
        qkv: T,
        /// Weights before dropout: operand [K, W, H, L, L].
        p: T,
    },
    /// By products, head by head.
    Products {
        /// Operand [K, W, H, L, D].
        q: T,
        /// Operand [K, W, KV, L, D].
        k: T,
        /// Operand [K, W, KV, L, D].
        v: T,
        /// Weights before dropout: operand [K, W, H, L, L].
        p: T,
    },
    /// In tiles.
    Tiles {
        /// Queries, keys and values side by side in rows, turned where positions are rotary: operand [K, N, C + 2 KV D].
        qkv: T,
        /// The logarithm of each query's sum: float [K, W, H, L].
        logs: T,
    },
}

/// What a block keeps for its way back.
pub(super) struct Layer<T> {
    /// Before attention.
    pub(super) norm1: Normed<T>,
    /// Attention.
    pub(super) attended: Attended<T>,
    /// What attention mixed: operand [K, N, C].
    pub(super) mixed: T,
    /// Before the MLP.
    pub(super) norm2: Normed<T>,
    /// Operand [K, N, F], or [K, N, 2 F] where gate and up lie side by side.
    pub(super) hidden_in: T,
    /// After the activation: operand [K, N, F].
    pub(super) hidden: T,
}

/// What a pass through the model fills. A pass that goes no way back has one layer, which all blocks use in turn.
pub(super) struct Passage<T> {
    /// Blocks.
    pub(super) layers: Vec<Layer<T>>,
    /// Before the output layer.
    pub(super) last: Normed<T>,
    /// Queries, keys and values side by side where a block does not keep them, and their gradients on the way back: operand
    /// [K, N, C + 2 KV D].
    pub(super) qkv: T,
    /// What each head mixed, and its gradient: operand [K, W, H, L, D].
    pub(super) heads: Option<T>,
    /// What is added to the residual stream; the gradient of what is as wide: operand [K, N, C].
    pub(super) delta: T,
    /// Attention's weights after dropout: operand [K, W, H, L, L].
    pub(super) dropped: Option<T>,
    /// Operand [K, rows of a chunk, Vp].
    pub(super) logits: T,
    /// Float [K, N].
    pub(super) nll: T,
}

/// Gradients of attention that is made head by head.
pub(super) struct HeadGradients<T> {
    /// Of attention's weights, then of the scores: operand [K, W, H, L, L].
    pub(super) dp: T,
    /// Operand [K, W, H, L, D].
    pub(super) dq: T,
    /// Operand [K, W, KV, L, D].
    pub(super) dk: T,
    /// Operand [K, W, KV, L, D].
    pub(super) dv: T,
}

/// What only the way back needs.
pub(super) struct Gradients<T> {
    /// Of the residual stream: float [K, N, C].
    pub(super) dx: T,
    /// Of what was added to the residual stream: operand [K, N, C]; where there is none it is `dx` itself.
    pub(super) dy: Option<T>,
    /// Operand [K, N, F].
    pub(super) dhidden: T,
    /// Operand [K, N, 2 F]; where there is none, the activation's gradient is made in place.
    pub(super) dhidden_in: Option<T>,
    /// Of attention, where it is made head by head.
    pub(super) heads: Option<HeadGradients<T>>,
    /// Of attention in tiles, each query's sum of weights times their gradients: float [K, W, H, L].
    pub(super) dots: Option<T>,
    /// Columns of norms and biases, group of rows by group: float [K, groups, columns].
    pub(super) sums: T,
    /// Where the columns belong: int `[columns]`.
    pub(super) places: T,
    /// Of the embedding, piece by piece: float [K, pieces, C].
    pub(super) pieces: T,
}

/// What falls out in a unit, a bit an element.
pub(super) struct Masks<T> {
    /// [1 + 2 layers, K, N, ⌈C / 32⌉] words: the embedding, then each block's attention and MLP.
    pub(super) rows: T,
    /// [layers, K, W, H, L, ⌈L / 32⌉] words.
    pub(super) attention: T,
}

/// What an update needs beside values, gradients and moments.
pub(super) struct Update<T> {
    /// Int [P / 64]: whether these values decay.
    pub(super) decays: T,
    /// Double [K, ⌈P / 4,096⌉].
    pub(super) squares: T,
    /// Double `[K]`: the step's sum of NLL.
    pub(super) loss: T,
    /// Double `[K]`.
    pub(super) norm: T,
    /// Float `[K]`.
    pub(super) clip: T,
    /// Int `[K]`.
    pub(super) dead: T,
    /// One 64-bit integer: units done.
    pub(super) units: T,
    /// One 64-bit integer: steps published.
    pub(super) steps: T,
}

/// Everything on the device.
pub(super) struct Arrays<T> {
    /// Float [K, P].
    pub(super) values: T,
    /// Float [K, P].
    pub(super) gradients: T,
    /// Float [K, P].
    pub(super) first: T,
    /// Float [K, P].
    pub(super) second: T,
    /// bfloat16 [K, P], where products read that.
    pub(super) weights: Option<T>,
    /// The unit's slot.
    pub(super) slot: T,
    /// Cosines and sines: float [longest, D] (llama).
    pub(super) angles: Option<T>,
    /// The update's.
    pub(super) update: Update<T>,
    /// A unit on its way forward.
    pub(super) training: Passage<T>,
    /// A unit on its way back.
    pub(super) back: Gradients<T>,
    /// A unit's dropout.
    pub(super) masks: Option<Masks<T>>,
    /// Windows that are scored.
    pub(super) scoring: Passage<T>,
    /// Their tokens: int [K, W, L + 1], of the length that takes most.
    pub(super) scored: T,
}

/// The sizes, with the bytes of what has one value for each of so many elements and members.
struct Measure<'a> {
    sizes: &'a Sizes,
}

impl Measure<'_> {
    fn floats(&self, values: usize) -> u64 {
        WORD * (self.sizes.members * values) as u64
    }

    fn doubles(&self, values: usize) -> u64 {
        2 * self.floats(values)
    }

    fn operands(&self, values: usize) -> u64 {
        self.sizes.operand * (self.sizes.members * values) as u64
    }
}

fn normed<T>(sizes: &Sizes, rows: usize, make: Make<'_, T>) -> Result<Normed<T>> {
    let m = Measure { sizes };
    Ok(Normed {
        x: make("residual stream", m.floats(rows * sizes.width))?,
        statistics: Statistics {
            mean: if sizes.rotary { None } else { Some(make("means", m.floats(rows))?) },
            rstd: make("deviations", m.floats(rows))?,
        },
        normed: make("normed", m.operands(rows * sizes.width))?,
    })
}

/// Rows of a pass, and what goes with the square of their windows' length.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    rows: usize,
    /// How attention is made.
    attention: Attention,
    /// Values of all windows' attention weights.
    weights: usize,
}

/// So many windows of a unit.
pub(super) fn extent(sizes: &Sizes, windows: usize) -> Extent {
    let rows = Rows { windows, length: sizes.length }.all();
    Extent { rows, attention: sizes.attention(), weights: sizes.heads * rows * sizes.length }
}

pub(super) fn layer<T>(sizes: &Sizes, extent: Extent, make: Make<'_, T>) -> Result<Layer<T>> {
    let m = Measure { sizes };
    let Extent { rows, attention, weights } = extent;
    let keys = m.operands(rows * sizes.kv_heads * sizes.head);
    let side_by_side = |make: Make<'_, T>| make("queries, keys and values", m.operands(rows * sizes.qkv));
    let p = |make: Make<'_, T>| make("attention weights", m.operands(weights));
    Ok(Layer {
        norm1: normed(sizes, rows, make)?,
        attended: match attention {
            Attention::Short => Attended::Short { qkv: side_by_side(make)?, p: p(make)? },
            Attention::Products => Attended::Products {
                q: make("queries", m.operands(rows * sizes.width))?,
                k: make("keys", keys)?,
                v: make("values of attention", keys)?,
                p: p(make)?,
            },
            Attention::Tiles => Attended::Tiles {
                qkv: side_by_side(make)?,
                logs: make("logarithms of attention's sums", m.floats(rows * sizes.heads))?,
            },
        },
        mixed: make("attention's output", m.operands(rows * sizes.width))?,
        norm2: normed(sizes, rows, make)?,
        hidden_in: make("hidden layer's input", m.operands(rows * sizes.hidden_in))?,
        hidden: make("hidden layer", m.operands(rows * sizes.hidden))?,
    })
}

fn passage<T>(sizes: &Sizes, extent: Extent, layers: usize, dropout: bool, make: Make<'_, T>) -> Result<Passage<T>> {
    let m = Measure { sizes };
    let Extent { rows, attention, weights } = extent;
    let by_products = attention == Attention::Products;
    Ok(Passage {
        layers: (0..layers).map(|_| layer(sizes, extent, make)).collect::<Result<_>>()?,
        last: normed(sizes, rows, make)?,
        qkv: make("queries, keys and values", m.operands(rows * sizes.qkv))?,
        heads: if by_products { Some(make("heads", m.operands(rows * sizes.width))?) } else { None },
        delta: make("added to the residual stream", m.operands(rows * sizes.width))?,
        dropped: if dropout && by_products { Some(make("attention weights after dropout", m.operands(weights))?) } else { None },
        logits: make("logits", m.operands(sizes.logits_rows(rows) * sizes.padded))?,
        nll: make("losses", m.floats(rows))?,
    })
}

fn update<T>(sizes: &Sizes, make: Make<'_, T>) -> Result<Update<T>> {
    let m = Measure { sizes };
    Ok(Update {
        decays: make("decaying", WORD * (sizes.parameters / 64) as u64)?,
        squares: make("squares", m.doubles(sizes.squares()))?,
        loss: make("loss", m.doubles(1))?,
        norm: make("norm", m.doubles(1))?,
        clip: make("clip", m.floats(1))?,
        dead: make("dead", m.floats(1))?,
        units: make("units", 8)?,
        steps: make("steps", 8)?,
    })
}

fn gradients<T>(sizes: &Sizes, extent: Extent, make: Make<'_, T>) -> Result<Gradients<T>> {
    let m = Measure { sizes };
    let Extent { rows, attention, weights } = extent;
    let keys = m.operands(rows * sizes.kv_heads * sizes.head);
    let narrow = sizes.operand != WORD;
    Ok(Gradients {
        dx: make("gradient of the residual stream", m.floats(rows * sizes.width))?,
        dy: if narrow || sizes.dropout {
            Some(make("gradient of what was added", m.operands(rows * sizes.width))?)
        } else {
            None
        },
        dhidden: make("gradient of the hidden layer", m.operands(rows * sizes.hidden))?,
        dhidden_in: if sizes.rotary {
            Some(make("gradient of the hidden layer's input", m.operands(rows * sizes.hidden_in))?)
        } else {
            None
        },
        heads: if attention == Attention::Products {
            Some(HeadGradients {
                dp: make("gradient of attention weights", m.operands(weights))?,
                dq: make("gradient of queries", m.operands(rows * sizes.width))?,
                dk: make("gradient of keys", keys)?,
                dv: make("gradient of values", keys)?,
            })
        } else {
            None
        },
        dots: if attention == Attention::Tiles {
            Some(make("sums of attention's gradients", m.floats(rows * sizes.heads))?)
        } else {
            None
        },
        sums: make("sums of columns", m.floats(sizes.groups() * sizes.columns))?,
        places: make("places of columns", WORD * sizes.columns as u64)?,
        pieces: make("gradient of the embedding in pieces", m.floats(sizes.pieces() * sizes.width))?,
    })
}

impl<T> Arrays<T> {
    /// Asks for every array.
    pub(super) fn new(sizes: &Sizes, make: Make<'_, T>) -> Result<Self> {
        let m = Measure { sizes };
        let unit = extent(sizes, sizes.windows);
        let rows = unit.rows;
        let parameters = m.floats(sizes.parameters);
        let narrow = sizes.operand != WORD;
        let scored = sizes.scored_tokens();
        Ok(Self {
            values: make("parameters", parameters)?,
            gradients: make("gradients", parameters)?,
            first: make("first moments", parameters)?,
            second: make("second moments", parameters)?,
            weights: if narrow { Some(make("parameters in bfloat16", m.operands(sizes.parameters))?) } else { None },
            slot: make("slot", WORD * Slot::new(sizes).words as u64)?,
            angles: if sizes.rotary { Some(make("angles", WORD * (sizes.longest * sizes.head) as u64)?) } else { None },
            update: update(sizes, make)?,
            training: passage(sizes, unit, sizes.layers, sizes.dropout, make)?,
            back: gradients(sizes, unit, make)?,
            masks: if sizes.dropout {
                Some(Masks {
                    rows: make("masks", m.floats(sizes.row_sites() * rows * sizes.width.div_ceil(32)))?,
                    attention: make(
                        "masks of attention",
                        m.floats(sizes.layers * sizes.heads * rows * sizes.length.div_ceil(32)),
                    )?,
                })
            } else {
                None
            },
            scoring: {
                let most =
                    Extent { rows: scored, attention: sizes.scored_attention(), weights: sizes.heads * scored * sizes.longest };
                passage(sizes, most, 1, false, make)?
            },
            scored: make("scored tokens", m.floats(2 * scored))?,
        })
    }
}
