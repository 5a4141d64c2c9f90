//! What fractions of a text hold out.
//!
//! The end of each file: the test part at the very end, the validation part before it. Files may be too short for that: of one
//! that has 100 bytes in a line a tenth would be the end of a word, and of four rows none. Where there is such a file, and
//! there are enough documents (rows, files) in short files for every part to get one, short files give whole documents, evenly
//! over their order. All other files give their end, as ever, and so do short ones where their documents are too few. A part
//! that would then have nothing at all takes the document whose length is nearest to what is due.

use std::ops::Range;

use super::cuts::{Cut, cut};
use super::source::Scanned;
use crate::error::{Error, Result};

/// Held-out bytes under which a file of plain text is short: about a line. A tenth of a file of 1,280 bytes.
const SHORT: f64 = 128.0;
/// Rows that are due under which a file of rows is short.
const FEW: f64 = 1.0;

/// The parts in the order of their text in a file.
const PARTS: usize = 3;

/// A stretch of a source: bytes of the file, and of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) raw: Range<u64>,
    pub(crate) text: Range<u64>,
}

impl Stretch {
    fn bytes(&self) -> f64 {
        (self.text.end - self.text.start) as f64
    }
}

/// What the sources give to each part.
#[derive(Debug)]
pub(crate) struct HeldOut {
    /// Of every source, in their order: what it gives to the training, the validation and the test part.
    pub(crate) stretches: Vec<[Vec<Stretch>; PARTS]>,
    /// Sources that are cut within a line although so little of them is held out that it is mostly a part of that line.
    pub(crate) torn: Vec<usize>,
    /// Whether the validation and the test part have a whole document of which less than half was due.
    pub(crate) rounded_up: [bool; 2],
}

/// Where the end of a source is cut: the training part ends at the first place, the validation part at the second.
struct End {
    places: [Cut; 4],
}

/// What these shares of the text hold out for the validation and the test part; 0 where a part takes nothing.
pub(crate) fn hold_out(sources: &[Scanned], shares: [f64; 2]) -> Result<HeldOut> {
    let ends: Vec<End> = sources.iter().map(|source| End::of(source, shares)).collect::<Result<_>>()?;
    let smallest = shares.into_iter().filter(|&share| share > 0.0).fold(f64::INFINITY, f64::min);
    let is_short = |source: &Scanned| match &source.rows {
        Some(rows) => rows.len() as f64 * smallest < FEW,
        None => source.bytes as f64 * smallest < SHORT,
    };
    let mut short: Vec<bool> = sources.iter().map(|source| source.bytes > 0 && is_short(source)).collect();
    let bad = |i: &usize| ends[*i].tears_a_line() || ends[*i].misses_a_part(shares);
    let wanted = [shares[0] > 0.0, shares[1] > 0.0];
    let nothing_at_the_ends = (0..2).any(|part| wanted[part] && ends.iter().all(|end| end.takes_nothing(part + 1)));
    if nothing_at_the_ends {
        // Whatever there is: many rows may be followed by one that is longer than all of them.
        short = sources.iter().map(|source| source.bytes > 0).collect();
    }
    let badly_cut: Vec<usize> = (0..sources.len()).filter(|&i| short[i]).filter(bad).collect();
    let by_ends = |torn| HeldOut { stretches: ends.iter().map(End::stretches).collect(), torn, rounded_up: [false; 2] };
    if badly_cut.is_empty() {
        return Ok(by_ends(Vec::new()));
    }
    let mut given = Documents::of(sources, &short, shares);
    let lacking = given.lacking(shares);
    if lacking != [false; PARTS] && !(nothing_at_the_ends && given.round_up(shares)) {
        return Ok(by_ends(badly_cut.into_iter().filter(|&i| ends[i].tears_a_line()).collect()));
    }
    let mut stretches = given.stretches(sources.len());
    for ((stretches, end), _) in stretches.iter_mut().zip(&ends).zip(&short).filter(|(_, short)| !**short) {
        *stretches = end.stretches();
    }
    Ok(HeldOut { stretches, torn: Vec::new(), rounded_up: [lacking[1], lacking[2]] })
}

impl End {
    fn of(source: &Scanned, [validation, test]: [f64; 2]) -> Result<Self> {
        let (start, end) = (Cut::start(source), Cut::end(source));
        let ideal = |kept: f64| (source.bytes as f64 * kept).round() as u64;
        let second = if test > 0.0 { cut(source, ideal(1.0 - test), end)? } else { end };
        let first = if validation > 0.0 { cut(source, ideal(1.0 - test - validation), second)? } else { second };
        Ok(Self { places: [start, first, second, end] })
    }

    fn misses_a_part(&self, [validation, test]: [f64; 2]) -> bool {
        let wanted = [true, validation > 0.0, test > 0.0];
        (0..PARTS).any(|part| wanted[part] && self.takes_nothing(part))
    }

    fn takes_nothing(&self, part: usize) -> bool {
        self.places[part].text >= self.places[part + 1].text
    }

    fn tears_a_line(&self) -> bool {
        self.places.iter().any(|place| !place.is_end)
    }

    fn stretches(&self) -> [Vec<Stretch>; PARTS] {
        std::array::from_fn(|part| {
            let (from, to) = (self.places[part], self.places[part + 1]);
            let stretch = Stretch { raw: from.raw..to.raw, text: from.text..to.text };
            if stretch.text.is_empty() { Vec::new() } else { vec![stretch] }
        })
    }
}

/// The documents of the short sources, each given to one part.
struct Documents {
    /// Source, stretch and part of each, in their order.
    all: Vec<(usize, Stretch, usize)>,
}

impl Documents {
    /// Each part has its share of them at any point of their order, as nearly as whole documents can.
    fn of(sources: &[Scanned], short: &[bool], shares: [f64; 2]) -> Self {
        let (mut seen, mut given) = (0.0, [0.0; 2]);
        let short = sources.iter().enumerate().filter(|(source, _)| short[*source]);
        let documents = short.flat_map(|(index, source)| documents_of(source).into_iter().map(move |stretch| (index, stretch)));
        let give = |(source, stretch): (usize, Stretch)| {
            let bytes = stretch.bytes();
            seen += bytes;
            // How far behind its share each part is. It takes a document that would bring it at most as far ahead.
            let behind = [shares[0] * seen - given[0], shares[1] * seen - given[1]];
            let held_out = usize::from(behind[1] > behind[0]);
            let part = if shares[held_out] > 0.0 && behind[held_out] >= bytes / 2.0 {
                given[held_out] += bytes;
                held_out + 1
            } else {
                0
            };
            (source, stretch, part)
        };
        Self { all: documents.map(give).collect() }
    }

    /// Which parts want a document and have none.
    fn lacking(&self, shares: [f64; 2]) -> [bool; PARTS] {
        let wanted = [true, shares[0] > 0.0, shares[1] > 0.0];
        std::array::from_fn(|part| wanted[part] && !self.all.iter().any(|(_, _, given)| *given == part))
    }

    /// Gives each held-out part that has none the document of the training part whose length is nearest to what is due, of
    /// equal ones the last. Whether all parts have one then.
    fn round_up(&mut self, shares: [f64; 2]) -> bool {
        let all: f64 = self.all.iter().map(|(_, stretch, _)| stretch.bytes()).sum();
        for part in 1..PARTS {
            if !self.lacking(shares)[part] {
                continue;
            }
            let far = |stretch: &Stretch| (stretch.bytes() - shares[part - 1] * all).abs();
            let learned = self.all.iter_mut().rev().filter(|(_, _, given)| *given == 0);
            match learned.min_by(|a, b| far(&a.1).total_cmp(&far(&b.1))) {
                Some(document) => document.2 = part,
                None => return false,
            }
        }
        self.lacking(shares) == [false; PARTS]
    }

    /// What each of so many sources gives to each part; neighbours are one stretch.
    fn stretches(self, sources: usize) -> Vec<[Vec<Stretch>; PARTS]> {
        let mut stretches = vec![<[Vec<Stretch>; PARTS]>::default(); sources];
        for (source, stretch, part) in self.all {
            let of_part = &mut stretches[source][part];
            match of_part.last_mut().filter(|last| last.text.end == stretch.text.start) {
                Some(last) => (last.raw.end, last.text.end) = (stretch.raw.end, stretch.text.end),
                None => of_part.push(stretch),
            }
        }
        stretches
    }
}

/// The rows of a source, or all of it.
fn documents_of(source: &Scanned) -> Vec<Stretch> {
    let (mut raw, mut text) = (source.raw_start, 0);
    let ends = match &source.rows {
        Some(rows) => rows.iter().map(|row| (row.raw_end, row.text_end)).collect(),
        None => vec![(source.raw_end, source.bytes)],
    };
    let stretches = ends.into_iter().map(|(raw_end, text_end)| {
        let stretch = Stretch { raw: raw..raw_end, text: text..text_end };
        (raw, text) = (raw_end, text_end);
        stretch
    });
    stretches.filter(|stretch| !stretch.text.is_empty()).collect()
}

/// Why nothing of a text is held out for a part, and what would do.
pub(crate) fn nothing(sources: &[Scanned], part: &str, share: f64) -> Error {
    let documents: usize = sources.iter().map(|source| documents_of(source).len()).sum();
    let has_rows = sources.iter().any(|source| source.rows.is_some());
    let bytes: u64 = sources.iter().map(|source| source.bytes).sum();
    let why = match (documents, has_rows) {
        (1, true) => "the text is a single row, and rows are never cut".to_owned(),
        (1, false) => format!("{share} of {bytes} bytes is too little"),
        _ => format!("the text has {documents} documents, which are held out whole, and too few for all parts"),
    };
    let help = format!("use a longer text, or set `corpus.{part}` to a larger fraction, to a file of its own, or to `none`");
    Error::usage(format!("the {part} part is empty: {why}")).help(match (documents, has_rows) {
        (1, true) => format!("set `corpus.{part}` to a file of its own, or to `none`; or write the row as a file of plain text"),
        _ => help,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::corpus::source::Sources;
    use crate::experiment::settings::Corpus;

    /// The sources of these files.
    fn scanned(files: &[(&str, String)]) -> (tempfile::TempDir, Vec<Scanned>) {
        let dir = tempfile::tempdir().unwrap();
        let text: Vec<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let corpus = Corpus { text, field: Some("text".to_owned()), ..Corpus::default() };
        let sources = Sources::of(&corpus, dir.path(), &|_| {}).unwrap().text;
        let scanned = sources.into_iter().map(|source| source.scan(u64::MAX, &mut |_| {}).unwrap()).collect();
        (dir, scanned)
    }

    /// What the parts take: of each source, ranges of its text.
    fn parts(files: &[(&str, String)], shares: [f64; 2]) -> [Vec<(usize, Range<u64>)>; PARTS] {
        let (_dir, sources) = scanned(files);
        let held_out = hold_out(&sources, shares).unwrap();
        std::array::from_fn(|part| {
            let of = |(source, parts): (usize, &[Vec<Stretch>; PARTS])| {
                parts[part].iter().map(move |stretch| (source, stretch.text.clone())).collect::<Vec<_>>()
            };
            held_out.stretches.iter().enumerate().flat_map(of).collect()
        })
    }

    /// A file of rows whose texts have these lengths.
    fn rows(lengths: &[usize]) -> String {
        lengths.iter().map(|&n| format!("{{\"text\":\"{}\"}}\n", "a".repeat(n))).collect()
    }

    #[test]
    fn five_rows_hold_out_one_whichever_is_the_shortest() {
        // The nearest row end to nine tenths is the end of the text here, and nothing would be held out.
        let [train, validation, _] = parts(&[("a.jsonl", rows(&[100, 100, 100, 100, 220]))], [0.1, 0.0]);
        assert_eq!((train, validation), (vec![(0, 0..300), (0, 400..620)], vec![(0, 300..400)]));
        let [train, validation, _] = parts(&[("a.jsonl", rows(&[160, 150, 160, 150, 90, 300]))], [0.1, 0.0]);
        assert_eq!((train, validation), (vec![(0, 0..620), (0, 710..1010)], vec![(0, 620..710)]));
    }

    #[test]
    fn many_rows_before_one_that_is_longer_than_all_of_them_are_held_out() {
        let lengths: Vec<usize> = std::iter::repeat_n(10, 100).chain([50_000]).collect();
        let [train, validation, _] = parts(&[("a.jsonl", rows(&lengths))], [0.1, 0.0]);
        assert_eq!(validation.iter().map(|(_, text)| text.end - text.start).sum::<u64>(), 100, "a tenth of those before it");
        assert_eq!(train.last().unwrap().1.end, 51_000);
    }

    #[test]
    fn one_of_many_shards_that_gives_nothing_for_its_long_row_changes_nothing() {
        let mut files: Vec<(String, String)> = (0..6).map(|i| (format!("s{i}.jsonl"), rows(&[100; 50]))).collect();
        files[3].1 = rows(&[&[100; 49][..], &[1500]].concat());
        let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        let [_, validation, _] = parts(&files, [0.1, 0.0]);
        assert_eq!(validation.iter().map(|(source, _)| *source).collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
        assert!(validation.iter().all(|(_, text)| *text == (4_500..5_000)));
    }

    #[test]
    fn rows_that_hold_out_their_end_go_on_doing_so() {
        let [train, validation, _] = parts(&[("a.jsonl", rows(&[100; 5]))], [0.1, 0.0]);
        assert_eq!((train, validation), (vec![(0, 0..400)], vec![(0, 400..500)]));
        let [_, validation, test] = parts(&[("a.jsonl", rows(&[10; 100]))], [0.1, 0.2]);
        assert_eq!((validation, test), (vec![(0, 700..800)], vec![(0, 800..1000)]));
    }

    #[test]
    fn shards_of_few_rows_beside_a_large_file_are_held_out_too() {
        let shards: Vec<(String, String)> = (0..5).map(|i| (format!("s{i}.jsonl"), rows(&[100; 4]))).collect();
        let mut files = vec![("large.jsonl", rows(&[100; 1000]))];
        files.extend(shards.iter().map(|(name, text)| (name.as_str(), text.clone())));
        let [train, validation, _] = parts(&files, [0.1, 0.0]);
        assert_eq!(train[0], (0, 0..90_000), "the large one as ever");
        assert_eq!(validation, [(0, 90_000..100_000), (2, 0..100), (4, 200..300)]);
        let bytes: u64 = train.iter().chain(&validation).map(|(_, range)| range.end - range.start).sum();
        assert_eq!(bytes, 100_000 + 5 * 400, "every byte is somewhere, once");
    }

    #[test]
    fn short_files_are_held_out_whole_where_there_are_enough() {
        let files: Vec<(String, String)> =
            (0..40).map(|i| (format!("{i:02}.txt"), "the keeper lit the lamp\n".repeat(1 + i % 2))).collect();
        let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        let [train, validation, test] = parts(&files, [0.1, 0.2]);
        assert!(train.iter().chain(&validation).chain(&test).all(|(_, text)| text.start == 0), "whole ones");
        let bytes = |part: &[(usize, Range<u64>)]| part.iter().map(|(_, text)| text.end).sum::<u64>() as f64 / (60.0 * 24.0);
        assert!((bytes(&validation) - 0.1).abs() < 0.02 && (bytes(&test) - 0.2).abs() < 0.02, "{validation:?} {test:?}");
        assert_eq!(train.len() + validation.len() + test.len(), 40);
        // More files change nothing of what was held out before.
        let fewer = parts(&files[..20], [0.1, 0.2]);
        assert_eq!(fewer[1], validation.iter().filter(|(source, _)| *source < 20).cloned().collect::<Vec<_>>());
    }

    #[test]
    fn short_files_that_are_cut_at_a_line_go_on_being_cut() {
        let poem = "a line of it\n".repeat(20);
        let files: Vec<(String, String)> = (0..40).map(|i| (format!("{i}.txt"), poem.clone())).collect();
        let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        let [train, validation, _] = parts(&files, [0.1, 0.0]);
        assert!(train.iter().all(|(_, text)| *text == (0..234)) && validation.iter().all(|(_, text)| *text == (234..260)));
    }

    #[test]
    fn long_lines_are_cut_as_ever_and_few_short_ones_are_told() {
        let letters = "ACGT".repeat(10_000);
        let files: Vec<(String, String)> = (0..6).map(|i| (format!("{i}.txt"), letters.clone())).collect();
        let long: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        let (_dir, sources) = scanned(&long);
        let held_out = hold_out(&sources, [0.1, 0.0]).unwrap();
        assert!(held_out.stretches.iter().all(|parts| parts[1][0].text == (36_000..40_000)) && held_out.torn.is_empty());
        let short = "the keeper lit the lamp and looked at the sea";
        let (_dir, sources) = scanned(&[("a.txt", short.to_owned()), ("b.txt", short.to_owned()), ("c.txt", letters)]);
        let held_out = hold_out(&sources, [0.1, 0.0]).unwrap();
        assert_eq!(held_out.torn, [0, 1]);
        assert_eq!(held_out.stretches[0][1][0].text, 41..45, "two files are too few to hold out whole ones");
    }

    #[test]
    fn what_cannot_be_split_is_told_with_what_would_do() {
        for (files, shares, message, help) in [
            (vec![("a.jsonl", rows(&[500]))], [0.1, 0.0], "a single row, and rows are never cut", "a file of its own"),
            (vec![("a.jsonl", rows(&[5, 5]))], [0.1, 0.1], "2 documents, which are held out whole, and too few", "longer text"),
            (vec![("a.txt", "abc".to_owned())], [0.1, 0.0], "0.1 of 3 bytes is too little", "a larger fraction"),
        ] {
            let (_dir, sources) = scanned(&files);
            let held_out = hold_out(&sources, shares).unwrap();
            assert!(held_out.stretches.iter().any(|parts| parts[1].is_empty() || parts[2].is_empty()), "{message}");
            let error = nothing(&sources, "validation", 0.1);
            assert!(
                error.to_string().starts_with("the validation part is empty: ") && error.to_string().contains(message),
                "{error}"
            );
            assert!(error.help_text().unwrap().contains(help), "{message}: {:?}", error.help_text());
        }
    }

    #[test]
    fn a_part_that_would_have_nothing_takes_a_whole_document() {
        for (files, expected) in [
            (vec![("a.jsonl", rows(&[100; 4]))], (0, 300..400)),
            (vec![("a.jsonl", rows(&[100; 2]))], (0, 100..200)),
            (vec![("a.jsonl", rows(&[1000, 300, 900]))], (0, 1000..1300)),
            (vec![("a.txt", "abc".to_owned()), ("b.txt", "def".to_owned())], (1, 0..3)),
        ] {
            let (_dir, sources) = scanned(&files);
            assert_eq!(hold_out(&sources, [0.1, 0.0]).unwrap().rounded_up, [true, false]);
            assert_eq!(parts(&files, [0.1, 0.0])[1], [expected]);
        }
        let [train, validation, test] = parts(&[("a.jsonl", rows(&[100; 3]))], [0.1, 0.1]);
        assert_eq!((train, validation, test), (vec![(0, 0..100)], vec![(0, 200..300)], vec![(0, 100..200)]));
    }
}
