//! Signs of life of this process, and the wish that it stops: what long work gives and heeds after each piece of it.
//!
//! A worker's process does one thing, so it has one pulse. Whoever does a piece of long work beats when it is done: a shard of a step, a
//! few windows scored, a file of a checkpoint, a kernel compiled. Beats come from the work itself and never from a clock: where they stop,
//! the work has stopped.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static BEATS: AtomicU64 = AtomicU64::new(0);

/// A stop that nobody ever asks for.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// A piece of work is done.
pub fn beat() {
    BEATS.fetch_add(1, Ordering::Relaxed);
}

/// Pieces of work that were done so far, in the whole process.
pub fn beats() -> u64 {
    BEATS.load(Ordering::Relaxed)
}

/// Beats after each piece that is read through it: a file of many gigabytes may take minutes.
#[derive(Debug)]
pub struct Beating<R>(pub R);

impl<R: Read> Read for Beating<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        /// Bytes of a piece at most.
        const PIECE: usize = 16 << 20;
        let most = into.len().min(PIECE);
        let read = self.0.read(&mut into[..most])?;
        beat();
        Ok(read)
    }
}

/// Whether a stop was asked for. A flag that was set stays so.
pub fn is_asked(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Acquire)
}
