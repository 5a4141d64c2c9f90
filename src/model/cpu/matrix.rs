//! Matrix products behind two functions, so that other kernels can come later.
//!
//! All operands lie in panels (see `panels`); activations are written so by what makes them, and weights are brought into
//! panels once a step and then serve every shard. Every element of a result is one sum over k in its order, whatever the
//! sizes beside it.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::panels::{Panels, PanelsMut, Row, WIDTH, rows as as_rows};
use super::prefetch::{Ahead, prefetch};
use super::tiles::{ColumnTile, Finish, RowTile, height, panels};

/// Values of the left operand that are used with one panel after another while they are in the second-level cache.
const LEFT_BLOCK: usize = 1 << 16;
/// Panels of an outer product's right operand that are used with one tile after another: its results are then some lines of
/// memory in a row.
const GROUP: usize = 32;
/// Panels along k that are taken at a time: so many rows of the right operand's panel are a quarter of the first-level cache.
const K_BLOCK: usize = 8;

/// What a product is added to, and what the sum is multiplied by.
#[derive(Clone, Copy, Default)]
pub(super) struct Epilogue<'a> {
    /// A matrix of the same size.
    pub(super) base: Option<Panels<'a>>,
    /// A row that every row gets.
    pub(super) bias: Option<&'a [Row]>,
    /// A matrix of the same size, whose elements the sum's are multiplied by.
    pub(super) times: Option<Panels<'a>>,
}

/// C [m, n] = A [m, k] · B [k, n], added to and multiplied by what `epilogue` says. B is a whole matrix. Lines of `next` are asked for meanwhile: for
/// what follows, if it is short on work and would wait for them.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn product(arch: Arch, c: PanelsMut<'_>, a: Panels<'_>, b: &[Row], epilogue: Epilogue<'_>, next: &[Row]) {
    arch.dispatch(Product { c, a, b, epilogue, next });
}

/// C [m, n] = Aᵀ · B, or C += Aᵀ · B where it is `added`: `columns` are the m columns of A [k, _] that take part, C lies row
/// by row.
///
/// # Panics
/// If the sizes do not fit.
pub(super) fn outer_product(arch: Arch, c: &mut [f32], a: Panels<'_>, columns: Range<usize>, b: Panels<'_>, added: bool) {
    arch.dispatch(OuterProduct { c, a, columns, b, added });
}

struct Product<'a> {
    c: PanelsMut<'a>,
    a: Panels<'a>,
    b: &'a [Row],
    epilogue: Epilogue<'a>,
    next: &'a [Row],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut c, a, b, epilogue, next } = self;
        let (m, n, k) = (a.rows(), c.read().count(), a.count());
        assert!(c.read().rows() == m && b.len() == n * k * WIDTH);
        assert!([epilogue.base, epilogue.times].into_iter().flatten().all(|x| x.rows() == m && x.count() == n));
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == n));
        let (apart, distance) = (c.read().distance(), a.distance());
        let mut next = Ahead::new(next, k.div_ceil(K_BLOCK) * n.div_ceil(panels::<S>(n)) * m / height::<S>(m));
        for from in (0..k).step_by(K_BLOCK) {
            let to = k.min(from + K_BLOCK);
            let (resumed, end) = (from > 0, to == k);
            let many = (LEFT_BLOCK / (WIDTH * (to - from))).max(1);
            let b = |j: usize| if j < n { &b[j * k * WIDTH..][from * WIDTH..to * WIDTH] } else { &[] };
            for start in (0..m).step_by(many) {
                let stop = m.min(start + many);
                let mut j = 0;
                while j < n {
                    let count = panels::<S>(n - j);
                    let mut ahead = Ahead::new(b(j + count), (stop - start) / height::<S>(stop - start));
                    let mut i = start;
                    while i < stop {
                        let rows = height::<S>(stop - i);
                        ahead.step();
                        next.step();
                        if j == 0 && i + rows < stop {
                            let next = height::<S>(stop - i - rows);
                            (from..to).for_each(|p| prefetch(&a.starting_at(p, i + rows)[..next]));
                        }
                        let [base, times] =
                            [epilogue.base, epilogue.times].map(|x| x.map(|x| (x.starting_at(j, i), x.distance())));
                        let last = end.then(|| Finish { base, bias: epilogue.bias.map(|bias| &bias[j..]), times });
                        let (c, a) = (c.starting_at(j, i), a.starting_at(from, i));
                        if count == 2 {
                            RowTile { c, apart, a, distance, b: [b(j), b(j + 1)], resumed, last }.run(simd, rows);
                        } else {
                            RowTile { c, apart, a, distance, b: [b(j)], resumed, last }.run(simd, rows);
                        }
                        i += rows;
                    }
                    j += count;
                }
            }
        }
    }
}

struct OuterProduct<'a> {
    c: &'a mut [f32],
    a: Panels<'a>,
    columns: Range<usize>,
    b: Panels<'a>,
    added: bool,
}

impl WithSimd for OuterProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { c, a, columns, b, added } = self;
        let (m, k) = (columns.len(), a.rows());
        let stride = c.len() / m;
        assert!(
            c.len() == m * stride && stride.div_ceil(WIDTH) == b.count() && columns.end <= WIDTH * a.count() && b.rows() == k
        );
        for begin in (0..b.count()).step_by(GROUP) {
            let end = b.count().min(begin + GROUP);
            let place = begin * WIDTH..stride.min(end * WIDTH);
            let (mut i, mut panel, mut ahead) = (0, None, Ahead::new(&[], 1));
            while i < m {
                let column = columns.start + i;
                let (p, first) = (column / WIDTH, column % WIDTH);
                if panel != Some(p) && p + 1 < a.count() {
                    ahead = Ahead::new(a.panel(p + 1), (end - begin) * WIDTH / height::<S>(m));
                    panel = Some(p);
                }
                let rows = ColumnTile::<1>::height::<S>(first, m - i);
                let (next, here) = (if first + rows > WIDTH { p + 1 } else { p }, m.min(i + 2 * rows));
                if added {
                    (i + rows..here).for_each(|i| prefetch(as_rows(&c[i * stride..][place.clone()])));
                }
                let a = [a.panel(p), a.panel(next)];
                let mut j = begin;
                while j < end {
                    let count = panels::<S>(end - j);
                    ahead.step();
                    if i == 0 && j + count < b.count() {
                        prefetch(b.panel(j + count));
                    }
                    let (c, columns) = (&mut c[i * stride + j * WIDTH..], (count * WIDTH).min(stride - j * WIDTH));
                    if count == 2 {
                        let b = [b.panel(j), b.panel(j + 1)];
                        ColumnTile { c, stride, columns, a, first, b, added }.run(simd, rows);
                    } else {
                        ColumnTile { c, stride, columns, a, first, b: [b.panel(j)], added }.run(simd, rows);
                    }
                    j += count;
                }
                i += rows;
            }
        }
    }
}

/// Sixteen rows of one panel of C = A · B: `a` begins with these rows in A's first panel, whose panels are `distance` rows
/// apart; `b` is the rows of B's panel that take part, 16 for each panel of A.
#[inline(always)]
pub(super) fn row_product<S: Simd>(simd: S, c: &mut [Row; WIDTH], a: &[Row], distance: usize, b: &[Row]) {
    let mut first = 0;
    for &rows in sixteen::<S>() {
        let (c, a) = (&mut c[first..], &a[first..]);
        RowTile { c, apart: 0, a, distance, b: [b], resumed: false, last: None }.run(simd, rows);
        first += rows;
    }
}

/// C += Aᵀ · B for one panel each, A and B with the same number of rows.
#[inline(always)]
pub(super) fn column_product<S: Simd>(simd: S, c: &mut [Row; WIDTH], a: &[Row], b: &[Row]) {
    let mut first = 0;
    for &rows in sixteen::<S>() {
        let c = c[first..].as_flattened_mut();
        ColumnTile { c, stride: WIDTH, columns: WIDTH, a: [a, a], first, b: [b], added: true }.run(simd, rows);
        first += rows;
    }
}

/// How sixteen rows are cut into tiles of one panel.
#[inline(always)]
fn sixteen<S: Simd>() -> &'static [usize] {
    match S::F32_LANES {
        16 => &[16],
        8 => &[6, 5, 5],
        4 => &[4; 4],
        _ => &[1; 16],
    }
}

#[cfg(test)]
mod tests {
    use super::super::packing::pack;
    use super::super::panels::testing::{Vectors, in_panels, row_by_row};
    use super::super::panels::{padded, room, rows, rows_mut};
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 19) as f32 / 8.0 - 1.0).collect()
    }

    /// A matrix of n columns, row by row, as a right operand.
    fn right(x: &[f32], n: usize) -> Vec<f32> {
        let k = padded(x.len() / n);
        let mut into = vec![0.0; k * padded(n)];
        pack(rows_mut(&mut into), k, 0, x, n);
        into
    }

    fn close(got: &[f32], expected: &[f32]) -> bool {
        got.len() == expected.len() && got.iter().zip(expected).all(|(c, e)| (c - e).abs() < 2e-4)
    }

    const SIZES: [[usize; 3]; 8] =
        [[1, 1, 1], [3, 5, 7], [17, 33, 65], [64, 48, 16], [29, 100, 600], [13, 65, 12], [26, 64, 128], [40, 20, 260]];

    #[test]
    fn a_product_is_its_definition_whatever_it_is_added_to() {
        for [m, n, k] in SIZES {
            let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 4));
            let [base, times] = [3, 5].map(|seed| numbers(m * n, seed));
            let at = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f32>();
            let plain: Vec<f32> = (0..m * n).map(|e| at(e / n, e % n)).collect();
            let (left, right) = (in_panels(&a, k), right(&b, n));
            let ([base_panels, times_panels], bias_panels) = ([&base, &times].map(|x| in_panels(x, n)), in_panels(&bias, n));
            let ways: [_; 8] = std::array::from_fn(|way| [1, 2, 4].map(|bit| way & bit > 0));
            for (vectors, way) in Vectors::ALL.into_iter().flat_map(|v| ways.map(|way| (v, way))) {
                let [with_base, with_bias, with_times] = way;
                let epilogue = Epilogue {
                    base: with_base.then(|| Panels::new(&base_panels, m)),
                    bias: with_bias.then(|| rows(&bias_panels)),
                    times: with_times.then(|| Panels::new(&times_panels, m)),
                };
                let mut c = vec![f32::NAN; room(m, n)];
                let (into, left) = (PanelsMut::new(&mut c, m), Panels::new(&left, m));
                vectors.dispatch(Product { c: into, a: left, b: rows(&right), epilogue, next: &[] });
                let sum = |e| plain[e] + if with_base { base[e] } else { 0.0 } + if with_bias { bias[e % n] } else { 0.0 };
                let expected: Vec<f32> = (0..m * n).map(|e| sum(e) * if with_times { times[e] } else { 1.0 }).collect();
                assert!(close(&row_by_row(Panels::new(&c, m), n), &expected), "{m} {n} {k} {way:?} {vectors:?}");
            }
        }
    }

    #[test]
    fn an_outer_product_is_its_definition_wherever_its_columns_begin() {
        for [m, n, k] in SIZES {
            for before in [0, 3, 6, 14] {
                let wide = before + m + 5;
                let (a, b) = (numbers(k * wide, 1), numbers(k * n, 2));
                let at = |i: usize, j: usize| (0..k).map(|l| a[l * wide + before + i] * b[l * n + j]).sum::<f32>();
                let expected: Vec<f32> = (0..m * n).map(|e| at(e / n, e % n)).collect();
                let (left, right) = (in_panels(&a, wide), in_panels(&b, n));
                let mut c = vec![f32::NAN; m * n];
                let ways = [(1.0, false), (2.0, true)];
                for (vectors, (times, added)) in Vectors::ALL.into_iter().flat_map(|v| ways.map(|way| (v, way))) {
                    let (left, right) = (Panels::new(&left, k), Panels::new(&right, k));
                    vectors.dispatch(OuterProduct { c: &mut c, a: left, columns: before..before + m, b: right, added });
                    let expected: Vec<f32> = expected.iter().map(|e| times * e).collect();
                    assert!(close(&c, &expected), "{m} {n} {k} from {before}, {times} times, {vectors:?}");
                }
            }
        }
    }

    #[test]
    fn an_element_has_the_same_bits_whatever_the_number_of_rows() {
        let (k, n) = (1536, 48);
        let (a, b) = (in_panels(&numbers(300 * k, 3), k), right(&numbers(k * n, 4), n));
        let whole = |some: Range<usize>| {
            let mut c = vec![0.0; room(some.len(), n)];
            let (left, rows_of) = (Panels::new(&a, 300).some(some.clone()), some.len());
            product(Arch::new(), PanelsMut::new(&mut c, rows_of), left, rows(&b), Epilogue::default(), &[]);
            row_by_row(Panels::new(&c, rows_of), n)
        };
        let all = whole(0..300);
        for some in [100..201, 7..8, 0..299] {
            assert_eq!(whole(some.clone()), all[some.start * n..some.end * n]);
        }
    }

    #[test]
    fn a_product_writes_the_rows_that_it_is_given_and_no_others() {
        let (a, b) = (in_panels(&numbers(4 * 16, 1), 16), right(&numbers(16 * 32, 2), 32));
        let mut c = vec![7.0; room(6, 32)];
        product(Arch::new(), PanelsMut::new(&mut c, 6).some(1..5), Panels::new(&a, 4), rows(&b), Epilogue::default(), &[]);
        for (i, row) in row_by_row(Panels::new(&c, 6), 32).chunks(32).enumerate() {
            assert_eq!(row.iter().all(|&x| x == 7.0), i == 0 || i == 5, "{i}");
        }
    }

    #[test]
    #[should_panic(expected = "b.len()")]
    fn a_product_of_sizes_that_do_not_fit_panics() {
        let (mut c, a) = (vec![0.0; room(2, 16)], vec![0.0; room(2, 16)]);
        product(Arch::new(), PanelsMut::new(&mut c, 2), Panels::new(&a, 2), &[[0.0; WIDTH]; 3], Epilogue::default(), &[]);
    }

    #[test]
    fn products_of_sixteen_rows_are_their_definitions() {
        struct All<'a> {
            a: &'a [Row],
            b: &'a [Row],
            c: &'a mut [Row; WIDTH],
            columns: bool,
        }
        impl WithSimd for All<'_> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                if self.columns {
                    column_product(simd, self.c, &self.a[..48], &self.b[..48]);
                } else {
                    row_product(simd, self.c, &self.a[16..], 48, &self.b[..32]);
                }
            }
        }
        // A [48, 32]: rows 16 … 31 with the first 32 rows of B, then the columns of its first panel.
        let (a, b) = (numbers(48 * 32, 1), numbers(48 * WIDTH, 2));
        let (a, b) = (rows(&a), rows(&b));
        for vectors in Vectors::ALL {
            let mut c = [[1.0; WIDTH]; WIDTH];
            vectors.dispatch(All { a, b, c: &mut c, columns: false });
            for i in 0..WIDTH {
                for j in 0..WIDTH {
                    let expected: f32 = (0..32).map(|l| a[l / 16 * 48 + 16 + i][l % 16] * b[l][j]).sum();
                    assert!((c[i][j] - expected).abs() < 1e-4, "{i} {j} {vectors:?}");
                }
            }
            let before = c;
            vectors.dispatch(All { a, b, c: &mut c, columns: true });
            for i in 0..WIDTH {
                for j in 0..WIDTH {
                    let sum: f32 = (0..48).map(|l| a[l][i] * b[l][j]).sum();
                    assert!((c[i][j] - before[i][j] - sum).abs() < 1e-4, "{i} {j} {vectors:?}");
                }
            }
        }
    }
}
