//! Where the text comes from: files, globs and the built-in book. Each is read once from end to end, checked and hashed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::formats::{self, Rows};
use super::places::Places;
use super::stage::Stage;
use super::tokenizer::END_OF_TEXT;
use super::{patterns, rows};
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
        let text = search.all(&corpus.text, "training")?;
        let mut held_out = |setting: &Part, part| match setting {
            Part::Path(path) => search.all(std::slice::from_ref(path), part),
            _ => Ok(Vec::new()),
        };
        let (validation, test) = (held_out(&corpus.validation, "validation")?, held_out(&corpus.test, "test")?);
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
            .help(format!("name its files, as in `{}/*.txt`", entry.trim_end_matches('/'))));
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
        rows::text_of(line, field, &self.name, number)
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
        let hash = hasher.finalize();
        Ok(Scanned { source: self, bytes, raw_start, raw_end, hash, rows: None, may_name_end, as_written: None })
    }

    fn scan_rows(self, mut reader: Box<dyn BufRead + Send>, limit: u64, seen: &mut dyn FnMut(u64)) -> Result<Scanned> {
        let mut hasher = blake3::Hasher::new();
        let (mut line, mut rows) = (Vec::new(), Vec::new());
        let (mut raw, mut bytes, mut number, mut may_name_end) = (0u64, 0u64, 0u64, false);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|e| self.failed(e))? as u64;
            if read == 0 {
                break;
            }
            number += 1;
            if let Some(text) = self.row_text(&line, raw, number)? {
                if bytes + text.len() as u64 > limit {
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
        let hash = hasher.finalize();
        Ok(Scanned { source: self, bytes, raw_start: 0, raw_end, hash, rows: Some(rows), may_name_end, as_written: None })
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
mod tests {
    use std::fs;

    use super::*;
    use crate::error::Kind;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn corpus(text: Vec<String>) -> Corpus {
        Corpus { text, field: Some("text".to_owned()), ..Corpus::default() }
    }

    fn names(entries: &[&str], dir: &Path) -> Result<Vec<String>> {
        let entries: Vec<String> = entries.iter().map(|e| (*e).to_owned()).collect();
        let sources = Sources::of(&corpus(entries), dir, &|_| {})?.text;
        let short = |s: &Source| Path::new(&s.name).file_name().unwrap().to_string_lossy().into_owned();
        Ok(sources.iter().map(short).collect())
    }

    fn scan(bytes: &[u8], limit: u64) -> Result<Scanned> {
        let dir = folder(&[("a.txt", bytes)]);
        Source::file(dir.path().join("a.txt"), None)?.scan(limit, &mut |_| {})
    }

    #[test]
    fn globs_are_sorted_and_lists_keep_their_order() {
        let dir = folder(&[("b.txt", b"b"), ("a.txt", b"a"), ("c.md", b"c")]);
        assert_eq!(names(&["*.txt"], dir.path()).unwrap(), ["a.txt", "b.txt"]);
        assert_eq!(names(&["c.md", "*.txt"], dir.path()).unwrap(), ["c.md", "a.txt", "b.txt"]);
        assert_eq!(names(&["?.md", "builtin:keeper"], dir.path()).unwrap(), ["c.md", "builtin:keeper"]);
    }

    #[test]
    fn a_name_with_brackets_is_a_file_where_there_is_one() {
        let dir = folder(&[("a[1].txt", b"x"), ("a1.txt", b"y")]);
        assert_eq!(names(&["a[1].txt"], dir.path()).unwrap(), ["a[1].txt"]);
        assert_eq!(names(&["[a]1.txt"], dir.path()).unwrap(), ["a1.txt"]);
    }

    #[test]
    fn what_cannot_be_found_is_said_with_a_way_out() {
        let dir = folder(&[("a.txt", b"a")]);
        fs::create_dir(dir.path().join("sub")).unwrap();
        for (entries, message, help) in [
            (vec!["b.txt"], "b.txt does not exist", "relative to the experiment file"),
            (vec!["*.csv"], "no file matches `*.csv`", "relative to the experiment file"),
            (vec!["sub"], "sub is a folder", "`sub/*.txt`"),
            (vec!["builtin:bible"], "no built-in text `bible`", "`builtin:keeper`"),
            (vec!["a.txt", "*.txt"], "a.txt is named twice", "once"),
            (vec!["a.txt", "./a.txt"], "a.txt is named twice", "once"),
            (vec![], "names no text", "name a file"),
            (vec!["a**b"], "not a valid pattern", ""),
        ] {
            let error = names(&entries, dir.path()).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{error}");
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.help_text().unwrap_or_default().contains(help), "{error}");
        }
    }

    #[test]
    fn rows_need_a_field() {
        let dir = folder(&[("a.jsonl", b"{}")]);
        let corpus = Corpus { field: None, ..corpus(vec!["a.jsonl".to_owned()]) };
        let error = Sources::of(&corpus, dir.path(), &|_| {}).unwrap_err();
        assert!(error.to_string().contains("`corpus.field` is not set"));
        assert_eq!(error.kind(), Kind::Usage);
    }

    #[test]
    fn rows_under_another_name_are_refused_unless_they_are_to_be_learned_as_they_are_written() {
        let rows = b"{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
        let dir = folder(&[("a.json", rows), ("b.txt", rows), ("c.csv", b"id,text\n1,a\n"), ("d.jsonl", rows)]);
        let scan = |name: &str, field| Source::file(dir.path().join(name), field)?.scan(u64::MAX, &mut |_| {});
        for (name, field, what, help) in [
            ("a.json", Some("text"), "rows of JSON, an object a line", "a.jsonl"),
            ("a.json", None, "rows of JSON, an object a line", "`.txt`"),
            ("b.txt", Some("text"), "rows of JSON, an object a line", "b.jsonl"),
            ("c.csv", None, "a table (CSV)", "csv.DictReader"),
            ("c.csv", Some("text"), "a table (CSV)", "csv.DictReader"),
        ] {
            let error = scan(name, field).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(&format!("{name} holds {what}")), "{error}");
            assert!(error.help_text().unwrap().contains(help), "{name}: {:?}", error.help_text());
        }
        assert_eq!(scan("b.txt", None).unwrap().as_written, Some(Rows::Lines));
        assert_eq!(scan("d.jsonl", Some("text")).unwrap().bytes, 2);
    }

    #[test]
    fn rows_that_are_compressed_are_named_as_that() {
        let dir = folder(&[("a.jsonl", b"\x1F\x8B\x08\x00")]);
        let error = Source::file(dir.path().join("a.jsonl"), Some("text")).unwrap().scan(u64::MAX, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("a.jsonl is compressed with gzip"), "{error}");
    }

    #[test]
    fn files_of_a_corpus_include_the_held_out_ones_and_not_the_built_in_text() {
        let dir = folder(&[("a.txt", b"a"), ("v.txt", b"v")]);
        let corpus = Corpus {
            text: vec!["builtin:keeper".to_owned(), "a.txt".to_owned()],
            validation: Part::Path("v.txt".to_owned()),
            ..Corpus::default()
        };
        assert_eq!(files_of(&corpus, dir.path()).unwrap(), [dir.path().join("a.txt"), dir.path().join("v.txt")]);
    }

    #[test]
    fn a_fault_in_utf8_is_named_by_file_and_byte_wherever_it_lies() {
        let mut far = vec![b'a'; BUFFER - 1];
        far.extend("é".as_bytes());
        far.extend(b"\xFFz");
        for (bytes, offset) in [
            (b"ab\xFFcd".to_vec(), 2),
            (b"\xC3".to_vec(), 0),
            ("aé\u{20AC}".as_bytes()[..4].to_vec(), 3),
            (b"\x80".to_vec(), 0),
            (far, BUFFER + 1),
        ] {
            let error = scan(&bytes, u64::MAX).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(&format!("a.txt is not UTF-8: byte {offset} ")), "{error}");
        }
    }

    #[test]
    fn bytes_stay_as_they_are_with_carriage_returns_and_marks_within() {
        let text = "one\r\n\u{FEFF}two\r\n";
        let scanned = scan(text.as_bytes(), u64::MAX).unwrap();
        assert_eq!((scanned.raw_start, scanned.bytes), (0, text.len() as u64));
        assert_eq!(scanned.hash, blake3::hash(text.as_bytes()));
    }

    #[test]
    fn a_byte_order_mark_at_the_beginning_is_no_part_of_the_text() {
        for text in ["one\r\ntwo\r\n", "", "é"] {
            let dir = folder(&[("a.txt", format!("\u{FEFF}{text}").as_bytes())]);
            let source = Source::file(dir.path().join("a.txt"), None).unwrap();
            let scanned = source.scan(u64::MAX, &mut |_| {}).unwrap();
            assert_eq!((scanned.raw_start, scanned.raw_end), (3, 3 + text.len() as u64));
            assert_eq!(scanned.bytes, text.len() as u64);
            assert_eq!(scanned.hash, blake3::hash(text.as_bytes()), "as without it");
            assert_eq!(scanned.source.bytes_between(3, scanned.raw_end).unwrap(), text.as_bytes());
        }
        assert_eq!(scan("\u{FEFF}aéb".as_bytes(), 3).unwrap().bytes, 3, "a limit counts the text");
        let error = scan(b"\xEF\xBB\xBFab\xFF", u64::MAX).unwrap_err();
        assert!(error.to_string().contains("byte 5 "), "{error}");
    }

    #[test]
    fn a_limit_takes_the_first_part_and_never_half_a_character() {
        for (limit, bytes) in [(0, 0), (1, 1), (2, 1), (3, 3), (4, 4), (100, 4)] {
            let scanned = scan("aéb".as_bytes(), limit).unwrap();
            assert_eq!(scanned.bytes, bytes, "limit {limit}");
            assert_eq!(scanned.hash, blake3::hash(&"aéb".as_bytes()[..bytes as usize]));
        }
    }

    #[test]
    fn rows_are_documents_and_empty_ones_are_left_out() {
        let dir = folder(&[("a.jsonl", b"{\"text\":\"one\",\"n\":1}\n\n{\"text\":\"\"}\n{\"text\":\"tw\\u00e9\"}")]);
        let source = || Source::file(dir.path().join("a.jsonl"), Some("text")).unwrap();
        let scanned = source().scan(u64::MAX, &mut |_| {}).unwrap();
        let rows = scanned.rows.unwrap();
        assert_eq!(rows.iter().map(|r| r.text_end).collect::<Vec<_>>(), [3, 7]);
        assert_eq!((scanned.bytes, scanned.raw_end), (7, rows[1].raw_end));
        assert_eq!(source().scan(5, &mut |_| {}).unwrap().bytes, 3);
    }

    #[test]
    fn faults_in_rows_name_file_line_and_field() {
        for (text, expected) in [
            ("{\"text\":\"a\"}\n{\"text\":1}\n", "the field `text` in line 2 of"),
            ("{\"body\":\"a\"}\n", "has no field `text`"),
            ("{\"text\":\"a\"}\n\nnope\n", "line 3 of"),
        ] {
            let dir = folder(&[("a.jsonl", text.as_bytes())]);
            let source = Source::file(dir.path().join("a.jsonl"), Some("text")).unwrap();
            let error = source.scan(u64::MAX, &mut |_| {}).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_fault_in_the_utf8_of_a_row_is_counted_from_the_start_of_the_file() {
        let dir = folder(&[("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xFF\"}\n")]);
        let source = Source::file(dir.path().join("a.jsonl"), Some("text")).unwrap();
        let error = source.scan(u64::MAX, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("byte 22 "), "{error}");
    }

    #[test]
    fn the_end_of_text_token_in_a_text_is_never_missed() {
        let named = |text: &str| scan(text.as_bytes(), u64::MAX).unwrap().may_name_end;
        assert!(named("one<|endoftext|>two") && named("<<|endoftext|>"));
        assert!(!named("one<|endoftex|>two") && !named("a < b, a <| b"));
        for before in BUFFER - END_OF_TEXT.len()..=BUFFER {
            assert!(named(&format!("{}<|endoftext|>", "a".repeat(before))), "{before}");
        }
        let dir = folder(&[("a.jsonl", b"{\"text\":\"one\"}\n{\"text\":\"two<|endoftext|>\"}")]);
        let rows = Source::file(dir.path().join("a.jsonl"), Some("text")).unwrap();
        assert!(rows.scan(u64::MAX, &mut |_| {}).unwrap().may_name_end);
    }
}
