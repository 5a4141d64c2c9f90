//! What is planned of a trial, and its columns.

use super::cell::{NamedCell, count, float, text};
use crate::experiment::Cell;
use crate::plan::{Plan, Trial};
use crate::record::schema::Type;
use crate::record::table::Value;

/// What the figures of a trial are told with: what was planned of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Tokens in a window.
    pub sequence_length: u64,
    /// The context of the common protocol, tokens.
    pub common_context: u64,
    /// Tokens of the scored validation part.
    pub validation_tokens: u64,
    /// Words of the scored text.
    pub validation_words: u64,
    /// Tokens of the scored test part.
    pub test_tokens: u64,
}

impl Planned {
    pub(super) fn of(plan: &Plan, trial: &Trial) -> Self {
        Self {
            sequence_length: trial.settings.train.sequence_length as u64,
            common_context: plan.common_context as u64,
            validation_tokens: trial.facts.validation_tokens,
            validation_words: trial.facts.validation_words,
            test_tokens: trial.facts.test_tokens,
        }
    }
}

/// Which trial it is, its settings, and its planned figures.
pub(super) fn plan_cells(plan: &Plan, trial: &Trial) -> Vec<NamedCell> {
    let mut cells: Vec<NamedCell> = vec![
        text("trial_id", Some(trial.id.as_str())),
        count("configuration", trial.configuration as u64),
        count("seed", trial.seed),
    ];
    for (place, key) in plan.swept.iter().enumerate() {
        cells.push(text(&swept_column(key), trial.values.get(place).map(String::as_str)));
    }
    for (name, cell) in trial.settings.columns() {
        let kind = match cell {
            Cell::Bool(_) => Type::Bool,
            Cell::Int(_) => Type::Int64,
            Cell::Float(_) => Type::Float64,
            Cell::Text(_) => Type::Text,
        };
        cells.push((name.to_owned(), kind, cell.into()));
    }
    let facts = &trial.facts;
    for (name, hash) in [
        ("text_hash", Some(&facts.text_hash)),
        ("validation_hash", facts.validation_hash.as_ref()),
        ("tokenizer_hash", Some(&facts.tokenizer_hash)),
    ] {
        cells.push(text(name, hash.map(String::as_str).filter(|hash| !hash.is_empty())));
    }
    // With a budget in minutes nobody knows before how long a trial will be.
    let known = facts.counted_steps().is_some();
    let planned = |number: u64| if known { Value::count(number) } else { Value::Int64(None) };
    for (name, number) in [
        ("vocabulary", Value::count(facts.vocabulary)),
        ("text_tokens", Value::count(facts.text_tokens)),
        ("text_windows", Value::count(facts.text_windows)),
        ("train_tokens", Value::count(facts.train_tokens)),
        ("train_bytes", Value::count(facts.train_bytes)),
        ("validation_tokens", Value::count(facts.validation_tokens)),
        ("validation_words", Value::count(facts.validation_words)),
        ("test_tokens", Value::count(facts.test_tokens)),
        ("windows", Value::count(facts.windows)),
        ("steps_per_epoch", Value::count(facts.steps_per_epoch)),
        ("partial_batch", Value::count(facts.partial_batch)),
        ("steps", planned(facts.steps)),
        ("tokens_per_step", Value::count(facts.tokens_per_step)),
        ("target_tokens", planned(facts.target_tokens)),
        ("distinct_targets", Value::count(facts.distinct_targets)),
        ("parameters", Value::count(facts.parameters)),
        ("memory_bytes", Value::count(facts.memory_bytes)),
        ("disk_bytes", Value::count(facts.disk_bytes)),
    ] {
        cells.push((name.to_owned(), Type::Int64, number));
    }
    for (name, number) in [("views", facts.views), ("epochs", facts.epochs), ("flops", facts.flops)] {
        cells.push(float(name, Some(number).filter(|_| known)));
    }
    cells.push(float("unknown_share", Some(facts.unknown_share)));
    cells
}

/// The column that holds a swept key's value as a person writes it: `swept_train_stride` for `train.stride`.
pub fn swept_column(key: &str) -> String {
    format!("swept_{}", key.replace('.', "_"))
}
