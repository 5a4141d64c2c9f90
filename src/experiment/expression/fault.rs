//! What is wrong with an expression.

use std::ops::Range;

/// What is wrong with an expression, and where in its text.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::experiment) struct Fault {
    pub(in crate::experiment) message: String,
    pub(in crate::experiment) help: Option<String>,
    pub(in crate::experiment) at: Range<usize>,
}
