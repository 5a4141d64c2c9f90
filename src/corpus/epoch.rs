//! An epoch: how its windows are cut into steps.

use crate::experiment::settings::BatchSize;

/// The windows of one epoch and how many go into a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Windows of the training part.
    pub windows: u64,
    /// Windows that a full step takes, at least 1; there may be fewer.
    pub batch: u64,
}

impl Epoch {
    /// An epoch of so many windows.
    pub fn new(windows: u64, batch_size: BatchSize) -> Self {
        let batch = match batch_size {
            BatchSize::Windows(n) => n as u64,
            BatchSize::Full => windows,
        };
        Self { windows, batch: batch.max(1) }
    }

    /// Its steps, the partial one included.
    pub fn steps(&self) -> u64 {
        self.windows.div_ceil(self.batch)
    }

    /// Windows of a full step; of the only step where there are fewer windows than that.
    pub fn full_batch(&self) -> u64 {
        self.batch.min(self.windows)
    }

    /// Windows of the last step where it is smaller than the others, else 0. One step that takes all windows is not partial,
    /// unless more were asked for.
    pub fn partial(&self) -> u64 {
        self.windows % self.batch
    }
}
