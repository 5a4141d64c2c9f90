//! Tests of `source`.

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
        (vec!["sub"], "sub is a folder", "'sub/*.txt'"),
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

/// An array is often one line, which was read whole before that was said.
#[test]
fn an_array_of_rows_is_refused_by_its_beginning() {
    for before in ["", "\u{FEFF}", "\n \n"] {
        // Not UTF-8 beyond what is read at first: only who goes on sees it.
        let bytes = [before.as_bytes(), b"[{\"text\": \"", &vec![b'a'; 2 * BUFFER], b"\xFF"].concat();
        let dir = folder(&[("a.jsonl", &bytes)]);
        let error = Source::file(dir.path().join("a.jsonl"), Some("text")).unwrap().scan(u64::MAX, &mut |_| {}).unwrap_err();
        let line = 1 + before.matches('\n').count();
        assert!(error.to_string().starts_with(&format!("line {line} of ")), "{error}");
        assert!(error.to_string().contains("a.jsonl begins an array"), "{error}");
    }
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
