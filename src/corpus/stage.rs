//! How far the preparation of a corpus is.

/// What is done at the moment, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The files are looked for.
    Finding {
        /// Files found.
        files: u64,
    },
    /// The text is read, checked and hashed.
    Reading {
        /// Bytes done.
        bytes: u64,
        /// Bytes in all.
        of: u64,
    },
    /// The tokenizer learns from the training part.
    Learning {
        /// Bytes done.
        bytes: u64,
        /// Bytes in all.
        of: u64,
    },
    /// A part is tokenized.
    Tokenizing {
        /// `training`, `validation` or `test`.
        part: &'static str,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all.
        of: u64,
    },
}
