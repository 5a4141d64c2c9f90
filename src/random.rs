//! Seeds and streams: every random number of the program.
//!
//! A stream is a pure function of the trial's seed, a name and a list of indices (a parameter, an epoch, a step …), never
//! of a trial's place in a sweep: configurations share what they can, and there is no state to save.
//! The generator is ChaCha with 8 rounds, keyed by BLAKE3 of that description, so its numbers are the same on every platform.

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A named stream of random numbers.
pub struct Stream {
    generator: ChaCha8Rng,
    spare_normal: Option<f64>,
}

impl Stream {
    /// The stream called `name` of this seed, at these indices (an epoch; or a step, a sequence and a layer …).
    pub fn new(seed: u64, name: &str, indices: &[u64]) -> Self {
        Self { generator: ChaCha8Rng::from_seed(Self::key(seed, name, indices)), spare_normal: None }
    }

    /// The key of that stream's generator: who has it can make the numbers elsewhere.
    pub fn key(seed: u64, name: &str, indices: &[u64]) -> [u8; 32] {
        // A training on a GPU asks for hundreds of keys a step: what all begin with is hashed once.
        static BEGINNING: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key("votive 2026 random stream v1"));
        let mut hasher = BEGINNING.clone();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        for index in indices {
            hasher.update(&index.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// 32 random bits.
    pub fn bits32(&mut self) -> u32 {
        self.generator.next_u32()
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform among 0 … n-1, without bias (Lemire's method with rejection).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below(0) has no answer");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Standard normal, by the polar method of Marsaglia.
    pub fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare_normal.take() {
            return value;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare_normal = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// Shuffles in place (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_name_and_indices_only() {
        let first = |seed, name, indices: &[u64]| Stream::new(seed, name, indices).bits();
        assert_eq!(first(1, "order", &[0]), first(1, "order", &[0]));
        let all = [
            first(1, "order", &[0]),
            first(2, "order", &[0]),
            first(1, "init", &[0]),
            first(1, "order", &[1]),
            first(1, "order", &[0, 0]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut stream = Stream::new(7, "test", &[]);
        let numbers: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_every_place_is_about_as_likely() {
        let mut counts = [0u32; 5];
        for seed in 0..5_000 {
            let mut items = [0, 1, 2, 3, 4];
            Stream::new(seed, "shuffle", &[]).shuffle(&mut items);
            counts[items.iter().position(|&x| x == 0).unwrap()] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3, 4]);
        }
        assert!(counts.iter().all(|&c| (850..1150).contains(&c)), "{counts:?}");
    }
}
