//! The values of a configuration as a person writes them.

use super::expanding::{Expanding, Row};
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
