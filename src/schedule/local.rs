//! A process a trial on this machine.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::cause::{Evidence, classify};
use super::ends::{Note, Notes, give_up, has_room};
use super::executor::{MakeAlias, Prepare, Work};
use super::leases::Leases;
use super::tail::{Tail, read_to_end};
use super::{Executor, Exit, Finished, Kill, Standing, Start};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::plan::TrialId;
use crate::rows::now_utc;
use crate::runs::{Attempt, End, ExperimentFolder, Outcome, Progress, TrialFolder, hear_progress, next_attempt};

/// How long the last words of a dead worker are waited for, where a process of its own still holds its standard error.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Added to a worker's `oom_score_adj`: where memory runs out, the kernel takes a worker and not the runner.
const OOM_SCORE: &str = "500";

/// What is started for a trial: `program arguments… <trial folder> --attempt N --slot S --threads T --device D`, on a GPU with `--gpu G`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSettings {
    /// The worker's program.
    pub program: PathBuf,
    /// What comes before the trial's folder.
    pub arguments: Vec<OsString>,
    /// What workers compute on.
    pub device: Device,
    /// The program's version and build, for attempts and outcomes that the runner writes.
    pub version: String,
    /// What workers do.
    pub work: Work,
}

impl LocalSettings {
    /// This program's hidden command `worker`.
    pub fn this_program(device: Device, version: &str, work: Work) -> Result<Self> {
        let program = this_program()?;
        let arguments = match work {
            Work::Train => vec!["worker".into()],
            Work::ScoreAgain => vec!["worker".into(), "--score-again".into()],
        };
        Ok(Self { program, arguments, device, version: version.to_owned(), work })
    }
}

/// What to start for another process of this program.
///
/// On Linux `/proc/self/exe`, which stays the program that runs also when its file is built anew or deleted during the night:
/// one experiment, one program.
pub fn this_program() -> Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    std::env::current_exe().map_err(|e| Error::internal("this program does not know its own path").caused_by(e))
}

/// Starts a worker process a trial.
///
/// Each has its own process group, so that Ctrl-C on the terminal reaches the runner alone, and a pipe from the runner as
/// its standard input: its end means "save and leave", and it ends too when the runner dies. What it says on standard
/// error is kept to the last lines.
pub struct LocalExecutor<'a> {
    settings: LocalSettings,
    experiment: ExperimentFolder,
    prepare: Prepare<'a>,
    make_alias: Option<MakeAlias<'a>>,
    workers: HashMap<TrialId, Worker>,
    notes: Notes,
    leases: Leases,
    ended: (Sender<Ended>, Receiver<Ended>),
}

struct Worker {
    folder: TrialFolder,
    /// Not reaped before its end is taken from the channel, so that its process id stays its own.
    child: Child,
    /// Dropped to ask it to stop.
    pipe: Option<ChildStdin>,
    attempt: Attempt,
    killed: Option<Kill>,
    oom_kills: Option<u64>,
}

/// Sent by the thread that waits for a worker.
struct Ended {
    trial: TrialId,
    last_lines: Vec<String>,
}

impl<'a> LocalExecutor<'a> {
    /// An executor for the trials of this experiment. `prepare` is called before each start (the job file must be there).
    pub fn new(settings: LocalSettings, experiment: ExperimentFolder, prepare: Prepare<'a>) -> Self {
        Self {
            settings,
            experiment,
            prepare,
            make_alias: None,
            workers: HashMap::new(),
            notes: Notes::default(),
            leases: Leases::default(),
            ended: channel(),
        }
    }

    /// The same executor, which records aliases so.
    pub fn with_alias(mut self, make_alias: MakeAlias<'a>) -> Self {
        self.make_alias = Some(make_alias);
        self
    }

    fn command(&self, folder: &TrialFolder, attempt: u32, start: &Start) -> Command {
        let threads = start.threads.to_string();
        // It sees its own GPU alone, whatever list the runner sees.
        let device = if start.gpu.is_some() { Device::Cuda(0) } else { self.settings.device };
        let mut command = Command::new(&self.settings.program);
        command
            .arg0("votive")
            .args(&self.settings.arguments)
            .arg(folder.path())
            .args(["--attempt", &attempt.to_string(), "--slot", &start.slot.to_string()])
            .args(["--threads", &threads, "--device", &device.to_string()])
            // Thread pools of the libraries below; two workers must not fight for the same cores.
            .env("RAYON_NUM_THREADS", &threads)
            .env("OMP_NUM_THREADS", &threads)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(gpu) = &start.gpu {
            command.env("CUDA_VISIBLE_DEVICES", &gpu.uuid);
            // It has a form in JSON, as every record.
            command.args(serde_json::to_string(gpu).ok().into_iter().flat_map(|gpu| ["--gpu".to_owned(), gpu]));
        }
        command
    }

    fn finish(&mut self, ended: Ended) -> Option<Finished> {
        let Ended { trial, last_lines } = ended;
        let mut worker = self.workers.remove(&trial)?;
        drop(worker.pipe.take());
        let status = worker.child.wait();
        let evidence = Evidence {
            code: status.as_ref().ok().and_then(|s| s.code()),
            signal: status.as_ref().ok().and_then(|s| s.signal()),
            killed_by_us: worker.killed.clone(),
            memory_ran_out: worker.oom_kills.is_some() && oom_kills() > worker.oom_kills,
        };
        let decides = self.settings.work == Work::Train || evidence.code == Some(0);
        let outcome = if decides { crate::durable::read_json::<Outcome>(&worker.folder.outcome()) } else { Ok(None) };
        let exit = classify(evidence, outcome, last_lines.clone());
        let note = match &exit {
            _ if self.settings.work == Work::ScoreAgain => None,
            Exit::Failed(failure) => Some(failure.sentence()),
            Exit::Interrupted => worker.killed.as_ref().map(Kill::to_string),
            _ => None,
        };
        let progress = said_by(&worker);
        if let Some(words) = note {
            let attempt = Attempt { ended_utc: Some(now_utc()), ..worker.attempt };
            self.notes.add(Note { folder: worker.folder, attempt, words, last_lines });
        }
        self.notes.write();
        Some(Finished { trial, exit, progress })
    }
}

impl Executor for LocalExecutor<'_> {
    fn start(&mut self, start: &Start) -> Result<u32> {
        (self.prepare)(&start.trial)?;
        // Before the number of the next one is looked for.
        self.notes.write();
        let folder = self.experiment.trial(&start.trial);
        let number = next_attempt(&folder)?;
        let oom_kills = oom_kills();
        let mut child =
            self.command(&folder, number, start).spawn().map_err(|e| Error::io("start the worker", &self.settings.program, e))?;
        let (pipe, said) = (child.stdin.take(), child.stderr.take());
        let on = (self.settings.device, start.gpu.clone());
        let attempt = Attempt::beginning(number, child.id(), (start.slot, start.threads), on);
        let attempt = Attempt { program: self.settings.version.clone(), ..attempt };
        // Only Linux has it, and only a wish: without it the kernel chooses by size alone, which is mostly the worker too.
        let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE);
        if let Err(error) = watch(&child, said, start.trial.clone(), self.ended.0.clone()) {
            // Without its threads a worker cannot be followed.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::io("start the worker", &self.settings.program, error));
        }
        let worker = Worker { folder, child, pipe, attempt, killed: None, oom_kills };
        self.workers.insert(start.trial.clone(), worker);
        Ok(number)
    }

    fn wait(&mut self, at_most: Duration) -> Vec<Finished> {
        let first = match self.ended.1.recv_timeout(at_most) {
            Ok(ended) => ended,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Vec::new(),
        };
        let mut all = vec![first];
        all.extend(self.ended.1.try_iter());
        all.into_iter().filter_map(|ended| self.finish(ended)).collect()
    }

    fn progress(&mut self, trial: &TrialId) -> Option<Progress> {
        said_by(self.workers.get(trial)?)
    }

    fn said_last(&mut self, trial: &TrialId) -> Option<i64> {
        hear_progress(&self.experiment.trial(trial)).map(|progress| progress.time_utc)
    }

    fn ask_to_stop(&mut self, trial: &TrialId) {
        if let Some(worker) = self.workers.get_mut(trial) {
            drop(worker.pipe.take());
        }
    }

    fn kill(&mut self, trial: &TrialId, why: &Kill) {
        if let Some(worker) = self.workers.get_mut(trial) {
            worker.killed.get_or_insert_with(|| why.clone());
            // It fails only where nothing of the group is left to kill.
            let _ = kill_process_group(Pid::from_child(&worker.child), Signal::KILL);
        }
    }

    fn standing(&mut self, trial: &TrialId) -> Standing {
        self.leases.standing(trial, &self.experiment.trial(trial))
    }

    fn alias(&mut self, trial: &TrialId, source: &TrialId) -> Result<Box<Outcome>> {
        match &mut self.make_alias {
            Some(make) => make(trial, source).map(Box::new),
            None => Err(Error::internal("nobody said how an alias is recorded")),
        }
    }

    fn give_up(&mut self, trial: &TrialId, end: End, reason: &str) -> Result<()> {
        give_up(&self.experiment.trial(trial), self.settings.work, end, reason, &self.settings.version)
    }

    fn has_room(&mut self, trial: &TrialId) -> bool {
        has_room(&self.experiment.trial(trial))
    }
}

/// How far a worker says it is. What an earlier attempt said last is still there when this one starts.
fn said_by(worker: &Worker) -> Option<Progress> {
    hear_progress(&worker.folder).filter(|progress| progress.attempt == worker.attempt.attempt)
}

/// Starts the threads that read what a worker says and wait for its end, so that the end is known at once.
fn watch(child: &Child, said: Option<ChildStderr>, trial: TrialId, ended: Sender<Ended>) -> std::io::Result<()> {
    let tail = Arc::new(Mutex::new(Tail::default()));
    let (reading, done_reading) = channel::<()>();
    if let Some(said) = said {
        let tail = Arc::clone(&tail);
        thread::Builder::new().name("last words".to_owned()).spawn(move || {
            read_to_end(said, |bytes| tail.lock().unwrap_or_else(PoisonError::into_inner).push(bytes));
            drop(reading);
        })?;
    }
    let pid = Pid::from_child(child);
    thread::Builder::new().name("waits".to_owned()).spawn(move || {
        // NOWAIT: the process stays a zombie, and its id its own, until the executor reaps it.
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
        // Returns as soon as the stream has ended; nothing is ever sent.
        let _ = done_reading.recv_timeout(LAST_WORDS);
        let last_lines = tail.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The executor is gone when the runner leaves; then nobody asks.
        let _ = ended.send(Ended { trial, last_lines });
    })?;
    Ok(())
}

/// How many processes the kernel has killed for want of memory since it started; `None` where it does not say.
fn oom_kills() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

impl Drop for LocalExecutor<'_> {
    fn drop(&mut self) {
        self.notes.write();
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
