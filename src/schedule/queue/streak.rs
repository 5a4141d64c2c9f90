//! Failures that are alike.

use std::collections::BTreeSet;

use crate::schedule::Cause;

/// Shapes that failed one after another for the same reason. Trials of one shape count once: what ails it need not ail others.
#[derive(Debug, Default)]
pub(super) struct Streak {
    pub(super) of: Option<(Cause, String)>,
    pub(super) shapes: BTreeSet<usize>,
}
