//! `report.md` and `leaderboard.csv`.

use polars::prelude::{Column, CsvWriter, DataFrame, SerWriter};

use super::comparison::{Configuration, TrialLine};
use super::experiment::Report;
use super::winner::Winner;
use super::{frames, samples, table, verdict};
use crate::error::Result;
use crate::report::wording;
use crate::runs::Status;
use crate::words;

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
    let first_figure = columns.len();
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
    let swept = swept_columns(report, &columns);
    columns.splice(first_figure..first_figure, swept);
    let mut frame = DataFrame::new(configurations.len(), columns).map_err(frames::wrong)?;
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame).map_err(frames::wrong)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The values of the swept keys. A name of one's own may be that of one of these other columns: it begins with `swept_` then, as in the
/// Parquet files.
fn swept_columns(report: &Report, others: &[Column]) -> Vec<Column> {
    let swept = &report.design.swept;
    let of = |(place, key): (usize, &String)| {
        let mut name = defused(key);
        while others.iter().any(|other| other.name() == name.as_str()) || (name != *key && swept.contains(&name)) {
            name.insert_str(0, "swept_");
        }
        let values = report.comparison.configurations.iter().map(|c| defused(c.values.get(place).map_or("", String::as_str)));
        Column::new(name.into(), values.collect::<Vec<_>>())
    };
    swept.iter().enumerate().map(of).collect()
}

/// Text of others inside Markdown: one line, and nothing in it is markup.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in wording::plain(text).chars() {
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
    let text = wording::plain(text);
    let ticks = "`".repeat(1 + text.split(|c| c != '`').map(str::len).max().unwrap_or(0));
    if ticks.len() > 1 { format!("{ticks} {text} {ticks}") } else { format!("{ticks}{text}{ticks}") }
}

pub(super) fn markdown(report: &Report) -> String {
    let mut lines = vec![format!("# {}", escaped(&report.design.name)), String::new()];
    if let Some(description) = &report.design.description {
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
    if let Some((path, which)) = winner.weights().zip(winner.weights_are()) {
        let path = escaped(&path.display().to_string());
        lines.push(format!("- The {which} weights, which Hugging Face transformers loads: {path}"));
    }
    if winner.has_lost_the_ranked() {
        lines.push("- The best weights, which rank, were not kept: `checkpoint.when_done: weights` keeps them".to_owned());
    }
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

/// A trial without a result, and what of, in words.
pub(super) struct Failure {
    pub(super) trial: String,
    pub(super) configuration: String,
    pub(super) seed: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) last_lines: String,
}

/// Trials that diverged, failed, did not fit or are damaged, and those whose last attempt failed when the run stopped.
pub(super) fn failures(report: &Report) -> Vec<Failure> {
    let name = |number: i64| {
        let found = report.comparison.configuration(number).map(|c| report.name(c));
        found.filter(|name| !name.is_empty()).unwrap_or_else(|| number.to_string())
    };
    let is_left = |t: &TrialLine| t.status == Status::Interrupted && t.reason.is_some();
    let trials = report.comparison.trials.iter().filter(|t| t.status.is_lost() || is_left(t));
    trials
        .map(|t| Failure {
            trial: t.id.clone(),
            configuration: name(t.configuration),
            seed: t.seed.map_or_else(String::new, |seed| seed.to_string()),
            status: if t.attempts > 1 { format!("{} after {} attempts", t.status.words(), t.attempts) } else { t.status.words() },
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
    let drawn = if comparison.by_bytes { " (where it is drawn in bits per byte, since tokenizers differ)" } else { "" };
    text.push_str(&format!("Loss is in nats per token{drawn}; perplexity is exp(loss)."));
    text
}
