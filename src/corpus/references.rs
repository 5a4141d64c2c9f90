//! Reference lines: what the simplest models make of the scored text, so that a person can judge what a perplexity of 25 means.
//!
//! All three predict exactly the tokens that the trained models are scored on. They count in the training part only, all of it
//! up to 2²⁵ (about 34 million) tokens, of a longer one the first so many.
//!
//! | model | probability of token b after token a |
//! | --- | --- |
//! | uniform | 1 / V |
//! | unigram | p(b) = (count(b) + 1) / (N + V): one is added to each count, so that nothing is impossible |
//! | bigram | (count(a b) + T(a) · p(b)) / (count(a) + T(a)) with T(a) the number of different tokens that follow a (Witten and Bell) |
//!
//! V is the size of the vocabulary, N the number of tokens counted. The bigram model rests on the unigram one the more, the more
//! often something new has followed a: nothing has to be tuned.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TokenFile;
use super::pairs::{PairMap, pack};
use super::prepare::Prepared;
use crate::durable;
use crate::error::{Error, Result};

/// Training tokens that are counted at most.
const COUNTED: u64 = 1 << 25;
/// Pairs have a table of their own up to this many; more are hashed.
const DENSE: usize = 1 << 24;
const VERSION: u32 = 1;
const CHUNK: u64 = 1 << 16;

/// What a simple model makes of the scored text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Nats per token.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// NLL sum / (bytes × ln 2).
    pub bits_per_byte: f64,
}

/// The reference lines of a text under a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct References {
    /// Tokens that are predicted: those that trained models are scored on.
    pub scored_tokens: u64,
    /// Every token as likely as every other.
    pub uniform: Reference,
    /// Each as likely as it is frequent.
    pub unigram: Reference,
    /// Each as likely as it is frequent after the one before it.
    pub bigram: Reference,
}

impl References {
    /// Those of a prepared text, kept in `cache` by the content they follow from; `None` where nothing is scored.
    pub fn of(prepared: &Prepared, cache: &Path) -> Result<Option<Self>> {
        let Some(validation) = prepared.validation.as_ref().filter(|_| prepared.scored_tokens > 1) else { return Ok(None) };
        // A token file is named after what is in it.
        let names = [&prepared.train.file, &validation.file].map(|file| file.file_name().map(|name| name.to_owned()));
        let key = format!("references {VERSION} {names:?} {} {}", prepared.vocabulary, prepared.scored_tokens);
        let path = cache.join(format!("references-{}.json", &blake3::hash(key.as_bytes()).to_hex()[..16]));
        if let Ok(Some(known)) = durable::read_json(&path) {
            return Ok(Some(known));
        }
        let (train, validation) = (TokenFile::open(&prepared.train.file)?, TokenFile::open(&validation.file)?);
        let found = Self::measure(&train, &validation, prepared.scored_tokens, prepared.vocabulary)?;
        durable::write_json(&path, &found)?;
        Ok(Some(found))
    }

    /// Counts in `train`, and predicts the tokens 1 … `tokens` − 1 of `part`.
    fn measure(train: &TokenFile, part: &TokenFile, tokens: u64, vocabulary: usize) -> Result<Self> {
        let bytes = part.bytes_between(1, tokens).ok_or_else(|| Error::internal("a scored part has no byte lengths"))?;
        let counts = Counts::of(train, vocabulary);
        let (mut unigram, mut bigram) = (0.0, 0.0);
        let mut before = None;
        for_each(part, tokens, &mut |token| {
            if let Some(before) = before {
                unigram -= counts.unigram(token).ln();
                bigram -= counts.bigram(before, token).ln();
            }
            before = Some(token);
        });
        let scored = tokens - 1;
        let reference = |sum: f64| {
            let loss = sum / scored as f64;
            Reference { loss, perplexity: loss.exp(), bits_per_byte: sum / (bytes as f64 * std::f64::consts::LN_2) }
        };
        let uniform = reference(scored as f64 * (vocabulary as f64).ln());
        Ok(Self { scored_tokens: scored, uniform, unigram: reference(unigram), bigram: reference(bigram) })
    }
}

/// What is counted in the training part.
struct Counts {
    vocabulary: usize,
    /// Tokens counted.
    all: u64,
    /// How often each token is there.
    single: Vec<u32>,
    /// How often each token has one after it; only the last one has none.
    followed: Vec<u32>,
    /// Different tokens that follow each.
    followers: Vec<u32>,
    pairs: Pairs,
}

enum Pairs {
    Dense(Vec<u32>),
    Hashed(PairMap<u32>),
}

impl Counts {
    fn of(train: &TokenFile, vocabulary: usize) -> Self {
        let all = train.len().min(COUNTED);
        let pairs = match vocabulary.checked_mul(vocabulary).filter(|&pairs| pairs <= DENSE) {
            Some(pairs) => Pairs::Dense(vec![0; pairs]),
            None => Pairs::Hashed(PairMap::default()),
        };
        let empty = || vec![0u32; vocabulary];
        let mut counts = Self { vocabulary, all, single: empty(), followed: empty(), followers: empty(), pairs };
        let mut before = None;
        for_each(train, all, &mut |token| {
            counts.single[token as usize] += 1;
            if let Some(before) = before {
                let count = match &mut counts.pairs {
                    Pairs::Dense(table) => &mut table[before as usize * vocabulary + token as usize],
                    Pairs::Hashed(table) => table.entry(pack(before, token)).or_default(),
                };
                *count += 1;
                counts.followers[before as usize] += u32::from(*count == 1);
                counts.followed[before as usize] += 1;
            }
            before = Some(token);
        });
        counts
    }

    fn unigram(&self, token: u32) -> f64 {
        (f64::from(self.single[token as usize]) + 1.0) / (self.all as f64 + self.vocabulary as f64)
    }

    fn bigram(&self, before: u32, token: u32) -> f64 {
        let followers = f64::from(self.followers[before as usize]);
        if followers == 0.0 {
            return self.unigram(token);
        }
        let together = match &self.pairs {
            Pairs::Dense(table) => table[before as usize * self.vocabulary + token as usize],
            Pairs::Hashed(table) => table.get(&pack(before, token)).copied().unwrap_or(0),
        };
        (f64::from(together) + followers * self.unigram(token)) / (f64::from(self.followed[before as usize]) + followers)
    }
}

/// The first `tokens` tokens, one after another.
fn for_each(file: &TokenFile, tokens: u64, take: &mut dyn FnMut(u32)) {
    let mut buffer = vec![0; CHUNK.min(tokens) as usize];
    let mut start = 0;
    while start < tokens {
        let chunk = &mut buffer[..CHUNK.min(tokens - start) as usize];
        file.read(start, chunk);
        chunk.iter().for_each(|&token| take(token));
        start += chunk.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::token_file;

    fn file(vocabulary: u64, tokens: &[u32]) -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tokens");
        let lengths = vec![2; tokens.len()];
        token_file::write(&path, vocabulary, true, |w| w.add(tokens, &lengths, 2 * tokens.len() as u64, 0)).unwrap();
        let file = TokenFile::open(&path).unwrap();
        (dir, file)
    }

    #[test]
    fn a_small_text_by_hand() {
        // a b a b a c; predicted: a b c (a is context only).
        let ((_a, train), (_b, part)) = (file(3, &[0, 1, 0, 1, 0, 2]), file(3, &[0, 1, 2]));
        let found = References::measure(&train, &part, 3, 3).unwrap();
        let (p_b, p_c) = (3.0_f64 / 9.0, 2.0_f64 / 9.0);
        let unigram = -(p_b.ln() + p_c.ln());
        // After a: b twice, c once. After b: a twice, nothing else.
        let bigram = -((2.0 + 2.0 * p_b) / (3.0 + 2.0)).ln() - ((0.0 + p_c) / (2.0 + 1.0)).ln();
        for (reference, sum) in [(found.uniform, 2.0 * 3.0_f64.ln()), (found.unigram, unigram), (found.bigram, bigram)] {
            assert!((reference.loss - sum / 2.0).abs() < 1e-12, "{found:?}");
            assert!((reference.perplexity - (sum / 2.0).exp()).abs() < 1e-12);
            assert!((reference.bits_per_byte - sum / (4.0 * 2.0_f64.ln())).abs() < 1e-12);
        }
        assert_eq!(found.scored_tokens, 2);
    }

    #[test]
    fn every_model_gives_all_tokens_together_a_probability_of_one() {
        let tokens: Vec<u32> = (0..500u32).map(|i| i * i * 7 % 11).collect();
        for vocabulary in [12, 5_000] {
            let (_dir, train) = file(vocabulary, &tokens);
            let counts = Counts::of(&train, vocabulary as usize);
            assert_eq!(matches!(counts.pairs, Pairs::Dense(_)), vocabulary == 12);
            let all = 0..vocabulary as u32;
            assert!((all.clone().map(|b| counts.unigram(b)).sum::<f64>() - 1.0).abs() < 1e-12);
            for before in 0..12 {
                assert!((all.clone().map(|b| counts.bigram(before, b)).sum::<f64>() - 1.0).abs() < 1e-12, "{before}");
            }
        }
    }

    #[test]
    fn pairs_that_are_hashed_are_counted_as_those_in_a_table() {
        let tokens: Vec<u32> = (0..2_000u64).map(|i| (i * i * i % 101) as u32).collect();
        let (_dir, train) = file(101, &tokens);
        let (dense, hashed) = (Counts::of(&train, 101), Counts::of(&train, 5_000));
        let count = |counts: &Counts, a: u32, b: u32| match &counts.pairs {
            Pairs::Dense(table) => table[a as usize * 101 + b as usize],
            Pairs::Hashed(table) => table.get(&pack(a, b)).copied().unwrap_or(0),
        };
        for a in 0..101 {
            assert!((0..101).all(|b| count(&dense, a, b) == count(&hashed, a, b)));
            assert_eq!(dense.followers[a as usize], hashed.followers[a as usize]);
        }
    }
}
