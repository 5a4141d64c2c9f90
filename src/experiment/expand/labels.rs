//! The values of a configuration as a person writes them.

use super::expanding::{Expanding, Row};
use crate::experiment::columns::Cell;
use crate::experiment::read::IMPLIED;
use crate::experiment::settings::Settings;
use crate::experiment::{keys, show, start, text};

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
                (None, None) => {
                    let brought = start::label(settings, &target.key).or_else(|| part_of_tokenizer(settings, &target.key));
                    brought.unwrap_or_else(|| default_label(&target.key))
                }
            }
        };
        (0..experiment.targets.len()).map(value).collect()
    }

    /// The same values, where what means the same has one spelling in the whole experiment, the first one: `1e-3` and `0.001` are one
    /// value of an axis, and so are `yes` and `true`.
    pub(super) fn in_one_spelling(&mut self, values: Vec<String>, columns: &[(&'static str, Cell)]) -> Vec<String> {
        let one = |(target, label): (usize, String)| match self.meaning(target, &label, columns) {
            Some(meaning) => self.spellings.entry((target, meaning)).or_insert(label).clone(),
            None => label,
        };
        values.into_iter().enumerate().map(one).collect()
    }

    /// What the value of a target means: of a setting the cells of its columns; where it follows another setting if it is not set, that
    /// one's as well, so that 4 is not `auto` where `auto` is 8. `None` where its text is all there is.
    fn meaning(&self, target: usize, label: &str, columns: &[(&'static str, Cell)]) -> Option<String> {
        let target = &self.experiment.targets[target];
        if target.own.is_some() {
            return text::number(label).map(text::write_number);
        }
        // A derived value that needs what is not known.
        if label.is_empty() {
            return None;
        }
        let cells = |key: &str| -> Vec<&Cell> {
            let column = key.replace('.', "_");
            let is_of = |name: &str| name.strip_prefix(&column).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
            columns.iter().filter(|(name, _)| is_of(name)).map(|(_, cell)| cell).collect()
        };
        let mut meant = cells(&target.key);
        if meant.is_empty() {
            return None;
        }
        let follows = IMPLIED.iter().find(|(key, _)| *key == target.key);
        meant.extend(follows.into_iter().flat_map(|(_, other)| cells(other)));
        Some(format!("{meant:?}"))
    }
}

/// What a part of the tokenizer is where its whole block is set.
fn part_of_tokenizer(settings: &Settings, key: &str) -> Option<String> {
    if keys::is_part_of_tokenizer(key) { settings.cell(key)?.written() } else { None }
}

/// What a setting is where nothing sets it.
fn default_label(key: &str) -> String {
    match key {
        "train.stride" => "= sequence_length".to_owned(),
        keys::TOKENIZER => "char".to_owned(),
        "train.clip_norm" => "1".to_owned(),
        _ => {
            let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
            let found = key.split('.').try_fold(&defaults, |value, part| value.get(part));
            found.filter(|value| !value.is_null()).map_or_else(|| show::unset(key).to_owned(), plain)
        }
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), text::write_number),
        serde_json::Value::Object(map) if map.len() == 1 => map.values().next().map(plain).unwrap_or_default(),
        other => other.to_string(),
    }
}
