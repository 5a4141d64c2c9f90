//! `model`: what is trained.

use serde::{Deserialize, Serialize};

use crate::experiment::text::fields;

/// `model`: what is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// `gpt2` or `llama`.
    pub family: Family,
    /// Number of blocks.
    #[serde(deserialize_with = "fields::few")]
    pub layers: usize,
    /// Attention heads a block.
    #[serde(deserialize_with = "fields::few")]
    pub heads: usize,
    /// Width of the residual stream; a multiple of `heads`.
    #[serde(deserialize_with = "fields::size")]
    pub width: usize,
    /// Key and value heads (llama); the default is `heads`.
    #[serde(deserialize_with = "fields::maybe_few")]
    pub kv_heads: Option<usize>,
    /// Dropout rate in [0, 1).
    #[serde(deserialize_with = "fields::below_one")]
    pub dropout: f64,
    /// Biases in linear layers and layer norms; the default is true for gpt2 and false for llama.
    #[serde(deserialize_with = "fields::maybe_flag")]
    pub bias: Option<bool>,
    /// Whether the output layer shares the embedding's weights.
    #[serde(deserialize_with = "fields::flag")]
    pub tied: bool,
    /// The MLP's activation (gpt2).
    pub activation: Activation,
    /// A local Hugging Face folder to start from.
    #[serde(deserialize_with = "fields::maybe_words")]
    pub from: Option<String>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            family: Family::Gpt2,
            layers: 4,
            heads: 4,
            width: 128,
            kv_heads: None,
            dropout: 0.0,
            bias: None,
            tied: true,
            activation: Activation::Gelu,
            from: None,
        }
    }
}

impl Model {
    /// Key and value heads: `kv_heads`, or `heads` where it is not set.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    /// Whether linear layers and norms have biases: `bias`, or the family's habit where it is not set.
    pub fn bias(&self) -> bool {
        self.bias.unwrap_or(self.family == Family::Gpt2)
    }
}

/// The model's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Learned positions, layer norm, GELU.
    Gpt2,
    /// Rotary positions, RMS norm, SwiGLU, grouped-query attention.
    Llama,
}

/// The activation of a GPT-2 block's MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact, by the error function (`nn.GELU()`).
    Gelu,
    /// The tanh form (Hugging Face's `gelu_new`).
    GeluTanh,
}

/// Why a model of some sizes cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// The width is not a multiple of the heads.
    Heads,
    /// A head of this width is odd, and rotary positions need pairs.
    OddHead(usize),
    /// The heads are not a multiple of the key and value heads.
    KeyValueHeads,
}

impl Misfit {
    /// What does not fit of these sizes.
    pub fn all(family: Family, width: usize, heads: usize, kv_heads: usize) -> Vec<Self> {
        let is_llama = family == Family::Llama;
        let of_width = if heads == 0 || !width.is_multiple_of(heads) {
            Some(Self::Heads)
        } else {
            Some(width / heads).filter(|head| is_llama && !head.is_multiple_of(2)).map(Self::OddHead)
        };
        let of_heads = (is_llama && !(kv_heads > 0 && heads.is_multiple_of(kv_heads))).then_some(Self::KeyValueHeads);
        of_width.into_iter().chain(of_heads).collect()
    }
}
