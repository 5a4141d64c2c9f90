//! Two settings at a time: whether the effect of one depends on the other. Cells without a configuration stay blank.

use serde_json::json;

use super::{Axis, Mean, Panel, Section, Table, figure, round, unit, varying};
use crate::report::Report;

/// Drawings at most: five settings have ten pairs.
const PAIRS: usize = 10;
/// Values of a setting that a drawing has room for.
const VALUES: usize = 24;

pub(super) fn section(report: &Report) -> Option<Section> {
    let axes: Vec<Axis> = varying(report).into_iter().filter(|axis| axis.values.len() <= VALUES).collect();
    let (mut panels, mut data, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (place, down) in axes.iter().enumerate() {
        for across in &axes[place + 1..] {
            let cells = cells(report, across, down);
            let filled = cells.iter().flatten().filter(|cell| cell.count > 0).count();
            // Settings that only move together fill a diagonal: there is no pair to look at.
            if filled <= across.values.len().max(down.values.len()) || panels.len() == PAIRS {
                continue;
            }
            for (one, row) in down.values.iter().zip(&cells) {
                for (other, cell) in across.values.iter().zip(row) {
                    if let Some(value) = cell.mean {
                        let names = [&down.label, one, &across.label, other].map(String::clone);
                        rows.push(names.into_iter().chain([figure(report, value), cell.count.to_string()]).collect());
                    }
                }
            }
            let values: Vec<Vec<_>> = cells.iter().map(|row| row.iter().map(|cell| cell.mean.map(round)).collect()).collect();
            let counts: Vec<Vec<usize>> = cells.iter().map(|row| row.iter().map(|cell| cell.count).collect()).collect();
            data.push(json!({
                "across": across.label, "down": down.label, "x": across.values, "y": down.values, "z": values, "n": counts,
            }));
            panels.push(Panel {
                caption: format!("{} × {}", down.label, across.label),
                label: format!("mean {} of each combination of {} and {}", unit(report), down.label, across.label),
            });
        }
    }
    let headings =
        [("setting", false), ("value", false), ("and", false), ("value", false), ("mean", true), ("configurations", true)];
    (!panels.is_empty()).then(|| Section {
        id: "pairs",
        heading: "Two settings together",
        caption: format!(
            "Mean {} of the configurations with both values: the stronger the colour, the lower. Where rows have the same pattern, one setting does not change what the \
             other does. A blank cell has no result: excluded, not planned, or ended without one.",
            unit(report)
        ),
        panels,
        side_by_side: true,
        data,
        table: Some(Table::new(&headings, rows)),
        files: "leaderboard.csv",
    })
}

/// A combination of two values.
#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    mean: Option<f64>,
    /// Configurations that have it and a result.
    count: usize,
}

fn cells(report: &Report, across: &Axis, down: &Axis) -> Vec<Vec<Cell>> {
    let mut means = vec![vec![Mean::default(); across.values.len()]; down.values.len()];
    for configuration in &report.comparison.configurations {
        if let (Some(x), Some(y)) = (across.index(configuration), down.index(configuration)) {
            means[y][x].add(report, configuration);
        }
    }
    let exact = exact(report, across, down);
    let cell = |y: usize, x: usize, mean: &Mean| Cell {
        mean: exact.as_ref().map_or_else(|| mean.value(report), |exact| exact(y, x)),
        count: mean.count,
    };
    let row = |(y, row): (usize, &Vec<Mean>)| row.iter().enumerate().map(|(x, mean)| cell(y, x, mean)).collect();
    means.iter().enumerate().map(row).collect()
}

/// The cell means of the statistics, which are over the same combinations of the other settings, where there are such.
fn exact<'a>(report: &'a Report, across: &'a Axis, down: &'a Axis) -> Option<impl Fn(usize, usize) -> Option<f64> + 'a> {
    let statistics = report.statistics.as_ref()?;
    let (rows, columns) = (down.keys(report), across.keys(report));
    let found = statistics.interactions.iter().find(|i| i.rows == rows && i.columns == columns)?;
    found.means.iter().flatten().any(Option::is_some).then_some(())?;
    Some(move |y: usize, x: usize| {
        let row = found.row_values.iter().position(|value| *value == down.values[y])?;
        let column = found.column_values.iter().position(|value| *value == across.values[x])?;
        found.means[row][column].map(|mean| statistics.shown(mean))
    })
}
