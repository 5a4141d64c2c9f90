//! Layers of settings: defaults < file < environment < `--set` < the values of one configuration. figment merges them, and
//! every configuration's settings come out of it by the same typed parse.

use figment::error::{Error as FigmentError, Kind};
use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::keys;
use super::settings::Settings;
use super::text::shown;
use super::yaml::{Node, Yaml};

/// Why a value does not fit its setting; completes the sentence "`train.stride` …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Settings of one layer, by their full names.
struct Layer<'a> {
    name: &'static str,
    settings: &'a [(&'a str, &'a Value)],
}

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, FigmentError> {
        let mut dict = Dict::new();
        for (key, value) in self.settings {
            insert(&mut dict, key, (*value).clone());
        }
        Ok(Profile::Default.collect(dict))
    }
}

/// Puts a value at its dotted name.
fn insert(dict: &mut Dict, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            dict.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            if let Value::Dict(_, inner) = dict.entry(first.to_owned()).or_insert_with(|| Value::Dict(Tag::Default, Dict::new()))
            {
                insert(inner, rest, value);
            }
        }
    }
}

/// Lays settings over others. A whole block (`tokenizer`, `train.budget`) replaces the one below; it is never merged
/// into it.
pub(super) fn over(below: Figment, name: &'static str, settings: &[(&str, &Value)]) -> Figment {
    let nothing = Value::Empty(Tag::Default, Empty::Unit);
    let whole = |key: &str, value: &Value| (key == keys::TOKENIZER || key == keys::BUDGET) && matches!(value, Value::Dict(..));
    let blanks: Vec<(&str, &Value)> = settings.iter().filter(|(k, v)| whole(k, v)).map(|(k, _)| (*k, &nothing)).collect();
    let below = if blanks.is_empty() { below } else { below.merge(Layer { name, settings: &blanks }) };
    below.merge(Layer { name, settings })
}

/// The settings of these layers, by their types.
pub(super) fn extract(layers: &Figment) -> Result<Settings, Misfit> {
    layers.extract().map_err(|error| misfit(&error))
}

/// The settings that follow from this value alone; from a part of the tokenizer beside the kind that has it.
pub(super) fn alone(key: &str, value: &Value) -> Result<Settings, Misfit> {
    extract(&over(beside_its_kind(key), "value", &[(key, value)]))
}

/// The kind of tokenizer that has this part; nothing for every other setting.
pub(super) fn beside_its_kind(key: &str) -> Figment {
    let kind = match keys::block_part(key) {
        Some((keys::TOKENIZER, "vocab_size")) => "bpe",
        Some((keys::TOKENIZER, "path")) => "file",
        _ => return Figment::new(),
    };
    over(Figment::new(), "kind", &[(keys::TOKENIZER_KIND, &Value::String(Tag::Default, kind.to_owned()))])
}

/// The settings that one of them, given as text, leads to: for flags that take what the file takes. The error completes the
/// sentence "`train.stride` …".
pub fn read_setting(key: &str, text: &str) -> Result<Settings, String> {
    alone(key, &Value::String(Tag::Default, text.trim().to_owned())).map_err(|misfit| match misfit.help {
        Some(help) => format!("{}: {help}", misfit.message),
        None => misfit.message,
    })
}

/// The words that a setting can be, where they are few.
pub(super) fn words_of(key: &str) -> Option<Vec<String>> {
    let value = Value::String(Tag::Default, "?".to_owned());
    let layer: &[(&str, &Value)] = &[(key, &value)];
    match Figment::from(Layer { name: "value", settings: layer }).extract::<Settings>() {
        Err(FigmentError { kind: Kind::UnknownVariant(_, words), .. }) => Some(words.iter().map(|&w| w.to_owned()).collect()),
        _ => None,
    }
}

/// Whether a setting takes whole numbers only.
pub(super) fn is_whole(key: &str) -> bool {
    let fits = |text: &str| alone(key, &Value::String(Tag::Default, text.to_owned())).is_ok();
    fits("1") && !fits("0.5") && !fits("1.5")
}

fn misfit(error: &FigmentError) -> Misfit {
    let (message, help) = match &error.kind {
        Kind::Message(text) => match text.split_once('\n') {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (text.clone(), None),
        },
        Kind::UnknownVariant(found, words) => {
            let near = keys::nearest(found, words.iter().copied());
            let message = format!("should be one of {}, not `{}`", words.join(", "), shown(found));
            (message, near.map(|word| format!("did you mean `{word}`?")))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            (format!("should be {expected}, not {}", plain(&found.to_string())), None)
        }
        Kind::UnknownField(found, names) => {
            let near = keys::nearest(found, names.iter().copied()).map(|name| format!("did you mean `{name}`?"));
            (format!("has no `{found}`: it has {}", names.join(", ")), near)
        }
        Kind::MissingField(name) => (format!("needs a `{name}`"), None),
        other => (format!("cannot be read: {other}"), None),
    };
    Misfit { message, help }
}

/// What figment calls a value, in our words.
fn plain(found: &str) -> String {
    match found {
        "map" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit" | "none" => "nothing".to_owned(),
        other => match other.strip_prefix("string \"").and_then(|text| text.strip_suffix('"')) {
            Some(text) => format!("`{text}`"),
            None => other.to_owned(),
        },
    }
}

/// A node as figment's value: scalars as their text.
pub(super) fn value_of(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Empty(Tag::Default, Empty::Unit),
        Yaml::Scalar(text) => Value::String(Tag::Default, text.clone()),
        Yaml::List(items) => Value::Array(Tag::Default, items.iter().map(value_of).collect()),
        Yaml::Map(entries) => {
            Value::Dict(Tag::Default, entries.iter().map(|(key, node)| (key.text.clone(), value_of(node))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Budget, ClipNorm, Tokenizer};
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(Tag::Default, text.to_owned())
    }

    fn map(entries: &[(&str, &str)]) -> Value {
        Value::Dict(Tag::Default, entries.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect())
    }

    #[test]
    fn a_block_is_replaced_whole_and_other_sections_are_merged() {
        let below = over(
            Figment::new(),
            "file",
            &[
                ("tokenizer", &map(&[("kind", "bpe"), ("vocab_size", "512")])),
                ("train.budget", &map(&[("tokens", "2e6")])),
                ("train.clip_norm", &text("off")),
            ],
        );
        let above = over(
            below.clone(),
            "--set",
            &[
                ("tokenizer", &map(&[("kind", "char")])),
                ("train.budget", &map(&[("steps", "10")])),
                ("train.batch_size", &text("8")),
            ],
        );
        let settings = extract(&above).unwrap();
        assert_eq!(settings.tokenizer, Tokenizer::Char);
        assert_eq!(settings.train.budget, Budget::Steps(10));
        assert_eq!(settings.train.clip_norm, ClipNorm::Off);
        let part = over(below, "--set", &[("tokenizer.vocab_size", &text("1024"))]);
        assert_eq!(extract(&part).unwrap().tokenizer, Tokenizer::Bpe { vocab_size: 1024 });
    }

    #[test]
    fn each_setting_says_what_it_takes() {
        for (key, value, expected) in [
            ("train.sequence_length", text("1.5"), "should be a whole number from 1 up, not `1.5`"),
            ("train.sequence_length", text("many"), "should be a whole number from 1 up, not `many`"),
            ("train.sequence_length", text("0"), "should be a whole number from 1 up, not `0`"),
            ("model.dropout", text("1"), "should be a number from 0 to below 1, not `1`"),
            ("train.warmup", text("1.5"), "should be a fraction from 0 to 1, not `1.5`"),
            ("train.learning_rate", text("-1e-3"), "should be a number above 0, not `-1e-3`"),
            ("train.clip_norm", text("0"), "should be a number above 0, or `off`, not `0`"),
            ("train.batch_size", text("all"), "should be a whole number from 1 up, or `full`, not `all`"),
            ("train.batch_size", Value::from(vec![8, 16]), "takes one value, not a list"),
            ("train.shuffle", text("maybe"), "should be `true` or `false`, not `maybe`"),
            ("train.schedule", text("cosin"), "should be one of cosine, linear, constant, not `cosin`"),
            ("train.schedule", map(&[("kind", "cosine")]), "should be one of cosine, linear, constant, not `kind`"),
            ("train.budget", map(&[("hours", "8")]), "does not count in `hours`"),
            ("train.budget", map(&[("tokens", "1.5")]), "should be a whole number from 1 up, not `1.5`"),
            ("train.budget", text("1000"), "needs a unit"),
            ("tokenizer", map(&[("kind", "bpe")]), "needs a `vocab_size` with `kind: bpe`"),
            (
                "tokenizer",
                map(&[("kind", "char"), ("vocab_size", "9")]),
                "takes a `vocab_size` only with `kind: bpe`, not with `char`",
            ),
            ("tokenizer", map(&[("kind", "bep")]), "should be one of char, byte, word, bpe, file, not `bep`"),
            ("tokenizer", map(&[("vocab_size", "9")]), "needs a `kind`"),
            ("corpus.validation", text("1.5"), "should be a fraction between 0 and 1, a path or `none`, not `1.5`"),
            ("run.until", text("7 o'clock"), "should be a clock time such as `07:00`, not `7 o'clock`"),
            ("run.time", text("8 hours"), "should be a length of time such as `8h` or `1h30m`, not `8 hours`"),
            ("run.patience", text("long"), "should be a length of time such as `30`, `30s` or `2m`, not `long`"),
            ("run.timeout", text("0"), "should be `auto`, `never`, or a length of time such as `130`, `130s` or `5m`, not `0`"),
            ("run.device", text("gpu"), "should be `auto`, `cpu`, `cuda`, `cuda:1` or `metal`, not `gpu`"),
            ("checkpoint.keep_last", text("0"), "should be a whole number from 1 up, not `0`"),
            ("report.margin", text("1"), "should be a share from 0 to below 1 (0.002 is 0.2 %), not `1`"),
            ("report.margin", text("-0.01"), "should be a share from 0 to below 1 (0.002 is 0.2 %), not `-0.01`"),
            ("report.margin", text("0.2 %"), "should be a share from 0 to below 1 (0.002 is 0.2 %), not `0.2 %`"),
            ("report.margin", text("nan"), "should be a share from 0 to below 1 (0.002 is 0.2 %), not `nan`"),
            ("report.margin", Value::from(vec![0.01, 0.02]), "takes one value, not a list"),
        ] {
            assert_eq!(alone(key, &value).unwrap_err().message, expected, "{key}: {value:?}");
        }
    }

    #[test]
    fn settings_know_their_words() {
        assert_eq!(words_of("train.precision"), Some(["f32", "tf32", "bf16"].map(str::to_owned).to_vec()));
        assert_eq!(words_of("corpus.field"), None);
        assert!(is_whole("train.stride") && is_whole("model.layers") && is_whole("train.batch_size"));
        assert!(!is_whole("train.learning_rate") && !is_whole("train.clip_norm") && !is_whole("train.schedule"));
        assert!(!is_whole("train.warmup"));
        assert!(is_whole("tokenizer.vocab_size") && is_whole("train.budget.tokens") && !is_whole("train.budget.epochs"));
    }
}
