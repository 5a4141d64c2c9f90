//! What goes to the device and what comes back, through memory that both reach.
//!
//! A *slot* carries all that a unit needs: the members' numbers of this step, tokens, their order by token, and the keys of dropout's
//! streams. A unit's first kernel copies the slot whose turn it is to the device; kernels count the turns. A slot of
//! *results* carries a step's losses and norms back, its sequence number last.

use std::sync::atomic::{AtomicU32, Ordering};

use super::by_token::{ByToken, most_pieces};
use super::members::Member;
use super::sizes::Sizes;
use crate::model::Step;
use crate::model::dropout::{MaskKey, Site, factor, threshold};
use crate::random::Stream;

/// Words of a member's row in the table.
const MEMBER: usize = 16;

/// Words of the key of a stream.
const KEY: usize = 8;

/// Where what lies in a slot, in 32-bit words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The members' table: [K, 16].
    pub(super) members: usize,
    /// Inputs and the last target of each window: [K, W, L + 1].
    pub(super) tokens: usize,
    /// Positions sorted by token: [K, N].
    pub(super) order: usize,
    /// First of each piece of them: [K, pieces + 1].
    pub(super) pieces: usize,
    /// First piece of each token: [K, V + 1].
    pub(super) first_piece: usize,
    /// Keys of the masks of rows: [1 + 2 layers, K, W, 8].
    pub(super) row_keys: usize,
    /// Keys of the masks of attention: [layers, K, W, H, 8].
    pub(super) attention_keys: usize,
    /// All words.
    pub(super) words: usize,
}

impl Slot {
    /// The slot of a unit of such sizes.
    pub(super) fn new(sizes: &Sizes) -> Self {
        let Sizes { members, windows, length, vocabulary, layers, heads, .. } = *sizes;
        let mut words = 0;
        // Copied in pieces of four words, and the table holds 64-bit numbers.
        let mut take = |count: usize| {
            let start = words;
            words = (words + count).next_multiple_of(4);
            start
        };
        let keys = |count: usize| if sizes.dropout { KEY * members * windows * count } else { 0 };
        Self {
            members: take(MEMBER * members),
            tokens: take(members * windows * (length + 1)),
            order: take(members * windows * length),
            pieces: take(members * (sizes.pieces() + 1)),
            first_piece: take(members * (vocabulary + 1)),
            row_keys: take(keys(sizes.row_sites())),
            attention_keys: take(keys(layers * heads)),
            words,
        }
    }
}

/// A member and what it does in a step.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) member: Member,
    /// `None`: nothing is left to do for it.
    pub(super) step: Option<Step<'a>>,
    /// Updates made when this one is done.
    pub(super) updates: u64,
    /// Whether it forgets that something was not finite.
    pub(super) revive: bool,
}

/// Writes slots.
pub(super) struct Writer {
    slot: Slot,
    words: Vec<u32>,
}

impl Writer {
    pub(super) fn new(sizes: &Sizes) -> Self {
        let slot = Slot::new(sizes);
        Self { slot, words: vec![0; slot.words] }
    }

    /// Writes the slot of one unit of a step.
    pub(super) fn write(&mut self, sizes: &Sizes, unit: usize, turns: &[Turn<'_>], into: &[AtomicU32]) {
        for (k, turn) in turns.iter().enumerate() {
            let all = turn.step.map_or(0, |step| step.sequences.count());
            let first = unit * sizes.windows;
            let here = all.saturating_sub(first).min(sizes.windows);
            self.numbers(k, turn, here);
            self.tokens(sizes, k, turn, first, here);
            if sizes.dropout {
                self.keys(sizes, k, turn, first);
            }
        }
        into.iter().zip(&self.words).for_each(|(word, &value)| word.store(value, Ordering::Relaxed));
    }

    /// A member's row of the table, as the prelude of the kernels reads it.
    fn numbers(&mut self, k: usize, turn: &Turn<'_>, windows: usize) {
        let Turn { member, step, updates, revive } = *turn;
        let Member { beta1, beta2, epsilon, weight_decay, clip, dropout, .. } = member;
        let (learning_rate, targets) = step.map_or((0.0, 1), |step| (step.learning_rate, step.sequences.targets.len()));
        let root = 1.0 / (1.0 - beta2.powf(updates as f64)).sqrt();
        let rate = learning_rate / (1.0 - beta1.powf(updates as f64));
        let limit = clip.unwrap_or(-1.0).to_bits();
        let float = |value: f64| (value as f32).to_bits();
        let row: [u32; MEMBER] = [
            float(1.0 - learning_rate * weight_decay),
            float(beta1),
            float(1.0 - beta1),
            float(beta2),
            float(1.0 - beta2),
            float(root),
            float(rate),
            float(epsilon),
            limit as u32,
            (limit >> 32) as u32,
            float(1.0 / targets as f64),
            windows as u32,
            threshold(dropout).into(),
            factor(dropout).to_bits(),
            u32::from(revive),
            0,
        ];
        let place = self.slot.members + k * MEMBER;
        self.words[place..place + MEMBER].copy_from_slice(&row);
    }

    /// A member's tokens: a window that is missing is its first again, or zeros.
    fn tokens(&mut self, sizes: &Sizes, k: usize, turn: &Turn<'_>, first: usize, here: usize) {
        let Sizes { windows, length, vocabulary, .. } = *sizes;
        let mut inputs = vec![0; windows * length];
        let place = self.slot.tokens + k * windows * (length + 1);
        let tokens = &mut self.words[place..place + windows * (length + 1)];
        tokens.fill(0);
        if let Some(step) = turn.step {
            for (w, (tokens, inputs)) in tokens.chunks_mut(length + 1).zip(inputs.chunks_mut(length)).enumerate() {
                let from = if w < here { (first + w) * length } else { 0 };
                inputs.copy_from_slice(&step.sequences.inputs[from..from + length]);
                tokens[..length].copy_from_slice(inputs);
                tokens[length] = step.sequences.targets[from + length - 1];
            }
        }
        let most = most_pieces(inputs.len(), vocabulary) + 1;
        let (before, rest) = self.words.split_at_mut(self.slot.pieces);
        let (pieces, tokens) = rest.split_at_mut(self.slot.first_piece - self.slot.pieces);
        ByToken {
            order: &mut before[self.slot.order + k * inputs.len()..][..inputs.len()],
            pieces: &mut pieces[k * most..][..most],
            tokens: &mut tokens[k * (vocabulary + 1)..][..vocabulary + 1],
        }
        .sort(&inputs);
    }

    /// The keys of a member's streams.
    fn keys(&mut self, sizes: &Sizes, k: usize, turn: &Turn<'_>, first: usize) {
        let Sizes { members, windows, layers, heads, .. } = *sizes;
        let Slot { row_keys, attention_keys, .. } = self.slot;
        let step = turn.step.map_or(0, |step| step.number);
        let place = |sequence, layer, site| MaskKey { seed: turn.member.seed, step, sequence, layer, site };
        for w in 0..windows {
            let mut row = |site: usize, place: MaskKey| {
                let at = row_keys + ((site * members + k) * windows + w) * KEY;
                write_key(&mut self.words[at..at + KEY], place, None);
            };
            row(0, place(first + w, 0, Site::Embedding));
            for layer in 0..layers {
                row(1 + 2 * layer, place(first + w, layer, Site::AttentionOutput));
                row(2 + 2 * layer, place(first + w, layer, Site::MlpOutput));
            }
            for layer in 0..layers {
                for head in 0..heads {
                    let at = attention_keys + (((layer * members + k) * windows + w) * heads + head) * KEY;
                    write_key(&mut self.words[at..at + KEY], place(first + w, layer, Site::Attention), Some(head));
                }
            }
        }
    }
}

fn write_key(into: &mut [u32], place: MaskKey, head: Option<usize>) {
    let key = Stream::key(place.seed, "dropout", &place.indices(head));
    for (word, bytes) in into.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
}

/// What the device says about a member's step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Published {
    /// Sum of NLL.
    pub(super) loss: f64,
    /// Norm of the gradients.
    pub(super) norm: f64,
    /// Whether something was not finite, here or before.
    pub(super) dead: bool,
}

/// Words of a slot of results.
pub(super) fn result_words(members: usize) -> usize {
    2 * (1 + 3 * members)
}

/// The results of the step of this number, counted from 1, once they are there.
pub(super) fn published(slot: &[AtomicU32], step: u64) -> Option<Vec<Published>> {
    // The number's lower word changes from one use of the slot to the next.
    if slot[0].load(Ordering::Acquire) != step as u32 {
        return None;
    }
    let word = |place: usize| {
        let half = |place: usize| u64::from(slot[place].load(Ordering::Relaxed));
        half(2 * place) | half(2 * place + 1) << 32
    };
    let members = (slot.len() / 2 - 1) / 3;
    let member = |k: usize| Published {
        loss: f64::from_bits(word(1 + 3 * k)),
        norm: f64::from_bits(word(2 + 3 * k)),
        dead: word(3 + 3 * k) != 0,
    };
    Some((0..members).map(member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::{self, Precision};
    use crate::model::gpu::layout::Layout;
    use crate::model::{Config, Sequences};

    const MEMBER_ONE: Member =
        Member { seed: 7, dropout: 0.25, beta1: 0.5, beta2: 0.75, epsilon: 1e-8, weight_decay: 0.1, clip: Some(2.0) };

    /// Two members, and steps of at most five windows of three tokens in units of two.
    fn sizes() -> Sizes {
        let model = settings::Model { layers: 2, heads: 2, width: 12, dropout: 0.25, ..settings::Model::default() };
        let config = Config::new(&model, 11, 3).unwrap();
        let layout = Layout::new(&config).unwrap();
        Sizes::new(&config, &layout, Precision::F32, [3, 3, 5, 2], true).with_unit(2)
    }

    /// A unit's slot, where the first member has three windows and the second no step.
    fn written(unit: usize) -> Vec<u32> {
        let sizes = sizes();
        let (inputs, targets): (Vec<u32>, Vec<u32>) = ((0..9).collect(), (1..10).collect());
        let sequences = Sequences { inputs: &inputs, targets: &targets, length: 3 };
        let step = Step { sequences, number: 4, learning_rate: 0.5 };
        let turn = Turn { member: MEMBER_ONE, step: Some(step), updates: 2, revive: true };
        let into: Vec<AtomicU32> = (0..Slot::new(&sizes).words).map(|_| AtomicU32::new(u32::MAX)).collect();
        Writer::new(&sizes).write(&sizes, unit, &[turn, Turn { step: None, revive: false, ..turn }], &into);
        into.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_members_numbers_stand_where_kernels_read_them() {
        let words = written(1);
        let float = |place: usize| f32::from_bits(words[place]);
        assert_eq!([0, 1, 2, 3, 4].map(float), [0.95, 0.5, 0.5, 0.75, 0.25]);
        // Bias corrections of the second update: 1 − 0.75² and 1 − 0.5².
        assert_eq!([5, 6].map(float), [(1.0 / 0.4375f64.sqrt()) as f32, (0.5 / 0.75) as f32]);
        assert_eq!(f64::from_bits(u64::from(words[8]) | u64::from(words[9]) << 32), 2.0);
        assert_eq!((float(10), words[11], words[12], float(13), words[14]), ((1.0 / 9.0) as f32, 1, 16_384, 4.0 / 3.0, 1));
        // Who has no step is neither decayed nor moved, and brought back by nothing.
        let second = MEMBER;
        assert_eq!((float(second), float(second + 6), words[second + 11], words[second + 14]), (1.0, 0.0, 0, 0));
    }

    #[test]
    fn a_missing_window_is_the_first_again() {
        let tokens = |unit: usize| {
            let slot = Slot::new(&sizes());
            written(unit)[slot.tokens..slot.tokens + 16].to_vec()
        };
        assert_eq!(tokens(0), [0, 1, 2, 3, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(tokens(1), [6, 7, 8, 9, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(tokens(2)[..8], [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn keys_are_those_of_the_streams_on_a_processor() {
        let (slot, words) = (Slot::new(&sizes()), written(1));
        let key = |at: usize| bytemuck::cast_slice::<u32, u8>(&words[at..at + KEY]).to_vec();
        // The mask of what the second block's MLP adds to the step's fourth window, and of its attention's second head.
        let mlp = MaskKey { seed: 7, step: 4, sequence: 3, layer: 1, site: Site::MlpOutput };
        let (site, members, windows, heads) = (4, 2, 2, 2);
        let row = slot.row_keys + ((site * members) * windows + 1) * KEY;
        assert_eq!(key(row), Stream::key(7, "dropout", &mlp.indices(None)));
        let attention = MaskKey { site: Site::Attention, ..mlp };
        let head = slot.attention_keys + (((members) * windows + 1) * heads + 1) * KEY;
        assert_eq!(key(head), Stream::key(7, "dropout", &attention.indices(Some(1))));
    }

    #[test]
    fn results_are_taken_when_their_number_is_there() {
        let slot: Vec<AtomicU32> = (0..result_words(2)).map(|_| AtomicU32::new(0)).collect();
        let set = |place: usize, value: u64| {
            slot[2 * place].store(value as u32, Ordering::Relaxed);
            slot[2 * place + 1].store((value >> 32) as u32, Ordering::Relaxed);
        };
        set(1, 1.5f64.to_bits());
        set(2, 2.5f64.to_bits());
        set(4, f64::INFINITY.to_bits());
        set(6, 1);
        assert_eq!(published(&slot, 5), None);
        set(0, 5);
        let first = Published { loss: 1.5, norm: 2.5, dead: false };
        assert_eq!(published(&slot, 5), Some(vec![first, Published { loss: f64::INFINITY, norm: 0.0, dead: true }]));
        assert_eq!(published(&slot, 6), None);
    }
}
