//! What losses are multiplied by to be drawn on one axis. A token of one tokenizer is more text than one of another, so that nats per
//! token of several do not compare; there losses are drawn in bits per byte, as the figure that ranks.

use std::f64::consts::LN_2;

use super::trial_row::TrialRow;

/// How the losses of a trial are drawn; they are recorded in nats per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LossScale {
    /// As they are.
    Nats,
    /// In bits per byte, by the tokens to a byte of the training part and of the held-out part, where these are known.
    Bits { training: Option<f64>, held_out: Option<f64> },
    /// Not at all: its tokenizer is not known to give every text back, and what it loses would cost no bits.
    NotDrawn,
}

impl LossScale {
    /// That of bits per byte.
    pub(super) fn bits(row: &TrialRow) -> Self {
        let scored = row.scored_tokens.zip(row.scored_bytes).map(|(tokens, bytes)| (tokens as f64, bytes as f64));
        let ratio = |(tokens, bytes): (f64, f64)| Some(tokens / bytes).filter(|ratio| *ratio > 0.0 && ratio.is_finite());
        Self::Bits {
            training: row.amounts.train_tokens.zip(row.amounts.train_bytes).and_then(ratio),
            held_out: scored.and_then(ratio),
        }
    }

    /// For losses on the training part: by its own bytes, or by those of the held-out part where its own are not known.
    pub(super) fn training(self) -> Option<f64> {
        self.by(|training, held_out| training.or(held_out))
    }

    /// For losses on the held-out part: by the bytes that were scored, or by those of the training part before that.
    pub(super) fn held_out(self) -> Option<f64> {
        self.by(|training, held_out| held_out.or(training))
    }

    /// For the mean loss over so many tokens of so many bytes.
    pub(super) fn scored(self, tokens: Option<i64>, bytes: Option<i64>) -> Option<f64> {
        let ratio = || Some(tokens? as f64 / bytes.filter(|bytes| *bytes > 0)? as f64);
        self.by(|_, _| ratio())
    }

    fn by(self, tokens_per_byte: impl Fn(Option<f64>, Option<f64>) -> Option<f64>) -> Option<f64> {
        match self {
            Self::Nats => Some(1.0),
            Self::Bits { training, held_out } => tokens_per_byte(training, held_out).map(|tokens| tokens / LN_2),
            Self::NotDrawn => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_per_byte_are_by_the_bytes_of_the_part_that_the_loss_is_of() {
        let mut row = TrialRow { scored_tokens: Some(500), scored_bytes: Some(1000), ..TrialRow::default() };
        let scales = |scale: LossScale| [scale.training(), scale.held_out(), scale.scored(Some(1), Some(4))];
        assert_eq!(
            scales(LossScale::bits(&row)),
            [0.5, 0.5, 0.25].map(|ratio| Some(ratio / LN_2)),
            "the training part is not known"
        );
        (row.amounts.train_tokens, row.amounts.train_bytes) = (Some(300.0), Some(1000.0));
        assert_eq!(scales(LossScale::bits(&row)), [0.3, 0.5, 0.25].map(|ratio| Some(ratio / LN_2)));
        (row.scored_tokens, row.scored_bytes) = (None, Some(0));
        assert_eq!(LossScale::bits(&row).held_out(), Some(0.3 / LN_2), "before it is scored");
        assert_eq!(LossScale::bits(&row).scored(Some(1), Some(0)), None);
        assert_eq!((scales(LossScale::Nats), scales(LossScale::NotDrawn)), ([Some(1.0); 3], [None; 3]));
    }
}
