//! The signs of life of a worker: what it is doing and how far it is, noted for its runner and for people.
//!
//! The work beats after each piece of it ([`pulse`]); a thread looks now and then whether it did, and writes the note anew. So the
//! work waits for no disk to say that it goes on, and where it does not go on nothing is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::pulse;
use crate::rows::{Phase, now_utc};
use crate::runs::{Progress, TrialFolder, write_progress};

/// Between two looks whether the work goes on, and so between two notes.
const LOOK: Duration = Duration::from_millis(250);

/// Notes until it is dropped.
pub(super) struct Heart {
    note: Arc<Mutex<Note>>,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Note {
    folder: TrialFolder,
    progress: Progress,
    /// Beats when it was written last.
    beats: u64,
    /// Set where another worker has taken the trial over.
    stop: Arc<AtomicBool>,
}

impl Note {
    /// How far it is decides nothing: a note that cannot be written is none. But one that may not be written any more has nothing left
    /// to tell: the work is to end.
    fn write(&mut self) {
        self.beats = pulse::beats();
        self.progress.time_utc = now_utc();
        let waits = durable::waits_for_room();
        let phase = if waits { Phase::WaitingForRoom } else { self.progress.phase };
        let told = Progress { phase, ..self.progress.clone() };
        if write_progress(&self.folder, &told).is_err_and(|e| e.kind() == Kind::TakenOver) {
            self.stop.store(true, Ordering::Release);
        }
    }
}

impl Heart {
    /// Notes that an attempt begins, and what it does from here on. `stop` is set where another worker takes the trial over.
    pub(super) fn start(folder: &TrialFolder, attempt: u32, stop: &Arc<AtomicBool>) -> Result<Self> {
        let progress = Progress {
            attempt,
            phase: Phase::Starting,
            step: 0,
            steps: 0,
            tokens_seen: 0,
            fraction: 0.0,
            loss: None,
            validation_loss: None,
            tokens_per_second: None,
            training_seconds: 0.0,
            starts_over: None,
            time_utc: now_utc(),
        };
        let mut note = Note { folder: folder.clone(), progress, beats: 0, stop: stop.clone() };
        note.write();
        let note = Arc::new(Mutex::new(note));
        let (over, ends) = channel::<()>();
        let looks = {
            let note = Arc::clone(&note);
            move || {
                // Nothing is ever sent: it ends with the heart.
                while ends.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    let mut note = lock(&note);
                    if note.beats != pulse::beats() {
                        note.write();
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("heart".to_owned()).spawn(looks);
        let thread = thread.map_err(|e| Error::internal("no thread can be started").caused_by(e))?;
        Ok(Self { note, thread: Some((over, thread)) })
    }

    /// Changes what is noted next. That counts as a sign of life.
    pub(super) fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.note).progress);
        pulse::beat();
    }

    /// Changes what is noted, and notes it at once.
    pub(super) fn tell(&self, change: impl FnOnce(&mut Progress)) {
        let mut note = lock(&self.note);
        change(&mut note.progress);
        note.write();
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        if let Some((over, thread)) = self.thread.take() {
            drop(over);
            // It may be within a note, which must not come after those of the next worker.
            let _ = thread.join();
        }
    }
}

/// A note is whole between two changes, whatever panicked.
fn lock(note: &Mutex<Note>) -> MutexGuard<'_, Note> {
    note.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::runs::read_progress;

    #[test]
    fn a_note_is_written_where_the_work_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let folder = TrialFolder::at(&dir.path().join("t"));
        durable::create_folder(folder.path()).unwrap();
        let heart = Heart::start(&folder, 3, &Arc::default()).unwrap();
        let first = read_progress(&folder).unwrap();
        assert_eq!((first.attempt, first.phase), (3, Phase::Starting));
        heart.tell(|progress| progress.phase = Phase::Scoring);
        assert_eq!(read_progress(&folder).unwrap().phase, Phase::Scoring);
        heart.change(|progress| progress.step = 7);
        let until = Instant::now() + Duration::from_secs(30);
        while read_progress(&folder).unwrap().step != 7 {
            assert!(Instant::now() < until, "what was changed is never noted");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
