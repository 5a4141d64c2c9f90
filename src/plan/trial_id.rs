//! Names of trials.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A trial's name: 12 hexadecimal digits that depend on its settings, its seed, the kind of device and the text, and on
/// nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrialId(String);

impl TrialId {
    /// Number of hexadecimal digits.
    pub const DIGITS: usize = 12;

    /// The id of this canonical description.
    pub fn of(description: &str) -> Self {
        Self(blake3::hash(description.as_bytes()).to_hex()[..Self::DIGITS].to_owned())
    }

    /// Reads a folder's name back; `None` where it is not an id.
    pub fn parse(text: &str) -> Option<Self> {
        let right = text.len() == Self::DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        right.then(|| Self(text.to_owned()))
    }

    /// Its twelve hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
