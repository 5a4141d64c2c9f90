//! Which configurations may be the best: Hsu's multiple comparisons with the best.
//!
//! For each configuration i the limits are those of μ_i − min_{j≠i} μ_j (lower is better), all of them at once at 95 %. With W_ij =
//! d_i s √(Var(m_i − m_j)/σ²) and d_i the one-sided critical value of comparing i with all others:
//!
//! * i may be the best (it is in the set G) where m_i − m_j ≤ W_ij for every j;
//! * lower limit: min(0, max_j (m_i − m_j − W_ij));
//! * upper limit: max(0, max over j ≠ i in G of (m_i − m_j + W_ji)), and 0 where no other one may be the best.
//!
//! With as many observations each this is Hsu's constrained interval. It covers every difference at once with exactly 95 %
//! where one configuration is far ahead, and with more otherwise; the best one is in G with at least 95 %, exactly that
//! where all are equal. With missing cells the standard errors are exact, and the correlation in d_i is that of the numbers of
//! observations alone.

use std::collections::BTreeMap;

use super::Interval;
use super::critical::Comparisons;
use super::residual::Fit;

/// The probability with which all limits hold at once.
pub(super) const LEVEL: f64 = 0.95;

/// A configuration and the best of the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    pub(super) configuration: i64,
    pub(super) mean: f64,
    pub(super) count: usize,
    pub(super) difference: f64,
    pub(super) limits: Option<Interval>,
    pub(super) may_be_best: Option<bool>,
}

/// How each of these configurations stands to the best of the others of them. The residual is that of the whole fit.
pub(super) fn against_the_best(fit: &Fit, compared: &[i64]) -> Vec<Standing> {
    let places: Vec<usize> = compared.iter().filter_map(|&number| fit.place(number)).collect();
    let widths = fit.scatter.as_ref().filter(|_| places.len() > 1).map(|scatter| {
        let critical = critical_values(fit, &places, scatter.degrees);
        move |i: usize, j: usize| critical[&fit.count(i)] * (scatter.variance * fit.difference_variance(i, j)).sqrt()
    });
    let may_be_best: Vec<Option<bool>> = places
        .iter()
        .map(|&i| {
            let width = widths.as_ref()?;
            Some(places.iter().filter(|&&j| j != i).all(|&j| fit.mean(i) - fit.mean(j) <= width(i, j)))
        })
        .collect();
    let set: Vec<usize> =
        places.iter().zip(&may_be_best).filter(|(_, may)| **may == Some(true)).map(|(&place, _)| place).collect();
    places
        .iter()
        .zip(may_be_best)
        .map(|(&i, may_be_best)| {
            let largest = |list: &[usize], of: &dyn Fn(usize) -> f64| {
                list.iter().filter(|&&j| j != i).map(|&j| of(j)).fold(f64::NEG_INFINITY, f64::max)
            };
            let difference = largest(&places, &|j| fit.mean(i) - fit.mean(j));
            let limits = widths.as_ref().map(|width| Interval {
                lower: largest(&places, &|j| fit.mean(i) - fit.mean(j) - width(i, j)).min(0.0),
                upper: largest(&set, &|j| fit.mean(i) - fit.mean(j) + width(j, i)).max(0.0),
            });
            Standing {
                configuration: fit.configurations()[i],
                mean: fit.mean(i),
                count: fit.count(i),
                difference: if difference.is_finite() { difference } else { 0.0 },
                limits,
                may_be_best,
            }
        })
        .collect()
}

/// The critical value by number of observations: those with as many are compared with the same others.
fn critical_values(fit: &Fit, places: &[usize], degrees: usize) -> BTreeMap<usize, f64> {
    let mut classes: BTreeMap<usize, usize> = BTreeMap::new();
    for &place in places {
        *classes.entry(fit.count(place)).or_default() += 1;
    }
    let value = |own: usize| {
        let others = classes.iter().map(|(&count, &means)| (count, means - usize::from(count == own)));
        Comparisons::new(own, others).critical(LEVEL, degrees)
    };
    classes.keys().map(|&own| (own, value(own))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::residual::Observation;
    use super::*;
    use crate::random::Stream;

    const EXPERIMENTS: u64 = 1_000;

    /// An experiment of known truth: these means, three seeds that are blocks, a residual deviation of 1.
    fn experiment(truth: &[f64], seeds: i64, number: u64, missing: &[(usize, i64)]) -> Fit {
        let mut stream = Stream::new(number, "synthetic experiment", &[truth.len() as u64]);
        let blocks: Vec<f64> = (0..seeds).map(|_| 3.0 * stream.normal()).collect();
        let mut cells = Vec::new();
        for (c, mean) in truth.iter().enumerate() {
            for seed in 0..seeds {
                let response = mean + blocks[seed as usize] + stream.normal();
                if !missing.contains(&(c, seed)) {
                    cells.push(Observation { configuration: c as i64, seed, response });
                }
            }
        }
        Fit::new(&cells)
    }

    fn standings(truth: &[f64], seeds: i64, number: u64, missing: &[(usize, i64)]) -> Vec<Standing> {
        let all: Vec<i64> = (0..truth.len() as i64).collect();
        against_the_best(&experiment(truth, seeds, number, missing), &all)
    }

    /// In how many of the experiments this holds.
    fn share(truth: &[f64], seeds: i64, missing: &[(usize, i64)], holds: impl Fn(&[Standing]) -> bool) -> f64 {
        let found = (0..EXPERIMENTS).filter(|&number| holds(&standings(truth, seeds, number, missing))).count();
        found as f64 / EXPERIMENTS as f64
    }

    /// Whether all limits of μ_i − min_{j≠i} μ_j hold at once.
    fn covers(truth: &[f64], standings: &[Standing]) -> bool {
        standings.iter().all(|s| {
            let own = s.configuration as usize;
            let others = truth.iter().enumerate().filter(|&(j, _)| j != own).map(|(_, &mean)| mean);
            let (real, limits) = (truth[own] - others.fold(f64::INFINITY, f64::min), s.limits.unwrap());
            limits.lower <= real && real <= limits.upper
        })
    }

    fn set(standings: &[Standing]) -> Vec<i64> {
        standings.iter().filter(|s| s.may_be_best == Some(true)).map(|s| s.configuration).collect()
    }

    #[test]
    fn simultaneous_limits_hold_95_times_in_100_where_they_are_exact() {
        // The intervals of μ_i − min_{j≠i} μ_j of all twelve at once. They are exact where the best one is far ahead (elsewhere
        // they cover more often): configuration 4 leads by 20 residual deviations, the others are spread.
        let truth: Vec<f64> = (0..12).map(|c| if c == 4 { 0.0 } else { 20.0 + f64::from(c) }).collect();
        let covered = share(&truth, 3, &[], |s| covers(&truth, s));
        println!("12 configurations, 3 seeds, one far ahead: covered {covered}");
        assert!((0.93..=0.97).contains(&covered), "{covered}");
        let truth = [20.0, 21.0, 0.0, 20.5];
        let covered = share(&truth, 2, &[], |s| covers(&truth, s));
        println!("4 configurations, 2 seeds, one far ahead: covered {covered}");
        assert!((0.93..=0.97).contains(&covered), "{covered}");
    }

    #[test]
    fn elsewhere_the_limits_hold_at_least_as_often() {
        let truth = [0.0, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 5.0];
        let covered = share(&truth, 3, &[], |s| covers(&truth, s));
        println!("8 configurations, close together: covered {covered}");
        assert!(covered >= 0.95, "{covered}");
    }

    #[test]
    fn the_best_is_in_the_set_at_the_declared_rate() {
        // Where all are equal each of them is a best one, and it is in the set exactly 95 times in 100.
        let included = share(&[0.0; 12], 3, &[], |s| set(s).contains(&7));
        println!("12 equal configurations: a given one in the set {included}");
        assert!((0.93..=0.97).contains(&included), "{included}");
        let truth: Vec<f64> = (0..12).map(|c| 0.5 * f64::from(c)).collect();
        let included = share(&truth, 3, &[], |s| set(s).contains(&0));
        println!("12 configurations half a deviation apart: the best in the set {included}");
        assert!(included >= 0.95, "{included}");
    }

    #[test]
    fn with_missing_cells_the_limits_hold_as_well() {
        let missing = [(0, 2), (3, 0), (3, 1), (5, 2), (6, 2)];
        let truth = [0.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0];
        let covered = share(&truth, 3, &missing, |s| covers(&truth, s));
        println!("8 configurations, 5 of 24 cells missing: covered {covered}");
        assert!((0.93..=0.975).contains(&covered), "{covered}");
        let included = share(&[0.0; 8], 3, &missing, |s| set(s).contains(&3));
        println!("8 equal configurations, 5 cells missing: one with a single seed in the set {included}");
        assert!((0.93..=0.975).contains(&included), "{included}");
    }

    #[test]
    fn a_lead_of_five_deviations_is_found_nearly_always_and_no_lead_hardly_ever() {
        let mut truth = vec![5.0; 12];
        truth[9] = 0.0;
        let found = share(&truth, 3, &[], |s| set(s) == [9]);
        println!("a lead of 5 deviations among 12 configurations with 3 seeds: found {found}");
        assert!(found >= 0.97, "{found}");
        let claimed = share(&[0.0; 12], 3, &[], |s| set(s).len() == 1);
        println!("no lead: a single winner claimed {claimed}");
        assert!(claimed <= 0.05, "{claimed}");
    }

    #[test]
    fn limits_never_cross_zero_the_wrong_way_and_say_who_is_out() {
        let standings = standings(&[0.0, 0.2, 9.0], 3, 1, &[]);
        for s in &standings {
            let limits = s.limits.unwrap();
            assert!(limits.lower <= 0.0 && limits.upper >= 0.0);
            assert!(limits.lower <= s.difference && s.difference <= limits.upper);
            assert_eq!(s.may_be_best, Some(limits.lower < 0.0));
        }
        assert_eq!(standings[2].may_be_best, Some(false));
    }

    #[test]
    fn without_scatter_there_are_differences_and_no_limits() {
        let cells = [1.0, 3.0, 2.5].iter().enumerate();
        let cells: Vec<Observation> =
            cells.map(|(c, &response)| Observation { configuration: c as i64, seed: 1, response }).collect();
        let standings = against_the_best(&Fit::new(&cells), &[0, 1, 2]);
        assert_eq!(standings.iter().map(|s| s.difference).collect::<Vec<_>>(), [-1.5, 2.0, 1.5]);
        assert!(standings.iter().all(|s| s.limits.is_none() && s.may_be_best.is_none()));
    }

    #[test]
    fn figures_that_do_not_scatter_at_all_are_told_apart_and_equal_ones_are_not() {
        let cells = [(0, 1.0), (1, 2.0), (2, 1.0)];
        let cells: Vec<Observation> = cells
            .into_iter()
            .flat_map(|(c, y)| (1..=2).map(move |seed| Observation { configuration: c, seed, response: y }))
            .collect();
        assert_eq!(set(&against_the_best(&Fit::new(&cells), &[0, 1, 2])), [0, 2]);
    }
}
