//! What a trial is doing: derived from its folder each time it is asked, never stored.

use std::time::UNIX_EPOCH;

use super::{Attempt, AttemptEnd, End, Outcome, Progress, Status, TrialFolder, attempts, boot, host, is_held};
use crate::durable;
use crate::error::{Error, Kind, Result};

/// What a trial's folder says.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// How far its worker is, or was; `None` once it is over: its outcome says more.
    pub progress: Option<Progress>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Its attempts, oldest first; empty where they cannot be read.
    pub attempts: Vec<Attempt>,
    /// Why it ended so, what is damaged, or how the last attempt ended.
    pub reason: Option<String>,
}

impl State {
    /// Of a trial that has no folder yet.
    pub(super) fn waiting() -> Self {
        Self { status: Status::Waiting, progress: None, outcome: None, attempts: Vec::new(), reason: None }
    }

    /// Whether a worker of another machine has claimed the trial and did not say that it ended: its lock may not reach here. Containers of
    /// one machine have its boot in common, and a machine that was started again its name. An earlier version did not say the boot.
    pub fn is_claimed_elsewhere(&self) -> bool {
        let claim = self.attempts.last().filter(|attempt| self.outcome.is_none() && attempt.ended.is_none());
        claim.is_some_and(|attempt| attempt.boot.is_some() && attempt.boot != boot() && attempt.host != host())
    }
}

/// Reads what a trial is doing. Changes nothing, and has no error of its own: what cannot be read is [`Status::Damaged`]. Of a trial that
/// is over, as most of a large experiment are, nothing is opened but its outcome and its attempts.
pub fn state_of(folder: &TrialFolder) -> State {
    let read_outcome = || durable::read_json::<Outcome>(&folder.outcome());
    let outcome = read_outcome();
    let is_over = matches!(outcome, Ok(Some(_)));
    // Who is at it does not matter then.
    let held = !is_over && is_held(&folder.lock()).unwrap_or(false);
    // A worker that has ended in between wrote its outcome before it gave the lock back.
    let outcome = if is_over || held { outcome } else { read_outcome() };
    let attempts = attempts(folder);
    let damaged = match (&outcome, &attempts) {
        (Err(e), _) => Some(e.chain()),
        (Ok(None), Err(e)) => Some(e.chain()),
        _ => None,
    };
    let (outcome, attempts) = (outcome.unwrap_or_default(), attempts.unwrap_or_default());
    let (status, reason) = if let Some(why) = damaged {
        (if held { Status::Running } else { Status::Damaged }, Some(why))
    } else if let Some(outcome) = &outcome {
        (outcome.end.into(), outcome.reason.clone())
    } else if held {
        (Status::Running, None)
    } else {
        match attempts.last() {
            None => (Status::Waiting, None),
            Some(last) => (
                Status::Interrupted,
                last.ended.as_ref().filter(|end| **end != AttemptEnd::Interrupted).map(AttemptEnd::to_string),
            ),
        }
    };
    let progress = if is_over { None } else { read_progress(folder) };
    State { status, progress, outcome, attempts, reason }
}

/// How far the worker says it is; `None` where it said nothing that can be read, which decides nothing.
pub fn read_progress(folder: &TrialFolder) -> Option<Progress> {
    durable::read_json(&folder.progress()).ok().flatten()
}

/// The same as a sign of life: its time is that of its file where this is later, since a worker that can write nothing says no more than
/// that it tried.
pub fn hear_progress(folder: &TrialFolder) -> Option<Progress> {
    let progress = read_progress(folder)?;
    let modified = std::fs::metadata(folder.progress()).and_then(|found| found.modified());
    let since = modified.map(|modified| modified.duration_since(UNIX_EPOCH).unwrap_or_default()).unwrap_or_default();
    let time_utc = i64::try_from(since.as_micros()).unwrap_or(0).max(progress.time_utc);
    Some(Progress { time_utc, ..progress })
}

/// Says how far the worker is, also where the disk is full.
pub fn write_progress(folder: &TrialFolder, progress: &Progress) -> Result<()> {
    let text = serde_json::to_vec(progress).map_err(|e| Error::internal("the progress has no JSON form").caused_by(e))?;
    match durable::replace_unflushed(&folder.progress(), &text) {
        Err(error) if error.kind() == Kind::DiskFull => durable::overwrite(&folder.progress(), &text),
        written => written,
    }
}

/// Writes how a trial ended: the last file of a trial. Only by who holds the trial's lock.
pub fn write_outcome(folder: &TrialFolder, outcome: &Outcome) -> Result<()> {
    durable::write_json(&folder.outcome(), outcome)
}

/// Takes the outcome away, so that the trial is to be worked on again; gone for good when this returns. Its attempts and
/// checkpoints stay. False where there was none.
pub fn set_aside_outcome(folder: &TrialFolder) -> Result<bool> {
    let path = folder.outcome();
    match std::fs::remove_file(&path) {
        Ok(()) => durable::sync_folder(folder.path()).map(|()| true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("remove", &path, e)),
    }
}

/// Which ended trials are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reopen {
    /// Those that failed (crash, hang, disk, unknown) and those whose outcome cannot be read: what a second `run` does.
    Failed,
    /// Also one that diverged or did not fit: what a person asks for by name. A complete trial is never trained again.
    Unfinished,
}

/// Sets aside the outcome of a trial that stands so and is to be tried again, and returns its state then. Only by the runner.
pub fn reopen(folder: &TrialFolder, state: State, which: Reopen) -> Result<State> {
    let again = match (state.status, state.outcome.as_ref().map(|o| o.end)) {
        (Status::Damaged, _) | (_, Some(End::Failed)) => true,
        (_, Some(End::Diverged | End::DidNotFit)) => which == Reopen::Unfinished,
        (_, Some(End::Completed) | None) => false,
    };
    if again && set_aside_outcome(folder)? { Ok(state_of(folder)) } else { Ok(state) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::rows::Phase;
    use crate::runs::{TrialLock, begin_attempt};

    fn trial() -> (tempfile::TempDir, TrialFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = TrialFolder::at(&dir.path().join("t"));
        (dir, folder)
    }

    fn outcome(end: End) -> Outcome {
        Outcome {
            reason: (end != End::Completed).then(|| "for a reason".to_owned()),
            steps: 10,
            tokens_seen: 100,
            training_seconds: 1.5,
            finished_utc: 3,
            program: "votive".to_owned(),
            ..Outcome::example(end)
        }
    }

    fn attempt(ended: Option<&str>) -> Attempt {
        Attempt {
            attempt: 1,
            pid: 1,
            host: "rack".to_owned(),
            boot: None,
            token: None,
            slot: 1,
            threads: 1,
            device: Device::Cpu,
            gpu: None,
            program: "votive".to_owned(),
            from_step: 0,
            started_utc: 1,
            ended_utc: None,
            ended: ended.map(|words| words.to_owned().into()),
            last_lines: Vec::new(),
        }
    }

    fn progress() -> Progress {
        Progress {
            attempt: 1,
            phase: Phase::Training,
            step: 5,
            steps: 10,
            tokens_seen: 50,
            fraction: 0.5,
            loss: Some(2.0),
            validation_loss: None,
            tokens_per_second: Some(10.0),
            training_seconds: 5.0,
            starts_over: None,
            time_utc: 9,
        }
    }

    #[test]
    fn where_the_disk_is_full_a_note_is_written_over_the_one_before_and_is_a_sign_of_life() {
        let (_dir, folder) = trial();
        durable::create_folder(folder.path()).unwrap();
        let path = folder.progress();
        let full = || std::os::unix::fs::symlink("/dev/full", durable::temporary(&path)).unwrap();
        full();
        assert!(write_progress(&folder, &progress()).is_err(), "there is nothing to write over");
        write_progress(&folder, &progress()).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        full();
        let next = Progress { step: 6, tokens_seen: 7, ..progress() };
        write_progress(&folder, &next).unwrap();
        assert_eq!(read_progress(&folder), Some(next));
        let after = std::fs::metadata(&path).unwrap();
        let place = |found: &std::fs::Metadata| (std::os::unix::fs::MetadataExt::ino(found), found.len());
        assert_eq!(place(&after), place(&before));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
    }

    #[test]
    fn the_time_of_a_note_that_could_not_be_written_is_a_sign_of_life() {
        let (_dir, folder) = trial();
        durable::create_folder(folder.path()).unwrap();
        assert_eq!(hear_progress(&folder), None);
        let said = Progress { time_utc: 5_000_000, ..progress() };
        write_progress(&folder, &said).unwrap();
        let heard_at = |seconds| {
            let file = std::fs::File::options().write(true).open(folder.progress()).unwrap();
            file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
            hear_progress(&folder).unwrap()
        };
        assert_eq!(heard_at(4), said);
        assert_eq!(heard_at(6), Progress { time_utc: 6_000_000, ..said.clone() });
        assert_eq!(read_progress(&folder), Some(said));
    }

    #[test]
    fn a_trial_goes_from_waiting_over_running_and_interrupted_to_its_end() {
        let (_dir, folder) = trial();
        let status = |f| state_of(f).status;
        assert_eq!(status(&folder), Status::Waiting);
        assert!(!folder.path().exists(), "asking creates nothing");
        let lock = TrialLock::take(&folder).unwrap().unwrap();
        assert_eq!(status(&folder), Status::Running);
        drop(lock);
        assert_eq!(status(&folder), Status::Waiting, "a lock alone is no attempt");
        begin_attempt(&folder, &attempt(None)).unwrap();
        assert_eq!(status(&folder), Status::Interrupted);
        let _lock = TrialLock::take(&folder).unwrap().unwrap();
        assert_eq!(status(&folder), Status::Running);
        write_outcome(&folder, &outcome(End::Completed)).unwrap();
        assert_eq!(status(&folder), Status::Completed, "an outcome counts at once, also while its writer leaves");
    }

    #[test]
    fn each_end_has_its_status_and_reason() {
        for (end, status) in [
            (End::Completed, Status::Completed),
            (End::Diverged, Status::Diverged),
            (End::DidNotFit, Status::DidNotFit),
            (End::Failed, Status::Failed),
        ] {
            let (_dir, folder) = trial();
            durable::create_folder(folder.path()).unwrap();
            write_outcome(&folder, &outcome(end)).unwrap();
            let state = state_of(&folder);
            assert_eq!((state.status, state.reason.is_some()), (status, end != End::Completed));
            assert_eq!(state.outcome, Some(outcome(end)));
        }
    }

    #[test]
    fn an_interrupted_trial_says_how_its_last_attempt_crashed() {
        for (ended, reason) in [(None, None), (Some("interrupted"), None), (Some("crashed: signal 9"), Some("crashed: signal 9"))]
        {
            let (_dir, folder) = trial();
            begin_attempt(&folder, &attempt(ended)).unwrap();
            let state = state_of(&folder);
            assert_eq!((state.status, state.reason.as_deref()), (Status::Interrupted, reason));
        }
    }

    #[test]
    fn damaged_json_is_a_status_that_names_the_file() {
        let (_dir, folder) = trial();
        begin_attempt(&folder, &attempt(None)).unwrap();
        for (path, name) in [(folder.attempt(1), "0001.json is damaged"), (folder.outcome(), "outcome.json is damaged")] {
            std::fs::write(&path, "{\"end\": \"comple").unwrap();
            let state = state_of(&folder);
            assert_eq!(state.status, Status::Damaged);
            assert!(state.reason.unwrap().contains(name));
        }
    }

    #[test]
    fn a_damaged_attempt_does_not_take_a_result_away() {
        let (_dir, folder) = trial();
        begin_attempt(&folder, &attempt(None)).unwrap();
        std::fs::write(folder.attempt(1), "").unwrap();
        write_outcome(&folder, &outcome(End::Completed)).unwrap();
        assert_eq!(state_of(&folder).status, Status::Completed);
    }

    #[test]
    fn progress_is_shown_and_decides_nothing() {
        let (_dir, folder) = trial();
        begin_attempt(&folder, &attempt(None)).unwrap();
        write_progress(&folder, &progress()).unwrap();
        assert_eq!(state_of(&folder).progress, Some(progress()));
        std::fs::write(folder.progress(), "{").unwrap();
        let state = state_of(&folder);
        assert_eq!((state.status, state.progress), (Status::Interrupted, None));
        write_progress(&folder, &progress()).unwrap();
        write_outcome(&folder, &outcome(End::Completed)).unwrap();
        assert_eq!(state_of(&folder).progress, None, "its outcome says more");
    }

    #[test]
    fn a_second_run_tries_failed_and_damaged_trials_again_and_a_person_also_the_others() {
        let ends = [
            (End::Completed, Status::Completed, Status::Completed),
            (End::Diverged, Status::Diverged, Status::Interrupted),
            (End::DidNotFit, Status::DidNotFit, Status::Interrupted),
            (End::Failed, Status::Interrupted, Status::Interrupted),
        ];
        for (end, by_itself, by_name) in ends {
            for (which, expected) in [(Reopen::Failed, by_itself), (Reopen::Unfinished, by_name)] {
                let (_dir, folder) = trial();
                begin_attempt(&folder, &attempt(None)).unwrap();
                write_outcome(&folder, &outcome(end)).unwrap();
                assert_eq!(reopen(&folder, state_of(&folder), which).unwrap().status, expected, "{end:?} {which:?}");
                assert_eq!(state_of(&folder).status, expected);
            }
        }
        let (_dir, folder) = trial();
        begin_attempt(&folder, &attempt(None)).unwrap();
        std::fs::write(folder.outcome(), "").unwrap();
        assert_eq!(reopen(&folder, state_of(&folder), Reopen::Failed).unwrap().status, Status::Interrupted);
        assert!(!set_aside_outcome(&folder).unwrap(), "there is none any more");
    }
}
