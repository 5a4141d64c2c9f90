//! How small a lead the experiment could see, by simulating it: the same configurations and seeds, spreads as they were found, and
//! the rule itself.
//!
//! In each simulated experiment one configuration leads all others by the same amount. A shift of one configuration changes no
//! variance, so that the smallest lead with which it is named sole winner can be read off each experiment at once; the **reach**
//! is the lead that four experiments in five would find. The spreads it is reckoned with are themselves uncertain, mostly by a factor:
//! the limits of that factor at 90 % give the reach its own.

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

use super::pairs::Pairs;
use super::residual::Observation;
use super::rule::{Critical, level, quantile};
use crate::random::Stream;

/// How often a lead should be found.
const POWER: f64 = 0.8;
/// Experiments that are simulated, and the most configurations in one.
const EXPERIMENTS: u64 = 500;
const MOST_SIMULATED: usize = 40;
/// Most seeds that are proposed to anybody.
pub(in crate::report) const MOST_SEEDS: usize = 50;

/// How small a lead the experiment could see.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(in crate::report) struct Reach {
    /// The lead (in the response) over each of the others that four experiments in five find.
    pub(in crate::report) lead: f64,
    /// The lead over a typical other one, the median of them, that four experiments in five find.
    pub(in crate::report) typical: f64,
    /// 90 % limits of `lead`, for the spreads are estimated; those of `typical` differ by the same factors.
    pub(in crate::report) from: f64,
    pub(in crate::report) to: f64,
    /// Seeds a configuration that it is reckoned with.
    pub(in crate::report) seeds: usize,
    /// Configurations that are compared.
    pub(in crate::report) configurations: usize,
    /// Seeds at which the second would be told from the leader four times in five, if the true difference is what was seen;
    /// `None` beyond [`MOST_SEEDS`], or where there is no second.
    pub(in crate::report) seeds_to_separate: Option<usize>,
}

/// What was within reach of these configurations, the leader first and the second next. `text(i, j)` is the variance of a difference
/// by the text and its degrees of freedom. `None` where nothing says how results scatter.
pub(in crate::report) fn reach(
    pairs: &Pairs,
    places: &[usize],
    text: impl Fn(usize, usize) -> Option<(f64, f64)>,
) -> Option<Reach> {
    let (&leader, &second) = (places.first()?, places.get(1)?);
    let between = pairs.difference(leader, second)?;
    let seeds = {
        let mut counts: Vec<usize> = places.iter().map(|&place| pairs.fit().count(place)).collect();
        counts.sort_unstable();
        counts[counts.len() / 2]
    };
    let some = places.len().min(MOST_SIMULATED);
    let simulated: Vec<usize> = (0..some).map(|n| places[n * places.len() / some]).collect();
    let deviations = deviations(pairs, &simulated);
    let by_text: Vec<f64> = simulated.iter().map(|&place| text(leader, place).map_or(0.0, |(variance, _)| variance)).collect();
    let text_degrees = text(leader, second).map_or(f64::INFINITY, |(_, degrees)| degrees);
    let (lead, typical) = lead(&deviations, &by_text, text_degrees, seeds, places.len())?;
    // Of the whole lead only the seeds' share is uncertain by that factor.
    let spread = between.variance / (between.variance + by_text.get(1).copied().unwrap_or(0.0)).max(f64::MIN_POSITIVE);
    let factor = |share: f64| {
        let chi = ChiSquared::new(between.degrees).map_or(between.degrees, |chi| chi.inverse_cdf(share));
        (1.0 - spread + spread * between.degrees / chi).sqrt()
    };
    let seeds_to_separate = {
        let gap = -between.estimate;
        // Of one difference of two trials with the same seed.
        let one = between.variance / pairs.fit().difference_variance(leader, second) * 2.0;
        let text = text(leader, second);
        fewest(|n| {
            power(gap, one / n as f64, more_degrees(pairs, places.len(), between.degrees, seeds, n), text, places.len()) >= POWER
        })
    };
    Some(Reach {
        lead,
        typical,
        from: lead * factor(0.95),
        to: lead * factor(0.05),
        seeds,
        configurations: places.len(),
        seeds_to_separate: seeds_to_separate.filter(|_| between.estimate < 0.0),
    })
}

/// The deviation of one trial of each, such that their squares sum as nearly as they can to the variances of the pairs.
pub(in crate::report) fn deviations(pairs: &Pairs, places: &[usize]) -> Vec<f64> {
    let p = places.len();
    // Of a difference of two trials with the same seed.
    let variance = |i: usize, j: usize| {
        let difference = pairs.difference(places[i], places[j]);
        difference.map_or(0.0, |d| 2.0 * d.variance / pairs.fit().difference_variance(places[i], places[j]))
    };
    // One alone differs from nothing.
    if p < 2 {
        return vec![0.0; p];
    }
    if p == 2 {
        return vec![(0.5 * variance(0, 1)).sqrt(); 2];
    }
    let rows: Vec<f64> = (0..p).map(|i| (0..p).filter(|&j| j != i).map(|j| variance(i, j)).sum()).collect();
    let total = rows.iter().sum::<f64>() / (2.0 * (p - 1) as f64);
    // What the others leave to one may be less than nothing; a tenth of the mean is the least.
    let least = 0.1 * total / p as f64;
    rows.iter().map(|row| ((row - total) / (p - 2) as f64).max(least).sqrt()).collect()
}

/// The lead of the first that is found with [`POWER`], over each of the others and over the median of them; α is that of `compared`
/// configurations.
fn lead(deviations: &[f64], by_text: &[f64], text_degrees: f64, seeds: usize, compared: usize) -> Option<(f64, f64)> {
    if seeds < 2 {
        return None;
    }
    let p = deviations.len();
    let mut critical = Critical::new(level(compared));
    let two_sided = quantile(0.025, f64::INFINITY);
    let mut needed: Vec<(f64, f64)> = (0..EXPERIMENTS)
        .map(|number| {
            let mut stream = Stream::new(number, "reach", &[p as u64, seeds as u64]);
            let observations: Vec<Observation> = deviations
                .iter()
                .enumerate()
                .flat_map(|(c, deviation)| (0..seeds).map(move |seed| (c, *deviation, seed)))
                .map(|(c, deviation, seed)| Observation {
                    configuration: c as i64,
                    seed: seed as i64,
                    response: deviation * stream.normal(),
                })
                .collect();
            let pairs = Pairs::new(&observations);
            let needed = |other: usize| {
                let difference = pairs.difference(other, 0)?;
                let text = by_text[other];
                let (variance, degrees) = added(difference.variance, difference.degrees, text, text_degrees);
                let noise = difference.estimate + text.sqrt() * stream.normal();
                Some(critical.value(degrees).max(two_sided) * variance.sqrt() - noise)
            };
            let mut each: Vec<f64> = (1..p).filter_map(needed).map(|lead| lead.max(0.0)).collect();
            each.sort_by(f64::total_cmp);
            (each.last().copied().unwrap_or(0.0), each.get((p - 1) / 2).or(each.last()).copied().unwrap_or(0.0))
        })
        .collect();
    let place = ((POWER * EXPERIMENTS as f64).ceil() as usize).min(needed.len()) - 1;
    needed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lead = needed[place].0;
    needed.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some((lead, needed[place].1))
}

/// The sum of two variances and its degrees of freedom, by Satterthwaite (1946).
pub(in crate::report) fn added(a: f64, a_degrees: f64, b: f64, b_degrees: f64) -> (f64, f64) {
    let sum = a + b;
    if b <= 0.0 {
        return (sum, a_degrees);
    }
    (sum, sum * sum / (a * a / a_degrees + b * b / b_degrees))
}

/// The degrees of freedom of a pair with `n` seeds in place of `seeds`.
fn more_degrees(pairs: &Pairs, compared: usize, degrees: f64, seeds: usize, n: usize) -> f64 {
    let prior = (degrees - (seeds - 1) as f64).max(0.0);
    let most = if pairs.fit().blocks { (compared - 1) * (n - 1) } else { compared * (n - 1) };
    (prior + (n - 1) as f64).min(most as f64).max(1.0)
}

/// How often a true lead is found: with probability Φ(lead / error − t √(χ² / ν)), averaged over the quantiles of χ².
fn power(lead: f64, variance: f64, degrees: f64, text: Option<(f64, f64)>, compared: usize) -> f64 {
    let (by_text, text_degrees) = text.unwrap_or((0.0, f64::INFINITY));
    let (variance, degrees) = added(variance, degrees, by_text, text_degrees);
    if variance <= 0.0 {
        return if lead > 0.0 { 1.0 } else { 0.0 };
    }
    let critical = Critical::new(level(compared)).value(degrees);
    let Ok(chi) = ChiSquared::new(degrees) else { return 0.0 };
    let nodes = 64;
    let at = |node: usize| {
        let estimated = (chi.inverse_cdf((node as f64 + 0.5) / nodes as f64) / degrees).sqrt();
        Normal::standard().cdf(lead / variance.sqrt() - critical * estimated)
    };
    (0..nodes).map(at).sum::<f64>() / nodes as f64
}

/// The fewest seeds from two on that are enough, if at most [`MOST_SEEDS`] are.
fn fewest(is_enough: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut few, mut enough) = (1, MOST_SEEDS);
    if !is_enough(enough) {
        return None;
    }
    while enough - few > 1 {
        let middle = usize::midpoint(few, enough);
        if is_enough(middle) {
            enough = middle;
        } else {
            few = middle;
        }
    }
    Some(enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Configurations of deviation 1 with so many seeds; the first has a lead.
    fn pairs(number: u64, p: usize, seeds: usize, lead: f64) -> (Pairs, Vec<usize>) {
        let mut stream = Stream::new(number, "reach of an experiment", &[p as u64, seeds as u64]);
        let cells = (0..p).flat_map(|c| (0..seeds).map(move |seed| (c, seed)));
        let cells: Vec<Observation> = cells
            .map(|(c, seed)| {
                let response = stream.normal() - if c == 0 { lead } else { 0.0 };
                Observation { configuration: c as i64, seed: seed as i64, response }
            })
            .collect();
        let pairs = Pairs::new(&cells);
        let mut places: Vec<usize> = (0..p).collect();
        places.sort_by(|&a, &b| pairs.fit().mean(a).total_cmp(&pairs.fit().mean(b)));
        (pairs, places)
    }

    #[test]
    fn the_true_reach_lies_within_its_limits_as_often_as_they_say() {
        // Of twelve with three seeds: what the simulation says with the true spreads.
        let truth = lead(&[1.0; 12], &[0.0; 12], f64::INFINITY, 3, 12).unwrap().0;
        assert!((3.3..4.6).contains(&truth), "{truth}");
        let within = (0..60).filter(|&number| {
            let (pairs, places) = pairs(number, 12, 3, 0.0);
            let found = reach(&pairs, &places, |_, _| None).unwrap();
            found.from <= truth && truth <= found.to
        });
        let within = within.count();
        assert!((48..=60).contains(&within), "{within} of 60");
    }

    #[test]
    fn a_few_that_scatter_far_more_do_not_hide_what_is_seen_of_the_others() {
        let deviations: Vec<f64> = (0..12).map(|c| if c < 10 { 1.0 } else { 30.0 }).collect();
        let (all, typical) = lead(&deviations, &[0.0; 12], f64::INFINITY, 4, 12).unwrap();
        assert!(all > 40.0 && (2.0..8.0).contains(&typical), "{all} {typical}");
    }

    #[test]
    fn a_smaller_lead_takes_more_seeds_and_a_tiny_one_more_than_anybody_has() {
        let seeds = |gap: f64| fewest(|n| power(gap, 2.0 / n as f64, (11 * (n - 1)) as f64, None, 12) >= POWER);
        let found: Vec<Option<usize>> = [4.0, 2.0, 1.0, 0.1, 0.0].map(seeds).to_vec();
        // About 2 (t + 0.84)² / lead², with t near 2.8.
        assert!(found[0].is_some_and(|n| n <= 4) && found[1].is_some_and(|n| (6..=9).contains(&n)), "{found:?}");
        assert!(found[2].is_some_and(|n| (24..=31).contains(&n)), "{found:?}");
        assert_eq!(found[3..], [None, None]);
    }

    #[test]
    fn the_text_makes_the_reach_longer_and_no_number_of_seeds_helps_against_it() {
        let (pairs, places) = pairs(1, 6, 3, 1.0);
        let alone = reach(&pairs, &places, |_, _| None).unwrap();
        let with = reach(&pairs, &places, |_, _| Some((4.0, 99.0))).unwrap();
        assert!(with.lead > 1.5 * alone.lead, "{} {}", with.lead, alone.lead);
        assert_eq!(with.seeds_to_separate, None);
    }

    #[test]
    fn without_scatter_or_company_nothing_is_said() {
        let (one, places) = pairs(1, 1, 3, 0.0);
        assert_eq!(reach(&one, &places, |_, _| None), None);
        let (single, places) = pairs(1, 4, 1, 0.0);
        assert_eq!(reach(&single, &places, |_, _| None), None);
    }
}
