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

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 21;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 29) as f32 / 9.0 - 1.4).collect()
    }

    /// Σ dy · norm(x) in 64 bits, as the definition has it.
    fn exact(x: &[f64], dy: &[f64], weight: &[f64], bias: &[f64], centred: bool) -> f64 {
        let rows = x.chunks(WIDTH).zip(dy.chunks(WIDTH));
        rows.map(|(x, dy)| {
            let mean = if centred { x.iter().sum::<f64>() / WIDTH as f64 } else { 0.0 };
            let r = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / WIDTH as f64 + 1e-5).sqrt().recip();
            (0..WIDTH).map(|i| dy[i] * ((x[i] - mean) * r * weight[i] + bias[i])).sum::<f64>()
        })
        .sum()
    }

    #[test]
    fn both_norms_and_all_their_gradients_are_the_definition() {
        for centred in [true, false] {
            let (x, dy) = (numbers(3 * WIDTH, 1), numbers(3 * WIDTH, 2));
            let (weight, bias, residual) = (numbers(WIDTH, 3), numbers(WIDTH, 4), numbers(3 * WIDTH, 5));
            let norm = Norm { weight: &weight, bias: Some(&bias), centred, epsilon: 1e-5 };
            let (mut y, mut statistics) = (vec![0.0; x.len()], vec![[0.0; 2]; 3]);
            norm.forward(&mut y, &x, &mut statistics);
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let all = [wide(&x), wide(&weight), wide(&bias)];
            let sum = |[x, weight, bias]: &[Vec<f64>; 3]| exact(x, &wide(&dy), weight, bias, centred);
            let got: f64 = y.iter().zip(&dy).map(|(y, d)| f64::from(*y) * f64::from(*d)).sum();
            assert!((got - sum(&all)).abs() < 1e-4, "{got} {}", sum(&all));

            let (mut dx, mut dweight, mut dbias) = (x.clone(), vec![0.0; WIDTH], vec![0.0; WIDTH]);
            norm.backward(&mut dx, Some(&residual), &mut dy.clone(), &statistics, &mut dweight, Some(&mut dbias));
            let mut alone = x.clone();
            norm.backward(&mut alone, None, &mut dy.clone(), &statistics, &mut [0.0; WIDTH], None);
            for ((dx, alone), residual) in dx.iter_mut().zip(&alone).zip(&residual) {
                *dx -= residual;
                assert!((*dx - alone).abs() < 1e-6);
            }
            for (which, gradient) in [dx, dweight, dbias].iter().enumerate() {
                for (i, &g) in gradient.iter().enumerate() {
                    let moved = |h: f64| {
                        let mut all = all.clone();
                        all[which][i] += h;
                        sum(&all)
                    };
                    let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((f64::from(g) - expected).abs() < 2e-5, "{centred} {which} {i}: {g} and {expected}");
                }
            }
        }
    }
}
