//! `index.html`: one file that needs no network.
//!
//! The page is a template with everything a person reads already in it, so that it is whole without JavaScript; the figures are
//! drawn by Plotly, whose script the page carries, from one block of JSON. All text of others goes through the
//! template's escaping, or into the JSON with `<` written as `\u003c`. A content security policy forbids every request,
//! and every script but those that carry a number made from the page's content.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{AutoEscape, Environment, Value, context};
use plotly::Plot;
use serde_json::json;

use super::comparison::Configuration;
use super::experiment::Report;
use super::figures::{self, Section, rounded};
use super::swept_value::SweptValue;
use super::winner::Winner;
use super::{curves, files, samples, settings, table, verdict};
use crate::error::{Error, Result};
use crate::report::wording;
use crate::runs::Status;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// One script after the other; what a later one needs of an earlier one stands on its first lines.
const SCRIPT: &str = concat!(include_str!("page.js"), include_str!("curves.js"), include_str!("figures.js"));

/// Rows of the leaderboard that the page holds, and of the table of settings; the files have all.
const ROWS: usize = 1_000;
const SETTINGS_ROWS: usize = 100;
/// Reasons that are told at the top, with their last lines.
const REASONS: usize = 6;

pub(super) fn html(report: &Report) -> Result<String> {
    let sections = figures::sections(report);
    let data = embeddable(&data(report, &sections));
    let nonce = blake3::hash(data.as_bytes()).to_hex()[..32].to_owned();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let failed = |e: minijinja::Error| Error::internal("the page cannot be made").caused_by(e.to_string());
    environment.add_template("page", TEMPLATE).map_err(failed)?;
    let template = environment.get_template("page").map_err(failed)?;
    let safe = |text: &str| Value::from_safe_string(text.to_owned());
    let sentences = verdict::sentences(report);
    let (first, rest) = sentences.split_first().map_or((String::new(), String::new()), |(f, r)| (f.clone(), r.join(" ")));
    template
        .render(context! {
            nonce => nonce,
            style => safe(STYLE),
            plotly => safe(&plotly_script()?),
            script => safe(SCRIPT),
            data => safe(&data),
            name => report.design.name.clone(),
            description => report.design.description.clone().unwrap_or_default(),
            verdict => first,
            more => rest,
            health => health(report),
            headings => headings(report),
            rows => rows(report),
            winner => report.winner.as_ref().map(|winner| context! {
                configuration => winner.configuration,
                weights => winner.weights().map(|path| path.display().to_string()),
                weights_are => winner.weights_are(),
                lost => winner.has_lost_the_ranked(),
                sample => winner.sample(),
                keep => winner.keep(),
                run => Winner::RUN,
            }),
            notes => strings(verdict::notes(report)),
            curves => !report.curves.is_empty(),
            losses => curves::caption(&report.comparison),
            figures => shown_sections(&sections),
            reasons => reasons(report),
            command => command(report),
            more_rows => report.comparison.configurations.len().saturating_sub(ROWS),
            tied => tied(report).is_some_and(|set| set.len() > 1),
            differing => differing(report),
            same => pairs(report.settings.same()),
            samples => written(report),
            samples_heading => samples::HEADING,
            samples_caption => samples::caption(&report.samples),
            failures => failures(report),
            damaged => strings(report.damaged.clone()),
            measured => files::how_measured(report),
            provenance => provenance(report),
            unit => report.unit(),
        })
        .map_err(failed)
}

/// Plotly's own script, without the formula renderer that its crate adds.
fn plotly_script() -> Result<String> {
    let sources = Plot::offline_js_sources();
    let (start, end) = (sources.find('>'), sources.find("</script>"));
    match start.zip(end) {
        Some((start, end)) if start < end => Ok(sources[start + 1..end].to_owned()),
        _ => Err(Error::internal("the plotting library has no script")),
    }
}

/// JSON that can stand inside a script element whatever its strings hold.
fn embeddable(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn object(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    pairs.into_iter().collect::<BTreeMap<_, _>>().into()
}

fn strings(list: Vec<String>) -> Value {
    list.into_iter().map(Value::from).collect()
}

fn health(report: &Report) -> Value {
    let items = verdict::health(report).into_iter();
    items.map(|(text, tone)| object([("text", text.into()), ("tone", tone.into())])).collect()
}

fn headings(report: &Report) -> Value {
    let columns = table::columns(report).into_iter();
    columns.map(|c| object([("text", c.heading.into()), ("number", c.number.into())])).collect()
}

/// What a column sorts by: the number itself, not its text.
fn sort_key(text: &str) -> String {
    if text.starts_with(wording::SAME) {
        return "0".to_owned();
    }
    let number = text.split(' ').next().unwrap_or(text).replace(['_', ','], "");
    match SweptValue::of(&number).size() {
        Some(size) if size.is_infinite() => "1e300".to_owned(),
        size => size.map_or_else(String::new, |size| size.to_string()),
    }
}

fn rows(report: &Report) -> Value {
    let columns = table::columns(report);
    let configurations = report.comparison.configurations.iter().take(ROWS);
    let tied = tied(report).unwrap_or_default();
    let best = report.comparison.best().map(|best| best.number);
    configurations
        .map(|configuration| {
            let cells = columns.iter().map(|column| {
                let text = (column.cell)(configuration);
                let sort = match column.heading.as_str() {
                    "training" => configuration.training_seconds.map_or_else(String::new, |s| s.to_string()),
                    _ if column.number => sort_key(&text),
                    _ => text.clone(),
                };
                object([("text", text.into()), ("sort", sort.into()), ("number", column.number.into())])
            });
            object([
                ("cells", cells.collect::<Value>()),
                ("configuration", configuration.number.into()),
                ("first", (best == Some(configuration.number)).into()),
                ("tied", (tied.len() > 1 && tied.contains(&configuration.number)).into()),
                ("lost", (configuration.place.is_none()).into()),
            ])
        })
        .collect()
}

/// The configurations that are statistically tied with the best, where there is a set.
fn tied(report: &Report) -> Option<Vec<i64>> {
    report.statistics.as_ref()?.best_set()
}

fn written(report: &Report) -> Value {
    let shown = report.samples.iter();
    shown
        .map(|shown| {
            object([
                ("name", samples::name(shown).into()),
                ("prompt", wording::lines(&shown.sample.prompt).into()),
                ("text", wording::lines(&shown.sample.text).into()),
            ])
        })
        .collect()
}

fn failures(report: &Report) -> Value {
    let failures = files::failures(report).into_iter();
    failures
        .map(|f| {
            object([
                ("trial", f.trial.into()),
                ("configuration", f.configuration.into()),
                ("seed", f.seed.into()),
                ("status", f.status.into()),
                ("reason", wording::plain(&f.reason).into()),
                ("last_lines", f.last_lines.into()),
            ])
        })
        .collect()
}

fn provenance(report: &Report) -> Value {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let comparison = &report.comparison;
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            pairs.push((name.to_owned(), value));
        }
    };
    add("trained by", comparison.programs.join("; "));
    add("on", comparison.machines.join("; "));
    let protocol = &report.design;
    add("experiment file", protocol.file.clone().unwrap_or_default());
    let dirty = |dirty: bool| if dirty { ", and files differed from it" } else { "" };
    add(
        "git commit",
        protocol.git.clone().map_or_else(String::new, |git| format!("{}{}", git.commit, dirty(git.dirty.unwrap_or(false)))),
    );
    add("the program's libraries (hash)", protocol.lock_file.clone().unwrap_or_default());
    let texts: BTreeSet<&str> = comparison.configurations.iter().filter_map(|c| c.content.text.as_deref()).collect();
    add(
        "text (hash)",
        match texts.len() {
            0 => protocol.text_hash.clone().unwrap_or_default(),
            _ => texts.into_iter().collect::<Vec<_>>().join("; "),
        },
    );
    add("reported by", crate::program());
    if let Some(started) = comparison.trials.iter().filter_map(|t| t.started_utc).min() {
        add("first start", wording::time(started));
    }
    if let Some(finished) = comparison.trials.iter().filter_map(|t| t.finished_utc).max() {
        add("last end", wording::time(finished));
    }
    add("largest memory of a trial", memory(&comparison.configurations));
    add("expected of it", expected_memory(&comparison.configurations));
    self::pairs(pairs)
}

/// `134 MB`; `3.1 GB of the GPU, 400 MB of the host`; empty where nothing is known.
fn memory(configurations: &[Configuration]) -> String {
    let largest = |of: &dyn Fn(&Configuration) -> Option<f64>| configurations.iter().filter_map(of).fold(0.0, f64::max);
    let (host, device) = (largest(&|c| c.peak_memory_bytes), largest(&|c| c.peak_device_memory_bytes));
    let [host_bytes, device_bytes] = [host, device].map(|bytes| wording::bytes(bytes as i64));
    match (host > 0.0, device > 0.0) {
        (true, true) => format!("{device_bytes} of the GPU, {host_bytes} of the host"),
        (true, false) => host_bytes,
        (false, true) => format!("{device_bytes} of the GPU"),
        (false, false) => String::new(),
    }
}

/// `210 MB by the plan, 192 MB by the probe`; empty where nothing is known.
fn expected_memory(configurations: &[Configuration]) -> String {
    let largest =
        |of: &dyn Fn(&Configuration) -> Option<i64>| configurations.iter().filter_map(of).max().filter(|&bytes| bytes > 0);
    let by = |bytes: Option<i64>, by: &str| bytes.map(|bytes| format!("{} by the {by}", wording::bytes(bytes)));
    let planned = by(largest(&|c| c.planned_memory_bytes), "plan");
    let probed = by(largest(&|c| c.probed_memory_bytes), "probe");
    planned.into_iter().chain(probed).collect::<Vec<_>>().join(", ")
}

fn pairs(pairs: Vec<(String, String)>) -> Value {
    pairs.into_iter().map(|(name, value)| object([("name", name.into()), ("value", value.into())])).collect()
}

/// Each reason that trials have no result for, how many there are, and the last lines of the first one.
fn reasons(report: &Report) -> Value {
    let mut reasons: Vec<(String, String, usize)> = Vec::new();
    for failure in files::failures(report) {
        let status = failure.status.split(" after ").next().unwrap_or_default();
        let text = match wording::plain(&failure.reason) {
            reason if reason.is_empty() => status.to_owned(),
            reason => format!("{status}: {reason}"),
        };
        match reasons.iter_mut().find(|(known, ..)| *known == text) {
            Some((.., count)) => *count += 1,
            None => reasons.push((text, failure.last_lines, 1)),
        }
    }
    let shown = reasons.into_iter().take(REASONS);
    shown
        .map(|(text, last_lines, count)| {
            object([("text", text.into()), ("last_lines", wording::lines(&last_lines).into()), ("count", count.into())])
        })
        .collect()
}

/// The command that trains what has no result yet; empty where nothing is left for it.
fn command(report: &Report) -> String {
    let left = report.comparison.trials.iter().any(|t| t.status != Status::Completed);
    let file = report.design.file.as_deref().unwrap_or("FILE");
    let simple = file.chars().all(|c| c.is_alphanumeric() || "/._-~+".contains(c)) && !file.starts_with('-');
    let quoted = if simple { file.to_owned() } else { format!("'{}'", file.replace('\'', "'\\''")) };
    if left { wording::plain(&format!("votive run {quoted}")) } else { String::new() }
}

/// Settings and planned figures that differ, a row a configuration.
fn differing(report: &Report) -> Value {
    let columns = report.settings.differing();
    let configurations = &report.comparison.configurations;
    if columns.is_empty() || configurations.len() < 2 {
        return Value::from(());
    }
    let rows = configurations.iter().take(SETTINGS_ROWS).map(|c| {
        let cells = columns.iter().map(|column| report.settings.shown(c.number, column).unwrap_or_default());
        let cells: Vec<String> = std::iter::once(report.full_name(c)).chain(cells).collect();
        strings(cells)
    });
    object([
        ("headings", strings(columns.iter().map(|column| settings::heading(column)).collect())),
        ("rows", rows.collect()),
        ("more", configurations.len().saturating_sub(SETTINGS_ROWS).into()),
    ])
}

fn shown_sections(sections: &[Section]) -> Value {
    let shown = |section: &Section| {
        let panels = section.panels.iter();
        let panels: Value = panels
            .map(|p| {
                object([
                    ("caption", wording::plain(&p.caption).into()),
                    ("note", wording::plain(&p.note).into()),
                    ("label", wording::plain(&p.label).into()),
                ])
            })
            .collect();
        let table = section.table.as_ref().map(|table| {
            let (rows, more) = table.shown();
            let headings = table.headings.iter();
            let headings: Value = headings
                .map(|(text, number)| object([("text", wording::plain(text).into()), ("number", (*number).into())]))
                .collect();
            let cells = |row: &Vec<String>| strings(row.iter().map(|cell| wording::plain(cell)).collect());
            object([("headings", headings), ("rows", rows.iter().map(cells).collect()), ("more", more.into())])
        });
        object([
            ("id", section.id.into()),
            ("heading", section.heading.into()),
            ("caption", section.caption.clone().into()),
            ("panels", panels),
            ("side_by_side", section.side_by_side.into()),
            ("table", table.unwrap_or_default()),
            ("files", section.files.into()),
        ])
    };
    sections.iter().map(shown).collect()
}

/// What the figures are drawn from.
fn data(report: &Report, sections: &[Section]) -> serde_json::Value {
    let configurations: Vec<_> = report
        .comparison
        .configurations
        .iter()
        .take(ROWS)
        .map(|c| {
            json!({
                "number": c.number,
                "place": c.place,
                "under_way": verdict::is_under_way(c),
                "name": report.name(c),
                "short": c.values.join(" · "),
            })
        })
        .collect();
    let curves: Vec<_> = report
        .curves
        .iter()
        .map(|curve| {
            json!({
                "configuration": curve.configuration,
                "seed": curve.seed,
                "steps": curve.steps,
                "tokens": curve.tokens,
                "hours": rounded(curve.hours.iter().copied()),
                "loss": rounded(curve.loss.iter().copied()),
                "raw": rounded(curve.raw.iter().copied()),
                "norm": rounded(curve.norm.iter().copied()),
                "raw_norm": rounded(curve.raw_norm.iter().copied()),
                "validation": {
                    "steps": curve.validation.iter().map(|v| v.step).collect::<Vec<_>>(),
                    "tokens": curve.validation.iter().map(|v| v.tokens).collect::<Vec<_>>(),
                    "hours": rounded(curve.validation.iter().map(|v| v.hours)),
                    "loss": rounded(curve.validation.iter().map(|v| v.loss)),
                },
            })
        })
        .collect();
    let settings = wording::keys(&report.design.swept).join(" · ");
    let figures: serde_json::Map<String, serde_json::Value> =
        sections.iter().map(|section| (section.id.to_owned(), json!(section.data))).collect();
    let (unit, loss_unit) = (report.unit(), report.loss_unit());
    json!({ "unit": unit, "loss_unit": loss_unit, "settings": settings, "configurations": configurations, "curves": curves, "figures": figures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_carries_plotly_and_not_the_formula_renderer() {
        let script = plotly_script().unwrap();
        assert!(script.len() > 4_000_000 && script.len() < 5_000_000, "{}", script.len());
        assert!(!script.contains("</script") && !script.contains("MathJax.loader"));
    }

    #[test]
    fn json_inside_a_script_element_cannot_end_it() {
        let text = embeddable(&json!({ "a": "</script><img src=x onerror=alert(1)>\u{2028}" }));
        assert!(!text.contains('<') && !text.contains('\u{2028}'));
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["a"], "</script><img src=x onerror=alert(1)>\u{2028}");
    }

    #[test]
    fn columns_sort_by_number() {
        for (text, expected) in [
            ("5.812 ± 0.041", "5.812"),
            ("12,345", "12345"),
            ("off", "1e300"),
            ("", ""),
            ("20_000", "20000"),
            ("the same (0.0 to +6.1)", "0"),
        ] {
            assert_eq!(sort_key(text), expected);
        }
    }
}
