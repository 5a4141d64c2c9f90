//! Where a text may be cut.
//!
//! A cut lies where a fraction says, moved to the nearest paragraph end; where there is none near, to the nearest line end;
//! else to a character. "Near" is 64 KiB, and at most half of what lies on either side, so that a cut never swallows a part.
//! Rows are never cut: the cut is the end of one.

use super::source::Scanned;
use crate::error::Result;

const NEAR: u64 = 64 << 10;

/// A place in a source at which its text may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// In the file, in bytes.
    pub(crate) raw: u64,
    /// In the text, in bytes.
    pub(crate) text: u64,
    /// Whether nothing goes on here: a line, a paragraph or a row ends, or the text.
    pub(crate) is_end: bool,
}

impl Cut {
    /// Where the text of a source begins: after a byte order mark.
    pub(crate) fn start(scanned: &Scanned) -> Self {
        Self { raw: scanned.raw_start, text: 0, is_end: true }
    }

    /// Where it ends.
    pub(crate) fn end(scanned: &Scanned) -> Self {
        Self { raw: scanned.raw_end, text: scanned.bytes, is_end: true }
    }
}

/// Where to cut a source near byte `ideal` of its text and before `end`.
pub(crate) fn cut(scanned: &Scanned, ideal: u64, end: Cut) -> Result<Cut> {
    if let Some(rows) = &scanned.rows {
        let ends = rows.iter().map(|row| Cut { raw: row.raw_end, text: row.text_end, is_end: true });
        let places = std::iter::once(Cut::start(scanned)).chain(ends.take_while(|place| place.text <= end.text));
        return Ok(places.min_by_key(|place| place.text.abs_diff(ideal)).unwrap_or(end));
    }
    let ideal = ideal.min(end.text);
    let reach = NEAR.min(ideal / 2).min((end.text - ideal) / 2);
    // A few bytes more on both sides, to see what a paragraph end looks like and where a character starts.
    let from = ideal.saturating_sub(reach + 4);
    let raw = |text: u64| scanned.raw_start + text;
    let bytes = scanned.source.bytes_between(raw(from), raw((ideal + reach + 4).min(end.text)))?;
    let local = (ideal - from) as usize;
    let places = (ideal - reach - from) as usize..=(ideal + reach - from) as usize;
    let nearest = |is_end: &dyn Fn(&[u8], usize) -> bool| {
        places.clone().filter(|&p| p > 0 && p < bytes.len() && is_end(&bytes, p)).min_by_key(|p| p.abs_diff(local))
    };
    let found = nearest(&is_paragraph_end).or_else(|| nearest(&is_line_end));
    let place = found.unwrap_or_else(|| {
        // No line near: back to where a character starts, three bytes at most.
        let mut p = local;
        while p > 0 && p < bytes.len() && !is_character_start(bytes[p]) {
            p -= 1;
        }
        p
    });
    let text = from + place as u64;
    Ok(Cut { raw: raw(text), text, is_end: found.is_some() || text == 0 || text == end.text })
}

/// Whether a paragraph ends before byte `p`: an empty line was the last thing, and no further line break follows.
pub(crate) fn is_paragraph_end(bytes: &[u8], p: usize) -> bool {
    if !is_line_end(bytes, p) || matches!(bytes.get(p), Some(b'\n' | b'\r')) {
        return false;
    }
    let before = &bytes[..p - 1];
    let before = before.strip_suffix(b"\r").unwrap_or(before);
    before.last() == Some(&b'\n')
}

/// Whether a line ends before byte `p`.
pub(crate) fn is_line_end(bytes: &[u8], p: usize) -> bool {
    p > 0 && bytes[p - 1] == b'\n'
}

/// Whether a character of UTF-8 starts with this byte.
pub(crate) fn is_character_start(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}
