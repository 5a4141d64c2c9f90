//! What `transformers` makes of our checkpoints: the models are trained here, `scripts/check_transformers.py` compares.

use std::fs;
use std::process::Command;

use candle_core::Device;
use serde_json::{Value, json};
use votive::experiment::settings::{Precision, Train};
use votive::model::Sequences;
use votive::model::plain::PlainModel;
use votive::pulse::NEVER;
use votive::runs::TrialFolder;
use votive::train::backend::{Backend, CpuEngine, State};
use votive::train::pretrained;

use crate::support::{Scene, json};

const STEPS: u64 = 60;

/// Every variant of both families, one with subwords, one with longer windows than the others.
const VARIANTS: &str = "\
name: small
corpus: {text: train.txt, validation: validation.txt}
model: {layers: 2, heads: 4, width: 32}
train: {sequence_length: 64, batch_size: 8, learning_rate: 3e-3, budget: {steps: 60}}
points:
  - {model.bias: true, train.sequence_length: 96}
  - {model.bias: false, model.tied: true, tokenizer: {kind: bpe, vocab_size: 300}}
  - {model.activation: gelu_tanh, model.tied: false}
  - {model.family: llama, model.kv_heads: 2, model.tied: false}
  - {model.family: llama, model.kv_heads: 1, model.bias: true, tokenizer: {kind: byte}}
";

/// What our two paths make of a trial's last checkpoint.
fn ours(folder: &TrialFolder, validation: &[u32]) -> Value {
    let checkpoint = folder.checkpoints().join(format!("step-{STEPS:08}"));
    let (config, values) = pretrained::read(&checkpoint).unwrap();
    let plain = PlainModel::new(&config, Precision::F32, &Device::Cpu, &values).unwrap();
    let logits = |ids: &[u32]| plain.logits(ids, ids.len()).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
    let mut engine = CpuEngine::new(&config, &Train::default(), 1, 2, &State::untrained(values)).unwrap();

    let v = config.vocabulary as u32;
    let scattered: Vec<u32> = (0..20).map(|i| (i * i * 7 + 3 * i) % v).collect();
    let prompts: Vec<Value> = [&validation[..1], &scattered, &validation[..64]]
        .into_iter()
        .map(|ids| {
            // The engine never writes its logits down: the NLL of every possible target tells them up to a constant.
            let mut log_probabilities = vec![vec![0.0; v as usize]; ids.len()];
            for target in 0..v {
                let targets = vec![target; ids.len()];
                let nll = engine.nll(&Sequences { inputs: ids, targets: &targets, length: ids.len() }, &NEVER).unwrap();
                for (row, nll) in log_probabilities.iter_mut().zip(nll.unwrap()) {
                    row[target as usize] = -nll;
                }
            }
            json!({"ids": ids, "logits": logits(ids), "engine_log_probabilities": log_probabilities})
        })
        .collect();

    let mut text = validation[..10].to_vec();
    for _ in 0..50 {
        let all = logits(&text);
        let last = all.last().unwrap();
        let best = (0..v).max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize])).unwrap();
        text.push(best);
    }
    json!({"prompts": prompts, "greedy": {"prompt": &text[..10], "tokens": &text[10..]}})
}

#[test]
#[ignore = "needs a Python with torch and transformers, as VOTIVE_PYTHON: see .ci/run"]
fn transformers_computes_what_we_compute() {
    let book = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/data/keeper.txt")).unwrap();
    let paragraphs: Vec<&str> = book.split_inclusive("\n\n").collect();
    let scene = Scene::new(VARIANTS);
    let text = |range: std::ops::Range<usize>| paragraphs[range].concat();
    scene.put("train.txt", text(0..120));
    scene.put("validation.txt", text(120..140));
    scene.run(&[]).exits(0);

    let trials = scene.trials();
    assert_eq!(trials.len(), 5);
    for (id, folder) in &trials {
        let nll = crate::support::read(&folder.token_nll());
        let tokens: Vec<u32> = nll.column("token").unwrap().i64().unwrap().iter().map(|t| t.unwrap() as u32).collect();
        let mut ours = ours(folder, &tokens);
        let prompt = "The keeper";
        let said = scene.votive(&["sample", id, "--prompt", prompt, "--temperature", "0", "--tokens", "50"]).exits(0);
        ours["sample"] = json!({"prompt": prompt, "text": said.out});
        fs::write(folder.path().join("ours.json"), ours.to_string()).unwrap();
        assert_eq!(json(&folder.job())["steps"], STEPS);
    }
    python("check_transformers.py", &scene, "validation.txt", 5);
}

/// Runs a script on the experiment and one of its texts; it finds no fault with this many trials.
#[track_caller]
fn python(script: &str, scene: &Scene, text: &str, trials: usize) {
    let python = std::env::var("VOTIVE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .arg(format!("{}/scripts/{script}", env!("CARGO_MANIFEST_DIR")))
        .arg(scene.experiment().path())
        .arg(scene.path().join(text))
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.matches(" 0 faults").count(), trials, "{out}\n{err}");
}

/// A part of the text for testing, less scored than there is, contexts above the smallest, and every sort of tokenizer; trained for
/// so long on so little that the best weights are not the last ones.
const SCORED: &str = "\
name: small
corpus: {text: book.txt, validation: 0.1, test: 0.05}
model: {layers: 1, heads: 2, width: 32}
train: {sequence_length: 64, batch_size: 8, learning_rate: 2e-2, schedule: constant, budget: {steps: 60}}
evaluate: {max_bytes: 4000, at_most: 1}
points:
  - {train.sequence_length: 32}
  - {tokenizer: {kind: bpe, vocab_size: 300}, model.family: llama}
  - {tokenizer: {kind: byte}}
  - {tokenizer: {kind: word}, model.family: llama, train.sequence_length: 48}
";

#[test]
#[ignore = "needs a Python with torch and transformers, as VOTIVE_PYTHON: see .ci/run"]
fn an_independent_program_gets_the_same_sums_from_checkpoints_and_text() {
    let scene = Scene::new(SCORED);
    let book = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/data/keeper.txt")).unwrap();
    // Characters of several bytes at the start of what is scored.
    let held_out = book.len() * 85 / 100;
    let cut = held_out + book[held_out..].windows(2).position(|two| two == b"\n\n").unwrap();
    scene.put("book.txt", [&book[..cut], "\n\n“Naïve”, said the café’s owner. ".repeat(40).as_bytes(), &book[cut..]].concat());
    scene.run(&[]).exits(0);
    let trials = scene.trials();
    let best = trials.values().filter(|folder| {
        let scores = json(&folder.outcome())["scores"].as_array().unwrap().clone();
        scores.iter().any(|row| row["kind"] == "best" && row["part"] == "test")
    });
    assert!(best.count() > 0, "no trial got worse towards its end");
    python("score_independently.py", &scene, "book.txt", 4);

    // And again when a shorter sequence length has joined.
    scene.write(&format!("{SCORED}  - {{train.sequence_length: 24}}\n"));
    scene.run(&["--rescore"]).exits(0).says("4 finished trials again (context 32 instead of 24)");
    python("score_independently.py", &scene, "book.txt", 5);
}
