//! Loss by place in the window: how much a configuration makes of more context.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Panel, Section, Table, by_number, name, round, rounded};
use crate::error::Result;
use crate::plan::TrialId;
use crate::report::comparison::Comparison;
use crate::report::frames::{integers, numbers, read, words};
use crate::report::{Report, words as shown};
use crate::runs::{ExperimentFolder, TrialFolder};

/// Loss by place of a configuration, over all of its seeds that have it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Positions {
    configuration: i64,
    bins: Vec<Bin>,
}

/// Places in the window from first to last, from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    first: i64,
    last: i64,
    loss: f64,
}

/// Sum of NLL and number of tokens, by first and last place.
type Sums = BTreeMap<(i64, i64), (f64, i64)>;

/// Reads those of the configurations that are drawn; files that cannot be read are listed.
pub(super) fn positions(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    drawn: &[i64],
    damaged: &mut Vec<String>,
) -> Vec<Positions> {
    let mut found = Vec::new();
    for &configuration in drawn {
        let mut sums = Sums::new();
        for trial in comparison.trials.iter().filter(|t| t.configuration == configuration && t.status == "completed") {
            let Some(id) = TrialId::parse(&trial.id) else { continue };
            if let Err(error) = add(&folder.trial(&id), &mut sums) {
                damaged.push(error.chain());
            }
        }
        let bin = |((first, last), (nll, tokens)): ((i64, i64), (f64, i64))| Bin { first, last, loss: nll / tokens as f64 };
        let bins: Vec<Bin> = sums.into_iter().filter(|(_, (_, tokens))| *tokens > 0).map(bin).collect();
        if bins.len() > 1 {
            found.push(Positions { configuration, bins });
        }
    }
    found
}

/// Adds what a trial's final weights were scored with in windows of its own length, or in common ones where both are the same.
fn add(folder: &TrialFolder, sums: &mut Sums) -> Result<()> {
    if !folder.positions().exists() {
        return Ok(());
    }
    let frame = read(&folder.positions(), None)?;
    let (protocol, kind) = (words(&frame, "protocol")?, words(&frame, "checkpoint_kind")?);
    let (first, last) = (integers(&frame, "first_position")?, integers(&frame, "last_position")?);
    let (tokens, nll) = (integers(&frame, "tokens")?, numbers(&frame, "nll_sum")?);
    let is = |row: usize, name: &str| protocol[row].as_deref() == Some(name) && kind[row].as_deref() == Some("final");
    let own = if (0..frame.height()).any(|row| is(row, "native")) { "native" } else { "common" };
    for row in (0..frame.height()).filter(|&row| is(row, own)) {
        if let (Some(first), Some(last), Some(tokens), Some(nll)) = (first[row], last[row], tokens[row], nll[row]) {
            let sum = sums.entry((first, last)).or_default();
            *sum = (sum.0 + nll, sum.1 + tokens);
        }
    }
    Ok(())
}

pub(super) fn section(report: &Report) -> Option<Section> {
    let positions = &report.sources.positions;
    if positions.is_empty() {
        return None;
    }
    let by_number = by_number(report);
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
        Some([name(report, by_number.get(&p.configuration)?)].into_iter().chain(losses).collect())
    });
    let rows = rows.collect();
    let longest = places.keys().map(|(_, last)| *last).max().unwrap_or(1);
    Some(Section {
        id: "positions",
        heading: "Loss by place in the window",
        caption: format!(
            "Held-out loss of the final weights by how many tokens of the window the model had seen, up to {}, each configuration in \
             windows of its own length. A line that still falls at its end says that more context helps.",
            shown::count(usize::try_from(longest).unwrap_or(0), "token")
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
