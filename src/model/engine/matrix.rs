//! Matrix products behind two functions, so that other kernels can come later.
//!
//! The right operand lies in *panels*: two vectors of columns side by side, row after row, so that the inner loop reads it
//! from beginning to end. Weights are brought into panels once a step and then serve every shard, which is what an
//! ordinary matrix product spends a good part of its time on for products as small as these. The left operand is read
//! where it lies, an element at a time, each multiplied with both vectors for up to [`TALL`] rows whose sums stay in
//! registers. Every element of a result is one sum over k in its order, whatever the sizes beside it.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::Buffer;

/// Rows of the tallest tile: with two vectors a row, what 32 registers hold beside the operands.
const TALL: usize = 12;
/// The same where there are 16 registers.
const TALL_OF_16: usize = 6;
/// Rows of the tiles for what remains.
const MIDDLE: usize = 8;
const SHORT: usize = 4;
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
pub(super) fn pack(target: &mut [f32], panel: usize, k: usize, first: usize, source: &[f32], n: usize) {
    for (j, block) in target.chunks_exact_mut(k * panel).enumerate() {
        let width = panel.min(n - j * panel);
        for (into, from) in block[first * panel..].chunks_exact_mut(panel).zip(source.chunks_exact(n)) {
            into[..width].copy_from_slice(&from[j * panel..][..width]);
        }
    }
}

/// Brings the transpose of a matrix [n, k], row by row, into panels with `k` rows, from column `first` on.
pub(super) fn pack_transposed(target: &mut [f32], panel: usize, k: usize, first: usize, source: &[f32]) {
    const SQUARE: usize = 4;
    let n = source.len() / k;
    let mut j = 0;
    while j < n {
        let (block, column) = ((first + j) / panel, (first + j) % panel);
        let into = &mut target[block * k * panel..][..k * panel];
        if column.is_multiple_of(SQUARE) && n - j >= SQUARE && k.is_multiple_of(SQUARE) {
            let rows: [&[f32]; SQUARE] = std::array::from_fn(|r| &source[(j + r) * k..][..k]);
            for l in (0..k).step_by(SQUARE) {
                let square: [[f32; SQUARE]; SQUARE] = std::array::from_fn(|r| std::array::from_fn(|c| rows[r][l..][..SQUARE][c]));
                for c in 0..SQUARE {
                    let row = &mut into[(l + c) * panel + column..][..SQUARE];
                    row.copy_from_slice(&[square[0][c], square[1][c], square[2][c], square[3][c]]);
                }
            }
            j += SQUARE;
        } else {
            for (row, &value) in into.chunks_exact_mut(panel).zip(&source[j * k..][..k]) {
                row[column] = value;
            }
            j += 1;
        }
    }
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

/// C [m, n] = A [m, k] · B, added to what `onto` says; all row by row without gaps.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn product(arch: Arch, c: &mut [f32], a: &[f32], b: Packed<'_>, onto: Onto<'_>) {
    arch.dispatch(Product::<false> { c, a, a_stride: b.size[0], b, onto });
}

/// Brings a whole matrix [k, n], row by row, into panels in `space`, as the right operand of [`outer_product`].
pub(super) fn pack_rows<'a>(arch: Arch, space: &'a mut Buffer, b: &[f32], n: usize) -> Packed<'a> {
    let size = [b.len() / n, n];
    space.set_len(packed_len(panel(arch), size));
    // What fills up the last panel is never stored: it may hold anything.
    arch.dispatch(Pack { target: space, source: b, size });
    Packed { data: space, size }
}

/// C [m, n] = Aᵀ · B, added to what `onto` says, where the m columns of A [k, ..] lie in rows `a_stride` apart.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn outer_product(arch: Arch, c: &mut [f32], (a, a_stride): (&[f32], usize), b: Packed<'_>, onto: Onto<'_>) {
    arch.dispatch(Product::<true> { c, a, a_stride, b, onto });
}

/// [`pack`] of a whole matrix, by vectors.
struct Pack<'a> {
    target: &'a mut [f32],
    source: &'a [f32],
    size: [usize; 2],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { target, source, size: [k, n] } = self;
        let width = 2 * S::F32_LANES;
        let target = S::as_mut_simd_f32s(target).0;
        // Row after row, so that the source is read as it lies; the target stays in the second-level cache.
        for (l, from) in source.chunks_exact(n).enumerate() {
            let mut into = 2 * l;
            for from in from.chunks(width) {
                let into_row = &mut target[into..into + 2];
                if from.len() == width {
                    let from = S::as_simd_f32s(from).0;
                    (into_row[0], into_row[1]) = (from[0], from[1]);
                } else {
                    let (left, right) = from.split_at(from.len().min(S::F32_LANES));
                    (into_row[0], into_row[1]) = (simd.partial_load_f32s(left), simd.partial_load_f32s(right));
                }
                into += 2 * k;
            }
        }
    }
}

struct Product<'a, const BY_COLUMN: bool> {
    c: &'a mut [f32],
    a: &'a [f32],
    a_stride: usize,
    b: Packed<'a>,
    onto: Onto<'a>,
}

impl<const BY_COLUMN: bool> WithSimd for Product<'_, BY_COLUMN> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { c, a, a_stride, b, onto } = self;
        let [k, n] = b.size;
        let (m, width) = (c.len() / n, 2 * S::F32_LANES);
        assert!(k > 0 && c.len() == m * n && b.data.len() == packed_len(width, [k, n]));
        if let Onto::Other(other) = onto {
            assert!(other.len() == c.len());
        }
        let tall = if S::F32_LANES == 8 { TALL_OF_16 } else { TALL };
        let block = (LEFT_BLOCK / k / tall).max(2) * tall;
        for start in (0..m).step_by(block) {
            let end = (start + block).min(m);
            for (j, panel) in b.data.chunks_exact(k * width).enumerate() {
                let panel = S::as_simd_f32s(panel).0;
                let (first, columns) = (j * width, width.min(n - j * width));
                let mut i = start;
                while i < end {
                    let rows = if end - i >= tall {
                        tall
                    } else if end - i >= MIDDLE && tall == TALL {
                        MIDDLE
                    } else if end - i >= SHORT {
                        SHORT
                    } else {
                        1
                    };
                    let a = if BY_COLUMN { &a[i..] } else { &a[i * a_stride..] };
                    let c = &mut c[i * n + first..];
                    let onto = match onto {
                        Onto::Other(other) => Onto::Other(&other[i * n + first..]),
                        onto => onto,
                    };
                    match rows {
                        TALL => tile::<S, BY_COLUMN, TALL>(simd, c, n, columns, a, a_stride, panel, onto),
                        MIDDLE => tile::<S, BY_COLUMN, MIDDLE>(simd, c, n, columns, a, a_stride, panel, onto),
                        TALL_OF_16 => tile::<S, BY_COLUMN, TALL_OF_16>(simd, c, n, columns, a, a_stride, panel, onto),
                        SHORT => tile::<S, BY_COLUMN, SHORT>(simd, c, n, columns, a, a_stride, panel, onto),
                        _ => tile::<S, BY_COLUMN, 1>(simd, c, n, columns, a, a_stride, panel, onto),
                    }
                    i += rows;
                }
            }
        }
    }
}

/// `ROWS` rows of one panel's columns.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "three matrices with their strides")]
fn tile<S: Simd, const BY_COLUMN: bool, const ROWS: usize>(
    simd: S,
    c: &mut [f32],
    c_stride: usize,
    columns: usize,
    a: &[f32],
    a_stride: usize,
    panel: &[S::f32s],
    onto: Onto<'_>,
) {
    let k = panel.len() / 2;
    let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
    if BY_COLUMN {
        for (l, b) in panel.chunks_exact(2).enumerate() {
            let a = &a[l * a_stride..][..ROWS];
            let b = [b[0], b[1]];
            for r in 0..ROWS {
                let a = simd.splat_f32s(a[r]);
                sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
            }
        }
    } else {
        let lines: [&[f32]; ROWS] = std::array::from_fn(|r| &a[r * a_stride..][..k]);
        for l in 0..k {
            let b = &panel[2 * l..][..2];
            let b = [b[0], b[1]];
            for r in 0..ROWS {
                let a = simd.splat_f32s(lines[r][l]);
                sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
            }
        }
    }
    // A copy of its own for what follows: the sums above stay in registers only if nothing takes their address.
    let mut done = [[simd.splat_f32s(0.0); 2]; ROWS];
    for r in 0..ROWS {
        done[r] = [sums[r][0], sums[r][1]];
    }
    store(simd, c, c_stride, columns, &done, onto);
}

/// Writes or adds finished rows to `columns` columns of C.
#[inline(always)]
fn store<S: Simd>(simd: S, c: &mut [f32], c_stride: usize, columns: usize, rows: &[[S::f32s; 2]], onto: Onto<'_>) {
    for (r, sums) in rows.iter().enumerate() {
        let place = r * c_stride..r * c_stride + columns;
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
            pack(&mut natural, panel, k, 0, &b[..split * n], n);
            pack(&mut natural, panel, k, split, &b[split * n..], n);
            let mut other = vec![0.0; packed_len(panel, [k, n])];
            let (bt, split) = (transposed(&b, [k, n]), n / 3);
            pack_transposed(&mut other, panel, k, 0, &bt[..split * k]);
            pack_transposed(&mut other, panel, k, split, &bt[split * k..]);
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
            let mut space = Buffer::zeros(7);
            let b = pack_rows(arch, &mut space, &b, n);
            outer_product(arch, &mut c, (&transposed(&a, [m, k]), m), b, Onto::Itself);
            assert!(close(&c, 3.0), "{m} {n} {k} outer");
        }
    }

    #[test]
    fn an_element_has_the_same_bits_whatever_the_number_of_rows() {
        let arch = Arch::new();
        let (k, n) = (1536, 40);
        let (a, b) = (numbers(300 * k, 3), numbers(k * n, 4));
        let mut packed = vec![0.0; packed_len(panel(arch), [k, n])];
        pack(&mut packed, panel(arch), k, 0, &b, n);
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
