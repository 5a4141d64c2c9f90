//! Settings as an experiment file of their own: only what differs from the defaults.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::keys;
use super::settings::{Part, Settings, Tokenizer};
use super::text;

/// An experiment file with these settings and nothing swept; reading it gives the same settings back. What differs from the defaults
/// is written, and the keys that were `swept`: they are what it was made for.
pub fn to_yaml(name: &str, description: &str, settings: &Settings, seeds: &[u64], swept: &[String]) -> String {
    let mut yaml = String::new();
    if has_relative_paths(settings) {
        yaml += "# Paths are relative to the folder that this file lies in, as they were to that of the experiment's file.\n";
    }
    let _ = writeln!(yaml, "name: {}", quoted(name));
    if !description.is_empty() {
        // Writing into a string does not fail.
        let _ = writeln!(yaml, "description: {}", quoted(description));
    }
    yaml.push('\n');
    let (Ok(Value::Object(all)), Ok(Value::Object(defaults))) =
        (serde_json::to_value(settings), serde_json::to_value(Settings::default()))
    else {
        unreachable!("settings serialize as a map of sections");
    };
    // A folder to start from says what the model is, and what its tokens are.
    let from = settings.model.from.is_some();
    for section in keys::SECTIONS {
        let (Some(Value::Object(values)), Some(default)) = (all.get(*section), defaults.get(*section)) else { continue };
        if *section == keys::TOKENIZER {
            if !from && (all.get(*section) != Some(default) || swept.iter().any(|key| key.starts_with(section))) {
                let _ = writeln!(yaml, "{section}: {}", flow(&Value::Object(values.clone())));
            }
            continue;
        }
        let is_swept = |key: &str| {
            let path = format!("{section}.{key}");
            swept.iter().any(|swept| swept.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        };
        let required = |key: &str| matches!((*section, key), ("corpus", "text") | ("train", "budget")) || is_swept(key);
        let brought = |key: &str| from && *section == "model" && !matches!(key, "from" | "dropout");
        let different = values
            .iter()
            .filter(|(key, value)| (required(key) || default.get(key.as_str()) != Some(value)) && !brought(key.as_str()));
        let mut lines = String::new();
        for (key, value) in different {
            let text = match value {
                Value::Object(inner) if keys::is_section(&format!("{section}.{key}")) => {
                    let default = |name: &str| default.get(key.as_str()).and_then(|inner| inner.get(name));
                    let different = inner.iter().filter(|(name, value)| default(name) != Some(value));
                    flow(&Value::Object(different.map(|(name, value)| (name.clone(), value.clone())).collect()))
                }
                Value::Null => unset(&format!("{section}.{key}")).to_owned(),
                value => self::value(section, key, value),
            };
            let _ = writeln!(lines, "  {key}: {text}");
        }
        if !lines.is_empty() {
            let _ = write!(yaml, "{section}:\n{lines}");
        }
    }
    yaml + &seeds_line(seeds)
}

/// The line of the seeds, after an empty one; nothing where there are none.
fn seeds_line(seeds: &[u64]) -> String {
    let counted = seeds.iter().zip(1..).all(|(seed, n)| *seed == n);
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    match (counted, seeds.len()) {
        (_, 0) => String::new(),
        (true, n) => format!("\nseeds: {n}\n"),
        (false, _) => format!("\nseeds: [{}]\n", list.join(", ")),
    }
}

/// Whether a file that it names is named from the experiment file's folder.
fn has_relative_paths(settings: &Settings) -> bool {
    let part = |part: &Part| match part {
        Part::Path(path) => Some(path.clone()),
        Part::Fraction(_) | Part::None => None,
    };
    let corpus = &settings.corpus;
    let held_out = part(&corpus.validation).into_iter().chain(part(&corpus.test));
    let tokenizer = match &settings.tokenizer {
        Tokenizer::File { path } => Some(path),
        Tokenizer::Byte | Tokenizer::Char | Tokenizer::Word | Tokenizer::Bpe { .. } => None,
    };
    let is_relative = |path: &String| !path.starts_with("builtin:") && Path::new(path).is_relative();
    let named = corpus.text.iter().chain(&settings.model.from).chain(tokenizer).cloned().chain(held_out);
    named.into_iter().any(|path| is_relative(&path))
}

/// What is written where a setting has no value: `none` where another word would be read as a name.
pub(super) fn unset(key: &str) -> &'static str {
    match key {
        "corpus.field" | "model.from" => "none",
        "corpus.max_bytes" => "all",
        _ => "auto",
    }
}

/// A setting as a person writes it: what JSON wraps in a name stands bare where that reads back the same.
pub(super) fn value(section: &str, key: &str, value: &Value) -> String {
    if let Value::Object(map) = value
        && let (1, Some((name, inner))) = (map.len(), map.iter().next())
        && !(section == "train" && key == "budget")
    {
        let bare = match (name.as_str(), inner) {
            ("path", Value::String(path)) => path != "none" && text::number(path).is_none(),
            _ => true,
        };
        if bare {
            return flow(inner);
        }
    }
    match value {
        Value::Array(items) if items.len() == 1 => flow(&items[0]),
        other => flow(other),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Null => "auto".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => whole.to_string(),
            None => text::write_number(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A text: bare where it is a plain word, else in quotes as JSON has them, which YAML reads.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain);
    if word && !matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n")
    {
        return text.to_owned();
    }
    // JSON leaves these as they are, and YAML's reader would take them for line breaks or refuse them.
    let json = serde_json::to_string(text).unwrap_or_default();
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::settings::{BatchSize, Budget, ClipNorm};
    use super::*;

    #[test]
    fn what_a_folder_brings_is_not_written() {
        let mut settings = Settings::default();
        settings.corpus.text = vec!["a.txt".to_owned()];
        settings.tokenizer = Tokenizer::File { path: "small/tokenizer.json".to_owned() };
        settings.model.from = Some("small".to_owned());
        (settings.model.layers, settings.model.dropout) = (12, 0.1);
        let yaml = to_yaml("tuned", "", &settings, &[], &[]);
        assert!(yaml.contains("model:\n  dropout: 0.1\n  from: small\n"), "{yaml}");
        assert!(!yaml.contains("tokenizer") && !yaml.contains("layers"), "{yaml}");
    }

    #[test]
    fn only_what_differs_from_the_defaults_is_written() {
        let mut settings = Settings::default();
        settings.corpus.text = vec!["builtin:keeper".to_owned()];
        settings.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
        settings.train.batch_size = BatchSize::Windows(8);
        settings.train.clip_norm = ClipNorm::Off;
        settings.train.learning_rate = 3e-5;
        settings.run.slurm.partition = Some("gpu".to_owned());
        settings.run.slurm.extra = vec!["--nice=100".to_owned()];
        settings.train.budget = Budget::Tokens(200_000);
        insta::assert_snapshot!(to_yaml("longer", "the winner, for longer", &settings, &[1, 2, 3], &[]), @r#"
        name: longer
        description: "the winner, for longer"

        corpus:
          text: "builtin:keeper"
        tokenizer: {kind: bpe, vocab_size: 512}
        train:
          batch_size: 8
          budget: {tokens: 200000}
          clip_norm: "off"
          learning_rate: 3e-5
        run:
          slurm: {extra: ["--nice=100"], partition: gpu}

        seeds: 3
        "#);
    }

    #[test]
    fn what_was_swept_is_written_also_where_it_is_the_default() {
        let mut settings = Settings::default();
        settings.corpus.text = vec!["book.txt".to_owned()];
        let swept = ["train.clip_norm", "tokenizer.kind", "train.budget.steps", "model.layers"].map(str::to_owned);
        let yaml = to_yaml("winner", "", &settings, &[], &swept);
        for line in ["  clip_norm: 1\n", "tokenizer: {kind: char}\n", "  layers: ", "# Paths are relative to the folder"] {
            assert!(yaml.contains(line), "{yaml}");
        }
        assert!(!yaml.contains("beta") && !yaml.contains("heads"), "{yaml}");
    }
}
