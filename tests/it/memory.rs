//! Memory: what one trial takes is known before the night, and the limits of containers, services and batch jobs are seen.

#![expect(clippy::print_stderr, reason = "why a test was skipped must be seen")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, kill_process_group};
use votive::runs::{Status, state_of};

use crate::support::{Said, Scene, Signal, json, numbers, random, until};

/// A model whose training takes some 250 MB, and a moment.
const WIDE: &str = "\
name: small
corpus: {text: builtin:keeper, max_bytes: 40000}
model: {layers: 2, heads: 4, width: 512}
train:
  sequence_length: 32
  batch_size: 4
  budget: {steps: 2}
evaluate: {max_bytes: 1000}
seeds: 3
run: {threads: 1}
";

/// One of these trials fits below it beside its runner; two do not.
const LIMIT: u64 = 450_000_000;

/// A control group with a limit of memory; taken away where the test ends.
struct Group(PathBuf);

impl Group {
    /// One of the version that this machine has; where there can be none, why.
    fn with_limit(bytes: u64) -> Result<Self, String> {
        let (one, two) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
        let (above, limit) = if one.join("memory.limit_in_bytes").exists() {
            (one, "memory.limit_in_bytes")
        } else {
            let controllers = fs::read_to_string(two.join("cgroup.subtree_control")).unwrap_or_default();
            if !controllers.split_whitespace().any(|controller| controller == "memory") {
                fs::write(two.join("cgroup.subtree_control"), "+memory").map_err(|e| format!("no limits of memory: {e}"))?;
            }
            (two, "memory.max")
        };
        let group = Self(above.join(format!("votive-test-{}-{}", std::process::id(), random(u64::MAX))));
        fs::create_dir(&group.0).map_err(|e| format!("no control group: {e}"))?;
        fs::write(group.0.join(limit), bytes.to_string()).map_err(|e| format!("no limit: {e}"))?;
        Ok(group)
    }

    /// Another program of it, which holds so many bytes.
    fn hold(&self, bytes: u64) -> Other {
        // `tail` holds what it has read until somebody takes it, which `sleep` does not.
        let script = "echo $$ > \"$0/cgroup.procs\" && head -c $1 /dev/zero | tail -c $1 | sleep 600";
        let mut command = Command::new("sh");
        let child = command.args(["-c", script]).arg(&self.0).arg(bytes.to_string()).process_group(0).spawn().unwrap();
        let usage = ["memory.usage_in_bytes", "memory.current"].map(|file| self.0.join(file));
        let used = || usage.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
        until("another program has its memory", || used().unwrap() >= bytes);
        Other(child)
    }

    /// Runs a command in it.
    fn run(&self, command: &Command) -> Said {
        let mut inside = Command::new("sh");
        inside.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0);
        inside.arg(command.get_program()).args(command.get_args()).current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        Said::of(inside.output().unwrap())
    }
}

/// What a group holds beside a run; gone where this is dropped.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nothing is in it any more.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn below_a_limit_that_one_trial_fits_one_runs_at_a_time_and_none_is_killed() {
    let group = match Group::with_limit(LIMIT) {
        Ok(group) => group,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let scene = Scene::new(WIDE);
    let said = group.run(&scene.command(&["run", "small.yaml"])).exits(0);
    said.says("1 at a time").says_nothing_of("killed");
    assert_eq!(scene.attempts(), [1, 1, 1]);
}

#[test]
fn a_shape_that_did_not_fit_is_opened_by_the_id_of_one_of_its_trials() {
    let group = match Group::with_limit(LIMIT) {
        Ok(group) => group,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    // The plan finds that they fit below it; what another program holds there leaves less than one of them takes.
    let other = group.hold(250_000_000);
    let scene = Scene::new(&WIDE.replace("threads: 1", "threads: 1, slots: 1"));
    let said = group.run(&scene.command(&["run", "small.yaml", "--no-probe"])).exits(3);
    said.says("killed for memory, also when nothing else ran").says("which has the same shape");
    let trials: Vec<String> = scene.trials().into_keys().collect();
    let status = || -> Vec<Status> { scene.trials().values().map(|folder| state_of(folder).status).collect() };
    assert_eq!((trials.len(), status()), (3, vec![Status::DidNotFit; 3]));
    let tried = scene.attempts();
    assert_eq!(tried.iter().filter(|attempts| **attempts > 0).count(), 1, "{tried:?}: one tries for all of them");
    drop(other);

    scene.run(&[]).exits(3).says("nothing to train: all 3 trials are over already");
    assert_eq!(scene.attempts(), tried, "more memory alone opens nothing");
    // By one that was never tried itself.
    let other = tried.iter().position(|attempts| *attempts == 0).unwrap();
    scene.run(&["--retry", &trials[other]]).exits(0);
    assert_eq!(status(), [Status::Completed; 3]);
}

#[test]
fn what_a_probe_says_of_a_trials_memory_is_what_it_takes() {
    let scene = Scene::new(WIDE);
    scene.votive(&["run", "small.yaml"]).exits(0);
    let table = scene.table();
    for (probed, peak) in numbers(&table, "probed_memory_bytes").into_iter().zip(numbers(&table, "peak_memory_bytes")) {
        let ratio = probed.unwrap() / peak.unwrap();
        // Pages of the program that others have read count for a trial or not.
        assert!((0.8..=1.25).contains(&ratio), "{ratio:.2} of {peak:?}");
    }
    let configuration = &scene.summary()["configurations"][0];
    assert_eq!(configuration["probed_memory_bytes"].as_f64(), numbers(&table, "probed_memory_bytes")[0]);
    assert!(configuration["planned_memory_bytes"].as_f64() > Some(1e8));
    assert!(json(&scene.experiment().probed()).is_object());
}
