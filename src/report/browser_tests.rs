//! The page in headless Chromium: made here over experiments of several kinds, looked at by `scripts/check_page.py`.

use std::path::Path;
use std::process::Command;

use polars::prelude::{Column, DataFrame, ParquetWriter};

use super::tests::{NASTY, Night, night};
use crate::device::Device;
use crate::experiment::settings::ClipNorm;
use crate::plan::{Plan, Trial, TrialId};
use crate::record::tests::{completed, ended, plan, waiting};
use crate::record::{ParquetRecorder, TrialState};
use crate::rows::{CheckpointKind, EvaluationRow, Protocol as Scored, Recorder, ScoredPart, StepRow};
use crate::runs::{Attempt, Status, TrialFolder, begin_attempt};

const SECOND: i64 = 1_000_000;
const START: i64 = 1_763_900_000 * SECOND;

/// A number between -1 and 1 that looks like chance and is the same each time.
fn noise(seed: usize) -> f64 {
    let bits = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Twelve configurations of three settings with three seeds each; the last one diverges, one trial fails, one waits.
fn sweep() -> (Plan, Vec<TrialState>) {
    let mut plan = plan(&[64, 128, 256], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1, 2, 3]);
    plan.swept.push("train.batch_size".to_owned());
    let mut trials = Vec::new();
    for (factor, batch) in ["8", "16"].into_iter().enumerate() {
        for trial in &plan.trials {
            let number = trial.configuration + factor * 6;
            let values = [trial.values.clone(), vec![batch.to_owned()]].concat();
            let id = TrialId::of(&format!("{number}-{}", trial.seed));
            trials.push(Trial { id, configuration: number, values, ..trial.clone() });
        }
    }
    plan.trials = trials;
    plan.configurations = 12;
    let states = plan.trials.iter().enumerate().map(|(place, trial)| {
        let reason = "the loss was not finite at step 312: the gradient norm before it was 4,211";
        match (trial.configuration, trial.seed) {
            (12, _) => ended(Status::Diverged, reason, &["step 311: loss 9.31", "step 312: loss NaN"]),
            (5, 2) => ended(Status::Failed, "crashed: signal 9 (killed)", &["out of memory?", "Killed"]),
            (9, 3) => waiting(),
            _ => completed(final_loss(place, trial), Some(final_loss(place, trial) - 0.02)),
        }
    });
    let mut states: Vec<TrialState> = states.collect();
    for (place, state) in states.iter_mut().enumerate() {
        if let Some(outcome) = &mut state.outcome {
            outcome.training_seconds = 40.0 + 12.0 * (place / 3 % 4) as f64 + noise(place);
            outcome.tokens_seen = 450_000;
        }
    }
    (plan, states)
}

fn final_loss(place: usize, trial: &Trial) -> f64 {
    let number = trial.configuration as f64;
    1.5 + 0.03 * number + if trial.configuration.is_multiple_of(2) { 0.05 } else { 0.0 } + 0.012 * noise(place)
}

fn train(folder: &TrialFolder, trial: &Trial, last: f64, steps: i64, clip: Option<f64>) {
    std::fs::create_dir_all(folder.path()).unwrap();
    let mut recorder = ParquetRecorder::open(folder, &trial.id).unwrap();
    let seed = trial.configuration * 1000 + trial.seed as usize * 77_777;
    let loss_at = |step: i64| last + 2.4 * (-step as f64 / 60.0).exp() + 0.5 * (-step as f64 / 260.0).exp();
    for step in 1..=steps {
        let norm = 0.35
            + 1.6 * (-step as f64 / 90.0).exp()
            + 0.1 * noise(seed + 7 * step as usize).abs() / (1.01 - noise(step as usize).abs());
        let coefficient = clip.map_or(1.0, |clip| (clip / norm).min(1.0));
        let row = StepRow {
            attempt: 1,
            step,
            epoch: 1,
            tokens_seen: step * 1024,
            loss: Some(loss_at(step) + 0.12 * noise(seed + step as usize)),
            grad_norm: Some(norm),
            clip_coefficient: Some(coefficient),
            clipped: coefficient < 1.0,
            learning_rate: 1e-3,
            step_seconds: 0.1,
            tokens_per_second: 10_240.0,
            time_utc: START + step * SECOND / 10,
        };
        recorder.step(&row).unwrap();
        if step % (steps / 10).max(1) == 0 {
            let nll_sum = Some(100.0 * (loss_at(step) + 0.05 + 0.01 * noise(seed + step as usize)));
            let (protocol, kind, part) = (Scored::Common, CheckpointKind::Periodic, ScoredPart::Validation);
            recorder
                .evaluation(&EvaluationRow {
                    step,
                    tokens_seen: step * 1024,
                    protocol,
                    kind,
                    part,
                    context: 32,
                    stride: 32,
                    scored_tokens: 100,
                    scored_bytes: 100,
                    nll_sum,
                    seconds: 0.1,
                    time_utc: START,
                })
                .unwrap();
        }
    }
    recorder.finish().unwrap();
}

fn write_positions(folder: &TrialFolder, length: i64, last: f64) {
    let bins: Vec<(i64, i64)> = (0..)
        .map(|n| (if n == 0 { 1 } else { (1 << (n - 1)) + 1 }, 1i64 << n))
        .take_while(|(first, _)| *first <= length)
        .collect();
    let sum = |(first, end): &(i64, i64)| 1000.0 * (last + 1.4 / ((first + end) as f64 / 2.0).sqrt());
    let integers =
        |name: &str, of: &dyn Fn(&(i64, i64)) -> i64| Column::new(name.into(), bins.iter().map(of).collect::<Vec<_>>());
    let mut frame = DataFrame::new(
        bins.len(),
        vec![
            Column::new("checkpoint_kind".into(), vec!["final"; bins.len()]),
            Column::new("protocol".into(), vec!["native"; bins.len()]),
            integers("first_position", &|bin| bin.0),
            integers("last_position", &|bin| bin.1),
            integers("tokens", &|_| 1000),
            Column::new("nll_sum".into(), bins.iter().map(sum).collect::<Vec<_>>()),
        ],
    )
    .unwrap();
    ParquetWriter::new(std::fs::File::create(folder.positions()).unwrap()).finish(&mut frame).unwrap();
}

/// Everything that the trials of an experiment would have left, with the attempts on two slots.
fn fill(night: &Night, plan: &Plan, states: &[TrialState], steps: i64) {
    let mut free = [START, START + 3 * SECOND];
    for (place, (trial, state)) in plan.trials.iter().zip(states).enumerate() {
        if state.status == Status::Waiting {
            continue;
        }
        let folder = night.folder.trial(&trial.id);
        let clip = (trial.values.get(1).map(String::as_str) == Some("0.5")).then_some(0.5);
        let steps = if state.status == Status::Completed { steps } else { steps * 2 / 3 };
        train(&folder, trial, final_loss(place, trial), steps, clip);
        write_positions(&folder, trial.settings.train.sequence_length as i64, final_loss(place, trial));
        let attempts: &[&str] = match state.status {
            Status::Failed => &["crashed: signal 9 (killed)", "crashed: signal 9 (killed)", "crashed: signal 9 (killed)"],
            Status::Diverged => &["diverged"],
            Status::Interrupted => &["interrupted"],
            _ if place % 9 == 4 => &["interrupted", "completed"],
            _ => &["completed"],
        };
        let last_lines = state.attempts.last().map(|attempt| attempt.last_lines.clone()).unwrap_or_default();
        for (number, said) in attempts.iter().enumerate() {
            let slot = if free[0] <= free[1] { 0 } else { 1 };
            let lasted = (45 + (noise(place + number) * 12.0) as i64) * SECOND;
            let attempt = Attempt {
                attempt: number as u32 + 1,
                pid: 7,
                host: "rack".to_owned(),
                boot: None,
                token: None,
                slot: slot as u32 + 1,
                threads: 1,
                device: Device::Cpu,
                gpu: None,
                program: "votive 0.1.0".to_owned(),
                from_step: 40 * number as i64,
                started_utc: free[slot],
                ended_utc: Some(free[slot] + lasted),
                ended: Some((*said).to_owned().into()),
                last_lines: last_lines.clone(),
            };
            begin_attempt(&folder, &attempt).unwrap();
            free[slot] += lasted + SECOND;
        }
    }
    for trial in [0, 3, 6].into_iter().filter(|trial| *trial < plan.trials.len()) {
        night.write_sample(plan, trial, "The lamp ", "was lit before the keeper had\ngone up, and nobody could say by whom.");
    }
}

fn json(name: &str, description: &str) -> String {
    let git = serde_json::json!({ "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": true });
    serde_json::json!({
        "name": name, "description": description, "common_context": 32, "file": "experiments/sweep.yaml", "git": git,
        "text_hash": blake3::hash(b"text").to_hex().to_string(), "lock_file": crate::lock_file(),
    })
    .to_string()
}

/// Writes a report into a folder of this name.
fn write(night: &Night, into: &Path, name: &str) {
    night.report().write(&into.join(name)).unwrap();
}

fn pages(into: &Path) -> Vec<&'static str> {
    let (plan_, states) = sweep();
    let full = night(&plan_, &states, &json("sweep", "Sequence length, clipping and batch size, with three seeds each"));
    fill(&full, &plan_, &states, 400);
    write(&full, into, "sweep");

    let (mut plan_, mut states) = sweep();
    plan_.trials.iter_mut().for_each(|trial| trial.values[1] = format!("{NASTY}{}", trial.configuration % 2));
    plan_.swept[2] = format!("train.{NASTY}");
    let lines = [NASTY, "\u{1b}[2Jx"];
    states[0] = ended(Status::Failed, NASTY, &lines);
    let hostile = night(&plan_, &states, &json(NASTY, NASTY));
    fill(&hostile, &plan_, &states, 60);
    hostile.write_sample(&plan_, 3, NASTY, NASTY);
    write(&hostile, into, "hostile");

    let one = plan(&[32], &[ClipNorm::Off], &[1]);
    let states = [completed(1.6, None)];
    let alone = night(&one, &states, &json("one", ""));
    fill(&alone, &one, &states, 200);
    write(&alone, into, "one");

    let two = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    let states = [completed(1.6, None), completed(1.7, Some(1.65))];
    let pair = night(&two, &states, &json("two", ""));
    fill(&pair, &two, &states, 200);
    write(&pair, into, "two");

    let nothing = [waiting(), waiting()];
    write(&night(&two, &nothing, &json("nothing-yet", "")), into, "nothing");

    // As a first run is seen: one is over or none, one has hardly begun.
    let three = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
    let stopped = || ended(Status::Interrupted, "interrupted", &[]);
    for (name, first) in [("under-way", completed(1.6, None)), ("begun", stopped())] {
        let states = [first, stopped(), stopped()];
        let begun = night(&three, &states, &json(name, ""));
        fill(&begun, &three, &states, 300);
        train(&begun.folder.trial(&three.trials[2].id), &three.trials[2], 1.7, 12, None);
        write(&begun, into, name);
    }

    let lengths: Vec<usize> = (1..=100).map(|n| n * 8).collect();
    let clips: Vec<ClipNorm> = (0..10).map(|n| if n == 0 { ClipNorm::Off } else { ClipNorm::At(f64::from(n) / 10.0) }).collect();
    let many = plan(&lengths, &clips, &[1]);
    let states: Vec<TrialState> = (0..1_000).map(|n| completed(1.5 + 0.001 * n as f64 + 0.1 * noise(n), None)).collect();
    let crowd = night(&many, &states, &json("thousand", "A thousand trials"));
    for (trial, state) in many.trials.iter().zip(&states).take(120) {
        let folder = crowd.folder.trial(&trial.id);
        train(&folder, trial, state.outcome.as_ref().unwrap().scores[0].loss().unwrap(), 700, None);
    }
    write(&crowd, into, "thousand");
    vec!["sweep", "hostile", "one", "two", "nothing", "under-way", "begun", "thousand"]
}

#[test]
fn what_a_page_carries_is_small_whatever_the_experiment() {
    let dir = tempfile::tempdir().unwrap();
    for name in pages(dir.path()) {
        let page = std::fs::read_to_string(dir.path().join(name).join("index.html")).unwrap();
        let (_, data) = page.split_once("id=\"data\">").unwrap();
        let data = data.split_once("</script>").unwrap().0;
        assert!(data.len() < 3_000_000 && page.len() < 8_000_000, "{name}: {} of {} bytes", data.len(), page.len());
        assert!(!data.contains('<'), "{name}");
        serde_json::from_str::<serde_json::Value>(data).unwrap();
    }
}

#[test]
#[ignore = "needs Python and a Chromium: see .ci/run"]
fn the_page_in_headless_chromium() {
    let dir = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("VOTIVE_PAGES").map(std::path::PathBuf::from);
    let into = kept.as_deref().unwrap_or(dir.path());
    let names = pages(into);
    let python = std::env::var("VOTIVE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for hostile in [false, true] {
        let mut command = Command::new(&python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/check_page.py"));
        command.args(names.iter().filter(|name| (**name == "hostile") == hostile).map(|name| into.join(name)));
        if hostile {
            command.args(["--text", NASTY]);
        }
        if kept.is_some() {
            command.arg("--shots").arg(into.join("shots"));
        }
        assert!(command.status().unwrap().success(), "the script says what is wrong");
    }
}
