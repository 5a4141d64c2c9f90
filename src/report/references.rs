//! What a perplexity is to be judged by: what simple counts make of the same tokens, and what a tokenizer loses. In sentences.

use serde_json::Value;

use super::comparison::{Comparison, Configuration};
use super::content::differ;
use super::words;
use crate::durable;
use crate::error::Result;
use crate::runs::ExperimentFolder;

/// Tokenizers that are named.
const NAMED: usize = 6;

/// The notes of an experiment, from its `experiment.json`; none where that says nothing of them.
pub(super) fn notes(folder: &ExperimentFolder, comparison: &Comparison) -> Result<Vec<String>> {
    let json: Value = durable::read_json(&folder.experiment_json())?.unwrap_or(Value::Null);
    let mut notes = Vec::new();
    let mut lossy = entries(&json["tokenizers"], "label", comparison);
    lossy.retain(|entry| entry.json["lossless"] == false);
    let mut references = entries(&json["references"], "tokenizer", comparison);
    references.retain(|entry| !comparison.by_bytes || !lossy.iter().any(|tokenizer| tokenizer.is_of(entry)));
    notes.extend(simple_models(&references, comparison.by_bytes));
    notes.extend(
        lossy
            .iter()
            .take(NAMED)
            .filter_map(|entry| Some(lossy_note(&entry.name, &Unknown::of(entry.json)?, comparison.by_bytes))),
    );
    Ok(notes)
}

/// What is said of one tokenizer over one text.
struct Entry<'a> {
    json: &'a Value,
    /// What the tokenizer is called; where several are called so, with the configurations that it is of.
    name: String,
}

impl Entry<'_> {
    /// Whether a tokenizer is that of a reference: by content where it is known of both, and else by label.
    fn is_of(&self, reference: &Entry<'_>) -> bool {
        match (self.json["hash"].as_str(), reference.json["hash"].as_str()) {
            (Some(own), Some(other)) => own == other,
            _ => self.json["label"] == reference.json["tokenizer"],
        }
    }
}

/// Those of a list that belong to configurations which are compared, by content where it is known and else by label.
fn entries<'a>(list: &'a Value, label: &str, comparison: &Comparison) -> Vec<Entry<'a>> {
    let known = |json: &Value, key: &str| json[key].as_str().map(str::to_owned);
    let of = |json: &'a Value| {
        let named = json[label].as_str()?;
        let (hash, text) = (known(json, "hash"), known(json, "text_hash"));
        let belongs = |c: &&Configuration| {
            let same = match (&hash, &c.content.tokenizer) {
                (Some(hash), Some(own)) => hash == own,
                _ => c.tokenizer == named,
            };
            same && !differ(text.as_ref(), c.content.text.as_ref()) && !c.is_apart
        };
        let mut numbers: Vec<i64> = comparison.configurations.iter().filter(belongs).map(|c| c.number).collect();
        numbers.sort_unstable();
        (!numbers.is_empty()).then_some((json, named, numbers))
    };
    let found: Vec<_> = list.as_array().into_iter().flatten().filter_map(of).collect();
    let is_shared = |named: &str| found.iter().filter(|(_, other, _)| *other == named).count() > 1;
    let entry = |(json, named, numbers): &(&'a Value, &'a str, Vec<i64>)| Entry {
        json,
        name: if is_shared(named) { format!("{named} of {}", words::numbers(numbers)) } else { (*named).to_owned() },
    };
    found.iter().map(entry).collect()
}

/// `For comparison, in perplexity on the same tokens: 69.00 guessing blindly …`
fn simple_models(entries: &[Entry<'_>], by_bytes: bool) -> Option<String> {
    let (unit, said) = if by_bytes {
        ("bits_per_byte", "bits per byte on the same text")
    } else {
        ("perplexity", "perplexity on the same tokens")
    };
    let several = by_bytes || entries.len() > 1;
    let line = |entry: &Entry<'_>| {
        let figure = |model: &str| entry.json[model][unit].as_f64().map(words::perplexity);
        let (uniform, unigram, bigram) = (figure("uniform")?, figure("unigram")?, figure("bigram")?);
        let name = if several { format!("{}: ", words::plain(&entry.name)) } else { String::new() };
        Some(format!(
            "{name}{uniform} guessing blindly, {unigram} by how frequent each token is (unigram), {bigram} by the token before (bigram)"
        ))
    };
    let lines: Vec<String> = entries.iter().filter_map(line).take(NAMED).collect();
    let lines = lines.join("; ");
    (!lines.is_empty()).then(|| format!("For comparison, in {said}: {lines}, counted in the training text."))
}

/// The held-out tokens that stand for what a tokenizer does not know.
struct Unknown<'a> {
    /// Of all held-out tokens.
    share: f64,
    /// How many there are; not in the files of earlier versions.
    tokens: Option<u64>,
    /// What the first of them stand for.
    parts: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    fn of(tokenizer: &'a Value) -> Option<Self> {
        let parts = tokenizer["unknown_parts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Some(Self { share: tokenizer["unknown_share"].as_f64()?, tokens: tokenizer["unknown_tokens"].as_u64(), parts })
    }

    /// `12 of its held-out tokens (0.3 %) stand for something that it does not know (as `é`, `ñ`)`.
    fn told(&self) -> String {
        // A share that would be told as nothing is told as little.
        let percent = if self.share < 0.0005 { "under 0.1 %".to_owned() } else { format!("{:.1} %", 100.0 * self.share) };
        let (count, verb) = match self.tokens {
            Some(1) => ("one of its held-out tokens".to_owned(), "stands"),
            Some(n) => (format!("{} of its held-out tokens ({percent})", words::thousands(n as i64)), "stand"),
            None => (format!("{percent} of its held-out tokens"), "stand"),
        };
        let named: Vec<String> = self.parts.iter().map(|part| format!("`{}`", part.escape_debug())).collect();
        let named = match named.as_slice() {
            [] => String::new(),
            [only] if self.tokens == Some(1) => format!(": {only}"),
            some => format!(", as {}", some.join(", ")),
        };
        format!("{count} {verb} for something that it does not know{named}")
    }
}

fn lossy_note(label: &str, unknown: &Unknown, by_bytes: bool) -> String {
    let unknown = match unknown.share {
        share if share <= 0.0 => "its tokens do not give the text back".to_owned(),
        _ => unknown.told(),
    };
    let compare = if by_bytes { "have no place, and compare" } else { "compare" };
    format!("Configurations with the tokenizer {label} {compare} by perplexity among themselves only: {unknown}.")
}

#[cfg(test)]
mod tests {
    use super::super::comparison::tests::compared_as;
    use super::*;
    use crate::experiment::settings::{ClipNorm, Tokenizer};
    use crate::record::tests::{completed, plan};
    use serde_json::json;

    fn references() -> Value {
        let line = |figure: f64| json!({"loss": figure, "perplexity": 10.0 * figure, "bits_per_byte": figure});
        let one = |label: &str, hash: &str| json!({"tokenizer": label, "hash": hash, "uniform": line(6.0), "unigram": line(4.5), "bigram": line(3.25)});
        json!([one("char", "a"), one("bpe-512", "b"), one("gone", "c"), one("char", "d")])
    }

    /// Three configurations with these tokenizers, by label and hash.
    fn three(tokenizers: [(Tokenizer, &str); 3]) -> Comparison {
        let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
        for (trial, (tokenizer, hash)) in plan.trials.iter_mut().zip(tokenizers) {
            trial.settings.tokenizer = tokenizer;
            trial.facts.tokenizer_hash = hash.to_owned();
        }
        compared_as(&plan, &[1.0, 2.0, 3.0].map(|loss| completed(loss, None)), "{}")
    }

    fn told(references: &Value, comparison: &Comparison) -> Option<String> {
        simple_models(&entries(references, "tokenizer", comparison), comparison.by_bytes)
    }

    #[test]
    fn simple_models_are_told_in_the_unit_that_ranks() {
        let same = three([Tokenizer::Char, Tokenizer::Char, Tokenizer::Char].map(|tokenizer| (tokenizer, "a")));
        assert_eq!(
            told(&references(), &same).unwrap(),
            "For comparison, in perplexity on the same tokens: 60.00 guessing blindly, 45.00 by how frequent each token is \
             (unigram), 32.50 by the token before (bigram), counted in the training text."
        );
        let bpe = Tokenizer::Bpe { vocab_size: 512 };
        let said = told(&references(), &three([(Tokenizer::Char, "a"), (bpe, "b"), (Tokenizer::Char, "a")])).unwrap();
        assert!(
            said.contains("in bits per byte on the same text: char: 6.000 guessing") && said.contains("; bpe-512: 6.000 "),
            "{said}"
        );
        assert!(!said.contains("gone"));
        for nothing in [Value::Null, json!([]), json!([{"tokenizer": "char"}])] {
            assert_eq!(told(&nothing, &same), None);
        }
    }

    #[test]
    fn bits_per_byte_of_a_tokenizer_that_loses_text_are_not_told_beside_those_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::at(dir.path());
        let lossless = |label: &str, hash: &str, lossless: bool| json!({"label": label, "hash": hash, "lossless": lossless, "unknown_share": 0.0});
        let tokenizers = [lossless("char", "a", false), lossless("bpe-512", "b", true)];
        durable::write_json(&folder.experiment_json(), &json!({"references": references(), "tokenizers": tokenizers})).unwrap();
        let bpe = Tokenizer::Bpe { vocab_size: 512 };
        let several = notes(&folder, &three([(Tokenizer::Char, "a"), (bpe, "b"), (Tokenizer::Char, "a")])).unwrap();
        assert!(several[0].contains("on the same text: bpe-512: 6.000 ") && !several[0].contains("char"), "{several:?}");
        assert!(several[1].starts_with("Configurations with the tokenizer char have no place"), "{several:?}");
        let alone = notes(&folder, &three([Tokenizer::Char, Tokenizer::Char, Tokenizer::Char].map(|t| (t, "a")))).unwrap();
        assert!(alone[0].starts_with("For comparison, in perplexity on the same tokens: 60.00 "), "{alone:?}");
    }

    #[test]
    fn two_vocabularies_of_one_label_are_told_apart_by_their_configurations() {
        let said = told(&references(), &three([(Tokenizer::Char, "a"), (Tokenizer::Char, "d"), (Tokenizer::Char, "a")])).unwrap();
        assert!(said.contains("char of #1 and #3: 6.000 guessing") && said.contains("; char of #2: 6.000 "), "{said}");
    }

    #[test]
    fn what_a_tokenizer_loses_is_told_with_its_share() {
        let of = |share, tokens, parts: &[&'static str]| Unknown { share, tokens, parts: parts.to_vec() };
        assert_eq!(
            lossy_note("word", &of(0.0312, Some(1_234), &["zebra", "quagga"]), true),
            "Configurations with the tokenizer word have no place, and compare by perplexity among themselves only: 1,234 of its \
             held-out tokens (3.1 %) stand for something that it does not know, as `zebra`, `quagga`."
        );
        assert!(lossy_note("file x.json", &of(0.0, Some(0), &[]), false).ends_with("its tokens do not give the text back."));
    }

    #[test]
    fn a_single_unknown_token_is_told_with_its_character_and_never_as_nothing() {
        let told = |share, tokens, parts: &[&'static str]| Unknown { share, tokens, parts: parts.to_vec() }.told();
        let one = told(5e-5, Some(1), &["\u{FEFF}"]);
        assert_eq!(one, "one of its held-out tokens stands for something that it does not know: `\\u{feff}`");
        let two = told(1e-4, Some(2), &["é"]);
        assert_eq!(two, "2 of its held-out tokens (under 0.1 %) stand for something that it does not know, as `é`");
        // What an earlier version wrote.
        assert_eq!(told(0.0312, None, &[]), "3.1 % of its held-out tokens stand for something that it does not know");
    }
}
