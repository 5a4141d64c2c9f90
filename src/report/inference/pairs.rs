//! How sure the difference of every two configurations is, each pair by its own scatter.
//!
//! The spread from seed to seed differs thirtyfold in any sweep of learning rates, so that one variance for all pairs is wrong
//! for most. A pair's own variance, from the differences of the few seeds that both have, is right and uncertain. It is therefore
//! **moderated** (Smyth 2004, "Linear models and empirical Bayes methods", equations 3 to 5; the reference implementation is
//! `fitFDist` and `squeezeVar` of limma): the variances of all pairs scatter around s₀² as if each had d₀ degrees of freedom, d₀ being
//! found from the variance of their logarithms, and a pair's is the weighted mean of its own and of s₀². Here s₀² is the geometric
//! mean, which is above limma's: with few configurations those of larger scatter would be drawn down too far.
//!
//! Pairs share configurations, and a configuration that scatters more does so in all of its pairs. So the prior of a pair is larger
//! where one of the two scatters more than the mean of all: s₀² exp(B max(0, hᵢ, hⱼ)), hᵢ being the mean log variance of i's
//! pairs less that of all. How much of the spread of h is real and not chance is B = max(0, 1 − V₀ / Var(h)), V₀ its variance where
//! all scatter alike, from fixed draws. Two seeds cannot tell real from chance: B is 1 there. No single h is drawn in by more than two
//! of its deviations by chance (limited translation: Efron and Morris 1972), or one noisy configuration among a hundred would pass for
//! chance.
//!
//! The degrees of freedom are d₀ and those of the pair, and never more than the additive model has ([`Fit`]): the pairs are made of
//! the same few numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use statrs::function::gamma::digamma;

use super::residual::{Fit, Observation};
use crate::random::Stream;

/// Configurations that the prior is estimated from, evenly spread among all.
const MOST_FOR_PRIOR: usize = 400;
/// Draws of an experiment in which all scatter alike, and the most configurations that it has.
const DRAWS: u64 = 2_000;
const MOST_DRAWN: usize = 40;
/// Deviations by chance by which an h is drawn in at most.
const MOST_DRAWN_IN: f64 = 2.0;
/// Share of the median variance below which none is taken to be (as limma does): a variance of 0 has no logarithm.
const FLOOR: f64 = 1e-5;

/// The estimate of a difference, over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct Difference {
    /// Of adjusted means: the first less the second.
    pub(in crate::report) estimate: f64,
    /// Its variance.
    pub(in crate::report) variance: f64,
    pub(in crate::report) degrees: f64,
}

/// All pairs of some configurations.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Pairs {
    fit: Fit,
    /// Response by configuration and seed, by their places; NaN where there is none.
    responses: Vec<f64>,
    seeds: usize,
    /// `None` where no two configurations have two seeds in common, or there are only two configurations.
    prior: Option<Prior>,
}

/// What all pairs together say of the variance of one.
#[derive(Debug, Clone, PartialEq)]
struct Prior {
    /// s₀², of the difference of two trials of one seed.
    variance: f64,
    /// d₀; infinite where the variances differ no more than chance makes them.
    degrees: f64,
    /// hᵢ of each configuration, without what may be chance in it.
    excess: Vec<f64>,
}

impl Pairs {
    /// Fits the additive model and the prior. Responses of the same configuration and seed must not be given twice.
    pub(in crate::report) fn new(observations: &[Observation]) -> Self {
        let fit = Fit::new(observations);
        let mut labels: Vec<i64> = observations.iter().map(|o| o.seed).collect();
        labels.sort_unstable();
        labels.dedup();
        let seeds = labels.len();
        let mut responses = vec![f64::NAN; fit.configurations().len() * seeds];
        for observation in observations {
            let seed = labels.partition_point(|&label| label < observation.seed);
            if let Some(place) = fit.place(observation.configuration) {
                responses[place * seeds + seed] = observation.response;
            }
        }
        let mut pairs = Self { fit, responses, seeds, prior: None };
        pairs.prior = pairs.prior();
        pairs
    }

    /// The additive model, which has the adjusted means.
    pub(in crate::report) fn fit(&self) -> &Fit {
        &self.fit
    }

    /// Seeds of all.
    pub(in crate::report) fn seeds(&self) -> usize {
        self.seeds
    }

    /// The responses of the configuration at this place, by seed; NaN where there is none.
    pub(in crate::report) fn responses(&self, place: usize) -> &[f64] {
        &self.responses[place * self.seeds..(place + 1) * self.seeds]
    }

    /// Variance of the differences over the seeds that both have, and its degrees of freedom: one less than they are. `None` below two.
    fn own(&self, i: usize, j: usize) -> Option<(f64, f64)> {
        variance_of_differences(self.responses(i), self.responses(j))
    }

    /// The moderated variance of a difference of two trials of one seed, and its degrees of freedom.
    fn moderated(&self, i: usize, j: usize) -> Option<(f64, f64)> {
        let own = self.own(i, j);
        let Some(prior) = &self.prior else { return own };
        let excess = prior.excess[i].max(prior.excess[j]).max(0.0);
        let expected = prior.variance * excess.exp();
        let (variance, degrees) = own.unwrap_or((0.0, 0.0));
        let all = prior.degrees + degrees;
        let moderated = if all.is_finite() { (prior.degrees * expected + degrees * variance) / all } else { expected };
        let most = self.fit.degrees as f64;
        (most > 0.0).then(|| (moderated, all.min(most)))
    }

    /// The difference of the adjusted means of the configurations at these places; `None` where nothing says how sure it is.
    pub(in crate::report) fn difference(&self, i: usize, j: usize) -> Option<Difference> {
        let (variance, degrees) = self.moderated(i, j)?;
        // The factor is in variances of one trial, of which a difference of two has twice; to itself none has one.
        let variance = if i == j { 0.0 } else { 0.5 * variance * self.fit.difference_variance(i, j) };
        Some(Difference { estimate: self.fit.mean(i) - self.fit.mean(j), variance, degrees })
    }

    fn prior(&self) -> Option<Prior> {
        let count = self.fit.configurations().len();
        if count < 3 {
            return None;
        }
        let some = count.min(MOST_FOR_PRIOR);
        let chosen: Vec<usize> = (0..some).map(|n| n * count / some).collect();
        let mut variances = Vec::new();
        for (n, &i) in chosen.iter().enumerate() {
            variances.extend(chosen[..n].iter().filter_map(|&j| self.own(i, j)));
        }
        if variances.is_empty() {
            return None;
        }
        let middle = variances.len() / 2;
        let floor = FLOOR * variances.select_nth_unstable_by(middle, |a, b| a.0.total_cmp(&b.0)).1.0;
        if floor <= 0.0 {
            // Most differences are the same for every seed.
            return Some(Prior { variance: 0.0, degrees: f64::INFINITY, excess: vec![0.0; count] });
        }
        let (variance, degrees) = moments(&variances, floor);
        let expected: f64 = variances.iter().map(|&(s, d)| log_of(s, d, floor)).sum::<f64>() / variances.len() as f64;
        let mut excess: Vec<f64> = (0..count)
            .map(|i| {
                let own = chosen.iter().filter(|&&j| j != i).filter_map(|&j| self.own(i, j));
                let (sum, n) = own.fold((0.0, 0), |(sum, n), (s, d)| (sum + log_of(s, d, floor), n + 1));
                if n > 0 { sum / f64::from(n) - expected } else { 0.0 }
            })
            .collect();
        self.draw_in(&mut excess);
        Some(Prior { variance, degrees, excess })
    }

    /// Makes what may be chance in these smaller.
    fn draw_in(&self, excess: &mut [f64]) {
        let mut counts: Vec<usize> = (0..excess.len()).map(|place| self.fit.count(place)).collect();
        counts.sort_unstable();
        let seeds = counts[counts.len() / 2];
        let spread = variance(excess);
        if seeds <= 2 || spread <= 0.0 {
            return;
        }
        let chance = by_chance(excess.len(), seeds);
        let weight = (1.0 - chance / spread).max(0.0);
        excess.iter_mut().for_each(|h| *h = (weight * *h).max(*h - MOST_DRAWN_IN * chance.sqrt()));
    }
}

/// Sample variance of the differences where both have a value, and its degrees of freedom.
fn variance_of_differences(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let difference = a - b;
        if difference.is_nan() {
            continue;
        }
        n += 1.0;
        let from_mean = difference - mean;
        mean += from_mean / n;
        squares += from_mean * (difference - mean);
    }
    (n >= 2.0).then(|| (squares / (n - 1.0), n - 1.0))
}

/// The logarithm of a variance with so many degrees of freedom, without the bias of the logarithm.
fn log_of(variance: f64, degrees: f64, floor: f64) -> f64 {
    variance.max(floor).ln() - digamma(0.5 * degrees) + (0.5 * degrees).ln()
}

/// s₀² and d₀ of these variances and degrees of freedom, by the moments of their logarithms.
fn moments(variances: &[(f64, f64)], floor: f64) -> (f64, f64) {
    let count = variances.len() as f64;
    let logs: Vec<f64> = variances.iter().map(|&(s, d)| log_of(s, d, floor)).collect();
    let mean = logs.iter().sum::<f64>() / count;
    let by_chance = variances.iter().map(|&(_, d)| trigamma(0.5 * d)).sum::<f64>() / count;
    let real = variance(&logs) - by_chance;
    if real > 0.0 {
        (mean.exp(), 2.0 * inverse_trigamma(real))
    } else {
        let (sum, degrees) = variances.iter().fold((0.0, 0.0), |(sum, all), &(s, d)| (sum + s * d, all + d));
        (sum / degrees, f64::INFINITY)
    }
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if count < 2.0 { 0.0 } else { values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) }
}

/// V₀: the variance of the mean log variances of the configurations' pairs where all scatter alike, the mean of fixed draws.
fn by_chance(configurations: usize, seeds: usize) -> f64 {
    // Simulations of whole experiments ask for the same again and again.
    static KNOWN: Mutex<BTreeMap<(usize, usize), f64>> = Mutex::new(BTreeMap::new());
    let key = (configurations.min(MOST_DRAWN), seeds);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(key).or_insert_with(|| drawn_by_chance(key.0, key.1))
}

fn drawn_by_chance(configurations: usize, seeds: usize) -> f64 {
    let mut stream = Stream::new(0, "pairs that scatter alike", &[configurations as u64, seeds as u64]);
    let mut sum = 0.0;
    let mut responses = vec![0.0; configurations * seeds];
    for _ in 0..DRAWS {
        responses.iter_mut().for_each(|response| *response = stream.normal());
        let row = |i: usize| &responses[i * seeds..(i + 1) * seeds];
        let mut excess = vec![0.0; configurations];
        for i in 0..configurations {
            for j in 0..i {
                let log = variance_of_differences(row(i), row(j)).map_or(0.0, |(s, _)| s.ln());
                excess[i] += log;
                excess[j] += log;
            }
        }
        excess.iter_mut().for_each(|h| *h /= (configurations - 1) as f64);
        sum += variance(&excess);
    }
    sum / DRAWS as f64
}

/// The derivative of digamma, by recurrence up to 6 and the asymptotic series (Abramowitz and Stegun 6.4.6 and 6.4.12).
fn trigamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 6.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 0.5 * y + (1.0 + y * (1.0 / 6.0 + y * (-1.0 / 30.0 + y * (1.0 / 42.0 - y / 30.0)))) / x
}

/// Where trigamma has this value, by Newton's method on its reciprocal, which is convex (Smyth 2004, appendix).
fn inverse_trigamma(value: f64) -> f64 {
    if value > 1e7 {
        return 1.0 / value.sqrt();
    }
    if value < 1e-6 {
        return 1.0 / value;
    }
    let mut x = 0.5 + 1.0 / value;
    for _ in 0..50 {
        let found = trigamma(x);
        let step = found * (1.0 - found / value) / tetragamma(x);
        x += step;
        if -step / x < 1e-8 {
            break;
        }
    }
    x
}

/// The second derivative of digamma, by the same means (Abramowitz and Stegun 6.4.13).
fn tetragamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 6.0 {
        sum -= 2.0 / (x * x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum - y * (1.0 + 1.0 / x + y * (0.5 + y * (-1.0 / 6.0 + y * (1.0 / 6.0 - 0.3 * y))))
}
