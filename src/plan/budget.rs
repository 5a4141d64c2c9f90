//! How long a trial trains: the budget as an exact number of steps.

use crate::error::{Error, Result};
use crate::experiment::settings::Budget;

/// The windows of one epoch and how they are cut into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochShape {
    /// Windows of the training part, at least 1.
    pub windows: u64,
    /// Windows in a full step, at least 1.
    pub batch: u64,
    /// Target tokens a window.
    pub length: u64,
}

/// What a budget comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Optimizer steps.
    pub steps: u64,
    /// Windows trained on, repetitions counted.
    pub windows: u64,
    /// Target tokens trained on, repetitions counted.
    pub tokens: u64,
}

impl EpochShape {
    /// Steps an epoch, the partial one included.
    pub fn steps(&self) -> u64 {
        self.windows.div_ceil(self.batch)
    }

    /// Windows in the last step of an epoch where it is partial, else 0.
    pub fn partial(&self) -> u64 {
        self.windows % self.batch
    }

    /// Windows trained on after this many steps.
    fn windows_after(&self, steps: u128) -> u128 {
        let (epochs, rest) = (steps / u128::from(self.steps()), steps % u128::from(self.steps()));
        epochs * u128::from(self.windows) + rest * u128::from(self.batch)
    }

    /// The first step at which this many target tokens are reached.
    fn steps_for(&self, tokens: u128) -> u128 {
        let [windows, batch, length] = [self.windows, self.batch, self.length].map(u128::from);
        let epoch = windows * length;
        let full = tokens.saturating_sub(1) / epoch;
        let rest = tokens - full * epoch;
        let steps = u128::from(self.steps());
        full * steps + rest.div_ceil(batch * length).min(steps)
    }

    /// The exact length of a training; `None` for a budget in minutes. `bytes_per_token` turns bytes into tokens.
    ///
    /// # Errors
    /// More tokens than tables can hold (63 bits).
    pub fn length_of(&self, budget: Budget, bytes_per_token: f64) -> Result<Option<Length>> {
        let epoch_tokens = self.windows as f64 * self.length as f64;
        let steps = match budget {
            Budget::Tokens(tokens) => self.steps_for(u128::from(tokens)),
            Budget::Bytes(bytes) => self.steps_for((bytes as f64 / bytes_per_token).ceil() as u128),
            Budget::Steps(steps) => u128::from(steps),
            Budget::Epochs(epochs) => self.steps_for((epochs * epoch_tokens).round() as u128),
            Budget::Minutes(_) => return Ok(None),
        };
        let steps = steps.max(1);
        let windows = self.windows_after(steps);
        let tokens = windows * u128::from(self.length);
        match [steps, windows, tokens].map(|n| i64::try_from(n).map(i64::cast_unsigned)) {
            [Ok(steps), Ok(windows), Ok(tokens)] => Ok(Some(Length { steps, windows, tokens })),
            _ => Err(Error::usage(format!("`train.budget` comes to {tokens} tokens, more than can be counted"))
                .help("set a smaller `train.budget`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FOUNDING: EpochShape = EpochShape { windows: 77, batch: 8, length: 512 };

    #[test]
    fn the_founding_example_has_ten_steps_and_a_last_batch_of_five() {
        assert_eq!((FOUNDING.steps(), FOUNDING.partial()), (10, 5));
    }

    #[test]
    fn budgets_come_to_exact_steps() {
        for (budget, steps, windows) in [
            (Budget::Steps(3), 3, 24),
            (Budget::Steps(10), 10, 77),
            (Budget::Steps(11), 11, 85),
            (Budget::Epochs(1.0), 10, 77),
            (Budget::Epochs(2.0), 20, 154),
            (Budget::Epochs(0.5), 5, 40),
            (Budget::Tokens(1), 1, 8),
            (Budget::Tokens(4096), 1, 8),
            (Budget::Tokens(4097), 2, 16),
            (Budget::Tokens(77 * 512), 10, 77),
            (Budget::Tokens(77 * 512 + 1), 11, 85),
            (Budget::Bytes(4 * 4096), 1, 8),
        ] {
            let length = FOUNDING.length_of(budget, 4.0).unwrap().unwrap();
            assert_eq!((length.steps, length.windows, length.tokens), (steps, windows, windows * 512), "{budget:?}");
        }
        assert_eq!(FOUNDING.length_of(Budget::Minutes(5.0), 4.0).unwrap(), None);
    }

    #[test]
    fn a_budget_that_cannot_be_counted_is_refused() {
        let large = EpochShape { windows: 1 << 40, batch: 1 << 40, length: 1 << 20 };
        for budget in [Budget::Steps(1 << 20), Budget::Epochs(1e9), Budget::Steps(u64::MAX), Budget::Tokens(u64::MAX)] {
            let error = large.length_of(budget, 1.0).unwrap_err();
            assert!(error.to_string().ends_with("more than can be counted"), "{error}");
        }
        assert_eq!(large.length_of(Budget::Epochs(2.0), 1.0).unwrap().unwrap().tokens, 1 << 61);
    }

    proptest! {
        #[test]
        fn a_token_budget_ends_at_the_first_step_that_reaches_it(
            windows in 1u64..200, batch in 1u64..40, length in 1u64..64, tokens in 1u64..50_000
        ) {
            let shape = EpochShape { windows, batch, length };
            let end = shape.length_of(Budget::Tokens(tokens), 1.0).unwrap().unwrap();
            prop_assert!(end.tokens >= tokens);
            prop_assert!(shape.windows_after(u128::from(end.steps) - 1) * u128::from(length) < u128::from(tokens));
        }
    }
}
