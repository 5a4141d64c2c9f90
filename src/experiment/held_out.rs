//! What configurations are scored on, told from their settings: a sweep never changes it.

use serde_json::json;

use super::check::Conflict;
use super::settings::{Corpus, Part};

/// The settings that decide which tokens are held out, each with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldOut {
    decided_by: Vec<(&'static [&'static str], String)>,
    /// Whether a part is cut from the text that is learned from.
    cut: bool,
}

impl HeldOut {
    /// What is held out under these settings.
    pub(super) fn of(corpus: &Corpus) -> Self {
        let parts = [&corpus.validation, &corpus.test];
        let cut = parts.iter().any(|part| matches!(part, Part::Fraction(_)));
        // The text of every held-out part.
        let mut texts: Vec<&str> =
            parts.iter().filter_map(|part| if let Part::Path(path) = part { Some(path.as_str()) } else { None }).collect();
        let mut decided_by: Vec<(&'static [&'static str], String)> = vec![
            (&["corpus.validation"], json!(corpus.validation).to_string()),
            (&["corpus.test"], json!(corpus.test).to_string()),
        ];
        if cut {
            texts.extend(corpus.text.iter().map(String::as_str));
            decided_by.push((&["corpus.text"], json!(corpus.text).to_string()));
            decided_by.push((&["corpus.max_bytes"], json!(corpus.max_bytes).to_string()));
        }
        if texts.iter().any(|text| may_have_rows(text)) {
            decided_by.push((&["corpus.field"], json!(corpus.field).to_string()));
        }
        // What stands between documents is scored, where there are several.
        if texts.iter().any(|text| may_have_rows(text) || is_pattern(text)) || (cut && corpus.text.len() > 1) {
            decided_by.push((&["corpus.join"], json!(corpus.join).to_string()));
        }
        Self { decided_by, cut }
    }

    /// The settings by which these are scored on something else than the first ones.
    pub(super) fn conflicts(&self, other: &Self) -> Vec<Conflict> {
        let differ = |(keys, value): &&(&'static [&'static str], String)| {
            self.decided_by.iter().any(|(first, before)| first == keys && before != value)
        };
        other.decided_by.iter().filter(differ).map(|(keys, _)| conflict(keys, other.cut)).collect()
    }
}

fn conflict(keys: &'static [&'static str], cut: bool) -> Conflict {
    const APART: &str = "each would be scored on a text of its own";
    let key = keys[0];
    let (message, help) = match key {
        "corpus.validation" | "corpus.test" => {
            (format!("`{key}` cannot differ between configurations: {APART}"), format!("set `{key}` once, outside the axes"))
        }
        _ if cut => (
            format!("`{key}` cannot differ between configurations where a held-out part is cut from the text: {APART}"),
            "hold out one file for all: `corpus: {validation: held-out.txt}`, and `corpus.test` a file or `none`".to_owned(),
        ),
        _ => (
            format!("`{key}` cannot differ between configurations: it changes the tokens of the held-out file"),
            format!("set `{key}` once, or hold out one file of plain text"),
        ),
    };
    Conflict { keys, message, help: Some(help) }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a text may be rows with fields: by its ending, or a pattern that says nothing of it.
pub(super) fn may_have_rows(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [".jsonl", ".ndjson", ".json"].iter().any(|ending| text.ends_with(ending)) || (is_pattern(&text) && !text.ends_with(".txt"))
}

#[cfg(test)]
mod tests {
    use super::super::settings::Join;
    use super::*;

    type Change = fn(&mut Corpus);

    /// The setting by which two changes of the same corpus are scored on something else.
    fn apart(base: &Corpus, one: Change, other: Change) -> Vec<&'static str> {
        let [one, other] = [one, other].map(|change| {
            let mut corpus = base.clone();
            change(&mut corpus);
            HeldOut::of(&corpus)
        });
        one.conflicts(&other).iter().map(|conflict| conflict.keys[0]).collect()
    }

    const TEXT: [Change; 2] = [|c| c.text = vec!["a.txt".to_owned()], |c| c.text = vec!["b.txt".to_owned()]];
    const BYTES: [Change; 2] = [|c| c.max_bytes = Some(1_000), |c| c.max_bytes = None];
    const FIELD: [Change; 2] = [|c| c.field = Some("a".to_owned()), |c| c.field = Some("b".to_owned())];
    const JOIN: [Change; 2] = [|c| c.join = Join::None, |c| c.join = Join::EndOfText];
    const VALIDATION: [Change; 2] = [|c| c.validation = Part::Fraction(0.1), |c| c.validation = Part::Fraction(0.2)];
    const TEST: [Change; 2] = [|c| c.test = Part::None, |c| c.test = Part::Fraction(0.2)];

    fn corpus(text: &str, validation: Part) -> Corpus {
        Corpus { text: vec![text.to_owned()], validation, ..Corpus::default() }
    }

    #[test]
    fn what_is_cut_from_the_text_changes_with_it() {
        let cut = corpus("a.jsonl", Part::Fraction(0.1));
        for (changes, key) in [
            (TEXT, "corpus.text"),
            (BYTES, "corpus.max_bytes"),
            (FIELD, "corpus.field"),
            (JOIN, "corpus.join"),
            (VALIDATION, "corpus.validation"),
            (TEST, "corpus.test"),
        ] {
            assert_eq!(apart(&cut, changes[0], changes[1]), [key]);
        }
        // One plain file is one document.
        assert_eq!(apart(&corpus("a.txt", Part::Fraction(0.1)), JOIN[0], JOIN[1]), [""; 0]);
        let two = Corpus { text: vec!["a.txt".to_owned(), "b.txt".to_owned()], ..Corpus::default() };
        assert_eq!(apart(&two, JOIN[0], JOIN[1]), ["corpus.join"]);
        let tested = Corpus { test: Part::Fraction(0.1), ..corpus("a.txt", Part::Path("v.txt".to_owned())) };
        assert_eq!(apart(&tested, TEXT[0], TEXT[1]), ["corpus.text"], "also for the test part");
    }

    #[test]
    fn one_held_out_file_stays_the_same_whatever_is_learned_from() {
        let plain = corpus("a.jsonl", Part::Path("v.txt".to_owned()));
        for changes in [TEXT, BYTES, FIELD, JOIN] {
            assert_eq!(apart(&plain, changes[0], changes[1]), [""; 0]);
        }
        for path in ["v.jsonl", "v/*"] {
            let rows = corpus("a.jsonl", Part::Path(path.to_owned()));
            assert_eq!(apart(&rows, TEXT[0], TEXT[1]), [""; 0]);
            assert_eq!(apart(&rows, FIELD[0], FIELD[1]), ["corpus.field"]);
            assert_eq!(apart(&rows, JOIN[0], JOIN[1]), ["corpus.join"]);
        }
        assert_eq!(apart(&corpus("a.txt", Part::Path("v/*.txt".to_owned())), JOIN[0], JOIN[1]), ["corpus.join"]);
        assert_eq!(apart(&corpus("a.txt", Part::None), TEXT[0], TEXT[1]), [""; 0], "nothing is held out");
    }
}
