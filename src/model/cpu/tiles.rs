//! The inner loops of all products: tiles whose sums stay in registers.
//!
//! A tile is some rows of one or two panels of the result. Every sum runs over k in its order, whatever the tile's size.

use pulp::{NullaryFnOnce, Simd};

use super::panels::{Row, WIDTH};

/// Steps along k that a tile makes at a time: little but multiplications is then left in the loop.
const UNROLLED: usize = 4;

/// Does [`UNROLLED`] steps. Not a loop, as [`each`] is none: of those that are too long for its taste the compiler leaves a
/// loop, and then the sums in memory.
#[inline(always)]
fn unrolled(mut step: impl FnMut(usize)) {
    step(0);
    step(1);
    step(2);
    step(3);
}

/// Does something with each of so many rows, at most 16.
#[inline(always)]
fn each<const ROWS: usize>(mut row: impl FnMut(usize)) {
    macro_rules! rows {
        ($($r:literal)*) => { $(if $r < ROWS { row($r); })* };
    }
    rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// Rows of the next tile where so many are left: as many as leave their sums in registers, with enough sums to hide what an
/// addition takes.
#[inline(always)]
pub(super) fn height<S: Simd>(left: usize) -> usize {
    match (S::F32_LANES, left) {
        (16, 12..) => 12,
        (16, 8..) => 8,
        (8, 7 | 8) => 4,
        (8, 6..) => 6,
        (4 | 8 | 16, 4..) => 4,
        (4 | 8 | 16, 2..) => 2,
        _ => 1,
    }
}

/// Panels of the result that a tile takes where so many are left: two where a vector is as wide as a panel.
#[inline(always)]
pub(super) fn panels<S: Simd>(left: usize) -> usize {
    if S::F32_LANES == WIDTH && left >= 2 { 2 } else { 1 }
}

/// A panel's rows as vectors.
#[inline(always)]
fn vectors<S: Simd, const VECTORS: usize>(rows: &[Row]) -> &[[S::f32s; VECTORS]] {
    S::as_simd_f32s(rows.as_flattened()).0.as_chunks::<VECTORS>().0
}

/// What is done to finished sums before they are written.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// A matrix that is added, from the tile's first row and panel on, and how far apart its panels are.
    pub(super) base: Option<(&'a [Row], usize)>,
    /// A row that is added, from the tile's first panel on.
    pub(super) bias: Option<&'a [Row]>,
    /// A matrix that they are multiplied by then, as `base` lies.
    pub(super) times: Option<(&'a [Row], usize)>,
}

/// C = A · B for some rows of `PANELS` panels of C.
pub(super) struct RowTile<'a, const PANELS: usize> {
    /// C from the first row and panel on.
    pub(super) c: &'a mut [Row],
    /// How far apart C's panels are.
    pub(super) apart: usize,
    /// A from the first row on, from the first panel that takes part on.
    pub(super) a: &'a [Row],
    /// How far apart A's panels are.
    pub(super) distance: usize,
    /// The rows of B's panels that take part: 16 for each panel of A.
    pub(super) b: [&'a [Row]; PANELS],
    /// Whether C holds the sums over what came before in k.
    pub(super) resumed: bool,
    /// What is done if this is the end of k.
    pub(super) last: Option<Finish<'a>>,
}

impl<const PANELS: usize> RowTile<'_, PANELS> {
    /// Runs the tile over so many rows, one of [`height`]'s.
    #[inline(always)]
    pub(super) fn run<S: Simd>(self, simd: S, rows: usize) {
        // Each a function of its own, so that the compiler finds registers for its sums.
        match (S::F32_LANES, rows) {
            (16, 16) if PANELS == 1 => simd.vectorize(RowsOf::<S, 16, PANELS, 1>(simd, self)),
            (16, 12) => simd.vectorize(RowsOf::<S, 12, PANELS, 1>(simd, self)),
            (16, 8) => simd.vectorize(RowsOf::<S, 8, PANELS, 1>(simd, self)),
            (16, 4) => simd.vectorize(RowsOf::<S, 4, PANELS, 1>(simd, self)),
            (16, 2) => simd.vectorize(RowsOf::<S, 2, PANELS, 1>(simd, self)),
            (16, _) => simd.vectorize(RowsOf::<S, 1, PANELS, 1>(simd, self)),
            (8, 6) => simd.vectorize(RowsOf::<S, 6, PANELS, 2>(simd, self)),
            (8, 5) => simd.vectorize(RowsOf::<S, 5, PANELS, 2>(simd, self)),
            (8, 4) => simd.vectorize(RowsOf::<S, 4, PANELS, 2>(simd, self)),
            (8, 2) => simd.vectorize(RowsOf::<S, 2, PANELS, 2>(simd, self)),
            (8, _) => simd.vectorize(RowsOf::<S, 1, PANELS, 2>(simd, self)),
            (4, 4) => simd.vectorize(RowsOf::<S, 4, PANELS, 4>(simd, self)),
            (4, 2) => simd.vectorize(RowsOf::<S, 2, PANELS, 4>(simd, self)),
            (4, _) => simd.vectorize(RowsOf::<S, 1, PANELS, 4>(simd, self)),
            _ => simd.vectorize(RowsOf::<S, 1, PANELS, WIDTH>(simd, self)),
        }
    }
}

struct RowsOf<'a, S, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(S, RowTile<'a, PANELS>);

impl<S: Simd, const ROWS: usize, const PANELS: usize, const VECTORS: usize> NullaryFnOnce
    for RowsOf<'_, S, ROWS, PANELS, VECTORS>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(simd, RowTile { c, apart, a, distance, b, resumed, last }) = self;
        let b = b.map(|b| vectors::<S, VECTORS>(b).as_chunks::<WIDTH>().0);
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; PANELS]; ROWS];
        if resumed {
            for p in 0..PANELS {
                let c = vectors::<S, VECTORS>(&c[p * apart..][..ROWS]);
                each::<ROWS>(|r| sums[r][p] = c[r]);
            }
        }
        for (q, a) in a.chunks(distance).take(b[0].len()).enumerate() {
            let Some(a) = a.first_chunk::<ROWS>() else { break };
            let b: [_; PANELS] = std::array::from_fn(|p| &b[p][q]);
            unrolled(
                #[inline(always)]
                |s| {
                    unrolled(
                        #[inline(always)]
                        |l| {
                            let l = UNROLLED * s + l;
                            each::<ROWS>(
                                #[inline(always)]
                                |r| {
                                    let a = simd.splat_f32s(a[r][l]);
                                    for p in 0..PANELS {
                                        for v in 0..VECTORS {
                                            sums[r][p][v] = simd.mul_add_e_f32s(a, b[p][l][v], sums[r][p][v]);
                                        }
                                    }
                                },
                            );
                        },
                    );
                },
            );
        }
        if let Some(Finish { base, bias, times }) = last {
            // One after another, and not by one choice for each sum: the compiler would leave that choice in the code twelve times.
            if let Some(bias) = bias {
                let bias = vectors::<S, VECTORS>(&bias[..PANELS]);
                each_sum(
                    &mut sums,
                    #[inline(always)]
                    |_, p, v, sum| simd.add_f32s(bias[p][v], sum),
                );
            }
            if let Some((base, apart)) = base {
                let base: [_; PANELS] = std::array::from_fn(|p| vectors::<S, VECTORS>(&base[p * apart..][..ROWS]));
                each_sum(
                    &mut sums,
                    #[inline(always)]
                    |r, p, v, sum| simd.add_f32s(base[p][r][v], sum),
                );
            }
            if let Some((times, apart)) = times {
                let times: [_; PANELS] = std::array::from_fn(|p| vectors::<S, VECTORS>(&times[p * apart..][..ROWS]));
                each_sum(
                    &mut sums,
                    #[inline(always)]
                    |r, p, v, sum| simd.mul_f32s(sum, times[p][r][v]),
                );
            }
        }
        for p in 0..PANELS {
            let c = &mut c[p * apart..][..ROWS];
            let c = S::as_mut_simd_f32s(c.as_flattened_mut()).0.as_chunks_mut::<VECTORS>().0;
            each::<ROWS>(|r| c[r] = sums[r][p]);
        }
    }
}

/// Makes each sum another, given its row, panel and vector.
#[inline(always)]
fn each_sum<V: Copy, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(
    sums: &mut [[[V; VECTORS]; PANELS]; ROWS],
    other: impl Fn(usize, usize, usize, V) -> V,
) {
    each::<ROWS>(
        #[inline(always)]
        |r| {
            for (p, sums) in sums[r].iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = other(r, p, v, *sum);
                }
            }
        },
    );
}

/// C = Aᵀ · B for some columns of A, which are rows of C, and `PANELS` panels of B. C lies row by row.
pub(super) struct ColumnTile<'a, const PANELS: usize> {
    /// C from the first row and column on.
    pub(super) c: &'a mut [f32],
    /// How far apart C's rows are.
    pub(super) stride: usize,
    /// Columns of C that there are: not all of a panel where it is padded.
    pub(super) columns: usize,
    /// The panel of A that the first column is in, and the next.
    pub(super) a: [&'a [Row]; 2],
    /// The first column's place in its panel.
    pub(super) first: usize,
    /// As many rows of B's panels.
    pub(super) b: [&'a [Row]; PANELS],
    /// Whether it is added to what is there.
    pub(super) added: bool,
}

impl<const PANELS: usize> ColumnTile<'_, PANELS> {
    /// Columns of the next tile where so many are left, from `first` of a panel on. A tile takes from two panels as its
    /// even parts only: what begins at an odd column ends with the panel.
    #[inline(always)]
    pub(super) fn height<S: Simd>(first: usize, left: usize) -> usize {
        let (rows, here) = (height::<S>(left), WIDTH - first);
        match (S::F32_LANES, rows) {
            _ if here >= rows => rows,
            (16, 12 | 8) if here.is_multiple_of(4) => rows,
            (8, 6) if here.is_multiple_of(2) => rows,
            _ if here >= 4 && S::F32_LANES > 1 => 4,
            _ if here >= 2 && S::F32_LANES > 1 => 2,
            _ => 1,
        }
    }

    /// Runs the tile over so many columns of A: one of [`ColumnTile::height`]'s.
    #[inline(always)]
    pub(super) fn run<S: Simd>(self, simd: S, rows: usize) {
        match (S::F32_LANES, rows, rows.min(WIDTH - self.first)) {
            (16, 16, _) if PANELS == 1 => simd.vectorize(ColumnsOf::<S, 16, 16, PANELS, 1>(simd, self)),
            (16, 12, 12) => simd.vectorize(ColumnsOf::<S, 12, 12, PANELS, 1>(simd, self)),
            (16, 12, 8) => simd.vectorize(ColumnsOf::<S, 12, 8, PANELS, 1>(simd, self)),
            (16, 12, _) => simd.vectorize(ColumnsOf::<S, 12, 4, PANELS, 1>(simd, self)),
            (16, 8, 8) => simd.vectorize(ColumnsOf::<S, 8, 8, PANELS, 1>(simd, self)),
            (16, 8, _) => simd.vectorize(ColumnsOf::<S, 8, 4, PANELS, 1>(simd, self)),
            (16, 4, _) => simd.vectorize(ColumnsOf::<S, 4, 4, PANELS, 1>(simd, self)),
            (16, 2, _) => simd.vectorize(ColumnsOf::<S, 2, 2, PANELS, 1>(simd, self)),
            (16, ..) => simd.vectorize(ColumnsOf::<S, 1, 1, PANELS, 1>(simd, self)),
            (8, 6, 6) => simd.vectorize(ColumnsOf::<S, 6, 6, PANELS, 2>(simd, self)),
            (8, 6, 4) => simd.vectorize(ColumnsOf::<S, 6, 4, PANELS, 2>(simd, self)),
            (8, 6, _) => simd.vectorize(ColumnsOf::<S, 6, 2, PANELS, 2>(simd, self)),
            (8, 5, _) => simd.vectorize(ColumnsOf::<S, 5, 5, PANELS, 2>(simd, self)),
            (8, 4, _) => simd.vectorize(ColumnsOf::<S, 4, 4, PANELS, 2>(simd, self)),
            (8, 2, _) => simd.vectorize(ColumnsOf::<S, 2, 2, PANELS, 2>(simd, self)),
            (8, ..) => simd.vectorize(ColumnsOf::<S, 1, 1, PANELS, 2>(simd, self)),
            (4, 4, _) => simd.vectorize(ColumnsOf::<S, 4, 4, PANELS, 4>(simd, self)),
            (4, 2, _) => simd.vectorize(ColumnsOf::<S, 2, 2, PANELS, 4>(simd, self)),
            (4, ..) => simd.vectorize(ColumnsOf::<S, 1, 1, PANELS, 4>(simd, self)),
            _ => simd.vectorize(ColumnsOf::<S, 1, 1, PANELS, WIDTH>(simd, self)),
        }
    }
}

/// `HERE` of the `ROWS` columns of A are in the first of both panels.
struct ColumnsOf<'a, S, const ROWS: usize, const HERE: usize, const PANELS: usize, const VECTORS: usize>(
    S,
    ColumnTile<'a, PANELS>,
);

impl<S: Simd, const ROWS: usize, const HERE: usize, const PANELS: usize, const VECTORS: usize> NullaryFnOnce
    for ColumnsOf<'_, S, ROWS, HERE, PANELS, VECTORS>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(simd, ColumnTile { c, stride, columns, a, first, b, added }) = self;
        let step = column_step::<S, ROWS, HERE, PANELS, VECTORS>;
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; PANELS]; ROWS];
        let (left, right) = (&a[0].as_flattened()[first..], a[1].as_flattened());
        let b = b.map(|b| vectors::<S, VECTORS>(b));
        let many = b.map(|b| b.as_chunks::<UNROLLED>().0);
        let done = UNROLLED * many[0].len();
        let a = left.chunks(UNROLLED * WIDTH).zip(right.chunks(UNROLLED * WIDTH)).take(many[0].len());
        for (q, (left, right)) in a.enumerate() {
            let left = &left[..(UNROLLED - 1) * WIDTH + HERE];
            let right = &right[..UNROLLED * WIDTH];
            let b: [_; PANELS] = std::array::from_fn(|p| &many[p][q]);
            unrolled(
                #[inline(always)]
                |l| step(simd, &mut sums, &left[l * WIDTH..], &right[l * WIDTH..], b.map(|b| &b[l])),
            );
        }
        for l in done..b[0].len() {
            step(simd, &mut sums, &left[l * WIDTH..], &right[l * WIDTH..], b.map(|b| &b[l]));
        }
        each::<ROWS>(
            #[inline(always)]
            |r| {
                let c = &mut c[r * stride..][..columns];
                if columns == PANELS * WIDTH {
                    let c = S::as_mut_simd_f32s(c).0.as_chunks_mut::<VECTORS>().0;
                    for p in 0..PANELS {
                        for v in 0..VECTORS {
                            c[p][v] = if added { simd.add_f32s(c[p][v], sums[r][p][v]) } else { sums[r][p][v] };
                        }
                    }
                } else {
                    for (p, sums) in sums[r].iter().enumerate() {
                        for (v, &sum) in sums.iter().enumerate() {
                            let place = p * WIDTH + v * S::F32_LANES;
                            let c = &mut c[place.min(columns)..(place + S::F32_LANES).min(columns)];
                            let before = if added { simd.partial_load_f32s(c) } else { simd.splat_f32s(0.0) };
                            simd.partial_store_f32s(c, simd.add_f32s(before, sum));
                        }
                    }
                }
            },
        );
    }
}

/// One step along k: the columns' values in one row of A, those in the first panel and those in the next, times a row of B's
/// panels.
#[inline(always)]
fn column_step<S: Simd, const ROWS: usize, const HERE: usize, const PANELS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[[S::f32s; VECTORS]; PANELS]; ROWS],
    left: &[f32],
    right: &[f32],
    b: [&[S::f32s; VECTORS]; PANELS],
) {
    each::<ROWS>(
        #[inline(always)]
        |r| {
            let a = simd.splat_f32s(if r < HERE { left[r] } else { right[r - HERE] });
            for p in 0..PANELS {
                for v in 0..VECTORS {
                    sums[r][p][v] = simd.mul_add_e_f32s(a, b[p][v], sums[r][p][v]);
                }
            }
        },
    );
}
