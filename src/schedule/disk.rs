//! Waiting until a full disk has room.

use super::estimate::micros;

/// Seconds between two looks at a full disk.
const LOOK: f64 = 30.0;
/// Seconds for which a full disk is waited for while no trial ends.
const PATIENCE: f64 = 3600.0;

/// Whether the disk is full, and how long it has been waited for.
#[derive(Debug, Default)]
pub(super) struct Disk {
    full: Option<Full>,
    /// Microseconds that were waited, in all pauses since a trial ended: one that finds the disk full again and again, whatever the
    /// looks say, does not wait for ever.
    waited: i64,
}

#[derive(Debug)]
struct Full {
    /// The number of the trial that found it full.
    trial: usize,
    looked_utc: i64,
}

impl Disk {
    /// Whether it is waited for.
    pub(super) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// A trial found it full; whether that is news.
    pub(super) fn found_full(&mut self, trial: usize, now: i64) -> bool {
        let news = self.full.is_none();
        self.full.get_or_insert(Full { trial, looked_utc: now });
        news
    }

    /// The trial for which it is time to look whether there is room.
    pub(super) fn to_look(&self, now: i64) -> Option<usize> {
        let full = self.full.as_ref()?;
        (now - full.looked_utc >= micros(LOOK)).then_some(full.trial)
    }

    /// Somebody looked; whether it was waited for long enough.
    pub(super) fn looked(&mut self, has_room: bool, now: i64) -> bool {
        let Some(full) = &mut self.full else { return false };
        self.waited += now - full.looked_utc;
        full.looked_utc = now;
        if has_room {
            self.full = None;
        }
        self.waited >= micros(PATIENCE)
    }

    /// A trial ended: what it wrote found its place.
    pub(super) fn trial_ended(&mut self) {
        self.waited = 0;
    }
}
