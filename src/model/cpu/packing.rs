//! How weights are brought into panels.

use super::panels::{Row, WIDTH};
use super::prefetch::prefetch;
use super::square::{SIDE, transposed};

/// Rows that are taken at once: what they give a panel lies together, so that it is written in one go.
const AT_ONCE: usize = 64;

/// Brings a matrix [m, n], row by row, into the panels of one with `k` rows, from its row `first` on.
#[inline(always)]
pub(super) fn pack(target: &mut [Row], k: usize, first: usize, source: &[f32], n: usize) {
    for (q, rows) in source.chunks(AT_ONCE * n).enumerate() {
        for (panel, j) in target.chunks_exact_mut(k).zip((0..n).step_by(WIDTH)) {
            for (into, from) in panel[first + AT_ONCE * q..].iter_mut().zip(rows.chunks_exact(n)) {
                // What the next panel gets is of as many lines, far from each other.
                prefetch(from.get(j + WIDTH..).unwrap_or_default().as_chunks().0.get(..1).unwrap_or_default());
                match from[j..].first_chunk::<WIDTH>() {
                    Some(from) => *into = *from,
                    None => into[..n - j].copy_from_slice(&from[j..]),
                }
            }
        }
    }
}

/// Brings the transpose of a matrix [n, m], row by row, into panels with `k` rows, m or more, from column `first` on.
#[inline(always)]
pub(super) fn pack_transposed(target: &mut [Row], k: usize, first: usize, source: &[f32], m: usize) {
    let n = source.len() / m;
    let mut j = 0;
    while j < n {
        let (panel, column) = ((first + j) / WIDTH, (first + j) % WIDTH);
        let into = &mut target[panel * k..][..m];
        let wide = (WIDTH - column).min(n - j);
        // All rows of the source that go into this panel together, so that its lines are written as a whole.
        let rows = &source[j * m..][..wide * m];
        if [column, wide, m].iter().all(|size| size.is_multiple_of(SIDE)) {
            for (l, into) in into.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
                for (i, rows) in rows.chunks_exact(SIDE * m).enumerate() {
                    let square = transposed(std::array::from_fn(|r| rows[r * m..].as_chunks().0[l]));
                    for (into, line) in into.iter_mut().zip(square) {
                        into[column + i * SIDE..][..SIDE].copy_from_slice(&line);
                    }
                }
            }
        } else {
            for (i, row) in rows.chunks_exact(m).enumerate() {
                into.iter_mut().zip(row).for_each(|(into, &value)| into[column + i] = value);
            }
        }
        j += wide;
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::{self, padded, rows_mut};
    use super::*;

    #[test]
    fn both_ways_lead_to_the_same_panels() {
        for [k, n] in [[1, 1], [7, 5], [65, 33], [16, 48], [12, 100], [600, 20]] {
            let b: Vec<f32> = (1..=k * n).map(|i| i as f32).collect();
            let bt: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
            let (rows, split) = (padded(k), [k / 3, n / 3]);
            let mut natural = vec![0.0; rows * padded(n)];
            pack(rows_mut(&mut natural), rows, 0, &b[..split[0] * n], n);
            pack(rows_mut(&mut natural), rows, split[0], &b[split[0] * n..], n);
            let mut other = vec![0.0; rows * padded(n)];
            pack_transposed(rows_mut(&mut other), rows, 0, &bt[..split[1] * k], k);
            pack_transposed(rows_mut(&mut other), rows, split[1], &bt[split[1] * k..], k);
            assert_eq!(natural, other);
            for i in 0..rows {
                let row: Vec<f32> = panels::rows(&natural)[i..].iter().step_by(rows).flatten().copied().collect();
                assert!((0..padded(n)).all(|j| row[j] == if i < k && j < n { b[i * n + j] } else { 0.0 }));
            }
        }
    }
}
