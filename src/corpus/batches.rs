//! Batches: which windows a step trains on.
//!
//! The order of an epoch is a pure function of (seed, epoch): a worker that goes on after a crash draws the same batches with
//! nothing stored. Up to 2²² windows the order is a list shuffled by Fisher and Yates. Beyond that a list would cost time
//! and memory at every start, so the order is a keyed permutation that is computed window by window: a Feistel network of 8
//! rounds over the next power of four, walked until it lands inside. The border is part of the definition and never moves.

use super::epoch::Epoch;
use crate::experiment::settings::BatchSize;
use crate::random::Stream;

/// Up to this many windows an epoch's order is a shuffled list.
const LONGEST_LIST: u64 = 1 << 22;
const ROUNDS: usize = 8;

/// The windows of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The epoch the step belongs to, from 0.
    pub epoch: u64,
    /// Its windows, in the order in which they are used.
    pub windows: Vec<u64>,
}

/// Draws the batches of a training; keeps the order of the current epoch.
#[derive(Debug)]
pub struct Batches {
    epoch: Epoch,
    shuffle: bool,
    seed: u64,
    current: Option<(u64, Order)>,
}

#[derive(Debug)]
enum Order {
    Text,
    Listed(Vec<u32>),
    Computed(Permutation),
}

impl Batches {
    /// Batches over this many windows. Cheap: nothing is drawn yet.
    pub fn new(windows: u64, batch_size: BatchSize, shuffle: bool, seed: u64) -> Self {
        Self { epoch: Epoch::new(windows, batch_size), shuffle, seed, current: None }
    }

    /// How each epoch is cut into steps.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which epoch `step` (from 0) belongs to, and which step of that epoch it is; both from 0.
    ///
    /// # Panics
    /// If there is no window; a trial without windows is refused when it is planned.
    pub fn position(&self, step: u64) -> (u64, u64) {
        let steps = self.epoch.steps();
        assert!(steps > 0, "a text without windows has no steps");
        (step / steps, step % steps)
    }

    /// The batch of `step`, from 0. Any step can be asked for; going forward within an epoch is cheapest.
    ///
    /// # Panics
    /// If there is no window.
    pub fn batch(&mut self, step: u64) -> Batch {
        self.beginning(step, usize::MAX)
    }

    /// The first `most` windows of the batch of `step`, from 0: a full batch of a long text is more than a person wants to see.
    ///
    /// # Panics
    /// If there is no window.
    pub fn beginning(&mut self, step: u64, most: usize) -> Batch {
        let (epoch, index) = self.position(step);
        let (Epoch { windows, batch }, seed, shuffle) = (self.epoch, self.seed, self.shuffle);
        let current = self.current.take().filter(|(drawn, _)| *drawn == epoch);
        let (_, order) = self.current.insert(current.unwrap_or_else(|| (epoch, Order::new(windows, seed, epoch, shuffle))));
        let first = index * batch;
        let places = first..(first + batch).min(windows);
        Batch { epoch, windows: places.take(most).map(|place| order.at(place)).collect() }
    }
}

impl Order {
    fn new(windows: u64, seed: u64, epoch: u64, shuffle: bool) -> Self {
        let stream = || Stream::new(seed, "order", &[epoch]);
        if !shuffle {
            Self::Text
        } else if windows <= LONGEST_LIST {
            let mut list: Vec<u32> = (0..windows as u32).collect();
            stream().shuffle(&mut list);
            Self::Listed(list)
        } else {
            Self::Computed(Permutation::new(windows, &mut stream()))
        }
    }

    fn at(&self, place: u64) -> u64 {
        match self {
            Self::Text => place,
            Self::Listed(list) => u64::from(list[place as usize]),
            Self::Computed(permutation) => permutation.at(place),
        }
    }
}

/// A keyed permutation of 0 … count−1, computed one value at a time.
#[derive(Debug)]
struct Permutation {
    count: u64,
    half: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    fn new(count: u64, stream: &mut Stream) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self { count, half: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| stream.bits()) }
    }

    fn at(&self, place: u64) -> u64 {
        // The network permutes less than four times `count` values, so that a few steps of its cycle lead back inside; and
        // since each cycle is followed in one direction, no two places share an answer.
        let mut value = self.round_trip(place);
        while value >= self.count {
            value = self.round_trip(value);
        }
        value
    }

    fn round_trip(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half) | right
    }
}

/// The finalizer of SplitMix64: every bit of the input reaches every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(batches: &mut Batches, epoch: u64) -> Vec<u64> {
        let steps = batches.epoch().steps();
        (0..steps).flat_map(|i| batches.batch(epoch * steps + i).windows).collect()
    }

    /// Steps, windows of the partial one, and of a full one.
    fn of(epoch: Epoch) -> (u64, u64, u64) {
        (epoch.steps(), epoch.partial(), epoch.full_batch())
    }

    #[test]
    fn seventy_seven_windows_in_batches_of_eight_are_ten_steps_and_the_last_has_five() {
        let mut batches = Batches::new(77, BatchSize::Windows(8), true, 1);
        assert_eq!(of(batches.epoch()), (10, 5, 8));
        assert_eq!(batches.batch(8).windows.len(), 8);
        assert_eq!(batches.batch(9).windows.len(), 5);
        assert_eq!(batches.batch(10).epoch, 1);
    }

    #[test]
    fn steps_and_partial_batches() {
        use BatchSize::{Full, Windows};
        for (windows, size, expected) in [
            (80, Windows(8), (10, 0, 8)),
            (1, Windows(8), (1, 1, 1)),
            (8, Windows(8), (1, 0, 8)),
            (0, Windows(8), (0, 0, 0)),
            (77, Full, (1, 0, 77)),
            (1, Full, (1, 0, 1)),
            (0, Full, (0, 0, 0)),
        ] {
            let batches = Batches::new(windows, size, true, 1);
            assert_eq!(of(batches.epoch()), expected, "{windows} {size:?}");
        }
    }

    #[test]
    fn full_takes_every_window_in_one_step() {
        let mut batches = Batches::new(77, BatchSize::Full, true, 3);
        let mut windows = batches.batch(5).windows;
        assert_eq!(batches.position(5), (5, 0));
        windows.sort_unstable();
        assert_eq!(windows, (0..77).collect::<Vec<_>>());
    }

    #[test]
    fn without_shuffling_windows_come_in_text_order_in_every_epoch() {
        let mut batches = Batches::new(10, BatchSize::Windows(4), false, 1);
        for e in 0..3 {
            assert_eq!(epoch(&mut batches, e), (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_epoch_is_a_permutation_and_depends_on_seed_and_epoch_only() {
        let draw = |seed, size, e| epoch(&mut Batches::new(101, BatchSize::Windows(size), true, seed), e);
        let mut sorted = draw(1, 8, 0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..101).collect::<Vec<_>>());
        assert_eq!(draw(1, 8, 0), draw(1, 8, 0));
        assert_eq!(draw(1, 8, 0), draw(1, 16, 0), "the batch size takes the same order in other portions");
        assert_ne!(draw(1, 8, 0), draw(1, 8, 1));
        assert_ne!(draw(1, 8, 0), draw(2, 8, 0));
    }

    #[test]
    fn the_order_of_an_epoch_never_changes_between_versions() {
        let mut batches = Batches::new(10, BatchSize::Windows(10), true, 1);
        assert_eq!(batches.batch(0).windows, [6, 1, 3, 4, 2, 9, 8, 7, 5, 0]);
        assert_eq!(batches.batch(1).windows, [6, 9, 1, 3, 7, 4, 2, 8, 5, 0]);
        // The computed order, far beyond any list.
        let mut batches = Batches::new(1 << 40, BatchSize::Windows(4), true, 1);
        assert_eq!(batches.batch(0).windows, [1_010_936_918_656, 949_760_739_493, 33_563_630_833, 111_875_672_921]);
    }
    #[test]
    fn any_step_can_be_drawn_directly_as_after_a_crash() {
        let mut forward = Batches::new(77, BatchSize::Windows(8), true, 9);
        let all: Vec<Batch> = (0..35).map(|step| forward.batch(step)).collect();
        for step in [34, 0, 17, 9, 10, 20] {
            assert_eq!(Batches::new(77, BatchSize::Windows(8), true, 9).batch(step), all[step as usize]);
            assert_eq!(forward.batch(step), all[step as usize]);
        }
    }

    #[test]
    fn the_computed_order_is_a_permutation_of_every_count() {
        for count in (1..70).chain([255, 256, 257, 1_000, 4_096, 4_097, 100_000]) {
            let permutation = Permutation::new(count, &mut Stream::new(count, "order", &[0]));
            let mut seen = vec![false; count as usize];
            for place in 0..count {
                let value = permutation.at(place) as usize;
                assert!(!std::mem::replace(&mut seen[value], true), "{count}: {value} twice");
            }
        }
    }

    #[test]
    fn the_computed_order_looks_shuffled() {
        let count = 100_000u64;
        let permutation = Permutation::new(count, &mut Stream::new(1, "order", &[0]));
        let values: Vec<u64> = (0..count).map(|place| permutation.at(place)).collect();
        // Of a random permutation the mean distance between neighbours is a third of the count, and one value stays.
        let distance = values.windows(2).map(|w| w[0].abs_diff(w[1])).sum::<u64>() as f64 / (count - 1) as f64;
        assert!((distance / (count as f64 / 3.0) - 1.0).abs() < 0.02, "{distance}");
        assert!(values.iter().enumerate().filter(|(i, v)| *i as u64 == **v).count() < 10);
        // Each tenth of the epoch takes about equally from each tenth of the text.
        let mut table = [[0u32; 10]; 10];
        for (place, value) in values.iter().enumerate() {
            table[place / 10_000][(value / 10_000) as usize] += 1;
        }
        assert!(table.iter().flatten().all(|&n| (870..1_130).contains(&n)), "{table:?}");
    }

    #[test]
    fn hundreds_of_millions_of_windows_start_at_once_and_do_not_repeat() {
        let windows = 900_000_001;
        let mut batches = Batches::new(windows, BatchSize::Windows(64), true, 1);
        let mut seen = std::collections::HashSet::new();
        for step in 0..2_000 {
            for window in batches.batch(step).windows {
                assert!(window < windows && seen.insert(window));
            }
        }
        assert_eq!(batches.batch(batches.epoch().steps() - 1).windows.len() as u64, windows % 64);
        assert!(matches!(batches.current, Some((0, Order::Computed(_)))));
    }

    #[test]
    fn the_border_between_list_and_computed_order_is_where_it_is_documented() {
        assert!(matches!(Order::new(LONGEST_LIST, 1, 0, true), Order::Listed(_)));
        assert!(matches!(Order::new(LONGEST_LIST + 1, 1, 0, true), Order::Computed(_)));
        assert!(matches!(Order::new(LONGEST_LIST + 1, 1, 0, false), Order::Text));
    }

    #[test]
    #[should_panic(expected = "without windows")]
    fn a_text_without_windows_has_no_batch() {
        Batches::new(0, BatchSize::Full, true, 1).batch(0);
    }
}
