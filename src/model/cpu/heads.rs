//! A head's columns: read where they lie in a matrix, or on their way between it and panels of their own, turned by their
//! position where the family does that.

use super::panels::{Panels, PanelsMut, Row, WIDTH};
use super::rotary::{pair, turn, turn_back};

/// Some columns of a matrix that belong to a head, and the cosines and sines of each row's position.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    /// The first.
    pub(super) first: usize,
    /// Their number (D).
    pub(super) count: usize,
    /// [T, D], if they are turned.
    pub(super) angles: Option<&'a [f32]>,
}

/// A head's values in panels, wherever they lie.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// From the first row of the first panel on.
    rows: &'a [Row],
    /// How far apart its panels are.
    distance: usize,
}

impl<'a> Head<'a> {
    /// How far apart its panels are.
    #[inline(always)]
    pub(super) fn distance(self) -> usize {
        self.distance
    }

    /// Everything from row i of panel c on.
    #[inline(always)]
    pub(super) fn starting_at(self, c: usize, i: usize) -> &'a [Row] {
        &self.rows[c * self.distance + i..]
    }
}

impl<'a> Columns<'a> {
    /// Whether they are whole panels, as they are for all usual sizes.
    fn whole(self) -> bool {
        self.first.is_multiple_of(WIDTH) && self.count.is_multiple_of(WIDTH)
    }

    /// The panels of half of them, where these are whole as well.
    fn half(self) -> Option<usize> {
        (self.first.is_multiple_of(WIDTH) && self.count.is_multiple_of(2 * WIDTH)).then_some(self.count / (2 * WIDTH))
    }

    /// Whether products can read them where they lie: not turned, in whole panels, and `t` rows, so that none is missing.
    fn in_place(self, from: Panels<'_>, t: usize) -> bool {
        self.angles.is_none() && self.whole() && from.rows() == t
    }

    /// Where these columns can be read after [`Columns::bring`].
    #[inline(always)]
    pub(super) fn brought<'b>(self, into: &'b [Row], t: usize, from: Panels<'b>) -> Head<'b> {
        if self.in_place(from, t) {
            Head { rows: from.starting_at(self.first / WIDTH, 0), distance: from.distance() }
        } else {
            Head { rows: into, distance: t }
        }
    }

    /// Brings these columns of all rows into panels of `t` rows if they cannot be read where they lie. `line` has room for 2 D.
    #[inline(always)]
    pub(super) fn bring(self, into: &mut [Row], t: usize, from: Panels<'_>, line: &mut [f32]) {
        if !self.in_place(from, t) {
            self.load(into, t, from, line);
        }
    }

    /// Panel q's part of the cosines and sines of position i.
    #[inline(always)]
    fn turn(self, angles: &'a [f32], i: usize, q: usize) -> [&'a Row; 2] {
        let row = &angles[i * self.count..][..self.count];
        let (cos, sin) = row.split_at(self.count / 2);
        const NONE: &Row = &[0.0; WIDTH];
        [cos, sin].map(|part| part[q * WIDTH..].first_chunk().unwrap_or(NONE))
    }

    fn line(self, i: usize) -> Option<&'a [f32]> {
        self.angles.map(|table| &table[i * self.count..][..self.count])
    }

    /// Brings these columns of all rows into panels of `t` rows. `line` has room for 2 D.
    #[inline(always)]
    fn load(self, into: &mut [Row], t: usize, from: Panels<'_>, line: &mut [f32]) {
        let Self { first, count, angles } = self;
        let p = first / WIDTH;
        match (angles, self.half()) {
            (None, _) if self.whole() => {
                for (q, into) in into.chunks_exact_mut(t).enumerate() {
                    into[..from.rows()].copy_from_slice(from.panel(p + q));
                }
            }
            (Some(angles), Some(half)) => {
                let (left, right) = into.split_at_mut(half * t);
                for q in 0..half {
                    for i in 0..from.rows() {
                        let [cos, sin] = self.turn(angles, i, q);
                        let (a, b) = (&from.starting_at(p + q, i)[0], &from.starting_at(p + half + q, i)[0]);
                        let (left, right) = (&mut left[q * t + i], &mut right[q * t + i]);
                        for e in 0..WIDTH {
                            [left[e], right[e]] = pair(a[e], b[e], cos[e], sin[e], 1.0);
                        }
                    }
                }
            }
            _ => {
                let (line, turned) = line[..2 * count].split_at_mut(count);
                for i in 0..from.rows() {
                    from.copy(line, i, first);
                    turn(turned, line, self.line(i));
                    for (into, turned) in into[i..].iter_mut().step_by(t).zip(turned.chunks(WIDTH)) {
                        into[..turned.len()].copy_from_slice(turned);
                    }
                }
            }
        }
    }

    /// Writes these columns from row `start` on, from panels `distance` rows apart, as many rows as there are: each times its
    /// `scale` and turned back from its position. `line` has room for 2 D.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a part of a matrix, where it comes from and what happens on the way")]
    pub(super) fn unload(
        self,
        mut into: PanelsMut<'_>,
        start: usize,
        from: &[Row],
        distance: usize,
        count_rows: usize,
        scale: impl Fn(usize) -> f32,
        line: &mut [f32],
    ) {
        let Self { first, count, angles } = self;
        let p = first / WIDTH;
        match (angles, self.half()) {
            (None, _) if self.whole() => {
                for (q, from) in from.chunks(distance).take(count / WIDTH).enumerate() {
                    let into = &mut into.starting_at(p + q, start)[..count_rows];
                    for (r, (into, from)) in into.iter_mut().zip(from).enumerate() {
                        let scale = scale(start + r);
                        *into = from.map(|x| x * scale);
                    }
                }
            }
            (Some(angles), Some(half)) => {
                for q in 0..half {
                    for r in 0..count_rows {
                        let (i, scale) = (start + r, scale(start + r));
                        let [cos, sin] = self.turn(angles, i, q);
                        let (a, b) = (&from[q * distance + r], &from[(q + half) * distance + r]);
                        let mut turned = [[0.0; WIDTH]; 2];
                        for e in 0..WIDTH {
                            [turned[0][e], turned[1][e]] = pair(a[e], b[e], cos[e], -sin[e], scale);
                        }
                        into.starting_at(p + q, i)[0] = turned[0];
                        into.starting_at(p + half + q, i)[0] = turned[1];
                    }
                }
            }
            _ => {
                let (line, turned) = line[..2 * count].split_at_mut(count);
                for r in 0..count_rows {
                    for (line, from) in line.chunks_mut(WIDTH).zip(from[r..].iter().step_by(distance)) {
                        line.copy_from_slice(&from[..line.len()]);
                    }
                    turn_back(turned, line, scale(start + r), self.line(start + r));
                    into.write(turned, start + r, first);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::testing::{in_panels, row_by_row};
    use super::super::panels::{padded, rows, rows_mut};
    use super::super::rotary;
    use super::*;

    #[test]
    fn what_is_loaded_is_the_columns_turned_and_unloading_turns_them_back() {
        let (length, wide) = (5, 100);
        let x: Vec<f32> = (0..length * wide).map(|i| (i % 37) as f32 - 18.0).collect();
        let matrix = in_panels(&x, wide);
        // Whole panels, halves of whole panels, and neither.
        for [first, count] in [[16, 16], [32, 32], [32, 64], [16, 10], [7, 32], [90, 4]] {
            let table = rotary::table(length, count, 10_000.0);
            for angles in [None, Some(&table[..])] {
                let columns = Columns { first, count, angles };
                let t = length.next_multiple_of(WIDTH);
                let (mut into, mut line) = (vec![0.0; t * padded(count)], vec![0.0; 2 * count]);
                columns.load(rows_mut(&mut into), t, Panels::new(&matrix, length), &mut line);
                for i in 0..length {
                    let mut expected = vec![0.0; count];
                    turn(&mut expected, &x[i * wide + first..][..count], columns.line(i));
                    expected.resize(padded(count), 0.0);
                    let loaded: Vec<f32> = rows(&into)[i..].iter().step_by(t).flatten().copied().collect();
                    assert_eq!(loaded, expected, "{first} {count} {i}");
                }
                // All but the first row go back, each with a factor of its own.
                let mut back = in_panels(&vec![7.0; length * wide], wide);
                let from = &rows(&into)[1..];
                columns.unload(PanelsMut::new(&mut back, length), 1, from, t, length - 1, |i| i as f32, &mut line);
                for (i, row) in row_by_row(Panels::new(&back, length), wide).chunks(wide).enumerate() {
                    for (j, &got) in row.iter().enumerate() {
                        let here = i > 0 && (first..first + count).contains(&j);
                        let expected = if here { i as f32 * x[i * wide + j] } else { 7.0 };
                        assert!((got - expected).abs() < 1e-5, "{first} {count} {i} {j}: {got} and {expected}");
                    }
                }
            }
        }
    }
}
