//! The table of a plan's trials.

use comfy_table::presets::NOTHING;

use crate::error::Result;
use crate::plan::{self, Plan, Trial};
use crate::terminal::{self, Cells, Column, Look, Tone, wrapped};
use crate::words::{short, thousands, told_apart};

/// Rows that are shown; `--csv` has them all.
pub(super) const SHOWN: usize = 60;

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

/// The first trials, a row each, and what is the same for all of them.
pub(super) fn table(plan: &Plan, look: Look) -> Result<String> {
    let shown: Vec<&Trial> = plan.trials.iter().take(SHOWN).collect();
    let apart: Vec<_> = (0..plan.swept.len())
        .map(|place| told_apart(shown.iter().filter_map(|trial| trial.values.get(place)).map(String::as_str)))
        .collect();
    let mut rows = Vec::new();
    for trial in &shown {
        let facts = &trial.facts;
        let evaluation = trial.evaluation(plan.common_context)?;
        let mut row = vec![trial.configuration.to_string()];
        let values = trial.values.iter().zip(&apart);
        row.extend(values.map(|(value, apart)| apart.get(value.as_str()).unwrap_or(value).clone()));
        let last = if facts.partial_batch > 0 {
            facts.partial_batch
        } else {
            facts.tokens_per_step / trial.settings.train.sequence_length as u64
        };
        let steps = facts.counted_steps();
        let by_time = || "by time".to_owned();
        row.extend([
            trial.seed.to_string(),
            format!("{} ({})", thousands(facts.windows), thousands(facts.text_windows)),
            thousands(facts.steps_per_epoch),
            thousands(last),
            steps.map_or_else(by_time, thousands),
            thousands(facts.tokens_per_step),
            steps.map_or_else(by_time, |_| thousands(facts.target_tokens)),
            steps.map_or_else(|| "–".to_owned(), |_| format!("{:.2}", facts.views)),
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

/// Short names of the swept keys, for the heads of columns.
fn heads(plan: &Plan) -> Vec<String> {
    plan.swept.iter().map(|key| plan::label_name(key)).collect()
}
