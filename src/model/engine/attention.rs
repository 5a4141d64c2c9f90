//! Causal attention of one sequence, forward and backward, a head at a time in blocks of query rows.
//!
//! No T × T matrix exists: a block of [`BLOCK`] rows of scores lives in a thread's scratch, and of it only the causal part
//! is computed. Forward keeps two numbers of each row's softmax, from which backward computes it again.
//! Queries, keys and values of a head are copied into scratch (turned by their position where the family does that), their
//! sizes padded to whole tiles with zeros, so that the products below have no remainders.

use pulp::{Arch, Simd, WithSimd};

use super::buffer::Buffer;
use super::rotary::{turn, turn_back};
use super::vector::{dot, exp, exp_and_sum, largest};
use crate::model::dropout::{Place, Rows};

/// Query rows in a block.
const BLOCK: usize = 64;
/// Rows of a tile; twice as many where two vectors are a whole row and there are registers for that.
const TILE: usize = 4;
const TALL: usize = 8;
/// Sizes in scratch are multiples of this, which all vector widths divide.
const PAD: usize = 16;

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

    fn padded_length(&self) -> usize {
        self.length.next_multiple_of(PAD)
    }

    fn padded_head(&self) -> usize {
        self.head.next_multiple_of(PAD)
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

/// A thread's buffers for one head.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    sizes: [usize; 2],
    q: Buffer,
    k: Buffer,
    v: Buffer,
    kt: Buffer,
    vt: Buffer,
    o: Buffer,
    dq: Buffer,
    dk: Buffer,
    dv: Buffer,
    scores: Buffer,
    slopes: Buffer,
    mask: Buffer,
    along: Buffer,
}

impl Scratch {
    fn prepare(&mut self, shape: Shape) {
        if self.sizes == [shape.length, shape.head] {
            return; // what is padded is still zero
        }
        self.sizes = [shape.length, shape.head];
        let (t, d) = (shape.padded_length(), shape.padded_head());
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
        let (t, d) = (shape.padded_length(), shape.padded_head());
        let (width, row) = (shape.heads * shape.head, shape.row());
        let group = shape.heads / shape.kv_heads;
        for kv in 0..shape.kv_heads {
            let [key, value] = shape.key(kv);
            for (i, source) in qkv.chunks_exact(row).enumerate() {
                turn(&mut scratch.k[i * d..][..shape.head], &source[key..][..shape.head], 1.0, setting.angles(i));
                turn(&mut scratch.v[i * d..][..shape.head], &source[value..][..shape.head], 1.0, None);
            }
            transpose(&mut scratch.kt, &scratch.k, t, d);
            for head in kv * group..(kv + 1) * group {
                let mut mask = setting.mask(head);
                for (i, source) in qkv.chunks_exact(row).enumerate() {
                    let q = &mut scratch.q[i * d..][..shape.head];
                    turn(q, &source[head * shape.head..][..shape.head], shape.scale(), setting.angles(i));
                }
                for start in (0..t).step_by(BLOCK) {
                    let count = BLOCK.min(t - start);
                    causal_scores(simd, &mut scratch.scores, &scratch.q[start * d..], &scratch.kt, Block { start, count, t, d });
                    for r in 0..count {
                        let (i, line) = (start + r, &mut scratch.scores[r * t..][..t]);
                        let line = &mut line[..reach(i)];
                        if i >= shape.length {
                            line.fill(0.0);
                            continue;
                        }
                        // Whole vectors: what lies behind the causal mask is far below everything, then nothing.
                        behind(line, i, f32::MIN);
                        let peak = largest(line);
                        let sum = exp_and_sum(line, peak);
                        behind(line, i, 0.0);
                        scratch.along[i] = 1.0 / sum;
                        sums[head * shape.length + i] = [peak, scratch.along[i]];
                        if let Some(mask) = &mut mask {
                            mask.fill(&mut scratch.mask[..=i]);
                            line.iter_mut().zip(&scratch.mask[..=i]).for_each(|(p, m)| *p *= m);
                        }
                    }
                    weighted_rows(simd, &mut scratch.o, &scratch.scores, &scratch.v, Block { start, count, t, d });
                    for (r, o) in scratch.o.chunks_exact(d).take(count.min(shape.length.saturating_sub(start))).enumerate() {
                        let (i, over) = (start + r, scratch.along[start + r]);
                        let out = &mut out[i * width + head * shape.head..][..shape.head];
                        out.iter_mut().zip(o).for_each(|(y, o)| *y = o * over);
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
        let (t, d) = (shape.padded_length(), shape.padded_head());
        let (width, row) = (shape.heads * shape.head, shape.row());
        let group = shape.heads / shape.kv_heads;
        for kv in 0..shape.kv_heads {
            let [key, value] = shape.key(kv);
            for (i, source) in qkv.chunks_exact(row).enumerate() {
                turn(&mut scratch.k[i * d..][..shape.head], &source[key..][..shape.head], 1.0, setting.angles(i));
                turn(&mut scratch.v[i * d..][..shape.head], &source[value..][..shape.head], 1.0, None);
            }
            transpose(&mut scratch.kt, &scratch.k, t, d);
            transpose(&mut scratch.vt, &scratch.v, t, d);
            scratch.dk.fill(0.0);
            scratch.dv.fill(0.0);
            for head in kv * group..(kv + 1) * group {
                let mut mask = setting.mask(head);
                for (i, source) in qkv.chunks_exact(row).enumerate() {
                    let q = &mut scratch.q[i * d..][..shape.head];
                    turn(q, &source[head * shape.head..][..shape.head], shape.scale(), setting.angles(i));
                    let place = i * width + head * shape.head..i * width + (head + 1) * shape.head;
                    // `o` holds the gradient of the output here.
                    turn(&mut scratch.o[i * d..][..shape.head], &dout[place.clone()], 1.0, None);
                    scratch.along[i] = dot(&dout[place.clone()], &out[place]);
                }
                for start in (0..t).step_by(BLOCK) {
                    let count = BLOCK.min(t - start);
                    let block = Block { start, count, t, d };
                    causal_scores(simd, &mut scratch.scores, &scratch.q[start * d..], &scratch.kt, block);
                    causal_scores(simd, &mut scratch.slopes, &scratch.o[start * d..], &scratch.vt, block);
                    for r in 0..count {
                        let i = start + r;
                        let (p, ds) = (&mut scratch.scores[r * t..][..t], &mut scratch.slopes[r * t..][..t]);
                        if i >= shape.length {
                            p[..reach(i)].fill(0.0);
                            ds[..reach(i)].fill(0.0);
                            continue;
                        }
                        let (p, ds) = (&mut p[..reach(i)], &mut ds[..reach(i)]);
                        let ([peak, over], along) = (sums[head * shape.length + i], scratch.along[i]);
                        if let Some(mask) = &mut mask {
                            let mask_row = &mut scratch.mask[..reach(i)];
                            mask.fill(&mut mask_row[..=i]);
                            for ((p, ds), &m) in p.iter_mut().zip(&mut *ds).zip(&*mask_row) {
                                let weight = exp(*p - peak) * over;
                                *ds = weight * ds.mul_add(m, -along);
                                *p = weight * m;
                            }
                        } else {
                            for (p, ds) in p.as_chunks_mut::<PAD>().0.iter_mut().zip(ds.as_chunks_mut::<PAD>().0) {
                                for (p, ds) in p.iter_mut().zip(ds) {
                                    *p = exp(*p - peak) * over;
                                    *ds = *p * (*ds - along);
                                }
                            }
                        }
                        behind(p, i, 0.0);
                        behind(ds, i, 0.0);
                    }
                    weighted_columns(simd, &mut scratch.dv, &scratch.scores, &scratch.o[start * d..], block);
                    weighted_columns(simd, &mut scratch.dk, &scratch.slopes, &scratch.q[start * d..], block);
                    weighted_rows(simd, &mut scratch.dq, &scratch.slopes, &scratch.k, block);
                    for (r, dq) in scratch.dq.chunks_exact(d).take(count.min(shape.length.saturating_sub(start))).enumerate() {
                        let i = start + r;
                        let into = &mut qkv[i * row + head * shape.head..][..shape.head];
                        turn_back(into, &dq[..shape.head], shape.scale(), setting.angles(i));
                    }
                }
            }
            for (i, into) in qkv.chunks_exact_mut(row).enumerate() {
                turn_back(&mut into[key..][..shape.head], &scratch.dk[i * d..][..shape.head], 1.0, setting.angles(i));
                into[value..][..shape.head].copy_from_slice(&scratch.dv[i * d..][..shape.head]);
            }
        }
    }
}

/// Writes the transpose of `source` [t, d] into `target` [d, t], four by four; both sizes are multiples of four.
#[inline(always)]
fn transpose(target: &mut [f32], source: &[f32], t: usize, d: usize) {
    for (i, rows) in source.chunks_exact(4 * d).enumerate() {
        for e in (0..d).step_by(4) {
            let square: [[f32; 4]; 4] = std::array::from_fn(|r| std::array::from_fn(|c| rows[r * d + e..][..4][c]));
            for c in 0..4 {
                let into = &mut target[(e + c) * t + 4 * i..][..4];
                into.copy_from_slice(&[square[0][c], square[1][c], square[2][c], square[3][c]]);
            }
        }
    }
}

/// Writes `value` behind column i of a row that ends with its vector.
#[inline(always)]
fn behind(row: &mut [f32], i: usize, value: f32) {
    let first = row.len().saturating_sub(PAD);
    if let Some(last) = row.last_chunk_mut::<PAD>() {
        for (j, x) in last.iter_mut().enumerate() {
            *x = if first + j > i { value } else { *x };
        }
    }
}

/// How many columns of query row i are computed: its causal part, to the end of the last vector (and of the row's tile).
#[inline(always)]
fn reach(i: usize) -> usize {
    (i + 1).next_multiple_of(PAD)
}

/// A block of query rows: its first row, their number, and the padded length and head width.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    count: usize,
    t: usize,
    d: usize,
}

/// `scores` [count, t] = `rows` [count, d] · `columns` [d, t], as far as each row reaches.
#[inline(always)]
fn causal_scores<S: Simd>(simd: S, scores: &mut [f32], rows: &[f32], columns: &[f32], Block { start, count, t, d }: Block) {
    let scores = S::as_mut_simd_f32s(scores).0;
    let columns = S::as_simd_f32s(columns).0;
    let stride = t / S::F32_LANES;
    if tall::<S>(2) {
        for r in (0..count).step_by(TALL) {
            let vectors = reach(start + r) / S::F32_LANES;
            for first in (0..vectors).step_by(2) {
                let (into, columns) = (&mut scores[r * stride + first..], &columns[first..]);
                tile::<S, false, TALL>(
                    simd,
                    into,
                    stride,
                    &rows[r * d..],
                    d,
                    columns,
                    stride,
                    d,
                    (vectors - first).min(2),
                    false,
                );
            }
        }
        return;
    }
    let panel = panel::<S>();
    for first in (0..reach(start + count - 1) / S::F32_LANES).step_by(panel) {
        for r in (0..count).step_by(TILE) {
            let vectors = (reach(start + r) / S::F32_LANES).saturating_sub(first).min(panel);
            let into = &mut scores[r * stride + first.min(stride)..];
            tile::<S, false, TILE>(simd, into, stride, &rows[r * d..], d, &columns[first..], stride, d, vectors, false);
        }
    }
}

/// `out` [count, d] = `weights` [count, t] · `values` [t, d], as far as each row reaches.
#[inline(always)]
fn weighted_rows<S: Simd>(simd: S, out: &mut [f32], weights: &[f32], values: &[f32], Block { start, count, t, d }: Block) {
    let (out, values) = (S::as_mut_simd_f32s(out).0, S::as_simd_f32s(values).0);
    let stride = d / S::F32_LANES;
    if tall::<S>(stride) {
        for r in (0..count).step_by(TALL) {
            let (into, k) = (&mut out[r * stride..], start + r + TALL);
            tile::<S, false, TALL>(simd, into, stride, &weights[r * t..], t, values, stride, k, stride, false);
        }
        return;
    }
    for r in (0..count).step_by(TILE) {
        for first in (0..stride).step_by(panel::<S>()) {
            let vectors = (stride - first).min(panel::<S>());
            let (into, k) = (&mut out[r * stride + first..], start + r + TILE);
            tile::<S, false, TILE>(simd, into, stride, &weights[r * t..], t, &values[first..], stride, k, vectors, false);
        }
    }
}

/// `out` [t, d] += `weights`ᵀ [t, count] · `rows` [count, d], over the query rows that reach each key.
#[inline(always)]
fn weighted_columns<S: Simd>(simd: S, out: &mut [f32], weights: &[f32], rows: &[f32], Block { start, count, t, d }: Block) {
    let (out, rows) = (S::as_mut_simd_f32s(out).0, S::as_simd_f32s(rows).0);
    let stride = d / S::F32_LANES;
    let step = if tall::<S>(stride) { TALL } else { TILE };
    for j in (0..start + count).step_by(step) {
        let from = j.saturating_sub(start);
        let (weights, rows, k) = (&weights[from * t + j..], &rows[from * stride..], count - from);
        if step == TALL {
            tile::<S, true, TALL>(simd, &mut out[j * stride..], stride, weights, t, rows, stride, k, stride, true);
            continue;
        }
        for first in (0..stride).step_by(panel::<S>()) {
            let vectors = (stride - first).min(panel::<S>());
            let into = &mut out[j * stride + first..];
            tile::<S, true, TILE>(simd, into, stride, weights, t, &rows[first..], stride, k, vectors, true);
        }
    }
}

/// Whether tiles of [`TALL`] rows fit the registers for rows of so many vectors.
#[inline(always)]
fn tall<S: Simd>(vectors: usize) -> bool {
    S::F32_LANES == 16 && vectors <= 2
}

/// Vectors in a row of a tile: as many as the registers hold beside the operands.
#[inline(always)]
fn panel<S: Simd>() -> usize {
    if S::F32_LANES == 8 { 2 } else { 4 }
}

/// One tile of some rows and up to four vectors: c (+)= a · b over k, where a is read by rows, or by columns (aᵀ · b).
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "three matrices with their strides")]
fn tile<S: Simd, const BY_COLUMN: bool, const ROWS: usize>(
    simd: S,
    c: &mut [S::f32s],
    c_stride: usize,
    a: &[f32],
    a_stride: usize,
    b: &[S::f32s],
    b_stride: usize,
    k: usize,
    vectors: usize,
    accumulate: bool,
) {
    match vectors {
        1 => fixed_tile::<S, BY_COLUMN, ROWS, 1>(simd, c, c_stride, a, a_stride, b, b_stride, k, accumulate),
        2 => fixed_tile::<S, BY_COLUMN, ROWS, 2>(simd, c, c_stride, a, a_stride, b, b_stride, k, accumulate),
        3 if ROWS == TILE => fixed_tile::<S, BY_COLUMN, ROWS, 3>(simd, c, c_stride, a, a_stride, b, b_stride, k, accumulate),
        4 if ROWS == TILE => fixed_tile::<S, BY_COLUMN, ROWS, 4>(simd, c, c_stride, a, a_stride, b, b_stride, k, accumulate),
        _ => {}
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "three matrices with their strides")]
fn fixed_tile<S: Simd, const BY_COLUMN: bool, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    c: &mut [S::f32s],
    c_stride: usize,
    a: &[f32],
    a_stride: usize,
    b: &[S::f32s],
    b_stride: usize,
    k: usize,
    accumulate: bool,
) {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    let lines: [&[f32]; ROWS] = std::array::from_fn(|r| if BY_COLUMN { &[][..] } else { &a[r * a_stride..][..k] });
    for l in 0..k {
        let b: &[S::f32s] = &b[l * b_stride..][..VECTORS];
        let b: [S::f32s; VECTORS] = std::array::from_fn(|v| b[v]);
        let a: [f32; ROWS] = if BY_COLUMN {
            let a = &a[l * a_stride..][..ROWS];
            std::array::from_fn(|r| a[r])
        } else {
            std::array::from_fn(|r| lines[r][l])
        };
        for r in 0..ROWS {
            let a = simd.splat_f32s(a[r]);
            for v in 0..VECTORS {
                sums[r][v] = simd.mul_add_e_f32s(a, b[v], sums[r][v]);
            }
        }
    }
    for r in 0..ROWS {
        let c = &mut c[r * c_stride..][..VECTORS];
        for v in 0..VECTORS {
            c[v] = if accumulate { simd.add_f32s(c[v], sums[r][v]) } else { sums[r][v] };
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
