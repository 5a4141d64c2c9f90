//! When it ends: from expected seconds, corrected by what finished trials really took.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What finished trials took, against what was expected of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Experience {
    took: f64,
    expected: f64,
    all_took: f64,
    finished: u32,
}

impl Experience {
    /// A trial was completed in `took` seconds.
    pub(super) fn add(&mut self, took: f64, expected: Option<f64>) {
        self.all_took += took;
        self.finished += 1;
        if let Some(expected) = expected {
            self.took += took;
            self.expected += expected;
        }
    }

    /// Seconds that a trial will really take: what was expected of it, times how much longer (or shorter) than expected the
    /// finished ones took; for one of unknown length their mean; `None` where nothing is known. One odd trial moves the
    /// factor no further than five times up or down.
    pub(super) fn seconds(&self, expected: Option<f64>) -> Option<f64> {
        match expected {
            Some(expected) if self.expected > 0.0 => Some(expected * (self.took / self.expected).clamp(0.2, 5.0)),
            Some(expected) => Some(expected),
            None if self.finished > 0 => Some(self.all_took / f64::from(self.finished)),
            None => None,
        }
    }
}

/// How far a running worker was at two moments (share of the budget, microseconds).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Track {
    first: (f64, i64),
    last: (f64, i64),
}

impl Track {
    /// The first thing it said.
    pub(super) fn new(fraction: f64, now: i64) -> Self {
        Self { first: (fraction, now), last: (fraction, now) }
    }

    /// What it says now.
    pub(super) fn add(&mut self, fraction: f64, now: i64) {
        self.last = (fraction, now);
    }

    /// Share of what was left at the first thing it said that is left now.
    pub(super) fn share_left(&self) -> f64 {
        let left = (1.0 - self.first.0).max(f64::MIN_POSITIVE);
        ((1.0 - self.last.0) / left).clamp(0.0, 1.0)
    }

    /// Seconds from `now` to its end at its speed so far; `None` until it has done a fiftieth of its budget.
    pub(super) fn seconds_left(&self, now: i64) -> Option<f64> {
        let done = self.last.0 - self.first.0;
        if done < 0.02 {
            return None;
        }
        let took = seconds(self.last.1 - self.first.1);
        Some((took * (1.0 - self.last.0) / done - seconds(now - self.last.1)).max(0.0))
    }
}

/// Microseconds as seconds.
pub(super) fn seconds(micros: i64) -> f64 {
    micros as f64 * 1e-6
}

/// Seconds as microseconds.
pub(super) fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

/// Seconds until the last of these trials ends: running ones need that long still, queued ones start in this order as
/// slots become free.
pub(super) fn until_all_end(running: &[f64], queued: &[f64], slots: usize) -> f64 {
    // Microseconds, since they have an order.
    let mut free_at: BinaryHeap<Reverse<i64>> = running.iter().map(|s| Reverse(micros(*s))).collect();
    while free_at.len() < slots.max(1) {
        free_at.push(Reverse(0));
    }
    let mut last = free_at.iter().map(|r| r.0).max().unwrap_or(0);
    for need in queued {
        let Some(Reverse(start)) = free_at.pop() else { break };
        let end = start.saturating_add(micros(*need));
        last = last.max(end);
        free_at.push(Reverse(end));
    }
    seconds(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_fill_the_slots_in_their_order() {
        for (running, queued, slots, expected) in [
            (&[] as &[f64], &[] as &[f64], 2, 0.0),
            (&[5.0], &[], 2, 5.0),
            (&[], &[3.0, 3.0, 3.0], 1, 9.0),
            (&[], &[3.0, 3.0, 3.0], 2, 6.0),
            (&[10.0, 1.0], &[4.0, 4.0], 2, 10.0),
            (&[10.0, 1.0], &[4.0, 8.0], 2, 13.0),
            (&[], &[1.0, 1.0, 10.0], 2, 11.0),
            (&[], &[2.0], 0, 2.0),
        ] {
            assert!((until_all_end(running, queued, slots) - expected).abs() < 1e-6, "{running:?} {queued:?} {slots}");
        }
    }

    #[test]
    fn expectations_are_corrected_by_experience() {
        let mut experience = Experience::default();
        assert_eq!(experience.seconds(Some(10.0)), Some(10.0));
        assert_eq!(experience.seconds(None), None);
        experience.add(30.0, Some(20.0));
        experience.add(15.0, Some(10.0));
        assert_eq!(experience.seconds(Some(10.0)), Some(15.0));
        assert_eq!(experience.seconds(None), Some(22.5));
        experience.add(1e9, Some(1.0));
        assert_eq!(experience.seconds(Some(10.0)), Some(50.0));
    }

    #[test]
    fn experience_without_expectations_helps_only_where_nothing_was_expected() {
        let mut experience = Experience::default();
        experience.add(8.0, None);
        assert_eq!((experience.seconds(Some(3.0)), experience.seconds(None)), (Some(3.0), Some(8.0)));
    }

    #[test]
    fn a_running_trial_ends_at_its_speed_so_far() {
        let mut track = Track::new(0.5, 0);
        assert_eq!(track.seconds_left(0), None, "nothing is known of its speed");
        track.add(0.75, 10_000_000);
        assert_eq!(track.share_left(), 0.5);
        assert_eq!(track.seconds_left(10_000_000), Some(10.0));
        assert_eq!(track.seconds_left(14_000_000), Some(6.0));
        assert_eq!(track.seconds_left(99_000_000), Some(0.0));
    }

    #[test]
    fn a_track_that_begins_at_the_end_has_nothing_left() {
        let mut track = Track::new(1.0, 0);
        track.add(1.0, 5);
        assert_eq!(track.share_left(), 0.0);
    }
}
