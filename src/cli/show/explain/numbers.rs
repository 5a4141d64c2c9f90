//! What is explained: the figures of one configuration, and a sentence.

use crate::experiment::settings::{BatchSize, Budget, ClipNorm, Precision};

/// The figures of one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Tokens of the whole text.
    pub text_tokens: u64,
    /// Tokens of the training part, where the text is known. Without it everything is told of the whole text.
    pub train_tokens: Option<u64>,
    /// Tokens in the vocabulary, where the tokenizer is known.
    pub vocabulary: Option<u64>,
    /// L.
    pub sequence_length: usize,
    /// S.
    pub stride: usize,
    /// Windows in a step.
    pub batch_size: BatchSize,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// The seed whose order is shown.
    pub seed: u64,
    /// Largest gradient norm, where that is known.
    pub clip_norm: Option<ClipNorm>,
    /// What matrix products are made in.
    pub precision: Precision,
    /// How long it trains, where that is known.
    pub budget: Option<Budget>,
    /// Its optimizer steps, where they are known (not for a budget in minutes).
    pub steps: Option<u64>,
}

impl Numbers {
    /// From four numbers alone; for the rest the defaults are told.
    pub fn of_text(tokens: u64, sequence_length: usize, stride: usize, batch_size: BatchSize) -> Self {
        Self {
            text_tokens: tokens,
            train_tokens: None,
            vocabulary: None,
            sequence_length,
            stride,
            batch_size,
            shuffle: true,
            seed: 1,
            clip_norm: None,
            precision: Precision::F32,
            budget: None,
            steps: None,
        }
    }
}

/// A sentence, as the configuration's tokenizer sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The tokenizer's label, as `word` or `bpe-512`.
    pub tokenizer: String,
    /// The sentence.
    pub text: String,
    /// Its tokens, as people read them.
    pub pieces: Vec<String>,
}
