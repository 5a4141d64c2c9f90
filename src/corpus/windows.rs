//! Windows: training sequences laid over a stream of tokens.

/// The windows of one part: window i reads the L tokens from i × S on, and its targets are the L tokens one further on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of the part (N).
    pub tokens: u64,
    /// Tokens in a window (L).
    pub length: usize,
    /// How far the window moves (S).
    pub stride: usize,
}

impl Windows {
    /// Windows of length `length`, `stride` apart, over `tokens` tokens.
    ///
    /// # Panics
    /// If `length` or `stride` is 0; settings refuse both.
    pub fn new(tokens: u64, length: usize, stride: usize) -> Self {
        assert!(length > 0 && stride > 0, "a window has at least one token and moves by at least one");
        Self { tokens, length, stride }
    }

    /// How many there are: floor((N − L − 1) / S) + 1, or 0 where the text is shorter than [`Windows::smallest_text`].
    pub fn count(&self) -> u64 {
        match self.tokens.checked_sub(Self::smallest_text(self.length)) {
            Some(room) => room / self.stride as u64 + 1,
            None => 0,
        }
    }

    /// The fewest tokens that give one window: L inputs, and the target of the last one.
    pub fn smallest_text(length: usize) -> u64 {
        length as u64 + 1
    }

    /// Where the inputs of window `i` start, from 0. Its targets start one further on.
    pub fn start(&self, i: u64) -> u64 {
        i * self.stride as u64
    }

    /// How many different tokens are a target at all. The first token of the text never is; with S > L others are skipped,
    /// and a remainder at the end that no window reaches is left out.
    pub fn distinct_targets(&self) -> u64 {
        match self.count() {
            0 => 0,
            n => (n - 1) * self.stride.min(self.length) as u64 + self.length as u64,
        }
    }

    /// Targets of one epoch, repeats counted.
    pub fn targets(&self) -> u64 {
        self.count() * self.length as u64
    }

    /// How often a distinct target is seen in an epoch, on average; 0 where there is no window.
    pub fn views(&self) -> f64 {
        match self.distinct_targets() {
            0 => 0.0,
            distinct => self.targets() as f64 / distinct as f64,
        }
    }

    /// How often a target away from both ends is seen in an epoch, at most: ceil(L / S).
    pub fn most_views(&self) -> u64 {
        self.length.div_ceil(self.stride) as u64
    }

    /// Tokens at the end that no window reaches.
    pub fn unused_at_the_end(&self) -> u64 {
        match self.count() {
            0 => self.tokens,
            n => self.tokens - self.start(n - 1) - Self::smallest_text(self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_number_of_windows_is_that_of_the_design() {
        for (tokens, length, stride, expected) in [
            (20_000, 512, 256, 77),
            (18_000, 512, 256, 69),
            (19_968, 512, 256, 76),
            (19_969, 512, 256, 77),
            (512, 512, 256, 0),
            (513, 512, 256, 1),
            (513, 512, 10_000, 1),
            (0, 1, 1, 0),
            (1, 1, 1, 0),
            (2, 1, 1, 1),
            (10, 1, 1, 9),
            (1_025, 512, 512, 2),
            (1_024, 512, 512, 1),
            (100, 8, 20, 5),
        ] {
            assert_eq!(Windows::new(tokens, length, stride).count(), expected, "{tokens} {length} {stride}");
        }
    }

    #[test]
    fn the_smallest_text_gives_one_window_and_a_token_less_gives_none() {
        for length in [1, 2, 64, 512, 1_024] {
            let smallest = Windows::smallest_text(length);
            assert_eq!(Windows::new(smallest, length, 1).count(), 1);
            assert_eq!(Windows::new(smallest - 1, length, 1).count(), 0);
        }
    }

    #[test]
    fn a_stride_above_the_length_skips_text() {
        let windows = Windows::new(100, 8, 20);
        assert_eq!(windows.distinct_targets(), 40);
        assert_eq!(windows.views(), 1.0);
        assert_eq!(windows.most_views(), 1);
        assert_eq!(windows.unused_at_the_end(), 11);
    }

    #[test]
    fn no_window_means_no_target() {
        let windows = Windows::new(5, 8, 8);
        assert_eq!((windows.distinct_targets(), windows.targets(), windows.unused_at_the_end()), (0, 0, 5));
        assert_eq!(windows.views(), 0.0);
    }

    #[test]
    #[should_panic(expected = "at least one")]
    fn a_stride_of_zero_is_refused() {
        Windows::new(5, 8, 0);
    }

    proptest! {
        #[test]
        fn windows_agree_with_laying_them_out_one_by_one(tokens in 0u64..300, length in 1usize..40, stride in 1usize..60) {
            let windows = Windows::new(tokens, length, stride);
            let mut views = vec![0u64; tokens as usize];
            let mut count = 0u64;
            while count * stride as u64 + length as u64 + 1 <= tokens {
                prop_assert_eq!(windows.start(count), count * stride as u64);
                for target in 0..length as u64 {
                    views[(windows.start(count) + 1 + target) as usize] += 1;
                }
                count += 1;
            }
            prop_assert_eq!(windows.count(), count);
            prop_assert_eq!(windows.distinct_targets(), views.iter().filter(|&&v| v > 0).count() as u64);
            prop_assert_eq!(windows.targets(), views.iter().sum::<u64>());
            prop_assert!(views.iter().all(|&v| v <= windows.most_views()));
            let unused = views.iter().rev().take_while(|&&v| v == 0).count() as u64;
            prop_assert_eq!(windows.unused_at_the_end(), unused);
        }
    }
}
