//! `report.md`, `leaderboard.csv` and `summary.json`.
//!
//! # `summary.json`
//!
//! `version` (2: the statistics of 1 were others; keys are only ever added) · `name`, `description` · `verdict` (a list of sentences, the first can stand alone) ·
//! `protocol` {`rank_by`, `rank_at`, `margin` (a share: smaller differences are not worth a choice), `unit` (`perplexity` or `bits_per_byte`), `common_context`, `common_stride`, `scored_tokens`,
//! `scored_bytes`} · `status` {status: number of trials} · `wall_seconds`, `training_seconds` · `swept` (keys) · `configurations`, best
//! first: {`place` (null where it is not ranked), `configuration`, `values` {key: value as written}, `seeds` (that count), `loss`,
//! `adjusted` (over all seeds, where some are missing), `perplexity`, `perplexity_spread` (null for one seed), `other_perplexity`, `other_perplexity_spread` (by the other context),
//! `bits_per_byte`, `bits_per_byte_spread` (null where tokenizers differ and this one is not known to give every text back), `test_perplexity`, `test_perplexity_spread`, `test_bits_per_byte`, `test_bits_per_byte_spread` (of the
//! test part, at the common context, by the weights that rank), `chosen` (among the values of tuned settings), `at_edge` (tuned keys whose chosen value is
//! the smallest or largest tried), `tokenizer` (its label), `tokenizer_hash`, `validation_hash` (of the held-out text), `vocabulary`, `parameters`, `tokens_per_second`, `training_seconds`,
//! `planned_memory_bytes`, `probed_memory_bytes` (of the host, or of a GPU where one was used), `peak_memory_bytes` (of the host), `peak_device_memory_bytes` (of a GPU), `status` {status: number of
//! trials}, `trials` (ids)} · `tune` (keys) · `statistics` (null where nothing is ranked; all of it in nats per token, or in bits per byte
//! where `by_bytes`): {`margin`, `scatter` {`deviation`, `degrees`, `blocks`, `seeds`, `compared`}, `no_set` (why there is no set of the
//! best), `leader`, `diverged` (whether a seed of it did), `sole_winner`, `fresh` (what fresh
//! seeds would probably give for the leader), `against`, a line for each ranked configuration: {`configuration`, `mean` (over all seeds, by
//! least squares), `seeds`, `difference` (to the leader), `standard_error`, `limits` (of that difference, by which is decided), `relation`
//! (`leader`, `same`, `worth_choosing`, `different`, `practically_same`, `open`), `in_best_set`, `beaten_by`}, `text` {`blocks`,
//! `block_tokens`, `tokens`, `configurations`}, `no_text` (why), `effects`: {`keys`, `over` (`chosen` or `all` values of tuned settings),
//! `levels`: {`value`, `mean`, `limits`, `in_best_set`}, `seeds`, `cells`, `all_cells`, `note`}, `interactions`: {`rows`, `columns`, `over`,
//! `row_values`, `column_values`, `means`, `note`}, `reach` {`lead` (over each of the others), `typical` (over a typical one), `from`, `to`, `seeds`, `configurations`, `seeds_to_separate`}} · `samples`, of the best configurations: {`configuration`, `trial`, `seed`, `prompt`,
//! `text`} · `confounding` {`also_changed` [{`quantity`, `name`, `low`, `high`}], `uncontrolled` [{`what`, `configurations`, `of`,
//! `values`}], `holds`} · `notes` · `damaged` (files) · `programs`, `machines` (host, device, kind of processor,
//! threads). What is not known is null.

use polars::prelude::{Column, CsvWriter, DataFrame, SerWriter};
use serde_json::{Value, json};

use super::comparison::Configuration;
use super::experiment::Report;
use super::winner::Winner;
use super::{frames, samples, table, verdict, words};
use crate::error::Result;

const SUMMARY_VERSION: u32 = 2;

pub(super) fn summary(report: &Report) -> Value {
    let (comparison, protocol) = (&report.comparison, &report.protocol);
    let configurations: Vec<Value> = comparison.configurations.iter().map(|c| configuration(report, c)).collect();
    json!({
        "version": SUMMARY_VERSION,
        "name": protocol.name,
        "description": protocol.description,
        "verdict": verdict::sentences(report),
        "protocol": {
            "rank_by": protocol.rank_by(),
            "rank_at": protocol.rank_at(),
            "margin": protocol.margin,
            "unit": if comparison.by_bytes { "bits_per_byte" } else { "perplexity" },
            "common_context": comparison.common_context,
            "common_stride": comparison.common_stride,
            "scored_tokens": comparison.scored_tokens,
            "scored_bytes": comparison.scored_bytes,
        },
        "status": report.status(),
        "wall_seconds": report.wall_seconds(),
        "training_seconds": comparison.training_seconds,
        "swept": protocol.swept,
        "tune": protocol.tune,
        "statistics": report.statistics,
        "configurations": configurations,
        "samples": report.samples.iter().map(samples::json).collect::<Vec<_>>(),
        "confounding": report.confounding.json(),
        "notes": verdict::notes(report),
        "damaged": report.damaged,
        "programs": comparison.programs,
        "machines": comparison.machines,
    })
}

fn configuration(report: &Report, c: &Configuration) -> Value {
    let (comparison, protocol) = (&report.comparison, &report.protocol);
    let values: serde_json::Map<String, Value> =
        protocol.swept.iter().cloned().zip(c.values.iter().cloned().map(Value::String)).collect();
    let trials: Vec<&str> = comparison.trials.iter().filter(|t| t.configuration == c.number).map(|t| t.id.as_str()).collect();
    json!({
        "place": c.place,
        "configuration": c.number,
        "values": values,
        "seeds": c.seeds,
        "loss": c.loss,
        "adjusted": c.adjusted,
        "perplexity": c.perplexity.map(|f| f.mean),
        "perplexity_spread": c.perplexity.and_then(|f| f.spread),
        "other_perplexity": c.other_perplexity.map(|f| f.mean),
        "other_perplexity_spread": c.other_perplexity.and_then(|f| f.spread),
        "bits_per_byte": c.bits_per_byte.map(|f| f.mean),
        "bits_per_byte_spread": c.bits_per_byte.and_then(|f| f.spread),
        "test_perplexity": c.test_perplexity.map(|f| f.mean),
        "test_perplexity_spread": c.test_perplexity.and_then(|f| f.spread),
        "test_bits_per_byte": c.test_bits_per_byte.map(|f| f.mean),
        "test_bits_per_byte_spread": c.test_bits_per_byte.and_then(|f| f.spread),
        "chosen": c.tuned.as_ref().map(|tuned| tuned.chosen),
        "at_edge": c.tuned.as_ref().map(|tuned| &tuned.at_edge),
        "tokenizer": c.tokenizer,
        "tokenizer_hash": c.content.tokenizer,
        "validation_hash": c.content.validation,
        "vocabulary": c.vocabulary,
        "parameters": c.parameters,
        "tokens_per_second": c.tokens_per_second,
        "training_seconds": c.training_seconds,
        "planned_memory_bytes": c.planned_memory_bytes,
        "probed_memory_bytes": c.probed_memory_bytes,
        "peak_memory_bytes": c.peak_memory_bytes,
        "peak_device_memory_bytes": c.peak_device_memory_bytes,
        "status": c.status,
        "trials": trials,
    })
}

/// Text that a spreadsheet would take for a formula gets a leading apostrophe; numbers stay numbers.
pub(super) fn defused(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    if formula { format!("'{text}") } else { text.to_owned() }
}

pub(super) fn leaderboard(report: &Report) -> Result<String> {
    let configurations = &report.comparison.configurations;
    let numbers = |name: &str, value: &dyn Fn(&Configuration) -> Option<f64>| {
        Column::new(name.into(), configurations.iter().map(value).collect::<Vec<_>>())
    };
    let integers = |name: &str, value: &dyn Fn(&Configuration) -> Option<i64>| {
        Column::new(name.into(), configurations.iter().map(value).collect::<Vec<_>>())
    };
    let line = |c: &Configuration| report.statistics.as_ref()?.of(c.number);
    let mut columns =
        vec![integers("place", &|c| c.place.map(|place| place as i64)), integers("configuration", &|c| Some(c.number))];
    for (place, key) in report.protocol.swept.iter().enumerate() {
        let values: Vec<String> =
            configurations.iter().map(|c| defused(c.values.get(place).map_or("", String::as_str))).collect();
        columns.push(Column::new(defused(key).into(), values));
    }
    columns.extend([
        numbers("perplexity", &|c| c.comparable()?.perplexity.map(|f| f.mean)),
        numbers("perplexity_spread", &|c| c.comparable()?.perplexity.and_then(|f| f.spread)),
        integers("seeds", &|c| Some(c.seeds as i64)),
        numbers("other_perplexity", &|c| c.comparable()?.other_perplexity.map(|f| f.mean)),
        numbers("loss", &|c| c.comparable()?.loss),
        numbers("bits_per_byte", &|c| c.comparable()?.bits_per_byte.map(|f| f.mean)),
    ]);
    if report.comparison.has_test() {
        columns.extend([
            numbers("test_perplexity", &|c| c.comparable()?.test_perplexity.map(|f| f.mean)),
            numbers("test_perplexity_spread", &|c| c.comparable()?.test_perplexity.and_then(|f| f.spread)),
            numbers("test_bits_per_byte", &|c| c.comparable()?.test_bits_per_byte.map(|f| f.mean)),
        ]);
    }
    columns.extend([
        numbers("tokens_per_second", &|c| c.tokens_per_second),
        numbers("training_seconds", &|c| c.training_seconds),
        integers("planned_memory_bytes", &|c| c.planned_memory_bytes),
        integers("probed_memory_bytes", &|c| c.probed_memory_bytes),
        numbers("peak_memory_bytes", &|c| c.peak_memory_bytes),
        numbers("peak_device_memory_bytes", &|c| c.peak_device_memory_bytes),
        integers("parameters", &|c| c.parameters),
        numbers("difference_to_best", &|c| Some(line(c)?.difference)),
        numbers("difference_lower", &|c| Some(line(c)?.limits?.lower)),
        numbers("difference_upper", &|c| Some(line(c)?.limits?.upper)),
        Column::new("in_best_set".into(), configurations.iter().map(|c| line(c)?.in_best_set).collect::<Vec<_>>()),
        numbers("standard_error", &|c| line(c)?.standard_error),
        integers("beaten_by", &|c| line(c)?.beaten_by),
        numbers("adjusted_loss", &|c| c.adjusted.filter(|_| !report.comparison.by_bytes)),
        Column::new("chosen".into(), configurations.iter().map(|c| Some(c.tuned.as_ref()?.chosen)).collect::<Vec<_>>()),
        Column::new("status".into(), configurations.iter().map(|c| defused(&verdict::state(c))).collect::<Vec<_>>()),
    ]);
    let mut frame = DataFrame::new(configurations.len(), columns).map_err(frames::wrong)?;
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame).map_err(frames::wrong)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Text of others inside Markdown: one line, and nothing in it is markup.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in words::plain(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A block of text that nothing in it can end: its fence is longer than any row of backticks there.
fn fenced(text: &str) -> String {
    let (mut longest, mut row) = (2, 0);
    for c in text.chars() {
        row = if c == '`' { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence}text\n{}\n{fence}", text.trim_end_matches('\n'))
}

/// A command inside Markdown; its ticks are longer than any row of them there.
fn code(text: &str) -> String {
    let text = words::plain(text);
    let ticks = "`".repeat(1 + text.split(|c| c != '`').map(str::len).max().unwrap_or(0));
    if ticks.len() > 1 { format!("{ticks} {text} {ticks}") } else { format!("{ticks}{text}{ticks}") }
}

pub(super) fn markdown(report: &Report) -> String {
    let mut lines = vec![format!("# {}", escaped(&report.protocol.name)), String::new()];
    if let Some(description) = &report.protocol.description {
        lines.extend([format!("*{}*", escaped(description)), String::new()]);
    }
    let sentences: Vec<String> = verdict::sentences(report).iter().map(|sentence| escaped(sentence)).collect();
    if let Some((first, rest)) = sentences.split_first() {
        lines.extend([format!("**{first}** {}", rest.join(" ")).trim_end().to_owned(), String::new()]);
    }
    let health: Vec<String> = verdict::health(report).into_iter().map(|(text, _)| escaped(&text)).collect();
    lines.extend([health.join(" · "), String::new()]);

    let columns = table::columns(report);
    lines.push(format!("| {} |", columns.iter().map(|c| escaped(&c.heading)).collect::<Vec<_>>().join(" | ")));
    lines.push(format!("|{}|", columns.iter().map(|c| if c.number { "---:" } else { "---" }).collect::<Vec<_>>().join("|")));
    for configuration in &report.comparison.configurations {
        let cells: Vec<String> = columns.iter().map(|column| escaped(&(column.cell)(configuration))).collect();
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    lines.push(String::new());
    for note in verdict::notes(report) {
        lines.push(format!("- {}", escaped(&note)));
    }
    lines.push(format!("- {}", escaped(&how_measured(report))));
    lines.extend(winner_lines(report));
    if !report.samples.is_empty() {
        lines.extend([
            String::new(),
            format!("## {}", samples::HEADING),
            String::new(),
            escaped(&samples::caption(&report.samples)),
        ]);
        for shown in &report.samples {
            lines.extend([String::new(), format!("{}:", escaped(&samples::name(shown))), String::new()]);
            lines.push(fenced(&samples::marked(shown)));
        }
    }
    lines.extend(failure_lines(report));
    if !report.damaged.is_empty() {
        lines.extend([String::new(), "## Damaged files".to_owned(), String::new()]);
        lines.extend(report.damaged.iter().map(|file| format!("- {}", escaped(file))));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// The best one: where its weights are, and what to do with them.
fn winner_lines(report: &Report) -> Vec<String> {
    let Some(winner) = &report.winner else { return Vec::new() };
    let mut lines = vec![String::new(), format!("## The best one (#{})", winner.configuration), String::new()];
    lines.extend(
        winner
            .weights()
            .map(|path| format!("- Weights, which Hugging Face transformers loads: {}", escaped(&path.display().to_string()))),
    );
    lines.extend(winner.sample().map(|command| format!("- Let it write: {}", code(&command))));
    lines.push(format!(
        "- Train it longer: {}, raise `train.budget` in that file, then {}",
        code(&winner.keep()),
        code(Winner::RUN)
    ));
    lines
}

/// A table of the trials that have no result.
fn failure_lines(report: &Report) -> Vec<String> {
    let failures = failures(report);
    if failures.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "## Without a result".to_owned(), String::new()];
    lines.extend(["| trial | configuration | seed | status | reason |".to_owned(), "|---|---|---:|---|---|".to_owned()]);
    for failure in failures {
        let cells = [&failure.trial, &failure.configuration, &failure.seed, &failure.status, &failure.reason];
        lines.push(format!("| {} |", cells.map(|cell| escaped(cell)).join(" | ")));
    }
    lines
}

/// A trial that ended without a result, in words.
pub(super) struct Failure {
    pub(super) trial: String,
    pub(super) configuration: String,
    pub(super) seed: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) last_lines: String,
}

/// Trials that diverged, failed, did not fit or are damaged.
pub(super) fn failures(report: &Report) -> Vec<Failure> {
    let name = |number: i64| {
        let found = report.comparison.configuration(number).map(|c| report.name(c));
        found.filter(|name| !name.is_empty()).unwrap_or_else(|| number.to_string())
    };
    let bad = ["diverged", "failed", "did_not_fit", "damaged"];
    let trials = report.comparison.trials.iter().filter(|t| bad.contains(&t.status.as_str()));
    trials
        .map(|t| Failure {
            trial: t.id.clone(),
            configuration: name(t.configuration),
            seed: t.seed.map_or_else(String::new, |seed| seed.to_string()),
            status: if t.attempts > 1 {
                format!("{} after {} attempts", words::status(&t.status), t.attempts)
            } else {
                words::status(&t.status)
            },
            reason: t.reason.clone().unwrap_or_default(),
            last_lines: t.last_lines.clone().unwrap_or_default(),
        })
        .collect()
}

/// What was measured, and how, in a sentence or two.
pub(super) fn how_measured(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut text = String::from("Held-out text: ");
    match comparison.scored_tokens {
        Some(tokens) => {
            let tokens = format!("{} tokens", words::thousands(tokens));
            let bytes = comparison.scored_bytes.map(|bytes| format!("{} bytes", words::thousands(bytes)));
            text.push_str(&match bytes {
                // Tokenizers cut it into different numbers of tokens.
                Some(bytes) if comparison.by_bytes => format!("{bytes}, each token"),
                Some(bytes) => format!("{tokens} ({bytes}), each"),
                None => format!("{tokens}, each"),
            });
            text.push_str(" scored exactly once");
        }
        None => text.push_str("nothing was scored so far"),
    }
    if let (Some(context), Some(stride)) = (comparison.common_context, comparison.common_stride) {
        text.push_str(&format!(
            ", in windows of {} tokens that move by {}: every configuration predicts the same {}",
            words::thousands(context),
            words::thousands(stride),
            if comparison.by_bytes { "text" } else { "tokens from the same context" },
        ));
    }
    text.push_str(". In its own context a configuration is scored in windows of its own sequence length. ");
    text.push_str("Loss is in nats per token; perplexity is exp(loss).");
    text
}
