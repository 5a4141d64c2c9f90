//! A block of query rows and their scores: products with keys and values as far as each row reaches, and the softmax.
//!
//! Scores [count, t] lie in panels of as many rows. Everything goes panel by panel, down the rows that reach it: they lie one
//! after another, and only the first sixteen of them end within it.

use std::ops::Range;

use pulp::Simd;

use super::heads::Head;
use super::matrix::{column_product, row_product};
use super::panels::{Row, WIDTH, padded, vectors, vectors_mut};
use super::prefetch::prefetch;
use super::vector::{exp, largest, total};

/// Query rows in a block, at most.
pub(super) const BLOCK: usize = 64;

/// Some query rows of a head.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The first of the rows.
    pub(super) start: usize,
    /// Their number, padded to whole panels.
    pub(super) count: usize,
    /// How many of them there are.
    pub(super) rows: usize,
    /// Tokens and the head's width, padded.
    t: usize,
    d: usize,
}

impl Block {
    /// The rows from `start` on, of so many tokens, in heads of a padded width.
    #[inline(always)]
    pub(super) fn new(start: usize, length: usize, d: usize) -> Self {
        let t = padded(length);
        Self { start, count: BLOCK.min(t - start), rows: BLOCK.min(length - start), t, d }
    }

    /// Panels of the keys that the block reaches.
    #[inline(always)]
    fn panels(self) -> Range<usize> {
        0..(self.start + self.count) / WIDTH
    }

    /// The rows that reach panel p of the keys.
    #[inline(always)]
    fn reaching(self, p: usize) -> Range<usize> {
        (WIDTH * p).saturating_sub(self.start)..self.count
    }

    /// Of the rows that there are: those that end within panel p, each one column after the one before, and those that reach
    /// beyond it.
    #[inline(always)]
    fn ending_and_beyond(self, p: usize) -> [Range<usize>; 2] {
        let first = self.reaching(p).start.min(self.rows);
        let middle = if WIDTH * p < self.start { first } else { self.rows.min(first + WIDTH) };
        [first..middle, middle..self.rows]
    }

    /// Row r of the block, panel by panel, to the end of its causal part's last panel.
    #[inline(always)]
    pub(super) fn row(self, scores: &mut [Row], r: usize) -> impl Iterator<Item = &mut Row> {
        scores[r..=(self.start + r) / WIDTH * self.count + r].iter_mut().step_by(self.count)
    }

    /// `scores` [count, t] = the block's rows of `a` [t, d] · `b` [d, t], as far as each reaches.
    #[inline(always)]
    pub(super) fn scores<S: Simd>(self, simd: S, scores: &mut [Row], a: Head<'_>, b: &[Row]) {
        for (p, b) in b.chunks_exact(self.d).take(self.panels().end).enumerate() {
            let (reaching, scores) = (self.reaching(p), &mut scores[p * self.count..][..self.count]);
            for (c, i) in scores[reaching.clone()].as_chunks_mut::<WIDTH>().0.iter_mut().zip(reaching.step_by(WIDTH)) {
                row_product(simd, c, a.starting_at(0, self.start + i), a.distance(), b);
            }
        }
    }

    /// `out` [count, d] = `weights` [count, t] · `values` [t, d], as far as each row reaches.
    #[inline(always)]
    pub(super) fn weighted<S: Simd>(self, simd: S, out: &mut [Row], weights: &[Row], values: Head<'_>) {
        for (c, out) in out.chunks_exact_mut(self.count).take(self.d / WIDTH).enumerate() {
            let values = values.starting_at(c, 0);
            for (i, out) in out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
                let reach = self.start + (i + 1) * WIDTH;
                row_product(simd, out, &weights[i * WIDTH..], self.count, &values[..reach]);
            }
        }
    }

    /// `out` [t, d] += `weights`ᵀ [t, count] · the block's rows of `values` [t, d], over the query rows that reach each key.
    #[inline(always)]
    pub(super) fn weighted_columns<S: Simd>(self, simd: S, out: &mut [Row], weights: &[Row], values: Head<'_>) {
        for (c, out) in out.chunks_exact_mut(self.t).enumerate() {
            let values = values.starting_at(c, self.start);
            let out = out.as_chunks_mut::<WIDTH>().0.iter_mut().take(self.panels().end);
            for (p, (out, weights)) in out.zip(weights.chunks_exact(self.count)).enumerate() {
                let reaching = self.reaching(p);
                column_product(simd, out, &weights[reaching.clone()], &values[reaching]);
            }
        }
    }

    /// Replaces scores by e^(score · scale − peak), 0 behind the causal mask and in rows that there are not; `sums` gets the peak
    /// of each row and 1 / the sum of its exponentials.
    #[inline(always)]
    pub(super) fn softmax<S: Simd>(self, simd: S, scores: &mut [Row], scale: f32, sums: &mut [[f32; 2]]) {
        let mut lanes = [[f32::NEG_INFINITY; WIDTH]; BLOCK];
        for p in self.panels() {
            let (panel, [ending, beyond]) = (&scores[p * self.count..][..self.count], self.ending_and_beyond(p));
            for (last, r) in ending.enumerate() {
                raise(simd, &mut lanes[r], &below(simd, panel[r], last));
            }
            for r in beyond {
                raise(simd, &mut lanes[r], &panel[r]);
            }
        }
        for ([peak, _], lanes) in sums.iter_mut().zip(&mut lanes) {
            *peak = largest(*lanes) * scale;
            *lanes = [0.0; WIDTH];
        }
        for p in self.panels() {
            let (panel, [ending, beyond]) = (&mut scores[p * self.count..][..self.count], self.ending_and_beyond(p));
            for (last, r) in ending.enumerate() {
                panel[r] = exponentials(panel[r], scale, sums[r][0]);
                cut(simd, &mut panel[r], last);
                add(&mut lanes[r], &panel[r]);
            }
            for r in beyond {
                panel[r] = exponentials(panel[r], scale, sums[r][0]);
                add(&mut lanes[r], &panel[r]);
            }
            panel[self.reaching(p).start.max(self.rows)..].fill([0.0; WIDTH]);
        }
        for ([_, over], lanes) in sums.iter_mut().zip(lanes) {
            *over = 1.0 / total(lanes);
        }
    }

    /// Scores become the softmax's weights, and `slopes`, the gradient of these, that of the scores times √D: each less the row's
    /// value of `along`, times its weight. Where the exponentials are `kept`, scores are not read.
    ///
    /// Behind `kept` lies what is kept of the next head: it is asked for meanwhile.
    #[inline(always)]
    pub(super) fn softmax_backward<S: Simd>(
        self,
        simd: S,
        [scores, slopes]: [&mut [Row]; 2],
        kept: Option<&[Row]>,
        scale: f32,
        sums: &[[f32; 2]],
        along: &[f32],
    ) {
        for p in self.panels() {
            let place = p * self.count..(p + 1) * self.count;
            let (weights, slopes) = (&mut scores[place.clone()], &mut slopes[place.clone()]);
            let [ending, beyond] = self.ending_and_beyond(p);
            let rows = ending.start..beyond.end;
            match kept {
                Some(kept) => {
                    let next = kept.get(self.t / WIDTH * self.count..).unwrap_or_default();
                    let (kept, next) = (&kept[place.clone()], next.get(place).unwrap_or_default());
                    for r in rows {
                        prefetch(next.get(r..=r).unwrap_or_default());
                        slope(simd, &kept[r], &mut weights[r], &mut slopes[r], sums[r][1], along[r]);
                    }
                }
                None => {
                    for r in rows {
                        let powers = exponentials(weights[r], scale, sums[r][0]);
                        slope(simd, &powers, &mut weights[r], &mut slopes[r], sums[r][1], along[r]);
                    }
                }
            }
        }
        self.clear(simd, scores);
        self.clear(simd, slopes);
    }

    /// Writes 0 behind the causal mask and into rows that there are not.
    #[inline(always)]
    pub(super) fn clear<S: Simd>(self, simd: S, scores: &mut [Row]) {
        for p in self.panels() {
            let (panel, [ending, _]) = (&mut scores[p * self.count..][..self.count], self.ending_and_beyond(p));
            for (last, r) in ending.enumerate() {
                cut(simd, &mut panel[r], last);
            }
            panel[self.reaching(p).start.max(self.rows)..].fill([0.0; WIDTH]);
        }
    }
}

/// Each of `peaks` becomes the larger of the two. By hand, as what is below: the compiler makes of such choices an instruction
/// that writes some of a vector, which processors without AVX-512 take long for.
#[inline(always)]
fn raise<S: Simd>(simd: S, peaks: &mut Row, row: &Row) {
    for (peak, &x) in vectors_mut::<S>(peaks).iter_mut().zip(vectors::<S>(row)) {
        *peak = simd.max_f32s(x, *peak);
    }
}

#[inline(always)]
fn add(sums: &mut Row, row: &Row) {
    for e in 0..WIDTH {
        sums[e] += row[e];
    }
}

#[inline(always)]
fn exponentials(mut row: Row, scale: f32, peak: f32) -> Row {
    for x in &mut row {
        *x = exp(x.mul_add(scale, -peak));
    }
    row
}

/// A piece of a row of exponentials gives the weights, each times `over`, and `ds`, their gradient, becomes that of the scores.
/// By hand, for the compiler takes numbers one by one where it does not know that rows are apart.
#[inline(always)]
fn slope<S: Simd>(simd: S, powers: &Row, weights: &mut Row, ds: &mut Row, over: f32, along: f32) {
    let [over, along] = [over, along].map(|x| simd.splat_f32s(x));
    let ds = vectors_mut::<S>(ds);
    for ((weight, ds), &power) in vectors_mut::<S>(weights).iter_mut().zip(ds).zip(vectors::<S>(powers)) {
        *weight = simd.mul_f32s(power, over);
        *ds = simd.mul_f32s(*weight, simd.sub_f32s(*ds, along));
    }
}

/// A piece of a row of scores, far below everything behind column `last`. By hand, for the compiler makes sixteen jumps of it.
#[inline(always)]
fn below<S: Simd>(simd: S, mut row: Row, last: usize) -> Row {
    const COLUMNS: Row = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
    let [last, least] = [last as f32, f32::MIN].map(|x| simd.splat_f32s(x));
    for (x, &column) in vectors_mut::<S>(&mut row).iter_mut().zip(vectors::<S>(&COLUMNS)) {
        *x = simd.select_f32s(simd.less_than_f32s(last, column), least, *x);
    }
    row
}

/// Makes a piece of a row of scores 0 behind column `last`.
#[inline(always)]
fn cut<S: Simd>(simd: S, row: &mut Row, last: usize) {
    const KEPT: [Row; WIDTH] = {
        let mut kept = [[0.0; WIDTH]; WIDTH];
        let mut place = 0;
        while place < WIDTH * WIDTH {
            let (last, column) = (place / WIDTH, place % WIDTH);
            kept[last][column] = f32::from_bits(if column <= last { u32::MAX } else { 0 });
            place += 1;
        }
        kept
    };
    for (x, &kept) in vectors_mut::<S>(row).iter_mut().zip(vectors::<S>(&KEPT[last])) {
        *x = simd.and_f32s(*x, kept);
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::super::panels::testing::Vectors;
    use super::*;

    #[test]
    fn every_row_ends_in_one_panel_and_reaches_beyond_those_before() {
        for (start, length) in [(0, 1), (0, 17), (0, 64), (64, 70), (64, 200), (128, 200)] {
            let block = Block::new(start, length, WIDTH);
            assert_eq!(block.rows, BLOCK.min(length - start));
            for r in 0..block.rows {
                let i = start + r;
                for p in block.panels() {
                    let [ending, beyond] = block.ending_and_beyond(p);
                    assert_eq!(ending.contains(&r), i / WIDTH == p, "{i} {p}");
                    assert_eq!(beyond.contains(&r), i / WIDTH > p, "{i} {p}");
                    assert!(!ending.contains(&r) || r - ending.start == i % WIDTH);
                }
            }
        }
    }

    /// The softmax of all rows and its gradient, forward's exponentials kept or computed again.
    struct There<'a> {
        block: Block,
        scores: &'a mut [Row],
        slopes: &'a mut [Row],
        again: bool,
    }

    impl WithSimd for There<'_> {
        type Output = Vec<[f32; 2]>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Self { block, scores, slopes, again } = self;
            let (before, mut sums) = (scores.to_vec(), vec![[0.0; 2]; block.rows]);
            block.softmax(simd, scores, 0.5, &mut sums);
            let kept = scores.to_vec();
            if again {
                scores.copy_from_slice(&before);
            }
            let along = vec![0.25; block.rows];
            block.softmax_backward(simd, [scores, slopes], (!again).then_some(&kept[..]), 0.5, &sums, &along);
            sums
        }
    }

    #[test]
    fn the_softmax_and_its_gradient_are_their_definitions_and_nothing_lies_behind_the_mask() {
        for (vectors, length) in Vectors::ALL.into_iter().flat_map(|v| [1, 16, 23, 64].map(|length| (v, length))) {
            let block = Block::new(0, length, WIDTH);
            let panels = block.panels().end;
            let score = |i: usize, j: usize| ((i * 7 + j * 5) % 13) as f32 - 6.0;
            // What is behind the mask must not be looked at.
            let at = |i: usize, j: usize| if j <= i { score(i, j) } else { f32::INFINITY };
            let row = |e: usize, value: &dyn Fn(usize, usize) -> f32| -> Row {
                std::array::from_fn(|c| value(e % block.count, e / block.count * WIDTH + c))
            };
            let [scores, slopes]: [Vec<Row>; 2] = [
                (0..panels * block.count).map(|e| row(e, &at)).collect(),
                (0..panels * block.count)
                    .map(|e| row(e, &|i, j| if j <= i { 1.0 / (1 + i + j) as f32 } else { f32::NAN }))
                    .collect(),
            ];
            let mut results = [false, true].map(|again| {
                let (mut scores, mut slopes) = (scores.clone(), slopes.clone());
                let sums = vectors.dispatch(There { block, scores: &mut scores, slopes: &mut slopes, again });
                (scores, slopes, sums)
            });
            let (weights, slopes, sums) = &mut results[0];
            for i in 0..block.count {
                let there = i < length;
                let whole: f64 = (0..=i).map(|j| f64::from(0.5 * score(i, j)).exp()).sum();
                assert_eq!(sums.len(), length);
                if let Some(&[got, over]) = sums.get(i) {
                    let peak = (0..=i).map(|j| 0.5 * score(i, j)).fold(f32::MIN, f32::max);
                    assert_eq!(got, peak);
                    assert!((f64::from(over) * whole / f64::from(peak).exp() - 1.0).abs() < 1e-6);
                }
                for p in block.panels().filter(|&p| block.reaching(p).contains(&i)) {
                    for c in 0..WIDTH {
                        let (j, e) = (p * WIDTH + c, p * block.count + i);
                        let weight = if there && j <= i { f64::from(0.5 * score(i, j)).exp() / whole } else { 0.0 };
                        assert!((f64::from(weights[e][c]) - weight).abs() < 1e-6, "{vectors:?} {length}: {i} {j}");
                        let slope = weight * (1.0 / (1 + i + j) as f64 - 0.25);
                        assert!((f64::from(slopes[e][c]) - slope).abs() < 1e-6, "{vectors:?} {length}: slope {i} {j}");
                    }
                }
            }
            let reached = |x: &[Row]| -> Vec<Row> {
                block.panels().flat_map(|p| x[p * block.count..][block.reaching(p)].to_vec()).collect()
            };
            let [first, second] = &results;
            assert_eq!(reached(&first.0), reached(&second.0));
            assert_eq!(reached(&first.1), reached(&second.1));
        }
    }
}
