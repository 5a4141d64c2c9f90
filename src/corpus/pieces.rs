//! Pieces: the stretches of text that are tokenized one by one.
//!
//! A subword tokenizer may join characters across any place, so a cut can change tokens. The token stream is therefore
//! *defined* over pieces: a document is cut at the first paragraph end at or after 64 KiB from the last cut; where there is
//! none within the next 64 KiB, at the first line end there; else at the last character start within them. The rule looks at
//! the text alone, so that neither memory nor the number of threads has a say.

use std::io::{BufRead, Read};
use std::path::Path;

use super::cuts::{is_character_start, is_line_end, is_paragraph_end};
use super::source::Scanned;
use super::split::Span;
use crate::error::{Error, Result};

/// Size from which a piece may end.
pub(crate) const PIECE: usize = 64 << 10;

/// A stretch of one document.
#[derive(Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Whether it is the first of its document.
    pub(crate) starts_document: bool,
}

/// Calls `take` with every piece of these spans, in order.
pub(crate) fn for_each(sources: &[Scanned], spans: &[Span], take: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
    for span in spans {
        let scanned = &sources[span.source];
        let mut reader = scanned.source.open(span.raw.start)?.take(span.raw.end - span.raw.start);
        if scanned.rows.is_none() {
            document(&mut reader, &scanned.source.name, take).and_then(|bytes| unchanged(scanned, span, bytes))?;
            continue;
        }
        let (mut line, mut start, mut number, mut bytes) = (Vec::new(), span.raw.start, 0, 0);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|e| scanned.source.failed(e))?;
            if read == 0 {
                break;
            }
            number += 1;
            if let Some(text) = scanned.source.row_text(&line, start, number)? {
                bytes += text.len() as u64;
                document(&mut text.as_bytes(), &scanned.source.name, take)?;
            }
            start += read as u64;
        }
        unchanged(scanned, span, bytes)?;
    }
    Ok(())
}

fn unchanged(scanned: &Scanned, span: &Span, bytes: u64) -> Result<()> {
    if bytes == span.text.end - span.text.start { Ok(()) } else { Err(changed(&scanned.source.name)) }
}

fn changed(name: &str) -> Error {
    Error::data(format!("{name} changed while it was read")).help("start again when nothing writes to it")
}

/// Cuts one document; returns how many bytes it had.
fn document(reader: &mut dyn Read, name: &str, take: &mut dyn FnMut(Piece) -> Result<()>) -> Result<u64> {
    // One byte beyond the longest piece shows whether that piece ends a paragraph.
    const LOOK: u64 = 2 * PIECE as u64 + 1;
    let mut buffer: Vec<u8> = Vec::new();
    let mut bytes = 0;
    loop {
        let missing = LOOK - buffer.len() as u64;
        reader.take(missing).read_to_end(&mut buffer).map_err(|e| Error::io("read", Path::new(name), e))?;
        if buffer.is_empty() {
            return Ok(bytes);
        }
        let at_end = (buffer.len() as u64) < LOOK;
        let cut = cut(&buffer, at_end);
        let rest = buffer.split_off(cut);
        let text = String::from_utf8(buffer).map_err(|_| changed(name))?;
        buffer = rest;
        let starts_document = bytes == 0;
        bytes += cut as u64;
        take(Piece { text, starts_document })?;
    }
}

/// Where the first piece of this text ends. `at_end` says that the document ends with it.
fn cut(bytes: &[u8], at_end: bool) -> usize {
    if at_end && bytes.len() <= PIECE {
        return bytes.len();
    }
    let last = bytes.len().min(2 * PIECE);
    let mut places = PIECE..=last;
    if let Some(place) = places.find(|&p| is_paragraph_end(bytes, p)) {
        return place;
    }
    if let Some(place) = (PIECE..=last).find(|&p| is_line_end(bytes, p)) {
        return place;
    }
    if at_end && bytes.len() <= 2 * PIECE {
        return bytes.len();
    }
    (PIECE..=last).rev().find(|&p| is_character_start(bytes[p])).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, as a slow pipe would.
    struct Drop<'a>(&'a [u8]);
    impl Read for Drop<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(into.len()).min(1 + into.len() / 7);
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn lengths(text: &str) -> Vec<usize> {
        let mut pieces = Vec::new();
        let bytes = document(&mut Drop(text.as_bytes()), "a.txt", &mut |piece| {
            assert_eq!(piece.starts_document, pieces.is_empty());
            pieces.push(piece.text);
            Ok(())
        });
        assert_eq!(bytes.unwrap(), text.len() as u64);
        assert_eq!(pieces.concat(), text);
        pieces.iter().map(String::len).collect()
    }

    #[test]
    fn a_short_document_is_one_piece() {
        assert_eq!(lengths(""), [] as [usize; 0]);
        assert_eq!(lengths("a\n\nb"), [4]);
        assert_eq!(lengths(&"a".repeat(PIECE)), [PIECE]);
    }

    #[test]
    fn a_piece_ends_at_the_first_paragraph_after_64_kib() {
        let text = format!("{}\n\n{}\nz\n\n{}", "a".repeat(PIECE - 2), "b".repeat(PIECE + 10), "c".repeat(50));
        assert_eq!(lengths(&text), [PIECE, PIECE + 14, 50]);
        let before = format!("{}\n\n{}", "a".repeat(PIECE - 3), "b".repeat(PIECE));
        assert_eq!(lengths(&before), [before.len()]);
    }

    #[test]
    fn without_paragraphs_it_ends_at_a_line_and_without_lines_at_a_character() {
        let lines = format!("{}\n{}", "a".repeat(PIECE + 5), "b".repeat(2 * PIECE));
        assert_eq!(lengths(&lines), [PIECE + 6, 2 * PIECE]);
        let characters = "€".repeat(PIECE);
        let first = (2 * PIECE) / 3 * 3;
        assert_eq!(lengths(&characters), [first, characters.len() - first]);
    }

    #[test]
    fn a_run_of_line_breaks_stays_together_even_at_the_border() {
        let text = format!("{}\n\n\n\n{}", "a".repeat(2 * PIECE - 2), "b".repeat(2 * PIECE));
        assert_eq!(lengths(&text)[0], 2 * PIECE - 1, "no paragraph end within reach, so the first line end");
        let text = format!("{}\n\n{}", "a".repeat(2 * PIECE - 2), "b".repeat(2 * PIECE));
        assert_eq!(lengths(&text)[0], 2 * PIECE);
    }
}
