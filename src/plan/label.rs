//! Configurations as a person names them.

use super::{Plan, Trial};

impl Plan {
    /// A configuration as a person names it: what is swept, with its values: `length 64 · stride 32 · batch 8 · clip off`.
    pub fn label_of(&self, values: &[String]) -> String {
        if values.is_empty() {
            return "the only configuration".to_owned();
        }
        let pairs = self.swept.iter().zip(values).map(|(key, value)| format!("{} {value}", label_name(key)));
        pairs.collect::<Vec<_>>().join(" · ")
    }

    /// The label of a trial's configuration.
    pub fn label(&self, trial: &Trial) -> String {
        self.label_of(&trial.values)
    }
}

/// What a swept key is called where configurations are named, again and again: one word where one is enough.
pub fn label_name(key: &str) -> String {
    match key {
        "train.sequence_length" => "length".to_owned(),
        "train.batch_size" => "batch".to_owned(),
        "train.clip_norm" => "clip".to_owned(),
        key => short_name(key),
    }
}

/// The last name of a dotted key, its words apart: `train.sequence_length` → `sequence length`.
fn short_name(key: &str) -> String {
    match key {
        "tokenizer" => "tokenizer".to_owned(),
        key => key.rsplit('.').next().unwrap_or(key).replace('_', " "),
    }
}
