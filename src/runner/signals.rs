//! What signals ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Caught;

use super::notice::Notice;
use crate::error::{Error, Result};
use crate::schedule::{STOP_AFTER_STEP, STOP_NOW};

/// What signals have asked for so far. They are watched from the first work on.
pub struct Signals {
    stop: Arc<AtomicU8>,
    terminated: Arc<AtomicBool>,
    watched: AtomicBool,
    told: fn(&Notice<'_>),
}

impl Signals {
    /// Nothing was asked for yet. `told` is called on a thread of its own for each signal that comes.
    pub fn new(told: fn(&Notice<'_>)) -> Self {
        Self { stop: Arc::default(), terminated: Arc::default(), watched: AtomicBool::default(), told }
    }

    /// Whether SIGTERM asked to stop, rather than Ctrl-C.
    pub(super) fn terminated(&self) -> bool {
        self.terminated.load(Ordering::Acquire)
    }

    /// What [`drive`](crate::schedule::drive()) obeys.
    pub(super) fn stop(&self) -> &AtomicU8 {
        &self.stop
    }

    /// A connection that drops stops nothing, from now on.
    pub(super) fn outlive_the_terminal(&self) -> Result<()> {
        // The flag is not looked at: what is caught does not kill.
        let caught = signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)));
        caught.map(drop).map_err(|e| Error::internal("signals cannot be caught").caused_by(e))
    }

    /// Sets the stop flag at the first Ctrl-C or SIGTERM from now on, and once more at the second.
    pub(super) fn watch(&self) -> Result<()> {
        if self.watched.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let failed = |e: std::io::Error| Error::internal("signals cannot be caught").caused_by(e);
        let mut signals = Caught::new([SIGINT, SIGTERM]).map_err(failed)?;
        let (stop, terminated, told) = (self.stop.clone(), self.terminated.clone(), self.told);
        let watch = move || {
            for signal in signals.forever() {
                terminated.store(signal == SIGTERM, Ordering::Release);
                let first = stop.load(Ordering::Acquire) == 0;
                stop.store(if first { STOP_AFTER_STEP } else { STOP_NOW }, Ordering::Release);
                told(if first { &Notice::Stopping } else { &Notice::Killing });
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop).map_err(failed)
    }
}
