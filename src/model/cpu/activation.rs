//! The MLP's activations: both forms of GELU, and SwiGLU.

use super::panels::{Panels, PanelsMut, WIDTH};
use super::vector::{normal, sigmoid, tanh};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
/// 1 / √(2 π).
const DENSITY: f32 = 0.398_942_3;

/// x Φ(x), and the slope there.
#[inline(always)]
pub(super) fn gelu(x: f32) -> [f32; 2] {
    let ([bell, ratio], far) = (normal(x), x.abs());
    // Φ is the tail beyond |x|, or 1 less that; the slope is Φ + x times the density.
    let y = far.mul_add(-(ratio * bell), if x > 0.0 { x } else { 0.0 });
    let inner = bell * far.mul_add(DENSITY, -ratio);
    [y, if x < 0.0 { -inner } else { 1.0 + inner }]
}

/// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, and the slope there.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> [f32; 2] {
    let square = CUBIC * x * x;
    let t = tanh(SQRT_2_OVER_PI * x * (square + 1.0));
    let slope = SQRT_2_OVER_PI * 3.0f32.mul_add(square, 1.0);
    [0.5 * x * (1.0 + t), 0.5 * (1.0 + t + x * (1.0 - t * t) * slope)]
}

/// y is what an activation makes of each value of x, which becomes the slope there.
#[inline(always)]
pub(super) fn forward(y: &mut [f32], x: &mut [f32], activation: impl Fn(f32) -> [f32; 2]) {
    for (y, x) in y.iter_mut().zip(x) {
        [*y, *x] = activation(*x);
    }
}

/// Each value becomes what an activation makes of it.
#[inline(always)]
pub(super) fn in_place(x: &mut [f32], activation: impl Fn(f32) -> [f32; 2]) {
    for x in x {
        [*x, _] = activation(*x);
    }
}

/// Slopes become the gradient, given that of y.
#[inline(always)]
fn backward(x: &mut [f32], dy: &[f32]) {
    for (x, &dy) in x.iter_mut().zip(dy) {
        *x *= dy;
    }
}

/// y = gate · sigmoid(gate) · up, where a row of `x` is [gate | up]; both become the slope along them. All in panels.
#[inline(always)]
pub(super) fn swiglu(mut y: PanelsMut<'_>, mut x: PanelsMut<'_>, hidden: usize) {
    if hidden.is_multiple_of(WIDTH) {
        let [gates, ups] = x.halves();
        for ((y, gate), up) in y.all().iter_mut().zip(gates).zip(ups) {
            for e in 0..WIDTH {
                gated(&mut y[e], &mut gate[e], &mut up[e]);
            }
        }
        return;
    }
    pairs(&mut x, hidden, |i, j, gate, up| gated(&mut y.starting_at(j / WIDTH, i)[0][j % WIDTH], gate, up));
}

/// One value of [`swiglu`].
#[inline(always)]
fn gated(y: &mut f32, gate: &mut f32, up: &mut f32) {
    let s = sigmoid(*gate);
    let swish = *gate * s;
    *y = swish * *up;
    *gate = *up * (*gate - swish).mul_add(s, s);
    *up = swish;
}

/// Each row of `x`, the slopes along [gate | up], becomes the gradient, given that of y.
#[inline(always)]
pub(super) fn gated_backward(mut x: PanelsMut<'_>, dy: Panels<'_>, hidden: usize) {
    if hidden.is_multiple_of(WIDTH) {
        let [gates, ups] = x.halves();
        backward(gates.as_flattened_mut(), dy.all().as_flattened());
        backward(ups.as_flattened_mut(), dy.all().as_flattened());
        return;
    }
    pairs(&mut x, hidden, |i, j, gate, up| {
        let dy = dy.starting_at(j / WIDTH, i)[0][j % WIDTH];
        *gate *= dy;
        *up *= dy;
    });
}

/// Calls `each` for column j of row i of the first half of x, with that of the second half, where this begins within a panel.
#[inline(always)]
fn pairs(x: &mut PanelsMut<'_>, hidden: usize, mut each: impl FnMut(usize, usize, &mut f32, &mut f32)) {
    for i in 0..x.read().rows() {
        for j in 0..hidden {
            let [mut gate, mut up] = [[0.0], [0.0]];
            x.read().copy(&mut gate, i, j);
            x.read().copy(&mut up, i, hidden + j);
            each(i, j, &mut gate[0], &mut up[0]);
            x.write(&gate, i, j);
            x.write(&up, i, hidden + j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::padded;
    use super::*;

    fn points() -> Vec<f32> {
        (-800..=800).map(|i| i as f32 / 100.0).collect()
    }

    /// Compares a derivative with central differences of the function in 64 bits.
    fn check(name: &str, derivative: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) {
        for x in points() {
            let (d, h) = (f64::from(derivative(x)), 1e-5);
            let expected = (exact(f64::from(x) + h) - exact(f64::from(x) - h)) / (2.0 * h);
            assert!((d - expected).abs() < 2e-6, "{name} at {x}: {d} and {expected}");
        }
    }

    fn exact_gelu(x: f64) -> f64 {
        0.5 * x * (1.0 + statrs::function::erf::erf(x / 2.0f64.sqrt()))
    }

    fn exact_gelu_tanh(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
    }

    #[test]
    fn both_gelus_are_their_definitions() {
        let x = points();
        let (mut exact, mut tanh) = (x.clone(), x.clone());
        forward(&mut exact, &mut x.clone(), gelu);
        in_place(&mut tanh, gelu_tanh);
        for (i, &x) in x.iter().enumerate() {
            assert!((f64::from(exact[i]) - exact_gelu(f64::from(x))).abs() < 1e-6, "{x}");
            assert!((f64::from(tanh[i]) - exact_gelu_tanh(f64::from(x))).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn both_gelus_have_their_derivatives() {
        for nan in [0x7fc0_0000, 0xffc0_0001, 0x7f80_0103].map(f32::from_bits) {
            assert!([gelu(nan), gelu_tanh(nan)].as_flattened().iter().all(|x| x.is_nan()));
        }
        check("gelu", |x| gelu(x)[1], exact_gelu);
        check("gelu_tanh", |x| gelu_tanh(x)[1], exact_gelu_tanh);
    }

    #[test]
    fn swiglu_is_its_definition_and_has_its_derivatives() {
        let swish = |x: f64| x / (1.0 + (-x).exp());
        // In columns `first` and `hidden` + `first`, the others 0: within one panel, across two, and in panels of their own.
        for [hidden, first] in [[2, 1], [20, 17], [32, 30]] {
            let in_panels = |gate: f32, up: f32| {
                let mut x = vec![0.0; padded(2 * hidden)];
                PanelsMut::new(&mut x, 1).write(&[gate], 0, first);
                PanelsMut::new(&mut x, 1).write(&[up], 0, hidden + first);
                x
            };
            for [gate, up] in [[0.5f32, 2.0], [-1.0, 3.0]] {
                let mut y = vec![0.0; padded(hidden)];
                swiglu(PanelsMut::new(&mut y, 1), PanelsMut::new(&mut in_panels(gate, up), 1), hidden);
                let expected = f64::from(up) * swish(f64::from(gate));
                assert!((f64::from(y[first]) - expected).abs() < 1e-6 && y.iter().filter(|&&y| y != 0.0).count() == 1);
            }
            let backward = |gate: f32, up: f32| {
                let mut x = in_panels(gate, up);
                let (mut y, dy) = (vec![0.0; padded(hidden)], vec![1.0; padded(hidden)]);
                swiglu(PanelsMut::new(&mut y, 1), PanelsMut::new(&mut x, 1), hidden);
                gated_backward(PanelsMut::new(&mut x, 1), Panels::new(&dy, 1), hidden);
                [x[first], x[hidden + first]]
            };
            check("gate", |x| backward(x, 1.5)[0], |x| 1.5 * swish(x));
            check("up", |x| backward(0.7, x)[1], |x| x * swish(f64::from(0.7f32)));
        }
    }
}
