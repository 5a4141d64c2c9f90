//! Matrices in panels of 16 columns: how every activation and every copy of a weight lies.
//!
//! A matrix [n, m] in panels is m / 16 pieces one after another, each with n rows of 16 values; m is padded with zeros to
//! whole panels. Products read both operands so from beginning to end and write their sums so, whatever the matrix's
//! sizes, and whether an operand is transposed or not: nothing is brought into another order on the way.

use std::ops::Range;

use pulp::Simd;

use super::square::{SIDE, transposed};

/// Columns of a panel: all vector widths divide it, and it is a cache line.
pub(super) const WIDTH: usize = 16;

/// A row of a panel.
pub(super) type Row = [f32; WIDTH];

/// Columns with those that fill the last panel.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(WIDTH)
}

/// How many rows of panels a matrix of so many rows takes: an odd number, so that the pieces of a row, which norms read
/// together, lie in different sets of the cache. A row that this adds holds any numbers; nothing reads it.
fn distance(rows: usize) -> usize {
    rows | 1
}

/// Values that a matrix of so many rows and columns takes.
pub(super) fn room(rows: usize, columns: usize) -> usize {
    distance(rows) * padded(columns)
}

/// An array in rows.
pub(super) fn rows(x: &[f32]) -> &[Row] {
    x.as_chunks::<WIDTH>().0
}

/// An array in rows, to be changed.
pub(super) fn rows_mut(x: &mut [f32]) -> &mut [Row] {
    x.as_chunks_mut::<WIDTH>().0
}

/// A row of a panel as vectors.
#[inline(always)]
pub(super) fn vectors<S: Simd>(row: &Row) -> &[S::f32s] {
    S::as_simd_f32s(row).0
}

/// A row of a panel as vectors, to be changed.
#[inline(always)]
pub(super) fn vectors_mut<S: Simd>(row: &mut Row) -> &mut [S::f32s] {
    S::as_mut_simd_f32s(row).0
}

/// Some neighbouring rows of a matrix in panels.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    /// From the first of these rows in the first panel on.
    data: &'a [Row],
    rows: usize,
    /// Rows of the whole matrix: how far apart a row's pieces are.
    distance: usize,
}

impl<'a> Panels<'a> {
    /// A whole matrix of so many rows.
    ///
    /// # Panics
    /// If these are not whole panels.
    #[inline(always)]
    pub(super) fn new(data: &'a [f32], rows: usize) -> Self {
        let (data, distance) = (self::rows(data), distance(rows));
        assert!(rows > 0 && data.len().is_multiple_of(distance));
        Self { data, rows, distance }
    }

    /// The rows in `range`.
    pub(super) fn some(self, range: Range<usize>) -> Self {
        assert!(!range.is_empty() && range.end <= self.rows);
        Self { data: &self.data[range.start..], rows: range.len(), ..self }
    }

    /// Number of rows.
    #[inline(always)]
    pub(super) fn rows(self) -> usize {
        self.rows
    }

    /// How many rows of panels further on a row's next piece is.
    #[inline(always)]
    pub(super) fn distance(self) -> usize {
        self.distance
    }

    /// Number of panels.
    #[inline(always)]
    pub(super) fn count(self) -> usize {
        self.data.len().div_ceil(self.distance)
    }

    /// All panels of a whole matrix, one after another.
    #[inline(always)]
    pub(super) fn all(self) -> &'a [Row] {
        assert!(self.data.len().is_multiple_of(self.distance));
        self.data
    }

    /// Everything from row i of panel p on.
    #[inline(always)]
    pub(super) fn starting_at(self, p: usize, i: usize) -> &'a [Row] {
        &self.data[p * self.distance + i..]
    }

    /// A panel.
    #[inline(always)]
    pub(super) fn panel(self, p: usize) -> &'a [Row] {
        &self.data[p * self.distance..][..self.rows]
    }

    /// `N` rows from i on of panel p.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    pub(super) fn some_of<const N: usize>(self, p: usize, i: usize) -> &'a [Row; N] {
        &self.starting_at(p, i).as_chunks().0[0]
    }

    /// A row's pieces.
    #[inline(always)]
    pub(super) fn row(self, i: usize) -> impl Iterator<Item = &'a Row> {
        self.data[i..].iter().step_by(self.distance)
    }

    /// Copies the columns of row i from `first` on.
    #[inline(always)]
    pub(super) fn copy(self, into: &mut [f32], i: usize, first: usize) {
        pieces(first..first + into.len(), |panel, place, here| {
            into[place].copy_from_slice(&self.starting_at(panel, i)[0][here]);
        });
    }
}

/// Some neighbouring rows of a matrix in panels, to be changed.
pub(super) struct PanelsMut<'a> {
    data: &'a mut [Row],
    rows: usize,
    distance: usize,
}

impl<'a> PanelsMut<'a> {
    /// A whole matrix of so many rows.
    ///
    /// # Panics
    /// If these are not whole panels.
    #[inline(always)]
    pub(super) fn new(data: &'a mut [f32], rows: usize) -> Self {
        let (data, distance) = (rows_mut(data), distance(rows));
        assert!(rows > 0 && data.len().is_multiple_of(distance));
        Self { data, rows, distance }
    }

    /// The rows in `range`.
    pub(super) fn some(self, range: Range<usize>) -> Self {
        assert!(!range.is_empty() && range.end <= self.rows);
        Self { data: &mut self.data[range.start..], rows: range.len(), distance: self.distance }
    }

    /// The same, for a while.
    #[inline(always)]
    pub(super) fn reborrow(&mut self) -> PanelsMut<'_> {
        PanelsMut { data: self.data, rows: self.rows, distance: self.distance }
    }

    /// To be read.
    #[inline(always)]
    pub(super) fn read(&self) -> Panels<'_> {
        Panels { data: self.data, rows: self.rows, distance: self.distance }
    }

    /// All panels of a whole matrix, one after another.
    #[inline(always)]
    pub(super) fn all(&mut self) -> &mut [Row] {
        assert!(self.data.len().is_multiple_of(self.distance));
        self.data
    }

    /// The panels of a whole matrix's first half of columns, and of the second.
    #[inline(always)]
    pub(super) fn halves(&mut self) -> [&mut [Row]; 2] {
        let middle = self.read().count() / 2 * self.distance;
        self.all().split_at_mut(middle).into()
    }

    /// Everything from row i of panel p on.
    #[inline(always)]
    pub(super) fn starting_at(&mut self, p: usize, i: usize) -> &mut [Row] {
        &mut self.data[p * self.distance + i..]
    }

    /// `N` rows from i on of panel p.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    pub(super) fn some_of<const N: usize>(&mut self, p: usize, i: usize) -> &mut [Row; N] {
        &mut self.starting_at(p, i).as_chunks_mut().0[0]
    }

    /// A row's pieces.
    #[inline(always)]
    pub(super) fn row(&mut self, i: usize) -> impl Iterator<Item = &mut Row> {
        self.data[i..].iter_mut().step_by(self.distance)
    }

    /// Writes the columns of row i from `first` on.
    #[inline(always)]
    pub(super) fn write(&mut self, from: &[f32], i: usize, first: usize) {
        pieces(first..first + from.len(), |panel, place, here| {
            self.starting_at(panel, i)[0][here].copy_from_slice(&from[place]);
        });
    }
}

/// Calls `each` with every panel that has some of these columns, where among them these are, and where in the panel.
#[inline(always)]
fn pieces(columns: Range<usize>, mut each: impl FnMut(usize, Range<usize>, Range<usize>)) {
    let mut column = columns.start;
    while column < columns.end {
        let (panel, first) = (column / WIDTH, column % WIDTH);
        let count = (WIDTH - first).min(columns.end - column);
        let place = column - columns.start;
        each(panel, place..place + count, first..first + count);
        column += count;
    }
}

/// Calls `each` with the index of every panel of so many columns and how many of them it has: almost always all, which the
/// compiler then knows.
#[inline(always)]
pub(super) fn each_panel(columns: usize, mut each: impl FnMut(usize, usize)) {
    for p in 0..columns / WIDTH {
        each(p, WIDTH);
    }
    if !columns.is_multiple_of(WIDTH) {
        each(columns / WIDTH, columns % WIDTH);
    }
}

/// Writes the transpose of a matrix [n, d] into `target` [d, n], in panels; both sizes are multiples of 16. `source` gives
/// everything from a row of a panel on.
#[inline(always)]
pub(super) fn transpose<'a>(target: &mut [Row], d: usize, source: impl Fn(usize, usize) -> &'a [Row]) {
    for (p, into) in target.chunks_exact_mut(d).enumerate() {
        for (q, into) in into.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            let Some(from) = source(q, WIDTH * p).first_chunk::<WIDTH>() else { return };
            for i in (0..WIDTH).step_by(SIDE) {
                for j in 0..WIDTH / SIDE {
                    let square = transposed(std::array::from_fn(|r| from[i + r].as_chunks().0[j]));
                    for (into, line) in into[j * SIDE..].iter_mut().zip(square) {
                        into[i..i + SIDE].copy_from_slice(&line);
                    }
                }
            }
        }
    }
}

/// What tests need to look at panels.
#[cfg(test)]
pub(super) mod testing {
    use pulp::{Arch, Scalar, Scalar128b, Scalar256b, Scalar512b, WithSimd};

    use super::{Panels, PanelsMut, room};

    /// What vectors there are to compute with: this processor's, or values as many as another's have, one by one.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) enum Vectors {
        Here,
        Of1,
        Of4,
        Of8,
        Of16,
    }

    impl Vectors {
        pub(in super::super) const ALL: [Self; 5] = [Self::Here, Self::Of1, Self::Of4, Self::Of8, Self::Of16];

        pub(in super::super) fn dispatch<F: WithSimd>(self, f: F) -> F::Output {
            match self {
                Self::Here => Arch::new().dispatch(f),
                Self::Of1 => f.with_simd(Scalar),
                Self::Of4 => f.with_simd(Scalar128b),
                Self::Of8 => f.with_simd(Scalar256b),
                Self::Of16 => f.with_simd(Scalar512b),
            }
        }
    }

    /// A matrix of n columns, row by row, in panels.
    pub(in super::super) fn in_panels(x: &[f32], n: usize) -> Vec<f32> {
        let m = x.len() / n;
        let mut into = vec![0.0; room(m, n)];
        let mut panels = PanelsMut::new(&mut into, m);
        x.chunks(n).enumerate().for_each(|(i, row)| panels.write(row, i, 0));
        into
    }

    /// And back.
    pub(in super::super) fn row_by_row(x: Panels<'_>, n: usize) -> Vec<f32> {
        let mut into = vec![0.0; x.rows() * n];
        into.chunks_mut(n).enumerate().for_each(|(i, row)| x.copy(row, i, 0));
        into
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| i as f32).collect()
    }

    #[test]
    fn some_rows_are_those_of_the_whole_matrix() {
        let (n, columns) = (5, 20);
        let mut x = numbers(room(n, columns));
        let all = Panels::new(&x, n);
        assert_eq!((all.rows(), all.count(), all.distance()), (5, 2, 5));
        let some = all.some(1..4);
        assert_eq!((some.rows(), some.count(), some.distance()), (3, 2, 5));
        assert_eq!(some.panel(1), &all.panel(1)[1..4]);
        assert_eq!(some.row(2).collect::<Vec<_>>(), all.row(3).collect::<Vec<_>>());
        let mut part = [0.0; 6];
        some.copy(&mut part, 2, 14);
        assert_eq!(part, [62.0, 63.0, 128.0, 129.0, 130.0, 131.0]);
        let mut some = PanelsMut::new(&mut x, n).some(1..4);
        some.write(&[-1.0, -2.0], 2, 15);
        assert_eq!([some.starting_at(0, 2)[0][15], some.starting_at(1, 2)[0][0]], [-1.0, -2.0]);
        assert_eq!(some.row(2).map(|row| row[15]).collect::<Vec<_>>(), [-1.0, 143.0]);
    }

    #[test]
    fn every_column_is_in_one_panel() {
        for columns in [1, 15, 16, 17, 48, 50] {
            let mut seen = Vec::new();
            each_panel(columns, |p, n| seen.extend(p * WIDTH..p * WIDTH + n));
            assert!(seen.into_iter().eq(0..columns), "{columns}");
        }
    }

    #[test]
    fn a_transpose_is_its_definition() {
        let (n, d) = (48, 32);
        let (a, mut b) = (numbers(n * d), vec![0.0; n * d]);
        transpose(rows_mut(&mut b), d, |q, i| &rows(&a)[q * n + i..]);
        let at = |x: &[f32], n: usize, i: usize, j: usize| rows(x)[j / WIDTH * n + i][j % WIDTH];
        assert!((0..n).all(|i| (0..d).all(|j| at(&b, d, j, i) == at(&a, n, i, j))));
    }
}
