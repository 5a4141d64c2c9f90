//! How the operands of products lie: in panels, and in tiles.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::buffer::Buffer;

/// Rows of the tallest tile: with two vectors a row, what 32 registers hold beside the operands.
const TALL: usize = 12;
/// The same where there are 16 registers.
const TALL_OF_16: usize = 6;
/// Rows that are packed at once: what they give a panel or a tile lies together.
const AT_ONCE: usize = 4;

/// Columns of a panel on this processor.
pub(super) fn panel(arch: Arch) -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            2 * S::F32_LANES
        }
    }
    arch.dispatch(Width)
}

/// Values that a matrix [k, n] takes in panels.
pub(super) fn packed_len(panel: usize, [k, n]: [usize; 2]) -> usize {
    k * n.next_multiple_of(panel)
}

/// A right operand [k, n] in panels; the last one filled up with zeros.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    /// Its values.
    pub(super) data: &'a [f32],
    /// Its size.
    pub(super) size: [usize; 2],
}

/// Brings a matrix [m, n], row by row, into the panels of one with `k` rows, from its row `first` on.
pub(super) fn pack(arch: Arch, target: &mut [f32], k: usize, first: usize, source: &[f32], n: usize) {
    arch.dispatch(Pack { target, k, first, source, n });
}

/// Brings the transpose of a matrix [n, k], row by row, into panels with `k` rows, from column `first` on.
pub(super) fn pack_transposed(arch: Arch, target: &mut [f32], k: usize, first: usize, source: &[f32]) {
    arch.dispatch(PackTransposed { target, k, first, source });
}

/// Brings a whole matrix [k, n], row by row, into panels in `space`, as the right operand of an outer product.
pub(super) fn pack_rows<'a>(arch: Arch, space: &'a mut Buffer, source: &[f32], n: usize) -> Packed<'a> {
    let size = [source.len() / n, n];
    space.set_len(packed_len(panel(arch), size));
    arch.dispatch(Pack { target: space, k: size[0], first: 0, source, n });
    Packed { data: space, size }
}

/// A left operand [m, k] whose columns were rows, a tile's rows together.
#[derive(Clone, Copy)]
pub(super) struct PackedLeft<'a>(pub(super) &'a [f32]);

/// Brings the columns `columns` of a matrix [k, n], row by row, into tiles in `space`, as the left operand of an outer
/// product.
pub(super) fn pack_columns<'a>(arch: Arch, space: &'a mut Buffer, a: &[f32], n: usize, columns: Range<usize>) -> PackedLeft<'a> {
    space.set_len(columns.len() * (a.len() / n));
    arch.dispatch(PackColumns { target: space, source: a, n, columns });
    PackedLeft(space)
}

/// Rows of the next tile where so many are left: never so few in the end that the sums would wait for each other.
#[inline(always)]
pub(super) fn height<S: Simd>(left: usize) -> usize {
    match (S::F32_LANES, left) {
        (8, 7 | 8) => 4,
        (8, TALL_OF_16..) => TALL_OF_16,
        (16, TALL..) => TALL,
        (_, 8..) => 8,
        (_, 4..) => 4,
        (_, 2..) => 2,
        _ => 1,
    }
}

/// Brings a matrix [m, n] into the panels of one with `k` rows, from its row `first` on.
struct Pack<'a> {
    target: &'a mut [f32],
    k: usize,
    first: usize,
    source: &'a [f32],
    n: usize,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { target, k, first, source, n } = self;
        let width = 2 * S::F32_LANES;
        let panels = S::as_mut_simd_f32s(target).0.as_chunks_mut::<2>().0;
        for (q, rows) in source.chunks(AT_ONCE * n).enumerate() {
            for (j, panel) in (0..n).step_by(width).zip(panels.chunks_exact_mut(k)) {
                let wide = width.min(n - j);
                for (into, from) in panel[first + AT_ONCE * q..].iter_mut().zip(rows.chunks_exact(n)) {
                    let from = &from[j..][..wide];
                    if wide == width {
                        let from = S::as_simd_f32s(from).0;
                        *into = [from[0], from[1]];
                    } else {
                        let (left, right) = from.split_at(wide.min(S::F32_LANES));
                        *into = [simd.partial_load_f32s(left), simd.partial_load_f32s(right)];
                    }
                }
            }
        }
    }
}

/// See [`pack_transposed`].
struct PackTransposed<'a> {
    target: &'a mut [f32],
    k: usize,
    first: usize,
    source: &'a [f32],
}

impl WithSimd for PackTransposed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const SQUARE: usize = 4;
        let Self { target, k, first, source } = self;
        let (n, width) = (source.len() / k, 2 * S::F32_LANES);
        let mut j = 0;
        while j < n {
            let (block, column) = ((first + j) / width, (first + j) % width);
            let into = &mut target[block * k * width..][..k * width];
            let wide = (width - column).min(n - j);
            // All rows of the source that go into this panel together, so that its lines are written as a whole.
            let rows = &source[j * k..][..wide * k];
            if [column, wide, k].iter().all(|size| size.is_multiple_of(SQUARE)) {
                for (l, into) in into.chunks_exact_mut(SQUARE * width).enumerate() {
                    for (i, rows) in rows.chunks_exact(SQUARE * k).enumerate() {
                        let square: [[f32; SQUARE]; SQUARE] =
                            std::array::from_fn(|r| std::array::from_fn(|c| rows[r * k + l * SQUARE..][..SQUARE][c]));
                        for c in 0..SQUARE {
                            let line = [square[0][c], square[1][c], square[2][c], square[3][c]];
                            into[c * width + column + i * SQUARE..][..SQUARE].copy_from_slice(&line);
                        }
                    }
                }
            } else {
                for (i, row) in rows.chunks_exact(k).enumerate() {
                    into.chunks_exact_mut(width).zip(row).for_each(|(into, &value)| into[column + i] = value);
                }
            }
            j += wide;
        }
    }
}

/// See [`pack_columns`].
struct PackColumns<'a> {
    target: &'a mut [f32],
    source: &'a [f32],
    n: usize,
    columns: Range<usize>,
}

impl WithSimd for PackColumns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        /// The next `N` columns of some rows.
        #[inline(always)]
        fn copy<const N: usize>(into: &mut [f32], lines: &[f32], n: usize, first: usize) {
            for (into, line) in into.as_chunks_mut::<N>().0.iter_mut().zip(lines.chunks_exact(n)) {
                into.copy_from_slice(&line[first..][..N]);
            }
        }

        let Self { target, source, n, columns } = self;
        let k = source.len() / n;
        for (q, lines) in source.chunks(AT_ONCE * n).enumerate() {
            let mut first = columns.start;
            while first < columns.end {
                let rows = height::<S>(columns.end - first);
                let into = &mut target[(first - columns.start) * k + AT_ONCE * q * rows..];
                match rows {
                    12 => copy::<12>(into, lines, n, first),
                    8 => copy::<8>(into, lines, n, first),
                    6 => copy::<6>(into, lines, n, first),
                    4 => copy::<4>(into, lines, n, first),
                    2 => copy::<2>(into, lines, n, first),
                    _ => copy::<1>(into, lines, n, first),
                }
                first += rows;
            }
        }
    }
}
