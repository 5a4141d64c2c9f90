//! `votive new`: a commented experiment file to begin with.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::cli::args::New;
use crate::cli::exit_code::Code;
use crate::cli::output::say;
use crate::corpus::{files_of, is_for_rows};
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::Corpus;
use crate::experiment::{Subject, template};
use crate::runner::Failure;

/// A text of fewer bytes has no tenth to hold out that a window fits into.
const LEAST: u64 = 2_000;
/// Bytes of the built-in text, about.
const BUILTIN: u64 = 130_000;
/// Most bytes that are read to find the fields of the first row.
const ROW: u64 = 64 << 20;

pub(super) fn execute(arguments: &New) -> Result<Code, Failure> {
    let subject = subject(&arguments.text, arguments.into.as_deref())?;
    let into = arguments.into.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", subject.name)));
    let shown = into.display();
    let mut file = OpenOptions::new().write(true).create_new(true).open(&into).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::usage(format!("{shown} is there already")).help("name another file with `--into`, or remove this one")
        }
        _ => Error::io("write", &into, error),
    })?;
    file.write_all(template(&subject).as_bytes()).map_err(|error| Error::io("write", &into, error))?;
    say(&format!("wrote {shown}: `votive plan {shown}` shows its trials, `votive run {shown}` trains them"));
    Ok(Code::Ok)
}

/// What the file is to be about.
fn subject(text: &str, into: Option<&Path>) -> Result<Subject> {
    let mut corpus = Corpus { text: vec![text.to_owned()], ..Corpus::default() };
    // Which field it is is seen in the rows; that there is none yet is no reason not to look.
    corpus.field = Some(String::new());
    let files = files_of(&corpus, Path::new(".")).map_err(|error| {
        // There is no experiment file yet that a path could be relative to.
        let is_missing = error.kind() == Kind::Usage && !text.starts_with("builtin:") && !Path::new(text).is_dir();
        if is_missing { error.help("name a file that is there, or several by a pattern in quotes: 'books/*.txt'") } else { error }
    })?;
    let sizes =
        files.iter().map(|file| fs::metadata(file).map(|found| found.len()).map_err(|error| Error::io("read", file, error)));
    let bytes = if files.is_empty() { BUILTIN } else { sizes.sum::<Result<u64>>()? };
    if bytes < LEAST {
        return Err(Error::usage(format!("{text} has {bytes} bytes: too few to learn from and to be scored on"))
            .help("name a longer text, or several by a pattern such as \"books/*.txt\""));
    }
    let rows = files.iter().find(|file| is_for_rows(file));
    let field = rows.map(|file| field_of(file)).transpose()?;
    let stem = into.map_or(Path::new(text.trim_start_matches("builtin:")), |into| into).file_stem();
    let name = name_of(&stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default());
    Ok(Subject { name, text: path_in_file(text, into)?, field, bytes })
}

/// The text as the file names it: relative to the file, or from the root where that lies in another folder.
fn path_in_file(text: &str, into: Option<&Path>) -> Result<String> {
    let beside = into.and_then(Path::parent).is_none_or(|folder| folder.as_os_str().is_empty() || folder == Path::new("."));
    let path = if beside || text.starts_with("builtin:") {
        text.to_owned()
    } else {
        let here = std::env::current_dir().map_err(|error| Error::io("find", Path::new("the working folder"), error))?;
        here.join(text).display().to_string()
    };
    Ok(path)
}

/// The field of a row that holds the text: `text`, or the longest text in the first row.
fn field_of(file: &Path) -> Result<String> {
    let opened = fs::File::open(file).map_err(|error| Error::io("open", file, error))?;
    let mut first = String::new();
    for line in BufReader::new(opened.take(ROW)).lines() {
        let line = line.map_err(|error| Error::io("read", file, error))?;
        // A byte order mark and blank lines are no rows.
        first = line.trim_start_matches('\u{FEFF}').trim().to_owned();
        if !first.is_empty() {
            break;
        }
    }
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&first).unwrap_or_default();
    let texts = row.iter().filter_map(|(name, value)| Some((name, value.as_str()?.len())));
    let longest = texts.max_by_key(|(name, length)| (*name == "text", *length));
    longest.map(|(name, _)| name.clone()).ok_or_else(|| {
        Error::usage(format!("the first row of {} has no field that holds a text", file.display()))
            .help("each row is a JSON object such as {\"text\": \"…\"}")
    })
}

/// A name for the experiment, from that of a file.
fn name_of(stem: &str) -> String {
    let right = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c.to_ascii_lowercase() } else { '-' };
    let name: String = stem.chars().map(right).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let name: String = name.chars().take(64).collect();
    if name.is_empty() { "experiment".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_of_rows_is_that_of_the_first_row_that_is_none_blank() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.jsonl");
        let long = "x".repeat(3 << 20);
        for (rows, field) in [
            ("{\"id\": \"7\", \"body\": \"A lamp.\"}\n".to_owned(), "body"),
            ("\u{FEFF}{\"text\": \"A lamp.\", \"title\": \"Of a lamp\"}\n".to_owned(), "text"),
            ("\n \r\n{\"body\": \"A lamp.\"}\n".to_owned(), "body"),
            (format!("{{\"body\": \"{long}\"}}\n"), "body"),
        ] {
            fs::write(&file, &rows).unwrap();
            assert_eq!(field_of(&file).unwrap(), field, "{:.40}", rows);
        }
        fs::write(&file, "\n").unwrap();
        assert!(field_of(&file).unwrap_err().to_string().contains("no field that holds a text"));
    }

    #[test]
    fn a_name_follows_that_of_the_file() {
        for (stem, name) in
            [("notes", "notes"), ("My Notes (2)", "my-notes--2"), ("*", "experiment"), ("été", "t"), ("a.b_c", "a.b_c")]
        {
            assert_eq!(name_of(stem), name);
        }
        assert_eq!(name_of(&"x".repeat(100)).len(), 64);
    }
}
