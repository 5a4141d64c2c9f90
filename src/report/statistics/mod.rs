//! Which differences are real: what the figures of an experiment say about each other, and how sure they are of it.
//!
//! **Scale.** Everything is computed on what ranks: mean loss in nats per token, or bits per byte where tokenizers differ. A
//! difference in loss is a ratio of perplexities; [`Statistics::shown`] and [`Statistics::difference_shown`] turn both into what
//! people read.
//!
//! **Two sorts of uncertainty** are added up: other seeds would give other figures, and the held-out text is one stretch of text. How a
//! difference is judged by them is in [`inference`](super::inference).

mod autocovariance;
mod block_length;
mod findings;
mod gather;
mod judge;
mod settings;
mod text;
mod text_files;

pub(super) use findings::{Against, Relation, Statistics};
pub(super) use gather::statistics;
pub(super) use text::{Text, paired};
