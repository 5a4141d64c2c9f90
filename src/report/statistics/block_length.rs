//! How long the blocks of a series must be, for what one of them says to say little about the next.
//!
//! Neighbouring tokens are not independent: a hard page is hard for hundreds of them, and a difference between two models goes on as
//! long. The mean of blocks that are long enough scatters as that of independent pieces; how long that is, the series' own
//! autocorrelation says: Politis and White (2004), "Automatic block-length selection for the dependent bootstrap", with the
//! correction of Patton, Politis and White (2009). The constant is that of blocks of one length (4/3), and what the paper leaves open is
//! done as R's `np::b.star` and Python's `arch.bootstrap.optimal_block_length` do it.

use super::autocovariance::autocovariances;

/// Autocorrelations in a row that must be lost in the noise, for those beyond to count as nothing (K_N = max(5, ⌈√log₁₀ N⌉), which is 5 for
/// any text there is).
const RUN: usize = 5;

/// The length of blocks, in values, that gives the variance of the series' mean with the least mean squared error: from 1 to
/// min(3 √N, N / 3), not rounded.
///
/// With γ the autocovariances and m the first lag of [`RUN`] in a row with |γ(k)| < 2 √(log₁₀ N / N) γ(0), lags up to M = 2 m count (at most
/// √N + 5, and so many where there is no such run), those of the second half less and less: w(k) = min(1, 2 (1 − k / M)). With
/// G = 2 Σ w(k) k γ(k), S = γ(0) + 2 Σ w(k) γ(k) and D = 4/3 S² the length is (2 G² N / D)^⅓.
pub(super) fn block_length(series: &[f64]) -> f64 {
    let n = series.len() as f64;
    let mean = series.iter().sum::<f64>() / n;
    let centred: Vec<f64> = series.iter().map(|value| value - mean).collect();
    let most_lags = n.sqrt().ceil() as usize + RUN;
    let covariances = autocovariances(&centred, most_lags);
    let variance = covariances[0];
    // Values that differ by no more than sums are rounded by do not go together in any way.
    if variance.sqrt() <= n * f64::EPSILON * mean.abs() {
        return 1.0;
    }
    let noise = 2.0 * (n.log10() / n).sqrt() * variance;
    let first = covariances[1..].windows(RUN).position(|run| run.iter().all(|covariance| covariance.abs() < noise));
    let lags = first.map_or(most_lags, |first| (2 * (first + 1)).min(most_lags));
    let (mut slope, mut long_run) = (0.0, variance);
    for (lag, covariance) in covariances.iter().enumerate().take(lags + 1).skip(1) {
        let weight = (2.0 * (1.0 - lag as f64 / lags as f64)).min(1.0);
        slope += 2.0 * weight * lag as f64 * covariance;
        long_run += 2.0 * weight * covariance;
    }
    let length = (1.5 * (slope / long_run).powi(2) * n).cbrt();
    let longest = (3.0 * n.sqrt()).min(n / 3.0).ceil();
    length.min(longest).max(1.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::random::Stream;

    /// x(t) = ρ x(t − 1) + e(t), of variance 1, from its own distribution on.
    pub(in crate::report::statistics) fn autoregressive(stream: &mut Stream, count: usize, rho: f64) -> Vec<f64> {
        let scale = (1.0 - rho * rho).sqrt();
        let mut value = stream.normal();
        let mut next = || {
            let following = rho * value + scale * stream.normal();
            std::mem::replace(&mut value, following)
        };
        (0..count).map(|_| next()).collect()
    }

    /// A series that Python makes to the last bit as well:
    ///
    /// ```python
    /// def series(n, rho):
    ///     state, x, out = 1, 0.0, []
    ///     for _ in range(n):
    ///         state = (1664525 * state + 1013904223) % 2**32
    ///         x = rho * x + state / 2**32 - 0.5
    ///         out.append(x)
    ///     return np.array(out)
    /// ```
    fn reproducible(count: usize, rho: f64) -> Vec<f64> {
        let (mut state, mut value) = (1_u64, 0.0);
        let mut next = || {
            state = (1_664_525 * state + 1_013_904_223) % (1 << 32);
            value = rho * value + state as f64 / (1_u64 << 32) as f64 - 0.5;
            value
        };
        (0..count).map(|_| next()).collect()
    }

    /// `arch.bootstrap.optimal_block_length(series(n, rho))["circular"]` of Python's arch 8.0.0, where it is 1 or more. (It divides its
    /// autocorrelations by slightly other variances, which moves none of these.)
    #[test]
    fn block_lengths_are_those_of_the_reference_implementation() {
        for (count, rho, expected) in [
            (200, 0.0, 1.0),
            (200, 0.5, 7.492214475437549),
            (200, 0.9, 10.88106025252956),
            (1_000, 0.0, 1.9277902668335862),
            (1_000, 0.5, 12.672739535341151),
            (1_000, 0.9, 52.07418748181794),
            (1_000, -0.5, 17.118645437610443),
            (20_000, 0.0, 1.0979803596663333),
            (20_000, 0.5, 36.473347894163155),
            (20_000, 0.9, 149.79424473136982),
            (20_000, 0.99, 396.02567187421124),
            (200_000, 0.9, 311.5314792343509),
            (200_000, 0.99, 1342.0),
        ] {
            let found = block_length(&reproducible(count, rho));
            assert!((found / expected - 1.0).abs() < 1e-6, "{count} {rho}: {found} {expected}");
        }
        // No five lags in a row are lost in the noise: as many lags as there may be, and a long block.
        let wave = |(t, value)| value + 3.0 * (std::f64::consts::TAU * t as f64 / 30.0).sin();
        let waves: Vec<f64> = reproducible(3_000, 0.0).into_iter().enumerate().map(wave).collect();
        assert!((block_length(&waves) - 165.0).abs() < 1e-6, "{}", block_length(&waves));
    }

    #[test]
    fn values_that_do_not_differ_and_series_of_next_to_nothing_ask_for_no_blocks() {
        for series in [vec![], vec![1.0], vec![0.1, 0.3], vec![0.0; 100], vec![0.1; 1_000]] {
            assert_eq!(block_length(&series), 1.0, "{} values", series.len());
        }
    }
}
