//! The locks: one runner an experiment, one worker a trial.
//!
//! A lock is the kernel's, on an open file: it is gone when its holder is, however the holder died. The file is
//! written in place and never renamed or deleted, since a renamed lock has two holders.
//!
//! Looking must not disturb: [`is_held`] takes a *shared* lock for some microseconds, so two that look do not see each
//! other; and whoever takes a lock tries again for a moment ([`PATIENCE`]) before it believes that the lock is held, so that it
//! never loses it to one that looks.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{ExperimentFolder, Holder, TrialFolder};
use crate::durable;
use crate::error::{Error, Kind, Result};

/// How long a taker tries before it believes that a lock is held.
const PATIENCE: Duration = Duration::from_millis(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// Held while this process runs an experiment; given back when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct RunnerLock {
    _file: File,
}

impl RunnerLock {
    /// Takes the experiment, whose folder is made if need be. [`Kind::Busy`] where another runner holds it: the sentence says who.
    pub fn take(folder: &ExperimentFolder) -> Result<Self> {
        durable::create_folder(folder.path())?;
        let path = folder.lock();
        match take(&path, PATIENCE)? {
            Some(file) => Ok(Self { _file: file }),
            None => {
                let who = holder(&path)?.map_or_else(|| "another runner".to_owned(), |h| h.to_string());
                Err(Error::new(Kind::Busy, format!("{} is being run by {who}", folder.path().display()))
                    .help("wait for it to end, or stop it with Ctrl-C where it runs"))
            }
        }
    }
}

/// Held while this process works on a trial.
#[derive(Debug)]
pub struct TrialLock {
    _file: File,
}

impl TrialLock {
    /// Takes the trial; `None` where another worker holds it.
    pub fn take(folder: &TrialFolder) -> Result<Option<Self>> {
        Self::wait(folder, PATIENCE)
    }

    /// Takes the trial as soon as it is free; `None` where it is still held after `at_most`.
    pub fn wait(folder: &TrialFolder, at_most: Duration) -> Result<Option<Self>> {
        durable::create_folder(folder.path())?;
        Ok(take(&folder.lock(), at_most.max(PATIENCE))?.map(|file| Self { _file: file }))
    }
}

/// Whether anybody holds the lock of this file. Creates nothing; a missing file is held by nobody.
pub fn is_held(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(Error::io("look at the lock", path, e)),
    }
}

/// Who runs this experiment now; `None` where nobody does, or where the runner has not written its name yet.
pub fn runner_of(folder: &ExperimentFolder) -> Result<Option<Holder>> {
    held_by(&folder.lock())
}

/// Who works on this trial now; `None` where nobody does, or where the worker has not written its name yet.
pub fn worker_of(folder: &TrialFolder) -> Result<Option<Holder>> {
    held_by(&folder.lock())
}

fn held_by(path: &Path) -> Result<Option<Holder>> {
    if is_held(path)? { holder(path) } else { Ok(None) }
}

fn take(path: &Path, patience: Duration) -> Result<Option<File>> {
    let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = open.map_err(|e| Error::io("open", path, e))?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
            Err(TryLockError::WouldBlock) => sleep(PAUSE),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
        }
    }
    sign(&mut file).map_err(|e| Error::io("write", path, e))?;
    Ok(Some(file))
}

/// Writes the holder's name over the last one's. Not flushed to the disk: after a power cut nobody holds it.
fn sign(file: &mut File) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(&Holder::this_process())?;
    text.push(b'\n');
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)
}

/// The name in a lock file, as far as it can be read: the holder may be writing it just now.
fn holder(path: &Path) -> Result<Option<Holder>> {
    let mut text = String::new();
    match File::open(path).and_then(|mut f| f.read_to_string(&mut text)) {
        Ok(_) => Ok(serde_json::from_str(&text).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn experiment() -> (tempfile::TempDir, ExperimentFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path(), "one");
        (dir, folder)
    }

    #[test]
    fn a_second_runner_is_told_who_holds_the_experiment() {
        let (_dir, folder) = experiment();
        let first = RunnerLock::take(&folder).unwrap();
        let error = RunnerLock::take(&folder).unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
        let text = error.to_string();
        assert!(text.contains(&format!("process {} on {}", std::process::id(), crate::runs::host())), "{text}");
        assert!(text.contains("since 20"), "{text}");
        drop(first);
        RunnerLock::take(&folder).unwrap();
    }

    #[test]
    fn a_second_runner_is_told_even_where_the_name_cannot_be_read() {
        let (_dir, folder) = experiment();
        let _first = RunnerLock::take(&folder).unwrap();
        std::fs::write(folder.lock(), b"").unwrap();
        let error = RunnerLock::take(&folder).unwrap_err();
        assert!(error.to_string().ends_with("is being run by another runner"), "{error}");
    }

    #[test]
    fn a_lock_file_stays_when_the_lock_is_given_back() {
        let (_dir, folder) = experiment();
        drop(RunnerLock::take(&folder).unwrap());
        assert!(folder.lock().exists());
        assert!(!is_held(&folder.lock()).unwrap());
        assert_eq!(runner_of(&folder).unwrap(), None);
    }

    #[test]
    fn a_shorter_name_leaves_nothing_of_a_longer_one() {
        let (_dir, folder) = experiment();
        std::fs::create_dir_all(folder.path()).unwrap();
        std::fs::write(folder.lock(), "x".repeat(4096)).unwrap();
        let _lock = RunnerLock::take(&folder).unwrap();
        assert_eq!(runner_of(&folder).unwrap().unwrap().pid, std::process::id());
    }

    #[test]
    fn a_trial_has_one_worker() {
        let (_dir, folder) = experiment();
        let trial = TrialFolder::at(&folder.path().join("t"));
        assert!(!is_held(&trial.lock()).unwrap());
        assert!(!trial.path().exists(), "looking creates nothing");
        let lock = TrialLock::take(&trial).unwrap().unwrap();
        assert!(is_held(&trial.lock()).unwrap());
        assert_eq!(worker_of(&trial).unwrap().unwrap().pid, std::process::id());
        assert!(TrialLock::take(&trial).unwrap().is_none());
        drop(lock);
        assert!(TrialLock::take(&trial).unwrap().is_some());
    }

    #[test]
    fn waiting_for_a_trial_ends_when_it_is_given_back() {
        let (_dir, folder) = experiment();
        let trial = TrialFolder::at(&folder.path().join("t"));
        let lock = TrialLock::take(&trial).unwrap().unwrap();
        let waiter = std::thread::spawn({
            let trial = trial.clone();
            move || TrialLock::wait(&trial, Duration::from_secs(20)).unwrap().is_some()
        });
        sleep(Duration::from_millis(150));
        assert!(!waiter.is_finished());
        drop(lock);
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn looking_at_a_lock_never_keeps_a_worker_from_taking_it() {
        let (_dir, folder) = experiment();
        let trial = TrialFolder::at(&folder.path().join("t"));
        drop(TrialLock::take(&trial).unwrap());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        is_held(&trial.lock()).unwrap();
                        sleep(Duration::from_micros(50));
                    }
                });
            }
            for round in 0..100 {
                let lock = TrialLock::take(&trial).unwrap();
                assert!(lock.is_some(), "lost to one that looks in round {round}");
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn the_lock_of_a_killed_process_is_free() {
        let (_dir, folder) = experiment();
        let trial = TrialFolder::at(&folder.path().join("t"));
        drop(TrialLock::take(&trial).unwrap());
        // `flock` of util-linux takes the same kind of lock as `File::try_lock`, and with `-o` its child does not share it; where
        // it is missing there is nothing to try.
        let child = std::process::Command::new("flock").arg("-o").arg(trial.lock()).args(["sleep", "10"]).spawn();
        let Ok(mut child) = child else { return };
        let until = Instant::now() + Duration::from_secs(10);
        while !is_held(&trial.lock()).unwrap() && Instant::now() < until {
            sleep(PAUSE);
        }
        assert!(TrialLock::take(&trial).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(TrialLock::take(&trial).unwrap().is_some());
    }
}
