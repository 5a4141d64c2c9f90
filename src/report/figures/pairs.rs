//! Two settings at a time: whether the effect of one depends on the other. Cells without a configuration stay blank.

use serde_json::json;

use super::section::{Panel, Section, Table, round};
use super::varying::{Axis, Mean, over, over_words, varying};
use crate::report::experiment::Report;
use crate::report::inference::effects::{Interaction, Over};

/// Drawings at most: five settings have ten pairs.
const PAIRS: usize = 10;
/// Values of a setting that a drawing has room for.
const VALUES: usize = 24;

pub(super) fn section(report: &Report) -> Option<Section> {
    let axes: Vec<Axis> = varying(report).into_iter().filter(|axis| axis.values.len() <= VALUES).collect();
    let (mut panels, mut data, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (place, down) in axes.iter().enumerate() {
        for across in &axes[place + 1..] {
            let over = over(report, &[across, down]);
            let found = interaction(report, across, down, over);
            let cells = cells(report, across, down, over, found);
            let filled = cells.iter().flatten().filter(|cell| cell.count > 0).count();
            // Settings that only move together fill a diagonal: there is no pair to look at.
            if filled <= across.values.len().max(down.values.len()) || panels.len() == PAIRS {
                continue;
            }
            for (one, row) in down.values.iter().zip(&cells) {
                for (other, cell) in across.values.iter().zip(row) {
                    if let Some(value) = cell.mean {
                        let names = [&down.label, one, &across.label, other].map(String::clone);
                        rows.push(names.into_iter().chain([report.figure(value), cell.count.to_string()]).collect());
                    }
                }
            }
            let values: Vec<Vec<_>> = cells.iter().map(|row| row.iter().map(|cell| cell.mean.map(round)).collect()).collect();
            let counts: Vec<Vec<usize>> = cells.iter().map(|row| row.iter().map(|cell| cell.count).collect()).collect();
            data.push(json!({
                "across": across.label, "down": down.label, "x": across.values, "y": down.values, "z": values, "n": counts,
            }));
            let words = over_words(report, over).map_or_else(String::new, |words| format!(" ({words})"));
            panels.push(Panel {
                caption: format!("{} × {}{words}", down.label, across.label),
                note: match found {
                    Some(found) => found.note.clone().unwrap_or_default(),
                    None => "Means whatever the other settings are, which are not the same in all cells.".to_owned(),
                },
                label: format!("mean {} of each combination of {} and {}", report.unit(), down.label, across.label),
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
             other does. A blank cell has no result: excluded, not planned, or ended without one.{}",
            report.unit(),
            if axes.len() > 2 { " Means are over all combinations of the other settings where a figure says nothing else." } else { "" }
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

fn cells(report: &Report, across: &Axis, down: &Axis, over: Over, exact: Option<&Interaction>) -> Vec<Vec<Cell>> {
    let mut means = vec![vec![Mean::default(); across.values.len()]; down.values.len()];
    for configuration in &report.comparison.configurations {
        if let (Some(x), Some(y)) = (across.index(configuration), down.index(configuration)) {
            means[y][x].add(report, configuration, over);
        }
    }
    let exact = exact.zip(report.statistics.as_ref());
    let cell = |y: usize, x: usize, mean: &Mean| Cell {
        mean: match exact {
            Some((found, statistics)) => mean_of(found, &down.values[y], &across.values[x]).map(|mean| statistics.shown(mean)),
            None => mean.value(report),
        },
        count: mean.count,
    };
    let row = |(y, row): (usize, &Vec<Mean>)| row.iter().enumerate().map(|(x, mean)| cell(y, x, mean)).collect();
    means.iter().enumerate().map(row).collect()
}

/// What the statistics know of two axes: means over the same combinations of the other settings, where there are such.
fn interaction<'a>(report: &'a Report, across: &Axis, down: &Axis, over: Over) -> Option<&'a Interaction> {
    let (rows, columns) = (down.keys(report), across.keys(report));
    let of = |i: &&Interaction| i.rows == rows && i.columns == columns && i.over == over;
    let found = report.statistics.as_ref()?.interactions.iter().find(of)?;
    found.means.iter().flatten().any(Option::is_some).then_some(found)
}

fn mean_of(found: &Interaction, row: &str, column: &str) -> Option<f64> {
    let row = found.row_values.iter().position(|value| value == row)?;
    let column = found.column_values.iter().position(|value| value == column)?;
    found.means[row][column]
}
