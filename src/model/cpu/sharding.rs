//! How a batch is cut into shards, and into how many lanes their gradients are added up: what the order of every sum follows from.

/// Sequences of a shard, for a batch of so many sequences of this length: the batch in 1, 2, 4 or 8 shards of 128 tokens or
/// more, in two of 64 where that is all there is, and never more than 512 tokens (or one sequence) in a shard.
/// A micro-batch is a whole number of shards, but for the batch's last.
pub fn shard_size(batch: usize, length: usize) -> usize {
    let tokens = batch * length;
    let shards = match tokens / 128 {
        0 => 1,
        1..=3 => 2,
        4..=7 => 4,
        _ => 8,
    };
    batch.div_ceil(shards).clamp(1, (512 / length.max(1)).max(1))
}

/// Arrays of gradients for a batch of so many sequences and a model of so many parameters, and so the most threads that it
/// keeps busy.
pub fn lanes(batch: usize, length: usize, parameters: usize) -> usize {
    super::lanes::count(batch.div_ceil(shard_size(batch, length)), parameters)
}

/// Whether shards are added to one array one after another: on one thread, where each would have a lane of its own.
pub(super) fn in_order(batch: usize, length: usize, parameters: usize, threads: usize) -> bool {
    threads == 1 && lanes(batch, length, parameters) == batch.div_ceil(shard_size(batch, length))
}

/// Arrays of gradients that so many threads need for such a batch.
pub(in crate::model) fn arrays(batch: usize, length: usize, parameters: usize, threads: usize) -> usize {
    if in_order(batch, length, parameters, threads) { 1 } else { lanes(batch, length, parameters) }
}
