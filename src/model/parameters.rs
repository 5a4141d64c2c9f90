//! The parameters of both families: Hugging Face's names, shapes and order, decay groups and initial spread.
//!
//! GPT-2 keeps Hugging Face's `Conv1D` layout [in, out]; Llama's linear weights are [out, in].

use super::config::Config;
use crate::experiment::settings::Family;

/// How AdamW treats a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Matrices and embeddings: weight decay.
    Decay,
    /// Biases and norms: none.
    NoDecay,
}

/// One parameter before it has values.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Hugging Face's name.
    pub name: String,
    /// As in Hugging Face's files.
    pub shape: Vec<usize>,
    /// Whether it decays.
    pub group: Group,
    /// How it starts.
    pub start: Start,
}

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// All of one value.
    Constant(f32),
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values; never true for a model of positive sizes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct List(Vec<Parameter>);

impl List {
    fn matrix(&mut self, name: String, shape: [usize; 2], deviation: f64) {
        self.0.push(Parameter { name, shape: shape.to_vec(), group: Group::Decay, start: Start::Normal(deviation) });
    }

    fn vector(&mut self, name: String, length: usize, value: f32) {
        self.0.push(Parameter { name, shape: vec![length], group: Group::NoDecay, start: Start::Constant(value) });
    }
}

impl Config {
    /// Every trainable parameter, in a fixed order. A tied output layer has none of its own; without biases there are none.
    ///
    /// Initialisation is GPT-2's (nanoGPT, Hugging Face): N(0, 0.02), biases 0, norms 1; what is added to the residual
    /// stream (`c_proj`, `o_proj`, `down_proj`) has 0.02 / √(2 · layers). Llama here uses the same rule, as llama2.c does.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut list = List(Vec::new());
        match self.family {
            Family::Gpt2 => self.gpt2_parameters(&mut list),
            Family::Llama => self.llama_parameters(&mut list),
        }
        if !self.tied {
            list.matrix("lm_head.weight".to_owned(), [self.vocabulary, self.width], 0.02);
        }
        list.0
    }

    fn gpt2_parameters(&self, list: &mut List) {
        let (c, h) = (self.width, self.hidden);
        let residual = 0.02 / (2.0 * self.layers as f64).sqrt();
        list.matrix("transformer.wte.weight".to_owned(), [self.vocabulary, c], 0.02);
        list.matrix("transformer.wpe.weight".to_owned(), [self.context, c], 0.02);
        for layer in 0..self.layers {
            let name = |rest: &str| format!("transformer.h.{layer}.{rest}");
            let norm = |list: &mut List, which: &str| {
                list.vector(name(&format!("{which}.weight")), c, 1.0);
                if self.bias {
                    list.vector(name(&format!("{which}.bias")), c, 0.0);
                }
            };
            let linear = |list: &mut List, which: &str, shape: [usize; 2], deviation: f64| {
                list.matrix(name(&format!("{which}.weight")), shape, deviation);
                if self.bias {
                    list.vector(name(&format!("{which}.bias")), shape[1], 0.0);
                }
            };
            norm(list, "ln_1");
            linear(list, "attn.c_attn", [c, 3 * c], 0.02);
            linear(list, "attn.c_proj", [c, c], residual);
            norm(list, "ln_2");
            linear(list, "mlp.c_fc", [c, h], 0.02);
            linear(list, "mlp.c_proj", [h, c], residual);
        }
        list.vector("transformer.ln_f.weight".to_owned(), c, 1.0);
        if self.bias {
            list.vector("transformer.ln_f.bias".to_owned(), c, 0.0);
        }
    }

    fn llama_parameters(&self, list: &mut List) {
        let (c, h, kv) = (self.width, self.hidden, self.kv_heads * self.head());
        let residual = 0.02 / (2.0 * self.layers as f64).sqrt();
        list.matrix("model.embed_tokens.weight".to_owned(), [self.vocabulary, c], 0.02);
        for layer in 0..self.layers {
            let name = |rest: &str| format!("model.layers.{layer}.{rest}");
            let linear = |list: &mut List, which: &str, shape: [usize; 2], deviation: f64| {
                list.matrix(name(&format!("{which}.weight")), shape, deviation);
                if self.bias && which.starts_with("self_attn") {
                    list.vector(name(&format!("{which}.bias")), shape[0], 0.0);
                }
            };
            list.vector(name("input_layernorm.weight"), c, 1.0);
            linear(list, "self_attn.q_proj", [c, c], 0.02);
            linear(list, "self_attn.k_proj", [kv, c], 0.02);
            linear(list, "self_attn.v_proj", [kv, c], 0.02);
            linear(list, "self_attn.o_proj", [c, c], residual);
            list.vector(name("post_attention_layernorm.weight"), c, 1.0);
            linear(list, "mlp.gate_proj", [h, c], 0.02);
            linear(list, "mlp.up_proj", [h, c], 0.02);
            linear(list, "mlp.down_proj", [c, h], residual);
        }
        list.vector("model.norm.weight".to_owned(), c, 1.0);
    }
}
