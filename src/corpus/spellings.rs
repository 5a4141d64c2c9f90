//! The bytes of each token, and whether a text is nothing but those of its tokens, one after another.

use std::collections::HashMap;

use super::tokenizer::{Encoded, Tokenizer, character_of};
use crate::error::{Error, Result};

/// The bytes that each token stands for; `None` for one that stands for something unknown.
pub(crate) struct Spellings(Vec<Option<Vec<u8>>>);

impl Spellings {
    /// Those of a tokenizer whose tokens are bytes or characters; `None` where only its decoder knows.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let tokens = 0..tokenizer.vocabulary() as u32;
        if let Some(characters) = tokenizer.characters_by_code() {
            let mut spelled: Vec<Option<Vec<u8>>> = vec![None; tokenizer.vocabulary()];
            for (code, &token) in (0u32..).zip(characters) {
                if let (Some(character), Some(place)) = (char::from_u32(code), spelled.get_mut(token as usize)) {
                    *place = Some(character.to_string().into_bytes());
                }
            }
            if let Some(end) = tokenizer.end_of_text() {
                spelled[end as usize] = tokenizer.token_text(end).map(String::into_bytes);
            }
            return Some(Self(spelled));
        }
        if !tokenizer.decodes_bytes() {
            return None;
        }
        let bytes: HashMap<char, u8> = (0..=255).map(|byte| (character_of(byte), byte)).collect();
        // As the decoder has it: a token with a character that stands for no byte is text as it is.
        let spell = |text: String| match text.chars().map(|c| bytes.get(&c).copied()).collect::<Option<Vec<u8>>>() {
            Some(bytes) => bytes,
            None => text.into_bytes(),
        };
        Some(Self(tokens.map(|token| tokenizer.token_text(token).map(spell)).collect()))
    }

    /// Whether the tokens' bytes are the text.
    ///
    /// # Errors
    /// Where they are, but a token has the length of other bytes than its own: scores by the byte would be wrong.
    pub(crate) fn give_back(&self, text: &str, encoded: &Encoded) -> Result<bool> {
        let (text, mut at) = (text.as_bytes(), 0);
        let mut lengths_differ = false;
        for (place, &token) in encoded.tokens.iter().enumerate() {
            let Some(Some(bytes)) = self.0.get(token as usize) else { return Ok(false) };
            if !text[at..].starts_with(bytes) {
                return Ok(false);
            }
            lengths_differ |= encoded.lengths.get(place).is_some_and(|&length| length as usize != bytes.len());
            at += bytes.len();
        }
        if at == text.len() && lengths_differ {
            return Err(Error::internal("a token is counted with bytes that are not its own"));
        }
        Ok(at == text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::training;

    #[test]
    fn bytes_that_are_counted_for_the_wrong_token_are_a_mistake_that_is_caught() {
        let tokenizer = Tokenizer::from_bytes(&training::byte(false).unwrap(), None).unwrap();
        let spellings = Spellings::of(&tokenizer).unwrap();
        let encoded =
            |tokens: &[u32], lengths: &[u32]| Encoded { tokens: tokens.to_vec(), lengths: lengths.to_vec(), unknown: 0 };
        assert!(spellings.give_back("é!", &encoded(&[0xC3, 0xA9, 0x21], &[1, 1, 1])).unwrap());
        assert!(spellings.give_back("é!", &encoded(&[0xC3, 0xA9, 0x21], &[])).unwrap());
        assert!(!spellings.give_back("é!", &encoded(&[0xC3, 0xA9], &[1, 1])).unwrap());
        assert!(!spellings.give_back("é", &encoded(&[0xC3, 0xA9, 0x21], &[1, 1, 1])).unwrap());
        assert!(!spellings.give_back("e!", &encoded(&[0xC3, 0xA9, 0x21], &[1, 1, 1])).unwrap());
        assert!(spellings.give_back("é!", &encoded(&[0xC3, 0xA9, 0x21], &[2, 0, 1])).is_err());
    }
}
