//! A plan as CSV: a row a trial.

use crate::experiment::Cell;
use crate::plan::{Facts, Plan};

/// What a facts column is called, and its value; `None` where a budget in minutes leaves it open.
fn columns(facts: &Facts) -> Vec<(&'static str, Option<f64>)> {
    let open = facts.counted_steps().is_none();
    let all = [
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
    ];
    let known = |name| !(open && ["steps", "target_tokens", "views", "epochs", "flops"].contains(&name));
    all.into_iter().map(|(name, value)| (name, Some(value).filter(|_| known(name)))).collect()
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

/// The plan, its heads in the first line.
pub(crate) fn csv(plan: &Plan) -> String {
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
        let row = first
            .chain(settings.iter().map(|(_, cell)| csv_cell(cell)))
            .chain(facts.iter().map(|(_, n)| n.map_or_else(String::new, |n| n.to_string())));
        lines.push(row.collect::<Vec<_>>().join(","));
    }
    lines.join("\n") + "\n"
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
