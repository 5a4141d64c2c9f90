//! `train`: how the model is trained.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::experiment::text::{Wrapped, fields};
use crate::words::listed;

/// `train`: how the model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Tokens in a window (L).
    #[serde(deserialize_with = "fields::size")]
    pub sequence_length: usize,
    /// How far the window moves (S); the default is `sequence_length`.
    #[serde(deserialize_with = "fields::maybe_size")]
    pub stride: Option<usize>,
    /// Windows in an optimizer step.
    pub batch_size: BatchSize,
    /// A new order of windows each epoch.
    #[serde(deserialize_with = "fields::flag")]
    pub shuffle: bool,
    /// Largest global gradient norm.
    pub clip_norm: ClipNorm,
    /// How long to train.
    pub budget: Budget,
    /// Peak learning rate.
    #[serde(deserialize_with = "fields::above_zero")]
    pub learning_rate: f64,
    /// Shape after warm-up.
    pub schedule: Schedule,
    /// Warm-up as a fraction of the steps.
    #[serde(deserialize_with = "fields::fraction")]
    pub warmup: f64,
    /// Learning rate at the end as a fraction of the peak.
    #[serde(deserialize_with = "fields::fraction")]
    pub final_learning_rate: f64,
    /// AdamW's decoupled weight decay, on matrices and embeddings.
    #[serde(deserialize_with = "fields::not_negative")]
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    #[serde(deserialize_with = "fields::below_one")]
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    #[serde(deserialize_with = "fields::below_one")]
    pub beta2: f64,
    /// AdamW's epsilon, outside the root.
    #[serde(deserialize_with = "fields::above_zero")]
    pub epsilon: f64,
    /// What products are made in; on the CPU `f32` only.
    pub precision: Precision,
    /// Windows through the model at once; memory only, never part of the result.
    #[serde(deserialize_with = "fields::maybe_size")]
    pub micro_batch: Option<usize>,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            sequence_length: 128,
            stride: None,
            batch_size: BatchSize::Windows(16),
            shuffle: true,
            clip_norm: ClipNorm::At(1.0),
            budget: Budget::Tokens(0),
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            warmup: 0.05,
            final_learning_rate: 0.1,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            precision: Precision::F32,
            micro_batch: None,
        }
    }
}

impl Train {
    /// How far the window moves: `stride`, or the sequence length where it is not set.
    pub fn stride(&self) -> usize {
        self.stride.unwrap_or(self.sequence_length)
    }
}

/// `train.batch_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchSize {
    /// This many windows a step.
    Windows(usize),
    /// All windows of the epoch in one step.
    Full,
}

impl<'de> Deserialize<'de> for BatchSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Wrapped::deserialize(deserializer)?;
        value.only("windows")?;
        if value.is("full") {
            return Ok(Self::Full);
        }
        match value.size() {
            Ok(windows) => Ok(Self::Windows(windows)),
            Err(expected) => value.refuse(&format!("{expected}, or `full`")),
        }
    }
}

/// `train.clip_norm`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipNorm {
    /// Measure the norm only.
    Off,
    /// Scale all gradients together so that their global L2 norm is at most this.
    At(f64),
}

impl ClipNorm {
    /// What every gradient is multiplied with at this global norm: min(1, C / (norm + 1e-6)); 1 where clipping is off.
    ///
    /// The norm must be finite: min(1, C/∞) is 0, and 0 · ∞ would put NaN into the weights.
    pub fn coefficient(self, norm: f64) -> f64 {
        match self {
            Self::Off => 1.0,
            Self::At(limit) => (limit / (norm + 1e-6)).min(1.0),
        }
    }
}

impl<'de> Deserialize<'de> for ClipNorm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Wrapped::deserialize(deserializer)?;
        value.only("at")?;
        if value.is("off") {
            return Ok(Self::Off);
        }
        // Norms are compared in 64 bits: one that no gradient reaches is as good as another.
        match value.number() {
            Some(norm) if norm > 0.0 => Ok(Self::At(norm)),
            _ => value.refuse_helping("a number above 0, or `off`", "write `off` to measure the norm without clipping"),
        }
    }
}

/// Most tokens of a budget, and most bytes.
const MOST_TOKENS: u64 = 1_000_000_000_000_000;

/// Most steps of a budget.
const MOST_STEPS: u64 = 1_000_000_000_000;

/// Most epochs of a budget, and most minutes.
const MOST_EPOCHS: f64 = 1e9;

/// `train.budget`: how long a trial trains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Target tokens; ends with the first step that reaches it.
    Tokens(u64),
    /// Bytes of text.
    Bytes(u64),
    /// Optimizer steps.
    Steps(u64),
    /// Passes over all windows.
    Epochs(f64),
    /// Minutes inside finished steps; not reproducible to the bit.
    Minutes(f64),
}

impl Budget {
    /// Seconds inside steps after which a trial ends whose budget is in minutes; `None` where its steps are counted.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Self::Minutes(minutes) => Some(60.0 * minutes),
            Self::Tokens(_) | Self::Bytes(_) | Self::Steps(_) | Self::Epochs(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const HELP: &str = "write one of `tokens`, `bytes`, `steps`, `epochs`, `minutes` with an amount: `{tokens: 1_000_000}`";
        let value = Wrapped::deserialize(deserializer)?;
        if let (Some(first), false) = (&value.name, value.more.is_empty()) {
            let units: Vec<String> = std::iter::once(first).chain(&value.more).map(|unit| format!("`{unit}`")).collect();
            return Err(D::Error::custom(format!("has one unit, not {}\nkeep one of them", listed(&units))));
        }
        // 0 is read, and refused later: settings without a budget of their own have it as a placeholder.
        let whole = |most| match value.whole(1, most) {
            Ok(amount) => Ok(amount),
            Err(_) if value.number() == Some(0.0) => Ok(0),
            Err(expected) => value.refuse(&expected),
        };
        let number = || match value.number() {
            Some(amount) if (0.0..=MOST_EPOCHS).contains(&amount) => Ok(amount),
            Some(amount) if amount > 0.0 => value.refuse("a number up to 1,000,000,000"),
            _ => value.refuse("a number above 0"),
        };
        match value.name.as_deref() {
            Some("tokens") => whole(MOST_TOKENS).map(Self::Tokens),
            Some("bytes") => whole(MOST_TOKENS).map(Self::Bytes),
            Some("steps") => whole(MOST_STEPS).map(Self::Steps),
            Some("epochs") => number().map(Self::Epochs),
            Some("minutes") => number().map(Self::Minutes),
            Some(other) => Err(D::Error::custom(format!("does not count in `{other}`\n{HELP}"))),
            None => Err(D::Error::custom(format!("needs a unit\n{HELP}"))),
        }
    }
}

/// The shape of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine down to `final_learning_rate`.
    Cosine,
    /// A straight line down to `final_learning_rate`.
    Linear,
    /// No change after warm-up.
    Constant,
}

/// What products are made in. Weights, moments, norms, softmax and loss are in 32 bits whatever it is, and so are sums inside
/// of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 32-bit floating point whose last 13 bits the GPU's matrix units leave out.
    Tf32,
    /// bfloat16: half the memory, 8 significant bits.
    Bf16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_torchs() {
        for (norm, clip, expected) in [
            (5.0, ClipNorm::At(1.0), 1.0 / (5.0 + 1e-6)),
            (0.5, ClipNorm::At(1.0), 1.0),
            (1.0, ClipNorm::At(1.0), 1.0 / (1.0 + 1e-6)),
            (5.0, ClipNorm::Off, 1.0),
            (0.0, ClipNorm::At(1e-9), 1e-9 / 1e-6),
        ] {
            assert_eq!(clip.coefficient(norm), expected, "{norm} {clip:?}");
        }
    }
}
