//! What ran when: every attempt of every trial, a row a slot.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::section::{Panel, Section, Table};
use crate::report::attempts_in_time::Stay;
use crate::report::experiment::Report;
use crate::report::wording;
use crate::words;

/// Attempts that are drawn: the latest.
const DRAWN: usize = 2_000;

/// Columns of the table, and whether they hold numbers.
const HEADINGS: [(&str, bool); 9] = [
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

pub(super) fn section(report: &Report) -> Option<Section> {
    let stays = &report.stays;
    if stays.len() < 2 {
        return None;
    }
    let hosts = stays.iter().any(|stay| stay.attempt.host != stays[0].attempt.host);
    let known_end = |stay: &Stay| stay.attempt.ended_utc.or(stay.heard_utc).unwrap_or(stay.attempt.started_utc);
    let last = stays.iter().map(known_end).max()?;
    let skipped = stays.len().saturating_sub(DRAWN);
    let bars = bars(stays, hosts, last);
    let by_number = report.comparison.by_number();
    let rows = bars.iter().map(|bar| {
        let configuration = by_number.get(&bar.stay.configuration);
        bar.cells(configuration.map(|c| report.full_name(c)).unwrap_or_default())
    });
    let table = Some(Table::new(&HEADINGS, rows.collect()));
    let drawn: Vec<Value> = bars[skipped..].iter().map(Bar::json).collect();
    let slots = stays.iter().map(|stay| stay.row(hosts)).collect::<BTreeSet<_>>().len();
    let whole = (last - stays[0].attempt.started_utc) * slots as i64;
    let busy: i64 = bars.iter().map(|bar| bar.ended - bar.started_utc()).sum();
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
        data: vec![json!({ "bars": drawn, "slots": slots })],
        table,
        files: "trials/*/attempts/*.json",
    })
}

/// A stay as it is drawn: where, until when, and how it ended.
struct Bar<'a> {
    stay: &'a Stay,
    row: String,
    /// Microseconds since 1970.
    ended: i64,
    colour: &'static str,
    end: String,
}

/// A bar for each stay. Where its end is not known it lasted until the next one in its row began, or else until `last`.
fn bars(stays: &[Stay], hosts: bool, last: i64) -> Vec<Bar<'_>> {
    let latest: HashMap<&str, usize> = stays.iter().enumerate().map(|(place, stay)| (stay.trial_id.as_str(), place)).collect();
    let mut bars = Vec::with_capacity(stays.len());
    for (place, stay) in stays.iter().enumerate() {
        let row = stay.row(hosts);
        let next =
            || stays[place + 1..].iter().find(|later| later.row(hosts) == row).map_or(last, |later| later.attempt.started_utc);
        let ended = stay.attempt.ended_utc.or(stay.heard_utc).unwrap_or_else(next).max(stay.attempt.started_utc);
        let (colour, end) = stay.end(latest.get(stay.trial_id.as_str()) == Some(&place));
        bars.push(Bar { stay, row, ended, colour, end });
    }
    bars
}

impl Bar<'_> {
    fn started_utc(&self) -> i64 {
        self.stay.attempt.started_utc
    }

    /// What the script draws it from; times in milliseconds.
    fn json(&self) -> Value {
        let Self { stay, row, colour, end, .. } = self;
        let (started, lasted) = (self.started_utc() / 1000, (self.ended - self.started_utc()) / 1000);
        json!([row, started, lasted, colour, end, stay.configuration, stay.seed, stay.attempt.attempt])
    }

    /// Its row of the table.
    fn cells(&self, configuration: String) -> Vec<String> {
        vec![
            self.stay.trial_id.clone(),
            configuration,
            self.stay.seed.map_or_else(String::new, |seed| seed.to_string()),
            self.stay.attempt.attempt.to_string(),
            self.row.clone(),
            wording::time(self.started_utc()),
            words::duration((self.ended - self.started_utc()) as f64 / 1e6),
            words::thousands(self.stay.attempt.from_step),
            self.end.clone(),
        ]
    }
}
