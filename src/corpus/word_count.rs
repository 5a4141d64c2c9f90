//! Counting words, for perplexity per word.

use std::ops::Range;

use super::pieces;
use super::split::{Span, Split};
use crate::error::Result;

/// Words of these bytes of a part: what stands between white space, whatever the tokenizer makes of it. No word goes on from one
/// document to the next; one that is cut by an end of the range counts.
pub(crate) fn count_words(split: &Split, spans: &[Span], bytes: &Range<u64>) -> Result<u64> {
    let mut counter = Counter::default();
    pieces::for_each(&split.sources, spans, &mut |piece| {
        counter.add(&piece.text, piece.starts_document, bytes);
        Ok(())
    })?;
    Ok(counter.words)
}

#[derive(Default)]
struct Counter {
    words: u64,
    /// Bytes seen.
    place: u64,
    in_word: bool,
}

impl Counter {
    fn add(&mut self, text: &str, starts_document: bool, bytes: &Range<u64>) {
        self.in_word &= !starts_document;
        if self.place < bytes.end {
            for (offset, character) in text.char_indices() {
                // A character that the range cuts is in it.
                let start = self.place + offset as u64;
                if start + character.len_utf8() as u64 <= bytes.start || start >= bytes.end {
                    continue;
                }
                let is_word = !character.is_whitespace();
                self.words += u64::from(is_word && !self.in_word);
                self.in_word = is_word;
            }
        }
        self.place += text.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pieces: &[(&str, bool)], bytes: Range<u64>) -> u64 {
        let mut counter = Counter::default();
        for (text, starts_document) in pieces {
            counter.add(text, *starts_document, &bytes);
        }
        counter.words
    }

    #[test]
    fn words_are_what_stands_between_white_space() {
        for (text, words) in [("", 0), (" \n", 0), ("The cat sat.", 3), ("  a\u{a0}b \n\n c", 3), ("naïve café", 2)] {
            assert_eq!(count(&[(text, true)], 0..u64::MAX), words, "{text:?}");
        }
    }

    #[test]
    fn only_the_scored_bytes_count_and_a_word_that_is_cut_counts_as_one() {
        let text = "one two three";
        for (bytes, words) in [(0..13, 3), (1..13, 3), (3..13, 2), (4..7, 1), (5..9, 2), (3..4, 0), (13..99, 0)] {
            assert_eq!(count(&[(text, true)], bytes.clone()), words, "{bytes:?}");
        }
        assert_eq!(count(&[("é", true)], 1..2), 1, "half a character is one");
    }

    #[test]
    fn a_word_goes_on_in_the_next_piece_but_not_in_the_next_document() {
        assert_eq!(count(&[("on", true), ("e", false)], 0..99), 1);
        assert_eq!(count(&[("on", true), ("e", true)], 0..99), 2);
    }
}
