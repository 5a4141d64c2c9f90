//! The deadline counts from the first moment on and is looked at in every stage.

use std::time::{Duration, Instant};

use crate::support::{LONG_TEXT, SMALL, Scene, files_below, long_text, small};

/// What takes hours.
const LONG: &str = "budget: {steps: 1000000}";

#[test]
fn a_text_that_takes_longer_to_prepare_is_given_up() {
    let scene = Scene::new(&format!("{LONG_TEXT}run: {{time: 1s}}\n"));
    scene.put("long.txt", long_text());
    let began = Instant::now();
    scene.votive(&["run", "small.yaml"]).exits(5).says("the deadline has come while the text was prepared");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(scene.trials().is_empty());
    assert!(files_below(scene.experiment().path(), ".part").is_empty());
}

#[test]
fn shapes_are_not_measured_any_more_when_it_has_come() {
    let widths: Vec<String> = (0..40).map(|n| (512 + 2 * n).to_string()).collect();
    let rest = format!("grid: {{model.width: [{}]}}\nrun: {{time: 3s, slots: 2, threads: 1}}", widths.join(", "));
    let scene = Scene::new(&small(&rest).replace("layers: 1", "layers: 4"));
    let began = Instant::now();
    let said = scene.votive(&["run", "small.yaml"]).exits(5);
    said.says("stopped by the deadline").says("40 of 40 trials are not done").says_nothing_of("started ");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_trial_longer_than_the_night_is_named_begun_and_goes_on_the_next_night() {
    let scene = Scene::new(&SMALL.replace("budget: {steps: 40}", LONG));
    let run = ["run", "small.yaml", "--set", "run.time=6s"];
    let said = scene.votive(&run).exits(5).says("1 trial takes longer than that alone, comes last, and goes on next time");
    said.says("1 trial left: 1 interrupted");
    let before = scene.steps();
    assert!(before > 0);
    scene.votive(&run).exits(5);
    assert!(scene.steps() > before, "it went on where it stopped");
    let time = ["--set", "run.time=6s"];
    let said = scene.votive(&[&["plan", "small.yaml"], &time[..]].concat()).exits(0);
    said.says("1 trial takes longer than the time that `run` gives");
    scene.votive(&["plan", "small.yaml"]).exits(0).says_nothing_of("takes longer than");
}
