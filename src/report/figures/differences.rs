//! Each configuration against the best of all others, with limits that hold for all of them together.

use serde_json::json;

use super::{Panel, Section, Table, by_number, name, round};
use crate::report::Report;

/// Rows drawn, the best ones; the table has more.
const DRAWN: usize = 30;

pub(super) fn section(report: &Report) -> Option<Section> {
    let statistics = report.statistics.as_ref()?;
    let by_number = by_number(report);
    let lines: Vec<_> = statistics.against.iter().filter_map(|line| Some((line, line.limits?))).collect();
    if lines.len() < 2 {
        return None;
    }
    // Perplexities differ by shares, which people read as hundredths.
    let (scale, unit) = if statistics.by_bytes { (1.0, "bits per byte") } else { (100.0, "%") };
    let shown = |difference: f64| scale * statistics.difference_shown(difference);
    let rows: Vec<_> = lines
        .iter()
        .take(DRAWN)
        .map(|(line, limits)| {
            let [difference, lower, upper] = [line.difference, limits.lower, limits.upper].map(|d| round(shown(d)));
            json!({
                "configuration": line.configuration, "difference": difference, "lower": lower, "upper": upper,
                "tied": line.in_best_set.unwrap_or(false),
            })
        })
        .collect();
    let cells = lines.iter().filter_map(|(line, limits)| {
        let numbers = [line.difference, limits.lower, limits.upper].map(|d| format!("{:+.2}", shown(d)));
        let tied = match line.in_best_set {
            Some(true) => "may be the best",
            Some(false) => "is not",
            None => "",
        };
        let configuration = name(report, by_number.get(&line.configuration)?);
        Some([configuration, line.seeds.to_string()].into_iter().chain(numbers).chain([tied.to_owned()]).collect())
    });
    let headings = [
        ("configuration", false),
        ("seeds", true),
        ("difference", true),
        ("from", true),
        ("to", true),
        ("the best of all", false),
    ];
    let table = Some(Table::new(&headings, cells.collect()));
    let what = if statistics.by_bytes { "Bits per byte" } else { "Perplexity, in per cent," };
    Some(Section {
        id: "differences",
        heading: "Against the best",
        caption: format!(
            "{what} above the lowest of all other configurations, with limits that hold for all rows together at 95 % (multiple \
             comparisons with the best). A bar that crosses 0 may be the best; one that begins there is not, one that ends there is."
        ),
        panels: vec![Panel {
            caption: String::new(),
            note: String::new(),
            label: "difference of each configuration to the best other one, with limits".to_owned(),
        }],
        side_by_side: false,
        data: vec![json!({ "rows": rows, "unit": unit })],
        table,
        files: "summary.json",
    })
}
