//! The CPU engine: both families' training step by hand, forward and backward, over buffers that live from step to step.
//!
//! # How a step goes
//!
//! The sequences of a batch are cut into *shards* of a few whole sequences ([`shard_size`]). One thread takes a shard
//! through the whole model and back: nothing waits for another thread between two operations. Then the gradients of the
//! parameters are taken, a piece of a parameter a job, each over all shards. So a step joins its threads twice, and there
//! is one array of gradients however many threads there are.
//!
//! # What is promised
//!
//! On one kind of processor, the same parameters, tokens and seed give the same bits: whatever the number of threads, and
//! whatever the micro-batches, as long as each begins where a shard begins. Shards depend on the batch's number of
//! sequences and their length only, each product on its own shape only, and all sums go through the shards in their order.
//! Scoring takes one sequence at a time, so a sequence's losses do not depend on what else is scored.
//! Not promised: the same bits on another kind of processor, where vectors and cache sizes differ, or from the plain path.

mod activation;
mod attention;
mod block;
mod buffer;
mod layout;
mod loss;
mod matrix;
mod norm;
mod pool;
mod rotary;
mod vector;
mod weights;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pulp::Arch;

use self::block::{Model, Scratch, Shard, Tokens, Training};
use self::buffer::Buffer;
use self::layout::{Layout, Linear, Way};
pub use self::pool::Pool;
pub(crate) use self::vector::vectorized;
use self::weights::Job;
use super::Config;
use crate::error::{Error, Result};
use crate::experiment::settings::Family;

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

/// A part of a batch that goes through the model at once.
#[derive(Debug, Clone, Copy)]
pub struct MicroBatch<'a> {
    /// Input tokens, sequence by sequence.
    pub inputs: &'a [u32],
    /// The token that follows each.
    pub targets: &'a [u32],
    /// Tokens of a sequence.
    pub length: usize,
    /// Sequences of the whole batch.
    pub batch: usize,
    /// Index of its first sequence in the batch; 0 begins new gradients.
    pub first: usize,
    /// The optimizer step, which dropout depends on.
    pub step: u64,
    /// What the NLL sum is multiplied by before its gradient is taken: 1 / targets of the whole batch for a mean.
    pub scale: f32,
}

/// A model's parameters and gradients in one array each, and the threads and buffers that train it.
pub struct Engine {
    config: Config,
    layout: Layout,
    jobs: Vec<Job>,
    /// Indices of the jobs, the longest first.
    order: Vec<usize>,
    values: Buffer,
    gradients: Buffer,
    /// The weights as products read them.
    copies: Buffer,
    /// Whether `values` changed since the copies were made.
    stale: bool,
    angles: Vec<f32>,
    longest: usize,
    seed: u64,
    arch: Arch,
    /// Columns of a panel.
    panel: usize,
    pool: Pool,
    shards: Vec<RwLock<Shard>>,
    scratch: Vec<Mutex<(Scratch, Shard)>>,
}

impl Engine {
    /// An engine on so many threads, for sequences of at most `longest` tokens; `seed` is what dropout's streams start from.
    /// All parameters are 0 until they are written to [`Engine::values_mut`].
    pub fn new(config: &Config, seed: u64, threads: usize, longest: usize) -> Result<Self> {
        let arch = Arch::new();
        let panel = matrix::panel(arch);
        let layout = Layout::new(config, panel)?;
        let jobs = weights::jobs(&layout, config.tied, config.width);
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(jobs[i].cost));
        if config.family == Family::Gpt2 && longest > config.context {
            let (context, help) = (config.context, "train with a shorter `train.sequence_length`");
            return Err(Error::usage(format!("the model has {context} positions, fewer than the {longest} asked for")).help(help));
        }
        let angles = match config.family {
            Family::Gpt2 => Vec::new(),
            Family::Llama => rotary::table(longest, config.head(), config.rope_theta),
        };
        Ok(Self {
            values: Buffer::zeros(layout.len),
            gradients: Buffer::zeros(layout.len),
            copies: Buffer::zeros(layout.copies),
            stale: true,
            angles,
            longest,
            seed,
            arch,
            panel,
            pool: Pool::new(threads)?,
            shards: Vec::new(),
            scratch: (0..threads).map(|_| Mutex::default()).collect(),
            config: config.clone(),
            layout,
            jobs,
            order,
        })
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.count()
    }

    /// The place of each parameter in [`Engine::values`] and [`Engine::gradients`], in the order of [`Config::parameters`].
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.layout.ranges
    }

    /// All parameters, one after another.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All parameters, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.stale = true;
        &mut self.values
    }

    /// The gradients of all parameters, as of the last [`Engine::train`].
    pub fn gradients(&self) -> &[f32] {
        &self.gradients
    }

    /// The threads, the parameters to be changed and their gradients, for an optimizer.
    pub fn for_update(&mut self) -> (&Pool, &mut [f32], &[f32]) {
        self.stale = true;
        (&self.pool, &mut self.values, &self.gradients)
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Trains on a micro-batch: adds the gradient of its NLL sum times `scale` to the gradients (which start from 0 where
    /// the micro-batch is the batch's first), and the NLL sum of each sequence, in order, to `nll`.
    pub fn train(&mut self, micro: MicroBatch<'_>, nll: &mut f64) -> Result<()> {
        let MicroBatch { inputs, targets, length, batch, first, step, scale } = micro;
        self.check(inputs, targets, length)?;
        let size = shard_size(batch, length);
        let sequences = inputs.len() / length;
        let last = first + sequences == batch;
        if !first.is_multiple_of(size) || first + sequences > batch || !(last || sequences.is_multiple_of(size)) {
            return Err(Error::internal(format!("sequences {first} to {} of {batch} are not whole shards", first + sequences)));
        }
        self.renew_copies();
        let count = sequences.div_ceil(size);
        if self.shards.len() < count {
            self.shards.resize_with(count, RwLock::default);
        }
        let model = Model {
            config: &self.config,
            layout: &self.layout,
            values: &self.values,
            copies: &self.copies,
            angles: &self.angles,
            arch: self.arch,
        };
        let tokens = |shard: usize| {
            let place = shard * size * length..((shard + 1) * size * length).min(inputs.len());
            Tokens { inputs: &inputs[place.clone()], targets: &targets[place], length }
        };
        let (shards, scratch, arch, seed) = (&self.shards, &self.scratch, self.arch, self.seed);
        self.pool.run(count, |i, thread| {
            let training = Training { seed, step, first: first + i * size, scale };
            model.train(&mut write(&shards[i]), &mut lock(&scratch[thread]).0, tokens(i), training);
        });

        let pieces = split(&mut self.gradients, self.jobs.iter().map(|job| job.range.clone()));
        let (jobs, order, layout) = (&self.jobs, &self.order, &self.layout);
        self.pool.run(jobs.len(), |i, thread| {
            let (job, mut gradient) = (&jobs[order[i]], lock(&pieces[order[i]]));
            for (place, shard) in shards[..count].iter().enumerate() {
                let space = &mut lock(&scratch[thread]).0.space;
                job.add(arch, &mut gradient, layout, &read(shard), tokens(place), first + place == 0, space);
            }
        });
        for shard in &self.shards[..count] {
            read(shard).nll.iter().for_each(|sum| *nll += sum);
        }
        Ok(())
    }

    /// The NLL of each target in nats, without dropout, one sequence of `length` tokens after another.
    pub fn nll(&mut self, inputs: &[u32], targets: &[u32], length: usize, into: &mut [f32]) -> Result<()> {
        self.check(inputs, targets, length)?;
        if into.len() != inputs.len() {
            return Err(Error::internal(format!("{} losses asked for of {} targets", into.len(), inputs.len())));
        }
        self.renew_copies();
        let model = Model {
            config: &self.config,
            layout: &self.layout,
            values: &self.values,
            copies: &self.copies,
            angles: &self.angles,
            arch: self.arch,
        };
        let scratch = &self.scratch;
        let into: Vec<_> = into.chunks_exact_mut(length).map(Mutex::new).collect();
        self.pool.run(into.len(), |i, thread| {
            let place = i * length..(i + 1) * length;
            let tokens = Tokens { inputs: &inputs[place.clone()], targets: &targets[place], length };
            let (scratch, shard) = &mut *lock(&scratch[thread]);
            model.score(shard, scratch, tokens, &mut lock(&into[i]));
        });
        Ok(())
    }

    /// Refuses what would read beyond a table: these are mistakes of the caller, found before any work.
    fn check(&self, inputs: &[u32], targets: &[u32], length: usize) -> Result<()> {
        if length == 0 || length > self.longest || !inputs.len().is_multiple_of(length) || inputs.len() != targets.len() {
            let (inputs, targets, longest) = (inputs.len(), targets.len(), self.longest);
            let sizes = format!("{inputs} inputs and {targets} targets in sequences of {length} (at most {longest})");
            return Err(Error::internal(format!("the engine cannot take {sizes}")));
        }
        let vocabulary = self.config.vocabulary;
        match inputs.iter().chain(targets).find(|&&token| token as usize >= vocabulary) {
            Some(token) => Err(Error::data(format!("token {token} is outside the vocabulary of {vocabulary}"))),
            None => Ok(()),
        }
    }

    /// Makes the weights' copies again if the parameters changed.
    fn renew_copies(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let mut jobs: Vec<(&Linear, bool, Range<usize>)> = Vec::new();
        for linear in self.layout.linears() {
            jobs.push((linear, true, linear.forward.clone()));
            jobs.push((linear, false, linear.backward.clone()));
        }
        jobs.sort_by_key(|(.., range)| range.start);
        let pieces = split(&mut self.copies, jobs.iter().map(|(.., range)| range.clone()));
        let (values, panel) = (&self.values, self.panel);
        self.pool.run(jobs.len(), |i, _| {
            let ((linear, forward, _), mut copy) = (&jobs[i], lock(&pieces[i]));
            let (inputs, outputs) = (linear.inputs, linear.outputs);
            for part in &linear.parts {
                let weight = &values[part.weight.clone()];
                match (linear.way, forward) {
                    (Way::InOut, true) => matrix::pack(&mut copy, panel, inputs, 0, weight, outputs),
                    (Way::InOut, false) => matrix::pack_transposed(&mut copy, panel, outputs, 0, weight),
                    (Way::OutIn, true) => matrix::pack_transposed(&mut copy, panel, inputs, part.first, weight),
                    (Way::OutIn, false) => matrix::pack(&mut copy, panel, outputs, part.first, weight, inputs),
                }
            }
        });
    }
}

/// Cuts an array into pieces that follow each other without a gap, each behind a lock of its own.
fn split(array: &mut [f32], ranges: impl Iterator<Item = Range<usize>>) -> Vec<Mutex<&mut [f32]>> {
    let mut rest = array;
    ranges
        .map(|range| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(range.len());
            rest = after;
            Mutex::new(piece)
        })
        .collect()
}

// A lock is poisoned only if a thread panicked, and that panic is on its way to the caller already.

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
