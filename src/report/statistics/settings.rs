//! What each setting does, over the configurations that its figures are of.

use super::super::comparison::{Comparison, Configuration};
use super::super::design::Design;
use super::super::inference::effects::{self, Cell, Effect, Factor, Interaction, Over, TextNoise, Weights};
use super::super::inference::results::Results;
use super::judge::Judge;

/// Main effects and pairs. What concerns a tuned setting is looked at over all its values, the rest over the chosen configurations.
/// Without a judge nothing is said of which value may be the best.
pub(super) fn by_setting(
    comparison: &Comparison,
    design: &Design,
    results: &Results,
    judge: Option<&Judge>,
) -> (Vec<Effect>, Vec<Interaction>) {
    let mut sorted: Vec<&Configuration> = comparison.configurations.iter().filter_map(Configuration::comparable).collect();
    if design.searched || sorted.is_empty() {
        return (Vec::new(), Vec::new());
    }
    sorted.sort_by_key(|c| c.order);
    let keys = &design.swept;
    let cell = |c: &Configuration, over: Over| {
        let results = if over.includes(c) { results.of(c.number).to_vec() } else { Vec::new() };
        Cell { configuration: c.number, values: c.values.clone(), results, has_diverged: c.has_diverged() }
    };
    let derived = |key: &str| design.derived.iter().any(|other| other == key);
    let tuned = |key: &str| design.tune.iter().any(|other| other == key);
    let all: Vec<Cell> = sorted.iter().map(|c| cell(c, Over::All)).collect();
    let every = effects::factors(&all, keys, derived);
    // What has no figure at all keeps its combination's place, so that a missing one is told.
    let kept = sorted.iter().filter(|c| c.tuned.as_ref().is_none_or(|tuned| tuned.chosen));
    let chosen: Vec<Cell> = kept.map(|c| cell(c, Over::Chosen)).collect();
    let open = effects::factors(&all, keys, |key| derived(key) || tuned(key));
    let is_open = |factor: &Factor| open.contains(factor);

    let by_text = |weights: &Weights| judge.and_then(|judge| judge.by_text_of(weights));
    let judged: Option<TextNoise<'_>> = judge.is_some().then_some(&by_text);
    let main = every.iter().map(|factor| match is_open(factor) {
        // What was chosen by these very figures is no fair test of the other settings.
        true => effects::effect(&chosen, keys, &open, factor, Over::Chosen, judged.filter(|_| design.tune.is_empty())),
        false => effects::effect(&all, keys, &every, factor, Over::All, judged),
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
