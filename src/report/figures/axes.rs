//! The effect of each setting: a point a trial, and the mean of each value.

use serde_json::json;

use super::{Axis, Mean, Panel, Section, Table, by_number, figure, round, unit, varying};
use crate::report::Report;

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
    let (mut data, mut rows) = (Vec::new(), Vec::new());
    for axis in &axes {
        let points: Vec<_> = trials
            .iter()
            .step_by(every)
            .filter_map(|(trial, c, value)| Some(json!([axis.index(c)?, round(*value), c.number, trial.seed])))
            .collect();
        let means = means(report, axis);
        let shown: Vec<_> = means.iter().map(|mean| mean.value(report).map(round)).collect();
        data.push(json!({ "label": axis.label, "values": axis.values, "points": points, "means": shown }));
        for (value, mean) in axis.values.iter().zip(&means) {
            let all = report.comparison.configurations.iter().filter(|c| c.values[axis.place] == *value);
            let figures: Vec<f64> = all.filter(|c| c.place.is_some()).filter_map(|c| Some(c.figure(by_bytes)?.mean)).collect();
            let words = |value: Option<f64>| value.map_or_else(String::new, |v| figure(report, v));
            rows.push(vec![
                axis.label.clone(),
                value.clone(),
                mean.count.to_string(),
                words(mean.value(report)),
                words(figures.iter().copied().reduce(f64::min)),
                words(figures.iter().copied().reduce(f64::max)),
            ]);
        }
    }
    let unit = unit(report);
    let headings =
        [("setting", false), ("value", false), ("configurations", true), ("mean", true), ("lowest", true), ("highest", true)];
    Some(Section {
        id: "axes",
        heading: "By setting",
        caption: "A point is a trial; a line joins the means of the configurations with that value, whatever their other settings \
                  are. Scales differ between the drawings."
            .to_owned(),
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

fn means(report: &Report, axis: &Axis) -> Vec<Mean> {
    let mut means = vec![Mean::default(); axis.values.len()];
    for configuration in &report.comparison.configurations {
        if let Some(index) = axis.index(configuration) {
            means[index].add(report, configuration);
        }
    }
    means
}
