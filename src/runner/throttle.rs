//! When work is done again that is done at most so often, and takes a small share of the time however long it is.

use std::time::Duration;

/// A pause is at least so many times as long as the work before it: the work takes no more than 2 % of the time.
const PAUSE: i64 = 49;

/// The turns of one sort of work, by a clock in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    every: i64,
    /// When it was done last, and how long it took.
    ended: i64,
    took: i64,
}

impl Turn {
    /// It is done at most so often, and was done just now.
    pub(super) fn new(every: Duration, now: i64) -> Self {
        Self { every: i64::try_from(every.as_micros()).unwrap_or(i64::MAX), ended: now, took: 0 }
    }

    /// Whether it is time for it.
    pub(super) fn is_due(&self, now: i64) -> bool {
        now.saturating_sub(self.ended) >= self.every.max(self.took.saturating_mul(PAUSE))
    }

    /// It was done from one moment to another.
    pub(super) fn done(&mut self, began: i64, ended: i64) {
        (self.ended, self.took) = (ended, ended.saturating_sub(began));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_due_at_most_so_often_and_takes_a_small_share_of_the_time() {
        const SECOND: i64 = 1_000_000;
        for (took, due) in [(0, 30 * SECOND), (SECOND / 2, 30 * SECOND), (2 * SECOND, 98 * SECOND)] {
            let mut turn = Turn::new(Duration::from_secs(30), 0);
            turn.done(7 - took, 7);
            assert!(!turn.is_due(7 + due - 1), "{took}");
            assert!(turn.is_due(7 + due), "{took}");
            assert!(took as f64 / (took + due) as f64 <= 0.02);
        }
    }
}
