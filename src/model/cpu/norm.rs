//! Layer norm and RMS norm over rows, forward and backward.

use pulp::{Simd, WithSimd};

use super::panels::{Panels, PanelsMut, Row, WIDTH, each_panel, vectors, vectors_mut};
use super::vector::total;

/// A norm's parameters. Without a mean it is RMS norm.
#[derive(Clone, Copy)]
pub(super) struct Norm<'a> {
    /// Weights.
    pub(super) weight: &'a [f32],
    /// Biases, if it has any.
    pub(super) bias: Option<&'a [f32]>,
    /// Whether the mean is taken away first (layer norm).
    pub(super) centred: bool,
    /// Added to the mean square, inside the root.
    pub(super) epsilon: f32,
}

/// [`Norm::forward`], to be dispatched.
pub(super) struct Forward<'a> {
    pub(super) norm: Norm<'a>,
    pub(super) y: PanelsMut<'a>,
    pub(super) x: Panels<'a>,
    pub(super) statistics: &'a mut [[f32; 2]],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.norm.forward(simd, self.y, self.x, self.statistics);
    }
}

/// [`Norm::backward`], to be dispatched.
pub(super) struct Backward<'a> {
    pub(super) norm: Norm<'a>,
    pub(super) x: PanelsMut<'a>,
    pub(super) residual: Option<Panels<'a>>,
    pub(super) dy: PanelsMut<'a>,
    pub(super) statistics: &'a [[f32; 2]],
    pub(super) weight: &'a mut [f32],
    pub(super) bias: Option<&'a mut [f32]>,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { norm, x, residual, dy, statistics, weight, bias } = self;
        norm.backward(simd, x, residual, dy, statistics, weight, bias);
    }
}

/// Rows that are worked on together: their pieces in a panel lie side by side.
const TOGETHER: usize = 8;

impl Norm<'_> {
    /// y = (x − mean) · r · weight + bias for each row, where r = 1 / √(mean square + epsilon); keeps mean and r of each row.
    #[inline(always)]
    fn forward<S: Simd>(&self, simd: S, mut y: PanelsMut<'_>, x: Panels<'_>, statistics: &mut [[f32; 2]]) {
        let (many, rest) = statistics.as_chunks_mut::<TOGETHER>();
        let first = TOGETHER * many.len();
        for (q, kept) in many.iter_mut().enumerate() {
            *kept = self.forward_rows(simd, &mut y, x, TOGETHER * q);
        }
        for (r, kept) in rest.iter_mut().enumerate() {
            [*kept] = self.forward_rows(simd, &mut y, x, first + r);
        }
    }

    /// The same for `N` rows from i on; gives their mean and r.
    #[inline(always)]
    fn forward_rows<S: Simd, const N: usize>(&self, simd: S, y: &mut PanelsMut<'_>, x: Panels<'_>, i: usize) -> [[f32; 2]; N] {
        let width = self.weight.len();
        let mean = if self.centred { means(simd, x, i, width, [0.0; N], |lane, x, _| simd.add_f32s(lane, x)) } else { [0.0; N] };
        let square = means(simd, x, i, width, mean, |lane, x, mean| {
            let x = simd.sub_f32s(x, mean);
            simd.add_f32s(lane, simd.mul_f32s(x, x))
        });
        let kept: [_; N] = std::array::from_fn(|r| [mean[r], 1.0 / (square[r] + self.epsilon).sqrt()]);
        each_panel(
            width,
            #[inline(always)]
            |p, n| {
                let (y, x, place) = (y.some_of::<N>(p, i), x.some_of::<N>(p, i), p * WIDTH..p * WIDTH + n);
                let (weight, bias) = (whole(&self.weight[place.clone()]), self.bias.map(|bias| whole(&bias[place.clone()])));
                for r in 0..N {
                    let [mean, over] = kept[r].map(|x| simd.splat_f32s(x));
                    let mut row = [0.0; WIDTH];
                    for (v, y) in vectors_mut::<S>(&mut row).iter_mut().enumerate() {
                        let normalised = simd.mul_f32s(simd.sub_f32s(vectors::<S>(&x[r])[v], mean), over);
                        *y = simd.mul_f32s(normalised, vectors::<S>(&weight)[v]);
                        if let Some(bias) = &bias {
                            *y = simd.add_f32s(*y, vectors::<S>(bias)[v]);
                        }
                    }
                    y[r][..n].copy_from_slice(&row[..n]);
                }
            },
        );
        kept
    }

    /// `x`, which is no longer needed, becomes `residual` + the gradient that flows back through the norm, or that alone.
    /// Gradients of weight and bias are added to `weight` and `bias`.
    ///
    /// `dy` is overwritten by its product with the weights.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what backward has, and the vectors that it computes with")]
    fn backward<S: Simd>(
        &self,
        simd: S,
        mut x: PanelsMut<'_>,
        residual: Option<Panels<'_>>,
        mut dy: PanelsMut<'_>,
        statistics: &[[f32; 2]],
        weight: &mut [f32],
        mut bias: Option<&mut [f32]>,
    ) {
        let (many, rest) = statistics.as_chunks::<TOGETHER>();
        let first = TOGETHER * many.len();
        for (q, kept) in many.iter().enumerate() {
            self.backward_rows(simd, &mut x, residual, &mut dy, TOGETHER * q, kept, weight, bias.as_deref_mut());
        }
        for (r, &kept) in rest.iter().enumerate() {
            self.backward_rows(simd, &mut x, residual, &mut dy, first + r, &[kept], weight, bias.as_deref_mut());
        }
    }

    /// The same for `N` rows from i on.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what backward has, and which rows")]
    fn backward_rows<S: Simd, const N: usize>(
        &self,
        simd: S,
        x: &mut PanelsMut<'_>,
        residual: Option<Panels<'_>>,
        dy: &mut PanelsMut<'_>,
        i: usize,
        statistics: &[[f32; 2]; N],
        weight: &mut [f32],
        mut bias: Option<&mut [f32]>,
    ) {
        let width = self.weight.len();
        let [mut along, mut level] = [[[0.0f32; WIDTH]; N]; 2];
        // x becomes its normalised value, dy the gradient of that.
        each_panel(
            width,
            #[inline(always)]
            |p, n| {
                let (xs, dys, place) = (x.some_of::<N>(p, i), dy.some_of::<N>(p, i), p * WIDTH..p * WIDTH + n);
                let (w, mut dw) = (whole(&self.weight[place.clone()]), whole(&weight[place.clone()]));
                let mut db = bias.as_deref().map(|bias| whole(&bias[place.clone()]));
                for r in 0..N {
                    let [mean, over] = statistics[r].map(|x| simd.splat_f32s(x));
                    // What fills the last panel up stays zero, and adds nothing.
                    let (mut row, mut slopes) = (whole(&xs[r][..n]), whole(&dys[r][..n]));
                    for v in 0..WIDTH / S::F32_LANES {
                        let (x, dy) = (&mut vectors_mut::<S>(&mut row)[v], &mut vectors_mut::<S>(&mut slopes)[v]);
                        if let Some(db) = &mut db {
                            let db = &mut vectors_mut::<S>(db)[v];
                            *db = simd.add_f32s(*db, *dy);
                        }
                        *x = simd.mul_f32s(simd.sub_f32s(*x, mean), over);
                        let (dw, w) = (&mut vectors_mut::<S>(&mut dw)[v], vectors::<S>(&w)[v]);
                        *dw = simd.add_f32s(*dw, simd.mul_f32s(*dy, *x));
                        *dy = simd.mul_f32s(*dy, w);
                        let (along, level) = (&mut vectors_mut::<S>(&mut along[r])[v], &mut vectors_mut::<S>(&mut level[r])[v]);
                        *along = simd.mul_add_e_f32s(*dy, *x, *along);
                        *level = simd.add_f32s(*level, *dy);
                    }
                    xs[r][..n].copy_from_slice(&row[..n]);
                    dys[r][..n].copy_from_slice(&slopes[..n]);
                }
                weight[place.clone()].copy_from_slice(&dw[..n]);
                if let (Some(bias), Some(db)) = (bias.as_deref_mut(), db) {
                    bias[place].copy_from_slice(&db[..n]);
                }
            },
        );
        let along = averages(&along, width);
        let level = if self.centred { averages(&level, width) } else { [0.0; N] };
        each_panel(
            width,
            #[inline(always)]
            |p, n| {
                let (xs, dys) = (x.some_of::<N>(p, i), dy.read().some_of::<N>(p, i));
                let residual = residual.map(|residual| residual.some_of::<N>(p, i));
                for r in 0..N {
                    let [along, level, over] = [along[r], level[r], statistics[r][1]].map(|x| simd.splat_f32s(x));
                    let mut row = whole(&xs[r][..n]);
                    for (v, x) in vectors_mut::<S>(&mut row).iter_mut().enumerate() {
                        let dy = vectors::<S>(&dys[r])[v];
                        let slope = simd.sub_f32s(simd.sub_f32s(dy, level), simd.mul_f32s(*x, along));
                        *x = match residual {
                            Some(residual) => simd.mul_add_e_f32s(over, slope, vectors::<S>(&residual[r])[v]),
                            None => simd.mul_f32s(over, slope),
                        };
                    }
                    xs[r][..n].copy_from_slice(&row[..n]);
                }
            },
        );
    }
}

/// A part of a panel's row, filled up with zeros.
#[inline(always)]
fn whole(part: &[f32]) -> Row {
    let mut row = [0.0; WIDTH];
    row[..part.len()].copy_from_slice(part);
    row
}

/// The means over the columns of each of `N` rows from i on of what `f` adds to a sum, given x and the row's `from`.
#[inline(always)]
fn means<S: Simd, const N: usize>(
    simd: S,
    x: Panels<'_>,
    i: usize,
    width: usize,
    from: [f32; N],
    f: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s,
) -> [f32; N] {
    let mut lanes = [[0.0f32; WIDTH]; N];
    let panels = width / WIDTH;
    for p in 0..panels {
        let x = x.some_of::<N>(p, i);
        for r in 0..N {
            for (lane, &x) in vectors_mut::<S>(&mut lanes[r]).iter_mut().zip(vectors::<S>(&x[r])) {
                *lane = f(*lane, x, simd.splat_f32s(from[r]));
            }
        }
    }
    let rest = width % WIDTH;
    if rest > 0 {
        let x = x.some_of::<N>(panels, i);
        for r in 0..N {
            // What fills the panel up adds nothing.
            let mut row = [from[r]; WIDTH];
            row[..rest].copy_from_slice(&x[r][..rest]);
            for (lane, &x) in vectors_mut::<S>(&mut lanes[r]).iter_mut().zip(vectors::<S>(&row)) {
                *lane = f(*lane, x, simd.splat_f32s(from[r]));
            }
        }
    }
    averages(&lanes, width)
}

/// The sum of each row's lanes over the width. A loop: what an array's `map` calls is not compiled for this processor's vectors.
#[inline(always)]
fn averages<const N: usize>(lanes: &[Row; N], width: usize) -> [f32; N] {
    let mut averages = [0.0; N];
    for r in 0..N {
        averages[r] = total(lanes[r]) / width as f32;
    }
    averages
}

#[cfg(test)]
mod tests {
    use super::super::panels::testing::{Vectors, in_panels, row_by_row};
    use super::*;

    /// One whole panel and a part.
    const WIDTH: usize = 21;
    /// Some that are worked on together, and some alone.
    const ROWS: usize = TOGETHER + 3;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 29) as f32 / 9.0 - 1.4).collect()
    }

    /// Σ dy · norm(x) in 64 bits, as the definition has it.
    fn exact(x: &[f64], dy: &[f64], weight: &[f64], bias: &[f64], centred: bool) -> f64 {
        let rows = x.chunks(WIDTH).zip(dy.chunks(WIDTH));
        rows.map(|(x, dy)| {
            let mean = if centred { x.iter().sum::<f64>() / WIDTH as f64 } else { 0.0 };
            let r = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / WIDTH as f64 + 1e-5).sqrt().recip();
            (0..WIDTH).map(|i| dy[i] * ((x[i] - mean) * r * weight[i] + bias[i])).sum::<f64>()
        })
        .sum()
    }

    #[test]
    fn both_norms_and_all_their_gradients_are_the_definition() {
        for (vectors, centred) in Vectors::ALL.into_iter().flat_map(|v| [(v, true), (v, false)]) {
            let (x, dy) = (numbers(ROWS * WIDTH, 1), numbers(ROWS * WIDTH, 2));
            let (weight, bias, residual) = (numbers(WIDTH, 3), numbers(WIDTH, 4), numbers(ROWS * WIDTH, 5));
            let [in_x, in_dy, in_residual] = [&x, &dy, &residual].map(|x| in_panels(x, WIDTH));
            let norm = Norm { weight: &weight, bias: Some(&bias), centred, epsilon: 1e-5 };
            let (mut y, mut statistics) = (vec![0.0; in_x.len()], vec![[0.0; 2]; ROWS]);
            let (y_panels, x_panels) = (PanelsMut::new(&mut y, ROWS), Panels::new(&in_x, ROWS));
            vectors.dispatch(Forward { norm, y: y_panels, x: x_panels, statistics: &mut statistics });
            let y = row_by_row(Panels::new(&y, ROWS), WIDTH);
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let all = [wide(&x), wide(&weight), wide(&bias)];
            let sum = |[x, weight, bias]: &[Vec<f64>; 3]| exact(x, &wide(&dy), weight, bias, centred);
            let got: f64 = y.iter().zip(&dy).map(|(y, d)| f64::from(*y) * f64::from(*d)).sum();
            assert!((got - sum(&all)).abs() < 1e-4, "{got} {}", sum(&all));

            let back = |residual: Option<&[f32]>, dweight: &mut [f32], dbias: Option<&mut [f32]>| {
                let (mut dx, mut dy) = (in_x.clone(), in_dy.clone());
                let residual = residual.map(|residual| Panels::new(residual, ROWS));
                let (x, dy) = (PanelsMut::new(&mut dx, ROWS), PanelsMut::new(&mut dy, ROWS));
                vectors.dispatch(Backward { norm, x, residual, dy, statistics: &statistics, weight: dweight, bias: dbias });
                row_by_row(Panels::new(&dx, ROWS), WIDTH)
            };
            let (mut dweight, mut dbias) = (vec![0.0; WIDTH], vec![0.0; WIDTH]);
            let mut dx = back(Some(&in_residual), &mut dweight, Some(&mut dbias));
            let alone = back(None, &mut [0.0; WIDTH], None);
            for ((dx, alone), residual) in dx.iter_mut().zip(&alone).zip(&residual) {
                *dx -= residual;
                assert!((*dx - alone).abs() < 1e-6);
            }
            for (which, gradient) in [dx, dweight, dbias].iter().enumerate() {
                for (i, &g) in gradient.iter().enumerate() {
                    let moved = |h: f64| {
                        let mut all = all.clone();
                        all[which][i] += h;
                        sum(&all)
                    };
                    let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((f64::from(g) - expected).abs() < 2e-5, "{centred} {which} {i}: {g} and {expected}");
                }
            }
        }
    }
}
