//! What a perplexity is to be judged by: what simple counts make of the same tokens, and what a tokenizer loses. In sentences.

use serde_json::Value;

use super::comparison::Comparison;
use super::words;
use crate::durable;
use crate::error::Result;
use crate::runs::ExperimentFolder;

/// Tokenizers that are named.
const NAMED: usize = 6;

/// The notes of an experiment, from its `experiment.json`; none where that says nothing of them.
pub(super) fn notes(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    is_lossless: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let json: Value = durable::read_json(&folder.experiment_json())?.unwrap_or(Value::Null);
    let shown = |label: &str| comparison.configurations.iter().any(|c| c.tokenizer == label);
    let mut notes = Vec::new();
    notes.extend(simple_models(&json["references"], comparison.by_bytes, shown));
    for tokenizer in json["tokenizers"].as_array().into_iter().flatten().take(NAMED) {
        let (Some(label), Some(share)) = (tokenizer["label"].as_str(), tokenizer["unknown_share"].as_f64()) else { continue };
        if shown(label) && !is_lossless(label) {
            notes.push(lossy(label, share, comparison.by_bytes));
        }
    }
    Ok(notes)
}

/// `For comparison, in perplexity on the same tokens: 69.00 guessing blindly …`
fn simple_models(references: &Value, by_bytes: bool, shown: impl Fn(&str) -> bool) -> Option<String> {
    let unit = if by_bytes { "bits_per_byte" } else { "perplexity" };
    let line = |one: &Value| {
        let label = one["tokenizer"].as_str().filter(|label| shown(label))?;
        let figure = |model: &str| one[model][unit].as_f64().map(words::perplexity);
        let (uniform, unigram, bigram) = (figure("uniform")?, figure("unigram")?, figure("bigram")?);
        let name = if by_bytes { format!("{label}: ") } else { String::new() };
        Some(format!(
            "{name}{uniform} guessing blindly, {unigram} by how frequent each token is (unigram), {bigram} by the token before (bigram)"
        ))
    };
    let lines: Vec<String> = references.as_array()?.iter().filter_map(line).take(NAMED).collect();
    let unit = if by_bytes { "in bits per byte" } else { "in perplexity" };
    let lines = if by_bytes { lines.join("; ") } else { lines.into_iter().next().unwrap_or_default() };
    (!lines.is_empty()).then(|| format!("For comparison, {unit} on the same tokens: {lines}, counted in the training text."))
}

fn lossy(label: &str, share: f64, by_bytes: bool) -> String {
    let unknown = match share {
        share if share <= 0.0 => "its tokens do not give the text back".to_owned(),
        share => format!("{:.1} % of its held-out tokens stand for something that it does not know", 100.0 * share),
    };
    let compare = if by_bytes { "have no place, and compare" } else { "compare" };
    format!("Configurations with the tokenizer {label} {compare} by perplexity among themselves only: {unknown}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn references() -> Value {
        let line = |figure: f64| json!({"loss": figure, "perplexity": 10.0 * figure, "bits_per_byte": figure});
        let one = |label: &str| json!({"tokenizer": label, "uniform": line(6.0), "unigram": line(4.5), "bigram": line(3.25)});
        json!([one("char"), one("bpe-512"), one("gone")])
    }

    #[test]
    fn simple_models_are_told_in_the_unit_that_ranks() {
        let told = simple_models(&references(), false, |label| label == "char").unwrap();
        assert_eq!(
            told,
            "For comparison, in perplexity on the same tokens: 60.00 guessing blindly, 45.00 by how frequent each token is \
             (unigram), 32.50 by the token before (bigram), counted in the training text."
        );
        let told = simple_models(&references(), true, |label| label != "gone").unwrap();
        assert!(
            told.contains("in bits per byte on the same tokens: char: 6.000 guessing") && told.contains("; bpe-512: 6.000 "),
            "{told}"
        );
        assert!(!told.contains("gone"));
        for nothing in [Value::Null, json!([]), json!([{"tokenizer": "char"}])] {
            assert_eq!(simple_models(&nothing, false, |_| true), None);
        }
    }

    #[test]
    fn what_a_tokenizer_loses_is_told_with_its_share() {
        assert_eq!(
            lossy("word", 0.0312, true),
            "Configurations with the tokenizer word have no place, and compare by perplexity among themselves only: 3.1 % of its \
             held-out tokens stand for something that it does not know."
        );
        assert!(lossy("file x.json", 0.0, false).ends_with("its tokens do not give the text back."));
    }
}
