//! `events.jsonl`: what happened when, a JSON object a line.
//!
//! Append-only, one `write` a line, so that a line is there or not. What a full disk does not take is written before the next line; a
//! line that a kill tore then is passed over by [`read_events`], and the next one begins on a line of its own.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::plan::TrialId;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since 1970 (UTC); in the file RFC 3339.
    #[serde(with = "super::stamp::text")]
    pub time_utc: i64,
    /// What happened, a word: `started`, `ended`, …
    pub kind: String,
    /// The trial it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialId>,
    /// Everything else that is known about it.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// An open `events.jsonl`.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
    /// What is to be written before the next line.
    left: Vec<u8>,
}

impl EventLog {
    /// Opens the log for appending; makes it where there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let open = File::options().read(true).append(true).create(true).open(path);
        let mut file = open.map_err(|e| Error::io("open", path, e))?;
        let torn = ends_within_a_line(&mut file).map_err(|e| Error::io("read", path, e))?;
        let left = if torn { vec![b'\n'] } else { Vec::new() };
        Ok(Self { path: path.to_owned(), file, left })
    }

    /// Adds a line; where it cannot be written now, it is with the next one.
    ///
    /// # Errors
    /// Where not all is written.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        let line = serde_json::to_vec(entry).map_err(|e| Error::internal("an event has no JSON form").caused_by(e))?;
        self.left.extend(line);
        self.left.push(b'\n');
        while !self.left.is_empty() {
            match self.file.write(&self.left) {
                Ok(0) => return Err(Error::io("append to", &self.path, ErrorKind::WriteZero.into())),
                Ok(written) => drop(self.left.drain(..written)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("append to", &self.path, e)),
            }
        }
        Ok(())
    }
}

fn ends_within_a_line(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0u8];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0] != b'\n')
}

/// All lines that can be read, oldest first; none where there is no file.
pub fn read_events(path: &Path) -> Result<Vec<Entry>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    Ok(bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, slot: i64) -> Entry {
        let trial = Some(TrialId::of(kind));
        Entry { time_utc: 12, kind: kind.to_owned(), trial, details: Map::from_iter([("slot".to_owned(), slot.into())]) }
    }

    #[test]
    fn what_is_appended_is_read_back_over_two_openings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        assert!(read_events(&path).unwrap().is_empty());
        EventLog::open(&path).unwrap().append(&entry("started", 1)).unwrap();
        let mut log = EventLog::open(&path).unwrap();
        log.append(&entry("ended", 2)).unwrap();
        log.append(&Entry { trial: None, ..entry("stopping", 3) }).unwrap();
        let read = read_events(&path).unwrap();
        assert_eq!(read, [entry("started", 1), entry("ended", 2), Entry { trial: None, ..entry("stopping", 3) }]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn an_event_is_one_flat_json_object() {
        let text = serde_json::to_string(&entry("started", 1)).unwrap();
        let (time, trial) = ("1970-01-01T00:00:00.000012Z", TrialId::of("started"));
        assert_eq!(text, format!(r#"{{"time_utc":"{time}","kind":"started","trial":"{trial}","slot":1}}"#));
        let older = text.replace(&format!("\"{time}\""), "12");
        assert_eq!(serde_json::from_str::<Entry>(&older).unwrap(), entry("started", 1), "of a program that wrote numbers");
    }

    #[test]
    fn a_torn_line_is_passed_over_and_does_not_spoil_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let whole = serde_json::to_string(&entry("started", 1)).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(&path, format!("{whole}\n{}", &whole[..cut])).unwrap();
            assert_eq!(read_events(&path).unwrap().len(), 1, "cut at {cut}");
            EventLog::open(&path).unwrap().append(&entry("ended", 2)).unwrap();
            let kinds: Vec<String> = read_events(&path).unwrap().into_iter().map(|e| e.kind).collect();
            assert_eq!(kinds, ["started", "ended"], "cut at {cut}");
        }
    }

    #[test]
    fn what_could_not_be_written_is_with_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::open(&path).unwrap();
        log.append(&entry("started", 1)).unwrap();
        // One that takes nothing, as on a full disk.
        let usual = std::mem::replace(&mut log.file, File::open(&path).unwrap());
        for kind in ["failed", "disk_full"] {
            assert!(log.append(&entry(kind, 2)).is_err());
        }
        log.file = usual;
        log.append(&entry("disk_has_room", 3)).unwrap();
        let kinds: Vec<String> = read_events(&path).unwrap().into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["started", "failed", "disk_full", "disk_has_room"]);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_the_other_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut bytes = b"\xff\xfe\x00\n".to_vec();
        bytes.extend(serde_json::to_vec(&entry("ended", 1)).unwrap());
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read_events(&path).unwrap(), [entry("ended", 1)]);
    }
}
