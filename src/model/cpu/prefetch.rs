//! Memory that is asked for before it is needed.
//!
//! The processor itself sees that an array is read line by line, but sees it anew in each page: where products read a few
//! kilobytes here and there, that is too late too often.

use super::panels::Row;

/// Asks for these lines. Reads nothing and waits for nothing; does nothing where there is no such instruction to be had.
#[inline(always)]
pub(super) fn prefetch(rows: &[Row]) {
    #[cfg(target_arch = "x86_64")]
    for row in rows {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and never faults, given the address of a value that is borrowed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = rows;
}

/// Lines that will be needed after some more steps, to be asked for a few at each.
pub(super) struct Ahead<'a> {
    rows: std::slice::Chunks<'a, Row>,
}

impl<'a> Ahead<'a> {
    /// All of them will have been asked for after so many steps.
    #[inline(always)]
    pub(super) fn new(rows: &'a [Row], steps: usize) -> Self {
        Self { rows: rows.chunks(rows.len().div_ceil(steps.max(1)).max(1)) }
    }

    /// Asks for the next few.
    #[inline(always)]
    pub(super) fn step(&mut self) {
        if let Some(rows) = self.rows.next() {
            prefetch(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_have_been_asked_for_after_as_many_steps_as_said() {
        for (lines, steps) in [(0, 3), (1, 3), (7, 3), (9, 3), (2, 0)] {
            let rows = vec![[0.0; 16]; lines];
            let mut ahead = Ahead::new(&rows, steps);
            (0..steps.max(1)).for_each(|_| ahead.step());
            assert_eq!(ahead.rows.len(), 0, "{lines} lines in {steps} steps");
        }
    }
}
