//! What does not go on is seen, killed and tried again; whoever is asked to stop does so soon, also within scoring, and what cannot
//! stop is killed.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use votive::runs::{Status, TrialFolder, read_progress, state_of};

use crate::support::{Runner, Scene, Signal, assert_alike, signal_a_worker, small, until};
use votive::rows::Phase;

const STEPS: u64 = 40;

/// Two trials whose steps take long enough to be hit in their midst.
fn experiment() -> String {
    let yaml = small("grid: {model.dropout: [0.0, 0.1]}").replace(", dropout: 0.1", "");
    yaml.replace("sequence_length: 32", "sequence_length: 64\n  stride: 16").replace("batch_size: 8", "batch_size: 64")
}

/// A trial of two steps that is scored for much longer.
fn long_to_score() -> String {
    let yaml = small("evaluate: {at_most: 1}\ncheckpoint: {when_done: all}");
    let yaml = yaml.replace("layers: 1, heads: 2, width: 16, dropout: 0.1", "layers: 4, heads: 4, width: 192");
    yaml.replace("max_bytes: 40000", "max_bytes: 800000, validation: 0.95").replace("steps: 40", "steps: 2")
}

#[track_caller]
fn assert_ends_as_undisturbed(scene: &Scene, yaml: &str, steps: u64) {
    let other = Scene::new(yaml);
    other.run(&["--slots", "1"]).exits(0);
    let others = other.trials();
    for (id, folder) in scene.trials() {
        assert_alike(&folder, &others[&id], steps);
    }
}

fn wait_for_phase(scene: &Scene, runner: &mut Runner, phase: Phase) {
    // An attempt before may have said the same.
    let since = votive::rows::now_utc();
    let is_there = || {
        let said = |progress: votive::runs::Progress| progress.phase == phase && progress.time_utc >= since;
        scene.trials().values().filter_map(read_progress).any(said)
    };
    until(&format!("a trial is {}", phase.name()), || is_there() || runner.is_over());
}

fn ended(folder: &TrialFolder) -> Vec<String> {
    votive::runs::attempts(folder).unwrap().into_iter().filter_map(|attempt| Some(attempt.ended?.to_string())).collect()
}

#[test]
fn a_stopped_worker_is_killed_as_hung_and_its_trial_ends_with_the_same_bits() {
    let yaml = experiment();
    let scene = Scene::new(&yaml);
    let mut runner = scene.start(&["--slots", "2", "--set", "run.timeout=8s"]);
    scene.wait_for_steps(&mut runner, 10);
    let folder = signal_a_worker(&scene, Signal::STOP);
    runner.wait().exits(0).says("hung: silent for ").says("retrying");
    let attempts = ended(&folder);
    assert!(attempts[0].starts_with("hung: silent for "), "{attempts:?}");
    assert_eq!(attempts[1..], ["completed"]);
    let events = fs::read_to_string(scene.experiment().events()).unwrap();
    assert!(events.contains(r#""cause":"hang""#), "{events}");
    assert_ends_as_undisturbed(&scene, &yaml, STEPS);
}

#[test]
fn a_trial_that_hangs_and_is_given_up_says_so_in_its_status() {
    let scene = Scene::new(&experiment());
    let set = ["--slots", "1", "--set", "run.timeout=4s", "--set", "run.retries=0"];
    let mut runner = scene.start(&set);
    scene.wait_for_steps(&mut runner, 2);
    let folder = signal_a_worker(&scene, Signal::STOP);
    runner.wait().exits(3);
    let state = state_of(&folder);
    assert_eq!(state.status, Status::Failed);
    assert!(state.reason.unwrap().starts_with("hung: silent for "));
    scene.votive(&["status", "small"]).says("hung: silent for ");
}

#[test]
fn the_status_of_a_stopped_worker_says_for_how_long_it_has_been_silent() {
    let scene = Scene::new(&experiment());
    let mut runner = scene.start(&["--slots", "1"]);
    scene.wait_for_steps(&mut runner, 2);
    let folder = signal_a_worker(&scene, Signal::STOP);
    let last = read_progress(&folder).unwrap().time_utc;
    until("it has been silent for long", || votive::rows::now_utc() - last > 11_000_000);
    scene.votive(&["status", "small"]).exits(0).says(", silent for 1").says_nothing_of("tokens/s");
    // Patience kills what cannot stop, and the runner leaves.
    drop(runner);
    signal_a_worker(&scene, Signal::KILL);
}

#[test]
fn a_stop_while_a_trial_is_scored_is_heeded_at_once_and_changes_no_bit() {
    let yaml = long_to_score();
    let scene = Scene::new(&yaml);
    for _ in 0..2 {
        let mut runner = scene.start(&["--slots", "1"]);
        wait_for_phase(&scene, &mut runner, Phase::Scoring);
        let began = Instant::now();
        runner.send(Signal::INT);
        runner.wait().exits(130).says("1 trial left: 1 interrupted");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
    let folder = scene.trials().into_values().next().unwrap();
    assert_eq!(ended(&folder), ["interrupted", "interrupted"]);
    scene.run(&[]).exits(0);
    assert_ends_as_undisturbed(&scene, &yaml, 2);
}

#[test]
fn a_stop_while_a_trial_is_scored_again_is_heeded_at_once() {
    let yaml = long_to_score();
    let scene = Scene::new(&yaml);
    scene.run(&[]).exits(0);
    let again = ["--rescore", "--set", "evaluate.context=16"];
    let mut runner = scene.start(&again);
    wait_for_phase(&scene, &mut runner, Phase::Rescoring);
    let began = Instant::now();
    runner.send(Signal::TERM);
    runner.wait().exits(143);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    scene.run(&again).exits(0);
}

#[test]
fn a_stopped_worker_is_killed_after_the_patience_of_a_stop_and_of_a_deadline() {
    let yaml = experiment().replace("steps: 40", "steps: 100000");
    let scene = Scene::new(&yaml);
    let patience = ["--slots", "1", "--set", "run.patience=1"];
    let mut runner = scene.start(&patience);
    scene.wait_for_steps(&mut runner, 2);
    let folder = signal_a_worker(&scene, Signal::STOP);
    let began = Instant::now();
    runner.send(Signal::TERM);
    runner.wait().exits(143);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(ended(&folder), ["killed: it had not stopped after 1 s"]);

    let steps = read_progress(&folder).unwrap().step;
    let mut runner = scene.start(&[&patience[..], &["--set", "run.time=20s"]].concat());
    let is_on = || read_progress(&folder).is_some_and(|progress| progress.attempt == 2 && progress.step > steps.min(1));
    until("it has gone on", || is_on() || runner.is_over());
    signal_a_worker(&scene, Signal::STOP);
    runner.wait().exits(5).says("stopped by the deadline");
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
    assert_eq!(ended(&folder).last().unwrap(), "killed: it had not stopped after 1 s");
}

#[test]
fn a_stopped_probe_is_not_waited_for() {
    // A shape that takes long to be measured.
    let yaml = small("").replace("layers: 1, heads: 2, width: 16", "layers: 4, heads: 4, width: 256");
    let yaml =
        yaml.replace("batch_size: 8", "batch_size: 256").replace("sequence_length: 32", "sequence_length: 128\n  stride: 8");
    let scene = Scene::new(&yaml);
    let stopped = |arguments: &[&str]| {
        let runner = scene.start_probing(arguments);
        let mut probe = None;
        until("a probe runs", || {
            probe = probe_of(runner.pid());
            probe.is_some()
        });
        kill_process(probe.unwrap(), Signal::STOP).unwrap();
        (runner, Instant::now())
    };
    let (runner, began) = stopped(&[]);
    runner.send(Signal::TERM);
    runner.wait().exits(143);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());

    let (runner, began) = stopped(&["--set", "run.time=8s"]);
    runner.wait().exits(5);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

    let (runner, _) = stopped(&["--set", "run.timeout=3", "--set", "run.time=20s"]);
    runner.wait().exits(5).says("a shape could not be measured: silent for ").says(" s while probing, and killed");
}

/// The process in which this runner measures a shape now.
fn probe_of(runner: u32) -> Option<Pid> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        // `pid (name) state parent …`
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: u32 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let is_probe = || fs::read(entry.path().join("cmdline")).is_ok_and(|words| words == b"votive\0probe\0");
        (parent == runner && is_probe()).then(|| Pid::from_raw(pid))?
    })
}
