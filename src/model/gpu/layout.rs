//! Where each parameter lies in a member's flat arrays on the device: values, gradients, both moments and, in bfloat16, the copies
//! that products read.
//!
//! Parameters whose products are made together (llama's queries, keys and values; gate and up) lie one directly after another,
//! so that one product takes them as one weight. Each such group, and every other parameter, begins at a multiple of [`ALIGN`]
//! values. The vocabulary of an embedding or output layer is padded with rows of zeros, which stay zeros: their gradient is.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::experiment::settings::Family;
use crate::model::{Config, Group};

/// A group of parameters begins at a multiple of so many values: 256 bytes of 32-bit values, 128 of bfloat16.
const ALIGN: usize = 64;

/// In which order a weight lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightOrder {
    /// [in, out].
    InOut,
    /// [out, in].
    OutIn,
}

/// A parameter that is added to, or multiplied with, every row: its gradient is a sum over rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vector {
    /// First value.
    pub(super) start: usize,
    /// Its first column among the columns of all vectors.
    pub(super) column: usize,
}

/// A linear layer: one weight, and one bias where there are any.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// First value of the weight.
    pub(super) weight: usize,
    /// The bias.
    pub(super) bias: Option<Vector>,
    /// In which order the weight lies.
    pub(super) order: WeightOrder,
    /// Width of the input.
    pub(super) inputs: usize,
    /// Width of the output.
    pub(super) outputs: usize,
}

/// A norm's parameters, each of the residual stream's width.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    /// What each row is multiplied with.
    pub(super) weight: Vector,
    /// What is added then.
    pub(super) bias: Option<Vector>,
}

/// A block's parameters.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Norm before attention.
    pub(super) norm1: Norm,
    /// Queries, keys and values side by side.
    pub(super) attention_in: Linear,
    /// What attention adds to the residual stream.
    pub(super) attention_out: Linear,
    /// Norm before the MLP.
    pub(super) norm2: Norm,
    /// The MLP's first layer; for llama gate and up side by side.
    pub(super) mlp_in: Linear,
    /// What the MLP adds to the residual stream.
    pub(super) mlp_out: Linear,
}

/// Neighbouring values that decay, or do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// The values.
    pub(super) range: Range<usize>,
    /// Whether weight decay reaches them.
    pub(super) decays: bool,
}

/// Every parameter's place.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Values of all parameters in the order of [`Config::parameters`], without padding.
    pub(super) ranges: Vec<Range<usize>>,
    /// First value of the token embedding [Vp, C].
    pub(super) tokens: usize,
    /// First value of the position embedding [context, C] (gpt2).
    pub(super) positions: Option<usize>,
    /// Blocks.
    pub(super) blocks: Vec<Block>,
    /// Norm before the output layer.
    pub(super) norm: Norm,
    /// First value of the output layer's weight [Vp, C]: that of the token embedding where they are tied.
    pub(super) head: usize,
    /// The vocabulary with its padding (Vp).
    pub(super) vocabulary: usize,
    /// Values of a member (P), a multiple of [`ALIGN`].
    pub(super) len: usize,
    /// All values in order, by whether they decay.
    pub(super) spans: Vec<Span>,
    /// The values of all vectors, column by column.
    pub(super) columns: Vec<usize>,
}

/// Rows that a vocabulary is padded to: whole 16 bytes of logits below 1,024, whole tiles of a product above.
pub(super) fn padded_vocabulary(vocabulary: usize) -> usize {
    vocabulary.next_multiple_of(if vocabulary < 1_024 { 8 } else { 64 })
}

/// Parameters by name, with their places.
struct Places<'a> {
    config: &'a Config,
    names: Vec<String>,
    ranges: Vec<Range<usize>>,
    /// First column of each that is a vector.
    columns: Vec<usize>,
}

impl Places<'_> {
    fn maybe(&self, name: &str) -> Option<Vector> {
        let place = self.names.iter().position(|n| n == name)?;
        Some(Vector { start: self.ranges[place].start, column: self.columns[place] })
    }

    fn find(&self, name: &str) -> Result<Vector> {
        self.maybe(name).ok_or_else(|| Error::internal(format!("the engine knows no parameter `{name}`")))
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        Ok(Norm { weight: self.find(&format!("{name}.weight"))?, bias: self.maybe(&format!("{name}.bias")) })
    }

    fn linear(&self, name: &str, order: WeightOrder, inputs: usize, outputs: usize) -> Result<Linear> {
        let (weight, bias) = (self.find(&format!("{name}.weight"))?.start, self.maybe(&format!("{name}.bias")));
        Ok(Linear { weight, bias, order, inputs, outputs })
    }

    fn gpt2_block(&self, layer: usize) -> Result<Block> {
        let (c, f) = (self.config.width, self.config.hidden);
        let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
        Ok(Block {
            norm1: self.norm(&name("ln_1"))?,
            attention_in: self.linear(&name("attn.c_attn"), WeightOrder::InOut, c, 3 * c)?,
            attention_out: self.linear(&name("attn.c_proj"), WeightOrder::InOut, c, c)?,
            norm2: self.norm(&name("ln_2"))?,
            mlp_in: self.linear(&name("mlp.c_fc"), WeightOrder::InOut, c, f)?,
            mlp_out: self.linear(&name("mlp.c_proj"), WeightOrder::InOut, f, c)?,
        })
    }

    fn llama_block(&self, layer: usize) -> Result<Block> {
        let (c, f, kv) = (self.config.width, self.config.hidden, self.config.kv_heads * self.config.head());
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        Ok(Block {
            norm1: self.norm(&name("input_layernorm"))?,
            // The first of those that lie together.
            attention_in: self.linear(&name("self_attn.q_proj"), WeightOrder::OutIn, c, c + 2 * kv)?,
            attention_out: self.linear(&name("self_attn.o_proj"), WeightOrder::OutIn, c, c)?,
            norm2: self.norm(&name("post_attention_layernorm"))?,
            mlp_in: self.linear(&name("mlp.gate_proj"), WeightOrder::OutIn, c, 2 * f)?,
            mlp_out: self.linear(&name("mlp.down_proj"), WeightOrder::OutIn, f, c)?,
        })
    }
}

/// A name without the part that parameters lying together differ in.
fn group_of(name: &str) -> String {
    let mut name = name.to_owned();
    for (part, group) in [
        (".q_proj.", ".qkv."),
        (".k_proj.", ".qkv."),
        (".v_proj.", ".qkv."),
        (".gate_proj.", ".gate_up."),
        (".up_proj.", ".gate_up."),
    ] {
        name = name.replace(part, group);
    }
    name
}

impl Layout {
    /// The places of this configuration's parameters.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let parameters = config.parameters();
        let vocabulary = padded_vocabulary(config.vocabulary);
        // Groups in the order of their first parameter, each with its parameters' places in the list.
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (place, parameter) in parameters.iter().enumerate() {
            let name = group_of(&parameter.name);
            // The members of a group are close together: only a layer's biases lie between.
            match groups.iter_mut().rev().take(2).find(|(group, _)| *group == name) {
                Some((_, members)) => members.push(place),
                None => groups.push((name, vec![place])),
            }
        }
        let mut ranges = vec![0..0; parameters.len()];
        let mut first_columns = vec![0; parameters.len()];
        let mut columns = Vec::new();
        let mut spans: Vec<Span> = Vec::new();
        let mut len = 0;
        for (_, members) in &groups {
            let start = len;
            for &place in members {
                let parameter = &parameters[place];
                ranges[place] = len..len + parameter.len();
                let padding = if is_padded(&parameter.name) { (vocabulary - config.vocabulary) * config.width } else { 0 };
                len = ranges[place].end + padding;
                if parameter.shape.len() == 1 {
                    first_columns[place] = columns.len();
                    columns.extend(ranges[place].clone());
                }
            }
            len = len.next_multiple_of(ALIGN);
            let decays = members.iter().any(|&place| parameters[place].group == Group::Decay);
            match spans.last_mut() {
                Some(last) if last.decays == decays => last.range.end = len,
                _ => spans.push(Span { range: start..len, decays }),
            }
        }
        let names: Vec<String> = parameters.into_iter().map(|parameter| parameter.name).collect();
        let places = Places { config, names, ranges, columns: first_columns };
        let layers = 0..config.layers;
        let (tokens, positions, blocks, norm) = match config.family {
            Family::Gpt2 => (
                places.find("transformer.wte.weight")?.start,
                Some(places.find("transformer.wpe.weight")?.start),
                layers.map(|layer| places.gpt2_block(layer)).collect::<Result<_>>()?,
                places.norm("transformer.ln_f")?,
            ),
            Family::Llama => (
                places.find("model.embed_tokens.weight")?.start,
                None,
                layers.map(|layer| places.llama_block(layer)).collect::<Result<_>>()?,
                places.norm("model.norm")?,
            ),
        };
        let head = if config.tied { tokens } else { places.find("lm_head.weight")?.start };
        Ok(Self { ranges: places.ranges, tokens, positions, blocks, norm, head, vocabulary, len, spans, columns })
    }
}

/// Whether a parameter has a row for each token.
fn is_padded(name: &str) -> bool {
    ["transformer.wte.weight", "model.embed_tokens.weight", "lm_head.weight"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Model;

    fn config(model: Model, vocabulary: usize) -> Config {
        Config::new(&model, vocabulary, 24).unwrap()
    }

    fn configs() -> Vec<Config> {
        let mut all = Vec::new();
        for family in [Family::Gpt2, Family::Llama] {
            for (bias, tied) in [(true, true), (true, false), (false, true), (false, false)] {
                for (heads, kv_heads, width, vocabulary) in [(2, 2, 12, 11), (6, 3, 24, 65), (4, 4, 64, 2_000)] {
                    let kv_heads = (family == Family::Llama).then_some(kv_heads);
                    let model = Model { family, layers: 2, heads, kv_heads, width, bias: Some(bias), tied, ..Model::default() };
                    all.push(config(model, vocabulary));
                }
            }
        }
        all
    }

    #[test]
    fn no_two_parameters_share_a_value_and_groups_are_aligned() {
        for config in configs() {
            let layout = Layout::new(&config).unwrap();
            let parameters = config.parameters();
            let mut sorted: Vec<_> = layout.ranges.iter().zip(&parameters).collect();
            sorted.sort_by_key(|(range, _)| range.start);
            for pair in sorted.windows(2) {
                let [(a, first), (b, second)] = [pair[0], pair[1]];
                assert!(a.end <= b.start, "{} {}", first.name, second.name);
                let together = group_of(&first.name) == group_of(&second.name);
                assert!(!together || a.end == b.start, "{} {}", first.name, second.name);
                assert!(together || b.start % ALIGN == 0, "{}", second.name);
            }
            assert!(parameters.iter().zip(&layout.ranges).all(|(parameter, range)| parameter.len() == range.len()));
            assert!(sorted.last().unwrap().0.end <= layout.len && layout.len.is_multiple_of(ALIGN));
        }
    }

    #[test]
    fn spans_cover_everything_and_decay_as_their_parameters_do() {
        for config in configs() {
            let layout = Layout::new(&config).unwrap();
            assert_eq!((layout.spans[0].range.start, layout.spans.last().unwrap().range.end), (0, layout.len));
            assert!(layout.spans.windows(2).all(|s| s[0].range.end == s[1].range.start && s[0].decays != s[1].decays));
            for (parameter, range) in config.parameters().iter().zip(&layout.ranges) {
                let span = layout.spans.iter().find(|span| span.range.contains(&range.start)).unwrap();
                assert!(range.end <= span.range.end);
                assert_eq!(span.decays, parameter.group == Group::Decay, "{}", parameter.name);
            }
        }
    }

    #[test]
    fn llamas_queries_keys_and_values_are_one_weight_and_one_bias() {
        let model = Model {
            family: Family::Llama,
            layers: 1,
            heads: 6,
            kv_heads: Some(3),
            width: 24,
            bias: Some(true),
            ..Model::default()
        };
        let config = config(model, 11);
        let layout = Layout::new(&config).unwrap();
        let names: Vec<String> = config.parameters().into_iter().map(|p| p.name).collect();
        let at = |name: &str| layout.ranges[names.iter().position(|n| n.ends_with(name)).unwrap()].clone();
        let linear = &layout.blocks[0].attention_in;
        assert_eq!(linear.weight, at("q_proj.weight").start);
        assert_eq!(at("v_proj.weight").end - linear.weight, linear.inputs * linear.outputs);
        let bias = linear.bias.unwrap();
        assert_eq!(bias.start, at("q_proj.bias").start);
        assert_eq!(at("v_proj.bias").end - bias.start, linear.outputs);
        assert_eq!(layout.columns[bias.column..bias.column + linear.outputs].last(), Some(&(at("v_proj.bias").end - 1)));
        let gates = &layout.blocks[0].mlp_in;
        assert_eq!(at("up_proj.weight").end - gates.weight, gates.inputs * gates.outputs);
    }

    #[test]
    fn vocabularies_are_padded_to_eight_below_a_thousand_and_to_64_above() {
        assert_eq!([65, 1_023, 1_024, 50_257, 50_304].map(padded_vocabulary), [72, 1_024, 1_024, 50_304, 50_304]);
    }
}
