//! Killed, interrupted or damaged at any moment and started again, a trial ends as if nothing had happened.

#![expect(clippy::print_stdout, reason = "the random moments of a failing test must be known")]

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use votive::runs::{Status, TrialFolder, state_of};

use crate::support::{
    LONG_TEXT, Runner, Scene, Signal, assert_alike, files_below, final_weights, json, long_text, random, read, small, table,
    words,
};

const STEPS: u64 = 40;

/// Two trials of 40 steps, one with dropout; large batches, so that a step takes long enough to be hit in its midst.
fn experiment(rest: &str) -> String {
    let yaml = small(&format!("grid: {{model.dropout: [0.0, 0.1]}}\n{rest}")).replace(", dropout: 0.1", "");
    yaml.replace("sequence_length: 32", "sequence_length: 64\n  stride: 16").replace("batch_size: 8", "batch_size: 64")
}

/// The same undisturbed, with other slots and so with other numbers of threads.
fn undisturbed(yaml: &str, slots: &str) -> Scene {
    let scene = Scene::new(yaml);
    scene.run(&["--slots", slots]).exits(0);
    scene
}

#[track_caller]
fn assert_all_alike(one: &Scene, other: &Scene) {
    let (one, other) = (one.trials(), other.trials());
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    assert_eq!(one.len(), 2);
    for (id, folder) in &one {
        assert_alike(folder, &other[id], STEPS);
    }
}

/// Three SIGKILLs: of runner and workers, of the runner alone, of the workers alone; each at a random moment of another third.
fn killed_three_times(slots: &str, other_slots: &str) {
    let yaml = experiment("");
    let scene = Scene::new(&yaml);
    let at_random = |runner: &mut Runner, third: u64| {
        let (steps, millis) = (26 * third + random(24), random(80));
        println!("killed {millis} ms after step {steps}");
        scene.wait_for_steps(runner, steps as i64);
        sleep(Duration::from_millis(millis));
    };

    let mut runner = scene.start(&["--slots", slots]);
    at_random(&mut runner, 0);
    runner.send(Signal::KILL);
    scene.kill_workers();
    runner.wait().exits(137);

    // Its workers see the end of the pipe, save and leave; the next runner waits for them.
    let mut runner = scene.start(&["--slots", slots]);
    at_random(&mut runner, 1);
    runner.send(Signal::KILL);
    runner.wait();

    let mut runner = scene.start(&["--slots", slots]);
    at_random(&mut runner, 2);
    scene.kill_workers();
    let said = runner.wait();
    println!("{}", said.err);
    said.exits(0);

    assert!(scene.attempts().iter().sum::<usize>() > 2, "{:?}: nothing was killed while it trained", scene.attempts());
    assert_all_alike(&scene, &undisturbed(&yaml, other_slots));
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
    let scene = Scene::new(&yaml);
    let mut runner = scene.start(&["--slots", "2"]);
    scene.wait_for_steps(&mut runner, 6);
    runner.send(signal);
    let said = runner.wait().exits(code).says("stopping: each trial saves and leaves");
    let said = said.says("2 of 2 trials are not done: the same command goes on where this one stopped");
    assert!(!said.out.is_empty(), "the report is written all the same");
    let mut saved = 0;
    for folder in scene.trials().values() {
        let state = state_of(folder);
        assert_eq!(state.status, Status::Interrupted, "{state:?}");
        assert_eq!(state.attempts.last().unwrap().ended, Some(votive::runs::AttemptEnd::Interrupted));
        let newest = files_below(&folder.checkpoints(), "state.json").pop();
        saved += newest.map_or(0, |path| json(&path)["step"].as_u64().unwrap());
    }
    assert!(saved >= 6, "{saved}: every step that was made is saved");

    scene.run(&["--slots", "1"]).exits(0);
    assert_eq!(scene.attempts(), [2, 2]);
    for folder in scene.trials().values() {
        // By the time of all its attempts it is told how long the rest will take.
        let told = votive::runs::read_progress(folder).unwrap().training_seconds;
        let made = state_of(folder).outcome.unwrap().training_seconds;
        assert!((told / made - 1.0).abs() < 1e-6, "{told} of {made} s");
    }
    assert_all_alike(&scene, &undisturbed(&yaml, "2"));
}

#[test]
fn after_ctrl_c_every_trial_is_saved_and_goes_on() {
    interrupted_by(Signal::INT, 130);
}

#[test]
fn after_sigterm_every_trial_is_saved_and_goes_on() {
    interrupted_by(Signal::TERM, 143);
}

/// A signal while the text is prepared, which is seconds before anything else is done.
fn asked_while_preparing(signal: Signal, code: i32) -> Scene {
    let scene = Scene::new(LONG_TEXT);
    scene.put("long.txt", long_text());
    let mut runner = scene.start(&[]);
    sleep(Duration::from_millis(700 + random(500)));
    assert!(!runner.is_over());
    runner.send(signal);
    let said = runner.wait().exits(code).says("stopping (once more: kill)");
    said.says("stopped on request while the text was prepared: nothing was started").says("the same command goes on");
    assert!(files_below(scene.experiment().path(), ".part").is_empty(), "nothing half-written stays");
    assert!(scene.trials().is_empty());
    scene
}

#[test]
fn ctrl_c_while_a_text_is_prepared_ends_at_once_and_in_order() {
    let scene = asked_while_preparing(Signal::INT, 130);
    scene.put("long.txt", "the keeper of the lighthouse wrote a line.\n".repeat(1_000));
    scene.run(&["--set", "tokenizer.vocab_size=300"]).exits(0);
}

#[test]
fn sigterm_while_a_text_is_prepared_ends_at_once_and_in_order() {
    asked_while_preparing(Signal::TERM, 143);
}

#[test]
fn a_connection_that_drops_stops_nothing() {
    let scene = Scene::new(&experiment(""));
    let mut runner = scene.start(&["--slots", "2"]);
    scene.wait_for_steps(&mut runner, 2);
    runner.send(Signal::HUP);
    runner.wait().exits(0);
    assert_eq!(scene.attempts(), [1, 1]);
}

/// A trial killed on its way, with two checkpoints on disk.
fn killed(yaml: &str) -> (Scene, TrialFolder) {
    let scene = Scene::new(yaml);
    let mut runner = scene.start(&["--slots", "1"]);
    scene.wait_for_steps(&mut runner, 17);
    runner.send(Signal::KILL);
    scene.kill_workers();
    runner.wait();
    let begun = |folder: &TrialFolder| !votive::runs::attempts(folder).unwrap().is_empty();
    let folder = scene.trials().into_values().find(begun).unwrap();
    assert_eq!(state_of(&folder).status, Status::Interrupted);
    (scene, folder)
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_the_one_before_it_taken() {
    let yaml = experiment("checkpoint: {keep_last: 2}");
    let (scene, folder) = killed(&yaml);
    let weights = files_below(&folder.checkpoints(), "model.safetensors");
    assert!(weights.len() >= 2, "{weights:?}");
    flip_a_byte(weights.last().unwrap());

    scene.run(&[]).exits(0);
    let log = fs::read_to_string(folder.log()).unwrap();
    assert!(
        log.contains("a checkpoint that cannot be read is passed over") && log.contains("goes on from a checkpoint"),
        "{log}"
    );
    assert_all_alike(&scene, &undisturbed(&yaml, "2"));
}

#[test]
fn a_checkpoint_of_a_newer_program_is_passed_over_like_a_damaged_one() {
    let yaml = experiment("checkpoint: {keep_last: 2}");
    for file in ["manifest.json", "state.json"] {
        let (scene, folder) = killed(&yaml);
        let newest = files_below(&folder.checkpoints(), file).pop().unwrap();
        let mut content = json(&newest);
        content["version"] = 2.into();
        let text = serde_json::to_string(&content).unwrap();
        fs::write(&newest, &text).unwrap();
        if file == "state.json" {
            // The manifest holds: it is the version alone that decides.
            let path = newest.with_file_name("manifest.json");
            let mut manifest = json(&path);
            let files = manifest["files"].as_array_mut().unwrap();
            let state = files.iter_mut().find(|entry| entry["name"] == file).unwrap();
            (state["bytes"], state["blake3"]) = (text.len().into(), blake3::hash(text.as_bytes()).to_hex().as_str().into());
            fs::write(&path, manifest.to_string()).unwrap();
        }
        let step: u64 = newest.parent().unwrap().file_name().unwrap().to_str().unwrap()[5..].parse().unwrap();
        scene.run(&[]).exits(0);
        let log = fs::read_to_string(folder.log()).unwrap();
        let why = format!("{file} has version 2, and this program reads up to 1");
        assert!(log.contains("a checkpoint that cannot be read is passed over") && log.contains(&why), "{log}");
        let attempts = votive::runs::attempts(&folder).unwrap();
        let from: Vec<i64> = attempts.iter().map(|attempt| attempt.from_step).collect();
        assert!(from[0] == 0 && from[1] > 0 && (from[1] as u64) < step, "{from:?} of {step}: it went on from the one before");
        let steps = read(&folder.steps());
        let (made, by) = (steps.column("step").unwrap().i64().unwrap(), steps.column("attempt").unwrap().i32().unwrap());
        let first = made.iter().zip(by.iter()).find(|(_, attempt)| *attempt == Some(2)).unwrap().0.unwrap();
        assert_eq!(from[1] + 1, first, "the step that the attempt began from");
        assert_all_alike(&scene, &undisturbed(&yaml, "2"));
    }
}

#[test]
fn where_no_checkpoint_or_no_row_is_whole_a_trial_starts_over() {
    let yaml = experiment("checkpoint: {keep_last: 2}");
    let whole = undisturbed(&yaml, "2");
    let (scene, folder) = killed(&yaml);
    for path in files_below(&folder.checkpoints(), "optimizer.safetensors") {
        flip_a_byte(&path);
    }
    scene.run(&[]).exits(0);
    let log = fs::read_to_string(folder.log()).unwrap();
    assert!(
        log.contains("a checkpoint that cannot be read is passed over") && !log.contains("goes on from a checkpoint"),
        "{log}"
    );
    assert_all_alike(&scene, &whole);

    let (scene, folder) = killed(&yaml);
    fs::write(folder.steps(), "no Parquet").unwrap();
    scene.run(&[]).exits(0);
    let log = fs::read_to_string(folder.log()).unwrap();
    assert!(log.contains("the record is damaged: the trial starts over"), "{log}");
    let events = fs::read_to_string(scene.experiment().events()).unwrap();
    assert!(events.contains(r#""kind":"starts_over""#) && events.contains("its record is damaged: "), "{events}");
    assert_all_alike(&scene, &whole);
}

#[test]
fn killed_after_its_last_step_a_trial_is_only_scored_again() {
    let scene = undisturbed(&experiment(""), "2");
    let whole = undisturbed(&experiment(""), "2");
    // As a kill leaves it between the last checkpoint's tidying and the outcome.
    for folder in scene.trials().values() {
        fs::remove_file(folder.outcome()).unwrap();
        fs::remove_file(folder.token_nll()).unwrap();
    }
    scene.run(&[]).exits(0);
    for folder in scene.trials().values() {
        assert!(fs::read_to_string(folder.log()).unwrap().contains("goes on from a checkpoint"));
        let attempt = read(&folder.steps()).column("attempt").unwrap().i32().unwrap().iter().flatten().max();
        assert_eq!(attempt, Some(1), "no step is made again");
    }
    assert_all_alike(&scene, &whole);
}

#[test]
fn where_the_final_weights_alone_stay_a_trial_that_is_opened_again_is_only_scored_again_and_ends_the_same() {
    // In ever larger steps, so that the last weights are not the best ones.
    let yaml = small("seeds: 2\nevaluate: {at_most: 1}\ncheckpoint: {when_done: final}");
    let yaml = yaml.replace("train:", "train:\n  learning_rate: 4.0\n  warmup: 1.0");
    let scene = undisturbed(&yaml, "2");
    let whole = undisturbed(&yaml, "2");
    for folder in scene.trials().values() {
        assert_eq!(files_below(&folder.checkpoints(), "model.safetensors").len(), 1);
        let kinds = words(&read(&folder.evaluations()), "kind");
        assert!(kinds.iter().any(|kind| kind == "best"), "{kinds:?}");
        fs::remove_file(folder.outcome()).unwrap();
    }
    let ended_the_same = || {
        for folder in scene.trials().values() {
            let attempt = read(&folder.steps()).column("attempt").unwrap().i32().unwrap().iter().flatten().max();
            assert_eq!(attempt, Some(1), "no step is made again");
        }
        assert_all_alike(&scene, &whole);
        let scores = |scene: &Scene| {
            let outcomes = scene.trials().into_values().map(|folder| json(&folder.outcome()));
            let sums = outcomes.map(|outcome| {
                let rows = outcome["scores"].as_array().unwrap().clone();
                rows.iter().map(|row| (row["kind"].to_string(), row["nll_sum"].to_string())).collect::<Vec<_>>()
            });
            sums.collect::<Vec<_>>()
        };
        assert_eq!(scores(&scene), scores(&whole));
    };
    // As a kill leaves it between the deletion of the best weights and the outcome.
    scene.run(&[]).exits(0);
    ended_the_same();
    // Damaged long after the end.
    for folder in scene.trials().values() {
        fs::write(folder.outcome(), "{").unwrap();
    }
    scene.run(&[]).exits(0);
    ended_the_same();
}

#[test]
fn how_often_a_trial_is_evaluated_changes_nothing_of_its_weights() {
    let each_step = undisturbed(&experiment("evaluate: {every: 0.025, at_most: 1.0}"), "2");
    let never = undisturbed(&experiment("evaluate: {every: 1.0, at_most: 0}"), "2");
    let (each_step, never) = (each_step.trials(), never.trials());
    assert_eq!(each_step.len(), 2);
    let periodic = |folder: &TrialFolder| {
        let frame = read(&folder.evaluations());
        frame.column("kind").unwrap().str().unwrap().iter().flatten().filter(|kind| *kind == "periodic").count()
    };
    for (id, folder) in &each_step {
        assert_eq!((periodic(folder), periodic(&never[id])), (STEPS as usize, 0));
        assert!(final_weights(folder, STEPS) == final_weights(&never[id], STEPS), "the final weights differ");
        assert!(table(&folder.steps()).equals_missing(&table(&never[id].steps())));
    }
}

#[test]
fn micro_batches_change_nothing_of_a_trial() {
    let yaml = experiment("");
    let scene = Scene::new(&yaml);
    scene.run(&["--set", "train.micro_batch=7"]).exits(0);
    assert_all_alike(&scene, &undisturbed(&yaml, "2"));
}

/// The whole book in one step: 2,000 windows, with the gradients of all of them, in as many micro-batches as one asks for.
#[test]
fn the_whole_book_in_one_step_is_the_same_in_any_micro_batches() {
    let yaml = "name: small
corpus: {text: builtin:keeper}
model: {layers: 1, heads: 2, width: 16}
train: {sequence_length: 64, batch_size: full, budget: {epochs: 2}}
";
    let (whole, pieces) = (Scene::new(yaml), Scene::new(yaml));
    whole.run(&["--slots", "1"]).exits(0);
    pieces.run(&["--set", "train.micro_batch=100", "--set", "run.threads=1"]).exits(0);
    let (whole, pieces) = (whole.trials(), pieces.trials());
    let (whole, pieces) = (whole.values().next().unwrap(), pieces.values().next().unwrap());
    let tokens: Vec<_> = table(&whole.steps()).column("tokens_seen").unwrap().i64().unwrap().iter().flatten().collect();
    assert!(tokens.len() == 2 && tokens[0] > 100_000 && tokens[1] == 2 * tokens[0], "{tokens:?}");
    assert_alike(whole, pieces, 2);
}
