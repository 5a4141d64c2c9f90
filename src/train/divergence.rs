//! Whether a training has run away.

use std::collections::VecDeque;

/// Losses that are looked at.
pub(super) const RECENT: usize = 20;

/// The last training losses, and the loss above which they are far worse than guessing.
#[derive(Debug, Clone)]
pub(super) struct Losses {
    /// Oldest first, at most [`RECENT`], nats per token.
    recent: VecDeque<f64>,
    /// 3 ln V for a vocabulary of V tokens: guessing blindly has ln V.
    limit: f64,
}

impl Losses {
    /// Those before the first step, or before the one that a checkpoint goes on with.
    pub(super) fn new(vocabulary: usize, recent: &[f64]) -> Self {
        Self { recent: recent.iter().copied().collect(), limit: 3.0 * (vocabulary as f64).ln() }
    }

    /// Notes the loss of the step just made.
    pub(super) fn push(&mut self, loss: f64) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(loss);
    }

    /// What a checkpoint keeps.
    pub(super) fn to_vec(&self) -> Vec<f64> {
        self.recent.iter().copied().collect()
    }

    /// Why the training has diverged, if it has: each of the last 20 losses is above 3 ln V, and the mean of the last 10 is no
    /// lower than that of the 10 before. So neither a spike that is over nor a start from weights that fit badly and gets better
    /// is taken for one.
    pub(super) fn diverged(&self) -> Option<String> {
        let all_above = self.recent.len() == RECENT && self.recent.iter().all(|loss| *loss > self.limit);
        if !all_above {
            return None;
        }
        let half = RECENT / 2;
        let before = self.recent.iter().take(half).sum::<f64>() / half as f64;
        let last = self.recent.iter().skip(half).sum::<f64>() / half as f64;
        (last >= before).then(|| {
            format!(
                "each of the last {RECENT} losses is above 3 ln V = {:.2}, and they do not fall: a mean of {before:.2}, then of {last:.2}",
                self.limit
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of losses after which it is called diverged.
    fn after(vocabulary: usize, losses: impl IntoIterator<Item = f64>) -> Option<usize> {
        let mut recent = Losses::new(vocabulary, &[]);
        losses.into_iter().position(|loss| {
            recent.push(loss);
            recent.diverged().is_some()
        })
    }

    #[test]
    fn a_loss_that_stays_far_above_guessing_and_does_not_fall_has_diverged() {
        // 3 ln 65 = 12.52.
        assert_eq!(after(65, [13.0; 40]), Some(19), "as soon as there are twenty");
        assert_eq!(after(65, (0..40).map(|step| 4.0 + f64::from(step))), Some(28), "twenty above the limit: 13 to 32");
        assert_eq!(after(65, [12.0; 400]), None, "below the limit");
    }

    #[test]
    fn a_spike_that_is_over_has_not() {
        // Its mean over twenty is far above the limit.
        assert_eq!(after(65, [4.0, 500.0, 300.0, 80.0, 20.0].into_iter().chain([4.0; 40])), None);
        assert_eq!(after(65, [1e6; 19].into_iter().chain([12.5; 60])), None, "the twentieth is below");
    }

    #[test]
    fn a_start_from_weights_that_falls_from_86_to_16_has_not() {
        assert_eq!(after(65, (0..60).map(|step| 86.0 - 70.0 * f64::from(step) / 59.0)), None);
        // Where it stops falling, far above guessing, it has.
        assert!(after(65, (0..40).map(|step| 86.0 - f64::from(step)).chain([46.0; 20])).is_some());
    }

    #[test]
    fn a_checkpoint_keeps_what_decides() {
        let mut whole = Losses::new(65, &[]);
        for step in 0..15 {
            whole.push(13.0 + f64::from(step));
        }
        let mut resumed = Losses::new(65, &whole.to_vec());
        for step in 15..20 {
            assert_eq!((whole.diverged(), resumed.diverged()), (None, None));
            whole.push(13.0 + f64::from(step));
            resumed.push(13.0 + f64::from(step));
        }
        assert!(whole.diverged().is_some());
        assert_eq!(resumed.diverged(), whole.diverged());
        assert_eq!(
            whole.diverged().unwrap(),
            "each of the last 20 losses is above 3 ln V = 12.52, and they do not fall: a mean of 17.50, then of 27.50"
        );
    }
}
