//! Layer norm and RMS norm over rows, forward and backward.

use super::vector::{dot, sum};

/// A norm's parameters. Without a mean it is RMS norm.
#[derive(Clone, Copy)]
pub(super) struct Norm<'a> {
    /// Weights.
    pub(super) weight: &'a [f32],
    /// Biases, if it has any.
    pub(super) bias: Option<&'a [f32]>,
    /// Whether the mean is taken away first (layer norm).
    pub(super) centred: bool,
    /// Added to the mean square, inside the root.
    pub(super) epsilon: f32,
}

impl Norm<'_> {
    /// y = (x − mean) · r · weight + bias for each row, where r = 1 / √(mean square + epsilon); keeps mean and r of each row.
    #[inline(always)]
    pub(super) fn forward(&self, y: &mut [f32], x: &[f32], statistics: &mut [[f32; 2]]) {
        let width = self.weight.len();
        for ((y, x), kept) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(statistics) {
            let mean = if self.centred { sum(x, |x| x) / width as f32 } else { 0.0 };
            let square = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let r = 1.0 / (square + self.epsilon).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(self.weight) {
                *y = (x - mean) * r * w;
            }
            if let Some(bias) = self.bias {
                super::vector::add(y, bias);
            }
            *kept = [mean, r];
        }
    }

    /// Adds what flows back through the norm to `into`, or writes `into` + that over `x` (whose rows are no longer needed):
    /// `x` becomes `residual` + dx. Gradients of weight and bias are added to `weight` and `bias`.
    ///
    /// `dy` is overwritten by its product with the weights.
    #[inline(always)]
    pub(super) fn backward(
        &self,
        x: &mut [f32],
        residual: Option<&[f32]>,
        dy: &mut [f32],
        statistics: &[[f32; 2]],
        weight: &mut [f32],
        mut bias: Option<&mut [f32]>,
    ) {
        let width = self.weight.len();
        for (row, ((x, dy), &[mean, r])) in x.chunks_exact_mut(width).zip(dy.chunks_exact_mut(width)).zip(statistics).enumerate()
        {
            if let Some(bias) = bias.as_deref_mut() {
                super::vector::add(bias, dy);
            }
            // x becomes its normalised value, dy the gradient of that.
            for (((x, dy), dw), &w) in x.iter_mut().zip(dy.iter_mut()).zip(weight.iter_mut()).zip(self.weight) {
                *x = (*x - mean) * r;
                *dw += *dy * *x;
                *dy *= w;
            }
            let along = dot(dy, x) / width as f32;
            let level = if self.centred { sum(dy, |d| d) / width as f32 } else { 0.0 };
            match residual {
                Some(residual) => {
                    let residual = &residual[row * width..][..width];
                    for ((x, &dy), &d) in x.iter_mut().zip(&*dy).zip(residual) {
                        *x = r.mul_add(dy - level - *x * along, d);
                    }
                }
                None => {
                    for (x, &dy) in x.iter_mut().zip(&*dy) {
                        *x = r * (dy - level - *x * along);
                    }
                }
            }
        }
    }
}
