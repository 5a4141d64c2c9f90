//! Whole files or none.
//!
//! A file is written under a temporary name in its own folder, flushed to the disk, renamed, and the folder is flushed: after a
//! kill or a power cut there is the old file or the new one, never half of either. Temporary names begin with `.tmp-`, so
//! that no `*.parquet` pattern matches them; what a killed process left behind is removed by [`sweep`]. A worker whose trial another one
//! has taken over changes nothing any more ([`give_way`]).

mod fence;
mod room;

use std::fs::{self, File, Metadata};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::pulse;

use self::fence::check;
pub use self::fence::{give_way, has_given_way, taken_over};
pub use self::room::{has_room, overwrite, patiently, waits_for_room};

const PREFIX: &str = ".tmp-";

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The temporary name beside `path` that this process writes under.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // A number may be given again, while what an earlier process of it left behind is still there.
    static OWN: LazyLock<u32> = LazyLock::new(|| RandomState::new().build_hasher().finish() as u32);
    folder_of(path).join(format!("{PREFIX}{}-{}-{}-{name}.part", std::process::id(), *PLACE, *OWN))
}

/// Where this process has its number, in few digits: processes of two machines, of two starts of one, or of two containers may have the
/// same one.
static PLACE: LazyLock<String> = LazyLock::new(|| {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (boot, namespace).hash(&mut hasher);
    format!("{:08x}", hasher.finish() as u32)
});

/// What a process of another place writes may be given up after so long.
const LONGEST_WRITE: Duration = Duration::from_secs(24 * 3600);

/// Creates a folder and those above it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io("create the folder", path, e))
}

/// Flushes a folder's list of names to the disk.
pub fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io("flush the folder", path, e))
}

/// Writes a file whole or not at all, through `fill`; what the file system says of it.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<Metadata> {
    let part = temporary(path);
    let result = (|| {
        let file = File::create(&part).map_err(|e| Error::io("create", path, e))?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        fill(&mut writer)?;
        let file = writer.into_inner().map_err(|e| Error::io("write", path, e.into_error()))?;
        file.sync_all().map_err(|e| Error::io("flush", path, e))?;
        // Of the file that was written: another may take its place at any moment.
        let found = file.metadata().map_err(|e| Error::io("look at", path, e))?;
        check(path)?;
        fs::rename(&part, path).map_err(|e| Error::io("rename into place", path, e))?;
        sync_folder(folder_of(path)).map(|()| found)
    })();
    if result.is_err() {
        // The error above is the one to tell; a part that cannot be removed either is swept later.
        let _ = fs::remove_file(&part);
    }
    pulse::beat();
    result
}

/// Writes these bytes whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |w| w.write_all(bytes).map_err(|e| Error::io("write", path, e))).map(drop)
}

/// A value as readable JSON, with a line's end.
fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::internal("a value has no JSON form").caused_by(e))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a value as readable JSON, whole or not at all.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write(path, &json(value)?)
}

/// Writes a value as readable JSON into the folder that [`folder_with`] fills: that flushes the file, and makes it appear with the others.
pub fn fill_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    fs::write(path, json(value)?).map_err(|e| Error::io("write", path, e))
}

/// Writes a value as readable JSON where there is no such file yet, whole or not at all. False where there is one: of several processes
/// that try, on whatever machines, one succeeds.
pub fn create_json(path: &Path, value: &impl serde::Serialize) -> Result<bool> {
    let (part, bytes) = (temporary(path), json(value)?);
    let result = (|| {
        let write = |mut file: File| file.write_all(&bytes).and_then(|()| file.sync_all());
        File::create(&part).and_then(write).map_err(|e| Error::io("write", path, e))?;
        check(path)?;
        // A link fails where the name is taken; where the file system has none, a kill may leave half a file.
        let created = match fs::hard_link(&part, path) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => File::create_new(path).and_then(write),
            linked => linked,
        };
        match created {
            Ok(()) => sync_folder(folder_of(path)).map(|()| true),
            // Over a network an answer may be lost, and a second try find what the first one made.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(fs::read(path).is_ok_and(|found| found == bytes)),
            Err(e) => Err(Error::io("create", path, e)),
        }
    })();
    // What cannot be removed is swept later.
    let _ = fs::remove_file(&part);
    pulse::beat();
    result
}

/// Removes a file, if it is there. Not flushed to the disk.
pub fn remove_file(path: &Path) -> Result<()> {
    check(path)?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Replaces a file that decides nothing (a progress note): renamed, but not flushed to the disk.
pub fn replace_unflushed(path: &Path, bytes: &[u8]) -> Result<()> {
    check(path)?;
    let part = temporary(path);
    let written = fs::write(&part, bytes).map_err(|e| Error::io("write", path, e));
    let replaced = written.and_then(|()| fs::rename(&part, path).map_err(|e| Error::io("rename into place", path, e)));
    // What cannot be removed is swept later.
    replaced.inspect_err(|_| drop(fs::remove_file(&part)))
}

/// Reads a JSON file; `None` where there is none.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let value = serde_json::from_slice(&bytes).map_err(|e| Error::data(format!("{} is damaged", path.display())).caused_by(e))?;
    Ok(Some(value))
}

/// Makes a folder appear whole or not at all: `fill` writes into a temporary folder beside it, each file is flushed, then
/// one rename. An older folder of the same name is replaced.
pub fn folder_with(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let part = temporary(path);
    let result = (|| {
        remove_folder(&part)?;
        create_folder(&part)?;
        // What is said is said of the folder that was to be.
        fill(&part).map_err(|e| e.of_path(&part, path))?;
        let entries = fs::read_dir(&part).map_err(|e| Error::io("list", &part, e))?;
        for entry in entries {
            let file = entry.map_err(|e| Error::io("list", &part, e))?.path();
            File::open(&file).and_then(|f| f.sync_all()).map_err(|e| Error::io("flush", &file, e))?;
            pulse::beat();
        }
        sync_folder(&part)?;
        check(path)?;
        remove_folder(path)?;
        fs::rename(&part, path).map_err(|e| Error::io("rename into place", path, e))?;
        sync_folder(folder_of(path))
    })();
    if result.is_err() {
        // As above: the first error is the one to tell.
        let _ = fs::remove_dir_all(&part);
    }
    result
}

/// Removes a folder and what is in it: renamed to a temporary name first, so that it is whole or absent for every reader.
pub fn remove_folder(path: &Path) -> Result<()> {
    check(path)?;
    let gone = temporary(path).with_extension("gone");
    match fs::rename(path, &gone) {
        // Once more, where something came in between: who goes on after an error never comes back to this name.
        Ok(()) => fs::remove_dir_all(&gone).or_else(|_| fs::remove_dir_all(&gone)).map_err(|e| Error::io("remove", path, e)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// Removes what killed processes left behind in a folder. Only for a folder that this process holds the lock of.
pub fn sweep(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// Removes what killed processes left behind in a folder and in those below it, where others may be writing just now: the names say
/// which process. Of this one nothing is being written; whether one of another machine or container lives is not known here, so what it
/// wrote goes after a day. What cannot be removed stays: it is in nobody's way.
pub fn sweep_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_folder = path.is_dir();
        match writer(&path) {
            Some(Writer::Here(process)) if is_alive(process) => {}
            Some(Writer::Elsewhere) if !is_old(&entry) => {}
            Some(_) if is_folder => drop(fs::remove_dir_all(&path)),
            Some(_) => drop(fs::remove_file(&path)),
            None if is_folder => sweep_abandoned(&path),
            None => {}
        }
    }
}

/// Who writes, or wrote, under a temporary name.
enum Writer {
    /// The process of this number.
    Here(i32),
    /// One whose number says nothing here.
    Elsewhere,
}

/// Who writes, or wrote, under this name; `None` where it is no temporary one.
fn writer(path: &Path) -> Option<Writer> {
    let mut parts = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('-');
    let process = parts.next()?.parse().ok()?;
    Some(if parts.next() == Some(&*PLACE) { Writer::Here(process) } else { Writer::Elsewhere })
}

/// Whether nobody has written there for long; what cannot be asked is not.
fn is_old(entry: &fs::DirEntry) -> bool {
    let age = entry.metadata().and_then(|found| found.modified()).map(|modified| modified.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age > LONGEST_WRITE)
}

/// Whether there is another process of this number, which may still write.
fn is_alive(process: i32) -> bool {
    let other = rustix::process::Pid::from_raw(process).filter(|_| process as u32 != std::process::id());
    // One that belongs to somebody else may not be asked, and is there.
    other.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH) && !has_ended(process))
}

/// Whether a process has ended and only nobody has asked yet how: what a killed runner started is asked by the first process of a
/// machine or a container, which may take its time, or never do it.
fn has_ended(process: i32) -> bool {
    let stat = fs::read(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name stands in brackets, and may hold some itself.
    let state = stat.rsplit(|&byte| byte == b')').next().and_then(|rest| rest.get(1));
    matches!(state, Some(b'Z' | b'X'))
}

/// Bytes of all files below a folder; what cannot be read counts for nothing.
pub fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"old").unwrap();
        let error = write_with(&path, |_| Err(Error::internal("stop"))).unwrap_err();
        assert_eq!(error.to_string(), "stop");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_replaced_in_one_rename_and_leftovers_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step-1");
        for text in ["one", "two"] {
            folder_with(&path, |p| fs::write(p.join("x"), text).map_err(|e| Error::io("write", p, e))).unwrap();
            assert_eq!(fs::read_to_string(path.join("x")).unwrap(), text);
        }
        fs::create_dir(dir.path().join(".tmp-9-x.part")).unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_file_that_was_to_be_and_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step-1");
        let missing = |folder: &Path| {
            let file = folder.join("none/x");
            fs::write(&file, "").map_err(|e| Error::io("write", &file, e))
        };
        let error = folder_with(&path, missing).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to write {}", path.join("none/x").display()));
    }

    #[test]
    fn what_a_living_process_writes_is_not_swept() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("cache");
        let of = |process: u32, rest: &str| format!(".tmp-{process}-{}-{rest}", *PLACE);
        fs::create_dir_all(below.join(of(2147483646, "b.gone"))).unwrap();
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let living = of(other.id(), "a.part");
        for name in [&living, &of(2147483646, "a.part"), "a.json", &of(std::process::id(), "a.part")] {
            fs::write(below.join(name), "").unwrap();
        }
        // Another machine's, of which nothing is known here, until they are old.
        let (young, old) = (".tmp-2147483646-elsewhere-1-a.part", ".tmp-2147483646-elsewhere-2-a.part");
        for (name, age) in [(young, LONGEST_WRITE / 2), (old, LONGEST_WRITE * 2)] {
            let file = File::create(below.join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
        sweep_abandoned(dir.path());
        let mut left: Vec<_> = fs::read_dir(&below).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let mut expected = [living.as_str(), young, "a.json"];
        expected.sort_unstable();
        assert_eq!(left, expected);
        fs::remove_file(below.join(young)).unwrap();
        other.kill().unwrap();
        // It is not waited for: that it has ended is seen all the same, as soon as it has.
        let seen = || {
            sweep_abandoned(dir.path());
            fs::read_dir(&below).unwrap().count() == 1
        };
        assert!((0..3_000).any(|_| seen() || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            false
        }));
        other.wait().unwrap();
        sweep_abandoned(&dir.path().join("missing"));
    }

    #[test]
    fn a_missing_json_file_is_none_and_a_damaged_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &7).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(7));
        fs::write(&path, "{").unwrap();
        assert!(read_json::<u32>(&path).unwrap_err().to_string().ends_with("a.json is damaged"));
    }
}
