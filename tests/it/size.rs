//! A file has one subject, and a function can be seen whole: none of the sources is long, their tests aside, but what is listed here.
//!
//! `cargo test --test it size:: -- --nocapture` prints what is longer.

use std::fs;
use std::path::{Path, PathBuf};

use crate::layering::rust_files;

/// Most lines of a file, without the tests in it.
const FILE: usize = 400;
/// Most lines of a function.
const FUNCTION: usize = 60;

/// The files that may be longer.
const LONG_FILES: &[(&str, &str)] = &[("experiment/reference/table.rs", "the table of all settings")];

/// The functions that may be longer.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    ("experiment/columns.rs", "columns", "the table of all settings' columns"),
    ("model/cpu/norm.rs", "backward_rows", "two passes over the same registers, which calls would put into memory"),
    ("model/cpu/tiles.rs", "call", "its sums stay in registers as long as the compiler sees all of it at once"),
];

/// The lines of a file without the tests in it.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let is_test = |two: &[&str]| two[0] == "#[cfg(test)]" && two[1].contains("mod ") && two[1].ends_with('{');
    let end = lines.windows(2).position(is_test).unwrap_or(lines.len());
    lines[..end].to_vec()
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let before = ["pub", "const", "unsafe", "async", "extern", "\"C\"", "in"];
    let keyword = words.by_ref().find(|word| !before.contains(word) && !word.starts_with("pub(") && !word.ends_with(')'))?;
    let name = words.next().filter(|_| keyword == "fn")?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// Every function with its number of lines. The sources are formatted: a function ends where a brace closes as far in as it began.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize)> {
    let all = lines.iter().enumerate().filter_map(|(first, line)| {
        let name = function(line)?;
        // A function without a body ends its head otherwise.
        let head = lines[first..].iter().position(|line| line.ends_with(['{', ';', '}']))?;
        let closing = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let body = lines[first + head].ends_with('{').then(|| lines[first..].iter().position(|line| *line == closing));
        Some((name, body?? + 1))
    });
    all.collect()
}

/// Every source that is no test, with its place below `src`.
fn sources() -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<PathBuf> = Vec::new();
    rust_files(&source, &mut files);
    files.sort();
    let place = |file: &PathBuf| file.strip_prefix(&source).unwrap().to_string_lossy().replace('\\', "/");
    let is_test = |place: &String| place.ends_with("tests.rs") || place.contains("/tests/");
    let places = files.iter().map(|file| (place(file), file)).filter(|(place, _)| !is_test(place));
    places.map(|(place, file)| (place, fs::read_to_string(file).unwrap())).collect()
}

#[expect(clippy::print_stdout, reason = "the list is what `--nocapture` asks for")]
fn tell(lines: usize, place: &str) {
    println!("{lines} lines: {place}");
}

#[test]
fn no_file_is_long_but_tables() {
    let long = sources().into_iter().map(|(place, text)| (place, without_tests(&text).len())).filter(|(_, lines)| *lines > FILE);
    let long: Vec<_> = long.collect();
    long.iter().for_each(|(place, lines)| tell(*lines, place));
    let places: Vec<_> = long.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, LONG_FILES.iter().map(|(place, _)| *place).collect::<Vec<_>>(), "{long:?}");
}

#[test]
fn no_function_is_long_but_tables_and_what_must_stay_in_registers() {
    let sources = sources();
    let (mut long, mut count) = (Vec::new(), 0);
    for (place, text) in &sources {
        let lines = without_tests(text);
        for (name, lines) in functions(&lines) {
            count += 1;
            if lines > FUNCTION {
                tell(lines, &format!("{place} {name}"));
                long.push((place.as_str(), name.to_owned()));
            }
        }
    }
    assert!(count > 2_000, "hardly any function is found: {count}");
    let listed: Vec<_> = LONG_FUNCTIONS.iter().map(|(place, name, _)| (*place, (*name).to_owned())).collect();
    assert_eq!(long, listed);
}

#[test]
fn a_function_is_counted_from_its_name_to_its_brace() {
    let text = "trait T {\n    fn none(\n        &self,\n    );\n\n    fn one(&self) {}\n}\n\npub(in crate::a) const fn two() {\n    \
                if true {\n    }\n}\n\n#[cfg(test)]\nmod tests {\n    fn no() {\n    }\n}\n";
    assert_eq!(functions(&without_tests(text)), [("two", 4)]);
    assert_eq!(function("unsafe extern \"C\" fn f(x: i32) {"), Some("f"));
    assert_eq!(function("    // fn f"), None);
    assert_eq!(function("let fn_ = 3;"), None);
}
