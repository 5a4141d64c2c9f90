//! A small language for tests of the whole program: write an experiment, run it, look at what it said and left.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use polars::prelude::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use votive::runs::{ExperimentFolder, TrialFolder, worker_of};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// An experiment of a few kilobytes and a model of a few thousand weights: `train` and `rest` are what a test is about.
pub(crate) fn sheet(name: &str, train: &str, rest: &str) -> String {
    format!(
        "name: {name}
corpus: {{text: 'builtin:keeper', max_bytes: 20_000}}
model: {{layers: 1, heads: 2, width: 16}}
train: {{sequence_length: 16, {train}}}
{rest}
"
    )
}

/// A folder of its own, in which the program is started.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The exit code, as a shell tells it: 128 + n for signal n.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Fails the test, with all that was said, where the command ended otherwise.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Fails the test where standard error lacks one of these.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err.contains(text), "`{text}` is not in\n{}", self.err);
        }
        self
    }

    /// Fails the test where standard output lacks one of these.
    #[track_caller]
    pub(crate) fn prints(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.out.contains(text), "`{text}` is not in\n{}", self.out);
        }
        self
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and gives its name as the commands take it.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.path().join(name), text).unwrap();
        name.to_owned()
    }

    /// Writes `x.yaml` and runs it to the end.
    pub(crate) fn run(&self, yaml: &str, arguments: &[&str]) -> Said {
        self.write("x.yaml", yaml);
        self.votive(&[&["run", "x.yaml", "--runs", "runs", "--no-probe"], arguments].concat())
    }

    /// Writes `x.yaml` and starts running it.
    pub(crate) fn start(&self, yaml: &str, arguments: &[&str]) -> Running {
        self.write("x.yaml", yaml);
        let mut command = self.command(&[&["run", "x.yaml", "--runs", "runs", "--no-probe"], arguments].concat());
        Running { child: command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap() }
    }

    pub(crate) fn votive(&self, arguments: &[&str]) -> Said {
        finished(&mut self.command(arguments))
    }

    /// The program, off a terminal, with nothing of the surroundings that could change what it says.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_votive"));
        command.args(arguments).current_dir(self.path()).env("TZ", "UTC").env_remove("NO_COLOR").env_remove("COLUMNS");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("VOTIVE")) {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn experiment(&self, name: &str) -> ExperimentFolder {
        ExperimentFolder::new(&self.path().join("runs"), name)
    }

    /// The folders of an experiment's trials by id, also of those no longer planned.
    pub(crate) fn trials(&self, name: &str) -> BTreeMap<String, TrialFolder> {
        let entries = fs::read_dir(self.experiment(name).trials()).into_iter().flatten().flatten();
        let folders = entries.map(|e| (e.file_name().into_string().unwrap(), TrialFolder::at(&e.path())));
        folders.filter(|(name, _)| !name.starts_with('.')).collect()
    }

    /// How often each trial was started, by id.
    pub(crate) fn attempts(&self, name: &str) -> BTreeMap<String, usize> {
        self.trials(name).into_iter().map(|(id, folder)| (id, votive::runs::attempts(&folder).unwrap().len())).collect()
    }

    /// `report/summary.json`.
    pub(crate) fn summary(&self, name: &str) -> Value {
        json(&self.experiment(name).report().join("summary.json"))
    }

    /// The plan as `votive plan --json` prints it.
    pub(crate) fn plan(&self, file: &str, arguments: &[&str]) -> Value {
        let said = self.votive(&[&["plan", file, "--runs", "runs", "--json"], arguments].concat()).ends_with(0);
        serde_json::from_str(&said.out).unwrap()
    }
}

fn finished(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Said { status: output.status, out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
}

/// A runner at work. Killed where the test fails.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait(mut self) -> Said {
        let status = self.child.wait().unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        // A worker that outlives its runner has none of these open.
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Said { status, out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds; fails the test where it never does.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Kills the workers that hold these trials now. A process id is believed only while the lock beside it is held, so that no
/// other process is ever hit.
pub(crate) fn kill_workers<'a>(trials: impl IntoIterator<Item = &'a TrialFolder>) {
    for folder in trials {
        if let Ok(Some(holder)) = worker_of(folder)
            && let Some(pid) = Pid::from_raw(holder.pid as i32)
        {
            // It may have left in between.
            let _ = kill_process(pid, Signal::KILL);
            until("a killed worker is gone", || worker_of(folder).unwrap().is_none_or(|now| now.pid != holder.pid));
        }
    }
}

/// How far a trial says it is.
pub(crate) fn step_of(folder: &TrialFolder) -> i64 {
    votive::runs::read_progress(folder).map_or(0, |p| p.step)
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// A Parquet file as polars reads it.
pub(crate) fn frame(path: &Path) -> DataFrame {
    let file = fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    ParquetReader::new(file).finish().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file with this ending below a folder.
pub(crate) fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The weights a trial ended with.
pub(crate) fn final_weights(folder: &TrialFolder, steps: u64) -> Vec<u8> {
    let path = folder.checkpoints().join(format!("step-{steps:08}/model.safetensors"));
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What a trial recorded, but for what the clock and the attempts decide.
pub(crate) fn rows(folder: &TrialFolder) -> Vec<(&'static str, DataFrame)> {
    let files = [
        ("steps", folder.steps()),
        ("evaluations", folder.evaluations()),
        ("checkpoints", folder.checkpoints_parquet()),
        ("token_nll", folder.token_nll()),
    ];
    files.map(|(name, path)| (name, without_clock(frame(&path)))).into_iter().collect()
}

fn without_clock(mut frame: DataFrame) -> DataFrame {
    // Whether a checkpoint was deleted is a fact; when, is not.
    if let Ok(deleted) = frame.column("deleted_utc") {
        let deleted = deleted.is_not_null().with_name("deleted".into());
        frame.with_column(deleted.into_column()).unwrap();
    }
    let clock = ["attempt", "step_seconds", "tokens_per_second", "seconds", "save_seconds", "time_utc", "deleted_utc"];
    let kept: Vec<PlSmallStr> =
        frame.get_column_names().into_iter().filter(|name| !clock.contains(&name.as_str())).cloned().collect();
    frame.select(kept).unwrap()
}

/// Fails the test where two trials ended otherwise than alike: weights to the byte, rows but for times, rates and attempts.
#[track_caller]
pub(crate) fn assert_alike(one: &TrialFolder, other: &TrialFolder, steps: u64) {
    assert!(final_weights(one, steps) == final_weights(other, steps), "the final weights differ");
    for ((name, one), (_, other)) in rows(one).into_iter().zip(rows(other)) {
        assert!(one.height() > 0, "{name} is empty");
        if !one.equals_missing(&other) {
            panic!("{name} differs:\n{one:?}\n{other:?}\n{}", first_difference(&one, &other));
        }
    }
}

fn first_difference(one: &DataFrame, other: &DataFrame) -> String {
    if one.shape() != other.shape() {
        return format!("{:?} and {:?}", one.shape(), other.shape());
    }
    for (a, b) in one.columns().iter().zip(other.columns()) {
        for row in 0..a.len() {
            let (x, y) = (a.get(row).unwrap(), b.get(row).unwrap());
            if x != y {
                return format!("row {row}, {}: {x} and {y}", a.name());
            }
        }
    }
    "no cell differs".to_owned()
}
