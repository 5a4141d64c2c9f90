//! Slots on GPUs: on which GPU each is, which of them the next trial gets, and which GPUs are left out since they fail.
//!
//! A trial computes on one GPU. The first slots are on one GPU each, the next ones on the same GPUs again, so that few trials are
//! spread over all of them. Where GPUs differ, a trial gets one whose memory it fits into, and one that was begun goes on on the
//! kind of GPU that it was begun on, since its checkpoint is of no use on another.
//!
//! A GPU is left out when its driver says that it is lost, or when trials fail on it one after another, by its fault as it seems.
//! What speaks for the GPU: that every other one fails meanwhile; that trials of the same shape failed on another GPU too, and none of
//! that shape has ever ended well. The last GPU is left out by one shape only where no other waits for it or ended well: what is wrong
//! with one shape stops no other.
//!
//! A trial that failed on a GPU is tried on another one, as long as there is one that has not failed under it and the first has ended
//! no trial well since: one GPU that is broken would else use up every try of a trial that comes back to it.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::device::Gpu;

/// Trials in a row that fail on a GPU until it is left out.
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
    /// Slots in which a worker is that cannot be killed.
    stuck: BTreeSet<u32>,
    /// Faults so far.
    faults: u64,
    /// The GPUs on which trials of a shape have failed.
    failed_on: HashMap<usize, BTreeSet<usize>>,
    /// Shapes of which a trial ended otherwise than by a fault of its GPU.
    ended_well: HashSet<usize>,
    /// Shapes of which a trial was completed in an earlier run.
    completed_before: HashSet<usize>,
    /// Whether every trial can run on every one of them.
    are_alike: bool,
}

#[derive(Debug)]
struct State {
    gpu: Gpu,
    memory: u64,
    /// What failed on it since a trial ended there otherwise, each with its place among all faults, from 1.
    failed: Vec<(u64, Fault)>,
    is_out: bool,
}

/// A trial's failure by a fault of its GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// The number of the trial.
    pub(super) trial: usize,
    /// The number of its shape.
    pub(super) shape: usize,
    /// Whether the driver has lost the GPU.
    pub(super) is_lost: bool,
}

impl Devices {
    /// The GPUs with these slots, for trials of which the largest needs so much memory, bytes.
    pub(super) fn new(slots: &[GpuSlots], largest: u64) -> Self {
        let state = |one: &GpuSlots| State { gpu: one.gpu.clone(), memory: one.memory, failed: Vec::new(), is_out: false };
        let most = slots.iter().map(|one| one.slots).max().unwrap_or(0);
        let turn = |turn| (0..slots.len()).filter(move |gpu| slots[*gpu].slots > turn);
        let are_alike = slots.iter().all(|one| one.memory >= largest && one.gpu.name == slots[0].gpu.name);
        let of_slot = (0..most).flat_map(turn).collect();
        Self { gpus: slots.iter().map(state).collect(), of_slot, are_alike, ..Self::default() }
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

    /// A worker that cannot be killed is in this slot, or is there no more.
    pub(super) fn set_stuck(&mut self, slot: u32, is_stuck: bool) {
        let _was = if is_stuck { self.stuck.insert(slot) } else { self.stuck.remove(&slot) };
    }

    /// The GPUs that are used: not left out, and with a slot that is free or will be.
    fn used(&self) -> impl Iterator<Item = usize> {
        let has_slot = |gpu| (1..).zip(&self.of_slot).any(|(slot, of)| *of == gpu && !self.stuck.contains(&slot));
        (0..self.gpus.len()).filter(move |gpu| !self.gpus[*gpu].is_out && has_slot(*gpu))
    }

    /// Whether all can run everything, so that [`Devices::has_place`] need not be asked of each trial.
    pub(super) fn are_alike(&self) -> bool {
        self.are_alike && self.used().next().is_some()
    }

    /// Whether a slot that is free is not free for every trial: [`Devices::free`] is to be asked of this one.
    pub(super) fn differ_for(&self, trial: usize) -> bool {
        !self.are_alike() || self.gpus.iter().any(|gpu| gpu.failed_under(trial))
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
        self.gpus.is_empty() || self.used().any(|gpu| self.takes(&self.gpus[gpu], needs))
    }

    /// The free slot for a trial, or for any: on the GPU with the fewest trials, then on that with the least memory where they differ.
    pub(super) fn free(&self, taken: &BTreeSet<u32>, trial: Option<(usize, &Needs)>) -> Option<u32> {
        let fits = |gpu: &usize| trial.is_none_or(|(_, needs)| self.takes(&self.gpus[*gpu], needs));
        let fitting: BTreeSet<usize> = self.used().filter(fits).collect();
        let failed_under = |gpu: usize| trial.is_some_and(|(trial, _)| self.gpus[gpu].failed_under(trial));
        let has_another = fitting.iter().any(|gpu| !failed_under(*gpu));
        let load = |gpu: usize| taken.iter().filter(|slot| self.place(**slot) == Some(gpu)).count();
        let free = (1..).zip(&self.of_slot).filter(|(slot, _)| !taken.contains(slot));
        let free = free.filter(|(_, gpu)| fitting.contains(gpu) && !(has_another && failed_under(**gpu)));
        let rank = |(slot, gpu): &(u32, &usize)| (load(**gpu), if self.are_alike { 0 } else { self.gpus[**gpu].memory }, *slot);
        free.min_by_key(rank).map(|(slot, _)| slot)
    }

    /// The memory of a GPU that has a good deal more than that of this slot, the least such, bytes. Trials are not all alike in what
    /// they can run on from then on.
    pub(super) fn more_memory(&mut self, slot: u32) -> Option<u64> {
        let memory = self.gpus[self.place(slot)?].memory;
        let more = self.used().map(|gpu| self.gpus[gpu].memory).filter(|other| *other > memory + memory / 10).min();
        self.are_alike &= more.is_none();
        more
    }

    /// A trial of this shape in this slot ended otherwise than by a fault of the device.
    pub(super) fn went_well(&mut self, slot: u32, shape: usize) {
        if let Some(gpu) = self.place(slot) {
            self.gpus[gpu].failed.clear();
            self.ended_well.insert(shape);
        }
    }

    /// A trial of this shape was completed in an earlier run.
    pub(super) fn was_completed(&mut self, shape: usize) {
        self.completed_before.insert(shape);
    }

    /// The device failed under a trial in this slot; `others_wait` says whether there are trials of another shape that are not over.
    /// The GPU where that leaves it out.
    pub(super) fn failed(&mut self, slot: u32, fault: Fault, others_wait: bool) -> Option<Gpu> {
        let place = self.place(slot)?;
        self.faults += 1;
        self.gpus[place].failed.push((self.faults, fault));
        self.failed_on.entry(fault.shape).or_default().insert(place);
        let goes_out = !self.gpus[place].is_out && (fault.is_lost || self.is_blamed(place, others_wait));
        let gpu = &mut self.gpus[place];
        gpu.is_out |= goes_out;
        goes_out.then(|| gpu.gpu.clone())
    }

    /// Whether what failed on a GPU is its fault.
    fn is_blamed(&self, place: usize, others_wait: bool) -> bool {
        let newest = |gpu: usize| self.gpus[gpu].failed.last().map_or(0, |(number, _)| *number);
        // Since when every other one fails too; where there is none, nothing is known of that.
        let elsewhere = self.used().filter(|other| *other != place).map(newest).min();
        let works = |shape: &usize| self.ended_well.contains(shape) || self.completed_before.contains(shape);
        let fails_here_alone = |shape: &usize| works(shape) || self.failed_on.get(shape).is_none_or(|gpus| gpus.len() == 1);
        let faults = self.gpus[place].failed.iter().filter(|(number, _)| *number > elsewhere.unwrap_or(0));
        let faults: Vec<Fault> = faults.map(|(_, fault)| *fault).filter(|fault| fails_here_alone(&fault.shape)).collect();
        let trials: BTreeSet<usize> = faults.iter().map(|fault| fault.trial).collect();
        let shapes: BTreeSet<usize> = faults.iter().map(|fault| fault.shape).collect();
        let others_work = || self.ended_well.iter().any(|shape| !shapes.contains(shape));
        let may_be_the_shape = elsewhere.is_none() && shapes.len() == 1 && (others_wait || others_work());
        trials.len() >= IN_A_ROW && !may_be_the_shape
    }

    /// GPUs that are not left out.
    pub(super) fn left(&self) -> usize {
        self.gpus.iter().filter(|gpu| !gpu.is_out).count()
    }
}

impl State {
    /// Whether it failed under this trial, and has ended none well since.
    fn failed_under(&self, trial: usize) -> bool {
        self.failed.iter().any(|(_, fault)| fault.trial == trial)
    }
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
