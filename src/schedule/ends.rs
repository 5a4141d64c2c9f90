//! What a runner writes of the ends of trials and attempts, wherever their workers run.

use super::executor::Work;
use crate::durable;
use crate::error::Result;
use crate::rows::now_utc;
use crate::runs::{Attempt, End, Outcome, TrialFolder, TrialLock, end_attempt, list_checkpoints, state_of, write_outcome};

/// What a disk that was full must hold at least before a trial goes on, bytes.
const LEAST_ROOM: u64 = 16_000_000;

/// How an attempt ended.
pub(super) struct Note {
    pub(super) folder: TrialFolder,
    pub(super) attempt: Attempt,
    pub(super) words: String,
    pub(super) last_lines: Vec<String>,
}

/// Ends of attempts that are to be written: the disk may be full.
#[derive(Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    pub(super) fn add(&mut self, note: Note) {
        self.0.push(note);
    }

    /// Writes how attempts ended; what cannot be written now is tried again when one starts or ends, and at the end.
    pub(super) fn write(&mut self) {
        // An attempt's file is history: how its trial goes on must not depend on it.
        self.0.retain(|note| end_attempt(&note.folder, &note.attempt, note.words.clone().into(), &note.last_lines).is_err());
    }
}

/// Writes that a trial is over with this end, by this version of the program: its worker cannot any more, or there was none. One that
/// was only to be scored again stays as finished as it was, with the scores that it had.
pub(super) fn give_up(folder: &TrialFolder, work: Work, end: End, reason: &str, version: &str) -> Result<()> {
    if work == Work::ScoreAgain {
        return Ok(());
    }
    // Somebody else is at it after all: the outcome is theirs to write.
    let Some(_lock) = TrialLock::take(folder)? else { return Ok(()) };
    let state = state_of(folder);
    if state.outcome.is_some() || state.is_claimed_elsewhere() {
        return Ok(());
    }
    write_outcome(folder, &Outcome::given_up(end, reason, state.progress.as_ref(), now_utc(), version))
}

/// Whether the disk has room for the trial to go on, which found it full: where a checkpoint like its newest one finds it.
pub(super) fn has_room(folder: &TrialFolder) -> bool {
    durable::has_room(folder.path(), checkpoint_bytes(folder).max(LEAST_ROOM))
}

/// The size of a trial's newest checkpoint; 0 where there is none.
fn checkpoint_bytes(folder: &TrialFolder) -> u64 {
    let newest = list_checkpoints(&folder.checkpoints()).unwrap_or_default().pop();
    newest.map_or(0, |(_, checkpoint)| durable::size(&checkpoint))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::runs::checkpoint_name;

    #[test]
    fn a_trial_needs_the_room_of_its_newest_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let folder = TrialFolder::at(dir.path());
        assert_eq!(checkpoint_bytes(&folder), 0);
        for (step, bytes) in [(20, 5), (3, 700), (10, 700)] {
            let checkpoint = folder.checkpoints().join(checkpoint_name(step));
            fs::create_dir_all(&checkpoint).unwrap();
            fs::write(checkpoint.join("x"), vec![0; bytes]).unwrap();
        }
        assert_eq!(checkpoint_bytes(&folder), 5);
    }
}
