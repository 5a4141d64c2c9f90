//! Loss by place in the window: how much a configuration makes of more context.

use std::collections::BTreeMap;

use serde_json::json;

use super::section::{Panel, Section, Table, round, rounded};
use crate::report::experiment::Report;
use crate::report::positions::Bin;
use crate::words;

pub(super) fn section(report: &Report) -> Option<Section> {
    let positions = &report.positions;
    if positions.is_empty() {
        return None;
    }
    let by_number = report.comparison.by_number();
    // Places are drawn where they lie on a logarithmic scale.
    let middle = |bin: &Bin| (bin.first as f64 * bin.last as f64).sqrt();
    let place = |bin: &Bin| if bin.first == bin.last { bin.first.to_string() } else { format!("{}–{}", bin.first, bin.last) };
    let lines: Vec<_> = positions
        .iter()
        .map(|p| {
            json!({
                "configuration": p.configuration,
                "x": rounded(p.bins.iter().map(middle)),
                "y": rounded(p.bins.iter().map(|bin| bin.loss)),
                "places": p.bins.iter().map(place).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut places: BTreeMap<(i64, i64), String> = BTreeMap::new();
    for bin in positions.iter().flat_map(|p| &p.bins) {
        places.insert((bin.first, bin.last), place(bin));
    }
    let mut headings = vec![("configuration".to_owned(), false)];
    headings.extend(places.values().map(|place| (place.clone(), true)));
    let rows = positions.iter().filter_map(|p| {
        let at = |key: &(i64, i64)| p.bins.iter().find(|bin| (bin.first, bin.last) == *key);
        let losses = places.keys().map(|key| at(key).map_or_else(String::new, |bin| format!("{:.3}", bin.loss)));
        Some([report.full_name(by_number.get(&p.configuration)?)].into_iter().chain(losses).collect())
    });
    let rows = rows.collect();
    let longest = places.keys().map(|(_, last)| *last).max().unwrap_or(1);
    Some(Section {
        id: "positions",
        heading: "Loss by place in the window",
        caption: format!(
            "Held-out loss of the final weights, in {}, by how many tokens of the window the model had seen, up to {}, each configuration in \
             windows of its own length. A line that still falls at its end says that more context helps.",
            report.loss_unit(),
            words::counted(usize::try_from(longest).unwrap_or(0), "token")
        ),
        panels: vec![Panel {
            caption: String::new(),
            note: String::new(),
            label: "loss against place in the window, a line a configuration".to_owned(),
        }],
        side_by_side: false,
        data: vec![
            json!({ "lines": lines, "ticks": places.keys().map(|(first, last)| round((*first as f64 * *last as f64).sqrt())).collect::<Vec<_>>(), "labels": places.values().collect::<Vec<_>>() }),
        ],
        table: Some(Table { headings, rows }),
        files: "trials/*/positions.parquet",
    })
}
