//! Arrays that begin at a cache line, so that no vector lies across two.

use std::ops::{Deref, DerefMut};

/// Values of a cache line.
const LINE: usize = 16;

/// An array of 32-bit numbers that begins at a cache line.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// The values, and room to begin where a line does.
    room: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// An array of zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let room = vec![0.0; len + LINE];
        // The vector is never moved or grown, so its line stays where it is.
        let start = room.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Self { room, start, len }
    }

    /// Makes it this long; what it holds is then any numbers.
    pub(super) fn set_len(&mut self, len: usize) {
        if self.start + len > self.room.len() {
            *self = Self::zeros(len);
        }
        self.len = len;
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.room[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.room[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_at_a_line_whatever_its_length() {
        let mut buffer = Buffer::default();
        assert!(buffer.is_empty());
        for len in [1, 5, 1000, 17, 100_000, 3] {
            buffer.set_len(len);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (len, 0));
            buffer.fill(1.0);
            assert_eq!(buffer.iter().sum::<f32>(), len as f32);
        }
        assert!(Buffer::zeros(33).iter().all(|&x| x == 0.0));
    }
}
