//! Small products whose matrices lie in panels of 16 columns, as attention's do.
//!
//! A matrix [n, m] in panels is m / 16 pieces one after another, each with n rows of 16 values: so both operands are read
//! from beginning to end and the sums are written so, whatever part of a matrix takes part. All sizes are multiples of 16.

use pulp::{NullaryFnOnce, Simd};

/// Columns of a panel: all vector widths divide it.
pub(super) const WIDTH: usize = 16;

/// A row of a panel.
pub(super) type Row = [f32; WIDTH];

/// An array in rows.
pub(super) fn rows(x: &[f32]) -> &[Row] {
    x.as_chunks::<WIDTH>().0
}

/// An array in rows, to be changed.
pub(super) fn rows_mut(x: &mut [f32]) -> &mut [Row] {
    x.as_chunks_mut::<WIDTH>().0
}

/// Writes the transpose of `source` [n, d], in panels, into `target` [d, n], in panels.
#[inline(always)]
pub(super) fn transpose(target: &mut [Row], source: &[Row], n: usize, d: usize) {
    const SQUARE: usize = 4;
    for (p, into) in target.chunks_exact_mut(d).enumerate() {
        for (q, into) in into.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            let Some(from) = source[q * n + WIDTH * p..].first_chunk::<WIDTH>() else { return };
            for i in (0..WIDTH).step_by(SQUARE) {
                for j in (0..WIDTH).step_by(SQUARE) {
                    let square: [[f32; SQUARE]; SQUARE] = std::array::from_fn(|r| std::array::from_fn(|c| from[i + r][j + c]));
                    for c in 0..SQUARE {
                        into[j + c][i..i + SQUARE].copy_from_slice(&[square[0][c], square[1][c], square[2][c], square[3][c]]);
                    }
                }
            }
        }
    }
}

/// Sixteen rows of one panel of C = A · B: `a` begins with these rows in A's first panel, whose panels are `distance` rows
/// apart; `b` is the rows of B's panel that take part, 16 for each panel of A.
#[inline(always)]
pub(super) fn row_product<S: Simd>(simd: S, c: &mut [Row; WIDTH], a: &[Row], distance: usize, b: &[Row]) {
    // As many rows as leave their sums in registers, with enough sums to hide what an addition takes.
    match S::F32_LANES {
        16 => simd.vectorize(RowTile::<S, 16, 1> { simd, c, a, distance, b }),
        8 => {
            let (first, rest) = c.split_at_mut(6);
            let (second, third) = rest.split_at_mut(5);
            simd.vectorize(RowTile::<S, 6, 2> { simd, c: first, a, distance, b });
            simd.vectorize(RowTile::<S, 5, 2> { simd, c: second, a: &a[6..], distance, b });
            simd.vectorize(RowTile::<S, 5, 2> { simd, c: third, a: &a[11..], distance, b });
        }
        4 => {
            for (i, c) in c.chunks_exact_mut(4).enumerate() {
                simd.vectorize(RowTile::<S, 4, 4> { simd, c, a: &a[4 * i..], distance, b });
            }
        }
        _ => {
            for (i, c) in c.chunks_exact_mut(1).enumerate() {
                simd.vectorize(RowTile::<S, 1, WIDTH> { simd, c, a: &a[i..], distance, b });
            }
        }
    }
}

/// C += Aᵀ · B for one panel each, A and B with the same number of rows.
#[inline(always)]
pub(super) fn column_product<S: Simd>(simd: S, c: &mut [Row; WIDTH], a: &[Row], b: &[Row]) {
    match S::F32_LANES {
        16 => simd.vectorize(ColumnTile::<S, 0, 16, 1> { simd, c, a, b }),
        8 => {
            simd.vectorize(ColumnTile::<S, 0, 6, 2> { simd, c, a, b });
            simd.vectorize(ColumnTile::<S, 6, 5, 2> { simd, c, a, b });
            simd.vectorize(ColumnTile::<S, 11, 5, 2> { simd, c, a, b });
        }
        4 => {
            simd.vectorize(ColumnTile::<S, 0, 4, 4> { simd, c, a, b });
            simd.vectorize(ColumnTile::<S, 4, 4, 4> { simd, c, a, b });
            simd.vectorize(ColumnTile::<S, 8, 4, 4> { simd, c, a, b });
            simd.vectorize(ColumnTile::<S, 12, 4, 4> { simd, c, a, b });
        }
        _ => simd.vectorize(ColumnTile::<S, 0, WIDTH, WIDTH> { simd, c, a, b }),
    }
}

/// Some rows of a [`row_product`]. `VECTORS` of the processor's vectors are a row.
struct RowTile<'a, S: Simd, const ROWS: usize, const VECTORS: usize> {
    simd: S,
    c: &'a mut [Row],
    a: &'a [Row],
    distance: usize,
    b: &'a [Row],
}

impl<S: Simd, const ROWS: usize, const VECTORS: usize> NullaryFnOnce for RowTile<'_, S, ROWS, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, c, a, distance, b } = self;
        let b = S::as_simd_f32s(b.as_flattened()).0.as_chunks::<VECTORS>().0.as_chunks::<WIDTH>().0;
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for (a, b) in a.chunks(distance).zip(b) {
            let Some(a) = a.first_chunk::<ROWS>() else { break };
            for l in 0..WIDTH {
                for r in 0..ROWS {
                    let a = simd.splat_f32s(a[r][l]);
                    for v in 0..VECTORS {
                        sums[r][v] = simd.mul_add_e_f32s(a, b[l][v], sums[r][v]);
                    }
                }
            }
        }
        let c = S::as_mut_simd_f32s(c.as_flattened_mut()).0.as_chunks_mut::<VECTORS>().0;
        for (c, sums) in c.iter_mut().zip(sums) {
            *c = sums;
        }
    }
}

/// The rows of a [`column_product`] from `FIRST` on.
struct ColumnTile<'a, S: Simd, const FIRST: usize, const ROWS: usize, const VECTORS: usize> {
    simd: S,
    c: &'a mut [Row; WIDTH],
    a: &'a [Row],
    b: &'a [Row],
}

impl<S: Simd, const FIRST: usize, const ROWS: usize, const VECTORS: usize> NullaryFnOnce
    for ColumnTile<'_, S, FIRST, ROWS, VECTORS>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        /// Steps at a time: little but multiplications is then left in the loop. Both sizes are multiples of it.
        const UNROLLED: usize = 4;
        let Self { simd, c, a, b } = self;
        let b = S::as_simd_f32s(b.as_flattened()).0.as_chunks::<VECTORS>().0.as_chunks::<UNROLLED>().0;
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for (a, b) in a.as_chunks::<UNROLLED>().0.iter().zip(b) {
            for l in 0..UNROLLED {
                for r in 0..ROWS {
                    let a = simd.splat_f32s(a[l][FIRST + r]);
                    for v in 0..VECTORS {
                        sums[r][v] = simd.mul_add_e_f32s(a, b[l][v], sums[r][v]);
                    }
                }
            }
        }
        let c = S::as_mut_simd_f32s(c.as_flattened_mut()).0.as_chunks_mut::<VECTORS>().0;
        for r in 0..ROWS {
            for v in 0..VECTORS {
                c[FIRST + r][v] = simd.add_f32s(c[FIRST + r][v], sums[r][v]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, WithSimd};

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 19) as f32 / 8.0 - 1.0).collect()
    }

    /// Element [i, j] of a matrix in panels of n rows.
    fn at(x: &[f32], n: usize, i: usize, j: usize) -> f32 {
        rows(x)[j / WIDTH * n + i][j % WIDTH]
    }

    struct All<'a> {
        a: &'a [f32],
        b: &'a [f32],
        c: &'a mut [f32],
        columns: bool,
        n: usize,
    }

    impl WithSimd for All<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let c = rows_mut(self.c).first_chunk_mut().unwrap();
            if self.columns {
                column_product(simd, c, rows(self.a), rows(self.b));
            } else {
                row_product(simd, c, &rows(self.a)[WIDTH..], self.n, rows(self.b));
            }
        }
    }

    #[test]
    fn products_and_transposes_are_their_definitions() {
        let (n, k) = (48, 32);
        let (a, b) = (numbers(n * k, 1), numbers(n * WIDTH, 2));
        let mut c = vec![1.0; WIDTH * WIDTH];
        // Rows 16 … 31 of A [n, k] with the first k rows of B.
        Arch::new().dispatch(All { a: &a, b: &b[..k * WIDTH], c: &mut c, columns: false, n });
        for i in 0..WIDTH {
            for j in 0..WIDTH {
                let expected: f32 = (0..k).map(|l| at(&a, n, WIDTH + i, l) * at(&b, n, l, j)).sum();
                assert!((at(&c, WIDTH, i, j) - expected).abs() < 1e-4, "{i} {j}");
            }
        }
        let mut d = c.clone();
        Arch::new().dispatch(All { a: &a[..n * WIDTH], b: &b, c: &mut d, columns: true, n });
        for i in 0..WIDTH {
            for j in 0..WIDTH {
                let sum: f32 = (0..n).map(|l| at(&a, n, l, i) * at(&b, n, l, j)).sum();
                assert!((at(&d, WIDTH, i, j) - at(&c, WIDTH, i, j) - sum).abs() < 1e-4, "{i} {j}");
            }
        }
        let mut transposed = vec![0.0; n * k];
        transpose(rows_mut(&mut transposed), rows(&a), n, k);
        assert!((0..n).all(|i| (0..k).all(|j| at(&transposed, k, j, i) == at(&a, n, i, j))));
    }
}
