//! Cross-entropy over rows of logits.

use super::vector::{exp_and_sum, largest};

/// The NLL of each row's target in nats; `logits` become the gradient of Σ NLL · scale.
#[inline(always)]
pub(super) fn cross_entropy(logits: &mut [f32], targets: &[u32], scale: f32, mut each: impl FnMut(usize, f32)) {
    let width = logits.len() / targets.len().max(1);
    for (i, (row, &target)) in logits.chunks_exact_mut(width).zip(targets).enumerate() {
        let peak = largest(row);
        let aimed = row[target as usize] - peak;
        let sum = exp_and_sum(row, peak);
        each(i, sum.ln() - aimed);
        let factor = scale / sum;
        row.iter_mut().for_each(|x| *x *= factor);
        row[target as usize] -= scale;
    }
}

/// The NLL of each row's target in nats; `logits` are overwritten.
#[inline(always)]
pub(super) fn nll(logits: &mut [f32], targets: &[u32], into: &mut [f32]) {
    let width = logits.len() / targets.len().max(1);
    for ((row, &target), nll) in logits.chunks_exact_mut(width).zip(targets).zip(into) {
        let peak = largest(row);
        let aimed = row[target as usize] - peak;
        *nll = exp_and_sum(row, peak).ln() - aimed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_gradients_are_their_definitions() {
        let logits = [1.0f32, -2.0, 0.5, 3.0, 0.0, 0.0, 0.0, 100.0, -100.0];
        let targets = [2, 0, 1];
        let mut gradient = logits;
        let mut losses = [0.0; 3];
        cross_entropy(&mut gradient, &targets, 0.5, |i, nll| losses[i] = nll);
        let mut again = [0.0; 3];
        nll(&mut logits.clone(), &targets, &mut again);
        assert_eq!(losses, again);
        for (r, row) in logits.chunks(3).enumerate() {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let target = targets[r] as usize;
            assert!((f64::from(losses[r]) - (sum.ln() - f64::from(row[target]))).abs() < 1e-5);
            for (c, &x) in row.iter().enumerate() {
                let expected = 0.5 * (f64::from(x).exp() / sum - f64::from(u8::from(c == target)));
                assert!((f64::from(gradient[3 * r + c]) - expected).abs() < 1e-6);
            }
        }
    }
}
