//! Slots on GPUs: on which GPU each is, which of them the next trial gets, and which GPUs are left out since they fail.
//!
//! A trial computes on one GPU. The first slots are on one GPU each, the next ones on the same GPUs again, so that few trials are
//! spread over all of them. Where GPUs differ, a trial gets one whose memory it fits into, and one that was begun goes on on the
//! kind of GPU that it was begun on, since its checkpoint is of no use on another.
//!
//! A GPU is left out when its driver says that it is lost, or when trials fail on it one after another and on no other: that is
//! the GPU's fault and not theirs.

use std::collections::BTreeSet;

use crate::device::Gpu;

/// Trials in a row that fail on a GPU, and on no other meanwhile, until it is left out.
const IN_A_ROW: usize = 2;

/// A GPU, and how many trials it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSlots {
    /// The GPU.
    pub gpu: Gpu,
    /// Trials at a time.
    pub slots: usize,
    /// Its memory that trials may take, bytes.
    pub memory: u64,
}

/// Slots on these GPUs, each with its memory that trials may take, bytes: `per_device` on each, but never more than trials of
/// `trial_bytes` fit into its memory.
pub fn gpu_slots(gpus: &[(Gpu, u64)], per_device: usize, trial_bytes: u64) -> Vec<GpuSlots> {
    let fit = |memory: u64| usize::try_from(memory / trial_bytes.max(1)).unwrap_or(usize::MAX);
    let one =
        |(gpu, memory): &(Gpu, u64)| GpuSlots { gpu: gpu.clone(), slots: per_device.min(fit(*memory)).max(1), memory: *memory };
    gpus.iter().map(one).collect()
}

/// What a trial needs of a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Memory of the GPU, bytes; 0 where it is not known.
    pub memory: u64,
    /// The name of the GPU that it was begun on.
    pub kind: Option<String>,
}

/// The GPUs of a run. Empty on the processor, where nothing is asked of it.
#[derive(Debug, Default)]
pub(super) struct Devices {
    gpus: Vec<State>,
    /// The GPU of each slot.
    of_slot: Vec<usize>,
    /// Faults so far.
    faults: u64,
    /// Whether every trial can run on every one of them.
    are_alike: bool,
}

#[derive(Debug)]
struct State {
    gpu: Gpu,
    memory: u64,
    /// The trials that failed on it since one ended there otherwise, each with the number of the fault.
    failed: Vec<(usize, u64)>,
    is_out: bool,
}

impl Devices {
    /// The GPUs with these slots, for trials of which the largest needs so much memory, bytes.
    pub(super) fn new(slots: &[GpuSlots], largest: u64) -> Self {
        let state = |one: &GpuSlots| State { gpu: one.gpu.clone(), memory: one.memory, failed: Vec::new(), is_out: false };
        let most = slots.iter().map(|one| one.slots).max().unwrap_or(0);
        let turn = |turn| (0..slots.len()).filter(move |gpu| slots[*gpu].slots > turn);
        let are_alike = slots.iter().all(|one| one.memory >= largest && one.gpu.name == slots[0].gpu.name);
        Self { gpus: slots.iter().map(state).collect(), of_slot: (0..most).flat_map(turn).collect(), faults: 0, are_alike }
    }

    /// How many slots there are on GPUs; `None` on the processor.
    pub(super) fn slots(&self) -> Option<usize> {
        (!self.gpus.is_empty()).then_some(self.of_slot.len())
    }

    fn place(&self, slot: u32) -> Option<usize> {
        self.of_slot.get(slot.checked_sub(1)? as usize).copied()
    }

    /// The GPU of a slot.
    pub(super) fn gpu(&self, slot: u32) -> Option<&Gpu> {
        self.place(slot).map(|gpu| &self.gpus[gpu].gpu)
    }

    /// Whether a slot is on a GPU that was left out.
    pub(super) fn is_out(&self, slot: u32) -> bool {
        self.place(slot).is_some_and(|gpu| self.gpus[gpu].is_out)
    }

    /// Whether all can run everything, so that [`Devices::has_place`] need not be asked of each trial.
    pub(super) fn are_alike(&self) -> bool {
        self.are_alike && self.gpus.iter().any(|gpu| !gpu.is_out)
    }

    /// Whether a trial can run on this GPU, of all that there were at the beginning.
    fn takes(&self, gpu: &State, needs: &Needs) -> bool {
        // Whether one fits that seems to fit nowhere is seen by trying it; where no GPU is of the kind that it was begun on, it may
        // start over on any.
        let fits = gpu.memory >= needs.memory || self.gpus.iter().all(|gpu| gpu.memory < needs.memory);
        let is_kind = |gpu: &State| needs.kind.as_deref().is_none_or(|kind| gpu.gpu.name == kind);
        fits && (is_kind(gpu) || !self.gpus.iter().any(is_kind))
    }

    /// Whether a trial has a GPU left on which it can run.
    pub(super) fn has_place(&self, needs: &Needs) -> bool {
        self.gpus.is_empty() || self.gpus.iter().any(|gpu| !gpu.is_out && self.takes(gpu, needs))
    }

    /// The free slot for a trial: on the GPU with the fewest trials, then on that with the least memory where they differ.
    pub(super) fn free(&self, taken: &BTreeSet<u32>, needs: &Needs) -> Option<u32> {
        let load = |gpu: usize| taken.iter().filter(|slot| self.place(**slot) == Some(gpu)).count();
        let free = (1..).zip(&self.of_slot).filter(|(slot, _)| !taken.contains(slot));
        let free = free.filter(|(_, gpu)| !self.gpus[**gpu].is_out && self.takes(&self.gpus[**gpu], needs));
        let rank = |(slot, gpu): &(u32, &usize)| (load(**gpu), if self.are_alike { 0 } else { self.gpus[**gpu].memory }, *slot);
        free.min_by_key(rank).map(|(slot, _)| slot)
    }

    /// A trial in this slot ended otherwise than by a fault of the device.
    pub(super) fn went_well(&mut self, slot: u32) {
        if let Some(gpu) = self.place(slot) {
            self.gpus[gpu].failed.clear();
        }
    }

    /// The device failed under the trial number `trial` in this slot; `is_lost` says whether the driver has lost it. The GPU where that
    /// leaves it out.
    pub(super) fn failed(&mut self, slot: u32, trial: usize, is_lost: bool) -> Option<Gpu> {
        let place = self.place(slot)?;
        self.faults += 1;
        self.gpus[place].failed.push((trial, self.faults));
        let newest = |gpu: &State| gpu.failed.last().map_or(0, |(_, number)| *number);
        let elsewhere = (0..self.gpus.len()).filter(|other| *other != place).map(|other| newest(&self.gpus[other])).max();
        let gpu = &mut self.gpus[place];
        let since = gpu.failed.iter().filter(|(_, number)| *number > elsewhere.unwrap_or(0));
        let trials: BTreeSet<usize> = since.map(|(trial, _)| *trial).collect();
        let goes_out = !gpu.is_out && (is_lost || trials.len() >= IN_A_ROW);
        gpu.is_out |= goes_out;
        goes_out.then(|| gpu.gpu.clone())
    }

    /// GPUs that are not left out.
    pub(super) fn left(&self) -> usize {
        self.gpus.iter().filter(|gpu| !gpu.is_out).count()
    }
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
