//! The MLP's activations: both forms of GELU, and SwiGLU.

use super::vector::{normal, sigmoid, tanh};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
/// 1 / √(2 π).
const DENSITY: f32 = 0.398_942_3;

/// y = x Φ(x); x becomes the slope there.
#[inline(always)]
pub(super) fn gelu(y: &mut [f32], x: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        let [below, bell] = normal(*x);
        *y = *x * below;
        *x = (DENSITY * *x).mul_add(bell, below);
    }
}

/// y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2; x becomes the slope there.
#[inline(always)]
pub(super) fn gelu_tanh(y: &mut [f32], x: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        let square = CUBIC * *x * *x;
        let t = tanh(SQRT_2_OVER_PI * *x * (square + 1.0));
        let slope = SQRT_2_OVER_PI * 3.0f32.mul_add(square, 1.0);
        *y = 0.5 * *x * (1.0 + t);
        *x = 0.5 * (1.0 + t + *x * (1.0 - t * t) * slope);
    }
}

/// x, the slope of an activation of one value, becomes the gradient, given that of y.
#[inline(always)]
pub(super) fn backward(x: &mut [f32], dy: &[f32]) {
    for (x, &dy) in x.iter_mut().zip(dy) {
        *x *= dy;
    }
}

/// y = gate · sigmoid(gate) · up, where a row of `x` is [gate | up]; both become the slope along them.
#[inline(always)]
pub(super) fn swiglu(y: &mut [f32], x: &mut [f32], hidden: usize) {
    for (y, x) in y.chunks_exact_mut(hidden).zip(x.chunks_exact_mut(2 * hidden)) {
        let (gate, up) = x.split_at_mut(hidden);
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            let s = sigmoid(*gate);
            let swish = *gate * s;
            *y = swish * *up;
            *gate = *up * (*gate - swish).mul_add(s, s);
            *up = swish;
        }
    }
}

/// Each row of `x`, the slopes along [gate | up], becomes the gradient, given that of y.
#[inline(always)]
pub(super) fn gated_backward(x: &mut [f32], dy: &[f32], hidden: usize) {
    for (x, dy) in x.chunks_exact_mut(2 * hidden).zip(dy.chunks_exact(hidden)) {
        let (gate, up) = x.split_at_mut(hidden);
        backward(gate, dy);
        backward(up, dy);
    }
}

#[cfg(test)]
mod tests {
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
        gelu(&mut exact, &mut x.clone());
        gelu_tanh(&mut tanh, &mut x.clone());
        for (i, &x) in x.iter().enumerate() {
            assert!((f64::from(exact[i]) - exact_gelu(f64::from(x))).abs() < 1e-6, "{x}");
            assert!((f64::from(tanh[i]) - exact_gelu_tanh(f64::from(x))).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn both_gelus_have_their_derivatives() {
        let one = |f: fn(&mut [f32], &mut [f32])| {
            move |x| {
                let mut x = [x];
                f(&mut [0.0], &mut x);
                backward(&mut x, &[1.0]);
                x[0]
            }
        };
        check("gelu", one(gelu), exact_gelu);
        check("gelu_tanh", one(gelu_tanh), exact_gelu_tanh);
    }

    #[test]
    fn swiglu_is_its_definition_and_has_its_derivatives() {
        let swish = |x: f64| x / (1.0 + (-x).exp());
        let mut y = [0.0; 2];
        swiglu(&mut y, &mut [0.5, -1.0, 2.0, 3.0], 2);
        assert!((f64::from(y[0]) - 2.0 * swish(0.5)).abs() < 1e-6 && (f64::from(y[1]) - 3.0 * swish(-1.0)).abs() < 1e-6);
        let backward = |gate: f32, up: f32| {
            let mut x = [gate, up];
            swiglu(&mut [0.0], &mut x, 1);
            gated_backward(&mut x, &[1.0], 1);
            x
        };
        check("gate", |x| backward(x, 1.5)[0], |x| 1.5 * swish(x));
        check("up", |x| backward(0.7, x)[1], |x| x * swish(f64::from(0.7f32)));
    }
}
