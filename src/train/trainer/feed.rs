//! The tokens of each step.

use crate::corpus::{Batches, TokenFile, Windows};
use crate::error::Result;
use crate::model::Sequences;
use crate::train::{Folders, Job};

/// Gathers the windows of one step after the other.
pub(super) struct Feed {
    tokens: TokenFile,
    windows: Windows,
    batches: Batches,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    window: Vec<u32>,
}

impl Feed {
    /// Maps the text that a job trains on.
    pub(super) fn open(job: &Job, folders: Folders<'_>) -> Result<Self> {
        let train = &job.settings.train;
        let tokens = TokenFile::open(&folders.experiment.join(&job.corpus.train.file))?;
        let windows = Windows { tokens: tokens.len(), length: train.sequence_length, stride: train.stride() };
        let batches = Batches::new(windows.count(), train.batch_size, train.shuffle, job.seed);
        let window = vec![0; train.sequence_length + 1];
        Ok(Self { tokens, windows, batches, inputs: Vec::new(), targets: Vec::new(), window })
    }

    /// The windows of a step, counted from 0, and the epoch that it belongs to.
    pub(super) fn read(&mut self, step: u64) -> (u64, Sequences<'_>) {
        let batch = self.batches.batch(step);
        let length = self.windows.length;
        self.inputs.clear();
        self.targets.clear();
        // A large step is gathered whole: exactly, where a vector that grows takes up to twice as much.
        self.inputs.reserve_exact(batch.windows.len() * length);
        self.targets.reserve_exact(batch.windows.len() * length);
        for &window in &batch.windows {
            self.tokens.read(self.windows.start(window), &mut self.window);
            self.inputs.extend_from_slice(&self.window[..length]);
            self.targets.extend_from_slice(&self.window[1..]);
        }
        (batch.epoch, Sequences { inputs: &self.inputs, targets: &self.targets, length })
    }
}
