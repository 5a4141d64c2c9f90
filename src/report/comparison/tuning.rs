//! Tuned settings (`tune:`): each combination of the other settings is ranked at the value that suits it best.
//!
//! A learning rate that suits one batch size may not suit another, so that a comparison at one rate is a comparison of who was
//! luckier with it. The value is chosen by the figure that ranks, on the very text that ranks, which the report says: the
//! figures of all are a little too good. A best value at the edge of what was tried may not be the best there is.

use std::collections::{BTreeMap, BTreeSet};

use super::configuration::{Configuration, Tuned};
use crate::report::design::Design;
use crate::report::swept_value::SweptValue;

/// Says of each configuration with a figure that ranks whether it is the chosen one of its combination. One that has none, as where
/// all its seeds diverged, was no choice.
pub(super) fn choose(configurations: &mut [Configuration], design: &Design, by_bytes: bool) {
    if design.tune.is_empty() {
        return;
    }
    let tuned: Vec<usize> = (0..design.swept.len()).filter(|&place| design.tune.contains(&design.swept[place])).collect();
    // What is computed from a tuned setting moves with it.
    let others: Vec<usize> = (0..design.swept.len())
        .filter(|place| !tuned.contains(place) && !design.derived.contains(&design.swept[*place]))
        .collect();
    let settings =
        |c: &Configuration| others.iter().map(|&place| c.values.get(place).cloned().unwrap_or_default()).collect::<Vec<_>>();
    let mut groups: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    for (place, configuration) in configurations.iter().enumerate() {
        groups.entry(settings(configuration)).or_default().push(place);
    }
    for (number, members) in groups.into_values().enumerate() {
        let figure = |place: usize| configurations[place].figure(by_bytes).map(|figure| figure.mean);
        let with_figure: Vec<(usize, f64)> = members.iter().filter_map(|&place| Some((place, figure(place)?))).collect();
        let best = with_figure.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|&(place, _)| place);
        let Some(best) = best else { continue };
        let edges = tuned.iter().filter(|&&key| is_at_edge(configurations, &members, best, key));
        let at_edge: Vec<String> = edges.map(|&key| design.swept[key].clone()).collect();
        for (place, _) in with_figure {
            let chosen = place == best;
            let at_edge = if chosen { at_edge.clone() } else { Vec::new() };
            configurations[place].tuned = Some(Tuned { combination: number, chosen, at_edge });
        }
    }
}

/// Whether the chosen value is the smallest or largest of at least two; words have no edge.
fn is_at_edge(configurations: &[Configuration], members: &[usize], best: usize, key: usize) -> bool {
    let value = |place: usize| configurations[place].values.get(key).map_or("", String::as_str);
    let distinct: BTreeSet<&str> = members.iter().map(|&place| value(place)).collect();
    let sizes: Option<Vec<f64>> = distinct.iter().map(|value| SweptValue::of(value).size()).collect();
    let (Some(sizes), Some(own)) = (sizes, SweptValue::of(value(best)).size()) else { return false };
    sizes.len() > 1 && (sizes.iter().all(|&other| other >= own) || sizes.iter().all(|&other| other <= own))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compared_as, order};
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::record::TrialState;
    use crate::record::tests::{completed, ended, plan, waiting};
    use crate::runs::Status;

    const TUNED: &str = r#"{"tune": ["train.clip_norm"]}"#;

    /// Two lengths, and three clip norms that stand for any tuned number.
    fn lengths() -> crate::plan::Plan {
        plan(&[32, 64], &[ClipNorm::At(0.25), ClipNorm::At(0.5), ClipNorm::At(1.0)], &[1])
    }

    #[test]
    fn each_combination_is_ranked_at_its_best_value_only() {
        let states = [3.0, 2.0, 2.5, 2.4, 2.2, 1.9].map(|loss| completed(loss, None));
        let comparison = compared_as(&lengths(), &states, TUNED);
        assert_eq!(order(&comparison)[..2], [(6, Some(1)), (2, Some(2))]);
        assert_eq!(order(&comparison)[2..], [(5, None), (4, None), (3, None), (1, None)], "the others stay in the table");
        let tuned = |place: usize| comparison.configurations[place].tuned.clone().unwrap();
        assert_eq!((tuned(0).chosen, tuned(0).at_edge), (true, vec!["train.clip_norm".to_owned()]), "1.0 is the largest tried");
        assert_eq!((tuned(1).chosen, tuned(1).at_edge), (true, Vec::new()));
        assert!(!tuned(2).chosen);
    }

    /// The configurations of each combination.
    fn combinations(comparison: &super::super::Comparison) -> BTreeMap<usize, BTreeSet<i64>> {
        let mut found: BTreeMap<usize, BTreeSet<i64>> = BTreeMap::new();
        for configuration in &comparison.configurations {
            if let Some(tuned) = &configuration.tuned {
                found.entry(tuned.combination).or_default().insert(configuration.number);
            }
        }
        found
    }

    #[test]
    fn all_tried_values_of_a_combination_have_its_number() {
        let mut states = [3.0, 2.0, 2.5, 2.4, 2.2, 1.9].map(|loss| completed(loss, None));
        let members = |states: &[TrialState]| {
            let mut sets: Vec<_> = combinations(&compared_as(&lengths(), states, TUNED)).into_values().collect();
            sets.sort();
            sets
        };
        let sets = |list: &[&[i64]]| list.iter().map(|set| set.iter().copied().collect()).collect::<Vec<BTreeSet<i64>>>();
        assert_eq!(members(&states), sets(&[&[1, 2, 3], &[4, 5, 6]]));
        // What diverged altogether was no choice, and a combination without any figure is none.
        states[1] = ended(Status::Diverged, "x", &[]);
        assert_eq!(members(&states), sets(&[&[1, 3], &[4, 5, 6]]));
        states[3..].fill(ended(Status::Diverged, "x", &[]));
        assert_eq!(members(&states), sets(&[&[1, 3]]));
    }

    #[test]
    fn what_is_computed_from_a_tuned_setting_is_of_the_same_combination() {
        let mut plan = lengths();
        plan.swept.push("train.weight_decay".to_owned());
        for trial in &mut plan.trials {
            trial.values.push(format!("{}0", trial.values[1]));
        }
        let json = r#"{"tune": ["train.clip_norm"], "derive": {"train.weight_decay": "clip_norm / 10"}}"#;
        let states = [3.0, 2.0, 2.5, 2.4, 2.2, 1.9].map(|loss| completed(loss, None));
        assert_eq!(combinations(&compared_as(&plan, &states, json)).len(), 2);
    }

    #[test]
    fn a_value_that_diverged_still_bounds_the_range() {
        let mut states = [3.0, 2.0, 2.5, 2.4, 2.2, 1.9].map(|loss| completed(loss, None));
        states[2] = ended(Status::Diverged, "x", &[]);
        states[5] = waiting();
        let comparison = compared_as(&lengths(), &states, TUNED);
        assert_eq!(order(&comparison)[..2], [(2, Some(1)), (5, Some(2))]);
        assert!(comparison.configurations[..2].iter().all(|c| c.tuned.as_ref().unwrap().at_edge.is_empty()));
    }

    #[test]
    fn without_tune_all_are_ranked() {
        let states = [3.0, 2.0, 2.5, 2.4, 2.2, 1.9].map(|loss| completed(loss, None));
        let comparison = compared_as(&lengths(), &states, "{}");
        assert!(comparison.configurations.iter().all(|c| c.tuned.is_none() && c.place.is_some()));
    }
}
