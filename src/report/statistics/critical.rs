//! Critical values of comparisons with one mean (Dunnett), and the power of the decisions made with them, by integration.
//!
//! Let T_j = (m_0 − m_j − (μ_0 − μ_j)) / (s √(1/n_0 + 1/n_j)) for j = 1 … r, where s² has ν degrees of freedom. Given s and the
//! error of m_0 the T_j are independent, so that the probability that none is above d is a double integral over two smooth
//! densities, of φ(z) and of s: trapezoids find it to more digits than anybody needs. Nothing here is drawn at random.

use statrs::function::erf::erfc;
use statrs::function::gamma::ln_gamma;

/// Half width and step of the integral over a standard normal number.
const WIDTH: f64 = 6.5;
const STEP: f64 = 0.25;
/// Steps of the integral over the residual deviation.
const DEVIATIONS: usize = 160;

/// The standard normal distribution.
fn normal(x: f64) -> f64 {
    0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

/// Means that one is compared with: how many of them have which weight λ = √(n_j / (n_0 + n_j)). With equal numbers of
/// observations λ² is ½, the correlation of any two comparisons.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparisons(Vec<(f64, usize)>);

impl Comparisons {
    /// Comparisons of a mean of `own` observations with means of so many: (observations, means).
    pub(super) fn new(own: usize, others: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let weight = |n: usize| (n as f64 / (own + n) as f64).sqrt();
        Self(others.into_iter().filter(|&(_, means)| means > 0).map(|(n, means)| (weight(n), means)).collect())
    }

    /// Comparisons with `means` others, all with as many observations.
    pub(super) fn balanced(means: usize) -> Self {
        Self::new(1, [(1, means)])
    }

    /// The probability that all errors stay below `limit`, in units of their standard deviations.
    fn below(&self, limit: f64) -> f64 {
        let steps = (2.0 * WIDTH / STEP) as usize;
        let mut sum = 0.0;
        for step in 0..=steps {
            let z = -WIDTH + STEP * step as f64;
            let density = (-0.5 * z * z).exp();
            let all: f64 = self
                .0
                .iter()
                .map(|&(weight, means)| normal((limit + weight * z) / (1.0 - weight * weight).sqrt()).powf(means as f64))
                .product();
            sum += density * all;
        }
        sum * STEP / (2.0 * std::f64::consts::PI).sqrt()
    }

    /// The one-sided critical value: with this probability no comparison's error is above it times its standard error.
    pub(super) fn critical(&self, probability: f64, degrees: usize) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let deviation = Deviation::new(degrees);
        solve(0.0, 4.0, |d| deviation.mean(|s| self.below(d * s)) - probability)
    }

    /// The probability that a lead (in standard errors of a difference) over all the others is found with this critical value.
    pub(super) fn power(&self, lead: f64, critical: f64, degrees: usize) -> f64 {
        Deviation::new(degrees).mean(|s| self.below(lead - critical * s))
    }

    /// The lead that is found with this probability.
    pub(super) fn lead(&self, power: f64, critical: f64, degrees: usize) -> f64 {
        let deviation = Deviation::new(degrees);
        solve(0.0, 2.0 * critical + 2.0, |lead| deviation.mean(|s| self.below(lead - critical * s)) - power)
    }
}

/// The distribution of an estimated standard deviation whose truth is 1, as nodes and weights.
struct Deviation(Vec<(f64, f64)>);

impl Deviation {
    fn new(degrees: usize) -> Self {
        let degrees = degrees as f64;
        // In x = ln s the density is exp(ν (x − e^(2x) / 2)) up to a constant: smooth, and gone within these limits.
        let root = (25.0 / degrees).sqrt();
        let (from, to) = (-(25.0 / degrees + root), root.min(2.5));
        let step = (to - from) / DEVIATIONS as f64;
        let constant = std::f64::consts::LN_2 + 0.5 * degrees * (0.5 * degrees).ln() - ln_gamma(0.5 * degrees);
        let nodes = (0..=DEVIATIONS).map(|place| {
            let x = from + step * place as f64;
            (x.exp(), step * (constant + degrees * (x - 0.5 * (2.0 * x).exp())).exp())
        });
        Self(nodes.filter(|&(_, weight)| weight > 1e-12).collect())
    }

    fn mean(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.0.iter().map(|&(s, weight)| weight * of(s)).sum()
    }
}

/// Where a rising function is zero: `to` is doubled until it is past it, then false position (Illinois).
fn solve(from: f64, to: f64, rising: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (from, to);
    let mut at_low = rising(low);
    let mut at_high = rising(high);
    if at_low >= 0.0 {
        return low;
    }
    while at_high < 0.0 && high < 1e4 {
        (low, at_low) = (high, at_high);
        high *= 2.0;
        at_high = rising(high);
    }
    let mut last = 0;
    for _ in 0..100 {
        let middle = (low * at_high - high * at_low) / (at_high - at_low);
        let value = rising(middle);
        if value.abs() < 1e-8 || high - low < 1e-8 {
            return middle;
        }
        if value < 0.0 {
            (low, at_low) = (middle, value);
            at_high *= if last == -1 { 0.5 } else { 1.0 };
            last = -1;
        } else {
            (high, at_high) = (middle, value);
            at_low *= if last == 1 { 0.5 } else { 1.0 };
            last = 1;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        // One-sided Dunnett at 5 %, (comparisons, degrees). Made with scipy 1.x: integrate.quad over the density of s (stats.chi)
        // of integrate.quad over a normal number, solved by optimize.brentq.
        for (means, degrees, expected) in
            [(1, 10, 1.8125), (2, 10, 2.1506), (5, 20, 2.3888), (11, 22, 2.6514), (2, 1, 9.51), (3, 5, 2.6814), (9, 60, 2.476)]
        {
            let found = Comparisons::balanced(means).critical(0.95, degrees);
            assert!((found - expected).abs() < 1.5e-4, "{means} {degrees}: {found}, not {expected}");
        }
    }

    #[test]
    fn numbers_of_observations_count() {
        // The same way: a mean of 3 observations against those of 2, 2, 3, 3 and 1, at 14 degrees.
        let found = Comparisons::new(3, [(2, 2), (3, 2), (1, 1)]).critical(0.95, 14);
        assert!((found - 2.4986).abs() < 1.5e-4, "{found}");
        let (few, many) = (Comparisons::balanced(3), Comparisons::new(4, [(4, 1), (4, 2)]));
        assert!((few.critical(0.95, 9) - many.critical(0.95, 9)).abs() < 1e-9);
    }

    #[test]
    fn a_thousand_comparisons_and_many_degrees_are_no_trouble() {
        // The largest of 999 standard normal numbers less an independent one, over √2: (3.24 + 1.645 √(1 + 0.35²)) / √2, nearly.
        let found = Comparisons::balanced(999).critical(0.95, 1_998);
        assert!((3.5..3.57).contains(&found), "{found}");
        assert_eq!(Comparisons::balanced(0).critical(0.95, 5), 0.0);
    }

    #[test]
    fn power_is_how_often_a_lead_is_found() {
        let (others, degrees) = (11, 22);
        let comparisons = Comparisons::balanced(others);
        let critical = comparisons.critical(0.95, degrees);
        let lead = comparisons.lead(0.8, critical, degrees);
        assert!((comparisons.power(lead, critical, degrees) - 0.8).abs() < 1e-6);
        let mut stream = Stream::new(5, "power", &[]);
        let draws = 20_000;
        let found = (0..draws)
            .filter(|_| {
                let deviation = ((0..degrees).map(|_| stream.normal().powi(2)).sum::<f64>() / degrees as f64).sqrt();
                let own = stream.normal();
                let nearest = (0..others).map(|_| stream.normal()).fold(f64::INFINITY, f64::min);
                lead * 2f64.sqrt() + nearest - own >= critical * deviation * 2f64.sqrt()
            })
            .count();
        let share = found as f64 / f64::from(draws);
        assert!((share - 0.8).abs() < 0.012, "{share}");
    }

    #[test]
    fn the_deviation_of_any_degrees_is_a_distribution() {
        for degrees in [1, 2, 3, 10, 100, 5_000] {
            let deviation = Deviation::new(degrees);
            let all = deviation.mean(|_| 1.0);
            assert!((all - 1.0).abs() < 1e-6, "{degrees}: {all}");
            assert!((deviation.mean(|s| s * s) - 1.0).abs() < 1e-6, "{degrees}: the variance is unbiased");
        }
    }
}
