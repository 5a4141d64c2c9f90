//! `index.html`: one file that needs no network.
//!
//! The page is a template with everything a person reads already in it, so that it is whole without JavaScript; the figures are
//! drawn by Plotly, whose script the page carries, from one block of JSON. All text of others goes through the
//! template's escaping, or into the JSON with `<` written as `\u003c`. A content security policy forbids every request,
//! and every script but those that carry a number made from the page's content.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, Value, context};
use plotly::Plot;
use serde_json::json;

use super::{Report, files, samples, table, verdict, words};
use crate::error::{Error, Result};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Points drawn for one axis; beyond them every n-th trial is drawn, the means are of all.
const AXIS_POINTS: usize = 1_500;

pub(super) fn html(report: &Report) -> Result<String> {
    let data = embeddable(&data(report));
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
            name => report.protocol.name.clone(),
            description => report.protocol.description.clone().unwrap_or_default(),
            verdict => first,
            more => rest,
            health => health(report),
            headings => headings(report),
            rows => rows(report),
            notes => strings(verdict::notes(report)),
            curves => !report.curves.is_empty(),
            axes => axes_shown(report),
            samples => written(report),
            samples_heading => samples::HEADING,
            samples_caption => samples::caption(report),
            failures => failures(report),
            damaged => strings(report.damaged.clone()),
            measured => files::how_measured(report),
            provenance => provenance(report),
            unit => unit(report),
        })
        .map_err(failed)
}

fn unit(report: &Report) -> &'static str {
    if report.comparison.by_bytes { "bits per byte" } else { "perplexity" }
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
    let number = text.split(' ').next().unwrap_or(text).replace(['_', ','], "");
    match number.as_str() {
        "off" | "full" => "1e300".to_owned(),
        number => number.parse::<f64>().map_or_else(|_| String::new(), |n| n.to_string()),
    }
}

fn rows(report: &Report) -> Value {
    let columns = table::columns(report);
    let configurations = report.comparison.configurations.iter();
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
                ("first", (configuration.place == Some(1)).into()),
                ("lost", (configuration.place.is_none()).into()),
            ])
        })
        .collect()
}

fn written(report: &Report) -> Value {
    let shown = report.samples.iter();
    shown
        .map(|shown| {
            object([
                ("name", samples::name(report, shown).into()),
                ("prompt", words::lines(&shown.sample.prompt).into()),
                ("text", words::lines(&shown.sample.text).into()),
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
                ("reason", words::plain(&f.reason).into()),
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
    add("reported by", format!("votive {}", env!("CARGO_PKG_VERSION")));
    add("text (hash)", report.protocol.text_hash.clone().unwrap_or_default());
    if let Some(started) = comparison.trials.iter().filter_map(|t| t.started_utc).min() {
        add("first start", time(started));
    }
    if let Some(finished) = comparison.trials.iter().filter_map(|t| t.finished_utc).max() {
        add("last end", time(finished));
    }
    let peak = comparison.configurations.iter().filter_map(|c| c.peak_memory_bytes).fold(0.0, f64::max);
    if peak > 0.0 {
        add("largest memory of a trial", words::bytes(peak as i64));
    }
    pairs.into_iter().map(|(name, value)| object([("name", name.into()), ("value", value.into())])).collect()
}

/// `2026-11-23 07:12 UTC`.
fn time(microseconds: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(microseconds);
    time.map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

fn axes_shown(report: &Report) -> Value {
    axes(report).iter().map(|axis| Value::from(axis["label"].as_str().unwrap_or_default().to_owned())).collect()
}

/// What the figures are drawn from.
fn data(report: &Report) -> serde_json::Value {
    let configurations: Vec<_> = report
        .comparison
        .configurations
        .iter()
        .map(|c| {
            json!({
                "number": c.number,
                "place": c.place,
                "name": verdict::name(report, c),
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
                "validation": {
                    "steps": curve.validation.iter().map(|v| v.step).collect::<Vec<_>>(),
                    "tokens": curve.validation.iter().map(|v| v.tokens).collect::<Vec<_>>(),
                    "hours": rounded(curve.validation.iter().map(|v| v.hours)),
                    "loss": rounded(curve.validation.iter().map(|v| v.loss)),
                },
            })
        })
        .collect();
    let settings = words::keys(&report.protocol.swept).join(" · ");
    json!({ "unit": unit(report), "settings": settings, "configurations": configurations, "curves": curves, "axes": axes(report) })
}

/// Five digits that mean something: what a screen can show.
fn rounded(values: impl Iterator<Item = f64>) -> Vec<serde_json::Value> {
    values.map(|v| format!("{v:.4e}").parse::<f64>().map_or(serde_json::Value::Null, |v| json!(v))).collect()
}

/// One figure for each swept key that has at least two values: a point a trial, and the mean of each value.
fn axes(report: &Report) -> Vec<serde_json::Value> {
    let comparison = &report.comparison;
    let by_number: BTreeMap<i64, _> =
        comparison.configurations.iter().filter(|c| c.place.is_some()).map(|c| (c.number, c)).collect();
    let trials: Vec<_> = comparison
        .trials
        .iter()
        .filter(|t| t.status == "completed")
        .filter_map(|t| {
            let figure = if comparison.by_bytes { t.bits_per_byte } else { t.perplexity };
            Some((t, by_number.get(&t.configuration)?, figure?))
        })
        .collect();
    let every = trials.len().div_ceil(AXIS_POINTS).max(1);
    let labels = words::keys(&report.protocol.swept);
    let mut axes = Vec::new();
    for (place, key) in report.protocol.swept.iter().enumerate() {
        let values = ordered(comparison.configurations.iter().map(|c| (c.number, c.values[place].as_str())));
        if values.len() < 2 || trials.is_empty() {
            continue;
        }
        let index = |value: &str| values.iter().position(|v| v == value);
        let points: Vec<_> = trials
            .iter()
            .step_by(every)
            .filter_map(|(trial, c, figure)| Some(json!([index(&c.values[place])?, figure, c.number, trial.seed])))
            .collect();
        let means: Vec<_> = values
            .iter()
            .map(|value| {
                // Perplexities are averaged as losses are, bits per byte as they are.
                let list: Vec<f64> = by_number
                    .values()
                    .filter(|c| &c.values[place] == value)
                    .filter_map(|c| if comparison.by_bytes { c.bits_per_byte.map(|f| f.mean) } else { c.loss })
                    .collect();
                let mean = (!list.is_empty()).then(|| list.iter().sum::<f64>() / list.len() as f64);
                if comparison.by_bytes { mean } else { mean.map(f64::exp) }
            })
            .collect();
        axes.push(json!({ "key": key, "label": labels[place], "values": values, "points": points, "means": means }));
    }
    axes
}

/// The distinct values of an axis: numbers by size with `off` and `full` after them, words in the order of the file.
fn ordered<'a>(values: impl Iterator<Item = (i64, &'a str)>) -> Vec<String> {
    let mut by_number: Vec<(i64, &str)> = values.collect();
    by_number.sort_by_key(|(number, _)| *number);
    let mut distinct: Vec<String> = Vec::new();
    for (_, value) in by_number {
        if !distinct.iter().any(|known| known == value) {
            distinct.push(value.to_owned());
        }
    }
    let size = |value: &String| match value.as_str() {
        "off" | "full" => Some(f64::INFINITY),
        other => other.replace('_', "").parse::<f64>().ok(),
    };
    if distinct.iter().all(|value| size(value).is_some()) {
        distinct.sort_by(|a, b| size(a).unwrap_or(0.0).total_cmp(&size(b).unwrap_or(0.0)));
    }
    distinct
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
    fn values_of_an_axis_are_in_the_order_a_person_expects() {
        let order = |list: &[&'static str]| ordered(list.iter().enumerate().map(|(i, v)| (i as i64, *v)));
        assert_eq!(order(&["off", "1.0", "0.5", "1.0"]), ["0.5", "1.0", "off"]);
        assert_eq!(order(&["256", "64", "1_000"]), ["64", "256", "1_000"]);
        assert_eq!(order(&["linear", "cosine", "linear"]), ["linear", "cosine"]);
        assert_eq!(order(&["bpe-512", "7"]), ["bpe-512", "7"]);
    }

    #[test]
    fn columns_sort_by_number() {
        for (text, expected) in [("5.812 ± 0.041", "5.812"), ("12,345", "12345"), ("off", "1e300"), ("", ""), ("20_000", "20000")]
        {
            assert_eq!(sort_key(text), expected);
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(time(1_700_000_000_000_000), "2023-11-14 22:13 UTC");
    }

    #[test]
    fn numbers_on_the_page_have_five_digits() {
        assert_eq!(json!(rounded([1.234_567_8, 0.000_012_345_67].into_iter())).to_string(), "[1.2346,0.000012346]");
    }
}
