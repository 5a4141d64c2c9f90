//! Who may write where a lock cannot be relied on: the worker with the newest claim.

use std::fs;

use serde_json::json;
use votive::runs::{attempts, read_progress};

use crate::support::{SMALL, Scene, json, until};

/// One that takes a while, and saves often.
fn long() -> String {
    SMALL.replace("steps: 40", "steps: 1500") + "checkpoint: {every: 0.02}\n"
}

/// The claim of a worker that is none: nobody holds the lock for it.
fn claim(number: u32, boot: Option<&str>) -> String {
    let mut claim = json!({
        "attempt": number, "pid": 1, "host": "elsewhere", "slot": 1, "threads": 1, "device": "cpu", "program": "votive", "from_step": 0,
        "started_utc": "2026-11-14T22:13:20Z", "ended_utc": null, "ended": null, "last_lines": [], "token": "0123456789abcdef",
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
    scene.wait_for_steps(&mut runner, 40);
    let (_, folder) = scene.trials().pop_first().unwrap();
    let boot = json(&folder.attempt(1))["boot"].as_str().map(str::to_owned);
    // The other one holds no lock, and ran under the same system: it is gone already.
    fs::write(folder.attempt(2), claim(2, boot.as_deref())).unwrap();
    let log = || fs::read_to_string(folder.log()).unwrap();
    until("the worker has left", || log().contains("another worker took this trial over"));
    let said = runner.wait();
    let said = said.exits(0).says("taken over  ").says("another worker took this trial over");
    said.says_nothing_of("crashed").says_nothing_of("failed");
    let all = attempts(&folder).unwrap();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].ended.is_none() && all[1].ended.is_none(), "neither of them said how it ended: {all:?}");
    assert!(all[2].from_step > 0, "it goes on from what the first one had saved");
    assert_eq!(read_progress(&folder).unwrap().attempt, 3);
}
