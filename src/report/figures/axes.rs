//! The effect of each setting: a point a trial, and the mean of each value.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::section::{Panel, Section, Table, round};
use super::varying::{Axis, Mean, over, over_words, varying};
use crate::report::comparison::{Configuration, TrialLine};
use crate::report::experiment::Report;
use crate::report::inference::effects::{self, Effect, Over};
use crate::report::standing;
use crate::report::statistics::Statistics;
use crate::words;

/// Points drawn for one axis; beyond them every n-th trial is drawn, the means are of all.
const POINTS: usize = 1_500;

pub(super) fn section(report: &Report) -> Option<Section> {
    let axes = varying(report);
    // One configuration with a result shows no effect of anything.
    let ranked = report.comparison.configurations.iter().filter(|c| c.place.is_some()).count();
    if ranked < 2 || axes.is_empty() {
        return None;
    }
    let drawn: Vec<Drawn> = axes.iter().map(|axis| Drawn::new(report, axis)).collect();
    let limits = drawn.iter().any(|one| one.levels.iter().any(|level| level.lower.is_some()));
    let mut rows: Vec<Vec<String>> = drawn.iter().flat_map(|one| one.rows(report)).collect();
    let mut headings = vec![("setting", false), ("value", false), ("configurations", true), ("mean", true)];
    if limits {
        headings.extend([("from", true), ("to", true)]);
    } else {
        rows.iter_mut().for_each(|row| drop(row.drain(4..6)));
    }
    headings.extend([("lowest", true), ("highest", true)]);
    let balanced = drawn.iter().any(|one| one.effect.is_some());
    let means = if balanced {
        "the means of the values, over the same combinations of the other settings for each"
    } else {
        "the means of the values, whatever the other settings are"
    };
    let mut caption = format!("A point is a trial; a line joins {means}.");
    if limits {
        caption.push_str(" Bars are 95 % limits of a value less the mean of all values, by its own scatter over the seeds.");
    }
    caption.push_str(" Scales differ between the drawings.");
    let unit = report.unit();
    Some(Section {
        id: "axes",
        heading: "By setting",
        caption,
        panels: drawn
            .iter()
            .map(|one| Panel {
                caption: one.caption.clone(),
                note: one.effect.map(note).unwrap_or_default(),
                label: format!("{unit} by {}", one.caption),
            })
            .collect(),
        side_by_side: true,
        data: drawn.iter().map(|one| one.data(report)).collect(),
        table: Some(Table::new(&headings, rows)),
        files: "leaderboard.csv",
    })
}

/// Which value is best, and what is missing.
fn note(effect: &Effect) -> String {
    let best = standing::of_effect(effect).map(|sentence| format!("{}.", words::capital(&sentence)));
    best.into_iter().chain(effect.note.clone()).collect::<Vec<_>>().join(" ")
}

/// One axis: which configurations are looked at, and what is known of its values.
struct Drawn<'a> {
    axis: &'a Axis,
    over: Over,
    caption: String,
    effect: Option<&'a Effect>,
    levels: Vec<Level>,
}

impl<'a> Drawn<'a> {
    fn new(report: &'a Report, axis: &'a Axis) -> Self {
        let over = over(report, &[axis]);
        let caption = match over_words(report, over) {
            Some(words) => format!("{} ({words})", axis.label),
            None => axis.label.clone(),
        };
        let mut effects = report.statistics.iter().flat_map(|statistics| &statistics.effects);
        let effect = effects.find(|effect| effect.keys == axis.keys(report) && effect.over == over);
        let levels = match (effect, &report.statistics) {
            (Some(effect), Some(statistics)) => of_effect(axis, effect, statistics),
            _ => plain(report, axis, over),
        };
        Self { axis, over, caption, effect, levels }
    }

    fn configurations<'b>(&self, report: &'b Report) -> impl Iterator<Item = &'b Configuration> {
        let over = self.over;
        report.comparison.configurations.iter().filter(move |c| over.includes(c))
    }

    /// What the script draws from: the points of these configurations, and the means.
    fn data(&self, report: &Report) -> Value {
        let by_number: BTreeMap<i64, &Configuration> = self.configurations(report).map(|c| (c.number, c)).collect();
        let by_bytes = report.comparison.by_bytes;
        let trials = report.comparison.trials.iter().filter(|trial| trial.counts);
        let trials: Vec<_> = trials
            .filter_map(|trial| {
                let value = if by_bytes { trial.bits_per_byte } else { trial.perplexity };
                Some((trial, *by_number.get(&trial.configuration)?, value?))
            })
            .collect();
        let every = trials.len().div_ceil(POINTS).max(1);
        let drawn = trials.into_iter().step_by(every);
        let point = |(trial, c, value): (&TrialLine, &Configuration, f64)| {
            Some(json!([self.axis.index(c)?, round(value), c.number, trial.seed]))
        };
        let points: Vec<Value> = drawn.filter_map(point).collect();
        let column = |of: fn(&Level) -> Option<f64>| self.levels.iter().map(|level| of(level).map(round)).collect::<Vec<_>>();
        json!({
            "label": self.axis.label, "values": self.axis.values, "points": points,
            "means": column(|l| l.mean), "lower": column(|l| l.lower), "upper": column(|l| l.upper),
        })
    }

    /// A row a value.
    fn rows(&self, report: &Report) -> Vec<Vec<String>> {
        let figure = |value: Option<f64>| value.map_or_else(String::new, |v| report.figure(v));
        let row = |(value, level): (&String, &Level)| {
            let mine = self.configurations(report).filter(|c| self.axis.value(c) == *value);
            let figures: Vec<f64> = mine.filter_map(|c| Some(c.figure(report.comparison.by_bytes)?.mean)).collect();
            vec![
                self.caption.clone(),
                value.clone(),
                figures.len().to_string(),
                figure(level.mean),
                figure(level.lower),
                figure(level.upper),
                figure(figures.iter().copied().reduce(f64::min)),
                figure(figures.iter().copied().reduce(f64::max)),
            ]
        };
        self.axis.values.iter().zip(&self.levels).map(row).collect()
    }
}

/// What is known of one value of an axis.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    mean: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
}

/// The values' means from the statistics, which compare like with like; none where they have none.
fn of_effect(axis: &Axis, effect: &Effect, statistics: &Statistics) -> Vec<Level> {
    let known = |level: &effects::Level| Level {
        mean: level.mean.map(|mean| statistics.shown(mean)),
        lower: level.limits.map(|limits| statistics.shown(limits.lower)),
        upper: level.limits.map(|limits| statistics.shown(limits.upper)),
    };
    let level = |value: &String| effect.levels.iter().find(|level| level.value == *value);
    axis.values.iter().map(|value| level(value).map(known).unwrap_or_default()).collect()
}

/// The values' means over all configurations that have them: of settings drawn at random there is no more.
fn plain(report: &Report, axis: &Axis, over: Over) -> Vec<Level> {
    let mut means = vec![Mean::default(); axis.values.len()];
    for configuration in &report.comparison.configurations {
        if let Some(index) = axis.index(configuration) {
            means[index].add(report, configuration, over);
        }
    }
    means.into_iter().map(|mean| Level { mean: mean.value(report), ..Level::default() }).collect()
}
