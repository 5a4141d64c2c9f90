//! Parallel coordinates: a line a configuration through its values and its result.

use serde_json::json;

use super::section::{Panel, Section, round};
use super::varying::{chosen_only, varying};
use crate::report::experiment::Report;

/// Lines drawn: the best ones.
const LINES: usize = 400;
/// Settings that fit beside each other.
const AXES: usize = 8;

pub(super) fn section(report: &Report) -> Option<Section> {
    let mut axes = varying(report);
    axes.truncate(AXES);
    let by_bytes = report.comparison.by_bytes;
    let ranked: Vec<_> = report.comparison.configurations.iter().filter(|c| c.place.is_some()).collect();
    // Two settings are told by their map, few configurations by the table.
    if axes.len() < 3 || ranked.len() < 6 {
        return None;
    }
    let lines: Vec<_> = ranked
        .iter()
        .take(LINES)
        .filter_map(|c| {
            let at: Option<Vec<usize>> = axes.iter().map(|axis| axis.index(c)).collect();
            Some(json!([c.number, round(c.figure(by_bytes)?.mean), at?]))
        })
        .collect();
    let unit = report.unit();
    let mut caption =
        "A line is a configuration, from its settings to its result, coloured by the result. Choose values to keep only the \
         configurations that have them; choose them again to let go."
            .to_owned();
    caption.push_str(&chosen_only(report));
    if ranked.len() > LINES {
        caption.push_str(&format!(" The best {LINES} are drawn."));
    }
    Some(Section {
        id: "parallel",
        heading: "All settings at once",
        caption,
        panels: vec![Panel {
            caption: String::new(),
            note: String::new(),
            label: format!("settings and {unit} of each configuration; the same numbers as in the leaderboard"),
        }],
        side_by_side: false,
        data: vec![json!({
            "axes": axes.iter().map(|axis| json!({ "label": axis.label, "values": axis.values })).collect::<Vec<_>>(),
            "lines": lines,
        })],
        table: None,
        files: "leaderboard.csv",
    })
}
