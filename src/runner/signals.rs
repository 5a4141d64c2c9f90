//! What signals ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Caught;
use signal_hook::low_level::emulate_default_handler;

use super::notice::Notice;
use crate::error::{Error, Kind, Result};
use crate::schedule::{STOP_AFTER_STEP, STOP_NOW};

/// What signals have asked for so far. They are watched from the first work on.
pub struct Signals {
    asked: Asked,
    notify: fn(&Notice<'_>),
}

/// What signals have asked for so far, for whoever must heed it.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    stop: Arc<AtomicU8>,
    terminated: Arc<AtomicBool>,
    /// Whether there are workers, which stop and which are killed for it.
    works: Arc<AtomicBool>,
}

impl Asked {
    /// Whether SIGTERM asked to stop, rather than Ctrl-C.
    pub(super) fn terminated(&self) -> bool {
        self.terminated.load(Ordering::Acquire)
    }

    /// The error of work that is given up because somebody asked to stop; `None` where nobody did.
    pub(super) fn given_up(&self, work: &str) -> Option<Error> {
        let kind = if self.terminated() { Kind::Terminated } else { Kind::Interrupted };
        let asked = self.stop.load(Ordering::Acquire) != 0;
        asked.then(|| Error::new(kind, format!("stopped on request while {work}")))
    }

    /// A signal came. What there is to tell of it; `None` where it kills this process.
    fn heed(&self, signal: i32) -> Option<Notice<'static>> {
        self.terminated.store(signal == SIGTERM, Ordering::Release);
        let (first, works) = (self.stop.load(Ordering::Acquire) == 0, self.works.load(Ordering::Acquire));
        self.stop.store(if first { STOP_AFTER_STEP } else { STOP_NOW }, Ordering::Release);
        match (first, works) {
            (true, _) => Some(Notice::Stopping { trials: works }),
            (false, true) => Some(Notice::Killing),
            (false, false) => None,
        }
    }
}

impl Signals {
    /// Nothing was asked for yet. `notify` is called on a thread of its own for each signal that comes.
    pub fn new(notify: fn(&Notice<'_>)) -> Self {
        Self { asked: Asked::default(), notify }
    }

    /// What they ask for, now and later.
    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// How often they asked to stop: 0, [`STOP_AFTER_STEP`] or [`STOP_NOW`].
    pub(super) fn so_far(&self) -> u8 {
        self.asked.stop.load(Ordering::Acquire)
    }

    /// What [`drive`](crate::schedule::drive()) obeys.
    pub(super) fn stop(&self) -> &AtomicU8 {
        &self.asked.stop
    }

    /// Work with workers under way: a second signal kills those, and not this process.
    pub(super) fn while_workers_run<T>(&self, work: impl FnOnce() -> T) -> T {
        self.asked.works.store(true, Ordering::Release);
        let result = work();
        self.asked.works.store(false, Ordering::Release);
        result
    }

    /// A connection that drops stops nothing, from now on.
    pub(super) fn outlive_the_terminal(&self) -> Result<()> {
        // The flag is not looked at: what is caught does not kill.
        let caught = signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)));
        caught.map(drop).map_err(|e| Error::internal("signals cannot be caught").caused_by(e))
    }

    /// Sets the stop flag at the first Ctrl-C or SIGTERM from now on, and once more at the second, which kills where no workers run.
    pub fn watch(&self) -> Result<()> {
        let failed = |e: std::io::Error| Error::internal("signals cannot be caught").caused_by(e);
        let mut signals = Caught::new([SIGINT, SIGTERM]).map_err(failed)?;
        let (asked, notify) = (self.asked.clone(), self.notify);
        let (notices, noticed) = channel();
        let watch = move || {
            for signal in signals.forever() {
                match asked.heed(signal) {
                    Some(notice) => drop(notices.send(notice)),
                    // Whatever it is at: files are written whole or not at all.
                    None => drop(emulate_default_handler(signal)),
                }
            }
        };
        // Who is told may take no more, and the next signal must be heeded all the same.
        let tell = move || noticed.iter().for_each(|notice| notify(&notice));
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        spawn("signals").spawn(watch).and_then(|_| spawn("notices").spawn(tell)).map(drop).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_asks_and_the_second_kills_the_workers_or_this_process() {
        let asked = Asked::default();
        assert!(asked.given_up("x").is_none());
        assert!(matches!(asked.heed(SIGINT), Some(Notice::Stopping { trials: false })));
        let error = asked.given_up("the text was prepared").unwrap();
        assert_eq!(
            (error.kind(), error.to_string()),
            (Kind::Interrupted, "stopped on request while the text was prepared".to_owned())
        );
        assert!(asked.heed(SIGTERM).is_none() && asked.stop.load(Ordering::Acquire) == STOP_NOW);
        assert_eq!(asked.given_up("x").unwrap().kind(), Kind::Terminated);

        let signals = Signals::new(|_| {});
        signals.while_workers_run(|| {
            assert!(matches!(signals.asked.heed(SIGTERM), Some(Notice::Stopping { trials: true })));
            assert!(matches!(signals.asked.heed(SIGTERM), Some(Notice::Killing)));
        });
        assert!(signals.asked.terminated() && signals.asked.heed(SIGTERM).is_none(), "they are gone");
    }
}
