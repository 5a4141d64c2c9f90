//! The comparison's figures go in, and the statistics of all of them come out.

use std::collections::BTreeSet;

use super::findings::{Against, Relation, Scatter, Statistics};
use super::judge::Judge;
use super::settings;
use super::text_files::noise_of_text;
use crate::report::comparison::{Comparison, Configuration};
use crate::report::confounding::Confounding;
use crate::report::design::Design;
use crate::report::inference::effects::Interval;
use crate::report::inference::fresh::optimism;
use crate::report::inference::pairs::Pairs;
use crate::report::inference::reach::{Reach, deviations, reach};
use crate::report::inference::rule::{ALPHA, level, quantile};
use crate::runs::ExperimentFolder;

/// The statistics of a comparison; `None` where no configuration is ranked. Files of single tokens that cannot be read are
/// listed.
pub(in crate::report) fn statistics(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    design: &Design,
    confounding: &Confounding,
    damaged: &mut Vec<String>,
) -> Option<Statistics> {
    let ranked: Vec<&Configuration> = comparison.configurations.iter().filter(|c| c.place.is_some()).collect();
    let leader = *ranked.first()?;
    let results = comparison.results();
    let twins = results.twins();
    let pairs = Pairs::new(&results.observations(&twins));
    let order: Vec<(i64, usize)> = ranked.iter().map(|c| (c.number, c.seeds)).collect();
    let (noise, no_text) = match noise_of_text(folder, comparison, design, &order, damaged) {
        Ok(noise) => (Some(noise), None),
        Err(why) => (None, Some(why)),
    };
    let has_diverged = |c: &&Configuration| c.has_diverged();
    let diverged = comparison.configurations.iter().filter(has_diverged).map(|c| c.number).collect();
    let judge = Judge { pairs, twins, noise, diverged };

    let no_set = no_set(&judge, &ranked, confounding);
    let margin = if comparison.by_bytes { design.margin * mean(&judge, leader) } else { design.margin.ln_1p() };
    let against = against(&judge, comparison, &ranked, margin, no_set.is_none());
    let second = ranked.iter().find(|c| judge.twins.get(&c.number) != judge.twins.get(&leader.number));
    let set: BTreeSet<Option<&i64>> =
        against.iter().filter(|line| line.in_best_set == Some(true)).map(|l| judge.twins.get(&l.configuration)).collect();
    let loses = |c: &&Configuration| {
        let difference = judge.difference(c.number, leader.number);
        difference.is_some_and(|d| d.estimate > quantile(0.5 * ALPHA, d.degrees) * d.variance.sqrt())
    };
    let sole = no_set.is_none() && set.len() == 1 && second.is_some_and(loses) && !has_diverged(&leader);
    let fit = judge.pairs.fit();
    let judged = Some(&judge).filter(|_| !confounding.forbids_a_set());
    let (effects, interactions) = settings::by_setting(comparison, design, &results, judged);
    Some(Statistics {
        by_bytes: comparison.by_bytes,
        margin,
        scatter: (fit.degrees > 0).then(|| Scatter {
            deviation: fit.variance.sqrt(),
            degrees: fit.degrees,
            blocks: fit.blocks,
            seeds: judge.pairs.seeds(),
            compared: fit.configurations().len(),
        }),
        leader: leader.number,
        diverged: has_diverged(&leader),
        sole_winner: sole.then_some(leader.number),
        fresh: if no_set.is_none() { fresh(&judge, leader) } else { None },
        against,
        text: judge.noise.as_ref().map(|noise| noise.text()),
        no_text,
        effects,
        interactions,
        reach: second.filter(|_| no_set.is_none()).and_then(|second| within_reach(&judge, leader, second)),
        no_set,
        judge,
    })
}

fn mean(judge: &Judge, configuration: &Configuration) -> f64 {
    judge.place(configuration.number).map_or(f64::NAN, |place| judge.pairs.fit().mean(place))
}

/// Why there is no set of those that may be the best.
fn no_set(judge: &Judge, ranked: &[&Configuration], confounding: &Confounding) -> Option<String> {
    let different: BTreeSet<_> = ranked.iter().filter_map(|c| judge.twins.get(&c.number)).collect();
    let seeds = judge.pairs.seeds();
    let (first, rest) = ranked.split_first()?;
    let says = |c: &&Configuration| judge.difference(first.number, c.number).is_some();
    let why = if ranked.len() < 2 && seeds < 2 {
        "With one seed nothing says how much another seed would change the figure."
    } else if ranked.len() < 2 {
        "Only one configuration is ranked: there is nothing to compare it with."
    } else if different.len() < 2 {
        "All configurations that are ranked have the very same results."
    } else if confounding.forbids_a_set() {
        "The trials were not made alike, so that only their order and differences are shown."
    } else if ranked.iter().all(|c| c.seeds < 2) {
        "With one seed each nothing says how much another seed would change the figures: any of these differences may be chance."
    } else if !rest.iter().all(says) {
        "Too few seeds are complete to say how much another seed would change the figures: any of these differences may be chance."
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// A line for each ranked configuration.
fn against(judge: &Judge, comparison: &Comparison, ranked: &[&Configuration], margin: f64, judged: bool) -> Vec<Against> {
    let Some(leader) = ranked.first() else { return Vec::new() };
    let configurations = judge.pairs.fit().configurations();
    let beaten = if judged { judge.beaten_by() } else { Vec::new() };
    let beaten_by = |number: i64| beaten.get(judge.place(number)?).copied().flatten().map(|place| configurations[place]);
    // A combination is out only where all its tried values are.
    let is_out = |c: &Configuration| {
        let same = |other: &&Configuration| match (&other.tuned, &c.tuned) {
            (Some(one), Some(other)) => one.combination == other.combination,
            _ => other.number == c.number,
        };
        comparison.configurations.iter().filter(same).all(|other| beaten_by(other.number).is_some())
    };
    let line = |c: &&Configuration| {
        let difference = judge.difference(c.number, leader.number).filter(|_| judged);
        let is_leader = c.number == leader.number;
        let is_same = judge.twins.get(&c.number) == judge.twins.get(&leader.number);
        let limits = difference.filter(|_| !is_same).map(|d| {
            let half = quantile(level(configurations.len()), d.degrees) * d.variance.sqrt();
            Interval { lower: d.estimate - half, upper: d.estimate + half }
        });
        let relation = match limits {
            _ if is_leader => Some(Relation::Leader),
            _ if is_same => Some(Relation::Same),
            Some(limits) => Some(relation(limits, margin)),
            None => None,
        };
        Against {
            configuration: c.number,
            mean: mean(judge, c),
            seeds: c.seeds,
            difference: if is_same { 0.0 } else { mean(judge, c) - mean(judge, leader) },
            standard_error: difference.filter(|_| !is_same).map(|d| d.variance.sqrt()),
            limits,
            relation,
            in_best_set: judged.then(|| !is_out(c)),
            beaten_by: beaten_by(c.number),
        }
    };
    ranked.iter().map(line).collect()
}

fn relation(limits: Interval, margin: f64) -> Relation {
    match limits {
        limits if limits.lower > margin => Relation::WorthChoosing,
        limits if limits.lower > 0.0 => Relation::Different,
        limits if limits.lower > -margin && limits.upper < margin => Relation::PracticallySame,
        _ => Relation::Open,
    }
}

/// What fresh seeds would give for the leader, by what choosing by fewer seeds promised too much.
fn fresh(judge: &Judge, leader: &Configuration) -> Option<f64> {
    let of = |place: usize| judge.pairs.responses(place);
    let own = judge.place(leader.number)?;
    let is_complete = |place: &usize| of(*place).iter().all(|response| !response.is_nan());
    let complete: Vec<usize> = (0..judge.pairs.fit().configurations().len()).filter(is_complete).collect();
    let rows: Vec<&[f64]> = complete.iter().map(|&place| of(place)).collect();
    let winner = complete.iter().position(|place| *place == own)?;
    let optimism = optimism(&rows, &deviations(&judge.pairs, &complete), winner)?;
    Some(judge.pairs.fit().mean(own) + optimism.max(0.0))
}

/// How small a lead could be seen: the leader first, the second next, then all other tried values.
fn within_reach(judge: &Judge, leader: &Configuration, second: &Configuration) -> Option<Reach> {
    let mut places = vec![judge.place(leader.number)?, judge.place(second.number)?];
    places.extend((0..judge.pairs.fit().configurations().len()).filter(|place| !places.contains(place)).collect::<Vec<_>>());
    reach(&judge.pairs, &places, |i, j| judge.by_text(i, j))
}
