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

    /// What either takes at most.
    pub(super) fn largest(self, other: Self) -> Self {
        Self { host: self.host.max(other.host), device: self.device.max(other.device) }
    }
}
