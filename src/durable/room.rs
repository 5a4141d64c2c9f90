//! What is done where the disk has little room, or none.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::fence::check;
use super::temporary;
use crate::error::{Error, Kind, Result};
use crate::pulse;

/// Between two signs of life of who waits.
const BEAT: Duration = Duration::from_millis(250);

/// How room is waited for.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two looks.
    look: Duration,
    /// Between two tries, where there seems to be room.
    again: Duration,
    /// In all.
    patience: Duration,
}

const PACE: Pace = Pace { look: Duration::from_secs(5), again: Duration::from_secs(30), patience: Duration::from_secs(3_600) };

/// Set while this process waits for room.
static WAITS: AtomicBool = AtomicBool::new(false);

/// Whether so many bytes can be written below a folder. Where that cannot be known, it is taken to be so.
pub fn has_room(folder: &Path, bytes: u64) -> bool {
    is_free(folder, bytes) && can_be_taken(folder, bytes)
}

/// Whether so much is free by what the file system tells, which knows nothing of quotas.
fn is_free(folder: &Path, bytes: u64) -> bool {
    let Ok(found) = rustix::fs::statvfs(folder) else { return true };
    // Some of it may be kept for the administrator.
    let free = if rustix::process::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    // Some file systems count nothing.
    found.f_blocks == 0 || free.saturating_mul(found.f_frsize) >= bytes
}

/// Whether so much can be taken, which is given back at once.
fn can_be_taken(folder: &Path, bytes: u64) -> bool {
    let path = temporary(&folder.join("room"));
    let full = |e: std::io::Error| Error::io("reserve", &path, e).kind() == Kind::DiskFull;
    let result = match File::create(&path) {
        Ok(file) => rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).map_err(std::io::Error::from),
        Err(error) => Err(error),
    };
    // Where it cannot be removed it is swept later.
    let _ = fs::remove_file(&path);
    !result.is_err_and(full)
}

/// Does what writes below a folder. Where that finds the disk full it is done again once there is room for so many bytes, which is waited
/// for until `stop` is set, and for an hour at most; without `stop` it is not waited for. What is done again must bear it.
pub fn patiently<T>(folder: &Path, bytes: u64, stop: Option<&AtomicBool>, mut write: impl FnMut() -> Result<T>) -> Result<T> {
    match stop {
        Some(stop) => at_pace(PACE, &|| has_room(folder, bytes), (&WAITS, stop), write),
        None => write(),
    }
}

/// Whether this process waits for room just now.
pub fn waits_for_room() -> bool {
    WAITS.load(Ordering::Acquire)
}

/// `waits` is set while it waits.
fn at_pace<T>(
    pace: Pace,
    has_room: &dyn Fn() -> bool,
    (waits, stop): (&AtomicBool, &AtomicBool),
    mut write: impl FnMut() -> Result<T>,
) -> Result<T> {
    let (began, mut tries) = (Instant::now(), 0);
    loop {
        let error = match write() {
            Err(error) if error.kind() == Kind::DiskFull => error,
            result => return result,
        };
        tries += 1;
        // There may be room again already. Where there only seems to be some, haste gains nothing.
        if tries == 1 && has_room() {
            continue;
        }
        tracing::warn!(error = error.chain(), "waits until the disk has room");
        waits.store(true, Ordering::Release);
        let found = wait(pace, began, has_room, stop);
        waits.store(false, Ordering::Release);
        if !found {
            return Err(error);
        }
        tracing::info!("the disk seems to have room again");
    }
}

/// Waits until there is room, at least for a while. False where `stop` said so, or it was waited for long enough.
fn wait(pace: Pace, began: Instant, has_room: &dyn Fn() -> bool, stop: &AtomicBool) -> bool {
    let mut next = Instant::now() + if has_room() { pace.again } else { pace.look };
    loop {
        if pulse::is_asked(stop) || began.elapsed() >= pace.patience {
            return false;
        }
        pulse::beat();
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            if has_room() {
                return true;
            }
            next = Instant::now() + pace.look;
        }
        sleep(left.min(BEAT));
    }
}

/// Writes over a file that decides nothing where there is no room for another one: it keeps its place on the disk, and is filled up with
/// spaces to the length that it had. Who reads just then may find half of it. Where not even that can be done, the file's time says when it
/// was tried.
pub fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    check(path)?;
    let written = (|| {
        let mut file = File::options().write(true).open(path)?;
        let mut text = bytes.to_owned();
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        text.resize(length.max(text.len()), b' ');
        file.write_all(&text).or_else(|_| file.set_modified(SystemTime::now()))
    })();
    written.map_err(|e| Error::io("write over", path, e))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::durable::size;

    #[test]
    fn room_is_there_or_not_and_nothing_is_left_of_the_trial() {
        let dir = tempfile::tempdir().unwrap();
        assert!(has_room(dir.path(), 1 << 20));
        for looks in [has_room, is_free, can_be_taken] {
            assert!(!looks(dir.path(), 1 << 60), "an exbibyte");
        }
        assert_eq!((fs::read_dir(dir.path()).unwrap().count(), size(dir.path())), (0, 0));
        assert!(has_room(&dir.path().join("missing"), 1), "what cannot be tried is no full disk");
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 7]).unwrap();
        assert_eq!(size(dir.path()), 7);
    }

    #[test]
    fn what_is_written_over_a_file_is_as_long_as_it_was_or_longer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(overwrite(&path, b"1").unwrap_err().kind(), Kind::Io, "there must be one");
        for (bytes, expected) in [(b"1234".as_slice(), "1234"), (b"5", "5   "), (b"67890", "67890")] {
            fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            overwrite(&path, bytes).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        }
    }

    /// What is written where the disk is full so many times, and each look finds this; how often it was tried, and what came of it.
    fn tried(full: usize, room: bool, patience: Duration, asked: bool) -> (usize, Result<(), Kind>) {
        let moment = Duration::from_millis(1);
        let (tries, waits, stop) = (Cell::new(0), AtomicBool::default(), AtomicBool::new(asked));
        let result = at_pace(Pace { look: moment, again: 20 * moment, patience }, &|| room, (&waits, &stop), || {
            assert!(!waits.load(Ordering::Acquire));
            tries.set(tries.get() + 1);
            if tries.get() > full { Ok(()) } else { Err(Error::new(Kind::DiskFull, "full")) }
        });
        assert!(!waits.load(Ordering::Acquire));
        (tries.get(), result.map_err(|error| error.kind()))
    }

    #[test]
    fn a_full_disk_is_waited_for_and_tried_again_until_patience_or_a_stop_ends_it() {
        let hour = Duration::from_secs(3_600);
        let began = Instant::now();
        assert_eq!(tried(0, false, hour, false), (1, Ok(())));
        assert_eq!(tried(1, true, hour, false), (2, Ok(())));
        assert!(began.elapsed() < Duration::from_secs(10), "at once");
        let began = Instant::now();
        assert_eq!(tried(3, true, hour, false), (4, Ok(())));
        assert!(began.elapsed() >= Duration::from_millis(40), "without haste");
        assert_eq!(tried(9, false, Duration::from_millis(30), false), (1, Err(Kind::DiskFull)));
        assert_eq!(tried(9, false, hour, true), (1, Err(Kind::DiskFull)));
        assert_eq!(tried(9, true, hour, true), (2, Err(Kind::DiskFull)));
    }

    #[test]
    fn another_error_is_not_waited_for() {
        let failed = |kind, stop| patiently(Path::new("/"), 1, stop, || Err::<(), _>(Error::new(kind, "x"))).unwrap_err().kind();
        assert_eq!(failed(Kind::Internal, Some(&pulse::NEVER)), Kind::Internal);
        assert_eq!(failed(Kind::DiskFull, None), Kind::DiskFull, "nobody waits");
    }
}
