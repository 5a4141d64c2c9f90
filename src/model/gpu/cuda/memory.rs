//! Memory that the device reaches.

use std::sync::atomic::AtomicU32;

/// A place in memory as the device counts it, in bytes; 0 is the null pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(pub u64);

impl Address {
    /// No place: what a kernel takes where an optional array is not there.
    pub const NULL: Self = Self(0);

    /// The place this many bytes further.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// Device memory of its own allocation; freed when dropped.
pub struct Array {
    address: Address,
    bytes: u64,
}

impl Array {
    /// The place this many bytes after its start.
    pub fn at(&self, byte_offset: u64) -> Address {
        debug_assert!(byte_offset <= self.bytes, "{byte_offset} of {}", self.bytes);
        self.address.plus(byte_offset)
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Host memory that the device reads and writes over the bus; freed when dropped.
///
/// Both sides use it at the same time, so the host sees it as atomic words: a sequence number that a kernel writes last
/// is read with `Acquire`, what it announces after that.
pub struct Pinned {
    words: Box<[AtomicU32]>,
    address: Address,
}

impl Pinned {
    /// The host's side.
    pub fn words(&self) -> &[AtomicU32] {
        &self.words
    }

    /// The place of this word as the device sees it.
    pub fn at(&self, word: usize) -> Address {
        self.address.plus(4 * word as u64)
    }
}
