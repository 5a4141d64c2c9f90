//! Where each parameter lies in the one array that holds them all, and each weight's copies that products read.
//!
//! A linear layer has two copies in panels (see `panels`): [in, out] for forward and [out, in] for backward; its biases have
//! one. Rows and columns are padded with zeros to whole panels. Copies are renewed after each update, in one pass.

use std::collections::HashMap;
use std::ops::Range;

use super::panels::padded;
use crate::error::{Error, Result};
use crate::experiment::settings::Family;
use crate::model::Config;

/// In which order a weight lies in the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightOrder {
    /// [in, out].
    InOut,
    /// [out, in].
    OutIn,
}

/// One weight of a linear layer, with its bias.
#[derive(Debug, Clone)]
pub(super) struct LinearPart {
    /// Its place among the parameters.
    pub(super) weight: Range<usize>,
    /// The bias's place.
    pub(super) bias: Option<Range<usize>>,
    /// First of its outputs among the layer's.
    pub(super) first: usize,
    /// Number of its outputs.
    pub(super) outputs: usize,
}

/// A linear layer: one or several weights that read the same inputs, their outputs side by side.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// Its weights.
    pub(super) parts: Vec<LinearPart>,
    /// In which order they lie.
    pub(super) order: WeightOrder,
    /// Width of the input.
    pub(super) inputs: usize,
    /// Width of the output, all parts together.
    pub(super) outputs: usize,
    /// Place of [in, out] among the copies.
    pub(super) forward: Range<usize>,
    /// Place of [out, in] among the copies.
    pub(super) backward: Range<usize>,
    /// Place of all biases among the copies, if there are any.
    pub(super) bias: Option<Range<usize>>,
}

/// A norm's parameters.
#[derive(Debug, Clone)]
pub(super) struct NormPlace {
    /// Weights.
    pub(super) weight: Range<usize>,
    /// Biases.
    pub(super) bias: Option<Range<usize>>,
}

/// Where the parameters of a block lie.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Norm before attention.
    pub(super) norm1: NormPlace,
    /// Queries, keys and values.
    pub(super) attention_in: Linear,
    /// What attention adds to the residual stream.
    pub(super) attention_out: Linear,
    /// Norm before the MLP.
    pub(super) norm2: NormPlace,
    /// The MLP's first layer; for llama gate and up side by side.
    pub(super) mlp_in: Linear,
    /// What the MLP adds to the residual stream.
    pub(super) mlp_out: Linear,
}

impl Block {
    fn linears(&self) -> [&Linear; 4] {
        [&self.attention_in, &self.attention_out, &self.mlp_in, &self.mlp_out]
    }
}

/// Every parameter's place.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Places of all parameters, in the order of [`Config::parameters`].
    pub(super) ranges: Vec<Range<usize>>,
    /// Token embedding [V, C].
    pub(super) tokens: Range<usize>,
    /// Position embedding [context, C] (gpt2).
    pub(super) positions: Option<Range<usize>>,
    /// Blocks.
    pub(super) blocks: Vec<Block>,
    /// Norm before the output layer.
    pub(super) norm: NormPlace,
    /// Output layer; its weight is the token embedding where they are tied.
    pub(super) head: Linear,
    /// Number of values of all parameters.
    pub(super) len: usize,
    /// Number of values of all copies.
    pub(super) copies: usize,
}

struct Finder {
    places: HashMap<String, Range<usize>>,
    copies: usize,
}

impl Finder {
    fn maybe(&self, name: &str) -> Option<Range<usize>> {
        self.places.get(name).cloned()
    }

    fn find(&self, name: &str) -> Result<Range<usize>> {
        self.maybe(name).ok_or_else(|| Error::internal(format!("the engine knows no parameter `{name}`")))
    }

    fn norm(&self, name: &str) -> Result<NormPlace> {
        Ok(NormPlace { weight: self.find(&format!("{name}.weight"))?, bias: self.maybe(&format!("{name}.bias")) })
    }

    fn linear(&mut self, names: &[String], order: WeightOrder, inputs: usize) -> Result<Linear> {
        let mut outputs = 0;
        let mut parts = Vec::new();
        for name in names {
            let weight = self.find(&format!("{name}.weight"))?;
            let part =
                LinearPart { bias: self.maybe(&format!("{name}.bias")), first: outputs, outputs: weight.len() / inputs, weight };
            outputs += part.outputs;
            parts.push(part);
        }
        let size = padded(inputs) * padded(outputs);
        let mut copy = |len: usize| {
            let start = self.copies;
            self.copies += len;
            start..self.copies
        };
        let (forward, backward) = (copy(size), copy(size));
        let bias = parts.iter().any(|part: &LinearPart| part.bias.is_some()).then(|| copy(padded(outputs)));
        Ok(Linear { parts, order, inputs, outputs, forward, backward, bias })
    }
}

impl Layout {
    /// The places of this configuration's parameters, one after another in the order of [`Config::parameters`], and of their
    /// copies.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let mut ranges = Vec::new();
        let mut places = HashMap::new();
        let mut len = 0;
        for parameter in config.parameters() {
            let range = len..len + parameter.len();
            len = range.end;
            ranges.push(range.clone());
            places.insert(parameter.name, range);
        }
        let mut find = Finder { places, copies: 0 };
        let (tokens, positions, blocks, norm) = match config.family {
            Family::Gpt2 => (
                find.find("transformer.wte.weight")?,
                Some(find.find("transformer.wpe.weight")?),
                (0..config.layers).map(|layer| gpt2_block(&mut find, config, layer)).collect::<Result<_>>()?,
                find.norm("transformer.ln_f")?,
            ),
            Family::Llama => (
                find.find("model.embed_tokens.weight")?,
                None,
                (0..config.layers).map(|layer| llama_block(&mut find, config, layer)).collect::<Result<_>>()?,
                find.norm("model.norm")?,
            ),
        };
        let name = match (config.tied, config.family) {
            (false, _) => "lm_head",
            (true, Family::Gpt2) => "transformer.wte",
            (true, Family::Llama) => "model.embed_tokens",
        };
        let head = find.linear(&[name.to_owned()], WeightOrder::OutIn, config.width)?;
        Ok(Self { ranges, tokens, positions, blocks, norm, head, len, copies: find.copies })
    }

    /// The places of all parameters whose gradient a shard makes in pieces: all but the weights of blocks, each of which is one
    /// product.
    pub(super) fn in_pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let mut whole: Vec<_> =
            self.blocks.iter().flat_map(Block::linears).flat_map(|linear| &linear.parts).map(|part| &part.weight).collect();
        whole.sort_by_key(|weight| weight.start);
        let starts: Vec<usize> = std::iter::once(0).chain(whole.iter().map(|weight| weight.end)).collect();
        let ends: Vec<usize> = whole.iter().map(|weight| weight.start).chain(std::iter::once(self.len)).collect();
        starts.into_iter().zip(ends).map(|(start, end)| start..end).filter(|range| !range.is_empty())
    }

    /// Every linear layer.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(Block::linears).chain(std::iter::once(&self.head))
    }
}

fn gpt2_block(find: &mut Finder, config: &Config, layer: usize) -> Result<Block> {
    let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
    Ok(Block {
        norm1: find.norm(&name("ln_1"))?,
        attention_in: find.linear(&[name("attn.c_attn")], WeightOrder::InOut, config.width)?,
        attention_out: find.linear(&[name("attn.c_proj")], WeightOrder::InOut, config.width)?,
        norm2: find.norm(&name("ln_2"))?,
        mlp_in: find.linear(&[name("mlp.c_fc")], WeightOrder::InOut, config.width)?,
        mlp_out: find.linear(&[name("mlp.c_proj")], WeightOrder::InOut, config.hidden)?,
    })
}

fn llama_block(find: &mut Finder, config: &Config, layer: usize) -> Result<Block> {
    let name = |rest: &str| format!("model.layers.{layer}.{rest}");
    let attention = [name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj")];
    Ok(Block {
        norm1: find.norm(&name("input_layernorm"))?,
        attention_in: find.linear(&attention, WeightOrder::OutIn, config.width)?,
        attention_out: find.linear(&[name("self_attn.o_proj")], WeightOrder::OutIn, config.width)?,
        norm2: find.norm(&name("post_attention_layernorm"))?,
        mlp_in: find.linear(&[name("mlp.gate_proj"), name("mlp.up_proj")], WeightOrder::OutIn, config.width)?,
        mlp_out: find.linear(&[name("mlp.down_proj")], WeightOrder::OutIn, config.hidden)?,
    })
}
