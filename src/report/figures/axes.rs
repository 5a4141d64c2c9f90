//! The effect of each setting: a point a trial, and the mean of each value.

use serde_json::json;

use super::{Axis, Mean, Panel, Section, Table, by_number, figure, round, unit, varying};
use crate::report::{Report, words};

/// Points drawn for one axis; beyond them every n-th trial is drawn, the means are of all.
const POINTS: usize = 1_500;

pub(super) fn section(report: &Report) -> Option<Section> {
    let by_number = by_number(report);
    let by_bytes = report.comparison.by_bytes;
    let trials: Vec<_> = report
        .comparison
        .trials
        .iter()
        .filter(|t| t.status == "completed")
        .filter_map(|t| {
            let configuration = *by_number.get(&t.configuration).filter(|c| c.place.is_some())?;
            Some((t, configuration, if by_bytes { t.bits_per_byte } else { t.perplexity }?))
        })
        .collect();
    // One configuration with a result shows no effect of anything.
    let ranked = report.comparison.configurations.iter().filter(|c| c.place.is_some()).count();
    let axes = varying(report);
    if ranked < 2 || axes.is_empty() {
        return None;
    }
    let every = trials.len().div_ceil(POINTS).max(1);
    let (mut data, mut rows, mut limits) = (Vec::new(), Vec::new(), false);
    for axis in &axes {
        let points: Vec<_> = trials
            .iter()
            .step_by(every)
            .filter_map(|(trial, c, value)| Some(json!([axis.index(c)?, round(*value), c.number, trial.seed])))
            .collect();
        let levels = levels(report, axis);
        limits |= levels.iter().any(|level| level.lower.is_some());
        let column = |of: fn(&Level) -> Option<f64>| levels.iter().map(|level| of(level).map(round)).collect::<Vec<_>>();
        data.push(json!({
            "label": axis.label, "values": axis.values, "points": points,
            "means": column(|l| l.mean), "lower": column(|l| l.lower), "upper": column(|l| l.upper),
        }));
        for (value, level) in axis.values.iter().zip(&levels) {
            let all = report.comparison.configurations.iter().filter(|c| axis.value(c) == *value && c.place.is_some());
            let figures: Vec<f64> = all.filter_map(|c| Some(c.figure(by_bytes)?.mean)).collect();
            let words = |value: Option<f64>| value.map_or_else(String::new, |v| figure(report, v));
            rows.push(vec![
                axis.label.clone(),
                value.clone(),
                figures.len().to_string(),
                words(level.mean),
                words(level.lower),
                words(level.upper),
                words(figures.iter().copied().reduce(f64::min)),
                words(figures.iter().copied().reduce(f64::max)),
            ]);
        }
    }
    let unit = unit(report);
    let mut headings = vec![("setting", false), ("value", false), ("configurations", true), ("mean", true)];
    if limits {
        headings.extend([("from", true), ("to", true)]);
    } else {
        rows.iter_mut().for_each(|row| drop(row.drain(4..6)));
    }
    headings.extend([("lowest", true), ("highest", true)]);
    let mut caption = "A point is a trial; a line joins the means of the values, whatever the other settings are.".to_owned();
    if limits {
        caption.push_str(" Bars are 95 % limits of the means.");
    }
    caption.push_str(" Scales differ between the drawings.");
    for effect in report.statistics.iter().flat_map(|statistics| &statistics.effects) {
        caption.extend(effect.note.iter().map(|note| format!(" {}: {note}", words::keys(&effect.keys).join(" · "))));
    }
    Some(Section {
        id: "axes",
        heading: "By setting",
        caption,
        panels: axes
            .iter()
            .map(|axis| Panel { caption: axis.label.clone(), label: format!("{unit} by {}", axis.label) })
            .collect(),
        side_by_side: true,
        data,
        table: Some(Table::new(&headings, rows)),
        files: "leaderboard.csv",
    })
}

/// What is known of one value of an axis.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    mean: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
}

/// The values' means: those of the statistics, which compare like with like, or of all configurations where there are none.
fn levels(report: &Report, axis: &Axis) -> Vec<Level> {
    if let Some(statistics) = &report.statistics
        && let Some(effect) = statistics.effects.iter().find(|effect| effect.keys == axis.keys(report))
        && effect.levels.iter().any(|level| level.mean.is_some())
    {
        let level = |value: &String| effect.levels.iter().find(|level| level.value == *value);
        let known = |level: &crate::report::statistics::Level| Level {
            mean: level.mean.map(|mean| statistics.shown(mean)),
            lower: level.limits.map(|limits| statistics.shown(limits.lower)),
            upper: level.limits.map(|limits| statistics.shown(limits.upper)),
        };
        return axis.values.iter().map(|value| level(value).map(known).unwrap_or_default()).collect();
    }
    let mut means = vec![Mean::default(); axis.values.len()];
    for configuration in &report.comparison.configurations {
        if let Some(index) = axis.index(configuration) {
            means[index].add(report, configuration);
        }
    }
    means.into_iter().map(|mean| Level { mean: mean.value(report), ..Level::default() }).collect()
}
