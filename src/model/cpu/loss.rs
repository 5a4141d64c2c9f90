//! Cross-entropy over rows of logits.

use super::panels::{PanelsMut, WIDTH, each_panel};
use super::vector::{exp, largest, total};

/// The NLL of each row's target in nats; `logits` of so many columns become the gradient of Σ NLL · scale.
#[inline(always)]
pub(super) fn cross_entropy(
    mut logits: PanelsMut<'_>,
    vocabulary: usize,
    targets: &[u32],
    scale: f32,
    mut each: impl FnMut(usize, f32),
) {
    for (i, &target) in targets.iter().enumerate() {
        let [sum, aimed] = exponentials(logits.reborrow(), vocabulary, i, target);
        each(i, sum.ln() - aimed);
        let factor = scale / sum;
        each_panel(
            vocabulary,
            #[inline(always)]
            |p, n| logits.starting_at(p, i)[0][..n].iter_mut().for_each(|x| *x *= factor),
        );
        logits.starting_at(target as usize / WIDTH, i)[0][target as usize % WIDTH] -= scale;
    }
}

/// The NLL of each row's target in nats; `logits` are overwritten.
#[inline(always)]
pub(super) fn nll(mut logits: PanelsMut<'_>, vocabulary: usize, targets: &[u32], into: &mut [f32]) {
    for (i, (&target, nll)) in targets.iter().zip(into).enumerate() {
        let [sum, aimed] = exponentials(logits.reborrow(), vocabulary, i, target);
        *nll = sum.ln() - aimed;
    }
}

/// Replaces the logits x of row i by e^(x − the largest); gives their sum, and the target's x − the largest.
#[inline(always)]
fn exponentials(mut logits: PanelsMut<'_>, vocabulary: usize, i: usize, target: u32) -> [f32; 2] {
    let mut peaks = [f32::NEG_INFINITY; WIDTH];
    each_panel(
        vocabulary,
        #[inline(always)]
        |p, n| {
            let row = &logits.starting_at(p, i)[0];
            for e in 0..n {
                peaks[e] = if row[e] > peaks[e] { row[e] } else { peaks[e] };
            }
        },
    );
    let peak = largest(peaks);
    let aimed = logits.starting_at(target as usize / WIDTH, i)[0][target as usize % WIDTH] - peak;
    let mut sums = [0.0; WIDTH];
    each_panel(
        vocabulary,
        #[inline(always)]
        |p, n| {
            let row = &mut logits.starting_at(p, i)[0];
            for e in 0..n {
                row[e] = exp(row[e] - peak);
                sums[e] += row[e];
            }
        },
    );
    [total(sums), aimed]
}

#[cfg(test)]
mod tests {
    use super::super::panels::Panels;
    use super::super::panels::testing::{in_panels, row_by_row};
    use super::*;

    #[test]
    fn losses_and_gradients_are_their_definitions() {
        // In one panel that is not full, and in one that is and a second.
        for width in [3, 18] {
            let mut logits = vec![0.0f32; 3 * width];
            logits[..3].copy_from_slice(&[1.0, -2.0, 0.5]);
            logits[width - 1] = 3.0;
            logits[2 * width..][..2].copy_from_slice(&[100.0, -100.0]);
            let targets = [2, 0, 1];
            let mut gradient = in_panels(&logits, width);
            let mut again = gradient.clone();
            let mut losses = [0.0; 3];
            cross_entropy(PanelsMut::new(&mut gradient, 3), width, &targets, 0.5, |i, nll| losses[i] = nll);
            let mut scored = [0.0; 3];
            nll(PanelsMut::new(&mut again, 3), width, &targets, &mut scored);
            assert_eq!(losses, scored);
            let gradient = row_by_row(Panels::new(&gradient, 3), width);
            for (r, row) in logits.chunks(width).enumerate() {
                let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                let target = targets[r] as usize;
                assert!((f64::from(losses[r]) - (sum.ln() - f64::from(row[target]))).abs() < 1e-5);
                for (c, &x) in row.iter().enumerate() {
                    let expected = 0.5 * (f64::from(x).exp() / sum - f64::from(u8::from(c == target)));
                    assert!((f64::from(gradient[r * width + c]) - expected).abs() < 1e-6);
                }
            }
        }
    }
}
