//! The clock on the wall is set while a run goes on: pauses and lengths of time do not notice.

#![expect(clippy::print_stderr, reason = "why a test was skipped must be seen")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Runner, Scene, small};

/// The library of the program `faketime`, which makes a clock for those that it is loaded into.
fn clock() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let files = folders.flat_map(|folder| [folder.join("faketime/libfaketime.so.1"), folder.join("libfaketime.so.1")]);
    files.into_iter().find(|file| file.exists())
}

#[test]
fn a_clock_that_is_set_back_an_hour_holds_up_no_retry() {
    let Some(clock) = clock() else { return eprintln!("skipped: no libfaketime (Debian and Ubuntu have it in `faketime`)") };
    let scene = Scene::new(&small("run: {time: 30m, slots: 1}").replace("steps: 40", "steps: 1000"));
    scene.put("shift", "+0");
    let mut command = scene.command(&["run", "small.yaml", "--no-probe"]);
    command.env("LD_PRELOAD", clock).env("FAKETIME_TIMESTAMP_FILE", scene.path().join("shift"));
    // The clock on the wall alone, and at once.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut runner = Runner::of(child);
    scene.wait_for_steps(&mut runner, 10);
    scene.kill_workers();
    let logged = || fs::read_to_string(scene.experiment().events()).unwrap_or_default();
    crate::support::until("the retry waits", || logged().contains("retrying"));
    scene.put("shift", "-3600");
    let began = Instant::now();
    runner.wait().exits(0).says("retrying");
    assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
    assert_eq!(scene.attempts(), [2]);
    // So it was set.
    let times: Vec<String> = logged().lines().map(line_time).collect();
    assert!(times.windows(2).any(|pair| pair[1] < pair[0]), "{times:?}");
}

fn line_time(line: &str) -> String {
    serde_json::from_str::<Value>(line).unwrap()["time_utc"].as_str().unwrap().to_owned()
}
