//! Where the text comes from: files, globs and the built-in book. Each is read once from end to end, checked and hashed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::formats::{self, Rows};
use super::places::Places;
use super::stage::Stage;
use super::tokenizer::END_OF_TEXT;
use super::{json_lines, patterns};
use crate::error::{Error, Result};
use crate::experiment::settings::{Corpus, Part};

const KEEPER: &str = include_str!("../../experiments/data/keeper.txt");
/// What is read of a file at a time. A small file gets a small buffer: there may be a hundred thousand of them.
const BUFFER: usize = 1 << 20;
const SMALLEST_BUFFER: usize = 1 << 12;
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// One place that text is read from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// As messages name it.
    pub(crate) name: String,
    origin: Origin,
    /// Whether it consists of rows: a `.jsonl` file.
    pub(crate) has_rows: bool,
    /// The field of each row that holds the text, where `corpus.field` is set.
    field: Option<String>,
    /// Bytes on disk when it was found; for progress and buffers only.
    pub(crate) size: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Origin {
    File(PathBuf),
    Builtin(&'static str),
}

/// A source whose text is known to be good: how long it is, and what it holds.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) source: Source,
    /// Bytes of text.
    pub(crate) bytes: u64,
    /// Where the text begins in the file: after a byte order mark.
    pub(crate) raw_start: u64,
    /// Where it ends in the file.
    pub(crate) raw_end: u64,
    /// Content: text and where documents end.
    pub(crate) hash: blake3::Hash,
    /// Ends of the documents, where the source consists of rows.
    pub(crate) rows: Option<Vec<Row>>,
    /// Whether the text may have [`END_OF_TEXT`] in it; where this is false it has not.
    pub(crate) may_name_end: bool,
    /// Whether there is more of it than was to be read, a part of a character or a row at least.
    pub(crate) is_cut: bool,
    /// Rows that are learned from as they are written, braces and all.
    pub(crate) as_written: Option<Rows>,
}

/// Where a row ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    /// In the file.
    pub(crate) raw_end: u64,
    /// In the text of all rows.
    pub(crate) text_end: u64,
}

/// The files that `corpus` names, its held-out files included, sorted within each glob. Fails where one is missing or named twice, or a
/// glob matches nothing. The built-in text is no file.
pub fn files_of(corpus: &Corpus, base: &Path) -> Result<Vec<PathBuf>> {
    let Sources { text, validation, test } = Sources::of(corpus, base, &|_| {})?;
    let all = text.into_iter().chain(validation).chain(test);
    Ok(all.filter_map(|source| if let Origin::File(path) = source.origin { Some(path) } else { None }).collect())
}

/// Whether a file of this name consists of rows, one of whose fields `corpus.field` names.
pub fn is_for_rows(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl") || e.eq_ignore_ascii_case("ndjson"))
}

/// The sources that `corpus` names, each once.
#[derive(Debug)]
pub(crate) struct Sources {
    /// What is learned from, and what fractions are cut from.
    pub(crate) text: Vec<Source>,
    /// Held-out files for validation; empty where it is cut from the text, or there is none.
    pub(crate) validation: Vec<Source>,
    /// As `validation`.
    pub(crate) test: Vec<Source>,
}

impl Sources {
    /// Finds them: files, globs or built-in texts, relative to `base`.
    ///
    /// # Errors
    /// A file that is missing, is named twice or belongs to two parts; a glob that matches nothing.
    pub(crate) fn of(corpus: &Corpus, base: &Path, progress: &dyn Fn(Stage)) -> Result<Self> {
        if corpus.text.is_empty() {
            return Err(Error::usage("`corpus.text` names no text").help("name a file, a glob, or `builtin:keeper`"));
        }
        let mut search = Search { field: corpus.field.as_deref(), base, places: Places::default(), files: 0, progress };
        let text = search.all(&corpus.text, "training").map_err(|error| error.about("corpus.text"))?;
        let mut held_out = |setting: &Part, part, key| match setting {
            Part::Path(path) => search.all(std::slice::from_ref(path), part).map_err(|error: Error| error.about(key)),
            _ => Ok(Vec::new()),
        };
        let validation = held_out(&corpus.validation, "validation", "corpus.validation")?;
        let test = held_out(&corpus.test, "test", "corpus.test")?;
        Ok(Self { text, validation, test })
    }
}

/// What was found so far.
struct Search<'a> {
    field: Option<&'a str>,
    base: &'a Path,
    places: Places,
    files: u64,
    progress: &'a dyn Fn(Stage),
}

impl Search<'_> {
    /// The sources of these entries, which belong to one part.
    fn all(&mut self, entries: &[String], part: &'static str) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        for entry in entries {
            let (files, progress) = (&mut self.files, self.progress);
            let mut found = || {
                *files += 1;
                progress(Stage::Finding { files: *files });
            };
            for source in resolve_entry(entry, self.field, self.base, &mut found)? {
                match self.places.add(source.place(), part) {
                    None => sources.push(source),
                    Some(other) if other == part => {
                        return Err(Error::usage(format!("{} is named twice in the corpus", source.name))
                            .help("name each file once; a glob may already include it"));
                    }
                    Some(other) => {
                        return Err(Error::usage(format!("{} is in the {other} part and in the {part} part", source.name))
                            .help("a text that is learned from cannot rank: name another file, or hold out a fraction"));
                    }
                }
            }
        }
        Ok(sources)
    }
}

/// The sources of one entry; `found` is called for every file.
fn resolve_entry(entry: &str, field: Option<&str>, base: &Path, found: &mut dyn FnMut()) -> Result<Vec<Source>> {
    if let Some(name) = entry.strip_prefix("builtin:") {
        return match name {
            "keeper" => {
                let (origin, size) = (Origin::Builtin(KEEPER), KEEPER.len() as u64);
                Ok(vec![Source { name: entry.to_owned(), origin, has_rows: false, field: None, size }])
            }
            _ => Err(Error::usage(format!("there is no built-in text `{name}`")).help("the built-in text is `builtin:keeper`")),
        };
    }
    let path = base.join(entry);
    if path.is_dir() {
        return Err(Error::usage(format!("{} is a folder", path.display()))
            .help(format!("name its files by a pattern in quotes: '{}/*.txt'", entry.trim_end_matches('/'))));
    }
    // A file whose name contains `[` is that file and no pattern.
    if path.exists() || !entry.contains(['*', '?', '[']) {
        return Ok(vec![Source::file(path, field)?]);
    }
    let paths = patterns::files(entry, base, found)?;
    if paths.is_empty() {
        return Err(Error::usage(format!("no file matches `{entry}` in {}", base.display()))
            .help("patterns are relative to the experiment file"));
    }
    paths.into_iter().map(|path| Source::file(path, field)).collect()
}

impl Source {
    fn file(path: PathBuf, field: Option<&str>) -> Result<Self> {
        let name = path.display().to_string();
        let size = match std::fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::usage(format!("{name} does not exist")).help("paths are relative to the experiment file"));
            }
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        let has_rows = is_for_rows(&path);
        if has_rows && field.is_none() {
            return Err(Error::usage(format!("{name} has rows of JSON, but `corpus.field` is not set"))
                .help("set `corpus.field` to the field that holds the text, as in `field: text`"));
        }
        Ok(Self { name, origin: Origin::File(path), has_rows, field: field.map(str::to_owned), size })
    }

    /// Where it lies; the built-in text under its name.
    fn place(&self) -> &Path {
        match &self.origin {
            Origin::File(path) => path,
            Origin::Builtin(_) => Path::new(&self.name),
        }
    }

    /// How much to read of it at a time where so much of it is left.
    fn buffer(left: u64) -> usize {
        // One byte more than there is: the end is seen with it.
        left.saturating_add(1).clamp(SMALLEST_BUFFER as u64, BUFFER as u64) as usize
    }

    /// Opens it at this byte.
    pub(crate) fn open(&self, from: u64) -> Result<Box<dyn BufRead + Send>> {
        match &self.origin {
            Origin::Builtin(text) => Ok(Box::new(&text.as_bytes()[from as usize..])),
            Origin::File(path) => {
                let mut file = File::open(path).map_err(|e| Error::io("open", path, e))?;
                if from > 0 {
                    file.seek(SeekFrom::Start(from)).map_err(|e| Error::io("read", path, e))?;
                }
                Ok(Box::new(BufReader::with_capacity(Self::buffer(self.size.saturating_sub(from)), file)))
            }
        }
    }

    /// The bytes `from` … `to` of a file of plain text.
    pub(crate) fn bytes_between(&self, from: u64, to: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (to - from) as usize];
        self.open(from)?.read_exact(&mut bytes).map_err(|e| self.failed(e))?;
        Ok(bytes)
    }

    /// The error of a failed read.
    pub(crate) fn failed(&self, error: std::io::Error) -> Error {
        Error::io("read", Path::new(&self.name), error)
    }

    /// The text of a row, or `None` where the row is blank or its text empty.
    pub(crate) fn row_text(&self, line: &[u8], start: u64, number: u64) -> Result<Option<String>> {
        let Some(field) = &self.field else {
            return Err(Error::internal(format!("{} has no rows", self.name)));
        };
        let line = std::str::from_utf8(line).map_err(|e| self.not_utf8(start + e.valid_up_to() as u64))?;
        json_lines::text_of(line, field, &self.name, number)
    }

    fn not_utf8(&self, offset: u64) -> Error {
        Error::usage(format!("{} is not UTF-8: byte {offset} (counted from 0) fits no character", self.name)).help(format!(
            "convert it first: `iconv -f latin1 -t utf-8 {0} > {0}.utf-8`, where latin1 is what it is in",
            self.name
        ))
    }

    /// Refuses a file that begins with these bytes where it is no text, or has rows under a name that rows do not have; `whole`
    /// says that there are no more bytes. Rows in a `.txt` file are learned from as they are written, and are returned.
    fn refuse_other(&self, head: &[u8], whole: bool) -> Result<Option<Rows>> {
        formats::refuse_other(&self.name, head)?;
        let Some(rows) = Rows::find(&self.name, head, whole).filter(|_| !self.has_rows) else { return Ok(None) };
        let is_txt = Path::new(&self.name).extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"));
        let error = Error::usage(format!("{} holds {}, and rows are read from `.jsonl` files", self.name, rows.named()));
        let way_out = rows.way_out(&self.name);
        match &self.field {
            Some(_) => Err(error.help(way_out)),
            None if is_txt => Ok(Some(rows)),
            None => Err(error.help(format!(
                "{way_out}, with `corpus.field` set to the field that holds the text; or give it a name that ends in `.txt`, to \
                 learn it as it is written"
            ))),
        }
    }

    /// Reads it from end to end, at most `limit` bytes of text: whole characters of a plain file, whole rows of a `.jsonl`. A
    /// byte order mark at its beginning is no part of the text.
    pub(crate) fn scan(self, limit: u64, seen: &mut dyn FnMut(u64)) -> Result<Scanned> {
        let mut reader = self.open(0)?;
        let head = reader.fill_buf().map_err(|e| self.failed(e))?;
        let as_written = self.refuse_other(head, head.len() < BUFFER)?;
        let mark = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        if self.has_rows {
            json_lines::refuse_array(head, &self.name)?;
            return self.scan_rows(reader, limit, seen);
        }
        if mark > 0 {
            reader.consume(mark);
            seen(mark as u64);
        }
        let scanned = self.scan_plain(reader, mark as u64, limit, seen)?;
        Ok(Scanned { as_written, ..scanned })
    }

    fn scan_plain(
        self,
        reader: Box<dyn BufRead + Send>,
        raw_start: u64,
        limit: u64,
        seen: &mut dyn FnMut(u64),
    ) -> Result<Scanned> {
        let mut reader = reader.take(limit);
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0u8; Self::buffer(self.size.min(limit))];
        // `kept` bytes at the front of the buffer are a character that the last read cut.
        let (mut bytes, mut kept, mut may_name_end) = (0u64, 0, false);
        loop {
            let read = reader.read(&mut buffer[kept..]).map_err(|e| self.failed(e))?;
            if read == 0 {
                break;
            }
            let filled = kept + read;
            let good = match std::str::from_utf8(&buffer[..filled]) {
                Ok(_) => filled,
                Err(e) if e.error_len().is_none() => e.valid_up_to(),
                Err(e) => return Err(self.not_utf8(raw_start + bytes + e.valid_up_to() as u64)),
            };
            may_name_end = may_name_end || may_hold(&buffer[..good], END_OF_TEXT.as_bytes());
            hasher.update(&buffer[..good]);
            bytes += good as u64;
            seen(good as u64);
            buffer.copy_within(good..filled, 0);
            kept = filled - good;
        }
        // A character cut by the limit is left out; one cut by the end of the file is a fault.
        if kept > 0 && bytes + (kept as u64) < limit {
            return Err(self.not_utf8(raw_start + bytes));
        }
        let raw_end = raw_start + bytes;
        let (hash, is_cut) = (hasher.finalize(), kept > 0);
        Ok(Scanned { source: self, bytes, raw_start, raw_end, hash, rows: None, may_name_end, is_cut, as_written: None })
    }

    fn scan_rows(self, mut reader: Box<dyn BufRead + Send>, limit: u64, seen: &mut dyn FnMut(u64)) -> Result<Scanned> {
        let mut hasher = blake3::Hasher::new();
        let (mut line, mut rows) = (Vec::new(), Vec::new());
        let (mut raw, mut bytes, mut number, mut may_name_end, mut is_cut) = (0u64, 0u64, 0u64, false, false);
        loop {
            line.clear();
            // A row is one document, which is held whole, however long.
            let read = reader.read_until(b'\n', &mut line).map_err(|e| self.failed(e))? as u64;
            if read == 0 {
                break;
            }
            number += 1;
            if let Some(text) = self.row_text(&line, raw, number)? {
                is_cut = bytes + text.len() as u64 > limit;
                if is_cut {
                    break;
                }
                bytes += text.len() as u64;
                may_name_end = may_name_end || text.contains(END_OF_TEXT);
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
                rows.push(Row { raw_end: raw + read, text_end: bytes });
            }
            raw += read;
            seen(read);
        }
        let raw_end = rows.last().map_or(0, |row: &Row| row.raw_end);
        let (hash, rows) = (hasher.finalize(), Some(rows));
        Ok(Scanned { source: self, bytes, raw_start: 0, raw_end, hash, rows, may_name_end, is_cut, as_written: None })
    }
}

/// Whether these bytes have `part` in them, or end with what may be its beginning.
fn may_hold(bytes: &[u8], part: &[u8]) -> bool {
    let begins = |rest: &[u8]| {
        let seen = rest.len().min(part.len());
        rest[..seen] == part[..seen]
    };
    (0..bytes.len()).filter(|&place| bytes[place] == part[0]).any(|place| begins(&bytes[place..]))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
