//! How many trials at a time, with how many threads each.

use super::Memory;

/// What there is to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory for all workers together.
    pub memory: Memory,
}

impl Machine {
    /// This machine: the cores this process may use, and the memory that is free now.
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, memory: Memory::of_this_process() }
    }
}

impl Machine {
    /// The memory that is free, where so many trials that take so much each need more.
    pub fn too_little_for(&self, slots: usize, trial_bytes: u64) -> Option<u64> {
        self.memory.free.filter(|&free| trial_bytes.saturating_mul(slots as u64) > free)
    }
}

/// Slots and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allotment {
    /// Trials at a time.
    pub slots: usize,
    /// CPU threads of each.
    pub threads: usize,
}

/// Shares the machine among `trials` trials of which the largest needs `trial_bytes`. What was asked for (`slots`, `threads`) is
/// kept; the rest follows: as many slots as there are cores, since small models on one thread each give more tokens a second
/// together than one on all of them, but never more threads in all than cores, more slots than trials, or more
/// trials at a time than fit into nine tenths of the memory. Where trials are fewer than cores each has more threads.
pub fn allot(machine: Machine, slots: Option<usize>, threads: Option<usize>, trials: usize, trial_bytes: u64) -> Allotment {
    let cores = machine.cores.max(1);
    let slots = slots.unwrap_or_else(|| {
        let by_cores = cores / threads.unwrap_or(1).max(1);
        let by_memory = match machine.memory.free {
            Some(bytes) if trial_bytes > 0 => usize::try_from(bytes / 10 * 9 / trial_bytes).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        by_cores.min(by_memory).min(trials)
    });
    let slots = slots.max(1);
    Allotment { slots, threads: threads.unwrap_or(cores / slots).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_memory_trials_and_wishes_decide_together() {
        const G: u64 = 1 << 30;
        for ((cores, memory, slots, threads, trials, bytes), expected) in [
            ((2, Some(8 * G), None, None, 24, G / 4), (2, 1)),
            ((16, Some(64 * G), None, None, 24, G), (16, 1)),
            ((16, Some(64 * G), None, None, 4, G), (4, 4)),
            ((16, Some(64 * G), None, None, 1, G), (1, 16)),
            ((16, Some(64 * G), None, None, 5, G), (5, 3)),
            ((16, Some(10 * G), None, None, 24, 3 * G), (3, 5)),
            ((16, Some(G), None, None, 24, 3 * G), (1, 16)),
            ((16, None, None, None, 24, 3 * G), (16, 1)),
            ((16, Some(64 * G), None, Some(4), 24, G), (4, 4)),
            ((2, Some(64 * G), None, Some(8), 24, G), (1, 8)),
            ((16, Some(64 * G), Some(2), None, 24, G), (2, 8)),
            ((2, Some(64 * G), Some(8), None, 24, G), (8, 1)),
            ((2, Some(64 * G), Some(3), Some(5), 24, G), (3, 5)),
            ((1, Some(64 * G), None, None, 0, 0), (1, 1)),
            ((0, None, Some(0), Some(0), 0, 0), (1, 1)),
        ] {
            let machine = Machine { cores, memory: Memory { free: memory, total: None } };
            let allotment = allot(machine, slots, threads, trials, bytes);
            assert_eq!((allotment.slots, allotment.threads), expected, "{cores} cores, {slots:?}, {threads:?}, {trials} trials");
        }
    }

    #[test]
    fn left_to_itself_it_never_asks_for_more_threads_than_cores() {
        for cores in 1..40 {
            for trials in 0..50 {
                let machine = Machine { cores, memory: Memory::default() };
                let Allotment { slots, threads } = allot(machine, None, None, trials, 1);
                assert!(slots >= 1 && threads >= 1 && slots * threads <= cores);
                assert!(slots <= trials.max(1));
            }
        }
    }

    #[test]
    fn it_is_too_little_where_all_slots_together_need_more_than_is_free() {
        let machine = |free| Machine { cores: 2, memory: Memory { free, total: None } };
        assert_eq!(machine(Some(8)).too_little_for(1, 206), Some(8));
        assert_eq!(machine(Some(300)).too_little_for(1, 206), None);
        assert_eq!(machine(Some(300)).too_little_for(2, 206), Some(300));
        assert_eq!(machine(None).too_little_for(2, 206), None, "nothing is known");
    }

    #[test]
    fn this_machine_has_a_core() {
        assert!(Machine::this().cores >= 1);
    }
}
