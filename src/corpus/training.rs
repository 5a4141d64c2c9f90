//! Making tokenizers: from the training part only, the same one every time, as a Hugging Face `tokenizer.json`.
//!
//! | kind | tokens, in this order | what it does not keep |
//! | --- | --- | --- |
//! | `byte` | the 256 bytes by value | |
//! | `char` | characters of the training part by code, `<unk>` | characters that are not among them |
//! | `word` | `<unk>`, words and marks, most frequent first, at most 65,535 | white space, other words |
//! | `bpe` | the 256 bytes by value, end of text, learned tokens in the order they were learned | |
//!
//! `char` reads all of the training part. `word` and `bpe` learn from all of it up to 64 MiB; of a longer one from pieces
//! taken evenly over its length, 64 MiB in all, so that memory and time stay bounded. `word` keeps letters, marks of letters,
//! digits and `_` together, with an apostrophe between letters (`don't` is one word), and takes every other mark alone.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;
use serde_json::{Map, Value, json};
use tokenizers::pre_tokenizers::split::{Split as Splitter, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::bpe;
use super::pieces;
use super::split::Split;
use super::tokenizer::{END_OF_TEXT, UNKNOWN, character_of};
use crate::error::{Error, Result};

/// GPT-2's words: what byte-level tokenizers never merge across.
const BYTE_LEVEL_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Words and marks. Spelled with classes that every regular-expression library agrees on.
const WORDS: &str = r"[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}\p{M}\p{N}_]+)*|[^\s\p{L}\p{M}\p{N}_]";
/// Most entries of a `word` vocabulary, `<unk>` not counted.
const MOST_WORDS: usize = 65_535;
/// How much text `word` and `bpe` learn from.
const SAMPLE: u64 = 64 << 20;
const BATCH: usize = 8 << 20;

/// The 256 bytes and the end of text: no byte-level vocabulary can be smaller.
pub(crate) const SMALLEST_BPE: usize = 257;

/// One token a byte.
pub(crate) fn byte(joints: bool) -> Result<Vec<u8>> {
    let end = joints.then_some(256);
    finish(byte_model(&[], &[], end), byte_level_split(false), byte_level_split(false), end)
}

/// One token a character of the training part.
pub(crate) fn char(split: &Split, joints: bool, seen: &mut dyn FnMut(u64)) -> Result<Vec<u8>> {
    let mut characters = BTreeSet::new();
    pieces::for_each(&split.sources, &split.train, &mut |piece| {
        learned_from(&piece.text, joints).for_each(|part| characters.extend(part.chars()));
        seen(piece.text.len() as u64);
        Ok(())
    })?;
    let unknown = characters.len() as u32;
    let end = joints.then_some(unknown + 1);
    let mut vocabulary: Map<String, Value> = characters.iter().zip(0u32..).map(|(c, id)| (c.to_string(), id.into())).collect();
    vocabulary.insert(UNKNOWN.to_owned(), unknown.into());
    if let Some(end) = end {
        vocabulary.insert(END_OF_TEXT.to_owned(), end.into());
    }
    finish(bpe_model(vocabulary, Vec::new(), Some(UNKNOWN)), Value::Null, json!({"type": "Fuse"}), end)
}

/// One token a word or mark of the training part.
pub(crate) fn word(split: &Split, joints: bool, seen: &mut dyn FnMut(u64)) -> Result<Vec<u8>> {
    let splitter = splitter(WORDS, SplitDelimiterBehavior::Removed, true)?;
    let mut words: Vec<(String, u64)> = count_words(split, &splitter, joints, seen)?.into_iter().collect();
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.truncate(MOST_WORDS - usize::from(joints));
    let end = joints.then_some(words.len() as u32 + 1);
    let mut vocabulary: Map<String, Value> = words.into_iter().zip(1u32..).map(|((word, _), id)| (word, id.into())).collect();
    vocabulary.insert(UNKNOWN.to_owned(), 0.into());
    if let Some(end) = end {
        vocabulary.insert(END_OF_TEXT.to_owned(), end.into());
    }
    let model = json!({"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN});
    let pre = json!({"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true});
    finish(model, pre, Value::Null, end)
}

/// Byte-level byte-pair encoding with at most `vocab_size` tokens.
pub(crate) fn bpe(split: &Split, vocab_size: usize, seen: &mut dyn FnMut(u64)) -> Result<Vec<u8>> {
    let Some(new_tokens) = vocab_size.checked_sub(SMALLEST_BPE) else {
        return Err(Error::usage(format!(
            "`tokenizer.vocab_size` is {vocab_size}, but the 256 bytes and the end of text take 257"
        ))
        .help("set it to 257 or more, or use `kind: byte`"));
    };
    let splitter = splitter(BYTE_LEVEL_WORDS, SplitDelimiterBehavior::Isolated, false)?;
    let words = count_words(split, &splitter, true, seen)?.into_iter().collect();
    let found = bpe::train(words, SMALLEST_BPE as u32, new_tokens);
    let model = byte_model(&found.tokens, &found.merges, Some(256));
    finish(model, byte_level_split(true), byte_level_split(true), Some(256))
}

fn splitter(pattern: &str, behavior: SplitDelimiterBehavior, invert: bool) -> Result<Splitter> {
    Splitter::new(SplitPattern::Regex(pattern.to_owned()), behavior, invert)
        .map_err(|e| Error::internal("a pattern of words is not valid").caused_by(e))
}

fn byte_level_split(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex})
}

/// How often each word of the training part, or of an even sample of it, was seen.
fn count_words(split: &Split, splitter: &Splitter, has_end: bool, seen: &mut dyn FnMut(u64)) -> Result<HashMap<String, u64>> {
    let total: u64 = split.train.iter().map(|span| span.text.end - span.text.start).sum();
    let mut counts: HashMap<String, u64> = HashMap::new();
    let (mut batch, mut waiting) = (Vec::new(), 0);
    let (mut place, mut kept) = (0u64, 0u64);
    let mut count = |batch: &mut Vec<String>| -> Result<()> {
        // Sums do not depend on who adds first.
        let parts: Vec<HashMap<String, u64>> =
            batch.par_iter().map(|text| words_of(text, splitter, has_end)).collect::<Result<_>>()?;
        for (word, n) in parts.into_iter().flatten() {
            *counts.entry(word).or_default() += n;
        }
        batch.clear();
        Ok(())
    };
    pieces::for_each(&split.sources, &split.train, &mut |piece| {
        let length = piece.text.len() as u64;
        // Kept where the sample has fallen behind its even share of the text.
        let due = total <= SAMPLE || u128::from(kept) * u128::from(total) <= u128::from(place) * u128::from(SAMPLE);
        place += length;
        seen(length);
        if due && (total <= SAMPLE || kept + length <= SAMPLE) {
            kept += length;
            waiting += piece.text.len();
            batch.push(piece.text);
            if waiting >= BATCH {
                waiting = 0;
                count(&mut batch)?;
            }
        }
        Ok(())
    })?;
    count(&mut batch)?;
    Ok(counts)
}

/// What is learned from of a text: where it names the end-of-text token, and the tokenizer has it, that is the token and no word.
fn learned_from(text: &str, has_end: bool) -> impl Iterator<Item = &str> {
    let parts: Vec<&str> = if has_end { text.split(END_OF_TEXT).collect() } else { vec![text] };
    parts.into_iter()
}

fn words_of(text: &str, splitter: &Splitter, has_end: bool) -> Result<HashMap<String, u64>> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for part in learned_from(text, has_end) {
        // Small stretches: the library keeps several numbers for every byte.
        for lines in part.split_inclusive('\n').collect::<Vec<_>>().chunks(64) {
            let mut words = PreTokenizedString::from(lines.concat());
            splitter.pre_tokenize(&mut words).map_err(|e| Error::internal("a text cannot be cut into words").caused_by(e))?;
            for (word, _, _) in words.get_splits(OffsetReferential::Original, OffsetType::None) {
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(word.to_owned(), 1)),
                }
            }
        }
    }
    Ok(counts)
}

/// A byte-level model: bytes by value, the end of text, then the learned tokens.
fn byte_model(tokens: &[Vec<u8>], merges: &[(u32, u32)], end: Option<u32>) -> Value {
    let spell = |bytes: &[u8]| bytes.iter().map(|&b| character_of(b)).collect::<String>();
    let mut vocabulary: Map<String, Value> = (0..=255u8).map(|b| (spell(&[b]), u32::from(b).into())).collect();
    if let Some(end) = end {
        vocabulary.insert(END_OF_TEXT.to_owned(), end.into());
    }
    for (token, id) in tokens.iter().zip(SMALLEST_BPE as u32..) {
        vocabulary.insert(spell(token), id.into());
    }
    let spelled = |id: u32| match id.checked_sub(SMALLEST_BPE as u32) {
        Some(new) => spell(&tokens[new as usize]),
        None => spell(&[id as u8]),
    };
    bpe_model(vocabulary, merges.iter().map(|(a, b)| json!([spelled(*a), spelled(*b)])).collect(), None)
}

fn bpe_model(vocabulary: Map<String, Value>, merges: Vec<Value>, unknown: Option<&str>) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
    })
}

/// The whole `tokenizer.json`, read and written once by the library, so that it is as the library writes it.
fn finish(model: Value, pre: Value, decoder: Value, end: Option<u32>) -> Result<Vec<u8>> {
    let added: Vec<Value> = end
        .map(|id| {
            json!({
                "id": id, "content": END_OF_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .into_iter()
        .collect();
    let all = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre, "post_processor": null, "decoder": decoder, "model": model,
    });
    let text = tokenizers::Tokenizer::from_bytes(all.to_string()).and_then(|tokenizer| tokenizer.to_string(true));
    let text = text.map_err(|e| Error::internal("the new tokenizer is not valid").caused_by(e))?;
    Ok(text.into_bytes())
}

/// What Hugging Face's transformers reads beside `tokenizer.json`. `<unk>` is left out on purpose: named there it would be
/// looked for in the text.
pub(crate) fn configuration(end_of_text: Option<&str>) -> Value {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false, "model_max_length": 1_000_000_000,
    });
    if let Some(end) = end_of_text {
        config["eos_token"] = end.into();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: &str, invert: bool, text: &str) -> Vec<String> {
        let behavior = if invert { SplitDelimiterBehavior::Removed } else { SplitDelimiterBehavior::Isolated };
        let mut words: Vec<(String, u64)> =
            words_of(text, &splitter(pattern, behavior, invert).unwrap(), true).unwrap().into_iter().collect();
        words.sort();
        words.into_iter().flat_map(|(word, n)| vec![word; n as usize]).collect()
    }

    #[test]
    fn words_and_marks_are_what_a_person_would_count() {
        for (text, expected) in [
            ("The cat sat.", vec![".", "The", "cat", "sat"]),
            ("don't", vec!["don't"]),
            ("‘Tis the dog’s", vec!["Tis", "dog’s", "the", "‘"]),
            ("a, \"b\"...", vec!["\"", "\"", ",", ".", ".", ".", "a", "b"]),
            ("naïve café № 5", vec!["5", "café", "naïve", "№"]),
            ("a\n\nb\tc", vec!["a", "b", "c"]),
            (" \n ", vec![]),
        ] {
            assert_eq!(words(WORDS, true, text), expected, "{text:?}");
        }
    }

    #[test]
    fn byte_level_words_are_those_of_gpt2() {
        let expected = ["\n", " cat", " world", "'s", "Hello", ",", "  "];
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(words(BYTE_LEVEL_WORDS, false, "Hello, world's   cat\n"), expected);
    }
}
