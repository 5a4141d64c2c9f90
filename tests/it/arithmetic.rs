//! The founding example: 20,000 tokens, windows of 512, a stride of 256, batches of 8.

use std::fmt::Write;
use std::fs;

use crate::support::{SMALL, Scene};

fn explain(tokens: &str) -> crate::support::Said {
    Scene::new(SMALL).votive(&["explain", "--tokens", tokens, "--sequence-length", "512", "--stride", "256", "--batch-size", "8"])
}

#[test]
fn explain_does_the_arithmetic_from_four_numbers() {
    explain("20000")
        .exits(0)
        .says("= 77 windows")
        .says("10 steps an epoch")
        .says("batch of 5")
        .says("8 × 512 = 4,096 tokens a step")
        .says("69 of the 77");
    explain("19968").exits(0).says("= 76 windows");
    explain("512").exits(2).says("513");
}

/// A text of this many words, each a token.
fn words(count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let _ = write!(text, "{}{}", ["lamp", "row", "quay", "boat"][i * i % 4], if i % 50 == 49 { "\n\n" } else { " " });
    }
    text
}

#[test]
fn the_plan_shows_the_windows_of_the_training_part_and_of_the_whole_text() {
    let yaml = "\
name: small
corpus: {text: words.txt}
tokenizer: {kind: word}
model: {layers: 1, heads: 2, width: 16}
train: {sequence_length: 512, stride: 256, batch_size: 8, budget: {epochs: 1}}
";
    let scene = Scene::new(yaml);
    fs::write(scene.path().join("words.txt"), words(20_000)).unwrap();
    let said = scene.votive(&["plan", "small.yaml", "--json"]).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let facts = &plan["trials"][0]["facts"];
    assert_eq!(facts["text_tokens"], 20_000);
    assert_eq!(facts["text_windows"], 77);
    assert_eq!(facts["windows"], 69);
    assert_eq!((&facts["steps_per_epoch"], &facts["partial_batch"]), (&9.into(), &5.into()));
    assert_eq!(facts["tokens_per_step"], 4_096);
    fs::write(scene.path().join("words.txt"), words(512)).unwrap();
    scene.votive(&["plan", "small.yaml"]).exits(2).says("one window of 512 needs 513");
}

#[test]
fn the_cat_sat_is_four_word_tokens() {
    let scene = Scene::new(&(SMALL.to_owned() + "tokenizer: {kind: word}\n"));
    let said = scene.votive(&["explain", "small.yaml"]).exits(0);
    assert!(said.out.contains("The cat sat.") && said.out.contains("4 tokens"), "{}", said.out);
}

#[test]
fn a_plan_as_csv_has_a_row_a_trial() {
    let scene = Scene::new(&(SMALL.to_owned() + "grid: {train.batch_size: [4, 8], train.clip_norm: [off, 1]}\nseeds: 2\n"));
    let said = scene.votive(&["plan", "small.yaml", "--csv"]).exits(0);
    let columns = said.out.lines().next().unwrap().split(',').count();
    assert_eq!(said.out.lines().count(), 9);
    assert!(said.out.lines().all(|line| line.split(',').count() == columns));
}
