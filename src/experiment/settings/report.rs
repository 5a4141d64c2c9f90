//! `report`: what is said of the results.

use serde::{Deserialize, Serialize};

use crate::experiment::text::fields;

/// `report`: what is said of the results. As with [`Run`](super::Run), a record of another version may have keys here that are not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Differences under this share of the perplexity (of the bits per byte, where those rank) are not worth a choice.
    #[serde(deserialize_with = "fields::margin")]
    pub margin: f64,
}

impl Default for Report {
    fn default() -> Self {
        Self { margin: 0.002 }
    }
}
