//! Token files: the tokens of one part, mapped by workers without a copy.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `VOTIVETK` |
//! | 4, 4 | version, bytes a token (2 where the vocabulary has at most 65,536 tokens, else 4) |
//! | 8 × 6 | tokens, bytes of text, unknown tokens, flags, long lengths, vocabulary |
//! | tokens × width | the tokens |
//! | tokens | where lengths are kept: bytes of text that each token stands for; 255 means "see below" |
//! | 12 × long lengths | token's place (8) and its length (4), for lengths of 255 and more |
//! | 32 | BLAKE3 of what follows the first 64 bytes, then of these; not in files of earlier versions |
//!
//! All numbers are little-endian. A file is written whole or not at all, and its length is checked when it is opened; its content once
//! a run, by who would make it again ([`is_as_written`]).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::mem;
use std::path::Path;

use memmap2::Mmap;

use crate::durable;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"VOTIVETK";
/// Part of the name of every token file: a change of the format, or of the rule that cuts pieces, is another file.
pub(crate) const VERSION: u32 = 1;
const HEADER: usize = 64;
const HAS_LENGTHS: u64 = 1;
const ROUND_TRIPS: u64 = 2;
const HAS_HASH: u64 = 4;
const LONG: u8 = 255;
const CHUNK: usize = 1 << 20;

/// The tokens of one part, mapped into memory.
#[derive(Debug)]
pub struct TokenFile {
    map: Mmap,
    header: Header,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Header {
    width: u32,
    tokens: u64,
    bytes: u64,
    unknown: u64,
    flags: u64,
    long: u64,
    vocabulary: u64,
}

impl TokenFile {
    /// Maps a token file. Takes no longer for a large one: nothing is read before it is asked for.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = |what: &str| {
            Error::data(format!("the token file {} {what}", path.display())).help("delete it; it is made again by `votive run`")
        };
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        // SAFETY: the map is only valid while nobody shortens or rewrites the file. Token files are written under a
        // temporary name and renamed into place; nothing in this program opens one for writing again, and replacing one
        // leaves the mapped file as it is.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, e))?;
        let header = Header::read(&map).ok_or_else(|| damaged("is not one of this version"))?;
        if header.file_length() != Some(map.len() as u64) {
            return Err(damaged("has not the length it should have"));
        }
        Ok(Self { map, header })
    }

    /// Number of tokens.
    pub fn len(&self) -> u64 {
        self.header.tokens
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.header.tokens == 0
    }

    /// Bytes of text that all tokens stand for.
    pub fn bytes(&self) -> u64 {
        self.header.bytes
    }

    /// Number of tokens in the vocabulary of the tokenizer that made it.
    pub fn vocabulary(&self) -> u64 {
        self.header.vocabulary
    }

    /// How many tokens stand for something that the vocabulary does not have.
    pub fn unknown(&self) -> u64 {
        self.header.unknown
    }

    /// Whether every piece that was tried was the same after encoding and decoding.
    pub fn round_trips(&self) -> bool {
        self.header.flags & ROUND_TRIPS != 0
    }

    /// Fills `into` with the tokens from `start` on.
    ///
    /// # Panics
    /// If the part has fewer tokens.
    pub fn read(&self, start: u64, into: &mut [u32]) {
        let width = self.header.width as usize;
        let end = start + into.len() as u64;
        assert!(end <= self.len(), "tokens {start}..{end} of {} were asked for", self.len());
        let first = HEADER + start as usize * width;
        let bytes = &self.map[first..first + into.len() * width];
        if width == 2 {
            for (token, b) in into.iter_mut().zip(bytes.chunks_exact(2)) {
                *token = u32::from(u16::from_le_bytes([b[0], b[1]]));
            }
        } else {
            for (token, b) in into.iter_mut().zip(bytes.chunks_exact(4)) {
                *token = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
    }

    fn lengths(&self) -> Option<&[u8]> {
        let first = HEADER + (self.header.tokens * u64::from(self.header.width)) as usize;
        (self.header.flags & HAS_LENGTHS != 0).then(|| &self.map[first..first + self.header.tokens as usize])
    }

    /// Bytes of text that a token stands for; `None` for a part whose lengths are not kept (training), or beyond its end.
    pub fn byte_length(&self, token: u64) -> Option<u32> {
        match *self.lengths()?.get(token as usize)? {
            LONG => self.long_length(token),
            length => Some(u32::from(length)),
        }
    }

    fn long_length(&self, token: u64) -> Option<u32> {
        let end = self.map.len() - self.header.hash_length() as usize;
        let table = &self.map[end - 12 * self.header.long as usize..end];
        let entry = |i: usize| &table[12 * i..12 * i + 12];
        let place = |i: usize| u64::from_le_bytes(array(entry(i), 0));
        let (mut low, mut high) = (0, self.header.long as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            if place(middle) < token { low = middle + 1 } else { high = middle }
        }
        (low < self.header.long as usize && place(low) == token).then(|| u32::from_le_bytes(array(entry(low), 8)))
    }

    /// How many tokens from the start stand for at most `bytes` bytes of text: the largest prefix that fits. The whole
    /// part where lengths are not kept.
    pub fn prefix_within(&self, bytes: u64) -> u64 {
        if bytes >= self.header.bytes {
            return self.len();
        }
        let mut sum = 0;
        for token in 0..self.len() {
            sum += u64::from(self.byte_length(token).unwrap_or(0));
            if sum > bytes {
                return token;
            }
        }
        self.len()
    }

    /// Bytes of text that the tokens `from` … `to`−1 stand for; `None` where lengths are not kept or the part is shorter.
    pub fn bytes_between(&self, from: u64, to: u64) -> Option<u64> {
        let lengths = self.lengths()?.get(from as usize..to as usize)?;
        let short: u64 = lengths.iter().filter(|&&length| length != LONG).map(|&length| u64::from(length)).sum();
        let long = lengths.iter().enumerate().filter(|(_, length)| **length == LONG);
        Some(short + long.filter_map(|(i, _)| self.long_length(from + i as u64)).map(u64::from).sum::<u64>())
    }
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER || &bytes[..8] != MAGIC || u32::from_le_bytes(array(bytes, 8)) != VERSION {
            return None;
        }
        let number = |i: usize| u64::from_le_bytes(array(bytes, 16 + 8 * i));
        let header = Self {
            width: u32::from_le_bytes(array(bytes, 12)),
            tokens: number(0),
            bytes: number(1),
            unknown: number(2),
            flags: number(3),
            long: number(4),
            vocabulary: number(5),
        };
        matches!(header.width, 2 | 4).then_some(header)
    }

    fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.width.to_le_bytes());
        let numbers = [self.tokens, self.bytes, self.unknown, self.flags, self.long, self.vocabulary];
        for (place, number) in bytes[16..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn file_length(&self) -> Option<u64> {
        let lengths = if self.flags & HAS_LENGTHS == 0 { 0 } else { self.tokens };
        let tokens = self.tokens.checked_mul(u64::from(self.width))?;
        let all = tokens.checked_add(lengths)?.checked_add(self.long.checked_mul(12)?)?;
        all.checked_add(HEADER as u64 + self.hash_length())
    }

    fn hash_length(&self) -> u64 {
        if self.flags & HAS_HASH == 0 { 0 } else { blake3::OUT_LEN as u64 }
    }
}

/// `N` bytes from `from` on.
fn array<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut all = [0; N];
    all.copy_from_slice(&bytes[from..from + N]);
    all
}

/// Whether a file that opens ([`TokenFile::open`]) has the content that was written: all of it is read. One of an earlier version does not
/// say, and is not.
pub(crate) fn is_as_written(path: &Path) -> Result<bool> {
    let failed = |e| Error::io("read", path, e);
    let mut file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let (mut head, mut expected) = ([0; HEADER], [0; blake3::OUT_LEN]);
    file.read_exact(&mut head).map_err(failed)?;
    let Some(header) = Header::read(&head).filter(|header| header.flags & HAS_HASH != 0) else { return Ok(false) };
    let Some(length) = header.file_length() else { return Ok(false) };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&file).take(length - HEADER as u64 - header.hash_length())).map_err(failed)?;
    file.read_exact(&mut expected).map_err(failed)?;
    Ok(hasher.update(&head).finalize() == expected)
}

/// Receives the tokens of a part while its file is written.
pub(crate) struct Writer<'a> {
    out: &'a mut dyn Write,
    path: &'a Path,
    hasher: blake3::Hasher,
    header: Header,
    lengths: Option<Lengths>,
}

/// The bytes that tokens stand for, token by token.
#[derive(Default)]
struct Lengths {
    /// In chunks, so that growing never needs twice the memory.
    chunks: Vec<Vec<u8>>,
    long: Vec<(u64, u32)>,
    /// How many are in the chunks.
    kept: u64,
    /// Of the last token: it is kept when the next one comes, since it takes the rest of a text that ends without another.
    last: Option<u64>,
    /// Bytes of text since then that became no token.
    waiting: u64,
}

impl Lengths {
    /// Adds the tokens of a piece of so many bytes. Where a tokenizer makes none of it (of white space, say), its bytes are the next
    /// token's: a score by the byte is one of all bytes.
    fn add(&mut self, lengths: &[u32], bytes: u64) -> Result<()> {
        if lengths.is_empty() {
            self.waiting += bytes;
            return Ok(());
        }
        if lengths.iter().map(|&n| u64::from(n)).sum::<u64>() != bytes {
            return Err(Error::internal("the lengths of some tokens do not sum to their text"));
        }
        for &length in lengths {
            self.keep_last()?;
            self.last = Some(u64::from(length) + mem::take(&mut self.waiting));
        }
        Ok(())
    }

    /// What is left is the last token's.
    fn end(&mut self) -> Result<()> {
        let waiting = mem::take(&mut self.waiting);
        self.last = self.last.map(|last| last + waiting);
        self.keep_last()
    }

    fn keep_last(&mut self) -> Result<()> {
        let Some(length) = self.last.take() else { return Ok(()) };
        let length = u32::try_from(length).map_err(|_| Error::data("more than 4 GB of text in a row become no token"))?;
        if length >= u32::from(LONG) {
            self.long.push((self.kept, length));
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(u8::try_from(length).unwrap_or(LONG));
        }
        self.kept += 1;
        Ok(())
    }
}

impl Writer<'_> {
    /// Adds tokens, the bytes each stands for (empty where lengths are not kept), and what is known of them.
    pub(crate) fn add(&mut self, tokens: &[u32], lengths: &[u32], bytes: u64, unknown: u64) -> Result<()> {
        let mut out = Vec::with_capacity(tokens.len() * self.header.width as usize);
        if self.header.width == 2 {
            tokens.iter().for_each(|&token| out.extend((token as u16).to_le_bytes()));
        } else {
            tokens.iter().for_each(|&token| out.extend(token.to_le_bytes()));
        }
        self.put(&out)?;
        if let Some(all) = &mut self.lengths {
            if lengths.len() != tokens.len() {
                return Err(Error::internal("some tokens have no length"));
            }
            all.add(lengths, bytes)?;
        }
        self.header.tokens += tokens.len() as u64;
        self.header.bytes += bytes;
        self.header.unknown += unknown;
        Ok(())
    }

    /// Notes that a piece was not the same after encoding and decoding.
    pub(crate) fn does_not_round_trip(&mut self) {
        self.header.flags &= !ROUND_TRIPS;
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(|e| Error::io("write", self.path, e))
    }

    /// Writes what follows the tokens; the header that belongs before them.
    fn end(mut self) -> Result<[u8; HEADER]> {
        if let Some(mut lengths) = self.lengths.take() {
            lengths.end()?;
            self.header.long = lengths.long.len() as u64;
            for chunk in lengths.chunks {
                self.put(&chunk)?;
            }
            for (place, length) in lengths.long {
                self.put(&place.to_le_bytes())?;
                self.put(&length.to_le_bytes())?;
            }
        }
        let header = self.header.to_bytes();
        let hash = self.hasher.clone().update(&header).finalize();
        self.put(hash.as_bytes())?;
        Ok(header)
    }
}

/// Writes a token file, whole or not at all, for a tokenizer with this many tokens.
pub(crate) fn write(path: &Path, vocabulary: u64, lengths: bool, fill: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
    let failed = |e| Error::io("write", path, e);
    durable::write_with(path, |out| {
        out.write_all(&[0; HEADER]).map_err(failed)?;
        let width = if vocabulary <= 1 << 16 { 2 } else { 4 };
        let flags = ROUND_TRIPS | HAS_HASH | if lengths { HAS_LENGTHS } else { 0 };
        let header = Header { width, flags, vocabulary, ..Header::default() };
        let mut writer = Writer { out, path, hasher: blake3::Hasher::new(), header, lengths: lengths.then(Lengths::default) };
        fill(&mut writer)?;
        let header = writer.end()?;
        out.seek(SeekFrom::Start(0)).map_err(failed)?;
        out.write_all(&header).map_err(failed)?;
        out.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(())
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(vocabulary: u64, tokens: &[u32], lengths: Option<&[u32]>) -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tokens");
        let bytes = lengths.map_or(0, |l| l.iter().map(|&n| u64::from(n)).sum());
        write(&path, vocabulary, lengths.is_some(), |w| w.add(tokens, lengths.unwrap_or_default(), bytes, 1)).unwrap();
        let file = TokenFile::open(&path).unwrap();
        (dir, file)
    }

    #[test]
    fn tokens_come_back_in_both_widths() {
        for (vocabulary, width, last) in [(65_536, 2, 65_535), (65_537, 4, 65_536), (1 << 32, 4, u32::MAX)] {
            let (_dir, file) = file(vocabulary, &[7, 0, last], None);
            assert_eq!((file.len(), file.header.width, file.vocabulary(), file.unknown()), (3, width, vocabulary, 1));
            let mut tokens = [0; 2];
            file.read(1, &mut tokens);
            assert_eq!(tokens, [0, last]);
            file.read(3, &mut []);
        }
    }

    #[test]
    fn lengths_long_ones_too_are_kept_exactly() {
        let lengths = [1, 0, 254, 255, 256, 70_000, 3];
        let (_dir, file) = file(10, &[1; 7], Some(&lengths));
        for (i, &length) in lengths.iter().enumerate() {
            assert_eq!(file.byte_length(i as u64), Some(length));
        }
        assert_eq!(file.byte_length(7), None);
        for from in 0..=7 {
            for to in from..=7 {
                let sum = lengths[from..to].iter().map(|&n| u64::from(n)).sum();
                assert_eq!(file.bytes_between(from as u64, to as u64), Some(sum), "{from}..{to}");
            }
        }
        assert_eq!(file.bytes_between(0, 8), None);
        assert_eq!(file.bytes(), file.bytes_between(0, 7).unwrap());
    }

    #[test]
    fn a_prefix_is_the_largest_that_fits() {
        let (_dir, file) = file(10, &[1; 5], Some(&[2, 3, 0, 300, 1]));
        for (bytes, tokens) in [(0, 0), (1, 0), (2, 1), (4, 1), (5, 3), (304, 3), (305, 4), (306, 5), (u64::MAX, 5)] {
            assert_eq!(file.prefix_within(bytes), tokens, "{bytes}");
        }
    }

    #[test]
    fn a_part_without_lengths_has_none() {
        let (_dir, file) = file(10, &[1, 2], None);
        assert_eq!((file.byte_length(0), file.bytes_between(0, 1), file.prefix_within(0)), (None, None, 2));
    }

    #[test]
    fn lengths_that_do_not_sum_to_the_text_are_a_mistake_that_is_caught() {
        let dir = tempfile::tempdir().unwrap();
        let result = write(&dir.path().join("a"), 10, true, |w| w.add(&[1, 2], &[1, 1], 3, 0));
        assert_eq!(result.unwrap_err().kind(), crate::error::Kind::Internal);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn text_that_becomes_no_token_is_counted_with_the_next_one_and_at_the_end_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tokens");
        let lengths = |pieces: &[(&[u32], u64)]| {
            let fill = |w: &mut Writer| {
                pieces.iter().try_for_each(|(lengths, bytes)| w.add(&vec![1; lengths.len()], lengths, *bytes, 0))
            };
            write(&path, 10, true, fill).unwrap();
            let file = TokenFile::open(&path).unwrap();
            assert_eq!(file.bytes_between(0, file.len()).unwrap(), if file.is_empty() { 0 } else { file.bytes() });
            (0..file.len()).map(|i| file.byte_length(i).unwrap()).collect::<Vec<u32>>()
        };
        assert_eq!(lengths(&[(&[], 2), (&[1, 3], 4), (&[], 1), (&[], 2), (&[0], 0), (&[5], 5)]), [3, 3, 3, 5]);
        assert_eq!(lengths(&[(&[1, 254], 255), (&[], 1)]), [1, 255]);
        assert_eq!(lengths(&[(&[300], 300), (&[], 7)]), [307]);
        assert!(lengths(&[(&[], 7)]).is_empty());
    }

    #[test]
    fn a_changed_byte_is_seen_wherever_it_lies_and_a_file_that_does_not_say_is_not_trusted() {
        let (dir, file) = file(10, &[1, 2, 3], Some(&[1, 300, 1]));
        drop(file);
        let path = dir.path().join("a.tokens");
        assert!(is_as_written(&path).unwrap());
        let good = fs::read(&path).unwrap();
        for place in 16..good.len() {
            let mut changed = good.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(TokenFile::open(&path).is_err() || !is_as_written(&path).unwrap(), "byte {place}");
        }
        let mut old = good[..good.len() - blake3::OUT_LEN].to_vec();
        old[40] &= !(HAS_HASH as u8);
        fs::write(&path, old).unwrap();
        assert_eq!(TokenFile::open(&path).unwrap().byte_length(1), Some(300), "workers read it");
        assert!(!is_as_written(&path).unwrap());
    }

    #[test]
    fn a_cut_longer_or_foreign_file_is_refused() {
        let (dir, file) = file(10, &[1, 2, 3], Some(&[1, 300, 1]));
        let good = fs::read(dir.path().join("a.tokens")).unwrap();
        drop(file);
        let path = dir.path().join("b.tokens");
        let refused = |bytes: &[u8], expected: &str| {
            fs::write(&path, bytes).unwrap();
            let error = TokenFile::open(&path).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        for length in [1, 40, 63] {
            refused(&good[..length], "not one of this version");
        }
        for length in [64, 65, good.len() - 1] {
            refused(&good[..length], "length it should have");
        }
        refused(&[good.as_slice(), b"x"].concat(), "length it should have");
        let mut other = good.clone();
        other[8] = 99;
        refused(&other, "not one of this version");
        let mut huge = good;
        huge[16..24].fill(0xFF);
        refused(&huge, "length it should have");
    }

    #[test]
    #[should_panic(expected = "tokens 1..3 of 2")]
    fn reading_beyond_the_end_is_a_mistake_that_is_caught() {
        let (_dir, file) = file(10, &[1, 2], None);
        file.read(1, &mut [0, 0]);
    }
}
