//! What an expression may come to.

use std::fmt;

use crate::experiment::text;

/// A value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::experiment) enum Datum {
    /// A number; `off` is +∞.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A word.
    Word(String),
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) if *n == f64::INFINITY => f.write_str("off"),
            Self::Number(n) => f.write_str(&text::write_number(*n)),
            Self::Boolean(b) => write!(f, "{b}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::experiment) enum Kind {
    Number,
    Boolean,
    Word,
}

/// Why a right expression has no value for one configuration.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::experiment) enum Trouble {
    /// It needs the number of training windows, which is not known.
    Unknown,
    /// A sentence.
    Failed(String),
}
