//! What a person should know about a text, its split and its tokens.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::source::Scanned;
use super::split::{Span, Split};

/// One remark; shown as `note: …` or `warning: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// Good to know.
    Note(String),
    /// Probably not what was meant.
    Warning(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(text) => write!(f, "note: {text}"),
            Self::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}

/// What a person should know about the text and its split.
pub(crate) fn of(split: &Split) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let named = |sources: &[&Scanned]| {
        let first = sources.first().map(|source| source.source.name.as_str())?;
        Some(if sources.len() > 1 { format!("{first} and {} more", sources.len() - 1) } else { first.to_owned() })
    };
    let as_written: Vec<&Scanned> = split.sources.iter().filter(|source| source.as_written.is_some()).collect();
    if let Some((names, rows)) = named(&as_written).zip(as_written.first().and_then(|source| source.as_written)) {
        let what = rows.named();
        remarks.push(Remark::Note(format!(
            "{names}: {what}, is learned as it is written, names of fields and all; to learn the text of a field, name the \
             file `.jsonl` and set `corpus.field`"
        )));
    }
    let torn: Vec<&Scanned> = split.torn.iter().map(|&source| &split.sources[source]).collect();
    if let Some(names) = named(&torn) {
        remarks.push(Remark::Note(format!(
            "{names}: too short to be cut at the end of a line, so that what is held out begins within one; a file of its own \
             as `corpus.validation` would do, or more files: then whole ones are held out"
        )));
    }
    for (part, share) in &split.rounded_up {
        remarks.push(Remark::Note(format!(
            "the {part} part has {:.0} % of the text: it takes a whole document, and there are few of them; a file of its own as \
             `corpus.{part}` would do, or more documents",
            100.0 * share
        )));
    }
    remarks.extend(leak(split).map(Remark::Warning));
    remarks
}

/// What is learned from and held out too, because two files hold the same.
fn leak(split: &Split) -> Option<String> {
    let mut learned: HashMap<blake3::Hash, Vec<&Span>> = HashMap::new();
    let mut known = HashSet::new();
    for span in &split.train {
        let hash = split.sources[span.source].hash;
        // Copies are cut alike, so that a content has few different stretches however many copies there are.
        if known.insert((hash, &span.text)) {
            learned.entry(hash).or_default().push(span);
        }
    }
    let shared = |span: &Span| {
        let same = learned.get(&split.sources[span.source].hash)?;
        same.iter().find(|known| known.text.start < span.text.end && span.text.start < known.text.end).copied()
    };
    let held_out = [("validation", &split.validation), ("test", &split.test)];
    let spans = held_out.into_iter().flat_map(|(name, spans)| spans.iter().flatten().map(move |span| (name, span)));
    let mut leaks = spans.filter_map(|(name, span)| Some((name, span, shared(span)?)));
    let (name, span, same) = leaks.next()?;
    let more = match leaks.count() {
        0 => String::new(),
        n => format!(" (and {n} more of this sort)"),
    };
    let of = |span: &Span| &split.sources[span.source].source.name;
    Some(format!(
        "{} and {} hold the same text, and it is in the training part and in the {name} part{more}: what is learned by heart \
         ranks there; leave one of them out",
        of(same),
        of(span)
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::experiment::settings::{Corpus, Part};

    /// Files in a folder; those whose names do not begin with `held` are the text.
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
            Self { dir, corpus: Corpus { text, ..Corpus::default() } }
        }
    }

    fn remarks(case: &Case) -> Vec<String> {
        of(&Split::new(&case.corpus, case.dir.path(), &|_| {}).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_same_text_in_two_parts_is_a_warning() {
        let text = "word word\n\n".repeat(100);
        let mut case = Case::new(&[("a.txt", &text), ("b.txt", "other"), ("held.txt", &text), ("held-too.txt", &text)]);
        case.corpus.validation = Part::Path("held.txt".to_owned());
        let told = remarks(&case);
        assert!(
            told[0].starts_with("warning: ") && told[0].contains("a.txt and ") && told[0].contains("held.txt hold"),
            "{told:?}"
        );
        case.corpus.validation = Part::Path("held*.txt".to_owned());
        assert!(remarks(&case)[0].contains("(and 1 more of this sort)"));
        // Copies in the text are cut alike: what one holds out the other does not learn.
        assert_eq!(remarks(&Case::new(&[("a.txt", &text), ("b.txt", &text)])), [] as [&str; 0]);
    }

    #[test]
    fn rows_that_are_learned_as_they_are_written_are_told() {
        let case = Case::new(&[("a.txt", &"{\"text\": \"a\"}\n".repeat(200))]);
        let told = remarks(&case);
        assert!(told.len() == 1 && told[0].starts_with("note: ") && told[0].contains("rows of JSON"), "{told:?}");
    }

    #[test]
    fn a_split_of_few_documents_is_told() {
        let line = "the keeper lit the lamp and looked at the sea";
        let told = remarks(&Case::new(&[("a.txt", line), ("b.txt", line)]));
        assert!(told[0].contains("a.txt and 1 more: too short to be cut at the end of a line"), "{told:?}");
        let mut case = Case::new(&[("a.jsonl", &format!("{{\"text\":\"{line}\"}}\n").repeat(4))]);
        case.corpus.field = Some("text".to_owned());
        assert_eq!(
            remarks(&case),
            [
                "note: the validation part has 25 % of the text: it takes a whole document, and there are few of them; a file of its \
              own as `corpus.validation` would do, or more documents"
            ]
        );
    }
}
