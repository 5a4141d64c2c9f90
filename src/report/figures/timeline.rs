//! What ran when: every attempt of every trial, a row a slot.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::section::{Panel, Section, Table};
use crate::report::experiment::Report;
use crate::report::stays::Stay;
use crate::report::words;

/// Attempts that are drawn: the latest.
const DRAWN: usize = 2_000;

pub(super) fn section(report: &Report) -> Option<Section> {
    let stays = &report.stays;
    if stays.len() < 2 {
        return None;
    }
    let by_number = report.comparison.by_number();
    let hosts = stays.iter().any(|stay| stay.attempt.host != stays[0].attempt.host);
    let known_end = |stay: &Stay| stay.attempt.ended_utc.or(stay.heard_utc).unwrap_or(stay.attempt.started_utc);
    let last = stays.iter().map(known_end).max()?;
    let skipped = stays.len().saturating_sub(DRAWN);
    let latest: HashMap<&str, usize> = stays.iter().enumerate().map(|(place, stay)| (stay.trial_id.as_str(), place)).collect();
    let (mut bars, mut rows, mut busy) = (Vec::new(), Vec::new(), 0);
    for (place, stay) in stays.iter().enumerate() {
        let (row, begun) = (stay.row(hosts), stay.attempt.started_utc);
        // Whatever ran there ended before the next one began.
        let next =
            || stays[place + 1..].iter().find(|later| later.row(hosts) == row).map_or(last, |later| later.attempt.started_utc);
        let ended = stay.attempt.ended_utc.or(stay.heard_utc).unwrap_or_else(next).max(begun);
        let (colour, said) = stay.end(latest.get(stay.trial_id.as_str()) == Some(&place));
        busy += ended - begun;
        let seconds = (ended - begun) as f64 / 1e6;
        if place >= skipped {
            bars.push(json!([
                row,
                begun / 1000,
                (ended - begun) / 1000,
                colour,
                said,
                stay.configuration,
                stay.seed,
                stay.attempt.attempt
            ]));
        }
        rows.push(vec![
            stay.trial_id.clone(),
            by_number.get(&stay.configuration).map(|c| report.full_name(c)).unwrap_or_default(),
            stay.seed.map_or_else(String::new, |seed| seed.to_string()),
            stay.attempt.attempt.to_string(),
            row,
            words::time(begun),
            words::duration(seconds),
            words::thousands(stay.attempt.from_step),
            said,
        ]);
    }
    let slots = stays.iter().map(|stay| stay.row(hosts)).collect::<BTreeSet<_>>().len();
    let whole = (last - stays[0].attempt.started_utc) * slots as i64;
    let mut caption = "A bar is an attempt: a trial's stay in a slot. Times are UTC.".to_owned();
    if whole > 0 {
        let share = (100.0 * busy as f64 / whole as f64).min(100.0);
        caption.push_str(&format!(
            " {} busy {share:.0} % of the time from the first start to the last end.",
            if slots == 1 { "The slot was".to_owned() } else { format!("The {slots} slots were") }
        ));
    }
    if skipped > 0 {
        caption.push_str(&format!(" The latest {} are drawn.", words::thousands(DRAWN as i64)));
    }
    let headings = [
        ("trial", false),
        ("configuration", false),
        ("seed", true),
        ("attempt", true),
        ("slot", true),
        ("start", false),
        ("lasted", true),
        ("from step", true),
        ("end", false),
    ];
    let table = Some(Table::new(&headings, rows));
    Some(Section {
        id: "timeline",
        heading: "What ran when",
        caption,
        panels: vec![Panel {
            caption: String::new(),
            note: String::new(),
            label: "timeline of the slots, a bar an attempt".to_owned(),
        }],
        side_by_side: false,
        data: vec![json!({ "bars": bars, "slots": slots })],
        table,
        files: "trials/*/attempts/*.json",
    })
}
