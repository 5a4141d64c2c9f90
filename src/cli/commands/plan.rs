//! `votive plan`: the trials and what each comes to; nothing is started.

use comfy_table::presets::NOTHING;
use serde_json::json;

use crate::cli::args::Plan as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::cli::show::plan::{arithmetic, exclusions, heads, only};
use crate::cli::show::terminal::Terminal;
use crate::cli::show::words::{bytes, counted, short, thousands};
use crate::corpus::Prepared;
use crate::durable;
use crate::error::Result;
use crate::experiment::Cell;
use crate::experiment::settings::Family;
use crate::model::shape;
use crate::plan::{Facts, Plan};
use crate::runner::alias::Families;
use crate::runner::{Failure, Session};
use crate::terminal::{self, Cells, Column, Look, Tone, wrapped};

/// The report: a page that carries the script of its figures, and the tables of the experiment. Bytes.
const REPORT: u64 = 5_000_000;
/// Rows that are shown; `--csv` has them all.
const SHOWN: usize = 60;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let session = Session::open(&arguments.planning.asked()?, &Terminal::default())?;
    let text = if arguments.json {
        let mut plan = serde_json::to_value(&session.plan).unwrap_or_default();
        for (value, trial) in plan["trials"].as_array_mut().into_iter().flatten().zip(&session.plan.trials) {
            value["label"] = json!(session.plan.label(trial));
            value["evaluation"] = json!(trial.evaluation(session.plan.common_context)?);
        }
        format!("{plan:#}\n")
    } else if arguments.csv {
        csv(&session.plan)
    } else {
        text(&session, Look::of(std::io::stdout()))?
    };
    print(&text)?;
    Ok(Code::Ok)
}

/// What a facts column is called, and its value.
fn columns(facts: &Facts) -> Vec<(&'static str, f64)> {
    vec![
        ("vocabulary", facts.vocabulary as f64),
        ("text_tokens", facts.text_tokens as f64),
        ("text_windows", facts.text_windows as f64),
        ("train_tokens", facts.train_tokens as f64),
        ("validation_tokens", facts.validation_tokens as f64),
        ("windows", facts.windows as f64),
        ("steps_per_epoch", facts.steps_per_epoch as f64),
        ("partial_batch", facts.partial_batch as f64),
        ("steps", facts.steps as f64),
        ("tokens_per_step", facts.tokens_per_step as f64),
        ("target_tokens", facts.target_tokens as f64),
        ("distinct_targets", facts.distinct_targets as f64),
        ("views", facts.views),
        ("epochs", facts.epochs),
        ("parameters", facts.parameters as f64),
        ("flops", facts.flops),
        ("memory_bytes", facts.memory_bytes as f64),
        ("disk_bytes", facts.disk_bytes as f64),
    ]
}

/// A text cell as CSV: quoted where it must be, and a formula's first character defused.
fn csv_text(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn csv_cell(cell: &Cell) -> String {
    match cell {
        Cell::Bool(value) => value.map_or_else(String::new, |v| v.to_string()),
        Cell::Int(value) => value.map_or_else(String::new, |v| v.to_string()),
        Cell::Float(value) => value.map_or_else(String::new, |v| v.to_string()),
        Cell::Text(value) => value.as_deref().map_or_else(String::new, csv_text),
    }
}

fn csv(plan: &Plan) -> String {
    let mut lines = Vec::with_capacity(plan.trials.len() + 1);
    for trial in &plan.trials {
        let settings = trial.settings.columns();
        let facts = columns(&trial.facts);
        if lines.is_empty() {
            let names = ["trial_id", "configuration", "seed"].into_iter();
            let names = names.chain(settings.iter().map(|(name, _)| *name)).chain(facts.iter().map(|(name, _)| *name));
            lines.push(names.collect::<Vec<_>>().join(","));
        }
        let first = [trial.id.to_string(), trial.configuration.to_string(), trial.seed.to_string()].into_iter();
        let row = first.chain(settings.iter().map(|(_, cell)| csv_cell(cell))).chain(facts.iter().map(|(_, n)| n.to_string()));
        lines.push(row.collect::<Vec<_>>().join(","));
    }
    lines.join("\n") + "\n"
}

fn text(session: &Session, look: Look) -> Result<String> {
    let plan = &session.plan;
    let mut lines = vec![format!("{}: {}", plan.experiment, arithmetic(plan))];
    lines.extend(exclusions(plan).into_iter().map(|line| format!("  {line}")));
    lines.extend(session.only().map(|(left, of)| only(left, of)));
    for (label, known) in session.texts() {
        let prepared = &known.prepared;
        let held_out = prepared.validation.as_ref().map_or(0, |part| part.tokens);
        lines.push(format!(
            "  text with {label}: {} tokens of {} kinds from {}: {} to train on, {} held out ({} scored)",
            thousands(prepared.text_tokens),
            thousands(prepared.vocabulary as u64),
            bytes(prepared.text_bytes),
            thousands(prepared.train.tokens),
            thousands(held_out),
            thousands(known.prepared.scored_tokens.saturating_sub(1)),
        ));
        lines.extend(unknown(prepared));
        if let Some(from) = &known.from {
            let config = &from.config;
            lines.push(format!(
                "  starting from {}: {} of {} and {}, {} wide, {} parameters",
                from.folder.display(),
                match config.family {
                    Family::Gpt2 => "gpt2",
                    Family::Llama => "llama",
                },
                counted(config.layers as u64, "layer"),
                counted(config.heads as u64, "head"),
                config.width,
                thousands(shape::parameter_count(config)),
            ));
        }
    }
    if !session.device.is_cpu() {
        lines.push(format!("  on {}, one trial at a time", session.device_in_words()));
    }
    lines.push(format!("  ranked in windows of {} tokens, the same for every configuration", plan.common_context));
    let families = Families::of(session, false, &[])?;
    let (certain, same) = (families.certain(&plan.trials) as u64, families.possible(&plan.trials) as u64);
    if certain > 0 {
        let (are, need) = if certain == 1 { ("is", "needs") } else { ("are", "need") };
        lines.push(format!(
            "  {} {are} the same as another and {need} no training: their tokenizers are equal",
            counted(certain, "trial")
        ));
    }
    if same > 0 {
        lines.push(format!(
            "  up to {} may turn out to be the same as another, to the bit, and need no training: where their clip norm never binds",
            counted(same, "trial")
        ));
    }
    for line in &mut lines {
        *line = wrapped(line, look.width);
    }
    lines.push(table(plan, look)?);
    let after = lines.len();
    if plan.trials.len() > SHOWN {
        lines.push(format!("… and {} more: `--csv` lists all of them", plan.trials.len() - SHOWN));
    }
    let trials: u64 = plan.trials.iter().map(|t| t.facts.disk_bytes).sum();
    // Texts and tokenizers are prepared by now.
    let disk = trials + REPORT + durable::size(&session.folder.cache()) + durable::size(&session.folder.tokenizers());
    let flops: f64 = plan.trials.iter().map(|t| t.facts.flops).sum();
    let largest = plan.trials.iter().map(|t| t.facts.memory_bytes).max().unwrap_or(0);
    let memory = if session.device.is_cpu() { "memory" } else { "the device's memory" };
    lines.push(format!(
        "in all {}FLOP of training, at most about {} of {memory} a trial, at most about {} on disk when done",
        short(flops),
        bytes(largest),
        bytes(disk)
    ));
    lines.push("evaluation: what scoring on the way costs, as a share of the training work".to_owned());
    lines.push(
        "windows: in the training part (in the whole text) · views: how often each token is learned from, on average".to_owned(),
    );
    for line in &mut lines[after..] {
        *line = wrapped(line, look.width);
    }
    Ok(lines.join("\n") + "\n")
}

/// How many tokens stand for something that the vocabulary does not have.
fn unknown(prepared: &Prepared) -> Option<String> {
    let nothing_held_out = prepared.validation.is_none() && prepared.test.is_none();
    let tokens = match (prepared.unknown_tokens, if nothing_held_out { "" } else { "held-out " }) {
        (0, _) => return None,
        (1, part) => format!("1 {part}token stands"),
        (n, part) => format!("{} {part}tokens stand", thousands(n)),
    };
    let parts: Vec<String> = prepared.unknown_parts.iter().map(|part| format!("`{}`", part.escape_debug())).collect();
    let named = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    let more = if parts.len() > 1 && prepared.unknown_tokens > parts.len() as u64 { " …" } else { "" };
    Some(format!("    {tokens} for something that its vocabulary does not have{named}{more}"))
}

/// When a column is left out where the terminal is narrow, and whether it is a number: those after the swept settings.
const COLUMNS: [(&str, Cells, u8); 11] = [
    ("seed", Cells::Numbers, 8),
    ("windows", Cells::Numbers, 5),
    ("steps/epoch", Cells::Numbers, 3),
    ("last batch", Cells::Numbers, 2),
    ("steps", Cells::Numbers, 7),
    ("tokens/step", Cells::Numbers, 4),
    ("tokens", Cells::Numbers, 6),
    ("views", Cells::Numbers, 5),
    ("params", Cells::Numbers, 4),
    ("evaluation", Cells::Numbers, 1),
    ("trial", Cells::Whole, 2),
];

fn table(plan: &Plan, look: Look) -> Result<String> {
    let mut rows = Vec::new();
    for trial in plan.trials.iter().take(SHOWN) {
        let facts = &trial.facts;
        let evaluation = trial.evaluation(plan.common_context)?;
        let mut row = vec![trial.configuration.to_string()];
        row.extend(trial.values.iter().cloned());
        let last = if facts.partial_batch > 0 {
            facts.partial_batch
        } else {
            facts.tokens_per_step / trial.settings.train.sequence_length as u64
        };
        let open = facts.steps == 0;
        row.extend([
            trial.seed.to_string(),
            format!("{} ({})", thousands(facts.windows), thousands(facts.text_windows)),
            thousands(facts.steps_per_epoch),
            thousands(last),
            if open { "by time".to_owned() } else { thousands(facts.steps) },
            thousands(facts.tokens_per_step),
            if open { "by time".to_owned() } else { thousands(facts.target_tokens) },
            if open { "–".to_owned() } else { format!("{:.2}", facts.views) },
            short(facts.parameters as f64),
            format!("{:.1}%", 100.0 * evaluation.share),
            trial.id.to_string(),
        ]);
        rows.push(row);
    }
    let is_number = |text: &String| text.replace('_', "").parse::<f64>().is_ok() || text == "off" || text == "full";
    let swept = heads(plan).into_iter().enumerate().map(|(place, head)| {
        let cells = if rows.iter().all(|row| is_number(&row[1 + place])) { Cells::Numbers } else { Cells::Words };
        Column::new(head, cells).keep(9)
    });
    let columns = std::iter::once(Column::new("#", Cells::Numbers)).chain(swept);
    let columns: Vec<Column> = columns.chain(COLUMNS.map(|(head, cells, keep)| Column::new(head, cells).keep(keep))).collect();
    // What is the same for every trial is said once, under the table.
    let same = |column: usize| rows.len() > 1 && rows.iter().all(|row| row[column] == rows[0][column]);
    let first = columns.len() - COLUMNS.len();
    let (once, shown): (Vec<usize>, Vec<usize>) = (0..columns.len()).partition(|&column| column >= first && same(column));
    let of = |row: &Vec<String>| (Tone::Plain, shown.iter().map(|&column| row[column].clone()).collect());
    let drawn = terminal::table(
        &shown.iter().map(|&column| columns[column].clone()).collect::<Vec<_>>(),
        &rows.iter().map(of).collect::<Vec<_>>(),
        NOTHING,
        look,
    );
    let mut lines = vec![drawn.text.trim_end().to_owned()];
    lines.extend(drawn.note(look.width, "`--csv` has them").map(|note| wrapped(&note, look.width)));
    if !once.is_empty() {
        let said: Vec<String> = once.iter().map(|&column| format!("{} {}", columns[column].heading, rows[0][column])).collect();
        lines.push(wrapped(&format!("the same for all: {}", said.join(" · ")), look.width));
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csv_cell_is_quoted_where_it_must_be_and_no_formula() {
        for (text, cell) in [("a", "a"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("=1+1", "'=1+1"), ("-x", "'-x")] {
            assert_eq!(csv_text(text), cell);
        }
    }
}
