//! Scoring held-out text: every token exactly once, sums in 64 bits.
//!
//! A window feeds `context` tokens and scores only its last `stride` targets; the first window scores all of its targets;
//! the last one is moved to the left so that it is whole, and scores only what is left. So every token but the first (which
//! is context only) is scored once, and each but those of the first window sees between context − stride + 1 and context
//! tokens before it. Which tokens are scored never depends on the configuration.

use crate::corpus::TokenFile;
use crate::error::{Error, Result};
use crate::model::plain::Windows;

use super::learner::Learner;

/// One window of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First input token.
    pub start: u64,
    /// Input tokens.
    pub length: usize,
    /// The first target that is scored, counted within the window; those before are context only.
    pub from: usize,
}

/// The windows that score the tokens 1 … tokens − 1 (counted from 0) in this context.
pub fn windows(tokens: u64, context: usize, stride: usize) -> Vec<Window> {
    let targets = tokens.saturating_sub(1);
    if targets == 0 {
        return Vec::new();
    }
    if targets <= context as u64 {
        return vec![Window { start: 0, length: targets as usize, from: 0 }];
    }
    let mut windows = vec![Window { start: 0, length: context, from: 0 }];
    let mut scored = context as u64;
    while scored < targets {
        let fresh = (targets - scored).min(stride as u64);
        scored += fresh;
        windows.push(Window { start: scored - context as u64, length: context, from: context - fresh as usize });
    }
    windows
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// NLL of the tokens 1, 2, … (counted from 0) in nats.
    pub nll: Vec<f32>,
    /// Their sum; `None` where one of them is not finite.
    pub sum: Option<f64>,
    /// UTF-8 bytes of exactly the scored tokens.
    pub bytes: u64,
}

/// Scores the first `tokens` tokens of a part.
pub fn score(learner: &Learner, part: &TokenFile, tokens: u64, context: usize, stride: usize) -> Result<Scores> {
    let tokens = tokens.min(part.len());
    let windows = windows(tokens, context, stride);
    let mut nll = Vec::with_capacity(tokens.saturating_sub(1) as usize);
    // Windows of one length go through the model together; what is scored does not depend on how many.
    for group in windows.chunks(64) {
        let length = group[0].length;
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; length + 1];
        for window in group {
            part.read(window.start, &mut buffer);
            inputs.extend_from_slice(&buffer[..length]);
            targets.extend_from_slice(&buffer[1..]);
        }
        let scored = learner.nll(&Windows { inputs: &inputs, targets: &targets, length })?;
        for (window, row) in group.iter().zip(scored.chunks(length)) {
            nll.extend_from_slice(&row[window.from..]);
        }
    }
    if nll.len() as u64 != tokens.saturating_sub(1) {
        return Err(Error::internal(format!("{} tokens were scored instead of {}", nll.len(), tokens.saturating_sub(1))));
    }
    let sum: f64 = nll.iter().copied().map(f64::from).sum();
    let bytes = part.bytes_between(1, tokens).ok_or_else(|| Error::internal("a scored part has no byte lengths"))?;
    Ok(Scores { sum: sum.is_finite().then_some(sum), nll, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_window_is_moved_to_the_left() {
        let window = |start, from| Window { start, length: 4, from };
        assert_eq!(windows(10, 4, 2), [window(0, 0), window(2, 2), window(4, 2), window(5, 3)]);
        assert_eq!(windows(9, 4, 4), [window(0, 0), window(4, 0)]);
        assert_eq!(windows(4, 4, 2), [Window { start: 0, length: 3, from: 0 }]);
        assert_eq!(windows(1, 4, 2), []);
    }

    proptest! {
        #[test]
        fn every_token_but_the_first_is_scored_once_and_in_order(tokens in 2u64..300, context in 1usize..40, part in 1usize..40) {
            let stride = part.min(context);
            let mut scored = Vec::new();
            for window in windows(tokens, context, stride) {
                prop_assert!(window.length == context || window.start == 0);
                prop_assert!(window.start + window.length as u64 + 1 <= tokens);
                scored.extend((window.from..window.length).map(|place| window.start + place as u64 + 1));
                if window.start > 0 {
                    prop_assert!(window.from + stride >= context, "less context than promised");
                }
            }
            prop_assert_eq!(scored, (1..tokens).collect::<Vec<_>>());
        }
    }
}
