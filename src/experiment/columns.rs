//! Settings as columns of a table, and as the canonical text that a trial's id is made of.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::settings::{BatchSize, Budget, ClipNorm, Model, Part, Settings, Tokenizer};
use super::text;

/// One cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// True or false.
    Bool(Option<bool>),
    /// A whole number.
    Int(Option<i64>),
    /// A number.
    Float(Option<f64>),
    /// Words.
    Text(Option<String>),
}

impl Cell {
    /// Its value as a person writes it; nothing where it is null.
    pub(super) fn written(self) -> Option<String> {
        match self {
            Self::Bool(flag) => flag.map(|flag| flag.to_string()),
            Self::Int(number) => number.map(|number| number.to_string()),
            Self::Float(number) => number.map(text::write_number),
            Self::Text(word) => word,
        }
    }
}

fn word(value: &impl serde::Serialize) -> Cell {
    Cell::Text(serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)))
}

fn int(value: usize) -> Cell {
    Cell::Int(i64::try_from(value).ok())
}

impl Settings {
    /// Every setting as `(column, cell)`: the key with `_` for `.`, always the same columns in the same order, and the same
    /// type in each. `off` and `full` are null with a flag column beside them.
    pub fn columns(&self) -> Vec<(&'static str, Cell)> {
        let (corpus, model, train) = (&self.corpus, &self.model, &self.train);
        let part = |part: &Part| match part {
            Part::Fraction(f) => Cell::Text(Some(f.to_string())),
            Part::Path(p) => Cell::Text(Some(p.clone())),
            Part::None => Cell::Text(Some("none".to_owned())),
        };
        let (kind, vocab_size, path) = match &self.tokenizer {
            Tokenizer::Char => ("char", None, None),
            Tokenizer::Byte => ("byte", None, None),
            Tokenizer::Word => ("word", None, None),
            Tokenizer::Bpe { vocab_size } => ("bpe", i64::try_from(*vocab_size).ok(), None),
            Tokenizer::File { path } => ("file", None, Some(path.clone())),
        };
        let (budget, amount) = match train.budget {
            Budget::Tokens(n) => ("tokens", n as f64),
            Budget::Bytes(n) => ("bytes", n as f64),
            Budget::Steps(n) => ("steps", n as f64),
            Budget::Epochs(n) => ("epochs", n),
            Budget::Minutes(n) => ("minutes", n),
        };
        vec![
            ("corpus_text", Cell::Text(Some(corpus.text.join(" ")))),
            ("corpus_field", Cell::Text(corpus.field.clone())),
            ("corpus_join", word(&corpus.join)),
            ("corpus_validation", part(&corpus.validation)),
            ("corpus_test", part(&corpus.test)),
            ("corpus_max_bytes", Cell::Int(corpus.max_bytes.and_then(|n| i64::try_from(n).ok()))),
            ("tokenizer_kind", Cell::Text(Some(kind.to_owned()))),
            ("tokenizer_vocab_size", Cell::Int(vocab_size)),
            ("tokenizer_path", Cell::Text(path)),
            ("model_family", word(&model.family)),
            ("model_layers", int(model.layers)),
            ("model_heads", int(model.heads)),
            ("model_width", int(model.width)),
            ("model_kv_heads", int(model.kv_heads())),
            ("model_dropout", Cell::Float(Some(model.dropout))),
            ("model_bias", Cell::Bool(Some(model.bias()))),
            ("model_tied", Cell::Bool(Some(model.tied))),
            ("model_activation", word(&model.activation)),
            ("model_from", Cell::Text(model.from.clone())),
            ("train_sequence_length", int(train.sequence_length)),
            ("train_stride", int(train.stride())),
            (
                "train_batch_size",
                match train.batch_size {
                    BatchSize::Windows(n) => int(n),
                    BatchSize::Full => Cell::Int(None),
                },
            ),
            ("train_batch_size_full", Cell::Bool(Some(train.batch_size == BatchSize::Full))),
            ("train_shuffle", Cell::Bool(Some(train.shuffle))),
            (
                "train_clip_norm",
                match train.clip_norm {
                    ClipNorm::At(norm) => Cell::Float(Some(norm)),
                    ClipNorm::Off => Cell::Float(None),
                },
            ),
            ("train_clip_norm_off", Cell::Bool(Some(train.clip_norm == ClipNorm::Off))),
            ("train_budget_unit", Cell::Text(Some(budget.to_owned()))),
            ("train_budget", Cell::Float(Some(amount))),
            ("train_learning_rate", Cell::Float(Some(train.learning_rate))),
            ("train_schedule", word(&train.schedule)),
            ("train_warmup", Cell::Float(Some(train.warmup))),
            ("train_final_learning_rate", Cell::Float(Some(train.final_learning_rate))),
            ("train_weight_decay", Cell::Float(Some(train.weight_decay))),
            ("train_beta1", Cell::Float(Some(train.beta1))),
            ("train_beta2", Cell::Float(Some(train.beta2))),
            ("train_epsilon", Cell::Float(Some(train.epsilon))),
            ("train_precision", word(&train.precision)),
        ]
    }

    /// The cell of a setting's own column.
    pub(super) fn cell(&self, key: &str) -> Option<Cell> {
        let column = key.replace('.', "_");
        self.columns().into_iter().find(|(name, _)| *name == column).map(|(_, cell)| cell)
    }

    /// The settings that make a trial what it is, in canonical typed form, those at their default left out: adding a
    /// setting to the program, or writing a default down, renames no trial. Paths stand here as they were written; the
    /// content they lead to is hashed beside this.
    pub fn identity(&self) -> Value {
        let mut corpus = self.corpus.clone();
        // What is read is identified by its content, not by its path.
        corpus.text = Vec::new();
        let tokenizer = match &self.tokenizer {
            _ if self.model.from.is_some() => Tokenizer::default(),
            Tokenizer::File { .. } => Tokenizer::File { path: String::new() },
            other => other.clone(),
        };
        let mut model = self.model.clone();
        model.kv_heads = (model.kv_heads() != model.heads).then_some(model.kv_heads());
        model.bias = (model.bias() != Model { bias: None, ..model.clone() }.bias()).then_some(model.bias());
        if model.from.is_some() {
            // The folder's content, which is hashed beside this, says what the rest is, and what its tokens are.
            model = Model { from: Some(String::new()), dropout: model.dropout, ..Model::default() };
        }
        let mut train = self.train.clone();
        train.stride = (train.stride() != train.sequence_length).then_some(train.stride());
        train.micro_batch = None;
        let mut identity = Map::new();
        let [default_corpus, default_tokenizer, default_model, default_train] = &*DEFAULTS;
        add_difference(&mut identity, "corpus", &corpus, default_corpus);
        add_difference(&mut identity, "tokenizer", &tokenizer, default_tokenizer);
        add_difference(&mut identity, "model", &model, default_model);
        add_difference(&mut identity, "train", &train, default_train);
        Value::Object(identity)
    }
}

/// The sections of an identity at their defaults: corpus, tokenizer, model, train. A plan compares thousands of trials with them.
static DEFAULTS: LazyLock<[Map<String, Value>; 4]> = LazyLock::new(|| {
    let Settings { corpus, tokenizer, model, train, .. } = Settings::default();
    [section(&corpus), section(&tokenizer), section(&model), section(&train)]
});

fn section(value: &impl serde::Serialize) -> Map<String, Value> {
    let Ok(Value::Object(value)) = serde_json::to_value(value) else {
        unreachable!("every section of the settings serializes as a map with text keys");
    };
    value
}

fn add_difference(into: &mut Map<String, Value>, name: &str, value: &impl serde::Serialize, default: &Map<String, Value>) {
    let different: Map<String, Value> = section(value).into_iter().filter(|(key, v)| default.get(key) != Some(v)).collect();
    if !different.is_empty() {
        into.insert(name.to_owned(), Value::Object(different));
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Join, Train};
    use super::*;

    fn settings() -> Settings {
        Settings { train: Train { budget: Budget::Tokens(1000), ..Train::default() }, ..Settings::default() }
    }

    #[test]
    fn defaults_written_down_do_not_change_the_identity() {
        let mut written = settings();
        written.train.stride = Some(128);
        written.model.kv_heads = Some(4);
        written.model.bias = Some(true);
        written.train.micro_batch = Some(2);
        written.corpus.text = vec!["a.txt".to_owned()];
        written.corpus.join = Join::EndOfText;
        written.report.margin = 0.05;
        assert_eq!(written.identity(), settings().identity());
        assert_eq!(settings().identity().to_string(), r#"{"train":{"budget":{"tokens":1000}}}"#);
    }

    #[test]
    fn what_matters_changes_the_identity() {
        let mut other = settings();
        other.train.clip_norm = ClipNorm::Off;
        other.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
        assert_eq!(
            other.identity().to_string(),
            r#"{"tokenizer":{"kind":"bpe","vocab_size":512},"train":{"budget":{"tokens":1000},"clip_norm":"off"}}"#
        );
    }

    #[test]
    fn columns_have_the_same_names_and_types_whatever_the_values() {
        let mut other = settings();
        other.train.clip_norm = ClipNorm::Off;
        other.train.batch_size = BatchSize::Full;
        other.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
        let shape =
            |s: &Settings| s.columns().into_iter().map(|(name, cell)| (name, std::mem::discriminant(&cell))).collect::<Vec<_>>();
        assert_eq!(shape(&settings()), shape(&other));
    }
}
