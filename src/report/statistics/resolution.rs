//! How small a difference an experiment can see, and how many seeds a smaller one would take.

use super::critical::Comparisons;
use super::residual::Fit;
use super::{Detectable, MOST_SEEDS, best::LEVEL};

/// How often a difference should be found.
const POWER: f64 = 0.8;

/// What was within reach; `gap` is what the next configuration is behind the leader. `None` without a residual or company.
pub(super) fn detectable(fit: &Fit, compared: &[i64], gap: Option<f64>) -> Option<Detectable> {
    let scatter = fit.scatter.as_ref()?;
    let mut counts: Vec<usize> = compared.iter().filter_map(|&number| Some(fit.count(fit.place(number)?))).collect();
    counts.sort_unstable();
    let (&seeds, others) = (counts.get(counts.len() / 2)?, counts.len().checked_sub(1)?);
    if others == 0 {
        return None;
    }
    let comparisons = Comparisons::balanced(others);
    let deviation = scatter.variance.sqrt();
    let error = |seeds: usize| deviation * (2.0 / seeds as f64).sqrt();
    let critical = comparisons.critical(LEVEL, scatter.degrees);
    let difference = comparisons.lead(POWER, critical, scatter.degrees) * error(seeds);
    let all = fit.configurations().len();
    // Whether the next one alone would be told from the leader, all configurations having as many seeds.
    let is_enough = |seeds: usize, gap: f64| {
        let degrees = if scatter.blocks { (all - 1) * (seeds - 1) } else { all * (seeds - 1) };
        let critical = comparisons.critical(LEVEL, degrees);
        Comparisons::balanced(1).power(gap / error(seeds), critical, degrees) >= POWER
    };
    let seeds_to_separate = gap.filter(|gap| *gap > 0.0 && deviation > 0.0 && all > 1).and_then(|gap| {
        let (mut few, mut enough) = (1, MOST_SEEDS);
        if !is_enough(enough, gap) {
            return None;
        }
        while enough - few > 1 {
            let middle = (few + enough) / 2;
            if is_enough(middle, gap) {
                enough = middle;
            } else {
                few = middle;
            }
        }
        Some(enough)
    });
    Some(Detectable { difference, seeds, configurations: counts.len(), seeds_to_separate })
}

#[cfg(test)]
mod tests {
    use super::super::residual::Observation;
    use super::*;
    use crate::random::Stream;

    /// Twelve configurations of three seeds, residual deviation 1.
    fn fit() -> (Fit, Vec<i64>) {
        let mut stream = Stream::new(3, "resolution", &[]);
        let cells = (0..12).flat_map(|configuration| (1..=3).map(move |seed| (configuration, seed)));
        let cells: Vec<Observation> =
            cells.map(|(configuration, seed)| Observation { configuration, seed, response: stream.normal() }).collect();
        (Fit::new(&cells), (0..12).collect())
    }

    #[test]
    fn with_three_seeds_a_lead_of_about_three_deviations_is_within_reach() {
        let (fit, all) = fit();
        let deviation = fit.scatter.as_ref().unwrap().variance.sqrt();
        let found = detectable(&fit, &all, Some(0.5 * deviation)).unwrap();
        let reach = found.difference / deviation;
        println!("12 configurations, 3 seeds: a lead of {reach} deviations is found 4 times in 5");
        assert!((2.5..3.6).contains(&reach), "{reach}");
        assert_eq!((found.seeds, found.configurations), (3, 12));
    }

    #[test]
    fn a_smaller_lead_takes_more_seeds_and_a_tiny_one_more_than_anybody_has() {
        let (fit, all) = fit();
        let deviation = fit.scatter.as_ref().unwrap().variance.sqrt();
        let seeds = |lead: f64| detectable(&fit, &all, Some(lead * deviation)).unwrap().seeds_to_separate;
        let found: Vec<Option<usize>> = [4.0, 2.0, 1.0, 0.1, 0.0].map(seeds).to_vec();
        println!("seeds for leads of 4, 2, 1 and 0.1 deviations: {found:?}");
        // About 2 (d + 0.84)² / lead², with d near 2.5.
        assert!(found[0].is_some_and(|n| n <= 3) && found[1].is_some_and(|n| (5..=8).contains(&n)), "{found:?}");
        assert!(found[2].is_some_and(|n| (18..=26).contains(&n)), "{found:?}");
        assert_eq!(found[3..], [None, None]);
    }

    #[test]
    fn without_a_residual_or_company_nothing_is_said() {
        let alone: Vec<Observation> = (1..=3).map(|seed| Observation { configuration: 1, seed, response: seed as f64 }).collect();
        assert_eq!(detectable(&Fit::new(&alone), &[1], None), None);
        let once: Vec<Observation> = (1..=3).map(|configuration| Observation { configuration, seed: 1, response: 1.0 }).collect();
        assert_eq!(detectable(&Fit::new(&once), &[1, 2, 3], Some(1.0)), None);
    }
}
