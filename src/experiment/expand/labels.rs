//! The values of a configuration as a person writes them.

use super::expanding::{Expanding, Row};
use crate::experiment::columns::Cell;
use crate::experiment::settings::Settings;
use crate::experiment::{keys, start, text};

impl Expanding<'_, '_> {
    /// The value of each setting that varies: as the file has it, else as it was derived, else what it is where nothing sets it.
    pub(super) fn values(&self, row: &Row<'_>, settings: &Settings, derived: &[(usize, String)]) -> Vec<String> {
        let experiment = self.experiment;
        let value = |number: usize| {
            if let Some(choice) = row.choices.iter().find(|choice| choice.target == number) {
                return choice.label.clone();
            }
            if let Some((_, text)) = derived.iter().find(|(target, _)| *target == number) {
                return text.clone();
            }
            let target = &experiment.targets[number];
            match (target.own, experiment.written.get(&target.key)) {
                (Some(own), _) => experiment.own[own].label.clone(),
                (None, Some(written)) => written.label.clone(),
                (None, None) => start::label(settings, &target.key).unwrap_or_else(|| default_label(&target.key)),
            }
        };
        (0..experiment.targets.len()).map(value).collect()
    }

    /// The same values, where a number has one spelling in the whole experiment, the first one: `1e-3` and `0.001` are one value of an
    /// axis. What is no number of its setting, as a path that looks like one, stays as it is.
    pub(super) fn in_one_spelling(&mut self, values: Vec<String>, columns: &[(&'static str, Cell)]) -> Vec<String> {
        let one = |(target, label): (usize, String)| {
            if !self.is_number(target, columns) {
                return label;
            }
            // An amount of a budget has its unit behind it.
            let (amount, unit) = label.split_at(label.find(' ').unwrap_or(label.len()));
            let Some(number) = text::number(amount) else { return label };
            let value = (target, (number + 0.0).to_bits(), unit.to_owned());
            self.spellings.entry(value).or_insert(label).clone()
        };
        values.into_iter().enumerate().map(one).collect()
    }

    /// Whether the value of a target is a number, but for words that a setting of numbers knows too.
    fn is_number(&self, target: usize, columns: &[(&'static str, Cell)]) -> bool {
        let target = &self.experiment.targets[target];
        let column = keys::whole_setting(&target.key).replace('.', "_");
        let of_numbers = |cell: &Cell| matches!(cell, Cell::Int(_) | Cell::Float(_));
        target.own.is_some() || columns.iter().any(|(name, cell)| *name == column && of_numbers(cell))
    }
}

/// What a setting is where nothing sets it.
fn default_label(key: &str) -> String {
    match key {
        "train.stride" => "= sequence_length".to_owned(),
        keys::TOKENIZER => "char".to_owned(),
        "train.clip_norm" => "1".to_owned(),
        "corpus.field" | "model.from" => "none".to_owned(),
        "corpus.max_bytes" => "all".to_owned(),
        _ => {
            let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
            let found = key.split('.').try_fold(&defaults, |value, part| value.get(part));
            plain(found.unwrap_or(&serde_json::Value::Null))
        }
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "auto".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), text::write_number),
        serde_json::Value::Object(map) if map.len() == 1 => map.values().next().map(plain).unwrap_or_default(),
        other => other.to_string(),
    }
}
