//! Which configurations may be the best.
//!
//! A configuration is **out** where some other one beats it at α / (p − 1), one-sided: whichever of the p is the best, the
//! chance that any of the p − 1 others beats it is then at most α. With two configurations the test is two-sided, as everybody
//! reads it. What is not out is the set of those that are statistically tied with the best; a **sole winner** is named where that is
//! one alone and the second loses to it two-sided at α as well (Hung and Fithian 2019, "Rank verification for exponential
//! families").

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::pairs::Difference;

/// How often at most the best one may be out.
pub(in crate::report) const ALPHA: f64 = 0.05;

/// The t that a share `above` of the distribution lies beyond.
pub(in crate::report) fn quantile(above: f64, degrees: f64) -> f64 {
    if degrees > 1e6 {
        return Normal::standard().inverse_cdf(1.0 - above);
    }
    StudentsT::new(0.0, 1.0, degrees).map_or(f64::INFINITY, |t| t.inverse_cdf(1.0 - above))
}

/// The share of the t distribution beyond which one configuration of `compared` beats another.
pub(in crate::report) fn level(compared: usize) -> f64 {
    if compared <= 2 { 0.5 * ALPHA } else { ALPHA / (compared - 1) as f64 }
}

/// No larger difference of mean losses comes from rounding alone; nats or bits.
const ROUNDING: f64 = 1e-9;

/// Critical values of t that are known already, by degrees of freedom.
#[derive(Debug, Clone)]
pub(in crate::report) struct Critical {
    above: f64,
    least: f64,
    known: Vec<(f64, f64)>,
}

impl Critical {
    pub(in crate::report) fn new(above: f64) -> Self {
        Self { above, least: quantile(above, f64::INFINITY), known: Vec::new() }
    }

    /// With these degrees of freedom, rounded down so that few are computed.
    pub(in crate::report) fn value(&mut self, degrees: f64) -> f64 {
        let degrees =
            if degrees < 64.0 { (degrees * 8.0).floor() / 8.0 } else { 2f64.powf((degrees.log2() * 4.0).floor() / 4.0) };
        let degrees = degrees.max(0.125);
        if let Some(&(_, value)) = self.known.iter().find(|(known, _)| *known == degrees) {
            return value;
        }
        let value = quantile(self.above, degrees);
        self.known.push((degrees, value));
        value
    }

    /// Whether a difference is above 0 beyond chance.
    pub(in crate::report) fn is_beaten(&mut self, difference: Difference) -> bool {
        let error = difference.variance.sqrt();
        // Where all seeds that two have are the same to the bit the error is 0, and what least squares leaves is rounding.
        difference.estimate > ROUNDING
            && difference.estimate > self.least * error
            && difference.estimate > self.value(difference.degrees) * error
    }
}

/// For each of `places`, the one of those that exclude others which beats it by most, if any does.
///
/// `difference(i, j)` is the first less the second; `excludes(i)` whether i may beat others.
pub(in crate::report) fn beaten_by(
    places: &[usize],
    difference: impl Fn(usize, usize) -> Option<Difference>,
    excludes: impl Fn(usize) -> bool,
) -> Vec<Option<usize>> {
    let mut critical = Critical::new(level(places.len()));
    let mut beaten = |i: usize| {
        let others = places.iter().copied().filter(|&j| j != i && excludes(j));
        let beating = others.filter_map(|j| Some((j, difference(i, j)?))).filter(|(_, d)| critical.is_beaten(*d));
        beating.max_by(|a, b| a.1.estimate.total_cmp(&b.1.estimate)).map(|(j, _)| j)
    };
    places.iter().map(|&i| beaten(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_no_difference_where_seeds_that_two_have_are_the_same_to_the_bit() {
        let mut critical = Critical::new(level(2));
        let mut is_beaten = |estimate| critical.is_beaten(Difference { estimate, variance: 0.0, degrees: f64::INFINITY });
        assert_eq!([-1e-3, 0.0, 2e-16, 1e-6].map(&mut is_beaten), [false, false, false, true]);
    }
}
