//! Who may write where a lock cannot be relied on: the worker with the newest claim.

use std::fs;

use serde_json::json;
use votive::plan::TrialId;
use votive::record::ParquetRecorder;
use votive::rows::Recorder;
use votive::runs::{TrialFolder, attempts, read_progress, set_aside_outcome};

use crate::support::{SMALL, Scene, Signal, json, read, small, until};

/// One that takes long, and saves every tenth step.
fn long() -> String {
    SMALL.replace("steps: 40", "steps: 20000") + "checkpoint: {every: 0.0005}\n"
}

/// The claim of a worker that is none: nobody holds the lock for it.
fn claim(number: u32, boot: Option<&str>) -> String {
    let mut claim = json!({
        "attempt": number, "pid": 1, "host": "elsewhere", "slot": 1, "threads": 1, "device": "cpu", "program": "votive", "from_step": 0,
        "started_utc": 1, "ended_utc": null, "ended": null, "last_lines": [], "token": "0123456789abcdef",
    });
    if let Some(boot) = boot {
        claim["boot"] = boot.into();
    }
    serde_json::to_string(&claim).unwrap()
}

#[test]
fn a_worker_whose_trial_is_taken_over_leaves_without_another_word() {
    let scene = Scene::new(&long());
    let mut runner = scene.start(&[]);
    scene.wait_for_steps(&mut runner, 11);
    let (_, folder) = scene.trials().pop_first().unwrap();
    let boot = json(&folder.attempt(1))["boot"].as_str().map(str::to_owned);
    // The other one holds no lock, and ran under the same system: it is gone already.
    fs::write(folder.attempt(2), claim(2, boot.as_deref())).unwrap();
    let log = || fs::read_to_string(folder.log()).unwrap();
    until("the worker has left", || log().contains("another worker took this trial over"));
    until("another one goes on", || read_progress(&folder).is_some_and(|said| said.attempt == 3 && said.step > 0));
    runner.send(Signal::INT);
    let said = runner.wait().exits(130).says("taken over  ").says("another worker took this trial over");
    said.says_nothing_of("crashed");
    let all = attempts(&folder).unwrap();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].ended.is_none() && all[1].ended.is_none(), "neither of them said how it ended: {all:?}");
    assert!(all[2].from_step > 0, "it goes on from what the first one had saved: {all:?}");
}

#[test]
fn what_another_machine_began_is_waited_for_until_it_says_that_it_ended() {
    let scene = Scene::new(&small(""));
    scene.run(&[]).exits(0);
    let (_, folder) = scene.trials().pop_first().unwrap();
    set_aside_outcome(&folder).unwrap();
    fs::write(folder.attempt(2), claim(2, Some("another"))).unwrap();
    let mut runner = scene.start(&[]);
    let events = || fs::read_to_string(scene.experiment().events()).unwrap();
    until("it waits", || events().contains("held_elsewhere"));
    assert!(!runner.is_over() && !folder.attempt(3).exists());
    fs::write(folder.attempt(2), claim(2, Some("another")).replace(r#""ended":null"#, r#""ended":"interrupted""#)).unwrap();
    runner.wait().exits(0).says("another worker is still at it");
    assert!(folder.attempt(3).exists());
}

/// Trains `yaml` with one trial; its scene and its folder.
fn trained(yaml: &str) -> (Scene, TrialFolder) {
    let scene = Scene::new(yaml);
    scene.run(&[]).exits(0);
    let (_, folder) = scene.trials().pop_first().unwrap();
    (scene, folder)
}

/// What must be the same, whoever wrote it last: losses of steps and evaluations, scores of tokens, weights.
fn result(folder: &TrialFolder) -> (Vec<String>, Vec<u8>) {
    let columns = [(folder.steps(), "loss"), (folder.evaluations(), "loss"), (folder.token_nll(), "nll")];
    let columns =
        columns.map(|(path, name)| format!("{:?}", read(&path).column(name).unwrap().cast(&polars::prelude::DataType::String)));
    (columns.to_vec(), fs::read(folder.checkpoints().join("step-00000040/model.safetensors")).unwrap())
}

#[test]
fn what_is_overwritten_after_the_end_is_seen_and_mended_by_the_next_run() {
    let (scene, folder) = trained(&small("checkpoint: {every: 0.1, keep_last: 9, when_done: all}"));
    let before = result(&folder);
    // As a worker leaves it that stood still since its tenth step.
    let id = TrialId::parse(folder.path().file_name().unwrap().to_str().unwrap()).unwrap();
    ParquetRecorder::open(&folder, &id).unwrap().resume(10).unwrap();
    scene.run(&[]).exits(0).says("were overwritten after the trial had ended: it goes on from a checkpoint that fits");
    assert_eq!(result(&folder), before);
    let last = attempts(&folder).unwrap().pop().unwrap();
    assert!((1..=10).contains(&last.from_step), "it goes on from where the rows lead: {last:?}");
    scene.run(&[]).exits(0).says("nothing to train").says_nothing_of("overwritten");
}

#[test]
fn where_no_checkpoint_fits_the_trial_starts_over_and_a_copy_is_no_overwrite() {
    let (scene, folder) = trained(&small(""));
    let before = result(&folder);
    fs::write(folder.steps(), "PAR1, and nothing else").unwrap();
    scene.run(&[]).exits(0).says("steps.parquet of ").says(" was overwritten after the trial had ended");
    assert_eq!(result(&folder), before);
    // The same content, written at another time.
    for path in [folder.steps(), folder.evaluations()] {
        fs::write(&path, fs::read(&path).unwrap()).unwrap();
    }
    scene.run(&[]).exits(0).says("nothing to train").says_nothing_of("overwritten");
}
