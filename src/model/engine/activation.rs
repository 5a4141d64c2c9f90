//! The MLP's activations: both forms of GELU, and SwiGLU.

use super::vector::{normal, sigmoid, tanh};

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
/// 1 / √(2 π).
const DENSITY: f32 = 0.398_942_3;

/// y = x Φ(x).
#[inline(always)]
pub(super) fn gelu(y: &mut [f32], x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * normal(x)[0];
    }
}

/// x becomes the gradient of x, given that of y.
#[inline(always)]
pub(super) fn gelu_backward(x: &mut [f32], dy: &[f32]) {
    for (x, &dy) in x.iter_mut().zip(dy) {
        let [below, bell] = normal(*x);
        *x = dy * (DENSITY * *x).mul_add(bell, below);
    }
}

/// y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
#[inline(always)]
pub(super) fn gelu_tanh(y: &mut [f32], x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        let inner = SQRT_2_OVER_PI * x * (CUBIC * x).mul_add(x, 1.0);
        *y = 0.5 * x * (1.0 + tanh(inner));
    }
}

/// x becomes the gradient of x, given that of y.
#[inline(always)]
pub(super) fn gelu_tanh_backward(x: &mut [f32], dy: &[f32]) {
    for (x, &dy) in x.iter_mut().zip(dy) {
        let square = CUBIC * *x * *x;
        let t = tanh(SQRT_2_OVER_PI * *x * (square + 1.0));
        let slope = SQRT_2_OVER_PI * 3.0f32.mul_add(square, 1.0);
        *x = dy * 0.5 * (1.0 + t + *x * (1.0 - t * t) * slope);
    }
}

/// y = gate · sigmoid(gate) · up, where a row of `x` is [gate | up].
#[inline(always)]
pub(super) fn swiglu(y: &mut [f32], x: &[f32], hidden: usize) {
    for (y, x) in y.chunks_exact_mut(hidden).zip(x.chunks_exact(2 * hidden)) {
        let (gate, up) = x.split_at(hidden);
        for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate * sigmoid(gate) * up;
        }
    }
}

/// Each row [gate | up] of `x` becomes its gradient, given that of y.
#[inline(always)]
pub(super) fn swiglu_backward(x: &mut [f32], dy: &[f32], hidden: usize) {
    for (x, dy) in x.chunks_exact_mut(2 * hidden).zip(dy.chunks_exact(hidden)) {
        let (gate, up) = x.split_at_mut(hidden);
        for ((gate, up), &dy) in gate.iter_mut().zip(up).zip(dy) {
            let s = sigmoid(*gate);
            let swish = *gate * s;
            let slope = (*gate - swish).mul_add(s, s);
            *gate = dy * *up * slope;
            *up = dy * swish;
        }
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
        gelu(&mut exact, &x);
        gelu_tanh(&mut tanh, &x);
        for (i, &x) in x.iter().enumerate() {
            assert!((f64::from(exact[i]) - exact_gelu(f64::from(x))).abs() < 1e-6, "{x}");
            assert!((f64::from(tanh[i]) - exact_gelu_tanh(f64::from(x))).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn both_gelus_have_their_derivatives() {
        let one = |f: fn(&mut [f32], &[f32])| {
            move |x| {
                let mut x = [x];
                f(&mut x, &[1.0]);
                x[0]
            }
        };
        check("gelu", one(gelu_backward), exact_gelu);
        check("gelu_tanh", one(gelu_tanh_backward), exact_gelu_tanh);
    }

    #[test]
    fn swiglu_is_its_definition_and_has_its_derivatives() {
        let swish = |x: f64| x / (1.0 + (-x).exp());
        let mut y = [0.0; 2];
        swiglu(&mut y, &[0.5, -1.0, 2.0, 3.0], 2);
        assert!((f64::from(y[0]) - 2.0 * swish(0.5)).abs() < 1e-6 && (f64::from(y[1]) - 3.0 * swish(-1.0)).abs() < 1e-6);
        let backward = |gate: f32, up: f32| {
            let mut x = [gate, up];
            swiglu_backward(&mut x, &[1.0], 1);
            x
        };
        check("gate", |x| backward(x, 1.5)[0], |x| 1.5 * swish(x));
        check("up", |x| backward(0.7, x)[1], |x| x * swish(f64::from(0.7f32)));
    }
}
