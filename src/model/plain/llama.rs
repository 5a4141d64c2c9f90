//! Llama (Touvron et al. 2023; Hugging Face's `LlamaForCausalLM`): RMS norm, rotary positions, grouped-query attention, SwiGLU.

use candle_core::Tensor;

use super::layers::{attention, linear_out_in, repeat_heads, rms_norm, rotary, split_heads};
use super::pass::{Pass, Weights};
use crate::error::Result;
use crate::model::Config;

/// Hidden states after the last norm [B·T, C] of token ids [B·T].
pub(super) fn forward(config: &Config, weights: &mut Weights<'_>, ids: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
    let Pass { length, compute, .. } = *pass;
    let angles = pass.tables.rotary(pass.first(), length)?;
    let mut x = weights.take("embed_tokens.weight")?.index_select(ids, 0)?;
    for layer in 0..config.layers {
        let normed = rms_norm(&x, weights.take("input_layernorm.weight")?, config.norm_epsilon)?;
        let mut project = |name: &str, x: &Tensor| {
            let weight = weights.take(&format!("self_attn.{name}.weight"))?;
            linear_out_in(x, weight, weights.bias(&format!("self_attn.{name}.bias"))?, compute)
        };
        let q = rotary(&split_heads(&project("q_proj", &normed)?, length, config.heads)?, &angles)?;
        let k = rotary(&split_heads(&project("k_proj", &normed)?, length, config.kv_heads)?, &angles)?;
        let v = split_heads(&project("v_proj", &normed)?, length, config.kv_heads)?;
        let (k, v) = pass.keys_and_values(layer, k, v)?;
        let (k, v) = (repeat_heads(&k, config.heads)?, repeat_heads(&v, config.heads)?);
        let projected = project("o_proj", &attention(&q, &k, &v, layer, pass)?)?;
        x = (x + projected)?;

        let normed = rms_norm(&x, weights.take("post_attention_layernorm.weight")?, config.norm_epsilon)?;
        let gate = linear_out_in(&normed, weights.take("mlp.gate_proj.weight")?, None, compute)?;
        let up = linear_out_in(&normed, weights.take("mlp.up_proj.weight")?, None, compute)?;
        let hidden = (gate.silu()? * up)?;
        let projected = linear_out_in(&hidden, weights.take("mlp.down_proj.weight")?, None, compute)?;
        x = (x + projected)?;
    }
    rms_norm(&x, weights.take("model.norm.weight")?, config.norm_epsilon)
}
