//! Several experiments as files: Markdown, a page, CSV and JSON.
//!
//! # `summary.json`
//!
//! `version` (1; keys are only ever added) · `experiments` (names) · `groups` [{`measured` {`text` (beginning of the hash of the
//! held-out text), `tokenizer` (its label), `tokenizer_hash`, `context`, `stride`, `scored_tokens`, `score`}, `differs` (from the first group; null for it),
//! `settings` (that vary), `uncontrolled`, `verdict`, `lines`, best first: {`place`, `experiment`, `configuration`, `values`
//! {key: value}, `loss`, `adjusted_loss` (over all seeds of its experiment, where some are missing there: it ranks then), `perplexity`,
//! `perplexity_spread`, `other_perplexity`, `bits_per_byte`, `test_perplexity`, `test_perplexity_spread`, `seeds`, `status` {status: number
//! of trials}, `tokens_per_second`, `training_seconds`, `parameters`}}] · `unranked` (configurations without a figure) · `damaged`.

use minijinja::{AutoEscape, Environment, context};
use polars::prelude::{Column, CsvWriter, DataFrame, SerWriter};
use serde_json::{Map, Value, json};

use super::groups::{Group, Line, Several};
use super::sentences::{apart, measured, notes, verdict};
use super::table::{GroupColumn, columns};
use crate::error::{Error, Result};
use crate::report::files::{defused, escaped};
use crate::report::{frames, verdict::state};
use crate::words::listed;

const VERSION: u32 = 1;
const TEMPLATE: &str = include_str!("../several.html");

pub(super) fn markdown(several: &Several) -> String {
    let mut lines = vec![format!("# {}", escaped(&listed(&several.experiments))), String::new()];
    for (place, group) in several.groups.iter().enumerate() {
        if let Some(why) = apart(several, place) {
            lines.extend([format!("## Measured otherwise\n\n{}", escaped(&why)), String::new()]);
        }
        lines.extend([escaped(&verdict(group).join(" ")), String::new()]);
        let columns = columns(group);
        lines.push(format!("| {} |", columns.iter().map(|c| escaped(&c.heading)).collect::<Vec<_>>().join(" | ")));
        lines.push(format!("|{}|", columns.iter().map(|c| if c.number { "---:" } else { "---" }).collect::<Vec<_>>().join("|")));
        for row in 0..group.lines.len() {
            lines.push(format!("| {} |", columns.iter().map(|c| escaped(&c.cells[row])).collect::<Vec<_>>().join(" | ")));
        }
        lines.extend([String::new(), format!("- {}", escaped(&measured(group))), String::new()]);
    }
    lines.extend(notes(several).iter().map(|note| format!("- {}", escaped(note))));
    if !several.damaged.is_empty() {
        lines.extend(["## Damaged files".to_owned(), String::new()]);
        lines.extend(several.damaged.iter().map(|file| format!("- {}", escaped(file))));
    }
    format!("{}\n", lines.join("\n").trim_end())
}

/// One page of tables; it needs neither network nor script.
pub(super) fn html(several: &Several) -> Result<String> {
    let failed = |e: minijinja::Error| Error::internal("the page cannot be made").caused_by(e.to_string());
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("several", TEMPLATE).map_err(failed)?;
    let groups: Vec<minijinja::Value> = several
        .groups
        .iter()
        .enumerate()
        .map(|(place, group)| {
            let columns = columns(group);
            let cell = |column: &GroupColumn, row: usize| context! { text => column.cells[row].clone(), number => column.number };
            let rows = (0..group.lines.len()).map(|row| columns.iter().map(|c| cell(c, row)).collect::<Vec<_>>());
            context! {
                apart => apart(several, place),
                verdict => verdict(group).join(" "),
                best => group.best,
                measured => measured(group),
                headings => columns.iter().map(|c| context! { text => c.heading.clone(), number => c.number }).collect::<Vec<_>>(),
                rows => rows.collect::<Vec<_>>(),
            }
        })
        .collect();
    let name = listed(&several.experiments);
    let template = environment.get_template("several").map_err(failed)?;
    template
        .render(context! { name => name, groups => groups, notes => notes(several), damaged => several.damaged.clone() })
        .map_err(failed)
}

pub(super) fn summary(several: &Several) -> Value {
    let groups = several.groups.iter().enumerate().map(|(place, group)| {
        let lines = group.lines.iter().enumerate().map(|(row, line)| {
            let c = &line.configuration;
            let values: Map<String, Value> =
                group.settings.iter().cloned().zip(line.values.iter().cloned().map(Value::String)).collect();
            json!({
                "place": row + 1,
                "experiment": line.experiment,
                "configuration": c.number,
                "values": values,
                "loss": c.loss,
                "adjusted_loss": line.adjusted_loss,
                "perplexity": c.perplexity.map(|f| f.mean),
                "perplexity_spread": c.perplexity.and_then(|f| f.spread),
                "other_perplexity": c.other_perplexity.map(|f| f.mean),
                "bits_per_byte": c.bits_per_byte.map(|f| f.mean),
                "test_perplexity": c.test_perplexity.map(|f| f.mean),
                "test_perplexity_spread": c.test_perplexity.and_then(|f| f.spread),
                "seeds": c.seeds,
                "status": c.status,
                "tokens_per_second": c.tokens_per_second,
                "training_seconds": c.training_seconds,
                "parameters": c.parameters,
            })
        });
        let m = &group.measured;
        json!({
            "measured": {
                "text": m.text,
                "tokenizer": m.tokenizer,
                "tokenizer_hash": m.tokenizer_hash,
                "context": m.context,
                "stride": m.stride,
                "scored_tokens": m.scored_tokens,
                "score": m.score,
            },
            "differs": (place > 0).then(|| m.differences(&several.groups[0].measured)),
            "settings": group.settings,
            "uncontrolled": group.uncontrolled,
            "verdict": verdict(group),
            "lines": lines.collect::<Vec<_>>(),
        })
    });
    json!({
        "version": VERSION,
        "experiments": several.experiments,
        "groups": groups.collect::<Vec<_>>(),
        "unranked": several.unranked,
        "damaged": several.damaged,
    })
}

/// A row of the table of all groups.
struct Row<'a> {
    group: usize,
    place: usize,
    line: &'a Line,
    settings: &'a [String],
}

/// The rows of the group of this number.
fn rows_of(group: usize, of: &Group) -> impl Iterator<Item = Row<'_>> {
    (1..).zip(&of.lines).map(move |(place, line)| Row { group, place, line, settings: &of.settings })
}

/// All groups in one table; only lines of one group compare. Settings that vary in no group are left out.
pub(super) fn leaderboard(several: &Several) -> Result<String> {
    let rows: Vec<Row<'_>> = (1..).zip(&several.groups).flat_map(|(number, group)| rows_of(number, group)).collect();
    let mut keys: Vec<&String> = Vec::new();
    for key in several.groups.iter().flat_map(|group| &group.settings) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let integers = |name: &str, value: &dyn Fn(&Row<'_>) -> Option<i64>| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<_>>())
    };
    let numbers = |name: &str, value: &dyn Fn(&Line) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(|row| value(row.line)).collect::<Vec<_>>())
    };
    let mut columns = vec![
        integers("group", &|row| Some(row.group as i64)),
        integers("place", &|row| Some(row.place as i64)),
        Column::new("experiment".into(), rows.iter().map(|row| defused(&row.line.experiment)).collect::<Vec<_>>()),
        integers("configuration", &|row| Some(row.line.configuration.number)),
    ];
    for key in keys {
        let value = |row: &Row<'_>| {
            let place = row.settings.iter().position(|k| k == key);
            let written = place.map(|place| row.line.values[place].as_str()).or_else(|| row.line.setting(key));
            defused(written.unwrap_or_default())
        };
        columns.push(Column::new(defused(key).into(), rows.iter().map(value).collect::<Vec<_>>()));
    }
    columns.extend([
        numbers("perplexity", &|l| l.configuration.perplexity.map(|f| f.mean)),
        numbers("perplexity_spread", &|l| l.configuration.perplexity.and_then(|f| f.spread)),
        integers("seeds", &|row| Some(row.line.configuration.seeds as i64)),
        numbers("loss", &|l| l.configuration.loss),
        numbers("bits_per_byte", &|l| l.configuration.bits_per_byte.map(|f| f.mean)),
    ]);
    if rows.iter().any(|row| row.line.configuration.test_perplexity.is_some()) {
        columns.extend([
            numbers("test_perplexity", &|l| l.configuration.test_perplexity.map(|f| f.mean)),
            numbers("test_perplexity_spread", &|l| l.configuration.test_perplexity.and_then(|f| f.spread)),
        ]);
    }
    columns.extend([
        numbers("tokens_per_second", &|l| l.configuration.tokens_per_second),
        numbers("training_seconds", &|l| l.configuration.training_seconds),
        integers("parameters", &|row| row.line.configuration.parameters),
        numbers("adjusted_loss", &|l| l.adjusted_loss),
        Column::new("status".into(), rows.iter().map(|row| defused(&state(&row.line.configuration))).collect::<Vec<_>>()),
    ]);
    let mut frame = DataFrame::new(rows.len(), columns).map_err(frames::wrong)?;
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame).map_err(frames::wrong)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
