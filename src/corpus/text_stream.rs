//! Tokens that become text one after another, as they are made.

use super::Tokenizer;
use crate::error::Result;

/// Tokens that are decoded together: what a token becomes depends on those before it, but not on far ones. Where a token is a byte the
/// first three may be the rest of a character, and what is held back at the end may be nine (U+FFFD, where it is text, is three
/// bytes): they must not meet.
const KEPT: usize = 16;
/// An incomplete character is at most so many replacement characters at the end (a decoder may write one for each byte).
const HELD: usize = 3;
const REPLACEMENT: char = '\u{FFFD}';

/// Decodes tokens one at a time. A token may be part of a character: that text comes with the token which completes it, so that
/// what was told is never taken back, and an incomplete character at the very end is never told. Bytes that are no UTF-8
/// become U+FFFD.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    window: Vec<u32>,
    /// Bytes of the window's text that were told.
    told: usize,
}

impl<'a> TextStream<'a> {
    /// The text that follows these tokens, which were told before but for an incomplete character at their end.
    pub fn after(tokenizer: &'a Tokenizer, tokens: &[u32]) -> Result<Self> {
        let window = tokens[tokens.len().saturating_sub(KEPT)..].to_vec();
        let told = complete(&tokenizer.decode(&window)?).len();
        Ok(Self { tokenizer, window, told })
    }

    /// The text that this token adds, which may be empty.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.window.push(token);
        let text = self.tokenizer.decode(&self.window)?;
        let complete = complete(&text).len();
        let from = text.ceil_char_boundary(self.told);
        let new = text.get(from..complete).unwrap_or_default().to_owned();
        self.told = self.told.max(complete);
        if self.window.len() > 2 * KEPT {
            let held = text.len().saturating_sub(self.told);
            self.window.drain(..self.window.len() - KEPT);
            self.told = self.tokenizer.decode(&self.window)?.len().saturating_sub(held);
        }
        Ok(new)
    }
}

/// The text without what may be an incomplete character at its end.
pub fn complete(text: &str) -> &str {
    let mut end = text.len();
    for _ in 0..HELD {
        match text[..end].strip_suffix(REPLACEMENT) {
            Some(before) => end = before.len(),
            None => break,
        }
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::corpus::tokenizer::character_of;

    fn byte() -> Tokenizer {
        let vocabulary: serde_json::Map<_, _> = (0..=255u8).map(|byte| (character_of(byte).to_string(), json!(byte))).collect();
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary, "merges": [],
        });
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": level, "post_processor": null, "decoder": level, "model": model,
        });
        Tokenizer::from_bytes(json.to_string().as_bytes(), None).unwrap()
    }

    fn word() -> Tokenizer {
        let vocabulary: serde_json::Map<_, _> =
            (0..100u32).map(|n| (if n == 0 { "<unk>".to_owned() } else { format!("w{n}") }, json!(n))).collect();
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
        });
        Tokenizer::from_bytes(json.to_string().as_bytes(), None).unwrap()
    }

    fn streamed(tokenizer: &Tokenizer, before: &[u32], tokens: &[u32]) -> Vec<String> {
        let mut stream = TextStream::after(tokenizer, before).unwrap();
        tokens.iter().map(|&token| stream.push(token).unwrap()).collect()
    }

    #[test]
    fn a_character_comes_with_its_last_byte() {
        let tokenizer = byte();
        let tokens: Vec<u32> = "a€b".bytes().map(u32::from).collect();
        assert_eq!(streamed(&tokenizer, &[], &tokens), ["a", "", "", "€", "b"]);
        assert_eq!(streamed(&tokenizer, &tokens[..2], &tokens[2..]), ["", "€", "b"], "a prompt that ends within a character");
        assert_eq!(streamed(&tokenizer, &tokens[..4], &[0x80, u32::from(b'c')]), ["", "\u{FFFD}c"], "what is no UTF-8");
        assert_eq!(streamed(&tokenizer, &[], &tokens[..3]).concat(), "a", "an incomplete one at the end is left out");
    }

    #[test]
    fn a_replacement_character_that_is_text_is_told_once() {
        let tokenizer = byte();
        let text = "\u{10EB0}\u{10300}\u{FFFD}\u{11305}";
        let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
        for before in 0..tokens.len() {
            let prompt = tokenizer.decode(&tokens[..before]).unwrap();
            let told = complete(&prompt).to_owned() + &streamed(&tokenizer, &tokens[..before], &tokens[before..]).concat();
            assert_eq!(told, text, "{before}");
        }
    }

    #[test]
    fn words_are_set_apart_from_the_prompt() {
        let tokenizer = word();
        assert_eq!(streamed(&tokenizer, &[1], &[2, 3]), [" w2", " w3"]);
        assert_eq!(streamed(&tokenizer, &[], &[2, 3]), ["w2", " w3"]);
        let many: Vec<u32> = (0..500).map(|n| 1 + n % 99).collect();
        assert_eq!(streamed(&tokenizer, &[], &many).concat(), tokenizer.decode(&many).unwrap());
    }

    proptest! {
        #[test]
        fn what_is_told_is_the_text_whatever_the_tokens(text in "\\PC{0,120}", before in 0usize..40) {
            let tokenizer = byte();
            let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
            let before = before.min(tokens.len());
            let prompt = tokenizer.decode(&tokens[..before]).unwrap();
            let told = complete(&prompt).to_owned() + &streamed(&tokenizer, &tokens[..before], &tokens[before..]).concat();
            prop_assert_eq!(told, complete(&text));
        }

        #[test]
        fn bytes_that_are_no_text_are_told_as_a_decoder_tells_them(bytes in prop::collection::vec(0u32..256, 0..200)) {
            let tokenizer = byte();
            let (told, whole) = (streamed(&tokenizer, &[], &bytes).concat(), tokenizer.decode(&bytes).unwrap());
            // Where the window is cut within a character its first bytes are decoded anew, but those were told before.
            prop_assert!(whole.starts_with(&told) && whole.len() - told.len() <= 9, "{:?} {:?}", told, whole);
        }
    }
}
