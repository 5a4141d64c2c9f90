//! An experiment in a folder of its own, run by the real program.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use polars::prelude::*;
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use votive::runs::{ExperimentFolder, TrialFolder, worker_of};

pub(crate) use rustix::process::Signal;

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

/// An experiment whose text, [`long_text`], takes many seconds to prepare.
pub(crate) const LONG_TEXT: &str = "\
name: small
corpus: {text: long.txt}
tokenizer: {kind: bpe, vocab_size: 8000}
model: {layers: 1, heads: 2, width: 16}
train: {budget: {steps: 40}}
";

/// Many different words, so that there is much to learn.
pub(crate) fn long_text() -> String {
    (0..6_000_000_u64).map(|n| format!("{:x} ", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32)).collect()
}

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// `SMALL` with this after it.
pub(crate) fn small(rest: &str) -> String {
    format!("{SMALL}{rest}\n")
}

/// A folder with `small.yaml` and its output under `runs`.
pub(crate) struct Scene {
    folder: TempDir,
    /// Where the stand-ins of NVIDIA's libraries lie, where it has a GPU.
    libraries: Option<PathBuf>,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// The exit code as a shell tells it: 128 + n for signal n.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// On either stream.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text) || self.out.contains(text), "no `{text}` in\n{}\n{}", self.out, self.err);
        self
    }

    /// On neither stream.
    #[track_caller]
    pub(crate) fn says_nothing_of(self, text: &str) -> Self {
        assert!(!self.err.contains(text) && !self.out.contains(text), "`{text}` in\n{}\n{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }

    /// The first column of the table of results that has this heading, from the best configuration on.
    pub(crate) fn rows(&self) -> Vec<&str> {
        let ruled = |line: &&str| line.starts_with('─');
        self.out.lines().skip_while(|line| !ruled(line)).skip(1).take_while(|line| !ruled(line)).collect()
    }
}

impl Scene {
    pub(crate) fn new(yaml: &str) -> Self {
        let scene = Self { folder: TempDir::new().unwrap(), libraries: None };
        scene.write(yaml);
        scene
    }

    /// One with the GPUs of these libraries.
    pub(crate) fn on_gpu(yaml: &str, libraries: &Path) -> Self {
        let mut scene = Self::new(yaml);
        scene.put_gpu(libraries);
        scene
    }

    /// From now on it has the GPUs of these libraries.
    pub(crate) fn put_gpu(&mut self, libraries: &Path) {
        self.libraries = Some(libraries.to_owned());
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, yaml: &str) {
        self.put("small.yaml", yaml);
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), content).unwrap();
    }

    /// The program, off a terminal, with nothing of the surroundings that could change what it says.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_votive"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).env("TZ", "UTC");
        // A GPU that this machine may have.
        command.env("CUDA_VISIBLE_DEVICES", "");
        for (name, _) in std::env::vars() {
            if name.starts_with("VOTIVE") || ["RAYON_NUM_THREADS", "NO_COLOR", "COLUMNS", "CLICOLOR_FORCE"].contains(&&*name) {
                command.env_remove(name);
            }
        }
        if let Some(libraries) = &self.libraries {
            // Kernels are compiled once for all tests.
            let kernels = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("host_gpu_cache");
            command.env_remove("CUDA_VISIBLE_DEVICES").env("XDG_CACHE_HOME", kernels);
            command.env("VOTIVE_SET__RUN__CUDA_LIBRARIES", libraries);
        }
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
    pub(crate) fn start(&self, arguments: &[&str]) -> Runner {
        self.start_probing(&[&["--no-probe"], arguments].concat())
    }

    /// The same, where each shape is measured first.
    pub(crate) fn start_probing(&self, arguments: &[&str]) -> Runner {
        let mut command = self.command(&[&["run", "small.yaml"], arguments].concat());
        Runner::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// `votive plan small.yaml --json` with these arguments.
    pub(crate) fn plan(&self, arguments: &[&str]) -> Value {
        self.votive(&[&["plan", "small.yaml", "--json"], arguments].concat()).exits(0).json()
    }

    pub(crate) fn experiment(&self) -> ExperimentFolder {
        ExperimentFolder::at(&self.path().join("runs/small"))
    }

    /// The trials' folders by id, also of those that are no longer planned.
    pub(crate) fn trials(&self) -> BTreeMap<String, TrialFolder> {
        let entries = fs::read_dir(self.experiment().trials()).into_iter().flatten().flatten();
        let named = entries.map(|e| (e.file_name().into_string().unwrap(), TrialFolder::at(&e.path())));
        named.filter(|(name, _)| !name.starts_with('.')).collect()
    }

    /// How often each trial was started, in the order of their ids.
    pub(crate) fn attempts(&self) -> Vec<usize> {
        self.trials().values().map(|folder| votive::runs::attempts(folder).unwrap().len()).collect()
    }

    /// Steps that the trials say they have made, together.
    pub(crate) fn steps(&self) -> i64 {
        self.trials().values().filter_map(votive::runs::read_progress).map(|progress| progress.step).sum()
    }

    /// Waits until the trials have made so many steps together, or their runner is over.
    #[track_caller]
    pub(crate) fn wait_for_steps(&self, runner: &mut Runner, steps: i64) {
        until(&format!("{steps} steps are made"), || self.steps() >= steps || runner.is_over());
    }

    /// Kills the workers that hold trials now. A process id is believed only while the lock beside it is held, so that no other
    /// process is ever hit.
    pub(crate) fn kill_workers(&self) {
        for folder in self.trials().values() {
            if let Ok(Some(holder)) = worker_of(folder)
                && let Some(pid) = Pid::from_raw(holder.pid as i32)
            {
                // It may have left in between.
                let _ = kill_process(pid, Signal::KILL);
                until("a killed worker is gone", || worker_of(folder).unwrap().is_none_or(|now| now.pid != holder.pid));
            }
        }
    }

    /// `trials.parquet`.
    pub(crate) fn table(&self) -> DataFrame {
        read(&self.experiment().trials_parquet())
    }

    /// `report/summary.json`.
    pub(crate) fn summary(&self) -> Value {
        json(&self.experiment().report().join("summary.json"))
    }
}

/// A runner at work; killed where the test ends before it.
pub(crate) struct Runner {
    child: Child,
}

impl Runner {
    /// With both of its streams piped.
    pub(crate) fn of(child: Child) -> Self {
        Self { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.code().is_some()
    }

    /// Its exit code, once it is over.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    pub(crate) fn wait(mut self) -> Said {
        let (mut out, mut err) = (String::new(), String::new());
        // Its workers hold neither of these; what it says is less than a pipe takes.
        let status = self.child.wait().unwrap();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Said { status, out, err }
    }
}

impl Drop for Runner {
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

/// Sends a signal to the worker of a trial that has one now; its folder.
pub(crate) fn signal_a_worker(scene: &Scene, signal: Signal) -> TrialFolder {
    let mut hit = None;
    until("a worker is at it", || {
        let held = |folder: &TrialFolder| Some(worker_of(folder).ok()??.pid);
        hit = scene.trials().into_values().find_map(|folder| held(&folder).map(|pid| (folder, pid)));
        hit.is_some()
    });
    let (folder, pid) = hit.unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
    folder
}

/// A random number below `below`: the tests that use it hold for every one.
pub(crate) fn random(below: u64) -> u64 {
    RandomState::new().hash_one(below) % below
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// One Parquet file, read by polars.
pub(crate) fn read(path: &Path) -> DataFrame {
    let file = fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    ParquetReader::new(file).finish().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below a folder whose name ends so.
pub(crate) fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
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

/// A column of numbers, of any type.
#[track_caller]
pub(crate) fn numbers(frame: &DataFrame, name: &str) -> Vec<Option<f64>> {
    let column = frame.column(name).unwrap().cast(&DataType::Float64).unwrap();
    column.f64().unwrap().iter().collect()
}

/// A column of words.
#[track_caller]
pub(crate) fn words(frame: &DataFrame, name: &str) -> Vec<String> {
    frame.column(name).unwrap().str().unwrap().iter().map(|word| word.unwrap_or_default().to_owned()).collect()
}

/// The weights that a trial ended with after so many steps.
pub(crate) fn final_weights(folder: &TrialFolder, steps: u64) -> Vec<u8> {
    let path = folder.checkpoints().join(format!("step-{steps:08}/model.safetensors"));
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A table of a trial, without what the clock and the attempts decide.
pub(crate) fn table(path: &Path) -> DataFrame {
    let mut frame = read(path);
    // Whether a checkpoint was deleted is a fact; when, is not.
    if let Ok(deleted) = frame.column("deleted_utc").map(Column::is_not_null) {
        frame.with_column(deleted.with_name("deleted".into()).into_column()).unwrap();
    }
    const CLOCK: [&str; 7] =
        ["attempt", "step_seconds", "tokens_per_second", "seconds", "save_seconds", "time_utc", "deleted_utc"];
    frame.drop_many(CLOCK.map(PlSmallStr::from))
}

/// Fails the test where two trials ended otherwise than alike: weights to the byte, and every row.
#[track_caller]
pub(crate) fn assert_alike(one: &TrialFolder, other: &TrialFolder, steps: u64) {
    assert!(final_weights(one, steps) == final_weights(other, steps), "the final weights differ");
    for file in ["steps", "evaluations", "checkpoints", "token_nll", "positions"].map(|kind| format!("{kind}.parquet")) {
        let (a, b) = (table(&one.path().join(&file)), table(&other.path().join(&file)));
        assert!(a.height() > 0, "{file} is empty");
        assert!(a.equals_missing(&b), "{file} differs: {}\n{a:?}\n{b:?}", first_difference(&a, &b));
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
    "no cell".to_owned()
}
