//! GPT-2 (Radford et al. 2019; Hugging Face's `GPT2LMHeadModel`): x + attention(norm(x)), then x + mlp(norm(x)).

use candle_core::{D, Tensor};

use super::layers::{attention, layer_norm, linear_in_out, split_heads};
use super::pass::{Pass, Weights};
use crate::error::Result;
use crate::experiment::settings::Activation;
use crate::model::Config;
use crate::model::dropout::Site;

/// Hidden states after the last norm [B·T, C] of token ids [B·T].
pub(super) fn forward(config: &Config, weights: &mut Weights<'_>, ids: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
    let Pass { length, dropout, compute, .. } = *pass;
    let windows = ids.dim(0)? / length;
    let width = config.width;
    let tokens = weights.take("wte.weight")?.index_select(ids, 0)?;
    let places = weights.take("wpe.weight")?.narrow(0, pass.first(), length)?;
    let x = tokens.reshape((windows, length, width))?.broadcast_add(&places)?.reshape((windows * length, width))?;
    let mut x = dropout.apply(&x, windows, 0, Site::Embedding)?;
    for layer in 0..config.layers {
        let normed = layer_norm(&x, weights.take("ln_1.weight")?, weights.bias("ln_1.bias")?, config.norm_epsilon)?;
        let qkv = linear_in_out(&normed, weights.take("attn.c_attn.weight")?, weights.bias("attn.c_attn.bias")?, compute)?;
        let heads = |part: usize| split_heads(&qkv.narrow(D::Minus1, part * width, width)?, length, config.heads);
        let (k, v) = pass.keys_and_values(layer, heads(1)?, heads(2)?)?;
        let mixed = attention(&heads(0)?, &k, &v, layer, pass)?;
        let projected = linear_in_out(&mixed, weights.take("attn.c_proj.weight")?, weights.bias("attn.c_proj.bias")?, compute)?;
        x = (x + dropout.apply(&projected, windows, layer, Site::AttentionOutput)?)?;

        let normed = layer_norm(&x, weights.take("ln_2.weight")?, weights.bias("ln_2.bias")?, config.norm_epsilon)?;
        let hidden = linear_in_out(&normed, weights.take("mlp.c_fc.weight")?, weights.bias("mlp.c_fc.bias")?, compute)?;
        let hidden = match config.activation {
            Activation::Gelu => hidden.gelu_erf()?,
            Activation::GeluTanh => hidden.gelu()?,
        };
        let projected = linear_in_out(&hidden, weights.take("mlp.c_proj.weight")?, weights.bias("mlp.c_proj.bias")?, compute)?;
        x = (x + dropout.apply(&projected, windows, layer, Site::MlpOutput)?)?;
    }
    layer_norm(&x, weights.take("ln_f.weight")?, weights.bias("ln_f.bias")?, config.norm_epsilon)
}
