//! How large a trial's gradients were, and how often they were clipped.

use serde::{Deserialize, Serialize};

use crate::experiment::settings::ClipNorm;
use crate::rows::ARITHMETIC;

/// The gradient norms of all steps that a trial recorded, whatever number of attempts made them. A norm is the global L2 norm
/// before clipping.
///
/// The quantile at q is the smallest recorded norm that at least the share q of all steps did not exceed: a norm that
/// occurred, never a mean of two (numpy's `inverted_cdf`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clipping {
    /// Steps recorded.
    pub steps: i64,
    /// Those whose gradients were scaled down: clip coefficient below 1.
    pub clipped_steps: i64,
    /// Half of the steps had at most this norm.
    pub grad_norm_p50: f64,
    /// Nine of ten steps had at most this norm.
    pub grad_norm_p90: f64,
    /// 99 of 100 steps had at most this norm.
    pub grad_norm_p99: f64,
    /// The largest norm.
    pub grad_norm_max: f64,
    /// Version of the arithmetic that made these gradients; they say nothing about those of another one.
    pub arithmetic: u32,
}

impl Clipping {
    /// What this program's arithmetic came to: all norms in any order, and how many steps were clipped. `None` without a step.
    pub fn of(mut norms: Vec<f64>, clipped_steps: usize) -> Option<Self> {
        norms.sort_unstable_by(f64::total_cmp);
        let max = *norms.last()?;
        let quantile = |percent: usize| norms[(norms.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self {
            steps: norms.len() as i64,
            clipped_steps: clipped_steps as i64,
            grad_norm_p50: quantile(50),
            grad_norm_p90: quantile(90),
            grad_norm_p99: quantile(99),
            grad_norm_max: max,
            arithmetic: ARITHMETIC,
        })
    }

    /// Share of the steps that were clipped, 0 to 1.
    pub fn clipped_share(&self) -> f64 {
        self.clipped_steps as f64 / self.steps as f64
    }

    /// Whether the same training with this clip norm would have been the same to the bit: nothing was clipped here, and nothing
    /// would have been there.
    ///
    /// Two trainings are equal up to and with every step in which both multiply the gradients with exactly 1, so the next
    /// step's norm is the same in both, and so on to the end. The coefficient falls as the norm grows, rounding included:
    /// the largest norm decides for all steps. It is the optimizer's own function that is asked.
    pub fn never_binds(&self, clip: ClipNorm) -> bool {
        self.arithmetic == ARITHMETIC && self.clipped_steps == 0 && clip.coefficient(self.grad_norm_max) >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(norms: &[f64]) -> Clipping {
        Clipping::of(norms.to_vec(), 0).unwrap()
    }

    #[test]
    fn quantiles_are_norms_that_occurred() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let clipping = Clipping::of(hundred, 25).unwrap();
        let all = |c: Clipping| [c.grad_norm_p50, c.grad_norm_p90, c.grad_norm_p99, c.grad_norm_max];
        assert_eq!(all(clipping), [50.0, 90.0, 99.0, 100.0]);
        assert_eq!((clipping.steps, clipping.clipped_share()), (100, 0.25));
        assert_eq!(all(of(&[7.0])), [7.0; 4]);
        assert_eq!(all(of(&[2.0, 1.0])), [1.0, 2.0, 2.0, 2.0]);
        assert_eq!(all(of(&[3.0, 1.0, 2.0])), [2.0, 3.0, 3.0, 3.0]);
        assert_eq!(Clipping::of(Vec::new(), 0), None, "there is nothing to say of no step");
    }

    #[test]
    fn a_clip_norm_binds_from_where_the_optimizer_says_so() {
        let clipping = of(&[0.5, 1.0, 0.25]);
        // C / (norm + 1e-6), as torch has it: a limit of exactly the norm already scales.
        for (limit, never) in [(0.5, false), (1.0, false), (1.0 + 9e-7, false), (1.0 + 1e-6, true), (1.1, true)] {
            assert_eq!(clipping.never_binds(ClipNorm::At(limit)), never, "{limit}");
        }
        assert!(clipping.never_binds(ClipNorm::Off));
    }

    #[test]
    fn a_trial_that_was_clipped_or_made_by_other_arithmetic_says_nothing_of_others() {
        let clipped = Clipping::of(vec![0.5, 1.0], 1).unwrap();
        let older = Clipping { arithmetic: ARITHMETIC - 1, ..of(&[0.5]) };
        for clip in [ClipNorm::Off, ClipNorm::At(1e9)] {
            assert!(!clipped.never_binds(clip) && !older.never_binds(clip));
        }
    }

    proptest! {
        #[test]
        fn where_it_never_binds_every_coefficient_is_exactly_one(
            norms in prop::collection::vec(0.0f64..3.0, 1..40), beyond in -3i32..6, ulps in 0u64..4
        ) {
            let clipping = of(&norms);
            // Limits within some rounding errors of the edge.
            let edge = f64::from_bits((clipping.grad_norm_max + 1e-6).to_bits() + ulps);
            let limit = edge + f64::from(beyond) * 1e-16;
            let clip = ClipNorm::At(limit);
            let all_one = norms.iter().all(|&norm| clip.coefficient(norm).to_bits() == 1f64.to_bits());
            prop_assert_eq!(clipping.never_binds(clip), all_one);
        }

        #[test]
        fn a_share_q_of_the_steps_is_at_or_below_its_quantile_and_less_below_it(
            norms in prop::collection::vec(0.0f64..9.0, 1..200)
        ) {
            let clipping = of(&norms);
            for (percent, quantile) in
                [(50, clipping.grad_norm_p50), (90, clipping.grad_norm_p90), (99, clipping.grad_norm_p99)]
            {
                let at_most = norms.iter().filter(|&&n| n <= quantile).count();
                let below = norms.iter().filter(|&&n| n < quantile).count();
                prop_assert!(100 * at_most >= percent * norms.len() && 100 * below < percent * norms.len());
            }
        }
    }
}
