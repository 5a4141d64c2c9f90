//! Clipping by the global norm, as torch's `clip_grad_norm_` does it.

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::experiment::settings::ClipNorm;

/// The L2 norm of all gradients together, squares summed in 64 bits (in 32 on Metal, which has no others), parameter after
/// parameter in the order given.
pub fn global_norm<'a>(gradients: impl Iterator<Item = &'a Tensor>) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients {
        sum += if gradient.device().is_metal() {
            f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?)
        } else {
            gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?
        };
    }
    Ok(sum.sqrt())
}

/// What every gradient is multiplied with: min(1, C / (norm + 1e-6)); 1 where clipping is off.
///
/// The norm must be finite: min(1, C/∞) is 0, and 0 · ∞ would put NaN into the weights.
pub fn clip_coefficient(norm: f64, clip: ClipNorm) -> f64 {
    match clip {
        ClipNorm::Off => 1.0,
        ClipNorm::At(limit) => (limit / (norm + 1e-6)).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let (a, b) = (tensor(&[3.0, 0.0]), tensor(&[0.0, 4.0]));
        assert_eq!(global_norm([&a, &b].into_iter()).unwrap(), 5.0);
    }

    #[test]
    fn coefficients_are_torchs() {
        for (norm, clip, expected) in [
            (5.0, ClipNorm::At(1.0), 1.0 / (5.0 + 1e-6)),
            (0.5, ClipNorm::At(1.0), 1.0),
            (1.0, ClipNorm::At(1.0), 1.0 / (1.0 + 1e-6)),
            (5.0, ClipNorm::Off, 1.0),
            (0.0, ClipNorm::At(1e-9), 1e-9 / 1e-6),
        ] {
            assert_eq!(clip_coefficient(norm, clip), expected, "{norm} {clip:?}");
        }
    }
}
