//! Rows: a JSON object a line, one of whose fields holds the text.

use serde_json::Value;

use super::formats::Rows;
use crate::error::{Error, Result};

/// The text of a row in the field `field`, or `None` where the line is blank or the text empty. `name` is that of the file,
/// `number` that of the line.
pub(crate) fn text_of(line: &str, field: &str, name: &str, number: u64) -> Result<Option<String>> {
    // A byte order mark before the first row is no part of any text.
    let line = line.trim_start_matches('\u{FEFF}').trim();
    if line.is_empty() {
        return Ok(None);
    }
    // Also where the array goes over many lines.
    let is_array = line.starts_with('[');
    let row: Value = match serde_json::from_str(line) {
        Ok(row) => row,
        Err(_) if is_array => return Err(array(name, number)),
        Err(e) => return Err(not_json(line, field, name, number, &e)),
    };
    match row {
        Value::Object(mut row) => match row.remove(field) {
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(_) => Err(Error::usage(format!("the field `{field}` in line {number} of {name} is not text"))
                .help("name a field that holds text, or take the line out")),
            None => {
                let known: Vec<&str> = row.keys().map(String::as_str).take(8).collect();
                let error = Error::usage(format!("line {number} of {name} has no field `{field}`"));
                Err(match known.is_empty() {
                    true => error.help("take the line out: it has no field at all"),
                    false => error.help(format!("set `corpus.field` to one of its fields: {}", known.join(", "))),
                })
            }
        },
        _ if is_array => Err(array(name, number)),
        _ => Err(Error::usage(format!("line {number} of {name} is no JSON object")).help(an_object(field))),
    }
}

/// Refuses a file that begins with these bytes where they begin an array, which may be one line as long as the file.
pub(crate) fn refuse_array(head: &[u8], name: &str) -> Result<()> {
    let head = head.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(head);
    let blank = head.len() - head.trim_ascii_start().len();
    if head.get(blank) != Some(&b'[') {
        return Ok(());
    }
    let lines_before = head[..blank].iter().filter(|&&byte| byte == b'\n').count();
    Err(array(name, lines_before as u64 + 1))
}

fn array(name: &str, number: u64) -> Error {
    Error::usage(format!("line {number} of {name} begins an array, and a row is an object, one a line"))
        .help(Rows::Array.way_out(name))
}

fn not_json(line: &str, field: &str, name: &str, number: u64, error: &serde_json::Error) -> Error {
    let column = error.column();
    // What the library says, without the line number of a text that is one line.
    let text = error.to_string();
    let why = text.split(" at line ").next().unwrap_or(&text);
    let rest = line.get(column.saturating_sub(1)..).unwrap_or_default();
    let no_number = ["NaN", "Infinity"].into_iter().find(|word| rest.trim_start_matches('-').starts_with(word));
    let (why, help) = match no_number {
        Some(word) => (format!("`{word}` is no number there"), "write `null` in its place".to_owned()),
        None if why.contains("hex escape") || why.contains("surrogate") => (
            "half of a character, as `\\ud83d` alone, is no text".to_owned(),
            "take the half out: the text was cut within a character".to_owned(),
        ),
        None => (why.to_owned(), an_object(field)),
    };
    Error::usage(format!("line {number} of {name} is not JSON: {why} (column {column})")).help(help)
}

fn an_object(field: &str) -> String {
    format!("write an object on each line, as in `{{\"{field}\": \"…\"}}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_field() {
        for (line, expected) in [
            ("{\"text\":\"one\",\"n\":1}\n", Some("one")),
            ("\u{FEFF}{\"text\":\"tw\\u00e9 \"}\r\n", Some("twé ")),
            ("{\"text\":\"\"}", None),
            (" \n", None),
            ("", None),
        ] {
            assert_eq!(text_of(line, "text", "a.jsonl", 1).unwrap().as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_fault_is_told_with_one_line_number_and_a_way_out() {
        for (line, message, help) in [
            ("{\"score\": NaN, \"text\": \"a\"}", "is not JSON: `NaN` is no number there (column 11)", "`null`"),
            ("{\"score\": -Infinity}", "is not JSON: `", "`null`"),
            ("{\"text\": \"cut in two \\ud83d\"}", "is not JSON: half of a character", "take the half out"),
            ("{\"text\": \"cut \\ud83d in two\"}", "is not JSON: half of a character", "take the half out"),
            ("{\"text\": \"lone \\ude00\"}", "is not JSON: half of a character", "take the half out"),
            ("nope", "is not JSON: expected ident (column 2)", "`{\"text\": \"…\"}`"),
            ("{\"text\": \"open", "is not JSON: EOF while parsing a string", "`{\"text\": \"…\"}`"),
            ("[{\"text\": \"a\"}, {\"text\": \"b\"}]", "begins an array", "`jq -c '.[]' a.jsonl > "),
            ("[", "begins an array", "`jq -c '.[]'"),
            ("\"a\"", "is no JSON object", "`{\"text\": \"…\"}`"),
            ("{}", "has no field `text`", "take the line out"),
            ("{\"body\":\"a\"}", "has no field `text`", "one of its fields: body"),
            ("{\"text\":1}", "the field `text` in line 7 of a.jsonl is not text", "take the line out"),
        ] {
            let error = text_of(line, "text", "a.jsonl", 7).unwrap_err();
            let said = error.chain();
            assert_eq!(error.kind(), crate::error::Kind::Usage);
            assert!(said.contains(message) && said.matches("line ").count() == 1, "{said}");
            assert!(error.help_text().unwrap().contains(help), "{line}: {:?}", error.help_text());
        }
    }
}
