//! What a model is.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::experiment::settings::{self, Activation, Family, Misfit};

/// A model's sizes and variants, with every default resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `gpt2` or `llama`.
    pub family: Family,
    /// Number of tokens in the vocabulary (V).
    pub vocabulary: usize,
    /// Longest window (L): the number of learned positions (gpt2).
    pub context: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads a block (H).
    pub heads: usize,
    /// Key and value heads a block; equal to `heads` for gpt2.
    pub kv_heads: usize,
    /// Width of the residual stream (C).
    pub width: usize,
    /// Width of the MLP's hidden layer.
    pub hidden: usize,
    /// Dropout rate (gpt2: after the embedding, on attention weights, after both projections).
    pub dropout: f64,
    /// Biases in linear layers and norms.
    pub bias: bool,
    /// Whether the output layer shares the embedding's weights.
    pub tied: bool,
    /// The MLP's activation (gpt2).
    pub activation: Activation,
    /// Base of the rotary frequencies (llama).
    pub rope_theta: f64,
    /// Epsilon of the norms, inside the root: 1e-5 for both families.
    pub norm_epsilon: f64,
}

impl Config {
    /// The model that these settings describe, for windows of `context` tokens over this vocabulary.
    pub fn new(model: &settings::Model, vocabulary: usize, context: usize) -> Result<Self> {
        let (width, heads) = (model.width, model.heads);
        let kv_heads = match model.family {
            Family::Gpt2 => heads,
            Family::Llama => model.kv_heads(),
        };
        if let Some(misfit) = Misfit::all(model.family, width, heads, kv_heads).first() {
            return Err(Error::usage(match misfit {
                Misfit::Heads => format!("`model.width` {width} is not a multiple of `model.heads` {heads}"),
                Misfit::OddHead(head) => format!("rotary positions need an even head size, and {width} / {heads} is {head}"),
                Misfit::KeyValueHeads => format!("`model.heads` {heads} is not a multiple of `model.kv_heads` {kv_heads}"),
            }));
        }
        if model.family == Family::Llama && model.dropout > 0.0 {
            return Err(Error::usage("`model.dropout` is for `model.family: gpt2`").help("leave `model.dropout` at 0 for llama"));
        }
        let hidden = match model.family {
            Family::Gpt2 => 4 * model.width,
            // Llama's two thirds of 4 C, so that three matrices cost what GPT-2's two do, rounded up to a multiple of 32.
            Family::Llama => (8 * model.width).div_ceil(3).next_multiple_of(32),
        };
        Ok(Self {
            family: model.family,
            vocabulary,
            context,
            layers: model.layers,
            heads: model.heads,
            kv_heads,
            width: model.width,
            hidden,
            dropout: model.dropout,
            bias: model.bias(),
            tied: model.tied,
            activation: model.activation,
            rope_theta: 10_000.0,
            norm_epsilon: 1e-5,
        })
    }

    /// Width of one attention head (D).
    pub fn head(&self) -> usize {
        self.width / self.heads
    }
}
