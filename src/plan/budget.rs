//! How long a trial trains: the budget as an exact number of steps.

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
    pub fn windows_after(&self, steps: u64) -> u64 {
        let (epochs, rest) = (steps / self.steps(), steps % self.steps());
        epochs * self.windows + rest * self.batch
    }

    /// The first step at which this many target tokens are reached.
    fn steps_for(&self, tokens: u64) -> u64 {
        let epoch = self.windows * self.length;
        let full = tokens.saturating_sub(1) / epoch;
        let rest = tokens - full * epoch;
        full * self.steps() + rest.div_ceil(self.batch * self.length).min(self.steps())
    }

    /// The exact length of a training; `None` for a budget in minutes. `bytes_per_token` turns bytes into tokens.
    pub fn length_of(&self, budget: Budget, bytes_per_token: f64) -> Option<Length> {
        let epoch_tokens = (self.windows * self.length) as f64;
        let steps = match budget {
            Budget::Tokens(tokens) => self.steps_for(tokens),
            Budget::Bytes(bytes) => self.steps_for((bytes as f64 / bytes_per_token).ceil() as u64),
            Budget::Steps(steps) => steps,
            Budget::Epochs(epochs) => self.steps_for((epochs * epoch_tokens).round() as u64),
            Budget::Minutes(_) => return None,
        };
        let steps = steps.max(1);
        let windows = self.windows_after(steps);
        Some(Length { steps, windows, tokens: windows * self.length })
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
            let length = FOUNDING.length_of(budget, 4.0).unwrap();
            assert_eq!((length.steps, length.windows, length.tokens), (steps, windows, windows * 512), "{budget:?}");
        }
        assert_eq!(FOUNDING.length_of(Budget::Minutes(5.0), 4.0), None);
    }

    proptest! {
        #[test]
        fn a_token_budget_ends_at_the_first_step_that_reaches_it(
            windows in 1u64..200, batch in 1u64..40, length in 1u64..64, tokens in 1u64..50_000
        ) {
            let shape = EpochShape { windows, batch, length };
            let end = shape.length_of(Budget::Tokens(tokens), 1.0).unwrap();
            prop_assert!(end.tokens >= tokens);
            prop_assert!(shape.windows_after(end.steps - 1) * length < tokens);
        }
    }
}
