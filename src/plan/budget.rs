//! How long a trial trains: the budget as an exact number of steps.

use crate::corpus::Epoch;
use crate::error::{Error, Result};
use crate::experiment::settings::Budget;

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

impl Length {
    /// The exact length of a training over windows of so many target tokens; `None` for a budget in minutes. `bytes_per_token` turns
    /// bytes into tokens.
    ///
    /// # Errors
    /// More tokens than tables can hold (63 bits).
    pub fn of(epoch: Epoch, window: u64, budget: Budget, bytes_per_token: f64) -> Result<Option<Self>> {
        let epoch_tokens = epoch.windows as f64 * window as f64;
        let steps = match budget {
            Budget::Tokens(tokens) => steps_for(epoch, window, u128::from(tokens)),
            Budget::Bytes(bytes) => steps_for(epoch, window, (bytes as f64 / bytes_per_token).ceil() as u128),
            Budget::Steps(steps) => u128::from(steps),
            Budget::Epochs(epochs) => steps_for(epoch, window, (epochs * epoch_tokens).round() as u128),
            Budget::Minutes(_) => return Ok(None),
        };
        let steps = steps.max(1);
        let windows = windows_after(epoch, steps);
        let tokens = windows * u128::from(window);
        match [steps, windows, tokens].map(|n| i64::try_from(n).map(i64::cast_unsigned)) {
            [Ok(steps), Ok(windows), Ok(tokens)] => Ok(Some(Self { steps, windows, tokens })),
            _ => Err(Error::usage(format!("`train.budget` comes to {tokens} tokens, more than can be counted"))
                .help("set a smaller `train.budget`")),
        }
    }
}

/// Windows trained on after this many steps.
fn windows_after(epoch: Epoch, steps: u128) -> u128 {
    let (epochs, rest) = (steps / u128::from(epoch.steps()), steps % u128::from(epoch.steps()));
    epochs * u128::from(epoch.windows) + rest * u128::from(epoch.batch)
}

/// The first step at which this many target tokens are reached.
fn steps_for(epoch: Epoch, window: u64, tokens: u128) -> u128 {
    let [windows, batch, window] = [epoch.windows, epoch.batch, window].map(u128::from);
    let all = windows * window;
    let full = tokens.saturating_sub(1) / all;
    let rest = tokens - full * all;
    let steps = u128::from(epoch.steps());
    full * steps + rest.div_ceil(batch * window).min(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FOUNDING: Epoch = Epoch { windows: 77, batch: 8 };

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
            let length = Length::of(FOUNDING, 512, budget, 4.0).unwrap().unwrap();
            assert_eq!((length.steps, length.windows, length.tokens), (steps, windows, windows * 512), "{budget:?}");
        }
        assert_eq!(Length::of(FOUNDING, 512, Budget::Minutes(5.0), 4.0).unwrap(), None);
    }

    #[test]
    fn a_budget_that_cannot_be_counted_is_refused() {
        let large = |budget| Length::of(Epoch { windows: 1 << 40, batch: 1 << 40 }, 1 << 20, budget, 1.0);
        for budget in [Budget::Steps(1 << 20), Budget::Epochs(1e9), Budget::Steps(u64::MAX), Budget::Tokens(u64::MAX)] {
            let error = large(budget).unwrap_err();
            assert!(error.to_string().ends_with("more than can be counted"), "{error}");
        }
        assert_eq!(large(Budget::Epochs(2.0)).unwrap().unwrap().tokens, 1 << 61);
    }

    proptest! {
        #[test]
        fn a_token_budget_ends_at_the_first_step_that_reaches_it(
            windows in 1u64..200, batch in 1u64..40, length in 1u64..64, tokens in 1u64..50_000
        ) {
            let epoch = Epoch { windows, batch };
            let end = Length::of(epoch, length, Budget::Tokens(tokens), 1.0).unwrap().unwrap();
            prop_assert!(end.tokens >= tokens);
            prop_assert!(windows_after(epoch, u128::from(end.steps) - 1) * u128::from(length) < u128::from(tokens));
        }
    }
}
