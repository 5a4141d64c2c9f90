//! Which parts of a held-out text the vocabulary does not have.

use super::pieces;
use super::split::{Span, Split};
use super::token_file::TokenFile;
use crate::error::Result;

/// Parts that are named.
const NAMED: usize = 3;
/// Unknown tokens that are looked at for them, and tokens among which they are looked for: so naming takes a moment at most.
const LOOKED_AT: usize = 64;
const AMONG: u64 = 1 << 24;
const CHUNK: u64 = 1 << 16;

/// The first few parts of these spans' text that became the token `unknown`, each once, in their order. `file` is their token
/// file.
pub(crate) fn named(split: &Split, spans: &[Span], file: &TokenFile, unknown: u32) -> Result<Vec<String>> {
    let places = places(file, unknown);
    let mut found: Vec<String> = Vec::new();
    let mut add = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        // What lies between two words belongs to the later one.
        let part = if text.trim().is_empty() { &*text } else { text.trim() };
        if found.len() < NAMED && !part.is_empty() && !found.iter().any(|known| known == part) {
            found.push(part.to_owned());
        }
    };
    let mut places = places.into_iter().peekable();
    let mut start = 0;
    for span in spans {
        let end = start + (span.text.end - span.text.start);
        let source = &split.sources[span.source];
        let here: Vec<(u64, u64)> = std::iter::from_fn(|| places.next_if(|place| place.1 <= end)).collect();
        if !here.is_empty() && source.rows.is_none() {
            for (from, to) in here {
                add(&source.source.bytes_between(span.raw.start + from - start, span.raw.start + to - start)?);
            }
        } else if !here.is_empty() {
            let (mut here, mut place) = (here.into_iter().peekable(), start);
            pieces::for_each(&split.sources, std::slice::from_ref(span), &mut |piece| {
                let next = place + piece.text.len() as u64;
                while let Some((from, to)) = here.next_if(|(_, to)| *to <= next) {
                    add(piece.text.as_bytes().get((from - place) as usize..(to - place) as usize).unwrap_or_default());
                }
                place = next;
                Ok(())
            })?;
        }
        start = end;
    }
    Ok(found)
}

/// Where the first unknown tokens lie: bytes of the part's text.
fn places(file: &TokenFile, unknown: u32) -> Vec<(u64, u64)> {
    let (mut places, mut byte, mut from) = (Vec::new(), 0, 0);
    let mut tokens = Vec::new();
    let end = file.len().min(AMONG);
    while from < end && places.len() < LOOKED_AT {
        tokens.resize((end - from).min(CHUNK) as usize, 0);
        file.read(from, &mut tokens);
        for (place, &token) in (from..).zip(&tokens) {
            let length = file.byte_length(place).map_or(0, u64::from);
            if token == unknown && places.len() < LOOKED_AT {
                places.push((byte, byte + length));
            }
            byte += length;
        }
        from += tokens.len() as u64;
    }
    places
}
