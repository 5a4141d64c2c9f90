//! Dropout masks as a definition: which elements of a sequence fall out, the same for the plain path and the engine.
//!
//! A mask belongs to one place in the model, one sequence of one optimizer step and one row of values. Its stream is
//! `Stream::new(seed, "dropout", &[step, sequence, 4 · layer + site])`, for attention weights with the head as a fourth
//! index; `sequence` counts within the optimizer step, so micro-batches and threads do not matter. Rows follow each other
//! in that stream: row t of a [T, C] site has C elements, row i of attention weights has i + 1 (keys 0 to i; what lies
//! behind the causal mask has none). Each row begins with a new number of 64 bits and takes 16 bits an element, the lowest
//! first. An element is kept if its 16 bits are at least round(65,536 · rate), and is then multiplied by 1 / (1 − rate).

use crate::random::Stream;

/// Where in the model something falls out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// The sum of token and position embedding (layer 0).
    Embedding = 0,
    /// The attention weights of a block.
    Attention = 1,
    /// What attention adds to the residual stream.
    AttentionOutput = 2,
    /// What the MLP adds to the residual stream.
    MlpOutput = 3,
}

/// Which mask: everything its stream depends on but the head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaskKey {
    /// Seed of the trial.
    pub(crate) seed: u64,
    /// Optimizer step.
    pub(crate) step: u64,
    /// Index of the sequence within the optimizer step.
    pub(crate) sequence: usize,
    /// Block.
    pub(crate) layer: usize,
    /// Where in the block.
    pub(crate) site: Site,
}

impl MaskKey {
    /// The indices of its stream; `head` only for attention weights.
    pub(crate) fn indices(self, head: Option<usize>) -> Vec<u64> {
        let site = 4 * self.layer as u64 + self.site as u64;
        let mut indices = vec![self.step, self.sequence as u64, site];
        indices.extend(head.map(|head| head as u64));
        indices
    }
}

/// An element is kept if its 16 bits are at least this.
pub(crate) fn threshold(rate: f64) -> u16 {
    (rate * 65_536.0).round().min(65_535.0) as u16
}

/// What an element that is kept is multiplied by.
pub(crate) fn factor(rate: f64) -> f32 {
    (1.0 / (1.0 - rate)) as f32
}

/// The rows of one mask, in order.
pub(crate) struct Rows {
    stream: Stream,
    threshold: u16,
    scale: f32,
}

impl Rows {
    /// The rows at this place; `head` only for attention weights.
    pub(crate) fn new(place: MaskKey, head: Option<usize>, rate: f64) -> Self {
        Self { stream: Stream::new(place.seed, "dropout", &place.indices(head)), threshold: threshold(rate), scale: factor(rate) }
    }

    /// Writes the next row: 0 where an element falls out, 1 / (1 − rate) elsewhere.
    pub(crate) fn fill(&mut self, row: &mut [f32]) {
        for elements in row.chunks_mut(4) {
            let mut bits = self.stream.bits();
            for element in elements {
                *element = if bits as u16 >= self.threshold { self.scale } else { 0.0 };
                bits >>= 16;
            }
        }
    }
}

/// The mask of a [T, C] site, row by row.
pub(crate) fn mask(place: MaskKey, rate: f64, length: usize, width: usize) -> Vec<f32> {
    let mut rows = Rows::new(place, None, rate);
    let mut mask = vec![0.0; length * width];
    mask.chunks_exact_mut(width).for_each(|row| rows.fill(row));
    mask
}

/// The mask of a sequence's attention weights, [H, T, T] row by row, 0 behind the causal mask.
pub(crate) fn attention_mask(place: MaskKey, rate: f64, heads: usize, length: usize) -> Vec<f32> {
    let mut mask = vec![0.0; heads * length * length];
    for (head, square) in mask.chunks_exact_mut(length * length).enumerate() {
        let mut rows = Rows::new(place, Some(head), rate);
        square.chunks_exact_mut(length).enumerate().for_each(|(i, row)| rows.fill(&mut row[..=i]));
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: MaskKey = MaskKey { seed: 1, step: 2, sequence: 3, layer: 1, site: Site::MlpOutput };

    #[test]
    fn a_share_of_rate_falls_out_and_the_mean_stays_one() {
        for rate in [0.1, 0.25, 0.5] {
            let mask = mask(PLACE, rate, 200, 501);
            let out = mask.iter().filter(|&&m| m == 0.0).count() as f64 / mask.len() as f64;
            let mean = mask.iter().map(|&m| f64::from(m)).sum::<f64>() / mask.len() as f64;
            assert!((out - rate).abs() < 0.01 && (mean - 1.0).abs() < 0.02, "{rate}: {out} {mean}");
        }
    }

    #[test]
    fn each_seed_step_sequence_layer_and_site_has_its_own_mask() {
        let base = mask(PLACE, 0.5, 4, 64);
        assert_eq!(base, mask(PLACE, 0.5, 4, 64));
        let others = [
            MaskKey { seed: 2, ..PLACE },
            MaskKey { step: 3, ..PLACE },
            MaskKey { sequence: 4, ..PLACE },
            MaskKey { layer: 0, ..PLACE },
            MaskKey { site: Site::AttentionOutput, ..PLACE },
        ];
        assert!(others.iter().all(|&other| mask(other, 0.5, 4, 64) != base));
    }

    #[test]
    fn attention_masks_are_causal_and_differ_from_head_to_head() {
        let place = MaskKey { site: Site::Attention, ..PLACE };
        let mask = attention_mask(place, 0.5, 2, 16);
        for head in 0..2 {
            for i in 0..16 {
                assert!((i + 1..16).all(|j| mask[(head * 16 + i) * 16 + j] == 0.0));
            }
        }
        assert_ne!(mask[..256], mask[256..]);
    }

    #[test]
    fn a_mask_starts_with_the_same_rows_whatever_its_length() {
        assert_eq!(mask(PLACE, 0.3, 2, 10)[..], mask(PLACE, 0.3, 5, 10)[..20]);
    }
}
