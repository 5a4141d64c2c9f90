//! Every array on the device, with its size: a function of the sizes only, so that a plan knows the memory of a training
//! before it starts.
//!
//! [`Arrays::new`] walks through all of them in order and asks for each by name and bytes. What it is given for them may be
//! an allocation or a number: the list that is allocated is the list that is counted. Each array is an allocation of its own.
//!
//! Letters as in the kernels: K members come first in every array, W windows of L tokens are a unit's N rows.

use super::cuda::{WORKSPACE_BYTES, allocated};
use super::layout::Layout;
use super::ring::Slot;
use super::sizes::{Attention, Rows, Sizes};
use crate::error::Result;
use crate::experiment::settings::Precision;
use crate::model::Config;

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
struct Extent {
    rows: usize,
    /// How attention is made.
    attention: Attention,
    /// Values of all windows' attention weights.
    weights: usize,
}

/// So many windows of a unit.
fn extent(sizes: &Sizes, windows: usize) -> Extent {
    let rows = Rows { windows, length: sizes.length }.all();
    Extent { rows, attention: sizes.attention(), weights: sizes.heads * rows * sizes.length }
}

fn layer<T>(sizes: &Sizes, extent: Extent, make: Make<'_, T>) -> Result<Layer<T>> {
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

impl<T> Arrays<T> {
    /// Asks for every array.
    pub(super) fn new(sizes: &Sizes, make: Make<'_, T>) -> Result<Self> {
        let m = Measure { sizes };
        let unit = extent(sizes, sizes.windows);
        let Extent { rows, attention, weights } = unit;
        let parameters = m.floats(sizes.parameters);
        let keys = m.operands(rows * sizes.kv_heads * sizes.head);
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
            update: Update {
                decays: make("decaying", WORD * (sizes.parameters / 64) as u64)?,
                squares: make("squares", m.doubles(sizes.squares()))?,
                loss: make("loss", m.doubles(1))?,
                norm: make("norm", m.doubles(1))?,
                clip: make("clip", m.floats(1))?,
                dead: make("dead", m.floats(1))?,
                units: make("units", 8)?,
                steps: make("steps", 8)?,
            },
            training: passage(sizes, unit, sizes.layers, sizes.dropout, make)?,
            back: Gradients {
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
            },
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

impl Sizes {
    /// Bytes that one member's unit of so many windows keeps for its way back.
    pub(super) fn kept_bytes(&self, windows: usize) -> u64 {
        let one = Self { members: 1, ..self.clone() };
        let mut bytes = 0;
        let counted = layer(&one, extent(&one, windows), &mut |_, size| {
            bytes += size;
            Ok(())
        });
        debug_assert!(counted.is_ok(), "counting cannot fail");
        self.layers as u64 * bytes
    }

    /// Bytes of all arrays, as the device allocates them.
    fn bytes(&self) -> u64 {
        let mut bytes = 0;
        let counted = Arrays::new(self, &mut |_, size| {
            bytes += allocated(size);
            Ok(())
        });
        debug_assert!(counted.is_ok(), "counting cannot fail");
        bytes
    }
}

/// Bytes of the device that all arrays take which train `members` models of one shape on windows of `length` tokens, `batch`
/// of them a step, and score windows of up to `longest` tokens. The device itself, the products' workspace and the kernels
/// are beside it ([`AROUND`]).
pub fn bytes(config: &Config, precision: Precision, length: usize, longest: usize, batch: usize, members: usize) -> Result<u64> {
    let layout = Layout::new(config)?;
    Ok(Sizes::new(config, &layout, precision, [length, longest, batch, members], config.dropout > 0.0).bytes())
}

/// Windows that go through the device at once, of a step of `batch` windows of `length` tokens.
pub fn unit(config: &Config, precision: Precision, length: usize, batch: usize) -> Result<usize> {
    let layout = Layout::new(config)?;
    Ok(Sizes::new(config, &layout, precision, [length, length, batch, 1], config.dropout > 0.0).unit().windows)
}

/// Bytes of the device that the context and the kernels take, about: no driver says them.
pub(super) const CONTEXT: u64 = 600_000_000;

/// Bytes of the device beside the arrays: context and kernels, and the products' workspace.
pub const AROUND: u64 = CONTEXT + WORKSPACE_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Model;

    /// nanoGPT's small configuration, its `shakespeare_char`, and GPT-2's size, as (configuration, L, batch).
    fn known() -> [(Config, usize, usize); 3] {
        let config = |layers, heads, width, vocabulary, length| {
            let model = Model { layers, heads, width, bias: Some(false), ..Model::default() };
            Config::new(&model, vocabulary, length).unwrap()
        };
        [
            (config(4, 4, 128, 65, 64), 64, 12),
            (config(6, 6, 384, 65, 256), 256, 64),
            (config(12, 12, 768, 50_304, 1_024), 1_024, 12),
        ]
    }

    fn sizes(config: &Config, precision: Precision, length: usize, batch: usize, members: usize) -> Sizes {
        let layout = Layout::new(config).unwrap();
        Sizes::new(config, &layout, precision, [length, length, batch, members], config.dropout > 0.0)
    }

    fn sum(sizes: &Sizes, wanted: &str) -> u64 {
        let mut bytes = 0;
        Arrays::new(sizes, &mut |name, size| {
            bytes += if name == wanted { size } else { 0 };
            Ok(())
        })
        .unwrap();
        bytes
    }

    #[test]
    fn units_are_whole_windows_of_at_most_16384_tokens_and_8_gib() {
        let [s, m, g] = known();
        let cut = |(config, length, batch): &(Config, usize, usize), precision| {
            let sizes = sizes(config, precision, *length, *batch, 1);
            (sizes.windows, sizes.units)
        };
        assert_eq!([&s, &m].map(|size| cut(size, Precision::F32)), [(12, 1), (64, 1)]);
        assert_eq!([cut(&g, Precision::F32), cut(&g, Precision::Bf16)], [(6, 2), (12, 1)]);
        let (config, ..) = &g;
        assert_eq!(cut(&(config.clone(), 1_024, 1_000), Precision::Bf16), (16, 63));
        let longer = Config { context: 65_536, ..config.clone() };
        assert_eq!(cut(&(longer, 65_536, 3), Precision::Bf16), (1, 3));
    }

    #[test]
    fn arrays_have_the_sizes_that_their_shapes_say() {
        let [(config, length, batch), ..] = known();
        let sizes = sizes(&config, Precision::F32, length, batch, 1);
        let (rows, c, layers) = (12 * 64, 128, 4);
        let scored = 4 * rows;
        // 65 rows of the embedding are padded to 72; every other parameter is a multiple of 64 values.
        let parameters = 804_096 + 7 * 128;
        assert_eq!(sum(&sizes, "parameters"), 4 * parameters);
        assert_eq!(sum(&sizes, "second moments"), 4 * parameters);
        // Training keeps what scoring overwrites from layer to layer.
        assert_eq!(sum(&sizes, "residual stream"), (2 * layers + 1) * 4 * rows * c + 3 * 4 * scored * c);
        assert_eq!(sum(&sizes, "attention weights"), (layers * rows + scored) * 4 * 4 * 64);
        assert_eq!(sum(&sizes, "hidden layer"), (layers * rows + scored) * 4 * 4 * c);
        assert_eq!(sum(&sizes, "logits"), (rows + scored) * 4 * 72);
        assert_eq!(sum(&sizes, "gradient of what was added"), 0, "it is that of the residual stream");
        assert_eq!(sum(&sizes, "masks"), 0);
    }

    #[test]
    fn memory_of_known_configurations_is_what_it_was() {
        let megabytes = known().map(|(config, length, batch)| {
            [Precision::F32, Precision::Bf16].map(|p| bytes(&config, p, length, length, batch, 1).unwrap() / 1_000_000)
        });
        assert_eq!(megabytes, [[86, 52], [4_030, 1_905], [13_019, 8_064]]);
    }

    #[test]
    fn more_of_anything_takes_more_memory() {
        for (config, length, batch) in known() {
            let of = |config: &Config, longest: usize, batch: usize, members: usize| {
                bytes(config, Precision::F32, length, longest, batch, members).unwrap()
            };
            let least = of(&config, length, batch, 1);
            assert!(of(&Config { layers: config.layers + 1, ..config.clone() }, length, batch, 1) > least);
            assert!(of(&Config { dropout: 0.1, ..config.clone() }, length, batch, 1) > least);
            assert!(of(&Config { vocabulary: 2 * config.vocabulary, ..config.clone() }, length, batch, 1) > least);
            assert!(of(&config, 32_768, batch, 1) > least);
            let four = of(&config, length, batch, 4);
            assert!(four > 39 * least / 10 && four <= 4 * least, "{four} and {least}");
        }
    }

    #[test]
    fn sizes_beyond_32_bits_are_counted() {
        let model = Model { layers: 80, heads: 64, width: 8_192, ..Model::default() };
        let config = Config::new(&model, 128_000, 8_192).unwrap();
        let bytes = bytes(&config, Precision::Bf16, 8_192, 8_192, 64, 8).unwrap();
        assert!(bytes > 8 * 18 * 64_000_000_000, "{bytes}");
        let refused = sizes(&config, Precision::Bf16, 8_192, 64, 8).check().unwrap_err();
        assert!(refused.to_string().contains("too large"), "{refused}");
    }
}
