//! What a run tells before it trains: how the plan has changed, whether memory is enough, what will happen, and when it ends.

use std::collections::HashMap;

use super::changes::Changes;
use super::context::Context;
use super::forecast::together;
use super::memory::Memory;
use super::notice::{Expected, Listener, Notice};
use super::session::Session;
use crate::plan::{Trial, TrialId};
use crate::runs::Description;
use crate::schedule::{Allotment, Candidate, Machine};

/// An edited file replaces the plan: what is added, kept and orphaned is told first.
pub(super) fn changes(session: &Session, listener: &dyn Listener) {
    let Ok(before) = Description::read(&session.folder) else { return };
    let resolved = session.experiment.resolved();
    if let Some(changes) = Changes::between(before, session.whole(), resolved, &session.folder) {
        listener.notice(&Notice::Changed(&changes));
    }
}

/// Tells where so many trials that take so much memory each need more than is free; whether they do.
pub(super) fn little_memory(machine: Machine, slots: usize, bytes: u64, listener: &dyn Listener) -> bool {
    let free = machine.too_little_for(slots, bytes);
    if let Some(free) = free {
        listener.notice(&Notice::LittleMemory { slots, needed: bytes.saturating_mul(slots as u64), free });
    }
    free.is_some()
}

/// Tells which GPUs take fewer trials at a time than are asked for, since no more fit into their memory.
pub(super) fn fewer_on_gpus(session: &Session, largest: Memory, listener: &dyn Listener) {
    let asked = session.experiment.base.run.per_device;
    for one in session.gpu_slots(largest).iter().filter(|one| one.slots < asked) {
        let (gpu, slots, memory) = (&one.gpu, one.slots, one.memory);
        listener.notice(&Notice::FewerOnGpu { gpu, slots, asked, needed: largest.device.unwrap_or(0), memory });
    }
}

/// Tells what will happen, and when it ends.
pub(super) fn training(
    context: Context<'_>,
    missing: &[&Trial],
    candidates: &[Candidate],
    shape: Allotment,
    until_utc: Option<i64>,
) {
    let Context { session, listener, .. } = context;
    let by_id: HashMap<&TrialId, &Trial> = missing.iter().map(|trial| (&trial.id, *trial)).collect();
    let open = candidates.iter().filter_map(|candidate| Some((*by_id.get(&candidate.id)?, candidate.expected_seconds)));
    let seconds: Option<Vec<(&Trial, f64)>> = open.map(|(trial, seconds)| Some((trial, seconds?))).collect();
    let is_measured = seconds.is_some();
    let expected = seconds.map(|trials| {
        let seconds: Vec<f64> = trials.iter().map(|(_, seconds)| *seconds).collect();
        let mut expected = expected(&seconds, shape.slots, context.world.clock().moment().utc, until_utc);
        let window = expected.cut_off_utc.map_or(f64::INFINITY, |until| (until - expected.now_utc) as f64 / 1e6);
        let too_long = trials.iter().filter(|(_, seconds)| *seconds > window);
        expected.too_long = too_long.map(|(trial, _)| session.label(trial)).collect();
        expected
    });
    listener.notice(&Notice::Training {
        missing: missing.len(),
        trials: session.plan.trials.len(),
        device: session.device_in_words(),
        slots: shape.slots,
        threads: shape.threads,
        expected,
    });
    let mut kinds = session.gpus().map(|gpu| &gpu.name);
    if let Some(measured) = kinds.next().filter(|first| is_measured && kinds.any(|kind| kind != *first)) {
        listener.notice(&Notice::TimesOfOneKind { measured });
    }
}

/// When trials that take so many seconds each end together, as many at a time as there are slots.
fn expected(seconds: &[f64], slots: usize, now_utc: i64, until_utc: Option<i64>) -> Expected {
    let together = together(seconds, slots);
    let ends_utc = now_utc.saturating_add((together * 1e6) as i64);
    let cut_off_utc = until_utc.filter(|&until| ends_utc > until);
    Expected { seconds: together, now_utc, ends_utc, cut_off_utc, too_long: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_end_together_and_none_before_the_longest() {
        const SECOND: i64 = 1_000_000;
        let at = |seconds: &[f64], slots, until: Option<i64>| expected(seconds, slots, 0, until.map(|s| s * SECOND));
        let open = at(&[10.0, 20.0, 30.0], 2, None);
        assert_eq!((open.seconds, open.ends_utc, open.cut_off_utc), (30.0, 30 * SECOND, None));
        assert_eq!(at(&[10.0, 20.0, 40.0], 2, None).seconds, 40.0, "the longest alone");
        assert_eq!(at(&[10.0, 20.0, 30.0], 2, Some(30)).cut_off_utc, None, "all of it is reached");
        let cut_off = at(&[10.0, 20.0, 30.0], 1, Some(15));
        assert_eq!(cut_off.cut_off_utc, Some(15 * SECOND));
    }
}
