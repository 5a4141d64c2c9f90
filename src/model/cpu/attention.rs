//! Causal attention of one sequence, forward and backward, a head at a time in blocks of query rows.
//!
//! No T × T matrix exists: a block of [`BLOCK`] rows of scores lives in a thread's scratch, and of it only the causal part
//! is computed, to the end of a panel. Forward keeps two numbers of each row's softmax, from which backward computes it again;
//! of sequences of one block it keeps the exponentials as well, which are the same to the bit.
//! Queries, keys and values of a head are read where they lie; what is turned by its position, or is not whole panels, is
//! brought into panels of its own first (see `heads`), rows and columns padded with zeros, so that products have no remainders.
//! Scores are products of queries and keys as they are: 1 / √D comes in where their exponential is taken.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::Buffer;
use super::heads::{Columns, Head};
use super::panels::{Panels, PanelsMut, Row, WIDTH, padded, rows, rows_mut, transpose};
use super::scores::{BLOCK, Block};
use super::vector::{exp, total};
use crate::model::dropout::{MaskKey, Rows};

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
    /// First columns of a key head and of its values.
    fn key(&self, kv: usize) -> [usize; 2] {
        [(self.heads + kv) * self.head, (self.heads + self.kv_heads + kv) * self.head]
    }

    /// Tokens and the head's width, padded to whole panels.
    fn padded(&self) -> [usize; 2] {
        [padded(self.length), padded(self.head)]
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.head as f64).sqrt()) as f32
    }

    /// Values of a head's exponentials that forward keeps for backward: those of sequences of one block, which are few. Longer
    /// ones are computed again, so that what is kept grows with T and not with T².
    pub(super) fn kept(&self) -> usize {
        let t = padded(self.length);
        if t <= BLOCK { t * t } else { 0 }
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
    pub(super) dropout: Option<(MaskKey, f64)>,
}

impl<'a> Setting<'a> {
    /// A head's columns from `first` on, turned by their position.
    fn turned(&self, first: usize) -> Columns<'a> {
        Columns { first, count: self.shape.head, angles: self.angles }
    }

    /// A head's columns from `first` on, as they are.
    fn plain(&self, first: usize) -> Columns<'a> {
        Columns { angles: None, ..self.turned(first) }
    }

    fn mask(&self, head: usize) -> Option<Rows> {
        self.dropout.map(|(place, rate)| Rows::new(place, Some(head), rate))
    }
}

/// A thread's buffers for one head, all in panels but the last three. What can be read where it lies does not use its own.
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
    /// The output, for backward.
    y: Buffer,
    dq: Buffer,
    dk: Buffer,
    dv: Buffer,
    scores: Buffer,
    slopes: Buffer,
    mask: Buffer,
    /// One value of each row.
    along: Buffer,
    /// Two rows of a head.
    line: Buffer,
}

impl Scratch {
    fn prepare(&mut self, shape: Shape) {
        if self.sizes == [shape.length, shape.head] {
            return; // what is padded is still zero
        }
        self.sizes = [shape.length, shape.head];
        let [t, d] = shape.padded();
        let Self { q, k, v, o, y, dk, dv, kt, vt, .. } = self;
        for buffer in [q, k, v, o, y, dk, dv, kt, vt] {
            *buffer = Buffer::zeros(t * d);
        }
        let block = BLOCK.min(t);
        self.dq.set_len(block * d);
        self.scores.set_len(block * t);
        self.slopes.set_len(block * t);
        self.mask.set_len(t);
        self.along.set_len(t);
        self.line.set_len(2 * d);
    }
}

/// Attention forward: [q | k | v] of a sequence to its heads, and the peak of each row of scores / √D and 1 / the sum of their
/// exponentials, [H, T]. `kept` gets the exponentials of each head ([`Shape::kept`]), or is empty.
pub(super) fn forward(
    arch: Arch,
    setting: Setting<'_>,
    qkv: Panels<'_>,
    out: PanelsMut<'_>,
    sums: &mut [[f32; 2]],
    kept: &mut [f32],
    scratch: &mut Scratch,
) {
    scratch.prepare(setting.shape);
    arch.dispatch(Forward { setting, qkv, out, sums, kept, scratch });
}

/// Attention backward: [q | k | v] becomes its gradient, given the output, its gradient and the sums of forward.
#[expect(clippy::too_many_arguments, reason = "what forward gave, its gradient and where that goes")]
pub(super) fn backward(
    arch: Arch,
    setting: Setting<'_>,
    qkv: PanelsMut<'_>,
    out: Panels<'_>,
    dout: Panels<'_>,
    sums: &[[f32; 2]],
    kept: &[f32],
    scratch: &mut Scratch,
) {
    scratch.prepare(setting.shape);
    arch.dispatch(Backward { setting, qkv, out, dout, sums, kept, scratch });
}

struct Forward<'a> {
    setting: Setting<'a>,
    qkv: Panels<'a>,
    out: PanelsMut<'a>,
    sums: &'a mut [[f32; 2]],
    kept: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { setting, qkv, mut out, sums, kept, scratch } = self;
        let Scratch { q, k, v, kt, o, scores, mask: factors, along, line, .. } = scratch;
        let shape = setting.shape;
        let [t, d] = shape.padded();
        let group = shape.heads / shape.kv_heads;
        let (scratch, scale) = (rows_mut(scores), shape.scale());
        let mut kept = rows_mut(kept).chunks_exact_mut((shape.kept() / WIDTH).max(1));
        for kv in 0..shape.kv_heads {
            let [key, value] = shape.key(kv);
            let (keys, values) = (setting.turned(key), setting.plain(value));
            keys.bring(rows_mut(k), t, qkv, line);
            values.bring(rows_mut(v), t, qkv, line);
            let [keys, values] = [keys.brought(rows(k), t, qkv), values.brought(rows(v), t, qkv)];
            transpose(rows_mut(kt), d, |c, i| keys.starting_at(c, i));
            for head in kv * group..(kv + 1) * group {
                let (mut mask, first) = (setting.mask(head), head * shape.head);
                let queries = setting.turned(first);
                queries.bring(rows_mut(q), t, qkv, line);
                let queries = queries.brought(rows(q), t, qkv);
                let scores = kept.next().unwrap_or(&mut *scratch);
                for start in (0..t).step_by(BLOCK) {
                    let block = Block::new(start, shape.length, d);
                    block.scores(simd, scores, queries, rows(kt));
                    let sums = &mut sums[head * shape.length..][start..start + block.rows];
                    block.softmax(simd, scores, scale, sums);
                    for (r, &[_, over]) in sums.iter().enumerate() {
                        let i = start + r;
                        along[i] = over;
                        if let Some(mask) = &mut mask {
                            mask.fill(&mut factors[..=i]);
                            for (row, mask) in block.row(scores, r).zip(factors[..=i].chunks(WIDTH)) {
                                row.iter_mut().zip(mask).for_each(|(p, m)| *p *= m);
                            }
                        }
                    }
                    block.weighted(simd, rows_mut(o), scores, values);
                    setting.plain(first).unload(out.reborrow(), start, rows(o), block.count, block.rows, |i| along[i], line);
                }
            }
        }
    }
}

struct Backward<'a> {
    setting: Setting<'a>,
    qkv: PanelsMut<'a>,
    out: Panels<'a>,
    dout: Panels<'a>,
    sums: &'a [[f32; 2]],
    kept: &'a [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { setting, mut qkv, out, dout, sums, kept, scratch } = self;
        let Scratch { q, k, v, kt, vt, o, y, dq, dk, dv, scores: p, slopes: ds, mask: factors, along, line, .. } = scratch;
        let shape = setting.shape;
        let [t, d] = shape.padded();
        let group = shape.heads / shape.kv_heads;
        let (p, ds, scale) = (rows_mut(p), rows_mut(ds), shape.scale());
        let (kept, of_head) = (rows(kept), shape.kept() / WIDTH);
        let keeps = !kept.is_empty();
        for kv in 0..shape.kv_heads {
            let [key, value] = shape.key(kv);
            let (keys, values) = (setting.turned(key), setting.plain(value));
            keys.bring(rows_mut(k), t, qkv.read(), line);
            values.bring(rows_mut(v), t, qkv.read(), line);
            let read = qkv.read();
            let [of_keys, of_values] = [keys.brought(rows(k), t, read), values.brought(rows(v), t, read)];
            transpose(rows_mut(vt), d, |c, i| of_values.starting_at(c, i));
            if !keeps {
                transpose(rows_mut(kt), d, |c, i| of_keys.starting_at(c, i));
            }
            dk.fill(0.0);
            dv.fill(0.0);
            for head in kv * group..(kv + 1) * group {
                let (mut mask, first) = (setting.mask(head), head * shape.head);
                let (queries, columns) = (setting.turned(first), setting.plain(first));
                queries.bring(rows_mut(q), t, qkv.read(), line);
                columns.bring(rows_mut(o), t, dout, line);
                columns.bring(rows_mut(y), t, out, line);
                let [o, y] = [columns.brought(rows(o), t, dout), columns.brought(rows(y), t, out)];
                products(&mut along[..shape.length], o, y, d / WIDTH);
                let kept = keeps.then(|| &kept[head * of_head..]);
                for start in (0..t).step_by(BLOCK) {
                    let block = Block::new(start, shape.length, d);
                    let sums = &sums[head * shape.length..][start..start + block.rows];
                    if kept.is_none() {
                        block.scores(simd, p, queries.brought(rows(q), t, qkv.read()), rows(kt));
                    }
                    block.scores(simd, ds, o, rows(vt));
                    match &mut mask {
                        None => block.softmax_backward(simd, [&mut *p, &mut *ds], kept, scale, sums, &along[start..]),
                        Some(mask) => {
                            dropped_backward(block, [&mut *p, &mut *ds], mask, factors, scale, sums, &along[start..]);
                            block.clear(simd, p);
                            block.clear(simd, ds);
                        }
                    }
                    block.weighted_columns(simd, rows_mut(dv), p, o);
                    block.weighted_columns(simd, rows_mut(dk), ds, queries.brought(rows(q), t, qkv.read()));
                    block.weighted(simd, rows_mut(dq), ds, keys.brought(rows(k), t, qkv.read()));
                    queries.unload(qkv.reborrow(), start, rows(dq), block.count, block.rows, |_| scale, line);
                }
            }
            keys.unload(qkv.reborrow(), 0, rows(dk), t, shape.length, |_| scale, line);
            values.unload(qkv.reborrow(), 0, rows(dv), t, shape.length, |_| 1.0, line);
        }
    }
}

/// As [`Block::softmax_backward`], where dropout multiplied the weights by a mask, which is drawn again into `factors`.
#[inline(always)]
fn dropped_backward(
    block: Block,
    [p, ds]: [&mut [Row]; 2],
    mask: &mut Rows,
    factors: &mut [f32],
    scale: f32,
    sums: &[[f32; 2]],
    along: &[f32],
) {
    for (r, (&[peak, over], &along)) in sums.iter().zip(along).enumerate() {
        let factors = &mut factors[..=block.start + r];
        mask.fill(factors);
        for ((p, ds), mask) in block.row(p, r).zip(block.row(ds, r)).zip(factors.chunks(WIDTH)) {
            for ((p, ds), m) in p.iter_mut().zip(ds).zip(mask) {
                let weight = exp(p.mul_add(scale, -peak)) * over;
                *ds = weight * ds.mul_add(*m, -along);
                *p = weight * m;
            }
        }
    }
}

/// Σ of the products of each row of `a` with that of `b`, both of so many panels.
#[inline(always)]
fn products(into: &mut [f32], a: Head<'_>, b: Head<'_>, panels: usize) {
    for (i, into) in into.iter_mut().enumerate() {
        let mut lanes = [0.0f32; WIDTH];
        for c in 0..panels {
            let [a, b] = [a, b].map(|x| &x.starting_at(c, i)[0]);
            for e in 0..WIDTH {
                lanes[e] = a[e].mul_add(b[e], lanes[e]);
            }
        }
        *into = total(lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::testing::{Vectors, in_panels, row_by_row};
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 31) as f32 / 15.0 - 1.0).collect()
    }

    /// Σ dy · attention in 64 bits, as the definition has it.
    fn exact(shape: Shape, qkv: &[f64], dy: &[f64]) -> f64 {
        let Shape { length, heads, kv_heads, head: d } = shape;
        let row = (heads + 2 * kv_heads) * d;
        let mut sum = 0.0;
        for h in 0..heads {
            let [key, value] = shape.key(h * kv_heads / heads);
            for i in 0..length {
                let at = |j: usize, first: usize| &qkv[j * row + first..][..d];
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
        // Sizes below, at and above a vector, a tile and a block of rows; grouped heads; rows of a longer matrix. In the last
        // two, heads are read where they lie.
        let sizes = [[1, 1, 1, 2], [5, 2, 1, 3], [17, 2, 2, 16], [70, 4, 2, 20], [130, 1, 1, 48], [32, 4, 2, 16], [80, 1, 1, 32]];
        for (vectors, [length, heads, kv_heads, head]) in Vectors::ALL.into_iter().flat_map(|v| sizes.map(|size| (v, size))) {
            let shape = Shape { length, heads, kv_heads, head };
            assert_eq!(shape.kept() > 0, length <= 64);
            let setting = Setting { shape, angles: None, dropout: None };
            let [row, width] = [(heads + 2 * kv_heads) * head, heads * head];
            let (all, rows, sequence) = (length + 9, length, 4..4 + length);
            let (qkv, dy) = (numbers(all * row, 1), numbers(all * width, 2));
            let (in_qkv, in_dy) = (in_panels(&qkv, row), in_panels(&dy, width));
            let (qkv, dy) = (&qkv[4 * row..][..rows * row], &dy[4 * width..][..rows * width]);
            let (mut out, mut sums) = (vec![0.0; in_dy.len()], vec![[0.0; 2]; heads * length]);
            let (mut kept, mut scratch) = (vec![f32::NAN; heads * shape.kept()], Scratch::default());
            let (values, into) = (Panels::new(&in_qkv, all).some(sequence.clone()), PanelsMut::new(&mut out, all));
            scratch.prepare(shape);
            let (out_of, sums_of) = (into.some(sequence.clone()), &mut sums);
            vectors.dispatch(Forward {
                setting,
                qkv: values,
                out: out_of,
                sums: sums_of,
                kept: &mut kept,
                scratch: &mut scratch,
            });
            let out = Panels::new(&out, all).some(sequence.clone());
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (mut values, slopes) = (wide(qkv), wide(dy));
            let got: f64 = wide(&row_by_row(out, width)).iter().zip(&slopes).map(|(y, d)| y * d).sum();
            assert!((got - exact(shape, &values, &slopes)).abs() < 1e-4, "{shape:?}: {got}");

            let mut gradient = in_qkv.clone();
            let into = PanelsMut::new(&mut gradient, all).some(sequence.clone());
            let dy = Panels::new(&in_dy, all).some(sequence.clone());
            vectors.dispatch(Backward { setting, qkv: into, out, dout: dy, sums: &sums, kept: &kept, scratch: &mut scratch });
            if !kept.is_empty() {
                let mut again = in_qkv.clone();
                let into = PanelsMut::new(&mut again, all).some(sequence.clone());
                vectors.dispatch(Backward { setting, qkv: into, out, dout: dy, sums: &sums, kept: &[], scratch: &mut scratch });
                assert_eq!(again, gradient, "{shape:?}: computed again and kept");
            }
            let gradient = row_by_row(Panels::new(&gradient, all).some(sequence), row);
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
