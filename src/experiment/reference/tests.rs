//! The table against what the reader of a file does.

use std::collections::BTreeSet;

use super::*;
use crate::experiment::layers;
use crate::experiment::settings::{Budget, Tokenizer};
use crate::experiment::{Overrides, parse};

const HEAD: &str = "corpus: {text: a.txt}\ntrain: {budget: {steps: 100}, sequence_length: 128}\n";

/// Axes, one of which can be tuned.
const TUNED: &str = "train.learning_rate: [1e-3, 3e-3], train.batch_size: [8, 16]";

/// The base settings of a file with this key at this value.
fn read(key: &str, value: &str) -> Result<Settings, String> {
    let (text, set) = match entry(key).is_some_and(Entry::is_setting) {
        true => (format!("name: x\n{HEAD}"), vec![format!("{}={value}", keys::whole_setting(key))]),
        false if key == "tune" => (format!("name: x\n{HEAD}grid: {{{TUNED}}}\ntune: {value}\n"), Vec::new()),
        false if key == "name" => (format!("name: {value}\n{HEAD}"), Vec::new()),
        false => (format!("name: x\n{HEAD}{key}: {value}\n"), Vec::new()),
    };
    match parse("x.yaml", &text, &Overrides { set, ..Overrides::default() }) {
        Ok((experiment, _)) => Ok(experiment.base),
        Err(problems) => Err(problems.list.iter().map(|p| p.message().to_owned()).collect::<Vec<_>>().join("; ")),
    }
}

#[test]
fn the_table_has_every_setting_that_the_reader_has_and_no_other() {
    let values = serde_json::to_value(Settings::default()).unwrap();
    let mut settings = Vec::new();
    collect(String::new(), &values, &mut settings);
    let read: BTreeSet<String> = settings.into_iter().map(|(key, _)| key).collect();
    let written: BTreeSet<String> = keys::SETTINGS.iter().cloned().collect();
    assert_eq!(written, read);
    let parts: BTreeSet<&str> =
        TABLE.iter().filter(|entry| keys::block_part(entry.key).is_some()).map(|entry| entry.key).collect();
    let known = [(keys::TOKENIZER, keys::TOKENIZER_KEYS), (keys::BUDGET, keys::BUDGET_UNITS)];
    let known: BTreeSet<String> =
        known.iter().flat_map(|(block, parts)| parts.iter().map(move |p| format!("{block}.{p}"))).collect();
    assert_eq!(parts, known.iter().map(String::as_str).collect());
    assert_eq!(TABLE.iter().map(|entry| entry.key).collect::<BTreeSet<_>>().len(), TABLE.len(), "each stands there once");
}

#[test]
fn defaults_are_those_of_the_settings() {
    for entry in TABLE.iter().filter(|entry| entry.is_setting() && keys::block_part(entry.key).is_none()) {
        let value = DEFAULTS.iter().find(|(key, _)| key == entry.key);
        match entry.default {
            Preset::Value => {
                let (key, default) = value.unwrap_or_else(|| panic!("{} has no default", entry.key));
                // Written down, a default is read as what holds without it.
                assert_eq!(read(key, default).unwrap(), read("train.sequence_length", "128").unwrap(), "{key}: {default}");
            }
            Preset::Follows(_) => assert!(value.is_none(), "{} has a default of its own: {value:?}", entry.key),
            Preset::Required => assert!(matches!(entry.key, "corpus.text" | "train.budget"), "{}", entry.key),
        }
    }
    assert_eq!(Settings::default().tokenizer, Tokenizer::Char);
    assert_eq!(entry("train.learning_rate").unwrap().default_words(), "0.001");
    assert_eq!(entry("tokenizer").unwrap().default_words(), "char");
}

#[test]
fn every_example_is_read_and_is_no_default() {
    let settings = read("train.sequence_length", "128").unwrap();
    for entry in TABLE {
        // Only a llama takes it.
        if entry.key == "model.kv_heads" {
            continue;
        }
        let example = read(entry.key, entry.example).unwrap_or_else(|message| panic!("{}: {message}", entry.key));
        if entry.is_setting() && entry.key != "run.on" && entry.key != "tokenizer.kind" {
            assert_ne!(example, settings, "{} has its default as an example", entry.key);
        }
    }
}

#[test]
fn what_is_part_of_a_trial_s_id_is_said() {
    let settings = read("train.sequence_length", "128").unwrap();
    for entry in TABLE.iter().filter(|entry| entry.is_setting() && entry.key != "model.kv_heads") {
        let other = read(entry.key, entry.example).unwrap();
        let changes = other.identity() != settings.identity();
        match entry.identity {
            Identity::Part => assert!(changes, "{} changes no id", entry.key),
            Identity::No => assert!(!changes, "{} changes ids", entry.key),
            Identity::Partly(_) => {}
        }
    }
}

#[test]
fn words_are_those_that_the_reader_knows() {
    for entry in TABLE.iter().filter(|entry| entry.is_setting()) {
        let words: Vec<&str> = entry
            .takes
            .iter()
            .flat_map(|takes| match takes {
                Takes::Words(words) => words.iter().map(|(word, _)| *word).collect(),
                _ => Vec::new(),
            })
            .collect();
        if let Some(known) = layers::words_of(entry.key) {
            assert_eq!(words, known, "{}", entry.key);
        }
        for word in words.into_iter().filter(|_| keys::block_part(entry.key).is_none()) {
            if let Err(message) = layers::read_setting(entry.key, word) {
                panic!("{}: {word}: {message}", entry.key);
            }
        }
    }
}

#[test]
fn ranges_are_those_that_the_reader_keeps_to() {
    let takes = |key: &str, number: f64| layers::read_setting(key, &number.to_string()).is_ok();
    for entry in TABLE.iter().filter(|entry| entry.is_setting() && keys::block_part(entry.key).is_none()) {
        for range in entry.takes {
            let (right, wrong) = match *range {
                Takes::Whole(least, most) => {
                    let (least, most) = (least as f64, most as f64);
                    // Beyond 2^53 no such number is exact.
                    let ends = if most < 1e15 { vec![most] } else { vec![1e15] };
                    (vec![least].into_iter().chain(ends).collect(), vec![least - 1.0, least + 0.5, most * 2.0])
                }
                Takes::Number(least, most) => {
                    let (mut right, mut wrong) = (vec![0.3], vec![f64::NAN]);
                    match least {
                        Edge::At(least) => (right.push(least), wrong.push(least - 1e-3)),
                        Edge::Beyond(least) => (right.push(least + 1e-3), wrong.push(least)),
                        Edge::Open => panic!("{} has no lower end", entry.key),
                    };
                    match most {
                        Edge::At(most) => (right.push(most), wrong.push(most + 1e-3)),
                        Edge::Beyond(most) => (right.push(most - 1e-3), wrong.push(most)),
                        Edge::Open => (right.push(1e6), wrong.push(f64::INFINITY)),
                    };
                    (right, wrong)
                }
                _ => continue,
            };
            // A path may be called `NaN`.
            let is_text = entry.takes.iter().any(|takes| matches!(takes, Takes::Text(_)));
            let wrong: Vec<f64> = wrong.into_iter().filter(|number| !is_text || number.is_finite()).collect();
            assert!(right.iter().all(|&number| takes(entry.key, number)), "{}: {right:?}", entry.key);
            assert!(wrong.iter().all(|&number| !takes(entry.key, number)), "{}: {wrong:?}", entry.key);
        }
    }
    assert_eq!(entry("train.warmup").unwrap().takes_words(), "a number from 0 to 1");
    assert_eq!(entry("train.batch_size").unwrap().takes_words(), "a whole number from 1 to 1,000,000,000, or `full`");
    assert_eq!(entry("train.clip_norm").unwrap().takes_words(), "a number above 0, or `off`");
}

#[test]
fn a_key_is_found_by_its_name_a_part_of_it_or_another_program_s_word() {
    let found = |word: &str| find(word).map(|entries| entries.iter().map(|entry| entry.key).collect::<Vec<_>>());
    assert_eq!(found("train.stride"), Ok(vec!["train.stride"]));
    assert_eq!(found("stride"), Ok(vec!["train.stride"]));
    assert_eq!(found("rank"), Ok(vec!["evaluate.rank_by", "evaluate.rank_at"]));
    assert_eq!(found("every"), Ok(vec!["evaluate.every", "checkpoint.every"]));
    assert_eq!(found("grad_clip"), Ok(vec!["train.clip_norm"]));
    assert_eq!(found("seed"), Ok(vec!["seeds"]));
    assert_eq!(found("checkpoint"), Ok(vec!["checkpoint.every", "checkpoint.keep_last", "checkpoint.when_done"]));
    assert_eq!(found("train.stirde"), Err(Some("train.stride".to_owned())));
    assert_eq!(found("zzzzzzzz"), Err(None));
    assert_eq!(found("tokenizer").unwrap().len(), 4);
}

#[test]
fn the_schema_has_every_key_of_the_table_and_no_other() {
    let schema = schema();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let settings = TABLE.iter().filter(|entry| entry.is_setting()).map(|entry| entry.key.to_owned());
    let helpers = ["range", "expression"].map(str::to_owned);
    assert_eq!(keys(&schema["definitions"]), settings.chain(helpers).collect());
    let sections = keys::SECTIONS.iter().map(|section| (*section).to_owned());
    let top = TABLE.iter().filter(|entry| !entry.is_setting()).map(|entry| entry.key.to_owned());
    assert_eq!(keys(&schema["properties"]), top.chain(sections).collect());
    let mut inside = BTreeSet::new();
    for section in keys::SECTIONS.iter().filter(|section| **section != keys::TOKENIZER) {
        inside.extend(keys(&schema["properties"][section]["properties"]).into_iter().map(|key| format!("{section}.{key}")));
    }
    // Sections within a section.
    for key in inside.clone() {
        let (section, name) = key.split_once('.').unwrap();
        if let Some(inner) = schema["properties"][section]["properties"][name]["properties"].as_object() {
            inside.remove(&key);
            inside.extend(inner.keys().map(|inner| format!("{key}.{inner}")));
        }
    }
    for (block, parts) in [(keys::TOKENIZER, "/anyOf/0/properties"), (keys::BUDGET, "/properties")] {
        let properties = schema["definitions"][block].pointer(parts).unwrap();
        inside.extend(keys(properties).into_iter().map(|key| format!("{block}.{key}")));
    }
    let dotted = TABLE.iter().filter(|entry| entry.key.contains('.')).map(|entry| entry.key.to_owned());
    assert_eq!(inside, dotted.collect());
    let swept = keys(&schema["properties"]["zip"]["anyOf"][1]["properties"]);
    let can: BTreeSet<String> = TABLE.iter().filter(|entry| entry.can_be_swept()).map(|entry| entry.key.to_owned()).collect();
    assert!(swept.is_superset(&can) && !swept.iter().any(|key| key.starts_with("run")));
    assert_eq!(Settings::default().train.budget, Budget::Tokens(0), "a budget has no default");
}
