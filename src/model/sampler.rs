//! The next token from a model's logits.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::random::Stream;
use crate::rows::Sampling;

/// Draws tokens. The numbers come from the stream `sample` of a seed, one for each token: the same seed and the same logits give
/// the same tokens. Temperature 0 draws nothing.
pub struct Sampler {
    sampling: Sampling,
    stream: Stream,
}

impl Sampler {
    /// A sampler at the start of its stream.
    ///
    /// # Errors
    /// Where the temperature is negative or not finite.
    pub fn new(sampling: Sampling, seed: u64) -> Result<Self> {
        if !(sampling.temperature.is_finite() && sampling.temperature >= 0.0) {
            let message = format!("the temperature is {}, and must be 0 or more", sampling.temperature);
            return Err(Error::usage(message).help("0 takes the likeliest token each time, 1 draws as the model predicts"));
        }
        Ok(Self { sampling, stream: Stream::new(seed, "sample", &[]) })
    }

    /// The next token, given the logits of all; the softmax is in 64 bits.
    ///
    /// # Errors
    /// Where a logit is NaN or +∞, or all of them are −∞.
    pub fn draw(&mut self, logits: &[f32]) -> Result<u32> {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !most.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
            return Err(Error::data("the model predicts no token: its logits are not finite"));
        }
        if self.sampling.temperature == 0.0 {
            return Ok(logits.iter().position(|&logit| logit == most).unwrap_or(0) as u32);
        }
        let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |token: u32| logits[token as usize];
        let likelier = |a: &u32, b: &u32| logit(*b).partial_cmp(&logit(*a)).unwrap_or(Ordering::Equal).then_with(|| a.cmp(b));
        let k = self.sampling.top_k;
        if k > 0 && k < tokens.len() {
            tokens.select_nth_unstable_by(k - 1, likelier);
            tokens.truncate(k);
        }
        // Which tokens are left is certain, but not their order.
        tokens.sort_unstable();
        let scaled = |token: u32| ((f64::from(logit(token)) - f64::from(most)) / self.sampling.temperature).exp();
        let weights: Vec<f64> = tokens.iter().map(|&token| scaled(token)).collect();
        let mut left = self.stream.uniform() * weights.iter().sum::<f64>();
        for (&token, &weight) in tokens.iter().zip(&weights) {
            if left < weight {
                return Ok(token);
            }
            left -= weight;
        }
        // Rounding used up the sum: the last one that is possible at all.
        let last = tokens.iter().zip(&weights).rev().find(|&(_, &weight)| weight > 0.0);
        last.map(|(&token, _)| token).ok_or_else(|| Error::internal("no token has a probability"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [0.5, -1.0, 2.0, 1.5, 2.0, f32::NEG_INFINITY];

    fn sampler(temperature: f64, top_k: usize, seed: u64) -> Sampler {
        Sampler::new(Sampling { temperature, top_k }, seed).unwrap()
    }

    fn shares(temperature: f64, top_k: usize) -> Vec<f64> {
        const DRAWS: u32 = 40_000;
        let mut sampler = sampler(temperature, top_k, 5);
        let mut counts = [0u32; LOGITS.len()];
        for _ in 0..DRAWS {
            counts[sampler.draw(&LOGITS).unwrap() as usize] += 1;
        }
        counts.iter().map(|&n| f64::from(n) / f64::from(DRAWS)).collect()
    }

    #[test]
    fn tokens_are_drawn_as_often_as_the_softmax_says() {
        for temperature in [0.5, 1.0, 2.0] {
            let weights: Vec<f64> = LOGITS.iter().map(|&l| (f64::from(l) / temperature).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (share, weight) in shares(temperature, 0).iter().zip(&weights) {
                let expected = weight / sum;
                let deviation = (expected * (1.0 - expected) / 40_000.0).sqrt();
                assert!((share - expected).abs() <= 4.0 * deviation, "{temperature}: {share} and {expected}");
            }
        }
    }

    #[test]
    fn the_likeliest_k_are_drawn_and_no_other() {
        let drawn = |k| shares(1.0, k).iter().map(|&share| share > 0.0).collect::<Vec<_>>();
        assert_eq!(drawn(1), [false, false, true, false, false, false], "the lower number on ties");
        assert_eq!(drawn(2), [false, false, true, false, true, false]);
        assert_eq!(drawn(3), [false, false, true, true, true, false]);
        assert_eq!(drawn(100), [true, true, true, true, true, false], "more than there are: all that are possible");
        let three = shares(1.0, 3);
        assert!((three[2] / three[3] - 0.5f64.exp()).abs() < 0.1, "their probabilities keep their ratio: {three:?}");
    }

    #[test]
    fn temperature_zero_takes_the_likeliest_whatever_the_seed() {
        for seed in 0..20 {
            assert_eq!(sampler(0.0, 0, seed).draw(&LOGITS).unwrap(), 2);
            assert_eq!(sampler(0.0, 5, seed).draw(&[-3.0, -3.0, -2.0]).unwrap(), 2);
            assert_eq!(sampler(1e-9, 0, seed).draw(&[1.0, 1.001, 0.0]).unwrap(), 1, "and nearly zero nearly does");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let drawn = |seed| {
            let mut sampler = sampler(1.0, 0, seed);
            (0..50).map(|_| sampler.draw(&LOGITS).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error() {
        for logits in [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            for temperature in [0.0, 1.0] {
                let error = sampler(temperature, 0, 1).draw(&logits).unwrap_err();
                assert_eq!(error.to_string(), "the model predicts no token: its logits are not finite");
            }
        }
        assert!(sampler(1.0, 0, 1).draw(&[]).is_err());
        for temperature in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(Sampler::new(Sampling { temperature, top_k: 0 }, 1).is_err());
        }
    }
}
