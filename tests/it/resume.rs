//! Killed, interrupted, damaged: a run that goes on ends as if nothing had happened.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use votive::runs::{Status, TrialFolder, state_of};

use crate::support::{Lab, Running, assert_alike, files_below, final_weights, frame, kill_workers, rows, sheet, step_of, until};

const STEPS: u64 = 40;

/// Two trials of 40 steps, one with dropout; large batches, so that a step takes long enough to be hit in its midst.
fn experiment(rest: &str) -> String {
    let train = "sequence_length: 64, stride: 16, batch_size: 64, learning_rate: 3e-3, budget: {steps: 40}";
    let yaml = sheet("x", train, &format!("grid: {{model.dropout: [0.0, 0.1]}}\n{rest}"));
    yaml.replace("sequence_length: 16, ", "")
}

/// The same run undisturbed, with other slots and so with other numbers of threads.
fn undisturbed(yaml: &str, slots: &str) -> Lab {
    let lab = Lab::new();
    lab.run(yaml, &["--slots", slots]).ends_with(0);
    lab
}

#[track_caller]
fn assert_all_alike(one: &Lab, other: &Lab) {
    let (one, other) = (one.trials("x"), other.trials("x"));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    assert_eq!(one.len(), 2);
    for (id, folder) in &one {
        assert_alike(folder, &other[id], STEPS);
    }
}

/// A random number below `below`; the tests that use it hold for every one.
fn random(below: u64) -> u64 {
    RandomState::new().hash_one(below) % below
}

/// Waits until the trials have made `steps` steps together, or the runner is over.
fn until_steps(lab: &Lab, running: &mut Running, steps: i64) {
    until("the trials have made enough steps", || {
        running.is_over() || lab.trials("x").values().map(step_of).sum::<i64>() >= steps
    });
}

/// Three SIGKILLs: of runner and workers, of the runner alone, of the workers alone; each at a random moment of another third.
fn killed_three_times(slots: &str, other_slots: &str) {
    let yaml = experiment("");
    let lab = Lab::new();
    let arguments = ["--slots", slots];
    let mut moments = Vec::new();
    let mut at_random = |running: &mut Running, third: u64| {
        let (steps, millis) = (26 * third + random(24), random(80));
        moments.push((steps, millis));
        until_steps(&lab, running, steps as i64);
        sleep(Duration::from_millis(millis));
    };

    let mut running = lab.start(&yaml, &arguments);
    at_random(&mut running, 0);
    running.send(Signal::KILL);
    kill_workers(lab.trials("x").values());
    assert_eq!(running.wait().code(), 137);

    let mut running = lab.start(&yaml, &arguments);
    at_random(&mut running, 1);
    running.send(Signal::KILL);
    running.wait();

    let mut running = lab.start(&yaml, &arguments);
    at_random(&mut running, 2);
    kill_workers(lab.trials("x").values());
    let said = running.wait();
    println!("killed after (steps, milliseconds) {moments:?}\n{}", said.err);
    said.ends_with(0);

    let attempts: usize = lab.attempts("x").values().sum();
    assert!(attempts > 3, "{attempts} attempts: nothing was killed while it trained");
    assert_all_alike(&lab, &undisturbed(&yaml, other_slots));
}

#[test]
fn forty_steps_killed_three_times_end_as_forty_steps_in_one_go_with_one_slot() {
    killed_three_times("1", "2");
}

#[test]
fn forty_steps_killed_three_times_end_as_forty_steps_in_one_go_with_two_slots() {
    killed_three_times("2", "1");
}

fn interrupted_by(signal: Signal, code: i32) {
    let yaml = experiment("");
    let lab = Lab::new();
    let mut running = lab.start(&yaml, &["--slots", "2"]);
    until_steps(&lab, &mut running, 6);
    running.send(signal);
    let said = running.wait().ends_with(code);
    let said =
        said.says(&["stopping: each trial finishes its step and saves", "the same command goes on where this one stopped"]);
    assert!(!said.out.is_empty(), "the report is written all the same");
    let mut saved = 0;
    for folder in lab.trials("x").values() {
        let state = state_of(folder);
        assert_eq!(state.status, Status::Interrupted, "{state:?}");
        assert_eq!(state.attempts.last().unwrap().ended.as_deref(), Some("interrupted"));
        let newest = files_below(&folder.checkpoints(), "state.json").pop();
        saved += newest.map_or(0, |path| crate::support::json(&path)["step"].as_u64().unwrap());
    }
    assert!(saved >= 6, "the steps that were made are saved: {saved}");

    lab.run(&yaml, &["--slots", "1"]).ends_with(0);
    assert!(lab.attempts("x").values().all(|&attempts| attempts == 2), "{:?}", lab.attempts("x"));
    assert_all_alike(&lab, &undisturbed(&yaml, "2"));
}

#[test]
fn after_ctrl_c_every_trial_is_saved_and_goes_on() {
    interrupted_by(Signal::INT, 130);
}

#[test]
fn after_sigterm_every_trial_is_saved_and_goes_on() {
    interrupted_by(Signal::TERM, 143);
}

#[test]
fn a_connection_that_drops_stops_nothing() {
    let lab = Lab::new();
    let mut running = lab.start(&experiment(""), &["--slots", "2"]);
    until_steps(&lab, &mut running, 2);
    running.send(Signal::HUP);
    running.wait().ends_with(0);
    assert!(lab.attempts("x").values().all(|&attempts| attempts == 1));
}

/// A trial stopped on its way, with two checkpoints on disk.
fn stopped(yaml: &str) -> (Lab, TrialFolder) {
    let lab = Lab::new();
    let mut running = lab.start(yaml, &["--slots", "1"]);
    until_steps(&lab, &mut running, 17);
    running.send(Signal::KILL);
    kill_workers(lab.trials("x").values());
    running.wait();
    let folder = lab.trials("x").into_values().find(|folder| step_of(folder) > 0).unwrap();
    assert_eq!(state_of(&folder).status, Status::Interrupted);
    (lab, folder)
}

fn flip_a_byte(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_the_one_before_it_taken() {
    let yaml = experiment("checkpoint: {keep_last: 2}");
    let (lab, folder) = stopped(&yaml);
    let weights = files_below(&folder.checkpoints(), "model.safetensors");
    assert!(weights.len() >= 2, "{weights:?}");
    flip_a_byte(weights.last().unwrap());

    lab.run(&yaml, &[]).ends_with(0);
    let log = fs::read_to_string(folder.log()).unwrap();
    assert!(log.contains("a damaged checkpoint is passed over") && log.contains("goes on from a checkpoint"), "{log}");
    assert_all_alike(&lab, &undisturbed(&yaml, "2"));
}

#[test]
fn where_no_checkpoint_or_no_row_is_whole_a_trial_starts_over() {
    let yaml = experiment("checkpoint: {keep_last: 2}");
    let whole = undisturbed(&yaml, "2");
    let (lab, folder) = stopped(&yaml);
    for path in files_below(&folder.checkpoints(), "optimizer.safetensors") {
        flip_a_byte(&path);
    }
    lab.run(&yaml, &[]).ends_with(0);
    let log = fs::read_to_string(folder.log()).unwrap();
    assert!(log.contains("a damaged checkpoint is passed over") && !log.contains("goes on from a checkpoint"), "{log}");
    assert_all_alike(&lab, &whole);

    let (lab, folder) = stopped(&yaml);
    fs::write(folder.steps(), "no Parquet").unwrap();
    lab.run(&yaml, &[]).ends_with(0);
    let log = fs::read_to_string(folder.log()).unwrap();
    assert!(log.contains("the record is damaged: the trial starts over"), "{log}");
    assert_all_alike(&lab, &whole);
}

#[test]
fn how_often_a_trial_is_evaluated_changes_nothing_of_its_weights() {
    let each_step = undisturbed(&experiment("evaluate: {every: 0.025, at_most: 1.0}"), "2");
    let never = undisturbed(&experiment("evaluate: {every: 1.0, at_most: 0}"), "2");
    let (each_step, never) = (each_step.trials("x"), never.trials("x"));
    assert_eq!(each_step.len(), 2);
    for (id, folder) in &each_step {
        assert!(final_weights(folder, STEPS) == final_weights(&never[id], STEPS), "the final weights differ");
        let steps = |folder| rows(folder).remove(0).1;
        assert!(steps(folder).equals_missing(&steps(&never[id])));
        let periodic = |folder: &TrialFolder| {
            let frame = frame(&folder.evaluations());
            frame.column("kind").unwrap().str().unwrap().iter().flatten().filter(|kind| *kind == "periodic").count()
        };
        assert_eq!((periodic(folder), periodic(&never[id])), (STEPS as usize, 0));
    }
}

#[test]
fn micro_batches_change_nothing_of_the_weights() {
    let yaml = experiment("");
    let (lab, whole) = (Lab::new(), undisturbed(&yaml, "2"));
    lab.run(&yaml, &["--set", "train.micro_batch=7"]).ends_with(0);
    assert_all_alike(&lab, &whole);
}
