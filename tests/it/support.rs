//! An experiment in a folder of its own, run by the real program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use polars::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// A small experiment that trains in moments.
pub(crate) const SMALL: &str = "\
name: small
corpus: {text: builtin:keeper, max_bytes: 40000}
model: {layers: 1, heads: 2, width: 16, dropout: 0.1}
train:
  sequence_length: 32
  batch_size: 8
  budget: {steps: 40}
";

/// A folder with `small.yaml` and its output under `runs`.
pub(crate) struct Scene {
    folder: TempDir,
}

/// What a command came to.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text) || self.out.contains(text), "no `{text}` in\n{}\n{}", self.out, self.err);
        self
    }
}

impl Scene {
    pub(crate) fn new(yaml: &str) -> Self {
        let scene = Self { folder: TempDir::new().unwrap() };
        scene.write(yaml);
        scene
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, yaml: &str) {
        fs::write(self.path().join("small.yaml"), yaml).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_votive"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env_remove("RAYON_NUM_THREADS").env("NO_COLOR", "1");
        command
    }

    pub(crate) fn votive(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().unwrap())
    }

    /// `votive run small.yaml` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.votive(&[&["run", "small.yaml", "--no-probe"], arguments].concat())
    }

    /// The same in the background.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(&[&["run", "small.yaml", "--no-probe"], arguments].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn experiment(&self) -> PathBuf {
        self.path().join("runs/small")
    }

    /// The trials' folders, by id.
    pub(crate) fn trials(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.experiment().join("trials")).into_iter().flatten();
        let mut trials: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        trials.sort();
        trials
    }

    /// Attempts of all trials together.
    pub(crate) fn attempts(&self) -> usize {
        self.trials().iter().map(|t| fs::read_dir(t.join("attempts")).map_or(0, Iterator::count)).sum()
    }

    /// Waits until a trial has made this many steps.
    pub(crate) fn wait_for_step(&self, step: i64) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            let reached = self.trials().iter().any(|trial| {
                let text = fs::read_to_string(trial.join("progress.json")).unwrap_or_default();
                serde_json::from_str::<Value>(&text).is_ok_and(|p| p["step"].as_i64().unwrap_or(0) >= step)
            });
            if reached {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no trial reached step {step}");
    }

    /// The bytes of every final model, trial by trial.
    pub(crate) fn final_weights(&self) -> Vec<(String, Vec<u8>)> {
        let newest = |trial: &Path| {
            let mut steps: Vec<PathBuf> = fs::read_dir(trial.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
            steps.sort();
            steps.pop().unwrap().join("model.safetensors")
        };
        let name = |trial: &Path| trial.file_name().unwrap().to_string_lossy().into_owned();
        self.trials().iter().map(|trial| (name(trial), fs::read(newest(trial)).unwrap())).collect()
    }

    /// A table of all trials, without what may differ between two runs of the same: times, rates and attempts.
    pub(crate) fn table(&self, file: &str) -> DataFrame {
        let frames: Vec<DataFrame> = self.trials().iter().map(|trial| read(&trial.join(file))).collect();
        let mut all = frames[0].clone();
        for frame in &frames[1..] {
            all.vstack_mut(frame).unwrap();
        }
        const DIFFER: [&str; 7] =
            ["attempt", "step_seconds", "tokens_per_second", "time_utc", "seconds", "save_seconds", "deleted_utc"];
        all.drop_many(DIFFER.map(PlSmallStr::from))
    }
}

/// One Parquet file, read by polars.
pub(crate) fn read(path: &Path) -> DataFrame {
    ParquetReader::new(fs::File::open(path).unwrap()).finish().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Kills a worker of a scene that is running now; false where there is none.
pub(crate) fn kill_a_worker(scene: &Scene) -> bool {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == scene.path().canonicalize().unwrap());
        if here && line.contains(" worker ") {
            signal(pid, "KILL");
            return true;
        }
    }
    false
}

/// Sends a signal by name.
pub(crate) fn signal(pid: i32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}
