//! Matrix products behind two functions, so that other kernels can come later.
//!
//! The right operand lies in *panels*: two vectors of columns side by side, row after row, so that the inner loop reads it
//! from beginning to end. Weights are brought into panels once a step and then serve every shard, which is what an
//! ordinary matrix product spends a good part of its time on for products as small as these. The left operand is taken
//! a *tile* of rows at a time, whose sums stay in registers: an element is multiplied with both vectors of the panel. A row
//! by row matrix is read where it lies; one to be transposed is brought into panels first, since the rows that a tile takes
//! from it are so far apart that they push one another out of the cache. Every element of a result is one sum over k in its
//! order, whatever the sizes beside it.

use std::ops::Range;

use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};

use super::buffer::Buffer;

/// Rows of the tallest tile: with two vectors a row, what 32 registers hold beside the operands.
const TALL: usize = 12;
/// The same where there are 16 registers.
const TALL_OF_16: usize = 6;
/// Steps along k that a tile makes at a time: little but multiplications is then left in the loop.
const UNROLLED: usize = 4;
/// Rows that are packed at once: what they give a panel lies together.
const AT_ONCE: usize = 4;
/// Values of the left operand that are used with one panel after another while they are in the second-level cache.
const LEFT_BLOCK: usize = 1 << 16;

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
    arch.dispatch(Pack { target, k, first, source, n, columns: 0..n });
}

/// Brings the transpose of a matrix [n, k], row by row, into panels with `k` rows, from column `first` on.
pub(super) fn pack_transposed(arch: Arch, target: &mut [f32], k: usize, first: usize, source: &[f32]) {
    arch.dispatch(PackTransposed { target, k, first, source });
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(super) enum Onto<'a> {
    /// Nothing.
    Zero,
    /// What is there.
    Itself,
    /// An array of the same size.
    Other(&'a [f32]),
}

impl Onto<'_> {
    #[inline(always)]
    fn check(self, c: &[f32]) {
        assert!(!matches!(self, Self::Other(other) if other.len() != c.len()));
    }

    /// The same for what begins at `place`.
    #[inline(always)]
    fn from(self, place: usize) -> Self {
        match self {
            Self::Other(other) => Self::Other(&other[place..]),
            onto => onto,
        }
    }
}

/// C [m, n] = A [m, k] · B, added to what `onto` says; all row by row without gaps.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn product(arch: Arch, c: &mut [f32], a: &[f32], b: Packed<'_>, onto: Onto<'_>) {
    arch.dispatch(Product { c, a, b, onto });
}

/// Brings the columns `columns` of a matrix [k, n], row by row, into panels in `space`, as an operand of [`outer_product`].
pub(super) fn pack_columns<'a>(arch: Arch, space: &'a mut Buffer, source: &[f32], n: usize, columns: Range<usize>) -> Packed<'a> {
    let size = [source.len() / n, columns.len()];
    space.set_len(packed_len(panel(arch), size));
    // What fills up the last panel never reaches a result: it may hold anything.
    arch.dispatch(Pack { target: space, k: size[0], first: 0, source, n, columns });
    Packed { data: space, size }
}

/// C [m, n] = Aᵀ · B, added to what `onto` says, for A [k, m] and B [k, n].
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn outer_product(arch: Arch, c: &mut [f32], a: Packed<'_>, b: Packed<'_>, onto: Onto<'_>) {
    arch.dispatch(OuterProduct { c, a, b, onto });
}

/// Brings some columns of a matrix [m, n] into the panels of one with `k` rows, from its row `first` on.
struct Pack<'a> {
    target: &'a mut [f32],
    k: usize,
    first: usize,
    source: &'a [f32],
    n: usize,
    columns: Range<usize>,
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { target, k, first: start, source, n, columns } = self;
        let width = 2 * S::F32_LANES;
        let panels = S::as_mut_simd_f32s(target).0.as_chunks_mut::<2>().0;
        for (q, rows) in source.chunks(AT_ONCE * n).enumerate() {
            for (first, panel) in columns.clone().step_by(width).zip(panels.chunks_exact_mut(k)) {
                let wide = width.min(columns.end - first);
                for (into, from) in panel[start + AT_ONCE * q..].iter_mut().zip(rows.chunks_exact(n)) {
                    let from = &from[first..][..wide];
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

/// Rows of the next tile where so many are left: never so few in the end that the sums would wait for each other.
#[inline(always)]
fn height<S: Simd>(left: usize) -> usize {
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

/// See [`product`].
struct Product<'a> {
    c: &'a mut [f32],
    a: &'a [f32],
    b: Packed<'a>,
    onto: Onto<'a>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { c, a, b, onto } = self;
        let [k, n] = b.size;
        let (m, width) = (c.len() / n, 2 * S::F32_LANES);
        assert!(k > 0 && c.len() == m * n && a.len() == m * k && b.data.len() == packed_len(width, [k, n]));
        onto.check(c);
        let block = (LEFT_BLOCK / k).max(2 * TALL);
        let mut start = 0;
        while start < m {
            let mut i = start;
            for (j, panel) in b.data.chunks_exact(k * width).enumerate() {
                let panel = S::as_simd_f32s(panel).0;
                let size = [n, width.min(n - j * width)];
                i = start;
                while i < m && i < start + block {
                    let rows = height::<S>(m - i);
                    let (a, place) = (&a[i * k..(i + rows) * k], i * n + j * width);
                    let (c, onto) = (&mut c[place..], onto.from(place));
                    // Each a function of its own, so that the compiler finds registers for its sums.
                    match rows {
                        12 => simd.vectorize(Tile::<S, 12> { simd, c, size, a, panel, onto }),
                        8 => simd.vectorize(Tile::<S, 8> { simd, c, size, a, panel, onto }),
                        6 => simd.vectorize(Tile::<S, 6> { simd, c, size, a, panel, onto }),
                        4 => simd.vectorize(Tile::<S, 4> { simd, c, size, a, panel, onto }),
                        2 => simd.vectorize(Tile::<S, 2> { simd, c, size, a, panel, onto }),
                        _ => simd.vectorize(Tile::<S, 1> { simd, c, size, a, panel, onto }),
                    }
                    i += rows;
                }
            }
            start = i;
        }
    }
}

/// See [`outer_product`].
struct OuterProduct<'a> {
    c: &'a mut [f32],
    a: Packed<'a>,
    b: Packed<'a>,
    onto: Onto<'a>,
}

impl WithSimd for OuterProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { c, a, b, onto } = self;
        let ([k, m], [_, n], width) = (a.size, b.size, 2 * S::F32_LANES);
        assert!(k > 0 && k == b.size[0] && c.len() == m * n);
        assert!(a.data.len() == packed_len(width, a.size) && b.data.len() == packed_len(width, b.size));
        onto.check(c);
        for (j, panel) in b.data.chunks_exact(k * width).enumerate() {
            let panel = S::as_simd_f32s(panel).0;
            for (i, a) in a.data.chunks_exact(k * width).enumerate() {
                let place = [i * width, j * width];
                match S::F32_LANES {
                    16 => {
                        outer_tile::<S, 0, 12>(simd, c, [m, n], place, a, panel, onto);
                        outer_tile::<S, 12, 12>(simd, c, [m, n], place, a, panel, onto);
                        outer_tile::<S, 24, 8>(simd, c, [m, n], place, a, panel, onto);
                    }
                    8 => {
                        outer_tile::<S, 0, 6>(simd, c, [m, n], place, a, panel, onto);
                        outer_tile::<S, 6, 6>(simd, c, [m, n], place, a, panel, onto);
                        outer_tile::<S, 12, 4>(simd, c, [m, n], place, a, panel, onto);
                    }
                    4 => {
                        outer_tile::<S, 0, 4>(simd, c, [m, n], place, a, panel, onto);
                        outer_tile::<S, 4, 4>(simd, c, [m, n], place, a, panel, onto);
                    }
                    _ => {
                        outer_tile::<S, 0, 1>(simd, c, [m, n], place, a, panel, onto);
                        outer_tile::<S, 1, 1>(simd, c, [m, n], place, a, panel, onto);
                    }
                }
            }
        }
    }
}

/// The rows of an [`outer_product`] that belong to `ROWS` columns of a panel of A, from its column `FIRST` on. The panels of A and B
/// begin at row and column `place` of C [m, n].
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "three matrices and where a tile lies in them")]
fn outer_tile<S: Simd, const FIRST: usize, const ROWS: usize>(
    simd: S,
    c: &mut [f32],
    [m, n]: [usize; 2],
    place: [usize; 2],
    a: &[f32],
    panel: &[S::f32s],
    onto: Onto<'_>,
) {
    let [row, column] = [place[0] + FIRST, place[1]];
    if row < m {
        let (rows, size) = (ROWS.min(m - row), [n, (2 * S::F32_LANES).min(n - column)]);
        let (c, onto) = (&mut c[row * n + column..], onto.from(row * n + column));
        simd.vectorize(OuterTile::<S, FIRST, ROWS> { simd, c, size, rows, a, panel, onto });
    }
}

/// `ROWS` rows of one panel's columns, from the rows of A.
struct Tile<'a, S: Simd, const ROWS: usize> {
    simd: S,
    c: &'a mut [f32],
    /// Distance of C's rows, and how many columns there are.
    size: [usize; 2],
    a: &'a [f32],
    panel: &'a [S::f32s],
    onto: Onto<'a>,
}

impl<S: Simd, const ROWS: usize> NullaryFnOnce for Tile<'_, S, ROWS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, c, size, a, panel, onto } = self;
        let k = panel.len() / 2;
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        let (many, rest) = panel.as_chunks::<{ 2 * UNROLLED }>();
        let lines: [&[[f32; UNROLLED]]; ROWS] =
            std::array::from_fn(|r| &a[r * k..][..k].as_chunks::<UNROLLED>().0[..many.len()]);
        for (q, b) in many.iter().enumerate() {
            for l in 0..UNROLLED {
                let b = [b[2 * l], b[2 * l + 1]];
                for r in 0..ROWS {
                    let a = simd.splat_f32s(lines[r][q][l]);
                    sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
                }
            }
        }
        for (l, b) in rest.as_chunks::<2>().0.iter().enumerate() {
            for r in 0..ROWS {
                let a = simd.splat_f32s(a[r * k + UNROLLED * many.len() + l]);
                sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
            }
        }
        store(simd, c, size, &sums, onto);
    }
}

/// `ROWS` rows of one panel's columns, from the columns of a panel of A.
struct OuterTile<'a, S: Simd, const FIRST: usize, const ROWS: usize> {
    simd: S,
    c: &'a mut [f32],
    /// Distance of C's rows, and how many columns there are.
    size: [usize; 2],
    /// Rows that C has of them: fewer where A's panel is filled up.
    rows: usize,
    a: &'a [f32],
    panel: &'a [S::f32s],
    onto: Onto<'a>,
}

impl<S: Simd, const FIRST: usize, const ROWS: usize> NullaryFnOnce for OuterTile<'_, S, FIRST, ROWS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, c, size, rows, a, panel, onto } = self;
        let width = 2 * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        let (many, rest) = panel.as_chunks::<{ 2 * UNROLLED }>();
        let (a_many, a_rest) = a.split_at(UNROLLED * width * many.len());
        for (a, b) in a_many.chunks_exact(UNROLLED * width).zip(many) {
            for l in 0..UNROLLED {
                let b = [b[2 * l], b[2 * l + 1]];
                for r in 0..ROWS {
                    let a = simd.splat_f32s(a[l * width + FIRST + r]);
                    sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
                }
            }
        }
        for (a, b) in a_rest.chunks_exact(width).zip(rest.as_chunks::<2>().0) {
            for r in 0..ROWS {
                let a = simd.splat_f32s(a[FIRST + r]);
                sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
            }
        }
        if rows == ROWS {
            store(simd, c, size, &sums, onto);
        } else {
            // A copy of its own: the sums above stay in registers only if nothing indexes them by a variable.
            let done: [_; ROWS] = std::array::from_fn(|r| [sums[r][0], sums[r][1]]);
            store(simd, c, size, &done[..rows], onto);
        }
    }
}

/// Writes or adds finished rows to `columns` columns of C, whose rows are `stride` apart.
#[inline(always)]
fn store<S: Simd>(simd: S, c: &mut [f32], [stride, columns]: [usize; 2], rows: &[[S::f32s; 2]], onto: Onto<'_>) {
    for (r, sums) in rows.iter().enumerate() {
        let place = r * stride..r * stride + columns;
        let c = &mut c[place.clone()];
        if columns == 2 * S::F32_LANES {
            let c = S::as_mut_simd_f32s(c).0;
            let before = match onto {
                Onto::Zero => None,
                Onto::Itself => Some([c[0], c[1]]),
                Onto::Other(other) => {
                    let other = S::as_simd_f32s(&other[place]).0;
                    Some([other[0], other[1]])
                }
            };
            for v in 0..2 {
                c[v] = before.map_or(sums[v], |before| simd.add_f32s(before[v], sums[v]));
            }
        } else {
            let mut row = [simd.splat_f32s(0.0); 2];
            let middle = columns.min(S::F32_LANES);
            let before = match onto {
                Onto::Zero => None,
                Onto::Itself => Some(&*c),
                Onto::Other(other) => Some(&other[place]),
            };
            if let Some((left, right)) = before.map(|before| before.split_at(middle)) {
                row = [simd.partial_load_f32s(left), simd.partial_load_f32s(right)];
            }
            let (left, right) = c.split_at_mut(middle);
            simd.partial_store_f32s(left, simd.add_f32s(row[0], sums[0]));
            simd.partial_store_f32s(right, simd.add_f32s(row[1], sums[1]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 19) as f32 / 8.0 - 1.0).collect()
    }

    fn transposed(x: &[f32], [m, n]: [usize; 2]) -> Vec<f32> {
        (0..n).flat_map(|j| (0..m).map(move |i| x[i * n + j])).collect()
    }

    #[test]
    fn products_of_all_kinds_agree_with_the_definition() {
        let arch = Arch::new();
        let panel = panel(arch);
        for [m, n, k] in [[1, 1, 1], [3, 5, 7], [17, 33, 65], [64, 48, 16], [29, 100, 600], [13, 65, 12], [26, 64, 128]] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let mut expected = vec![0.0f32; m * n];
            for i in 0..m {
                for j in 0..n {
                    expected[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                }
            }
            let mut natural = vec![0.0; packed_len(panel, [k, n])];
            let split = k / 3;
            pack(arch, &mut natural, k, 0, &b[..split * n], n);
            pack(arch, &mut natural, k, split, &b[split * n..], n);
            let mut other = vec![0.0; packed_len(panel, [k, n])];
            let (bt, split) = (transposed(&b, [k, n]), n / 3);
            pack_transposed(arch, &mut other, k, 0, &bt[..split * k]);
            pack_transposed(arch, &mut other, k, split, &bt[split * k..]);
            assert_eq!(natural, other);
            let close = |c: &[f32], factor: f32| c.iter().zip(&expected).all(|(c, e)| (c - factor * e).abs() < 2e-4);
            let mut c = vec![1.0; m * n];
            let packed = Packed { data: &natural, size: [k, n] };
            product(arch, &mut c, &a, packed, Onto::Zero);
            assert!(close(&c, 1.0), "{m} {n} {k}");
            product(arch, &mut c, &a, packed, Onto::Itself);
            assert!(close(&c, 2.0), "{m} {n} {k} onto itself");
            product(arch, &mut c, &a, packed, Onto::Other(&expected));
            assert!(close(&c, 2.0), "{m} {n} {k} onto another");
            let mut spaces = [Buffer::zeros(7), Buffer::zeros(0)];
            let [right, left] = &mut spaces;
            let b = pack_columns(arch, right, &b, n, 0..n);
            // The left operand's rows lie among others, as those of a layer with several weights do.
            let (before, stride) = (21, m + 30);
            let mut wide = vec![f32::NAN; k * stride];
            for (row, from) in wide.chunks_exact_mut(stride).zip(transposed(&a, [m, k]).chunks_exact(m)) {
                row[before..before + m].copy_from_slice(from);
            }
            let a = pack_columns(arch, left, &wide, stride, before..before + m);
            outer_product(arch, &mut c, a, b, Onto::Itself);
            assert!(close(&c, 3.0), "{m} {n} {k} outer");
        }
    }

    #[test]
    fn an_element_has_the_same_bits_whatever_the_number_of_rows() {
        let arch = Arch::new();
        let (k, n) = (1536, 40);
        let (a, b) = (numbers(300 * k, 3), numbers(k * n, 4));
        let mut packed = vec![0.0; packed_len(panel(arch), [k, n])];
        pack(arch, &mut packed, k, 0, &b, n);
        let packed = Packed { data: &packed, size: [k, n] };
        let mut whole = vec![0.0; 300 * n];
        product(arch, &mut whole, &a, packed, Onto::Zero);
        for [from, to] in [[100, 201], [7, 8], [0, 299]] {
            let mut part = vec![0.0; (to - from) * n];
            product(arch, &mut part, &a[from * k..to * k], packed, Onto::Zero);
            assert_eq!(part[..], whole[from * n..to * n]);
        }
    }

    #[test]
    #[should_panic(expected = "packed_len")]
    fn a_product_of_sizes_that_do_not_fit_panics() {
        product(Arch::new(), &mut [0.0; 4], &[0.0; 4], Packed { data: &[0.0; 3], size: [2, 2] }, Onto::Zero);
    }
}
