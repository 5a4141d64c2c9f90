//! Gradients of several shards at once.
//!
//! A *lane* is one array of gradients. Shard i of a batch adds to lane i mod their number, after all earlier shards of that
//! lane; in the end the lanes are added up in their order. So every sum has one order, whoever computes it and when.

use std::sync::{Condvar, Mutex, PoisonError};

use super::buffer::Buffer;

/// Lanes at most: as many threads can train on one batch.
const MOST: usize = 8;
/// Values that all lanes together may have, beyond two lanes: 2 GiB.
const VALUES: usize = 1 << 29;

/// Lanes for a batch of so many shards and a model of so many parameters: a function of these only.
pub(super) fn count(shards: usize, parameters: usize) -> usize {
    (VALUES / parameters.max(1)).clamp(2, MOST).min(shards).max(1)
}

/// The lanes while threads work on them.
pub(super) struct Lanes {
    lanes: Vec<(Mutex<Lane>, Condvar)>,
}

struct Lane {
    gradients: Buffer,
    /// Shards of this lane that are done.
    done: usize,
}

impl Lanes {
    /// Lanes of these arrays, where the shards before `first` are done.
    pub(super) fn new(arrays: Vec<Buffer>, first: usize) -> Self {
        let count = arrays.len();
        let lane = |(i, gradients)| (Mutex::new(Lane { gradients, done: (first + count - 1 - i) / count }), Condvar::new());
        Self { lanes: arrays.into_iter().enumerate().map(lane).collect() }
    }

    /// Calls `work` with the array of a shard's lane, when all earlier shards of the lane are done, and with whether it is
    /// the lane's first.
    pub(super) fn add(&self, shard: usize, work: impl FnOnce(&mut [f32], bool)) {
        let (lane, changed) = &self.lanes[shard % self.lanes.len()];
        let turn = shard / self.lanes.len();
        // A lane is poisoned only if a thread panicked, and that panic is on its way to the caller already.
        let Ok(lane) = lane.lock() else { return };
        let Ok(mut lane) = changed.wait_while(lane, |lane| lane.done != turn) else { return };
        work(&mut lane.gradients, turn == 0);
        lane.done += 1;
        drop(lane);
        changed.notify_all();
    }

    /// The gradients of each lane, once every shard has added its own.
    pub(super) fn into_arrays(self) -> Vec<Buffer> {
        self.lanes.into_iter().map(|(lane, _)| lane.into_inner().unwrap_or_else(PoisonError::into_inner).gradients).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_follow_the_batch_and_the_model() {
        assert_eq!((count(1, 1000), count(3, 1000), count(4, 1000), count(100, 1000)), (1, 3, 4, 8));
        assert_eq!((count(100, 124_000_000), count(100, 2_000_000_000), count(0, 0)), (4, 2, 1));
    }

    #[test]
    fn shards_of_a_lane_come_in_their_order_whoever_asks_first() {
        for first in [0, 3, 7] {
            let lanes = Lanes::new((0..3).map(|_| Buffer::zeros(1)).collect(), first);
            let order = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for shard in (first..first + 9).rev() {
                    let (lanes, order) = (&lanes, &order);
                    scope.spawn(move || {
                        lanes.add(shard, |gradients, begins| {
                            assert_eq!(begins, shard < 3);
                            gradients[0] = 10.0 * gradients[0] + (shard / 3) as f32;
                            order.lock().unwrap().push(shard);
                        });
                    });
                }
            });
            let order = order.into_inner().unwrap();
            for lane in 0..3 {
                let shards: Vec<usize> = order.iter().copied().filter(|shard| shard % 3 == lane).collect();
                assert!(shards.is_sorted() && shards.len() == 3, "{shards:?}");
            }
            assert_eq!(lanes.into_arrays().len(), 3);
        }
    }
}
