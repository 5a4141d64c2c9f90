//! Matrix products behind two functions, so that other kernels can come later.
//!
//! The right operand lies in *panels*: two vectors of columns side by side, row after row, so that the inner loop reads it
//! from beginning to end. Weights are brought into panels once a step and then serve every shard, which is what an
//! ordinary matrix product spends a good part of its time on for products as small as these. The left operand is taken
//! a *tile* of rows at a time, whose sums stay in registers: an element is multiplied with both vectors of the panel. A row
//! by row matrix is read where it lies; of one to be transposed the tiles are brought together first, since the rows that a
//! tile takes from it are so far apart that they push one another out of the cache. Every element of a result is one sum over
//! k in its order, whatever the sizes beside it.

use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};

use super::packing::{Packed, PackedLeft, height, packed_len};

/// Steps along k that a tile makes at a time: little but multiplications is then left in the loop.
const UNROLLED: usize = 4;
/// Values of the left operand that are used with one panel after another while they are in the second-level cache.
const LEFT_BLOCK: usize = 1 << 16;

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
    arch.dispatch(Product::<false> { c, a, b, onto });
}

/// C [m, n] = A · B, added to what `onto` says.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn outer_product(arch: Arch, c: &mut [f32], a: PackedLeft<'_>, b: Packed<'_>, onto: Onto<'_>) {
    arch.dispatch(Product::<true> { c, a: a.0, b, onto });
}

/// A product; `PACKED` where the left operand lies in tiles.
struct Product<'a, const PACKED: bool> {
    c: &'a mut [f32],
    a: &'a [f32],
    b: Packed<'a>,
    onto: Onto<'a>,
}

impl<const PACKED: bool> WithSimd for Product<'_, PACKED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { c, a, b, onto } = self;
        let [k, n] = b.size;
        let (m, width) = (c.len() / n, 2 * S::F32_LANES);
        assert!(k > 0 && c.len() == m * n && a.len() == m * k && b.data.len() == packed_len(width, [k, n]));
        onto.check(c);
        let block = (LEFT_BLOCK / k).max(1);
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
                        12 => simd.vectorize(Tile::<S, 12, PACKED> { simd, c, size, a, panel, onto }),
                        8 => simd.vectorize(Tile::<S, 8, PACKED> { simd, c, size, a, panel, onto }),
                        6 => simd.vectorize(Tile::<S, 6, PACKED> { simd, c, size, a, panel, onto }),
                        4 => simd.vectorize(Tile::<S, 4, PACKED> { simd, c, size, a, panel, onto }),
                        2 => simd.vectorize(Tile::<S, 2, PACKED> { simd, c, size, a, panel, onto }),
                        _ => simd.vectorize(Tile::<S, 1, PACKED> { simd, c, size, a, panel, onto }),
                    }
                    i += rows;
                }
            }
            start = i;
        }
    }
}

/// `ROWS` rows of one panel's columns.
struct Tile<'a, S: Simd, const ROWS: usize, const PACKED: bool> {
    simd: S,
    c: &'a mut [f32],
    /// Distance of C's rows, and how many columns there are.
    size: [usize; 2],
    /// Row by row, or column by column where it is packed.
    a: &'a [f32],
    panel: &'a [S::f32s],
    onto: Onto<'a>,
}

impl<S: Simd, const ROWS: usize, const PACKED: bool> NullaryFnOnce for Tile<'_, S, ROWS, PACKED> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, c, size, a, panel, onto } = self;
        let k = panel.len() / 2;
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        let (many, rest) = panel.as_chunks::<{ 2 * UNROLLED }>();
        let (done, rest) = (UNROLLED * many.len(), rest.as_chunks::<2>().0);
        if PACKED {
            for (a, b) in a.as_chunks::<ROWS>().0.as_chunks::<UNROLLED>().0.iter().zip(many) {
                for l in 0..UNROLLED {
                    let b = [b[2 * l], b[2 * l + 1]];
                    for r in 0..ROWS {
                        let a = simd.splat_f32s(a[l][r]);
                        sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
                    }
                }
            }
        } else {
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
        }
        for (l, b) in rest.iter().enumerate() {
            for r in 0..ROWS {
                let a = simd.splat_f32s(a[if PACKED { (done + l) * ROWS + r } else { r * k + done + l }]);
                sums[r] = [simd.mul_add_e_f32s(a, b[0], sums[r][0]), simd.mul_add_e_f32s(a, b[1], sums[r][1])];
            }
        }
        store(simd, c, size, &sums, onto);
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
    use super::super::buffer::Buffer;
    use super::super::packing::{pack, pack_columns, pack_rows, pack_transposed, panel};
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
            let b = pack_rows(arch, right, &b, n);
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
