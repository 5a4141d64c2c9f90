//! Tokenizers: text to numbers and back, always by a Hugging Face `tokenizer.json`.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tokenizers::Encoding;

use crate::error::{Error, Result};

/// The end-of-text token of the tokenizers that Votive makes.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";
/// What stands for a character or word that the training part does not have.
pub(crate) const UNKNOWN: &str = "<unk>";
/// End-of-text tokens that other programs' tokenizers are known to have, likeliest first.
const ENDS_OF_TEXT: [&str; 6] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "<|im_end|>"];

/// Turns text into token numbers and back.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    shortcut: Shortcut,
    vocabulary: usize,
    unknown: Option<u32>,
    end_of_text: Option<u32>,
    /// The end-of-text token, where no `tokenizer_config.json` would name one.
    usual_end_of_text: Option<u32>,
    byte_level: bool,
    /// Whether decoding is putting the bytes of the tokens together, and nothing else.
    decodes_bytes: bool,
}

/// Where every byte or character is a token there is a much faster way to the same numbers.
enum Shortcut {
    None,
    Bytes,
    /// The number of each character, by its code; `u32::MAX` where it has none.
    Characters(Vec<u32>),
}

/// A piece of text as tokens.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) tokens: Vec<u32>,
    /// Bytes of the text that each token stands for; their sum is that of the piece. Empty where they were not asked for.
    pub(crate) lengths: Vec<u32>,
    /// Tokens that stand for something the vocabulary does not have.
    pub(crate) unknown: u64,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Where a `tokenizer_config.json` beside it names an `eos_token`, that is the end-of-text
    /// token; else the first of the usual ones that the vocabulary has.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::usage(format!("the tokenizer {} does not exist", path.display()))
                .help("name a Hugging Face `tokenizer.json`, relative to the experiment file"),
            _ => Error::io("read", path, e),
        })?;
        let end = fs::read(path.with_file_name("tokenizer_config.json")).ok().and_then(|config| eos_token(&config));
        Self::from_bytes(&bytes, end.as_deref())
            .map_err(|e| e.context(format!("{} is not a tokenizer that can be used", path.display())))
    }

    /// A tokenizer of this `tokenizer.json`, with this end-of-text token where one is known.
    pub(crate) fn from_bytes(bytes: &[u8], end: Option<&str>) -> Result<Self> {
        let AsUsed { json: bytes, value: json, .. } = as_used(bytes)?;
        let inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|e| Error::data("it is not a `tokenizer.json` of Hugging Face").caused_by(e))?;
        let highest = inner.get_vocab(true).into_values().max();
        let vocabulary = highest.map(|id| id as usize + 1).ok_or_else(|| Error::data("its vocabulary is empty"))?;
        let model = &json["model"];
        let unknown = match &model["unk_token"] {
            Value::String(token) => inner.token_to_id(token),
            _ => model["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok()),
        };
        let usual_end_of_text = ENDS_OF_TEXT.iter().find_map(|token| inner.token_to_id(token));
        let end_of_text = end.and_then(|token| inner.token_to_id(token)).or(usual_end_of_text);
        let decoder = &json["decoder"];
        let byte_level = decoder["type"] == "ByteLevel"
            || decoder["decoders"].as_array().is_some_and(|all| all.iter().any(|d| d["type"] == "ByteLevel"));
        let decodes_bytes = decoder["type"] == "ByteLevel";
        let shortcut = Shortcut::find(&json, &inner, unknown);
        Ok(Self { inner, shortcut, vocabulary, unknown, end_of_text, usual_end_of_text, byte_level, decodes_bytes })
    }

    /// The tokens of a text, in one go: nothing is put before or after them.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_piece(text, false)?.tokens)
    }

    /// The text of these tokens.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner.decode(tokens, false).map_err(|e| Error::data("the tokens cannot be turned into text").caused_by(e))
    }

    /// A text's tokens as people read them: the text of each, or its bytes as `⟨E2⟩` where it is part of a character.
    pub fn pieces(&self, text: &str) -> Result<Vec<String>> {
        self.encode(text)?.into_iter().map(|token| self.piece(token)).collect()
    }

    fn piece(&self, token: u32) -> Result<String> {
        let spelled = self.inner.id_to_token(token).unwrap_or_default();
        if !self.byte_level {
            return Ok(spelled);
        }
        let bytes: Option<Vec<u8>> = spelled.chars().map(byte_of).collect();
        let Some(bytes) = bytes else { return Ok(spelled) };
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| e.as_bytes().iter().map(|b| format!("⟨{b:02X}⟩")).collect()))
    }

    /// The parts of a text that the vocabulary does not have, each once, in their order: characters where a character is a token,
    /// else whatever stands between white space.
    pub fn unknown_parts(&self, text: &str) -> Result<Vec<String>> {
        let parts: Vec<String> = match self.shortcut {
            Shortcut::Characters(_) => text.chars().map(String::from).collect(),
            _ => text.split_whitespace().map(str::to_owned).collect(),
        };
        let mut unknown: Vec<String> = Vec::new();
        for part in parts {
            if !unknown.contains(&part) && self.encode_piece(&part, false)?.unknown > 0 {
                unknown.push(part);
            }
        }
        Ok(unknown)
    }

    /// Number of tokens in the vocabulary: one more than the highest number, so that a model has a row for each.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The first token of the vocabulary that does not stand for something unknown.
    pub fn first_known(&self) -> u32 {
        u32::from(self.unknown == Some(0) && self.vocabulary > 1)
    }

    /// The token that stands for what the vocabulary does not have, where there is one.
    pub(crate) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The token that stands between documents, where there is one.
    pub fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// Whether the end-of-text token is another one than `tokenizer.json` alone would give.
    pub(crate) fn has_other_end_of_text(&self) -> bool {
        self.end_of_text != self.usual_end_of_text
    }

    /// The number of each character by its code, `u32::MAX` where it has none; `None` where tokens are no characters.
    pub(crate) fn characters_by_code(&self) -> Option<&[u32]> {
        match &self.shortcut {
            Shortcut::Characters(table) => Some(table),
            _ => None,
        }
    }

    /// Whether decoding is putting the bytes of the tokens together, and nothing else.
    pub(crate) fn decodes_bytes(&self) -> bool {
        self.decodes_bytes
    }

    /// A token as the vocabulary spells it.
    pub(crate) fn token_text(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }

    /// The tokens of a piece, with the bytes that each stands for where `lengths` asks for them.
    pub(crate) fn encode_piece(&self, text: &str, lengths: bool) -> Result<Encoded> {
        if self.end_of_text.is_none() || !text.contains(END_OF_TEXT) {
            match &self.shortcut {
                Shortcut::None => {}
                Shortcut::Bytes => {
                    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
                    let lengths = if lengths { vec![1; tokens.len()] } else { Vec::new() };
                    return Ok(Encoded { tokens, lengths, unknown: 0 });
                }
                Shortcut::Characters(table) => return Ok(self.characters(text, table, lengths)),
            }
        }
        let failed = |e| Error::data("the tokenizer cannot encode the text").caused_by(e);
        if !lengths {
            let tokens = self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec();
            let unknown = self.count_unknown(&tokens);
            return Ok(Encoded { tokens, lengths: Vec::new(), unknown });
        }
        let encoding = self.inner.encode(text, false).map_err(failed)?;
        let lengths = if self.byte_level { spelled_lengths(&encoding) } else { Vec::new() };
        let whole = lengths.iter().map(|&n| n as usize).sum::<usize>() == text.len() && !lengths.is_empty();
        let lengths = if whole { lengths } else { offset_lengths(&encoding, text.len()) };
        let tokens = encoding.get_ids().to_vec();
        let unknown = self.count_unknown(&tokens);
        Ok(Encoded { tokens, lengths, unknown })
    }

    fn characters(&self, text: &str, table: &[u32], lengths: bool) -> Encoded {
        let unknown = self.unknown.unwrap_or(u32::MAX);
        let mut encoded = Encoded { tokens: Vec::with_capacity(text.len()), ..Encoded::default() };
        for character in text.chars() {
            let token = table.get(character as usize).copied().filter(|&token| token != u32::MAX);
            encoded.unknown += u64::from(token.is_none());
            encoded.tokens.push(token.unwrap_or(unknown));
            if lengths {
                encoded.lengths.push(character.len_utf8() as u32);
            }
        }
        encoded
    }

    fn count_unknown(&self, tokens: &[u32]) -> u64 {
        self.unknown.map_or(0, |unknown| tokens.iter().filter(|&&token| token == unknown).count() as u64)
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

impl Shortcut {
    /// Recognizes the `char` and `byte` tokenizers that Votive makes, by all that decides what a text becomes.
    fn find(json: &Value, inner: &tokenizers::Tokenizer, unknown: Option<u32>) -> Self {
        let model = &json["model"];
        let plain = model["type"] == "BPE"
            && model["merges"].as_array().is_some_and(Vec::is_empty)
            && json["normalizer"].is_null()
            && json["post_processor"].is_null()
            && model["byte_fallback"] == false
            && model["fuse_unk"] == false
            && model["ignore_merges"] == false
            && ["dropout", "continuing_subword_prefix", "end_of_word_suffix"].iter().all(|key| model[key].is_null())
            && json["added_tokens"].as_array().is_some_and(|all| all.iter().all(|t| t["content"] == END_OF_TEXT));
        let Some(vocabulary) = model["vocab"].as_object().filter(|_| plain) else { return Self::None };
        let single = || {
            vocabulary.iter().filter_map(|(token, id)| {
                let mut characters = token.chars();
                match (characters.next(), characters.next(), id.as_u64()) {
                    (Some(character), None, Some(id)) => Some((character, id as u32)),
                    _ => None,
                }
            })
        };
        let pre = &json["pre_tokenizer"];
        if pre.is_null() && unknown.is_some() {
            let mut table = vec![u32::MAX; single().map(|(c, _)| c as usize + 1).max().unwrap_or(0)];
            single().for_each(|(character, id)| table[character as usize] = id);
            return Self::Characters(table);
        }
        let bytes = pre["type"] == "ByteLevel" && pre["use_regex"] == false && pre["add_prefix_space"] == false;
        let all = (0..=255u8).all(|byte| inner.token_to_id(&character_of(byte).to_string()) == Some(u32::from(byte)));
        if bytes && all { Self::Bytes } else { Self::None }
    }
}

/// A `tokenizer.json` as it is used.
pub(crate) struct AsUsed<'a> {
    /// The file as it was given, or without what is turned off.
    pub(crate) json: Cow<'a, [u8]>,
    /// The same, read.
    value: Value,
    /// What is turned off, in words: `dropout 0.3`, `truncation`.
    pub(crate) turned_off: Vec<String>,
}

/// Turns off what is for training another program's models and would change what a text becomes: dropout, which makes other tokens
/// of the same text each time; truncation, which drops the rest of it; padding, which adds to it. A file without them stays as it
/// is, to the byte.
pub(crate) fn as_used(bytes: &[u8]) -> Result<AsUsed<'_>> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|e| Error::data("it is not JSON").caused_by(e))?;
    let mut turned_off = Vec::new();
    for (place, name) in [("/model/dropout", "dropout"), ("/truncation", "truncation"), ("/padding", "padding")] {
        let Some(setting) = value.pointer_mut(place) else { continue };
        match setting.take() {
            // 0 is how some write that there is none: the file may stay.
            Value::Number(share) if share.as_f64() == Some(0.0) => {}
            Value::Number(share) => turned_off.push(format!("{name} {share}")),
            Value::Null => {}
            _ => turned_off.push(name.to_owned()),
        }
    }
    let json = if turned_off.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned(format!("{value:#}\n").into_bytes()) };
    Ok(AsUsed { json, value, turned_off })
}

/// Bytes of each token of a byte-level tokenizer: a character of its spelling is a byte.
fn spelled_lengths(encoding: &Encoding) -> Vec<u32> {
    encoding.get_tokens().iter().map(|token| token.chars().count() as u32).collect()
}

/// Bytes of each token from where it ends in the text: what lies between two tokens goes to the later one, a character that
/// several tokens share to the first, and what is left at the end to the last. So they always sum to the whole.
fn offset_lengths(encoding: &Encoding, total: usize) -> Vec<u32> {
    let mut covered = 0;
    let mut lengths: Vec<u32> = encoding
        .get_offsets()
        .iter()
        .map(|&(_, end)| {
            let length = end.saturating_sub(covered);
            covered += length;
            length as u32
        })
        .collect();
    if let Some(last) = lengths.last_mut() {
        *last += (total - covered.min(total)) as u32;
    }
    lengths
}

/// The `eos_token` of a `tokenizer_config.json`.
fn eos_token(config: &[u8]) -> Option<String> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let token = &config["eos_token"];
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
}

/// The character that stands for a byte in byte-level vocabularies: itself where it can be seen, else one from U+0100 on.
pub(crate) fn character_of(byte: u8) -> char {
    let hidden = |b: u8| !matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if hidden(byte) {
        let before = (0..byte).filter(|&b| hidden(b)).count() as u32;
        // 68 bytes cannot be seen, and U+0100 … U+0143 are letters.
        char::from_u32(256 + before).unwrap_or('\u{FFFD}')
    } else {
        char::from(byte)
    }
}

fn byte_of(character: char) -> Option<u8> {
    if (character as u32) >= 0x180 {
        return None;
    }
    (0..=255).find(|&byte| character_of(byte) == character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own_and_back() {
        let all: std::collections::HashSet<char> = (0..=255).map(character_of).collect();
        assert_eq!(all.len(), 256);
        assert!((0..=255).all(|byte| byte_of(character_of(byte)) == Some(byte)));
        assert_eq!((character_of(b' '), character_of(b'\n'), character_of(b'A'), character_of(0xAD)), ('Ġ', 'Ċ', 'A', 'Ń'));
        assert_eq!(byte_of('€'), None);
    }

    #[test]
    fn the_end_of_text_token_of_a_configuration_is_read_in_both_forms() {
        assert_eq!(eos_token(br#"{"eos_token":"</s>"}"#).as_deref(), Some("</s>"));
        assert_eq!(eos_token(br#"{"eos_token":{"content":"<eos>","lstrip":false}}"#).as_deref(), Some("<eos>"));
        assert_eq!(eos_token(br#"{"eos_token":null}"#), None);
        assert_eq!(eos_token(b"nope"), None);
    }

    #[test]
    fn what_would_change_a_text_from_one_time_to_the_next_is_turned_off_and_named() {
        let file = |dropout: &str, truncation: &str| {
            format!(r#"{{"padding":null,"truncation":{truncation},"model":{{"type":"BPE","dropout":{dropout},"vocab":{{}}}}}}"#)
        };
        for (dropout, truncation, expected) in [
            ("null", "null", &[][..]),
            ("0.0", "null", &[]),
            ("0.3", "null", &["dropout 0.3"]),
            ("1", r#"{"max_length":4}"#, &["dropout 1", "truncation"]),
        ] {
            let given = file(dropout, truncation);
            let used = as_used(given.as_bytes()).unwrap();
            assert_eq!(used.turned_off, expected);
            if expected.is_empty() {
                assert_eq!(&*used.json, given.as_bytes(), "to the byte");
            } else {
                let used: Value = serde_json::from_slice(&used.json).unwrap();
                assert_eq!(used, serde_json::from_str::<Value>(&file("null", "null")).unwrap());
            }
        }
    }

    #[test]
    fn what_is_no_tokenizer_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        let error = Tokenizer::from_file(&path).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
        for text in ["", "[]", "{\"model\":{}}"] {
            fs::write(&path, text).unwrap();
            let error = Tokenizer::from_file(&path).unwrap_err();
            assert!(error.to_string().contains("tokenizer.json is not a tokenizer"), "{error}");
        }
    }
}
