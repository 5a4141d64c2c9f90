//! The same command again goes on where it stopped; an edited file trains only what is new.

use std::fs;

use crate::support::{SMALL, Scene, signal};

#[test]
fn the_second_run_of_the_same_file_trains_nothing_and_says_so() {
    let scene = Scene::new(&(SMALL.to_owned() + "grid: {train.batch_size: [4, 8]}\n"));
    let first = scene.run(&[]).exits(0);
    assert!(first.out.contains("perplexity"), "{}", first.out);
    assert!(!first.out.contains('\u{1b}') && !first.err.contains('\u{1b}'), "no escape codes off a terminal");
    let second = scene.run(&[]).exits(0).says("nothing to train: all 2 trials are over already");
    assert_eq!(second.out, first.out);
    assert_eq!(scene.attempts(), 2);
}

#[test]
fn one_value_added_to_an_axis_trains_only_the_new_trial() {
    let scene = Scene::new(&(SMALL.to_owned() + "grid: {train.batch_size: [4, 8]}\n"));
    scene.run(&[]).exits(0);
    scene.write(&(SMALL.to_owned() + "grid: {train.batch_size: [4, 8, 16]}\n"));
    scene.run(&[]).exits(0).says("1 trial added, 2 kept");
    assert_eq!((scene.trials().len(), scene.attempts()), (3, 3));
    scene.write(&(SMALL.to_owned() + "grid: {train.batch_size: [8, 16]}\n"));
    let less = scene.run(&[]).exits(0).says("1 no longer planned").says("nothing to train");
    assert_eq!(less.out.matches("completed").count(), 2, "{}", less.out);
}

#[test]
fn a_trial_that_diverges_is_a_result_and_the_others_go_on() {
    let yaml = SMALL.to_owned() + "grid: {train.learning_rate: [1e-3, 1e6]}\n";
    let scene = Scene::new(
        &yaml.replace("steps: 40", "steps: 60, ").replace(", }", "}").replace("batch_size: 8", "batch_size: 8\n  clip_norm: off"),
    );
    let said = scene.run(&[]).exits(3);
    assert!(said.out.contains("completed") && said.out.contains("diverged"), "{}", said.out);
    scene.run(&[]).exits(3).says("nothing to train");
    assert_eq!(scene.attempts(), 2);
}

#[test]
fn a_second_runner_says_who_holds_the_experiment_and_leaves() {
    let scene = Scene::new(&SMALL.replace("steps: 40", "steps: 100000"));
    let mut runner = scene.start(&[]);
    scene.wait_for_step(1);
    scene.run(&[]).exits(75).says(&runner.id().to_string());
    scene.votive(&["status", "runs/small"]).exits(0).says("running");
    signal(runner.id() as i32, "INT");
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    scene.votive(&["status", "runs/small"]).exits(0).says("interrupted");
}

#[test]
fn the_night_ends_at_its_time_and_the_rest_waits() {
    let scene = Scene::new(&(SMALL.replace("steps: 40", "steps: 1000000") + "run: {time: 3s}\n"));
    scene.run(&[]).exits(5).says("trials are not done");
}

#[test]
fn a_setting_from_the_command_line_and_one_from_the_environment() {
    let scene = Scene::new(&(SMALL.to_owned() + "grid: {train.batch_size: [4, 8]}\n"));
    let plan = scene.votive(&["plan", "small.yaml", "--json", "--set", "train.batch_size=16"]).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(plan["trials"].as_array().unwrap().len(), 1);
    let mut command = scene.command(&["plan", "small.yaml", "--json"]);
    let output = command.env("VOTIVE_SET__TRAIN__LEARNING_RATE", "0.25").output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["trials"][0]["settings"]["train"]["learning_rate"], 0.25);
    scene.run(&["--only", "batch_size == 4"]).exits(0);
    assert_eq!(scene.trials().len(), 1);
}

#[test]
fn show_prints_an_experiment_of_its_own() {
    let scene = Scene::new(&(SMALL.to_owned() + "grid: {train.batch_size: [4, 8]}\n"));
    scene.run(&[]).exits(0);
    let shown = scene.votive(&["show", "runs/small", "2"]).exits(0);
    fs::write(scene.path().join("one.yaml"), shown.out).unwrap();
    let plan = scene.votive(&["plan", "one.yaml", "--json"]).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    assert!(
        scene.experiment().join("trials").join(plan["trials"][0]["id"].as_str().unwrap()).exists(),
        "the same settings, the same id"
    );
}

#[test]
fn a_folder_without_an_experiment_has_nothing_to_report() {
    let scene = Scene::new(SMALL);
    scene.votive(&["report", "."]).exits(4);
    scene.votive(&["status"]).exits(4);
    scene.votive(&["--help"]).exits(0).says("Exit codes");
    scene.votive(&["completions", "bash"]).exits(0).says("votive");
    scene.votive(&["man"]).exits(0).says(".TH");
}
