//! What a file holds that is no plain text, by its first bytes: it is named for what it is, with the way out.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// A format that is known by how its files begin. `FILE` in the way out stands for the file's name, `UNPACKED` for that of what is in it.
struct Format {
    begins: &'static [u8],
    what: &'static str,
    way_out: &'static str,
}

const fn format(begins: &'static [u8], what: &'static str, way_out: &'static str) -> Format {
    Format { begins, what, way_out }
}

const UTF_16: &str = "convert it first: `iconv -f utf-16 -t utf-8 FILE > FILE.utf-8`";
const UTF_32: &str = "convert it first: `iconv -f utf-32 -t utf-8 FILE > FILE.utf-8`";

/// None of these begins a text: they have bytes that no text has, or are long enough.
const FORMATS: &[Format] = &[
    // By what they read from standard input: the tools refuse a file without their ending.
    format(b"\x1F\x8B", "compressed with gzip", "unpack it first, `gunzip < FILE > UNPACKED`, and name that file"),
    format(b"\x28\xB5\x2F\xFD", "compressed with zstd", "unpack it first, `zstd -d < FILE > UNPACKED`, and name that file"),
    format(b"\xFD7zXZ\0", "compressed with xz", "unpack it first, `unxz < FILE > UNPACKED`, and name that file"),
    format(b"\x04\x22\x4D\x18", "compressed with lz4", "unpack it first, `lz4 -d < FILE > UNPACKED`, and name that file"),
    format(b"PK\x03\x04", "a zip archive", "unpack it first: `unzip FILE`"),
    format(b"7z\xBC\xAF\x27\x1C", "a 7z archive", "unpack it first: `7z x FILE`"),
    format(
        b"PAR1\x15",
        "a Parquet file",
        "write its rows as JSON first, an object a line: `python3 -c \"import pandas; \
         pandas.read_parquet('FILE').to_json('rows.jsonl', orient='records', lines=True)\"`, and set `corpus.field`",
    ),
    format(
        b"ARROW1\0\0",
        "an Arrow file",
        "write its rows as JSON first, an object a line: `python3 -c \"import pandas; \
         pandas.read_feather('FILE').to_json('rows.jsonl', orient='records', lines=True)\"`, and set `corpus.field`",
    ),
    format(b"\x93NUMPY", "an array of NumPy", "name the text that it was made from: tokens are made here"),
    format(b"\xFF\xFE\0\0", "UTF-32", UTF_32),
    format(b"\0\0\xFE\xFF", "UTF-32", UTF_32),
    format(b"\xFF\xFE", "UTF-16", UTF_16),
    format(b"\xFE\xFF", "UTF-16", UTF_16),
];

/// Refuses a file that begins with these bytes where they show that it is no plain text in UTF-8.
pub(crate) fn refuse_other(name: &str, head: &[u8]) -> Result<()> {
    let refused = |what: &str, way_out: &str| {
        let way_out = way_out.replace("UNPACKED", &unpacked(name)).replace("FILE", name);
        Err(Error::usage(format!("{name} is {what}, and only plain text in UTF-8 is read")).help(way_out))
    };
    if let Some(format) = FORMATS.iter().find(|format| head.starts_with(format.begins)) {
        return refused(format.what, format.way_out);
    }
    // Blocks of bzip2 begin with the digits of π.
    if head.starts_with(b"BZh") && head.get(4..10) == Some(&b"\x31\x41\x59\x26\x53\x59"[..]) {
        return refused("compressed with bzip2", "unpack it first, `bunzip2 < FILE > UNPACKED`, and name that file");
    }
    if head.get(257..262) == Some(b"ustar") && head.contains(&0) {
        return refused("a tar archive", "unpack it first: `tar -xf FILE`");
    }
    if let Some(order) = utf16_without_mark(head) {
        let way_out = format!("convert it first: `iconv -f {order} -t utf-8 FILE > FILE.utf-8`");
        return refused("UTF-16 without a byte order mark", &way_out);
    }
    let is_utf8 = std::str::from_utf8(head).map_or_else(|e| e.error_len().is_none(), |_| true);
    if !is_utf8 && head.starts_with(b"%PDF-") {
        return refused("a PDF document", "take its text out first: `pdftotext FILE`");
    }
    if !is_utf8 && head.contains(&0) {
        return refused("binary", "name files of plain text, as in `*.txt`");
    }
    Ok(())
}

/// What the content of a compressed file of this name is called: without the ending that says so; else it keeps its ending, which says
/// whether it has rows.
fn unpacked(name: &str) -> String {
    let path = Path::new(name);
    let is_known =
        |ending: &std::ffi::OsStr| ["gz", "zst", "xz", "lz4", "bz2"].iter().any(|known| ending.eq_ignore_ascii_case(known));
    match path.extension() {
        Some(ending) if is_known(ending) => path.with_extension("").display().to_string(),
        _ => {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!("unpacked-{file}")).display().to_string()
        }
    }
}

/// The byte order of a text in UTF-16 whose characters are mostly those of ASCII: every other byte is 0.
fn utf16_without_mark(head: &[u8]) -> Option<&'static str> {
    const LOOKED_AT: usize = 1024;
    let pairs = head.len().min(LOOKED_AT) / 2;
    let zeros = |first: usize| head[..2 * pairs].iter().skip(first).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let mostly = |most: usize, few: usize| most * 10 >= pairs * 9 && few * 10 <= pairs;
    match pairs {
        0..4 => None,
        _ if mostly(odd, even) => Some("utf-16le"),
        _ if mostly(even, odd) => Some("utf-16be"),
        _ => None,
    }
}

/// Rows in a file that is not read as rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// A JSON object a line.
    Lines,
    /// A JSON array of objects.
    Array,
    /// A JSON array of texts.
    Texts,
    /// Columns parted by commas (or semicolons), or by tabs.
    Table(char),
}

impl Rows {
    /// Rows that a file of this name clearly holds, which begins with these bytes; `whole` says that there are no more.
    /// A text that only looks a little like rows has none: a table is one by its name too.
    pub(crate) fn find(name: &str, head: &[u8], whole: bool) -> Option<Self> {
        let text = match std::str::from_utf8(head) {
            Ok(text) => text,
            Err(e) => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        };
        let text = text.trim_start_matches('\u{FEFF}').trim_start();
        match text.as_bytes().first()? {
            b'{' if are_lines(text, whole) => return Some(Self::Lines),
            b'[' if begins_with(text, Value::is_object) => return Some(Self::Array),
            _ => {}
        }
        let delimiters: &[char] = match Path::new(name).extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => return begins_with(text, Value::is_string).then_some(Self::Texts),
            "csv" => &[',', ';', '\t'],
            "tsv" | "tab" => &['\t'],
            _ => return None,
        };
        delimiters.iter().find(|delimiter| is_table(text, **delimiter, whole)).map(|delimiter| Self::Table(*delimiter))
    }

    /// What the file holds, in words.
    pub(crate) fn named(self) -> &'static str {
        match self {
            Self::Lines => "rows of JSON, an object a line",
            Self::Array => "a JSON array of rows",
            Self::Texts => "a JSON array of texts",
            Self::Table('\t') => "a table with tabs between its columns (TSV)",
            Self::Table(_) => "a table (CSV)",
        }
    }

    /// How the rows of a file of this name are learned from.
    pub(crate) fn way_out(self, name: &str) -> String {
        let path = Path::new(name);
        // Not the file that is read: a shell would empty it first.
        let rows = match path.with_extension("jsonl") {
            rows if rows == path => path.with_file_name("rows-a-line.jsonl"),
            rows => rows,
        };
        let rows = rows.display();
        match self {
            Self::Lines => format!("name it {rows}"),
            Self::Array => format!("write an object a line, `jq -c '.[]' {name} > {rows}`, and name that file"),
            Self::Texts => {
                format!("write an object a line, `jq -c '.[] | {{text: .}}' {name} > {rows}`, and name that file")
            }
            Self::Table(delimiter) => {
                let option = match delimiter {
                    ',' => String::new(),
                    other => format!(", delimiter='{}'", other.escape_default()),
                };
                format!(
                    "write a JSON object a line, `python3 -c \"import csv, json, sys; [print(json.dumps(row)) for row in \
                     csv.DictReader(sys.stdin{option})]\" < {name} > {rows}`, and name that file"
                )
            }
        }
    }
}

/// Whether the first two lines that are not blank are JSON objects.
fn are_lines(text: &str, whole: bool) -> bool {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if !whole && lines.last().is_some_and(|last| !last.ends_with('\n')) {
        lines.pop();
    }
    let mut objects = lines.into_iter().filter(|line| !line.trim().is_empty()).take(2).map(is_object);
    objects.next() == Some(true) && objects.next() == Some(true)
}

fn is_object(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object())
}

/// Whether this is the beginning of a JSON array whose first element is of this kind.
fn begins_with(text: &str, kind: fn(&Value) -> bool) -> bool {
    let Some(inside) = text.strip_prefix('[') else { return false };
    let mut elements = serde_json::Deserializer::from_str(inside).into_iter::<Value>();
    let is_first = matches!(elements.next(), Some(Ok(first)) if kind(&first));
    is_first && inside[elements.byte_offset()..].trim_start().starts_with([',', ']'])
}

/// Whether the first lines have the same number of columns, two at least. A quoted cell may hold anything.
fn is_table(text: &str, delimiter: char, whole: bool) -> bool {
    const LINES: usize = 16;
    let (mut counts, mut columns, mut quoted, mut empty) = (Vec::new(), 1, false, true);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            '\n' if !quoted => {
                if !empty {
                    counts.push(columns);
                }
                (columns, empty) = (1, true);
                if counts.len() == LINES {
                    break;
                }
                continue;
            }
            other if other == delimiter && !quoted => columns += 1,
            _ => {}
        }
        empty &= character.is_whitespace() && character != delimiter;
    }
    if whole && !empty && !quoted {
        counts.push(columns);
    }
    counts.len() >= 2 && counts[0] >= 2 && counts.iter().all(|&n| n == counts[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn what_is_no_text_is_named_with_the_way_out() {
        let tar = [&[b'a'; 100][..], &[0; 157], b"ustar\x0000", &[0; 248]].concat();
        let text = "Boats fell on watched old.\n\n";
        for (head, what, way_out) in [
            (b"\x1F\x8B\x08\x00".to_vec(), "compressed with gzip", "`gunzip < a.txt > unpacked-a.txt`"),
            (b"\x28\xB5\x2F\xFD\x04".to_vec(), "compressed with zstd", "`zstd -d < a.txt > unpacked-a.txt`"),
            (b"BZh91AY&SY\x8f".to_vec(), "compressed with bzip2", "`bunzip2 < a.txt > unpacked-a.txt`"),
            (b"\xFD7zXZ\0\0".to_vec(), "compressed with xz", "`unxz < a.txt > unpacked-a.txt`"),
            (b"PK\x03\x04\x14\0".to_vec(), "a zip archive", "`unzip a.txt`"),
            (b"PAR1\x15\x04".to_vec(), "a Parquet file", "pandas.read_parquet('a.txt')"),
            (tar, "a tar archive", "`tar -xf a.txt`"),
            (b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n".to_vec(), "a PDF document", "`pdftotext a.txt`"),
            (b"\x89PNG\r\n\x1A\n\0\0\0\r".to_vec(), "binary", "`*.txt`"),
            (utf16(&format!("\u{FEFF}{text}"), u16::to_le_bytes), "UTF-16", "iconv -f utf-16 -t utf-8 a.txt"),
            (utf16(&format!("\u{FEFF}{text}"), u16::to_be_bytes), "UTF-16", "iconv -f utf-16 -t utf-8 a.txt"),
            (utf16(text, u16::to_le_bytes), "UTF-16 without", "iconv -f utf-16le -t utf-8 a.txt"),
            (utf16(text, u16::to_be_bytes), "UTF-16 without", "iconv -f utf-16be -t utf-8 a.txt"),
            (b"\xFF\xFE\0\0B\0\0\0".to_vec(), "UTF-32", "iconv -f utf-32 -t utf-8 a.txt"),
        ] {
            let error = refuse_other("a.txt", &head).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Usage);
            assert!(error.to_string().contains(&format!("a.txt is {what}")), "{error}");
            assert!(error.help_text().unwrap().contains(way_out), "{what}: {:?}", error.help_text());
        }
    }

    #[test]
    fn what_is_unpacked_has_a_name_of_its_own() {
        for (name, expected) in [
            ("b/a.txt.gz", "`gunzip < b/a.txt.gz > b/a.txt`"),
            ("rows.jsonl.GZ", "`gunzip < rows.jsonl.GZ > rows.jsonl`"),
            ("./rows.jsonl", "`gunzip < ./rows.jsonl > ./unpacked-rows.jsonl`"),
        ] {
            let error = refuse_other(name, b"\x1F\x8B\x08\x00").unwrap_err();
            assert!(error.help_text().unwrap().contains(expected), "{:?}", error.help_text());
        }
    }

    #[test]
    fn texts_are_texts_whatever_they_begin_with() {
        for text in [
            "",
            "a",
            "PAR1 is how Parquet begins",
            "BZh91 and what follows",
            "%PDF- in a text",
            "PK",
            "7z",
            "a\0b\0 text with two bytes of 0",
            "\u{FEFF}mark",
            "日本語、ещё текст",
            "\0\0\0",
        ] {
            assert!(refuse_other("a.txt", text.as_bytes()).is_ok(), "{text}");
        }
        // A character that the end of what was looked at has cut is no fault.
        assert!(refuse_other("a.txt", &"a\0日".as_bytes()[..4]).is_ok());
    }

    #[test]
    fn rows_are_seen_by_their_form() {
        let find = |name: &str, text: &str| Rows::find(name, text.as_bytes(), true);
        let lines = "{\"id\": 0, \"text\": \"a\"}\n\n{\"id\": 1, \"text\": \"b\"}\n";
        for name in ["a.json", "a.txt", "a"] {
            assert_eq!(find(name, lines), Some(Rows::Lines), "{name}");
            assert_eq!(find(name, "\u{FEFF} [\n  {\"text\": \"a\"},\n  {\"text\": \"b\"}]"), Some(Rows::Array));
            assert_eq!(find(name, "[{\"text\": \"only one\"}]\n"), Some(Rows::Array));
        }
        assert_eq!(find("a.json", "[\"one\", \"two\"]"), Some(Rows::Texts));
        assert_eq!(find("a.txt", "[\"one\", \"two\"]"), None);
        assert_eq!(find("a.csv", "id,text\n1,\"with, a comma\nand a line\"\n2,b"), Some(Rows::Table(',')));
        assert_eq!(find("a.CSV", "id;text\n1;a\n"), Some(Rows::Table(';')));
        assert_eq!(find("a.tsv", "id\ttext\n1\ta, b\n"), Some(Rows::Table('\t')));
        let cut = format!("{lines}{{\"id\": 2, \"te");
        assert_eq!(Rows::find("a.json", cut.as_bytes(), false), Some(Rows::Lines));
        assert_eq!(Rows::find("a.csv", b"id,text\n1,a\n2", false), Some(Rows::Table(',')), "the last line is not whole");
    }

    #[test]
    fn prose_and_programs_are_no_rows() {
        for (name, text) in [
            ("a.txt", ""),
            ("a.txt", "[Enter Hamlet, reading]\n\nWords, words, words.\n"),
            ("a.txt", "{\n  let a = 1;\n}\n"),
            ("a.c", "{ 1, 2 },\n{ 3, 4 },\n"),
            ("a.py", "[{x} for x in range(3)]\n"),
            ("a.js", "[{a: 1}, {b: 2}].map(f)\n"),
            ("package.json", "{\n  \"name\": \"a\",\n  \"version\": \"1\"\n}\n"),
            ("a.json", "{\"name\": \"a\"}\n"),
            ("a.json", "[1, 2, 3]"),
            ("a.md", "One, two, three.\nFour, five, six.\n"),
            ("a.txt", "a,b\nc,d\n"),
            ("a.csv", "Once, long ago, in a town\nby the sea, there was a keeper.\nHe lit the lamp, as he did.\n"),
            ("a.csv", "no comma\nat all\n"),
            ("a.tsv", "a,b\nc,d\n"),
        ] {
            assert_eq!(Rows::find(name, text.as_bytes(), true), None, "{name}: {text}");
        }
    }

    #[test]
    fn the_way_out_names_the_file() {
        assert_eq!(Rows::Lines.way_out("./a/rows.json"), "name it ./a/rows.jsonl");
        assert!(Rows::Array.way_out("a.json").contains("`jq -c '.[]' a.json > a.jsonl`"));
        assert!(Rows::Array.way_out("b/a.jsonl").contains("`jq -c '.[]' b/a.jsonl > b/rows-a-line.jsonl`"));
        assert!(Rows::Table('\t').way_out("a.tsv").contains("DictReader(sys.stdin, delimiter='\\t')]\" < a.tsv > a.jsonl`"));
    }
}
