//! Layers from elementary operations, each with a gradient. Shapes: B windows, T tokens, C width, H heads, D head width.

use candle_core::{D, DType, Tensor};

use super::pass::Pass;
use crate::error::Result;
use crate::model::dropout::Site;

/// x [N, in] × weight [in, out] + bias: GPT-2's `Conv1D`. The product is made in `compute`, the result is in 32 bits.
pub(super) fn linear_in_out(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, compute: DType) -> Result<Tensor> {
    let y = x.to_dtype(compute)?.matmul(&weight.to_dtype(compute)?)?.to_dtype(DType::F32)?;
    Ok(match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// x [N, in] × weight [out, in]ᵀ + bias: `nn.Linear`.
pub(super) fn linear_out_in(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, compute: DType) -> Result<Tensor> {
    linear_in_out(x, &weight.t()?, bias, compute)
}

/// (x − mean) / √(variance + ε) × weight + bias over the last dimension; the variance is the biased one.
pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, epsilon: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let y = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?.broadcast_mul(weight)?;
    Ok(match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// x / √(mean(x²) + ε) × weight over the last dimension (Zhang and Sennrich 2019).
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(x.broadcast_div(&(mean_square + epsilon)?.sqrt()?)?.broadcast_mul(weight)?)
}

/// [B·T, heads·D] → [B, heads, T, D].
pub(super) fn split_heads(x: &Tensor, length: usize, heads: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    Ok(x.reshape((rows / length, length, heads, width / heads))?.transpose(1, 2)?.contiguous()?)
}

/// Causal attention: softmax(q kᵀ / √D + mask) v, with dropout on the weights. q: [B, H, T, D]; k, v: [B, H, P + T, D], where
/// the first P belong to tokens before those of q (a cache; else none); result [B·T, H·D]. The softmax is in 32 bits.
pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, layer: usize, pass: &Pass<'_>) -> Result<Tensor> {
    let Pass { dropout, compute, tables, .. } = *pass;
    let (b, h, t, d) = q.dims4()?;
    let (q, k, v) = (q.to_dtype(compute)?, k.to_dtype(compute)?, v.to_dtype(compute)?);
    let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? / (d as f64).sqrt())?;
    let scores = match tables.mask(t, k.dim(2)?)? {
        Some(mask) => scores.broadcast_add(&mask)?,
        None => scores,
    };
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
    let weights = dropout.apply(&weights, b, layer, Site::Attention)?;
    let mixed = weights.to_dtype(compute)?.matmul(&v)?.to_dtype(DType::F32)?;
    Ok(mixed.transpose(1, 2)?.reshape((b * t, h * d))?)
}

/// Rotary position embedding in the half-split form of Hugging Face (Su et al. 2021): (x1, x2) → (x1 cos − x2 sin,
/// x2 cos + x1 sin). x: [B, H, T, D]; cosine and sine: [T, D / 2].
pub(super) fn rotary(x: &Tensor, [cos, sin]: &[Tensor; 2]) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (x1, x2) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let first = (x1.broadcast_mul(cos)? - x2.broadcast_mul(sin)?)?;
    let second = (x2.broadcast_mul(cos)? + x1.broadcast_mul(sin)?)?;
    Ok(Tensor::cat(&[&first, &second], D::Minus1)?.contiguous()?)
}

/// [B, KV, T, D] → [B, H, T, D]: each key and value head serves H / KV neighbouring query heads.
pub(super) fn repeat_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, kv, t, d) = x.dims4()?;
    if kv == heads {
        return Ok(x.clone());
    }
    let times = heads / kv;
    Ok(x.unsqueeze(2)?.broadcast_as((b, kv, times, t, d))?.reshape((b, heads, t, d))?)
}
