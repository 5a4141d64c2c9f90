//! What a perplexity is to be judged by: what simple counts make of the same tokens, and what a tokenizer loses. In sentences.

use super::comparison::{Comparison, Configuration};
use super::content::differ;
use super::design::Design;
use crate::corpus::{Reference, References};
use crate::report::wording;
use crate::runs::{DescribedReferences, DescribedTokenizer};
use crate::words;

/// Tokenizers that are named.
const NAMED: usize = 6;

/// The notes of an experiment; none where its description says nothing of them.
pub(super) fn notes(design: &Design, comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    let mut lossy = compared(&design.tokenizers, comparison);
    lossy.retain(|entry| entry.of.lossless == Some(false));
    let mut references = compared(&design.references, comparison);
    references.retain(|entry| !comparison.by_bytes || !lossy.iter().any(|tokenizer| same(tokenizer.of, entry.of)));
    notes.extend(simple_models(&references, comparison.by_bytes));
    notes.extend(
        lossy.iter().take(NAMED).filter_map(|entry| Some(lossy_note(&entry.name, &Unknown::of(entry.of)?, comparison.by_bytes))),
    );
    notes
}

/// What is said of one tokenizer over one text.
trait OfTokenizer {
    /// What the tokenizer is called.
    fn label(&self) -> &str;
    /// Of its content, where that is known.
    fn hash(&self) -> Option<&String>;
    /// Of the text and its split, where that is known.
    fn text_hash(&self) -> Option<&String>;
}

impl OfTokenizer for DescribedTokenizer {
    fn label(&self) -> &str {
        &self.label
    }

    fn hash(&self) -> Option<&String> {
        self.hash.as_ref()
    }

    fn text_hash(&self) -> Option<&String> {
        self.text_hash.as_ref()
    }
}

impl OfTokenizer for DescribedReferences {
    fn label(&self) -> &str {
        &self.tokenizer
    }

    fn hash(&self) -> Option<&String> {
        self.hash.as_ref()
    }

    fn text_hash(&self) -> Option<&String> {
        self.text_hash.as_ref()
    }
}

/// Whether two are said of one tokenizer: by content where it is known of both, and else by label.
fn same(one: &impl OfTokenizer, other: &impl OfTokenizer) -> bool {
    match (one.hash(), other.hash()) {
        (Some(one), Some(other)) => one == other,
        _ => one.label() == other.label(),
    }
}

/// Whether it is said of what a configuration that is compared was trained with.
fn belongs(one: &impl OfTokenizer, configuration: &Configuration) -> bool {
    let same = match (one.hash(), &configuration.content.tokenizer) {
        (Some(hash), Some(own)) => hash == own,
        _ => configuration.tokenizer == one.label(),
    };
    same && !differ(one.text_hash(), configuration.content.text.as_ref()) && !configuration.is_apart
}

/// One of a list, under the name that it has among those that are told.
struct Entry<'a, T> {
    of: &'a T,
    /// What the tokenizer is called; where several are called so, with the configurations that it is of.
    name: String,
}

/// Those of a list that belong to configurations which are compared, by content where it is known and else by label.
fn compared<'a, T: OfTokenizer>(list: &'a [T], comparison: &Comparison) -> Vec<Entry<'a, T>> {
    let of = |one: &'a T| {
        let mut numbers: Vec<i64> =
            comparison.configurations.iter().filter(|configuration| belongs(one, configuration)).map(|c| c.number).collect();
        numbers.sort_unstable();
        (!numbers.is_empty()).then_some((one, numbers))
    };
    let found: Vec<_> = list.iter().filter_map(of).collect();
    let is_shared = |label: &str| found.iter().filter(|(other, _)| other.label() == label).count() > 1;
    let entry = |(one, numbers): &(&'a T, Vec<i64>)| {
        let label = one.label();
        let name = if is_shared(label) { format!("{label} of {}", wording::numbers(numbers)) } else { label.to_owned() };
        Entry { of: *one, name }
    };
    found.iter().map(entry).collect()
}

/// Where the best configuration, whose figure this is, predicts no better than counts do: then its budget says more than its settings.
pub(super) fn no_better_than_counts(
    references: &[DescribedReferences],
    comparison: &Comparison,
    best: &Configuration,
    figure: f64,
) -> Option<String> {
    let References { unigram, bigram, .. } = references.iter().find(|one| belongs(*one, best))?.references;
    let of = |one: Reference| if comparison.by_bytes { one.bits_per_byte } else { one.perplexity };
    let (counts, by) = match figure {
        figure if figure >= of(unigram) => (of(unigram), "how frequent each token is (unigram"),
        figure if figure >= of(bigram) => (of(bigram), "which token follows which (bigram"),
        _ => return None,
    };
    Some(format!(
        "Counting {by}, {}) predicts better than all of them: the budget is too small for these differences to mean much.",
        wording::perplexity(counts)
    ))
}

/// `For comparison, in perplexity on the same tokens: 69.00 guessing blindly …`
fn simple_models(entries: &[Entry<'_, DescribedReferences>], by_bytes: bool) -> Option<String> {
    let unit = if by_bytes { "bits per byte on the same text" } else { "perplexity on the same tokens" };
    let several = by_bytes || entries.len() > 1;
    let line = |entry: &Entry<'_, DescribedReferences>| {
        let figure = |one: Reference| wording::perplexity(if by_bytes { one.bits_per_byte } else { one.perplexity });
        let References { uniform, unigram, bigram, .. } = entry.of.references;
        let name = if several { format!("{}: ", wording::plain(&entry.name)) } else { String::new() };
        format!(
            "{name}{} guessing blindly, {} by how frequent each token is (unigram), {} by the token before (bigram)",
            figure(uniform),
            figure(unigram),
            figure(bigram),
        )
    };
    let lines: Vec<String> = entries.iter().map(line).take(NAMED).collect();
    let lines = lines.join("; ");
    (!lines.is_empty()).then(|| format!("For comparison, in {unit}: {lines}, counted in the training text."))
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
    fn of(tokenizer: &'a DescribedTokenizer) -> Option<Self> {
        let parts = tokenizer.unknown_parts.iter().map(String::as_str).collect();
        Some(Self { share: tokenizer.unknown_share?, tokens: tokenizer.unknown_tokens, parts })
    }

    /// `12 of its held-out tokens (0.3 %) stand for something that it does not know (as `é`, `ñ`)`.
    fn in_words(&self) -> String {
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
        _ => unknown.in_words(),
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
    use crate::runs::{Description, ExperimentFolder};

    fn references() -> Vec<DescribedReferences> {
        let of = |figure: f64| Reference { loss: figure, perplexity: 10.0 * figure, bits_per_byte: figure };
        let references = References { scored_tokens: 9, uniform: of(6.0), unigram: of(4.5), bigram: of(3.25) };
        let one = |(label, hash): (&str, &str)| {
            let (tokenizer, hash) = (label.to_owned(), Some(hash.to_owned()));
            DescribedReferences { tokenizer, hash, text_hash: None, references }
        };
        [("char", "a"), ("bpe-512", "b"), ("gone", "c"), ("char", "d")].map(one).to_vec()
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

    fn told(references: &[DescribedReferences], comparison: &Comparison) -> Option<String> {
        simple_models(&compared(references, comparison), comparison.by_bytes)
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
        assert_eq!(told(&[], &same), None);
    }

    #[test]
    fn where_counts_predict_better_than_the_best_it_is_said() {
        let same = three([Tokenizer::Char, Tokenizer::Char, Tokenizer::Char].map(|tokenizer| (tokenizer, "a")));
        let said = |figure| no_better_than_counts(&references(), &same, &same.configurations[0], figure);
        assert_eq!(said(32.4), None);
        let bigram = "Counting which token follows which (bigram, 32.50) predicts better than all of them: ";
        assert!(said(32.5).unwrap().starts_with(bigram), "{:?}", said(32.5));
        assert!(said(45.0).unwrap().starts_with("Counting how frequent each token is (unigram, 45.00) "), "{:?}", said(45.0));
        assert_eq!(no_better_than_counts(&[], &same, &same.configurations[0], 45.0), None);
    }

    #[test]
    fn bits_per_byte_of_a_tokenizer_that_loses_text_are_not_told_beside_those_of_others() {
        let tokenizer = |(label, hash, lossless): (&str, &str, bool)| DescribedTokenizer {
            label: label.to_owned(),
            hash: Some(hash.to_owned()),
            lossless: Some(lossless),
            unknown_share: Some(0.0),
            ..DescribedTokenizer::default()
        };
        let tokenizers = [("char", "a", false), ("bpe-512", "b", true)].map(tokenizer).to_vec();
        let described = Description { references: references(), tokenizers, ..Description::default() };
        let design = Design::of(described, &ExperimentFolder::at("night".as_ref()), &[]);
        let bpe = Tokenizer::Bpe { vocab_size: 512 };
        let several = notes(&design, &three([(Tokenizer::Char, "a"), (bpe, "b"), (Tokenizer::Char, "a")]));
        assert!(several[0].contains("on the same text: bpe-512: 6.000 ") && !several[0].contains("char"), "{several:?}");
        assert!(several[1].starts_with("Configurations with the tokenizer char have no place"), "{several:?}");
        let alone = notes(&design, &three([Tokenizer::Char, Tokenizer::Char, Tokenizer::Char].map(|t| (t, "a"))));
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
        let told = |share, tokens, parts: &[&'static str]| Unknown { share, tokens, parts: parts.to_vec() }.in_words();
        let one = told(5e-5, Some(1), &["\u{FEFF}"]);
        assert_eq!(one, "one of its held-out tokens stands for something that it does not know: `\\u{feff}`");
        let two = told(1e-4, Some(2), &["é"]);
        assert_eq!(two, "2 of its held-out tokens (under 0.1 %) stand for something that it does not know, as `é`");
        // What an earlier version wrote.
        assert_eq!(told(0.0312, None, &[]), "3.1 % of its held-out tokens stand for something that it does not know");
    }
}
