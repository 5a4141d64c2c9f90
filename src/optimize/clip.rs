//! Clipping by the global norm, as torch's `clip_grad_norm_` does it.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::model::plain::{Gathered, square_sum};

/// The NLL's sum in nats and the L2 norm of all gradients together, squares summed in 64 bits (in 32 on Metal, which has no
/// others). The device is waited for once.
pub fn loss_and_norm(gathered: &Gathered) -> Result<(f64, f64)> {
    let both = Tensor::stack(&[&gathered.nll, &square_sum(&gathered.gradients)?], 0)?.to_device(&Device::Cpu)?;
    match both.to_dtype(DType::F64)?.to_vec1()?[..] {
        [nll, squares] => Ok((nll, f64::sqrt(squares))),
        _ => Err(Error::internal("two numbers are not two")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plain::join;

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let gathered = |gradients: [Tensor; 2]| {
            let nll = Tensor::new(1.5f64, &Device::Cpu).unwrap();
            Gathered { nll, gradients: join(gradients).unwrap() }
        };
        let of = |gradients| loss_and_norm(&gathered(gradients)).unwrap();
        assert_eq!(of([tensor(&[3.0, 0.0]), tensor(&[0.0, 4.0])]), (1.5, 5.0));
        assert_eq!(of([tensor(&[3.0]), tensor(&[f32::INFINITY])]).1, f64::INFINITY);
        assert!(of([tensor(&[3.0]), tensor(&[f32::NAN])]).1.is_nan());
    }
}
