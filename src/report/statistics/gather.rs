//! The comparison's figures go in, and the statistics of all of them come out.

use std::collections::{BTreeMap, BTreeSet};

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::super::comparison::{Comparison, Configuration, TrialLine};
use super::super::protocol::Protocol;
use super::effects::{self, Cell, Factor, Scale};
use super::residual::{Fit, Observation};
use super::text_files::noise_of_text;
use super::{Against, Effect, Interaction, Interval, Over, Residual, Statistics, best, resolution};
use crate::runs::ExperimentFolder;

/// The quantile of t that leaves 2.5 % above it.
fn two_sided(degrees: f64) -> f64 {
    StudentsT::new(0.0, 1.0, degrees).map_or(f64::INFINITY, |t| t.inverse_cdf(0.975))
}

pub(super) fn gather(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    protocol: &Protocol,
    damaged: &mut Vec<String>,
) -> Option<Statistics> {
    let results = Results::new(comparison);
    let twins = results.twins();
    let ranked = comparison.configurations.iter().filter(|c| c.place.is_some()).map(|c| c.number);
    let ranked: Vec<i64> = ranked.filter(|number| twins.contains_key(number)).collect();
    let fit = Fit::new(&results.observations(&twins));
    let compared: Vec<i64> = ranked.iter().map(|number| twins[number]).collect::<BTreeSet<_>>().into_iter().collect();
    let standings: BTreeMap<i64, best::Standing> = best::against_the_best(&fit, &compared, &mut best::CriticalValues::default())
        .into_iter()
        .map(|s| (s.configuration, s))
        .collect();

    let mean = |number: &i64| standings[&twins[number]].mean;
    let leader = *ranked.iter().min_by(|a, b| mean(a).total_cmp(&mean(b)))?;
    let next = compared.iter().filter(|number| **number != twins[&leader]).map(&mean).reduce(f64::min);
    let mut against: Vec<Against> = ranked
        .iter()
        .map(|number| {
            let standing = standings[&twins[number]];
            // One that has the very same results is as far ahead of it as it is of that one.
            let is_twin = ranked.iter().any(|other| other != number && twins[other] == twins[number]);
            let difference = if is_twin { standing.difference.max(0.0) } else { standing.difference };
            let own = fit.within.map(|within| {
                let half = two_sided(within.degrees) * (within.variance / standing.count as f64).sqrt();
                Interval { lower: standing.mean - half, upper: standing.mean + half }
            });
            Against {
                configuration: *number,
                mean: standing.mean,
                seeds: standing.count,
                own,
                difference,
                limits: standing.limits,
                text_difference: None,
                in_best_set: standing.may_be_best,
            }
        })
        .collect();

    let mut order: Vec<(i64, usize, f64)> = against.iter().map(|line| (line.configuration, line.seeds, line.mean)).collect();
    order.sort_by(|a, b| (a.0 != leader).cmp(&(b.0 != leader)).then(a.2.total_cmp(&b.2)));
    let order: Vec<(i64, usize)> = order.into_iter().map(|(number, seeds, _)| (number, seeds)).collect();
    let (text, no_text) = match noise_of_text(folder, comparison, protocol, &order, damaged) {
        Ok(noise) => {
            let quantile = two_sided(noise.degrees());
            let leading = mean(&leader);
            for line in against.iter_mut().filter(|line| line.configuration != leader) {
                let half = quantile * noise.variance(line.configuration, leader).sqrt();
                let difference = line.mean - leading;
                line.text_difference = Some(Interval { lower: difference - half, upper: difference + half });
                // The larger of the two uncertainties decides.
                let open = difference <= half;
                line.in_best_set = line.in_best_set.map(|by_seeds| by_seeds || open);
            }
            (Some(noise.text()), None)
        }
        Err(reason) => (None, Some(reason)),
    };
    let scale = fit
        .scatter
        .as_ref()
        .map(|scatter| Scale { deviation: scatter.variance.sqrt(), quantile: two_sided(scatter.degrees as f64) });
    let (effects, interactions) = by_setting(comparison, protocol, scale);
    let limited = standings.values().any(|standing| standing.limits.is_some());
    Some(Statistics {
        by_bytes: comparison.by_bytes,
        residual: fit.scatter.as_ref().map(|scatter| Residual {
            deviation: scatter.variance.sqrt(),
            degrees: scatter.degrees,
            blocks: scatter.blocks,
            dominated_by: fit.dominant(),
        }),
        no_limits: (!limited).then(|| no_limits(&compared, &ranked, &fit)),
        leader,
        against,
        text,
        no_text,
        effects,
        interactions,
        detectable: resolution::detectable(&fit, &compared, next.map(|next| next - mean(&leader))),
    })
}

/// Why there are no limits.
fn no_limits(compared: &[i64], ranked: &[i64], fit: &Fit) -> String {
    if ranked.len() < 2 && fit.within.is_none() {
        "With one seed nothing says how much another seed would change the figure: there is no interval.".to_owned()
    } else if ranked.len() < 2 {
        "Only one configuration is ranked: there is nothing to compare it with.".to_owned()
    } else if compared.len() < 2 {
        "All configurations that are ranked have the very same results.".to_owned()
    } else if fit.within.is_none() {
        "With one seed each nothing says how much another seed would change the figures: there are no intervals.".to_owned()
    } else {
        "Too few seeds are complete to say how much another seed would change the figures: there are no intervals.".to_owned()
    }
}

/// The trials that count, by configuration.
struct Results<'a> {
    by_configuration: BTreeMap<i64, Vec<(&'a TrialLine, f64)>>,
}

impl<'a> Results<'a> {
    /// Also of the values of a tuned setting that were not chosen: they say as much about the scatter.
    fn new(comparison: &'a Comparison) -> Self {
        let known: BTreeSet<i64> =
            comparison.configurations.iter().filter(|c| c.place.is_some() || c.tuned.is_some()).map(|c| c.number).collect();
        let mut by_configuration: BTreeMap<i64, Vec<(&TrialLine, f64)>> = BTreeMap::new();
        for trial in comparison.trials.iter().filter(|trial| trial.counts && known.contains(&trial.configuration)) {
            let response = if comparison.by_bytes { trial.bits_per_byte } else { trial.loss };
            if let Some(response) = response {
                by_configuration.entry(trial.configuration).or_default().push((trial, response));
            }
        }
        Self { by_configuration }
    }

    /// The first configuration with the very same results, for each: a clip norm that never bound gives the same trial as another
    /// one, and counted twice it would pass for two that agree by chance.
    fn twins(&self) -> BTreeMap<i64, i64> {
        let mut first: BTreeMap<Vec<(Option<i64>, u64)>, i64> = BTreeMap::new();
        let of = |(&number, trials): (&i64, &Vec<(&TrialLine, f64)>)| {
            let mut key: Vec<_> = trials.iter().map(|(trial, response)| (trial.seed, response.to_bits())).collect();
            key.sort_unstable();
            (number, *first.entry(key).or_insert(number))
        };
        self.by_configuration.iter().map(of).collect()
    }

    fn observations(&self, twins: &BTreeMap<i64, i64>) -> Vec<Observation> {
        let own = self.by_configuration.iter().filter(|(number, _)| twins[number] == **number);
        own.flat_map(|(&configuration, trials)| {
            trials.iter().map(move |(trial, response)| Observation {
                configuration,
                seed: trial.seed.unwrap_or_default(),
                response: *response,
            })
        })
        .collect()
    }
}

/// Main effects and pairs. What concerns a tuned setting is looked at over all its values, the rest over the chosen configurations.
fn by_setting(comparison: &Comparison, protocol: &Protocol, scale: Option<Scale>) -> (Vec<Effect>, Vec<Interaction>) {
    let mut sorted: Vec<&Configuration> = comparison.configurations.iter().filter_map(Configuration::comparable).collect();
    if protocol.searched || sorted.is_empty() {
        return (Vec::new(), Vec::new());
    }
    sorted.sort_by_key(|c| c.order);
    let keys = &protocol.swept;
    let cell = |c: &Configuration, over: Over| {
        let figure = if comparison.by_bytes { c.bits_per_byte.map(|f| f.mean) } else { c.loss };
        Cell { values: c.values.clone(), result: figure.filter(|_| over.includes(c)).map(|mean| (mean, c.seeds)) }
    };
    let derived = |key: &str| protocol.derived.iter().any(|other| other == key);
    let tuned = |key: &str| protocol.tune.iter().any(|other| other == key);
    let all: Vec<Cell> = sorted.iter().map(|c| cell(c, Over::All)).collect();
    let every = effects::factors(&all, keys, derived);
    // What has no figure at all keeps its combination's place, so that a missing one is told.
    let kept = sorted.iter().filter(|c| c.tuned.as_ref().is_none_or(|tuned| tuned.chosen));
    let chosen: Vec<Cell> = kept.map(|c| cell(c, Over::Chosen)).collect();
    let open = effects::factors(&all, keys, |key| derived(key) || tuned(key));
    let is_open = |factor: &Factor| open.contains(factor);

    let main = every.iter().map(|factor| match is_open(factor) {
        true => effects::effect(&chosen, keys, &open, factor, scale, Over::Chosen),
        false => effects::effect(&all, keys, &every, factor, scale, Over::All),
    });
    let mut pairs = Vec::new();
    for (place, rows) in every.iter().enumerate() {
        for columns in &every[place + 1..] {
            pairs.extend(match is_open(rows) && is_open(columns) {
                true => effects::interaction(&chosen, keys, &open, rows, columns, Over::Chosen),
                false => effects::interaction(&all, keys, &every, rows, columns, Over::All),
            });
        }
    }
    (main.collect(), pairs)
}
