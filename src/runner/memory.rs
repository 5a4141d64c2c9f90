//! What a trial takes of memory.

use crate::device::Device;
use crate::plan::Trial;

/// Memory of a trial, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine: by it, it is decided how many trials run at a time.
    pub host: u64,
    /// Of a GPU.
    pub device: Option<u64>,
}

impl Memory {
    /// What the plan expects of a trial.
    pub(super) fn planned(trial: &Trial, on: Device) -> Self {
        let planned = trial.facts.memory_bytes;
        if on.is_cpu() { Self { host: planned, device: None } } else { Self { host: 0, device: Some(planned) } }
    }

    /// What the plan expects of the largest of these trials.
    pub fn largest_planned<'a>(trials: impl IntoIterator<Item = &'a Trial>, on: Device) -> Self {
        trials.into_iter().fold(Self::default(), |largest, trial| largest.largest(Self::planned(trial, on)))
    }

    /// The same, with what is expected of a GPU where nobody has counted that.
    pub(super) fn or_on_gpu(self, expected: Self) -> Self {
        Self { device: self.device.or(expected.device), ..self }
    }

    /// What either takes at most.
    pub(super) fn largest(self, other: Self) -> Self {
        Self { host: self.host.max(other.host), device: self.device.max(other.device) }
    }
}
