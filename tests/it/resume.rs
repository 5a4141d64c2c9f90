//! Killed at any moment and started again, a trial ends as if nothing had happened.

use std::fs;

use crate::support::{SMALL, Scene, kill_a_worker, signal};

/// Long enough to be killed on the way; one configuration is clipped, one is not.
fn experiment() -> String {
    SMALL.replace("steps: 40", "steps: 1500") + "grid: {train.clip_norm: [off, 0.5]}\n"
}

fn undisturbed() -> Scene {
    let scene = Scene::new(&experiment());
    scene.run(&["--slots", "1"]).exits(0);
    scene
}

fn assert_same(a: &Scene, b: &Scene) {
    assert!(a.final_weights() == b.final_weights(), "the final weights differ");
    for file in ["steps.parquet", "evaluations.parquet", "checkpoints.parquet", "token_nll.parquet"] {
        let (x, y) = (a.table(file), b.table(file));
        assert!(x.equals_missing(&y), "{file} differs:\n{x}\n{y}");
    }
}

#[test]
fn workers_and_runner_killed_at_three_moments_leave_the_same_bytes() {
    let whole = undisturbed();
    for slots in ["1", "2"] {
        let scene = Scene::new(&experiment());
        let mut kills = 0;
        for step in [100, 500, 900] {
            let mut runner = scene.start(&["--slots", slots]);
            scene.wait_for_step(step);
            if step == 500 {
                // The runner: its workers see the end of the pipe, save and leave.
                signal(runner.id() as i32, "KILL");
                runner.wait().unwrap();
                kills += 1;
            } else {
                kills += usize::from(kill_a_worker(&scene));
                signal(runner.id() as i32, "KILL");
                runner.wait().unwrap();
            }
        }
        assert_eq!(kills, 3, "each round kills something");
        scene.run(&["--slots", slots]).exits(0);
        assert!(scene.attempts() > 3, "{} attempts", scene.attempts());
        assert_same(&whole, &scene);
    }
}

#[test]
fn ctrl_c_saves_and_exits_130_and_sigterm_143() {
    let whole = undisturbed();
    let scene = Scene::new(&experiment());
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut runner = scene.start(&[]);
        scene.wait_for_step(if code == 130 { 100 } else { 400 });
        signal(runner.id() as i32, name);
        assert_eq!(runner.wait().unwrap().code(), Some(code));
    }
    scene.run(&[]).exits(0);
    assert_same(&whole, &scene);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let whole = undisturbed();
    let scene = Scene::new(&experiment());
    let mut runner = scene.start(&["--slots", "1"]);
    scene.wait_for_step(700);
    kill_a_worker(&scene);
    signal(runner.id() as i32, "KILL");
    runner.wait().unwrap();
    let mut damaged = 0;
    for trial in scene.trials() {
        let newest = fs::read_dir(trial.join("checkpoints")).into_iter().flatten().map(|e| e.unwrap().path()).max();
        if let Some(path) = newest.map(|c| c.join("model.safetensors")).filter(|p| p.exists()) {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    scene.run(&[]).exits(0);
    assert_same(&whole, &scene);
}

#[test]
fn evaluating_often_or_never_leaves_the_same_weights() {
    let often = SMALL.to_owned() + "evaluate: {every: 0.025, at_most: 1}\n";
    let never = SMALL.to_owned() + "evaluate: {at_most: 0}\n";
    let (a, b) = (Scene::new(&often), Scene::new(&never));
    a.run(&[]).exits(0);
    b.run(&[]).exits(0);
    assert!(a.table("evaluations.parquet").height() > b.table("evaluations.parquet").height() + 20);
    assert!(a.final_weights() == b.final_weights());
}
