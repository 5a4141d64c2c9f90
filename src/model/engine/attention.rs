//! Causal attention of one sequence, forward and backward, a head at a time in blocks of query rows.
//!
//! No T × T matrix exists: a block of [`BLOCK`] rows of scores lives in a thread's scratch, and of it only the causal part
//! is computed, to the end of a panel. Forward keeps two numbers of each row's softmax, from which backward computes it again.
//! Queries, keys and values of a head are brought into panels (turned by their position where the family does that), their
//! sizes padded with zeros to whole panels, so that the products have no remainders.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::buffer::Buffer;
use super::panels::{Row, WIDTH, column_product, row_product, rows, rows_mut, transpose};
use super::rotary::{turn, turn_back};
use super::vector::{dot, exp, largest, sum};
use crate::model::dropout::{Place, Rows};

/// Query rows in a block.
const BLOCK: usize = 64;

/// Sizes of attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Tokens of the sequence (T).
    pub(super) length: usize,
    /// Query heads (H).
    pub(super) heads: usize,
    /// Key and value heads.
    pub(super) kv_heads: usize,
    /// Width of a head (D).
    pub(super) head: usize,
}

impl Shape {
    /// Width of a row of queries, keys and values.
    pub(super) fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head
    }

    /// First columns of a key head and of its values.
    fn key(&self, kv: usize) -> [usize; 2] {
        [(self.heads + kv) * self.head, (self.heads + self.kv_heads + kv) * self.head]
    }

    /// Tokens and the head's width, padded to whole panels.
    fn padded(&self) -> [usize; 2] {
        [self.length.next_multiple_of(WIDTH), self.head.next_multiple_of(WIDTH)]
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.head as f64).sqrt()) as f32
    }
}

/// What attention depends on beside the values.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// Sizes.
    pub(super) shape: Shape,
    /// Cosines and sines of each position (llama).
    pub(super) angles: Option<&'a [f32]>,
    /// Where the weights' dropout mask is, and its rate.
    pub(super) dropout: Option<(Place, f64)>,
}

impl<'a> Setting<'a> {
    fn angles(&self, t: usize) -> Option<&'a [f32]> {
        self.angles.map(|table| &table[t * self.shape.head..][..self.shape.head])
    }

    fn mask(&self, head: usize) -> Option<Rows> {
        self.dropout.map(|(place, rate)| Rows::new(place, Some(head), rate))
    }
}

/// A thread's buffers for one head, all in panels but the last three.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    sizes: [usize; 2],
    q: Buffer,
    k: Buffer,
    v: Buffer,
    kt: Buffer,
    vt: Buffer,
    /// A block of the output, or all of its gradient.
    o: Buffer,
    dq: Buffer,
    dk: Buffer,
    dv: Buffer,
    scores: Buffer,
    slopes: Buffer,
    mask: Buffer,
    /// One value of each row.
    along: Buffer,
    /// One row of a head.
    line: Buffer,
}

impl Scratch {
    fn prepare(&mut self, shape: Shape) {
        if self.sizes == [shape.length, shape.head] {
            return; // what is padded is still zero
        }
        self.sizes = [shape.length, shape.head];
        let [t, d] = shape.padded();
        for buffer in [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.dk, &mut self.dv, &mut self.kt, &mut self.vt]
        {
            *buffer = Buffer::zeros(t * d);
        }
        let block = BLOCK.min(t);
        self.dq.set_len(block * d);
        self.scores.set_len(block * t);
        self.slopes.set_len(block * t);
        self.mask.set_len(t);
        self.along.set_len(t);
        self.line = Buffer::zeros(d);
    }
}

/// Attention forward: rows of [q | k | v] to rows of heads, and the peak of each row of scores and 1 / the sum of its
/// exponentials, [H, T].
pub(super) fn forward(
    arch: Arch,
    setting: Setting<'_>,
    qkv: &[f32],
    out: &mut [f32],
    sums: &mut [[f32; 2]],
    scratch: &mut Scratch,
) {
    scratch.prepare(setting.shape);
    arch.dispatch(Forward { setting, qkv, out, sums, scratch });
}

/// Attention backward: each row of [q | k | v] becomes its gradient, given the output, its gradient and the sums of forward.
pub(super) fn backward(
    arch: Arch,
    setting: Setting<'_>,
    qkv: &mut [f32],
    out: &[f32],
    dout: &[f32],
    sums: &[[f32; 2]],
    scratch: &mut Scratch,
) {
    scratch.prepare(setting.shape);
    arch.dispatch(Backward { setting, qkv, out, dout, sums, scratch });
}

struct Forward<'a> {
    setting: Setting<'a>,
    qkv: &'a [f32],
    out: &'a mut [f32],
    sums: &'a mut [[f32; 2]],
    scratch: &'a mut Scratch,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { setting, qkv, out, sums, scratch } = self;
        let shape = setting.shape;
        let [t, d] = shape.padded();
        let width = shape.heads * shape.head;
        let group = shape.heads / shape.kv_heads;
        for kv in 0..shape.kv_heads {
            let [key, value] = shape.key(kv);
            load(&mut scratch.k, qkv, shape.row(), key, 1.0, &mut scratch.line, shape, setting.angles);
            load(&mut scratch.v, qkv, shape.row(), value, 1.0, &mut scratch.line, shape, None);
            transpose(rows_mut(&mut scratch.kt), rows(&scratch.k), t, d);
            for head in kv * group..(kv + 1) * group {
                let (mut mask, first) = (setting.mask(head), head * shape.head);
                load(&mut scratch.q, qkv, shape.row(), first, shape.scale(), &mut scratch.line, shape, setting.angles);
                for start in (0..t).step_by(BLOCK) {
                    let block = Block { start, count: BLOCK.min(t - start), t, d };
                    let scores = rows_mut(&mut scratch.scores);
                    block.scores(simd, scores, rows(&scratch.q), rows(&scratch.kt));
                    for r in 0..block.count {
                        let i = start + r;
                        if i >= shape.length {
                            block.row(scores, r).for_each(|row| *row = [0.0; WIDTH]);
                            continue;
                        }
                        let [peak, over] = softmax(scores, block, r);
                        scratch.along[i] = over;
                        sums[head * shape.length + i] = [peak, over];
                        if let Some(mask) = &mut mask {
                            mask.fill(&mut scratch.mask[..=i]);
                            for (row, mask) in block.row(scores, r).zip(scratch.mask[..=i].chunks(WIDTH)) {
                                row.iter_mut().zip(mask).for_each(|(p, m)| *p *= m);
                            }
                        }
                    }
                    let o = rows_mut(&mut scratch.o);
                    block.weighted(simd, o, scores, rows(&scratch.v));
                    for (r, i) in (start..shape.length.min(start + block.count)).enumerate() {
                        let (out, over) = (&mut out[i * width + first..][..shape.head], scratch.along[i]);
                        for (out, o) in out.chunks_mut(WIDTH).zip(o[r..].iter().step_by(block.count)) {
                            out.iter_mut().zip(o).for_each(|(y, o)| *y = o * over);
                        }
                    }
                }
            }
        }
    }
}

struct Backward<'a> {
    setting: Setting<'a>,
    qkv: &'a mut [f32],
    out: &'a [f32],
    dout: &'a [f32],
    sums: &'a [[f32; 2]],
    scratch: &'a mut Scratch,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { setting, qkv, out, dout, sums, scratch } = self;
        let shape = setting.shape;
        let [t, d] = shape.padded();
        let (width, row) = (shape.heads * shape.head, shape.row());
        let group = shape.heads / shape.kv_heads;
        for kv in 0..shape.kv_heads {
            let [key, value] = shape.key(kv);
            load(&mut scratch.k, qkv, row, key, 1.0, &mut scratch.line, shape, setting.angles);
            load(&mut scratch.v, qkv, row, value, 1.0, &mut scratch.line, shape, None);
            transpose(rows_mut(&mut scratch.kt), rows(&scratch.k), t, d);
            transpose(rows_mut(&mut scratch.vt), rows(&scratch.v), t, d);
            scratch.dk.fill(0.0);
            scratch.dv.fill(0.0);
            for head in kv * group..(kv + 1) * group {
                let (mut mask, first) = (setting.mask(head), head * shape.head);
                load(&mut scratch.q, qkv, row, first, shape.scale(), &mut scratch.line, shape, setting.angles);
                load(&mut scratch.o, dout, width, first, 1.0, &mut scratch.line, shape, None);
                for (i, along) in scratch.along[..shape.length].iter_mut().enumerate() {
                    let place = i * width + first..i * width + first + shape.head;
                    *along = dot(&dout[place.clone()], &out[place]);
                }
                for start in (0..t).step_by(BLOCK) {
                    let block = Block { start, count: BLOCK.min(t - start), t, d };
                    let (p, ds) = (rows_mut(&mut scratch.scores), rows_mut(&mut scratch.slopes));
                    block.scores(simd, p, rows(&scratch.q), rows(&scratch.kt));
                    block.scores(simd, ds, rows(&scratch.o), rows(&scratch.vt));
                    for r in 0..block.count {
                        let i = start + r;
                        if i >= shape.length {
                            block.row(p, r).chain(block.row(ds, r)).for_each(|row| *row = [0.0; WIDTH]);
                            continue;
                        }
                        let ([peak, over], along) = (sums[head * shape.length + i], scratch.along[i]);
                        let both = block.row(p, r).zip(block.row(ds, r));
                        if let Some(mask) = &mut mask {
                            mask.fill(&mut scratch.mask[..=i]);
                            for ((p, ds), mask) in both.zip(scratch.mask[..=i].chunks(WIDTH)) {
                                for ((p, ds), m) in p.iter_mut().zip(ds).zip(mask) {
                                    let weight = exp(*p - peak) * over;
                                    *ds = weight * ds.mul_add(*m, -along);
                                    *p = weight * m;
                                }
                            }
                        } else {
                            for (p, ds) in both {
                                for e in 0..WIDTH {
                                    p[e] = exp(p[e] - peak) * over;
                                    ds[e] = p[e] * (ds[e] - along);
                                }
                            }
                        }
                        behind(&mut p[block.last(r)], i, 0.0);
                        behind(&mut ds[block.last(r)], i, 0.0);
                    }
                    block.weighted_columns(simd, rows_mut(&mut scratch.dv), p, rows(&scratch.o));
                    block.weighted_columns(simd, rows_mut(&mut scratch.dk), ds, rows(&scratch.q));
                    let dq = rows_mut(&mut scratch.dq);
                    block.weighted(simd, dq, ds, rows(&scratch.k));
                    for (r, i) in (start..shape.length.min(start + block.count)).enumerate() {
                        let into = &mut qkv[i * row + first..][..shape.head];
                        unload(into, &dq[r..], block.count, shape.scale(), &mut scratch.line, setting.angles(i));
                    }
                }
            }
            for (i, into) in qkv.chunks_exact_mut(row).enumerate() {
                let (dk, dv) = (&rows(&scratch.dk)[i..], &rows(&scratch.dv)[i..]);
                unload(&mut into[key..][..shape.head], dk, t, 1.0, &mut scratch.line, setting.angles(i));
                unload(&mut into[value..][..shape.head], dv, t, 1.0, &mut scratch.line, None);
            }
        }
    }
}

/// Brings the columns of a head, from `first` on, of rows `row` apart into panels, times `scale` and turned by their position.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a part of a matrix, where it goes and what happens on the way")]
fn load(
    into: &mut [f32],
    from: &[f32],
    row: usize,
    first: usize,
    scale: f32,
    line: &mut [f32],
    shape: Shape,
    angles: Option<&[f32]>,
) {
    let t = shape.length.next_multiple_of(WIDTH);
    for (i, source) in from.chunks_exact(row).enumerate() {
        let source = &source[first..][..shape.head];
        let source = match angles {
            Some(angles) => {
                turn(&mut line[..shape.head], source, scale, Some(&angles[i * shape.head..][..shape.head]));
                &line[..shape.head]
            }
            None => source,
        };
        let scale = if angles.is_some() { 1.0 } else { scale };
        for (into, source) in rows_mut(into)[i..].iter_mut().step_by(t).zip(source.chunks(WIDTH)) {
            match source.first_chunk::<WIDTH>() {
                Some(source) => *into = source.map(|x| x * scale),
                None => into.iter_mut().zip(source).for_each(|(y, x)| *y = x * scale),
            }
        }
    }
}

/// Writes a row of panels that are `distance` rows apart, times `scale` and turned back from its position.
#[inline(always)]
fn unload(into: &mut [f32], from: &[Row], distance: usize, scale: f32, line: &mut [f32], angles: Option<&[f32]>) {
    if angles.is_some() {
        line.chunks_exact_mut(WIDTH).zip(from.iter().step_by(distance)).for_each(|(line, from)| line.copy_from_slice(from));
        turn_back(into, &line[..into.len()], scale, angles);
        return;
    }
    for (into, from) in into.chunks_mut(WIDTH).zip(from.iter().step_by(distance)) {
        match into.first_chunk_mut::<WIDTH>() {
            Some(into) => *into = from.map(|x| x * scale),
            None => into.iter_mut().zip(from).for_each(|(y, x)| *y = x * scale),
        }
    }
}

/// Replaces row r's scores by e^(score − peak), 0 behind the causal mask; gives the peak and 1 / their sum.
#[inline(always)]
fn softmax(scores: &mut [Row], block: Block, r: usize) -> [f32; 2] {
    let i = block.start + r;
    // Whole rows of panels: what lies behind the causal mask is far below everything, then nothing.
    behind(&mut scores[block.last(r)], i, f32::MIN);
    let mut peaks = [f32::NEG_INFINITY; WIDTH];
    for row in block.row(scores, r) {
        for e in 0..WIDTH {
            peaks[e] = if row[e] > peaks[e] { row[e] } else { peaks[e] };
        }
    }
    let peak = largest(&peaks);
    let mut all = [0.0; WIDTH];
    for row in block.row(scores, r) {
        for e in 0..WIDTH {
            row[e] = exp(row[e] - peak);
            all[e] += row[e];
        }
    }
    behind(&mut scores[block.last(r)], i, 0.0);
    [peak, 1.0 / sum(&all, |x| x)]
}

/// Writes `value` behind column i of the row of a panel that it lies in.
#[inline(always)]
fn behind(row: &mut Row, i: usize, value: f32) {
    for (j, x) in row.iter_mut().enumerate() {
        *x = if j > i % WIDTH { value } else { *x };
    }
}

/// A block of query rows: its first row, their number, and the padded length and head width; all multiples of 16.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    count: usize,
    t: usize,
    d: usize,
}

impl Block {
    /// Row r of the block, panel by panel, to the end of its causal part's last panel.
    #[inline(always)]
    fn row(self, scores: &mut [Row], r: usize) -> impl Iterator<Item = &mut Row> {
        scores[r..=self.last(r)].iter_mut().step_by(self.count)
    }

    /// Where the last of its panels' rows is.
    #[inline(always)]
    fn last(self, r: usize) -> usize {
        (self.start + r) / WIDTH * self.count + r
    }

    /// The rows that reach panel p of the keys.
    #[inline(always)]
    fn reaching(self, p: usize) -> Range<usize> {
        (WIDTH * p).saturating_sub(self.start)..self.count
    }

    /// `scores` [count, t] = the block's rows of `a` [t, d] · `b` [d, t], as far as each reaches.
    #[inline(always)]
    fn scores<S: Simd>(self, simd: S, scores: &mut [Row], a: &[Row], b: &[Row]) {
        let a = &a[self.start..];
        for (p, b) in b.chunks_exact(self.d).take((self.start + self.count) / WIDTH).enumerate() {
            let (reaching, scores) = (self.reaching(p), &mut scores[p * self.count..][..self.count]);
            for (c, i) in scores[reaching.clone()].as_chunks_mut::<WIDTH>().0.iter_mut().zip(reaching.step_by(WIDTH)) {
                row_product(simd, c, &a[i..], self.t, b);
            }
        }
    }

    /// `out` [count, d] = `weights` [count, t] · `values` [t, d], as far as each row reaches.
    #[inline(always)]
    fn weighted<S: Simd>(self, simd: S, out: &mut [Row], weights: &[Row], values: &[Row]) {
        for (out, values) in out.chunks_exact_mut(self.count).zip(values.chunks_exact(self.t)) {
            for (i, out) in out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
                let reach = self.start + (i + 1) * WIDTH;
                row_product(simd, out, &weights[i * WIDTH..], self.count, &values[..reach]);
            }
        }
    }

    /// `out` [t, d] += `weights`ᵀ [t, count] · the block's rows of `values` [t, d], over the query rows that reach each key.
    #[inline(always)]
    fn weighted_columns<S: Simd>(self, simd: S, out: &mut [Row], weights: &[Row], values: &[Row]) {
        for (out, values) in out.chunks_exact_mut(self.t).zip(values.chunks_exact(self.t)) {
            let out = out.as_chunks_mut::<WIDTH>().0.iter_mut().take((self.start + self.count) / WIDTH);
            for (p, (out, weights)) in out.zip(weights.chunks_exact(self.count)).enumerate() {
                let reaching = self.reaching(p);
                column_product(simd, out, &weights[reaching.clone()], &values[self.start..][reaching]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 31) as f32 / 15.0 - 1.0).collect()
    }

    /// Σ dy · attention in 64 bits, as the definition has it.
    fn exact(shape: Shape, qkv: &[f64], dy: &[f64]) -> f64 {
        let Shape { length, heads, kv_heads, head: d } = shape;
        let mut sum = 0.0;
        for h in 0..heads {
            let [key, value] = shape.key(h * kv_heads / heads);
            for i in 0..length {
                let at = |j: usize, first: usize| &qkv[j * shape.row() + first..][..d];
                let score = |j: usize| at(i, h * d).iter().zip(at(j, key)).map(|(q, k)| q * k).sum::<f64>() / (d as f64).sqrt();
                let weights: Vec<f64> = (0..=i).map(|j| score(j).exp()).collect();
                let whole: f64 = weights.iter().sum();
                for (j, weight) in weights.iter().enumerate() {
                    let dy = &dy[(i * heads + h) * d..][..d];
                    sum += weight / whole * at(j, value).iter().zip(dy).map(|(v, dy)| v * dy).sum::<f64>();
                }
            }
        }
        sum
    }

    #[test]
    fn attention_and_its_gradient_are_the_definition_at_any_size() {
        // Sizes below, at and above a vector, a tile and a block of rows; grouped heads.
        for [length, heads, kv_heads, head] in [[1, 1, 1, 2], [5, 2, 1, 3], [17, 2, 2, 16], [70, 4, 2, 20], [130, 1, 1, 40]] {
            let shape = Shape { length, heads, kv_heads, head };
            let setting = Setting { shape, angles: None, dropout: None };
            let (qkv, dy) = (numbers(length * shape.row(), 1), numbers(length * heads * head, 2));
            let (mut out, mut sums, mut scratch) = (vec![0.0; dy.len()], vec![[0.0; 2]; heads * length], Scratch::default());
            forward(Arch::new(), setting, &qkv, &mut out, &mut sums, &mut scratch);
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (mut values, slopes) = (wide(&qkv), wide(&dy));
            let got: f64 = wide(&out).iter().zip(&slopes).map(|(y, d)| y * d).sum();
            assert!((got - exact(shape, &values, &slopes)).abs() < 1e-4, "{shape:?}: {got}");

            let mut gradient = qkv.clone();
            backward(Arch::new(), setting, &mut gradient, &out, &dy, &sums, &mut scratch);
            for i in (0..values.len()).step_by(values.len() / 60 + 1) {
                let mut moved = |h: f64| {
                    let value = values[i];
                    values[i] = value + h;
                    let sum = exact(shape, &values, &slopes);
                    values[i] = value;
                    sum
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((f64::from(gradient[i]) - expected).abs() < 3e-5, "{shape:?} {i}: {} and {expected}", gradient[i]);
            }
        }
    }
}
