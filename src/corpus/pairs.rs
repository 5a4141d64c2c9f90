//! Pairs of tokens as keys of tables.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by pairs of tokens, packed as [`pack`] does.
pub(crate) type PairMap<T> = HashMap<u64, T, BuildHasherDefault<Mix>>;

/// Two tokens as one number, which is ordered as they are.
pub(crate) fn pack(left: u32, right: u32) -> u64 {
    (u64::from(left) << 32) | u64::from(right)
}

/// The two tokens again.
pub(crate) fn unpack(pair: u64) -> (u32, u32) {
    ((pair >> 32) as u32, pair as u32)
}

/// A hash for numbers that nobody chooses with ill will: much faster than the library's.
#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
