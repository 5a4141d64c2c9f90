//! The pieces of a text become a token file, on all cores.

use std::path::Path;

use rayon::prelude::*;

use super::pieces::{self, Piece};
use super::spellings::Spellings;
use super::split::{Span, Split};
use super::stage::Stage;
use super::token_file::{self, TokenFile, Writer};
use super::tokenizer::{Encoded, Tokenizer};
use crate::error::{Error, Result};

/// Text that is tokenized at a time. What it takes on top of that is some fifty bytes a byte of text in work.
const BATCH: usize = 4 << 20;
/// Pieces that are decoded again and compared: all that are held out; of the training part all of the first, and every so many
/// after them. Where the bytes of each token are known, every piece of every part is compared with those besides.
const FIRST_CHECKED: u64 = 64;
const CHECK_EVERY: u64 = 64;

/// A word from this size on, bytes, is tokenized with nothing else at the same time: the library takes some 200 bytes for each of
/// its bytes until it is done, and texts without spaces are one such word after another.
const LONG_WORD: usize = 32 << 10;

/// How the parts of a text become tokens.
pub(super) struct Tokenizing<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) spellings: Option<Spellings>,
    pub(super) split: &'a Split,
    pub(super) end_of_text: Option<u32>,
    pub(super) progress: &'a dyn Fn(Stage),
}

impl Tokenizing<'_> {
    /// The token file of a part, made where it is not there, damaged or not what was written.
    pub(super) fn token_file(&self, path: &Path, name: &'static str, spans: &[Span], lengths: bool) -> Result<TokenFile> {
        if path.exists()
            && let Ok(file) = TokenFile::open(path)
            && token_file::is_as_written(path)?
        {
            return Ok(file);
        }
        let of = spans.iter().map(|span| span.text.end - span.text.start).sum();
        token_file::write(path, self.tokenizer.vocabulary() as u64, lengths, |writer| {
            let (mut batch, mut waiting) = (Vec::new(), 0);
            let (mut bytes, mut number) = (0, 0);
            let mut flush = |batch: &mut Vec<Piece>, writer: &mut Writer| {
                self.add(batch, number, lengths, writer)?;
                number += batch.len() as u64;
                bytes += batch.drain(..).map(|piece| piece.text.len() as u64).sum::<u64>();
                (self.progress)(Stage::Tokenizing { part: name, bytes, of });
                Ok::<_, Error>(())
            };
            pieces::for_each(&self.split.sources, spans, &mut |piece| {
                waiting += piece.text.len();
                batch.push(piece);
                if waiting >= BATCH {
                    waiting = 0;
                    flush(&mut batch, writer)?;
                }
                Ok(())
            })?;
            flush(&mut batch, writer)
        })?;
        TokenFile::open(path)
    }

    /// Tokenizes pieces on all cores (those with long words on one), and writes them in their order.
    fn add(&self, batch: &[Piece], number: u64, lengths: bool, writer: &mut Writer) -> Result<()> {
        let (tokenizer, spellings) = (self.tokenizer, &self.spellings);
        let encode = |(piece, number): (&Piece, u64)| {
            let encoded = tokenizer.encode_piece(&piece.text, lengths)?;
            let spelled = spellings.as_ref().map(|known| known.give_back(&piece.text, &encoded)).transpose()?;
            let due = number < FIRST_CHECKED || number.is_multiple_of(CHECK_EVERY) || (lengths && spelled.is_none());
            let decoded = !due || tokenizer.decode(&encoded.tokens)? == piece.text;
            Ok((encoded, decoded && spelled != Some(false)))
        };
        let numbered: Vec<(&Piece, u64)> = batch.iter().zip(number..).collect();
        let long = batch.iter().any(|piece| piece.text.split_ascii_whitespace().any(|word| word.len() >= LONG_WORD));
        let all: Vec<(Encoded, bool)> = match long {
            true => numbered.into_iter().map(encode).collect::<Result<_>>()?,
            false => numbered.into_par_iter().map(encode).collect::<Result<_>>()?,
        };
        for ((piece, (encoded, same)), number) in batch.iter().zip(&all).zip(number..) {
            if piece.starts_document
                && number > 0
                && let Some(end) = self.end_of_text
            {
                // It stands for no byte of its own.
                let nothing: &[u32] = if lengths { &[0] } else { &[] };
                writer.add(&[end], nothing, 0, 0)?;
            }
            self.add_piece(piece, encoded, writer)?;
            if !same {
                writer.does_not_round_trip();
            }
        }
        Ok(())
    }

    fn add_piece(&self, piece: &Piece, encoded: &Encoded, writer: &mut Writer) -> Result<()> {
        writer.add(&encoded.tokens, &encoded.lengths, piece.text.len() as u64, encoded.unknown)
    }
}
