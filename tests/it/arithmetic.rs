//! The founding example: 20,000 tokens, windows of 512, a stride of 256, batches of 8.

use std::fmt::Write;

use crate::support::{SMALL, Said, Scene, small};

fn explain(tokens: &str) -> Said {
    Scene::new(SMALL).votive(&["explain", "--tokens", tokens, "--sequence-length", "512", "--stride", "256", "--batch-size", "8"])
}

#[test]
fn explain_does_the_arithmetic_from_four_numbers() {
    let said = explain("20000").exits(0).says("= 77 windows").says("10 steps an epoch").says("69 of the 77");
    let said = said.says("8 × 512 = 4,096 tokens a step").says("257–768");
    // Words may be broken over lines.
    let flat = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("a last, partial batch of 5 (2,560 tokens)"), "{flat}");
    explain("19968").exits(0).says("= 76 windows");
    explain("513").exits(0).says("= 1 window");
    let refused =
        explain("512").exits(2).says("a text of 512 tokens gives no window of 512: the smallest that does has 513 tokens");
    assert_eq!(refused.out, "");
}

#[test]
fn explain_says_which_number_is_missing() {
    let scene = Scene::new(SMALL);
    scene.votive(&["explain", "--tokens", "20000", "--batch-size", "8"]).exits(2).says("`--sequence-length` is missing");
    scene.votive(&["explain"]).exits(2).says("`--tokens` is missing");
    scene.votive(&["explain", "small.yaml", "--tokens", "20000"]).exits(2).says("cannot be used with");
    scene.votive(&["explain", "--tokens", "20000", "--sequence-length", "0", "--batch-size", "8"]).exits(2);
}

/// A text of this many words, each a token.
fn words(count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let _ = write!(text, "{}{}", ["lamp", "row", "quay", "boat"][i * i % 4], if i % 50 == 49 { "\n\n" } else { " " });
    }
    text
}

const WORDS: &str = "\
name: small
corpus: {text: words.txt}
tokenizer: {kind: word}
model: {layers: 1, heads: 2, width: 16}
train: {sequence_length: 512, stride: 256, batch_size: 8, budget: {epochs: 1}}
";

#[test]
fn the_plan_shows_the_windows_of_the_training_part_and_of_the_whole_text() {
    let scene = Scene::new(WORDS);
    scene.put("words.txt", words(20_000));
    let plan = scene.plan(&[]);
    let facts = &plan["trials"][0]["facts"];
    for (fact, expected) in [
        ("text_tokens", 20_000),
        ("text_windows", 77),
        ("train_tokens", 18_000),
        ("windows", 69),
        ("steps_per_epoch", 9),
        ("partial_batch", 5),
        ("steps", 9),
        ("tokens_per_step", 4_096),
        ("target_tokens", 69 * 512),
    ] {
        assert_eq!(facts[fact], expected, "{fact}");
    }
    scene.votive(&["plan", "small.yaml"]).exits(0).says("69 (77)").says("18,000 to train on, 2,000 held out");
    scene.votive(&["explain", "small.yaml"]).exits(0).says("69");

    let whole = scene.plan(&["--set", "corpus.validation=none"]);
    let facts = &whole["trials"][0]["facts"];
    assert_eq!((&facts["windows"], &facts["steps"], &facts["partial_batch"]), (&77.into(), &10.into(), &5.into()));
    scene.put("words.txt", words(512));
    scene.votive(&["plan", "small.yaml"]).exits(2).says("one window of 512 needs 513");
    scene.votive(&["plan", "small.yaml", "--set", "corpus.validation=none"]).exits(2).says("of about 513 tokens or more");
}

#[test]
fn what_is_planned_is_what_is_trained() {
    let scene = Scene::new(&WORDS.replace("sequence_length: 512, stride: 256", "sequence_length: 32, stride: 16"));
    scene.put("words.txt", words(2_000));
    let plan = scene.plan(&[]);
    let facts = &plan["trials"][0]["facts"];
    scene.run(&[]).exits(0);
    let folder = scene.trials().into_values().next().unwrap();
    let steps = crate::support::read(&folder.steps());
    assert_eq!(steps.height() as u64, facts["steps"].as_u64().unwrap());
    let seen = steps.column("tokens_seen").unwrap().i64().unwrap().clone();
    assert_eq!(seen.get(steps.height() - 1), facts["target_tokens"].as_i64());
    let last = seen.get(steps.height() - 1).unwrap() - seen.get(steps.height() - 2).unwrap();
    assert_eq!(last, 32 * facts["partial_batch"].as_i64().unwrap(), "the partial batch is kept");
}

#[test]
fn the_cat_sat_is_four_word_tokens() {
    let scene = Scene::new(&small("tokenizer: {kind: word}"));
    let said = scene.votive(&["explain", "small.yaml"]).exits(0).says("The cat sat.");
    let flat = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("4 tokens"), "{}", said.out);
}

#[test]
fn the_line_of_arithmetic_adds_up() {
    let scene = Scene::new(&small(
        "grid: {train.sequence_length: [16, 32, 64], train.batch_size: [4, 8]}\nderive: {train.stride: sequence_length / 2}\n\
         exclude:\n  - when: batch_size * sequence_length > 256\n    why: too large a step\npoints:\n  - {train.batch_size: 2}\nseeds: 3",
    ));
    scene
        .votive(&["plan", "small.yaml"])
        .exits(0)
        .says("7 combinations − 1 excluded = 6 configurations × 3 seeds = 18 trials")
        .says("excluded 1: too large a step (`batch_size * sequence_length > 256`)");
    let plan = scene.plan(&[]);
    assert_eq!(plan["trials"].as_array().unwrap().len(), 18);
    for trial in plan["trials"].as_array().unwrap() {
        let train = &trial["settings"]["train"];
        let (length, stride) = (train["sequence_length"].as_u64().unwrap(), train["stride"].as_u64().unwrap_or(0));
        assert_eq!(stride * 2, length, "{train}");
    }
}

/// The cells of a line of CSV.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[test]
fn a_plan_as_csv_says_what_it_says_as_json() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, full], train.clip_norm: [off, 1]}\nseeds: 2"));
    let said = scene.votive(&["plan", "small.yaml", "--csv"]).exits(0);
    let mut lines = said.out.lines().map(cells);
    let head = lines.next().unwrap();
    let rows: Vec<Vec<String>> = lines.collect();
    assert_eq!(rows.len(), 8);
    let plan = scene.plan(&[]);
    for (row, trial) in rows.iter().zip(plan["trials"].as_array().unwrap()) {
        assert_eq!(row.len(), head.len());
        let cell = |name: &str| row[head.iter().position(|h| h == name).unwrap()].as_str();
        assert_eq!(trial["id"], cell("trial_id"));
        assert_eq!(trial["seed"].to_string(), cell("seed"));
        let facts = trial["facts"].as_object().unwrap();
        for name in ["windows", "steps", "tokens_per_step", "target_tokens", "parameters"] {
            assert_eq!(facts[name].to_string(), cell(name), "{name}");
        }
        let off = trial["settings"]["train"]["clip_norm"] == "off";
        assert_eq!((cell("train_clip_norm").is_empty(), cell("train_clip_norm_off")), (off, if off { "true" } else { "false" }));
    }
    scene.votive(&["plan", "small.yaml", "--csv", "--json"]).exits(2);
}

#[test]
fn ten_thousand_trials_are_planned_and_one_more_is_refused() {
    let axes = "grid:\n  train.batch_size: {from: 1, to: 25, step: 1}\n  train.clip_norm: {from: 0.1, to: 2, step: 0.1}\n";
    let scene = Scene::new(&small(&format!("{axes}  train.learning_rate: {{from: 1e-4, to: 1e-2, log: 20}}")));
    let said = scene.votive(&["plan", "small.yaml", "--csv"]).exits(0);
    assert_eq!(said.out.lines().count(), 10_001);
    let ids: std::collections::HashSet<&str> = said.out.lines().skip(1).map(|line| &line[..12]).collect();
    assert_eq!(ids.len(), 10_000, "each trial has an id of its own");
    scene.write(&small(&format!("{axes}  train.learning_rate: {{from: 1e-4, to: 1e-2, log: 21}}")));
    scene.votive(&["plan", "small.yaml"]).exits(2).says("10,500 combinations: more than the 10,000 that are allowed");
    let said = scene.votive(&["plan", "small.yaml", "--max-trials", "10500"]).exits(0).says("= 10,500 trials");
    assert!(said.err.lines().count() < 12, "remarks are summed up: {}", said.err);
}
