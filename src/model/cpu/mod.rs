//! The CPU engine: both families' training step by hand, forward and backward, over buffers that live from step to step.
//!
//! # How a step goes
//!
//! The sequences of a batch are cut into *shards* of a few whole sequences ([`shard_size`]). One thread takes a shard
//! through the whole model and back: nothing waits for another thread between two operations, and a layer's weights get
//! their gradient while both operands are in the cache. Shards add their gradients to a few *lanes*, arrays that are added
//! up when the batch is done; one thread alone adds shard after shard to one array, which is the same sum. Buffers of
//! activations belong to threads, so their number is that of threads and not of shards.
//! Every activation lies in panels of 16 columns, and so do copies of the weights: as products read them, and write them.
//!
//! # Words
//!
//! * A **shard** is a few whole sequences of a batch that go through the model together on one thread.
//! * A **lane** is an array of gradients to which some of the shards add theirs, one after another in their order. (The numbers that
//!   a vector of the processor has are its *width* here.)
//! * A **panel** is 16 neighbouring columns of a matrix, row after row: a matrix lies panel after panel.
//! * A **tile** is what a product computes at once in registers: a few rows by a panel or two.
//! * An **epilogue** is what a product does to its sums before it writes them: adds a base or a bias, multiplies by a slope.
//! * A **piece** is a part of a parameter's gradient that a shard makes in several steps; the weights of blocks are one product each.
//! * A **micro-batch** is as many whole shards as go through the model between two looks at the clock.
//!
//! # What is promised
//!
//! On one kind of processor, the same parameters, tokens and seed give the same bits: whatever the number of threads, and
//! whatever the micro-batches, as long as each begins where a shard begins. Shards depend on the batch's number of
//! sequences and their length only, lanes on that and the model's size, each product on its own shape, and all sums go
//! through the shards and then the lanes in their order.
//! Scoring takes several sequences at a time; no number of one depends on another, so neither do a sequence's losses.
//! Not promised: the same bits on another kind of processor, where vectors and cache sizes differ, or from the plain path.

mod activation;
mod attention;
mod backward;
mod buffer;
mod copies;
mod forward;
mod heads;
mod lanes;
mod layout;
mod loss;
mod matrix;
mod norm;
/// Each operation of a step alone. It is the benchmarks' and lies with them; here because it reads what only this module sees.
#[cfg(feature = "benchmarks")]
#[path = "../../../tests/benches/inside/operations.rs"]
pub mod operations;
mod packing;
mod panels;
mod pool;
mod prefetch;
mod processor;
pub(super) mod rotary;
mod scores;
mod shard;
mod sharding;
mod square;
mod tiles;
mod vector;

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pulp::Arch;

pub(crate) use self::buffer::Buffer;
use self::forward::Model;
use self::lanes::Lanes;
use self::layout::Layout;
pub use self::pool::Pool;
pub use self::processor::processor;
use self::shard::{Gradient, Scratch, Shard, Training};
pub(super) use self::shard::{exponentials, head_rows};
pub(super) use self::sharding::arrays;
use self::sharding::in_order;
pub use self::sharding::{lanes, shard_size};
pub(crate) use self::vector::vectorized;
use super::{Config, Sequences};
use crate::error::{Error, Result};
use crate::experiment::settings::Family;
use crate::pulse;

/// Tokens that a thread scores at once, where sequences are not longer: enough for the weights to be read seldom, and whole
/// tiles of products.
const SCORED_AT_ONCE: usize = 384;

/// Values of the gradients that a thread adds up at a time.
const PIECE: usize = 16_384;

/// A part of a batch that goes through the model at once.
#[derive(Debug, Clone, Copy)]
pub struct MicroBatch<'a> {
    /// Its sequences.
    pub sequences: Sequences<'a>,
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
    values: Buffer,
    /// The lanes' gradients; the first are those of the batch when it is done.
    gradients: Vec<Buffer>,
    /// What a shard's gradient is in pieces, where one thread adds shard after shard to one array.
    aside: Buffer,
    /// The weights as products read them.
    copies: Buffer,
    /// Whether `values` changed since the copies were made.
    stale: bool,
    angles: Vec<f32>,
    longest: usize,
    seed: u64,
    arch: Arch,
    pool: Pool,
    scratch: Vec<Mutex<(Scratch, Shard)>>,
}

impl Engine {
    /// An engine on so many threads, for sequences of at most `longest` tokens; `seed` is what dropout's streams start from.
    /// All parameters are 0 until they are written to [`Engine::values_mut`].
    pub fn new(config: &Config, seed: u64, threads: usize, longest: usize) -> Result<Self> {
        let arch = Arch::new();
        let layout = Layout::new(config)?;
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
            gradients: vec![Buffer::zeros(layout.len)],
            aside: Buffer::default(),
            copies: Buffer::zeros(layout.copies),
            stale: true,
            angles,
            longest,
            seed,
            arch,
            pool: Pool::new(threads)?,
            scratch: (0..threads).map(|_| Mutex::default()).collect(),
            config: config.clone(),
            layout,
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

    /// The gradients of all parameters, once a batch's last micro-batch has gone through [`Engine::train`].
    pub fn gradients(&self) -> &[f32] {
        &self.gradients[0]
    }

    /// The threads, the parameters to be changed and their gradients, for an optimizer.
    pub fn for_update(&mut self) -> (&Pool, &mut [f32], &[f32]) {
        self.stale = true;
        (&self.pool, &mut self.values, &self.gradients[0])
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Trains on a micro-batch: adds the gradient of its NLL sum times `scale` to the gradients (which start from 0 where
    /// the micro-batch is the batch's first), and the NLL sum of each sequence, in order, to `nll`.
    ///
    /// `stop` is heeded after each shard. False where it said so: then gradients and sum are of no use.
    pub fn train(&mut self, micro: MicroBatch<'_>, nll: &mut f64, stop: &AtomicBool) -> Result<bool> {
        let MicroBatch { sequences: all, batch, first, step, scale } = micro;
        self.check(all)?;
        let Sequences { inputs, targets, length } = all;
        let size = shard_size(batch, length);
        let sequences = all.count();
        let last = first + sequences == batch;
        if !first.is_multiple_of(size) || first + sequences > batch || !(last || sequences.is_multiple_of(size)) {
            return Err(Error::internal(format!("sequences {first} to {} of {batch} are not whole shards", first + sequences)));
        }
        self.renew_copies();
        if in_order(batch, length, self.layout.len, self.pool.count()) {
            self.train_in_order(micro, size, nll, stop);
            return Ok(!pulse::is_asked(stop));
        }
        let lanes = lanes(batch, length, self.layout.len);
        let mut arrays = std::mem::take(&mut self.gradients);
        arrays.resize_with(lanes, || Buffer::zeros(self.layout.len));
        let lanes = Lanes::new(arrays, first / size);
        let mut sums = vec![0.0; sequences];
        let (model, scratch, seed) = (self.model(), &self.scratch, self.seed);
        let shards: Vec<_> = sums.chunks_mut(size).map(Mutex::new).collect();
        self.pool.run(shards.len(), |i, thread| {
            let place = i * size * length..((i + 1) * size * length).min(inputs.len());
            let tokens = Sequences { inputs: &inputs[place.clone()], targets: &targets[place], length };
            let training = Training { seed, step, first: first + i * size, scale };
            let (scratch, shard) = &mut *lock(&scratch[thread]);
            lanes.add(first / size + i, |all, begin| {
                if pulse::is_asked(stop) {
                    return;
                }
                let gradient = &mut Gradient { all, begin, aside: None };
                model.train(shard, scratch, tokens, training, gradient, &mut lock(&shards[i]));
                pulse::beat();
            });
        });
        self.gradients = lanes.into_arrays();
        if pulse::is_asked(stop) {
            return Ok(false);
        }
        if last {
            self.add_lanes();
        }
        sums.iter().for_each(|sum| *nll += sum);
        Ok(true)
    }

    /// One thread, and a lane for each shard: it adds each shard to the sum of those before, which is the same as adding up the
    /// lanes in the end.
    fn train_in_order(&mut self, micro: MicroBatch<'_>, size: usize, nll: &mut f64, stop: &AtomicBool) {
        let MicroBatch { sequences: Sequences { inputs, targets, length }, first, step, scale, .. } = micro;
        self.gradients.truncate(1);
        self.aside.set_len(self.layout.len);
        let (mut sums, mut aside) = (std::mem::take(&mut self.gradients[0]), std::mem::take(&mut self.aside));
        let (model, arch) = (self.model(), self.arch);
        let (scratch, shard) = &mut *lock(&self.scratch[0]);
        for (i, (inputs, targets)) in inputs.chunks(size * length).zip(targets.chunks(size * length)).enumerate() {
            if pulse::is_asked(stop) {
                break;
            }
            let first = first + i * size;
            let tokens = Sequences { inputs, targets, length };
            let training = Training { seed: self.seed, step, first, scale };
            let mut of_sequences = vec![0.0; inputs.len() / length];
            let begin = first == 0;
            let gradient = &mut Gradient { all: &mut sums, begin, aside: (!begin).then_some(&mut aside) };
            model.train(shard, scratch, tokens, training, gradient, &mut of_sequences);
            if !begin {
                self.layout.in_pieces().for_each(|range| {
                    let (sums, aside) = (&mut sums[range.clone()], &aside[range]);
                    vectorized(
                        arch,
                        #[inline(always)]
                        || vector::add(sums, aside),
                    );
                });
            }
            of_sequences.iter().for_each(|sum| *nll += sum);
            pulse::beat();
        }
        (self.gradients[0], self.aside) = (sums, aside);
    }

    /// Adds the other lanes' gradients to the first's.
    fn add_lanes(&mut self) {
        let Some((first, others)) = self.gradients.split_first_mut() else { return };
        if others.is_empty() {
            return;
        }
        let (arch, pieces): (_, Vec<_>) = (self.arch, first.chunks_mut(PIECE).map(Mutex::new).collect());
        self.pool.run(pieces.len(), |i, _| {
            let mut piece = lock(&pieces[i]);
            for other in &*others {
                let other = &other[i * PIECE..][..piece.len()];
                vectorized(
                    arch,
                    #[inline(always)]
                    || vector::add(&mut piece, other),
                );
            }
        });
    }

    /// The NLL of each target in nats, without dropout, one sequence after another.
    ///
    /// `stop` is heeded after every few sequences. False where it said so: then the losses are of no use.
    pub fn nll(&mut self, sequences: Sequences<'_>, into: &mut [f32], stop: &AtomicBool) -> Result<bool> {
        self.check(sequences)?;
        let Sequences { inputs, targets, length } = sequences;
        if into.len() != inputs.len() {
            return Err(Error::internal(format!("{} losses asked for of {} targets", into.len(), inputs.len())));
        }
        self.renew_copies();
        let model = self.model();
        let scratch = &self.scratch;
        let tokens = (SCORED_AT_ONCE / length).max(1) * length;
        let into: Vec<_> = into.chunks_mut(tokens).map(Mutex::new).collect();
        self.pool.run(into.len(), |i, thread| {
            if pulse::is_asked(stop) {
                return;
            }
            let place = i * tokens..((i + 1) * tokens).min(inputs.len());
            let tokens = Sequences { inputs: &inputs[place.clone()], targets: &targets[place], length };
            let (scratch, shard) = &mut *lock(&scratch[thread]);
            model.score(shard, scratch, tokens, &mut lock(&into[i]));
            pulse::beat();
        });
        Ok(!pulse::is_asked(stop))
    }

    /// What all shards read.
    fn model(&self) -> Model<'_> {
        Model {
            config: &self.config,
            layout: &self.layout,
            values: &self.values,
            copies: &self.copies,
            angles: &self.angles,
            arch: self.arch,
        }
    }

    /// Refuses what would read beyond a table: these are mistakes of the caller, found before any work.
    fn check(&self, Sequences { inputs, targets, length }: Sequences<'_>) -> Result<()> {
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
}

/// A lock is poisoned only if a thread panicked, and that panic is on its way to the caller already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
