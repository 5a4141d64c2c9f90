//! Element-wise mathematics as plain loops that the compiler turns into vector instructions.
//!
//! Every function here is inlined into a closure that [`pulp::Arch::dispatch`] compiles once for each instruction set and
//! chooses at run time. Sums run in fixed lanes, one for each column of a panel, so that their order does not depend on the
//! vector width.

use std::f32::consts::{LN_2, LOG2_E};

use pulp::{Arch, Simd, WithSimd};

use super::panels::{Row, WIDTH};

/// Runs a closure compiled for this processor's vectors. It should be marked `#[inline(always)]`, as everything it calls,
/// and leave its captures in place: else it stays a function of its own, for the smallest vectors.
#[inline(always)]
pub(crate) fn vectorized<R>(arch: Arch, run: impl FnMut() -> R) -> R {
    struct Run<F>(F);
    impl<R, F: FnMut() -> R> WithSimd for Run<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    arch.dispatch(Run(run))
}

/// 1.5 · 2²³: adding it rounds to a whole number and leaves that number in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// 2ˣ to 1.1e-7 relative, for −1/2 ≤ x ≤ 1/2.
#[inline(always)]
fn power(x: f32) -> f32 {
    // In pairs (Estrin's scheme), as the others here: what waits for what is half as long as term by term.
    let square = x * x;
    let low = 0.240_222_83_f32.mul_add(x, LN_2);
    let middle = 0.009_669_691_f32.mul_add(x, 0.055_505_585);
    0.001_330_060_5_f32.mul_add(square, middle).mul_add(square, low).mul_add(x, 1.0)
}

/// eˣ to 2e-7 relative, for −87 ≤ x ≤ 88 (clamped outside; NaN stays NaN).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // What log₂ e is more than 32 bits can say, so that the rest keeps its bits.
    const MORE: f32 = 1.925_963e-8;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let whole = x.mul_add(LOG2_E, ROUND);
    let rest = x.mul_add(MORE, x.mul_add(LOG2_E, ROUND - whole));
    power(rest) * f32::from_bits(whole.to_bits().wrapping_add(127) << 23)
}

/// √(2π) times the standard normal's density, e^(−x²/2), and what it is multiplied by to be Φ(−|x|).
///
/// That is a polynomial in 1 / (1 + 0.3 |x|), fitted to 3e-7 relative: so Φ keeps its digits far out on the left. Of NaN the
/// second is NaN, and the first may be anything.
#[inline(always)]
pub(super) fn normal(x: f32) -> [f32; 2] {
    const HALF: f32 = -0.5 * LOG2_E;
    let square = x * x;
    let square = if square > 173.0 { 173.0 } else { square };
    let whole = square.mul_add(HALF, ROUND);
    // The whole part goes to the exponent as it is: what is above it in these bits falls out on the left.
    let bell = power(square.mul_add(HALF, ROUND - whole)).to_bits().wrapping_add(whole.to_bits() << 23);
    let t = 1.0 / x.abs().mul_add(0.3, 1.0);
    let t2 = t * t;
    let low = 0.120_848_31_f32.mul_add(t, 0.119_627_185);
    let second = 0.131_997_73_f32.mul_add(t, 0.099_059_075);
    let third = 0.215_007_26_f32.mul_add(t, -0.061_021_175);
    let high = 0.037_010_55_f32.mul_add(t, -0.162_528_93);
    let p = high.mul_add(t2, third).mul_add(t2 * t2, second.mul_add(t2, low));
    [f32::from_bits(bell), p * t]
}

/// tanh x to about 2e-7 absolute.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn reduce(mut lanes: Row, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = WIDTH / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of all lanes.
#[inline(always)]
pub(super) fn total(lanes: Row) -> f32 {
    reduce(lanes, |a, b| a + b)
}

/// The largest of all lanes.
#[inline(always)]
pub(super) fn largest(lanes: Row) -> f32 {
    reduce(lanes, |a, b| if b > a { b } else { a })
}

/// y += x.
#[inline(always)]
pub(super) fn add(y: &mut [f32], x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::function::erf::erfc;

    fn each(from: f32, to: f32, check: impl Fn(f32)) {
        (0..=40_000).for_each(|i| check(from + (to - from) * i as f32 / 40_000.0));
    }

    #[test]
    fn exp_is_good_to_two_units_in_the_last_place() {
        each(-86.0, 87.0, |x| {
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.0e-7, "{x}");
        });
        assert_eq!(exp(0.0), 1.0);
        // Any NaN, whatever its lower bits.
        for bits in [0x7fc0_0000, 0xffc0_0001, 0x7f80_0103] {
            assert!(exp(f32::from_bits(bits)).is_nan());
        }
    }

    #[test]
    fn normal_tanh_and_sigmoid_are_good_to_3e_7() {
        each(-6.0, 6.0, |x| {
            let exact = 0.5 * erfc(-f64::from(x) / 2.0f64.sqrt());
            let [bell, ratio] = normal(x);
            let below = if x < 0.0 { ratio * bell } else { 1.0 - ratio * bell };
            assert!((f64::from(below) / exact - 1.0).abs() < 2.0e-6 && (f64::from(below) - exact).abs() < 3.0e-7, "normal {x}");
            assert!((f64::from(bell) - (-0.5 * f64::from(x).powi(2)).exp()).abs() < 2.0e-7, "bell {x}");
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 3.0e-7, "tanh {x}");
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + f64::from(-x).exp())).abs() < 2.0e-7, "sigmoid {x}");
        });
    }

    #[test]
    fn all_lanes_count() {
        let lanes: Row = std::array::from_fn(|i| (i * 7 % 13) as f32);
        assert_eq!(total(lanes), lanes.iter().sum::<f32>());
        for place in 0..WIDTH {
            let mut lanes = lanes.map(|x| -1.0 - x);
            lanes[place] = 5.0;
            assert_eq!(largest(lanes), 5.0);
        }
    }
}
