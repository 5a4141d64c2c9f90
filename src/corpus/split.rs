//! The split: which bytes are learned from, which rank, and which are scored once. Cut before anything is tokenized.

use std::ops::Range;
use std::path::Path;

use super::held_out::{self, hold_out};
use super::source::{Scanned, Source, Sources};
use super::stage::Stage;
use crate::error::{Error, Result};
use crate::experiment::settings::{Corpus, Join, Part};

/// A stretch of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// Which of the split's sources.
    pub(crate) source: usize,
    /// Bytes of the file.
    pub(crate) raw: Range<u64>,
    /// Bytes of the source's text.
    pub(crate) text: Range<u64>,
}

/// All sources, and what each part takes of them.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) sources: Vec<Scanned>,
    pub(crate) train: Vec<Span>,
    pub(crate) validation: Option<Vec<Span>>,
    pub(crate) test: Option<Vec<Span>>,
    /// Sources that are cut within a line although little more than that line is held out of them.
    pub(crate) torn: Vec<usize>,
    /// Parts that have a whole document of which less than half was due, by name, with their share of the text.
    pub(crate) rounded_up: Vec<(&'static str, f64)>,
}

impl Split {
    /// Reads every source once, and cuts.
    pub(crate) fn new(corpus: &Corpus, base: &Path, progress: &dyn Fn(Stage)) -> Result<Self> {
        let Sources { text, validation, test } = Sources::of(corpus, base, progress)?;
        let (fraction_v, fraction_t) = (fraction(&corpus.validation, "validation")?, fraction(&corpus.test, "test")?);
        if fraction_v + fraction_t >= 1.0 {
            return Err(Error::usage("`corpus.validation` and `corpus.test` together leave nothing to learn from")
                .help("hold out less than everything, as in `validation: 0.1`"));
        }

        let all: u64 = text.iter().chain(&validation).chain(&test).map(|source| source.size).sum();
        let mut done = 0;
        let mut seen = |bytes: u64| {
            done += bytes;
            progress(Stage::Reading { bytes: done, of: all });
        };
        let mut split = Self {
            sources: Vec::new(),
            train: Vec::new(),
            validation: None,
            test: None,
            torn: Vec::new(),
            rounded_up: Vec::new(),
        };
        let mut left = corpus.max_bytes.unwrap_or(u64::MAX);
        for source in text {
            let scanned = source.scan(left, &mut seen)?;
            // The beginning of the text: nothing follows where it was cut, were there room for it.
            left = if scanned.is_cut { 0 } else { left.saturating_sub(scanned.bytes) };
            split.sources.push(scanned);
        }
        if split.sources.iter().all(|s| s.bytes == 0) {
            return Err(Error::usage(format!("the text is empty ({})", corpus.text.join(", ")))
                .help("name a file with some text in it, or `builtin:keeper`"));
        }
        let held_out = hold_out(&split.sources, [fraction_v, fraction_t])?;
        let (mut cut_v, mut cut_t) = (Vec::new(), Vec::new());
        for (source, [train, validation, test]) in held_out.stretches.into_iter().enumerate() {
            for (spans, stretches) in [(&mut split.train, train), (&mut cut_v, validation), (&mut cut_t, test)] {
                spans.extend(stretches.into_iter().map(|stretch| Span { source, raw: stretch.raw, text: stretch.text }));
            }
        }
        split.torn = held_out.torn;
        let all: u64 = split.sources.iter().map(|source| source.bytes).sum();
        let [rounded_v, rounded_t] = held_out.rounded_up;
        for (name, share, spans, rounded_up) in
            [("validation", fraction_v, &cut_v, rounded_v), ("test", fraction_t, &cut_t, rounded_t)]
        {
            if share > 0.0 && spans.is_empty() {
                return Err(held_out::nothing(&split.sources, name, share));
            }
            let bytes: u64 = spans.iter().map(|span| span.text.end - span.text.start).sum();
            split.rounded_up.extend(rounded_up.then_some((name, bytes as f64 / all as f64)));
        }
        split.validation = split.part(&corpus.validation, "validation", cut_v, validation, &mut seen)?;
        split.test = split.part(&corpus.test, "test", cut_t, test, &mut seen)?;
        if split.train.is_empty() {
            return Err(Error::usage("the training part is empty").help("use a longer text, or hold out less of it"));
        }
        Ok(split)
    }

    fn part(
        &mut self,
        setting: &Part,
        name: &str,
        cut: Vec<Span>,
        sources: Vec<Source>,
        seen: &mut dyn FnMut(u64),
    ) -> Result<Option<Vec<Span>>> {
        let spans = match setting {
            Part::None => return Ok(None),
            Part::Fraction(_) => cut,
            Part::Path(_) => {
                let mut spans = Vec::new();
                for source in sources {
                    let scanned = source.scan(u64::MAX, seen)?;
                    if scanned.bytes > 0 {
                        let (raw, text) = (scanned.raw_start..scanned.raw_end, 0..scanned.bytes);
                        spans.push(Span { source: self.sources.len(), raw, text });
                    }
                    self.sources.push(scanned);
                }
                spans
            }
        };
        if spans.is_empty() {
            return Err(Error::usage(format!("the {name} part is empty"))
                .help(format!("name a file with some text in it, or set `corpus.{name}` to a fraction or `none`")));
        }
        Ok(Some(spans))
    }

    /// Whether any file consists of rows, so that `corpus.field` is used.
    pub(crate) fn has_rows(&self) -> bool {
        self.sources.iter().any(|source| source.rows.is_some())
    }

    /// The content of all text and how it is split; not where it lies.
    pub(crate) fn hash(&self, join: Join) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key("votive 2026 text and split v1");
        let parts = [Some(&self.train), self.validation.as_ref(), self.test.as_ref()];
        for spans in parts {
            hasher.update(self.spans_hash(spans.map_or(&[], Vec::as_slice)).as_bytes());
        }
        hasher.update(&[u8::from(join == Join::None)]);
        hasher.finalize()
    }

    /// The content of what ranks, whatever is learned from: the same bytes, joined alike where they are several documents.
    pub(crate) fn validation_hash(&self, join: Join) -> Option<blake3::Hash> {
        let spans = self.validation.as_ref()?;
        let joined = join == Join::EndOfText && self.are_several(spans);
        let mut hasher = blake3::Hasher::new_derive_key("votive 2026 scored text v1");
        hasher.update(self.spans_hash(spans).as_bytes()).update(&[u8::from(joined)]);
        Some(hasher.finalize())
    }

    /// The content of these spans.
    pub(crate) fn spans_hash(&self, spans: &[Span]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key("votive 2026 part of a text v1");
        for span in spans {
            let source = &self.sources[span.source];
            hasher.update(source.hash.as_bytes());
            hasher.update(&[u8::from(source.rows.is_some())]);
            hasher.update(&span.text.start.to_le_bytes());
            hasher.update(&span.text.end.to_le_bytes());
        }
        hasher.finalize()
    }

    /// Whether more than one document is in any part, so that there is something to join.
    pub(crate) fn has_joints(&self) -> bool {
        [Some(&self.train), self.validation.as_ref(), self.test.as_ref()]
            .into_iter()
            .flatten()
            .any(|spans| self.are_several(spans))
    }

    /// Whether these spans hold more than one document.
    fn are_several(&self, spans: &[Span]) -> bool {
        spans.len() > 1 || spans.first().is_some_and(|span| self.documents(span) > 1)
    }

    fn documents(&self, span: &Span) -> usize {
        match &self.sources[span.source].rows {
            None => 1,
            Some(rows) => rows.iter().filter(|row| row.text_end > span.text.start && row.text_end <= span.text.end).count(),
        }
    }
}

fn fraction(part: &Part, name: &str) -> Result<f64> {
    match part {
        Part::Fraction(f) if (0.0..1.0).contains(f) && *f > 0.0 => Ok(*f),
        Part::Fraction(f) => Err(Error::usage(format!("`corpus.{name}` is {f}, which is no fraction between 0 and 1"))
            .help(format!("write a fraction as in `{name}: 0.1`, a file, or `none`"))),
        Part::Path(_) | Part::None => Ok(0.0),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::Kind;

    struct Case {
        dir: tempfile::TempDir,
        corpus: Corpus,
    }

    impl Case {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(dir.path().join(name), text).unwrap();
            }
            let text = files.iter().map(|(name, _)| (*name).to_owned()).filter(|name| !name.starts_with("held")).collect();
            Self { dir, corpus: Corpus { text, field: Some("text".to_owned()), ..Corpus::default() } }
        }

        fn split(&self) -> Result<Split> {
            Split::new(&self.corpus, self.dir.path(), &|_| {})
        }

        fn ranges(&self) -> [Vec<(usize, u64, u64)>; 3] {
            let split = self.split().unwrap();
            let list = |spans: &[Span]| spans.iter().map(|s| (s.source, s.text.start, s.text.end)).collect();
            [list(&split.train), list(&split.validation.unwrap_or_default()), list(&split.test.unwrap_or_default())]
        }
    }

    #[test]
    fn a_cut_moves_to_the_nearest_paragraph_then_line_then_character() {
        let paragraphs = format!("{}\n\n{}\n{}", "a".repeat(84), "b".repeat(8), "c".repeat(20));
        let lines = format!("{}\n{}", "a".repeat(88), "b".repeat(26));
        let characters = "é".repeat(50);
        let carriage = format!("{}\r\n\r\n{}", "a".repeat(84), "b".repeat(20));
        let many = format!("{}\n\n\n\n{}", "a".repeat(86), "b".repeat(10));
        for (text, expected) in [(&paragraphs, 86), (&lines, 89), (&characters, 90), (&carriage, 88), (&many, 90)] {
            let mut case = Case::new(&[("a.txt", text)]);
            case.corpus.validation = Part::Fraction(1.0 - 90.0 / text.len() as f64);
            let [train, validation, _] = case.ranges();
            assert_eq!(train, [(0, 0, expected)], "{text:?}");
            assert_eq!(validation, [(0, expected, text.len() as u64)], "{text:?}");
        }
    }

    #[test]
    fn a_character_is_never_cut_whatever_the_fraction() {
        let text = "aé€😀".repeat(30);
        for percent in 1..99 {
            let mut case = Case::new(&[("a.txt", &text)]);
            case.corpus.validation = Part::Fraction(f64::from(percent) / 100.0);
            let [train, validation, _] = case.ranges();
            assert!(text.is_char_boundary(train[0].2 as usize));
            assert_eq!(train[0].2, validation[0].1);
            assert!((train[0].2 as f64 - text.len() as f64 * (1.0 - f64::from(percent) / 100.0)).abs() <= 4.0);
        }
    }

    #[test]
    fn a_paragraph_far_away_does_not_swallow_a_part() {
        let text = format!("{}\n\n{}", "a".repeat(100), "b".repeat(900));
        let [train, validation, _] = Case::new(&[("a.txt", &text)]).ranges();
        assert_eq!((train, validation), (vec![(0, 0, 902)], vec![(0, 902, 1002)]));
    }

    #[test]
    fn the_test_part_is_at_the_very_end_of_each_file_and_validation_before_it() {
        let text = "word word\n\n".repeat(100);
        let mut case = Case::new(&[("a.txt", &text), ("b.txt", &text)]);
        case.corpus.validation = Part::Fraction(0.1);
        case.corpus.test = Part::Fraction(0.2);
        let [train, validation, test] = case.ranges();
        assert_eq!(train, [(0, 0, 770), (1, 0, 770)]);
        assert_eq!(validation, [(0, 770, 880), (1, 770, 880)]);
        assert_eq!(test, [(0, 880, 1100), (1, 880, 1100)]);
    }

    #[test]
    fn rows_are_never_cut() {
        let rows: String = (0..10).map(|i| format!("{{\"text\":\"row {i} line\\n\\nline\"}}\n")).collect();
        let [train, validation, _] = Case::new(&[("a.jsonl", &rows)]).ranges();
        assert_eq!((train, validation), (vec![(0, 0, 9 * 16)], vec![(0, 9 * 16, 160)]));
        let split = Case::new(&[("a.jsonl", &rows)]).split().unwrap();
        assert_eq!(rows.as_bytes()[split.train[0].raw.end as usize - 1], b'\n');
        assert!(split.has_joints());
    }

    #[test]
    fn a_byte_order_mark_shifts_no_cut_and_changes_no_hash() {
        let text = "word word\n\n".repeat(100);
        let (plain, marked) = (Case::new(&[("a.txt", &text)]), Case::new(&[("a.txt", &format!("\u{FEFF}{text}"))]));
        assert_eq!(marked.ranges(), plain.ranges());
        let (plain, marked) = (plain.split().unwrap(), marked.split().unwrap());
        assert_eq!(marked.hash(Join::EndOfText), plain.hash(Join::EndOfText));
        assert_eq!(marked.train[0].raw, 3..993);
        assert_eq!(marked.validation.unwrap()[0].raw, 993..1103);
        let mut held = Case::new(&[("a.txt", &text), ("held.txt", "\u{FEFF}held out")]);
        held.corpus.validation = Part::Path("held.txt".to_owned());
        assert_eq!(held.split().unwrap().validation.unwrap(), [Span { source: 1, raw: 3..11, text: 0..8 }]);
    }

    /// Results lie under ids that hash these: what was split well before files could be held out whole must never get another.
    #[test]
    fn texts_that_were_split_well_keep_their_hash() {
        let poem = "a line of it\n".repeat(20);
        let rows: String = (0..50).map(|i| format!("{{\"text\":\"row number {i}\"}}\n")).collect();
        let letters = "ACGT".repeat(10_000);
        for (files, expected) in [
            (
                vec![("a.txt", poem.as_str()), ("b.txt", &poem), ("c.txt", &poem), ("d.txt", &poem), ("e.txt", &poem)],
                "8a2117cf1e2d3195",
            ),
            (vec![("a.txt", &letters), ("b.txt", &letters)], "7031c4c2ee9a97c0"),
            (vec![("a.jsonl", &rows), ("b.jsonl", &rows)], "07280117e117f8b9"),
            (vec![("a.txt", "one two three four"), ("b.txt", "five six seven")], "6fcc3089013b916f"),
        ] {
            let mut case = Case::new(&files);
            case.corpus.test = Part::Fraction(0.2);
            assert_eq!(case.split().unwrap().hash(Join::EndOfText).to_hex()[..16], *expected, "{}", files[0].0);
        }
    }

    #[test]
    fn held_out_files_are_parts_of_their_own() {
        let mut case = Case::new(&[("a.txt", "training"), ("held.txt", "held out")]);
        case.corpus.validation = Part::Path("held.txt".to_owned());
        assert_eq!(case.ranges(), [vec![(0, 0, 8)], vec![(1, 0, 8)], vec![]]);
        case.corpus.validation = Part::None;
        assert_eq!(case.ranges(), [vec![(0, 0, 8)], vec![], vec![]]);
        assert!(case.split().unwrap().validation.is_none());
    }

    #[test]
    fn only_the_first_bytes_are_read_where_that_is_asked_for() {
        let mut case = Case::new(&[("a.txt", &"a".repeat(60)), ("b.txt", &"b".repeat(60))]);
        case.corpus.validation = Part::None;
        case.corpus.max_bytes = Some(80);
        assert_eq!(case.ranges()[0], [(0, 0, 60), (1, 0, 20)]);
        case.corpus.max_bytes = Some(50);
        assert_eq!(case.ranges()[0], [(0, 0, 50)]);
    }

    #[test]
    fn where_the_text_is_cut_nothing_of_a_later_file_follows() {
        let row = |n: usize| format!("{{\"text\":\"{}\"}}\n", "a".repeat(n));
        let mut rows = Case::new(&[("a.jsonl", &(row(4) + &row(100))), ("b.jsonl", &row(3))]);
        let mut plain = Case::new(&[("a.txt", "abcé"), ("b.txt", "defg")]);
        for (case, all) in [
            (&mut rows, [(50, vec![(0, 0, 4)]), (107, vec![(0, 0, 104), (1, 0, 3)])]),
            (&mut plain, [(4, vec![(0, 0, 3)]), (6, vec![(0, 0, 5), (1, 0, 1)])]),
        ] {
            case.corpus.validation = Part::None;
            for (most, expected) in all {
                case.corpus.max_bytes = Some(most);
                assert_eq!(case.ranges()[0], expected, "{most}");
            }
        }
    }

    #[test]
    fn why_a_part_is_empty_is_told_of_the_text_and_not_of_held_out_files() {
        let rows: String = (0..50).map(|i| format!("{{\"text\":\"row number {i}\"}}\n")).collect();
        let mut case = Case::new(&[("a.jsonl", "{\"text\":\"a single row\"}\n"), ("held.jsonl", &rows)]);
        (case.corpus.validation, case.corpus.test) = (Part::Path("held.jsonl".to_owned()), Part::Fraction(0.1));
        let error = case.split().unwrap_err();
        assert_eq!(error.to_string(), "the test part is empty: the text is a single row, and rows are never cut");
    }

    #[test]
    fn what_leaves_a_part_empty_or_leaks_is_refused() {
        let refused = |change: &dyn Fn(&mut Corpus), files: &[(&str, &str)], expected: &str| {
            let mut case = Case::new(files);
            change(&mut case.corpus);
            let error = case.split().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.help_text().is_some());
        };
        refused(&|_| {}, &[("a.txt", "")], "the text is empty");
        refused(&|c| c.max_bytes = Some(0), &[("a.txt", "abc")], "the text is empty");
        refused(&|_| {}, &[("a.txt", "abc")], "the validation part is empty");
        refused(&|c| c.validation = Part::Fraction(1.0), &[("a.txt", "abc")], "no fraction between 0 and 1");
        refused(&|c| c.validation = Part::Fraction(f64::NAN), &[("a.txt", "abc")], "no fraction between 0 and 1");
        refused(
            &|c| (c.validation, c.test) = (Part::Fraction(0.5), Part::Fraction(0.5)),
            &[("a.txt", "abc")],
            "nothing to learn from",
        );
        refused(
            &|c| c.validation = Part::Path("a.txt".to_owned()),
            &[("a.txt", "abc")],
            "in the training part and in the validation",
        );
        refused(&|c| c.test = Part::Path("held.txt".to_owned()), &[("a.txt", "abc"), ("held.txt", "")], "part is empty");
        refused(&|c| c.validation = Part::Path("held-x.txt".to_owned()), &[("a.txt", "abc")], "does not exist");
    }

    #[test]
    fn the_hash_is_that_of_content_and_split_and_not_of_names() {
        let hash = |files: &[(&str, &str)], change: &dyn Fn(&mut Corpus)| {
            let mut case = Case::new(files);
            change(&mut case.corpus);
            case.split().unwrap().hash(case.corpus.join)
        };
        let text = "one two three\n\n".repeat(20);
        let same = hash(&[("a.txt", &text)], &|_| {});
        assert_eq!(hash(&[("b.txt", &text)], &|_| {}), same);
        assert_eq!(hash(&[("b.txt", &text)], &|c| c.max_bytes = Some(10_000)), same);
        assert_ne!(hash(&[("a.txt", &text.replace("three", "Three"))], &|_| {}), same);
        assert_ne!(hash(&[("a.txt", &text)], &|c| c.validation = Part::Fraction(0.2)), same);
        assert_ne!(hash(&[("a.txt", &text)], &|c| c.join = Join::None), same);
        assert_ne!(hash(&[("a.txt", &text)], &|c| c.max_bytes = Some(200)), same);
        let two: [&str; 2] = [&text[..150], &text[150..]];
        assert_ne!(hash(&[("a.txt", two[0]), ("b.txt", two[1])], &|_| {}), same);
    }
}
