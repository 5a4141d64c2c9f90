//! Whole runs in a world that is pretended: no process is started, and time passes only where somebody waits.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::experiment::Overrides;
use crate::runner::probe::{How, Measured, Shape};
use crate::runner::{Reporting, Workers};
use crate::runs::{Attempt, End, Progress, begin_attempt, read_events, write_outcome};
use crate::schedule::slurm;
use crate::schedule::{
    Clock, Event, Executor, Exit, Finished, Kill, Memory, Moment, STOP_AFTER_STEP, Standing, Start, Stop, SystemClock,
};

const SECOND: i64 = 1_000_000;
/// How long each trial takes where nothing else is said.
const TRIAL: i64 = 500 * SECOND;

/// The clocks of this machine, and what was waited in the pretended world.
#[derive(Default)]
struct PretendedClock(AtomicI64);

impl PretendedClock {
    fn wait(&self, micros: i64) {
        self.0.fetch_add(micros.max(0), Ordering::Relaxed);
    }
}

impl Clock for PretendedClock {
    fn moment(&self) -> Moment {
        let (Moment { utc, elapsed }, waited) = (Moment::now(), self.0.load(Ordering::Relaxed));
        Moment { utc: utc + waited, elapsed: elapsed + waited }
    }

    fn steady(&self) -> i64 {
        SystemClock.steady() + self.0.load(Ordering::Relaxed)
    }
}

/// What a report comes to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Fate {
    #[default]
    Written,
    Fails,
    NeverEnds,
}

/// What was asked of the world.
#[derive(Default)]
struct Seen {
    started: Vec<TrialId>,
    measured: usize,
    /// Whether each report was to be shown.
    reports: Vec<bool>,
    /// Reports that are being written.
    at_work: usize,
}

#[derive(Default)]
struct Shared {
    clock: PretendedClock,
    seen: Mutex<Seen>,
    report: Fate,
    /// How long each trial takes, microseconds.
    trial: Option<i64>,
}

#[derive(Default)]
struct Pretended(Arc<Shared>);

impl Pretended {
    fn seen(&self) -> Seen {
        std::mem::take(&mut self.0.seen.lock().unwrap())
    }
}

impl World for Pretended {
    fn clock(&self) -> &dyn Clock {
        &self.0.clock
    }

    fn executor<'a>(&self, workers: Workers<'a>) -> Result<Box<dyn Executor + 'a>> {
        Ok(Box::new(PretendedWorkers { shared: self.0.clone(), workers, running: Vec::new(), left: Vec::new() }))
    }

    fn check(&self, _shared: &slurm::Shared, _folder: &ExperimentFolder, _threads: usize) -> Result<()> {
        Ok(())
    }

    fn measure(&self, _shape: &Shape, _how: &How, stop: &dyn Fn() -> bool) -> Result<Option<Measured>> {
        self.0.seen.lock().unwrap().measured += 1;
        let measured = Measured {
            step_seconds: TRIAL as f64 / 1e6 / 40.0,
            common_seconds: 0.0,
            native_seconds: 0.0,
            start_seconds: 0.0,
            peak_memory_bytes: 1 << 20,
            peak_device_memory_bytes: None,
        };
        Ok((!stop()).then_some(measured))
    }

    fn report(&self, folder: &ExperimentFolder, show: bool) -> Result<Box<dyn Reporting>> {
        // As a process that is killed leaves it.
        fs::create_dir_all(folder.report()).unwrap();
        fs::write(durable::temporary(&folder.report().join("index.html")), "").unwrap();
        let mut seen = self.0.seen.lock().unwrap();
        seen.reports.push(show);
        seen.at_work += 1;
        assert_eq!(seen.at_work, 1, "one at a time");
        Ok(Box::new(PretendedReport { shared: self.0.clone(), looks: 0 }))
    }
}

/// A report that takes four looks.
struct PretendedReport {
    shared: Arc<Shared>,
    looks: u32,
}

impl Reporting for PretendedReport {
    fn ended(&mut self, at_most: Duration) -> Option<Result<String>> {
        self.shared.clock.wait(at_most.as_micros() as i64);
        self.looks += 1;
        if self.shared.report == Fate::NeverEnds || self.looks < 4 {
            return None;
        }
        self.give_up();
        let fails = self.shared.report == Fate::Fails;
        Some(if fails { Err(Error::data("a table is damaged")) } else { Ok("report: there\n".to_owned()) })
    }

    fn give_up(&mut self) {
        self.shared.seen.lock().unwrap().at_work -= 1;
    }
}

/// Workers of which each ends well after the same time, and leaves what a worker leaves.
struct PretendedWorkers<'a> {
    shared: Arc<Shared>,
    workers: Workers<'a>,
    /// And when they end.
    running: Vec<(TrialId, i64)>,
    left: Vec<Finished>,
}

impl Executor for PretendedWorkers<'_> {
    fn start(&mut self, start: &Start) -> Result<u32> {
        (self.workers.prepare)(&start.trial)?;
        begin_attempt(&self.workers.folder.trial(&start.trial), &Attempt::example())?;
        self.running.push((start.trial.clone(), self.shared.clock.steady() + self.shared.trial.unwrap_or(TRIAL)));
        self.shared.seen.lock().unwrap().started.push(start.trial.clone());
        Ok(1)
    }

    fn wait(&mut self, at_most: Duration) -> Vec<Finished> {
        let first = self.running.iter().map(|(_, ends)| ends - self.shared.clock.steady()).min().unwrap_or(i64::MAX);
        if self.left.is_empty() {
            self.shared.clock.wait(first.min(at_most.as_micros() as i64));
        }
        let now = self.shared.clock.steady();
        let (ended, running) = std::mem::take(&mut self.running).into_iter().partition::<Vec<_>, _>(|(_, ends)| *ends <= now);
        self.running = running;
        let done = |(trial, _): (TrialId, i64)| {
            let outcome = Outcome::example(End::Completed);
            write_outcome(&self.workers.folder.trial(&trial), &outcome).unwrap();
            Finished { trial, exit: Exit::Done(Box::new(outcome)), progress: None }
        };
        self.left.drain(..).chain(ended.into_iter().map(done)).collect()
    }

    fn progress(&mut self, _trial: &TrialId) -> Option<Progress> {
        None
    }

    fn said_last(&mut self, _: &TrialId) -> Option<i64> {
        None
    }

    fn ask_to_stop(&mut self, trial: &TrialId) {
        self.running.retain(|(running, _)| running != trial);
        self.left.push(Finished { trial: trial.clone(), exit: Exit::Interrupted, progress: None });
    }

    fn kill(&mut self, _trial: &TrialId, _why: &Kill) {}

    fn standing(&mut self, trial: &TrialId) -> Standing {
        (&crate::runs::state_of(&self.workers.folder.trial(trial))).into()
    }

    fn alias(&mut self, trial: &TrialId, source: &TrialId) -> Result<Box<Outcome>> {
        (self.workers.make_alias)(trial, source).map(Box::new)
    }

    fn give_up(&mut self, _trial: &TrialId, _end: End, _reason: &str) -> Result<()> {
        Ok(())
    }

    fn has_room(&mut self, _trial: &TrialId) -> bool {
        true
    }
}

/// Hears the names of notices, and asks to stop when so many trials were started.
struct Heard<'a> {
    signals: &'a Signals,
    stop_after: usize,
    notices: RefCell<Vec<String>>,
    started: RefCell<usize>,
}

impl Listener for Heard<'_> {
    fn notice(&self, notice: &Notice<'_>) {
        let all = format!("{notice:?}");
        self.notices.borrow_mut().push(all.split([' ', '(']).next().unwrap_or_default().to_owned());
    }

    fn event(&self, event: &Event, _now_utc: i64) {
        *self.started.borrow_mut() += usize::from(matches!(event, Event::Started { .. }));
        if *self.started.borrow() >= self.stop_after {
            self.signals.stop().store(STOP_AFTER_STEP, Ordering::Release);
        }
    }
}

/// An experiment of four trials.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new(rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "name: small\ncorpus: {{text: builtin:keeper, max_bytes: 40000}}\nmodel: {{layers: 1, heads: 2, width: 16}}\n\
             train: {{sequence_length: 32, budget: {{steps: 40}}}}\ngrid: {{train.batch_size: [4, 8]}}\nseeds: 2\n\
             evaluate: {{at_most: 0}}\n{rest}\n"
        );
        fs::write(folder.path().join("small.yaml"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn asked(&self) -> Asked {
        let overrides = Overrides { set: Vec::new(), environment: Vec::new() };
        let (file, runs) = (self.path().join("small.yaml"), self.path().join("runs"));
        Asked { file, overrides, runs, only: None, limit: 100_000, anew: false }
    }

    fn folder(&self) -> ExperimentFolder {
        ExperimentFolder::new(&self.path().join("runs"), "small")
    }

    /// Runs it; asks to stop when so many trials were started. What it came to, and what was told.
    fn run(&self, world: &Pretended, stop_after: usize) -> (Ended, Vec<String>) {
        let signals = Signals::new(|_| {});
        let heard = Heard { signals: &signals, stop_after, notices: RefCell::default(), started: RefCell::default() };
        let request = Request {
            asked: self.asked(),
            until: None,
            slots: Some(1),
            probe: true,
            rescore: false,
            retry: Vec::new(),
            alias: true,
        };
        let ended = run(&request, &signals, &heard, world).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(fs::read_dir(self.folder().report()).unwrap().count(), 0, "half a report is left");
        (ended, heard.notices.into_inner())
    }
}

const NEVER: usize = usize::MAX;

#[test]
fn a_fresh_run_trains_all_and_a_second_one_has_nothing_to_do() {
    let (scene, world, began) = (Scene::new("run: {device: cpu}"), Pretended::default(), Instant::now());
    let (ended, notices) = scene.run(&world, NEVER);
    assert!(ended.trained.unwrap().all_completed());
    assert_eq!((ended.trials, ended.aliases, ended.report.unwrap()), (4, 0, "report: there\n".to_owned()));
    let seen = world.seen();
    assert_eq!((seen.started.len(), seen.measured), (4, 2));
    let folder = scene.folder();
    let files: [PathBuf; 4] =
        [folder.experiment_json(), folder.experiment_yaml(), folder.plan_parquet(), folder.trials_parquet()];
    assert!(files.iter().all(|file| file.exists()));
    let count = |kind: &str| read_events(&folder.events()).unwrap().iter().filter(|line| line.kind == kind).count();
    assert_eq!((count("started"), count("ended")), (4, 4));
    assert!(["Planned", "Probed", "Training"].iter().all(|notice| notices.iter().any(|told| told == notice)), "{notices:?}");
    // Trials take minutes: the report is written again meanwhile, and shown at the end.
    assert!(seen.reports.len() > 2 && seen.reports.iter().rposition(|show| !show) < seen.reports.iter().position(|show| *show));

    let (again, notices) = scene.run(&world, NEVER);
    assert!(again.trained.unwrap().nothing_was_to_do());
    let seen = world.seen();
    assert_eq!((seen.started.len(), seen.measured, seen.reports), (0, 0, vec![true]));
    assert!(notices.contains(&"NothingToTrain".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(300), "nobody really waits");
}

#[test]
fn a_run_that_is_stopped_goes_on_where_it_was() {
    let (scene, world) = (Scene::new("run: {device: cpu}"), Pretended::default());
    let (ended, _) = scene.run(&world, 2);
    let trained = ended.trained.unwrap();
    assert_eq!((trained.completed, trained.left, trained.stopped), (1, 3, Some(Stop::Asked)));
    assert!(ended.report.is_ok(), "the report is written all the same");
    let first = world.seen().started;
    let (ended, _) = scene.run(&world, NEVER);
    assert!(ended.trained.unwrap().all_completed());
    let second = world.seen().started;
    assert_eq!((first.len(), second.len()), (2, 3));
    assert_eq!(first[1], second[0], "what was interrupted goes on first");
}

#[test]
fn at_the_deadline_what_runs_is_asked_to_leave_and_the_rest_is_left() {
    let (scene, world) = (Scene::new("run: {device: cpu, time: 14m}"), Pretended::default());
    let (ended, notices) = scene.run(&world, NEVER);
    let trained = ended.trained.unwrap();
    assert_eq!((trained.completed, trained.left, trained.stopped), (1, 3, Some(Stop::Deadline)));
    assert!(ended.report.is_ok());
    assert!(notices.contains(&"Training".to_owned()));
}

#[test]
fn a_report_that_fails_is_told_once_and_stops_nothing() {
    let (scene, world) =
        (Scene::new("run: {device: cpu}"), Pretended(Arc::new(Shared { report: Fate::Fails, ..Shared::default() })));
    let (ended, notices) = scene.run(&world, NEVER);
    assert!(ended.trained.unwrap().all_completed());
    assert_eq!(ended.report.unwrap_err().to_string(), "a table is damaged");
    let seen = world.seen();
    assert!(seen.reports.len() > 2, "it is tried again");
    assert_eq!(notices.iter().filter(|notice| *notice == "NotReported").count(), 1, "{notices:?}");
}

#[test]
fn a_report_that_does_not_end_is_given_up_when_the_run_is_to_end() {
    let fate = Fate::NeverEnds;
    let (scene, world) =
        (Scene::new("run: {device: cpu, time: 14m}"), Pretended(Arc::new(Shared { report: fate, ..Shared::default() })));
    let (ended, _) = scene.run(&world, NEVER);
    assert_eq!(ended.trained.unwrap().stopped, Some(Stop::Deadline));
    assert!(ended.report.unwrap_err().to_string().starts_with("it was given up"));
    let waited = world.0.clock.0.load(Ordering::Relaxed);
    assert!((840 * SECOND..900 * SECOND).contains(&waited), "{waited}");
}

#[test]
fn slots_leave_memory_for_the_report() {
    let scene = Scene::new("run: {device: cpu}");
    let (ended, _) = scene.run(&Pretended::default(), NEVER);
    let signals = Signals::new(|_| {});
    let heard = Heard { signals: &signals, stop_after: NEVER, notices: RefCell::default(), started: RefCell::default() };
    let session = Session::open(&scene.asked(), &heard).unwrap_or_else(|failure| panic!("{failure:?}"));
    let machine = Machine { cores: 8, memory: Memory { free: Some(1_000_000_000), total: None } };
    let each = crate::runner::Memory { host: 300_000_000, device: None };
    assert_eq!(session.allotment(machine, None, 8, each).slots, 2, "three would fit without the report");
    crate::runs::keep_report_memory(&ended.folder, 600_000_000).unwrap();
    assert_eq!(session.allotment(machine, None, 8, each).slots, 1, "the last one took more");
    assert_eq!(session.allotment(machine, Some(3), 8, each).slots, 3, "what is asked for is kept");
}

/// Prints what the runner itself costs: `cargo test --release --lib what_a_trial_costs_the_runner -- --ignored --nocapture`.
#[test]
#[ignore = "prints processor time, which is for a person to read"]
fn what_a_trial_costs_the_runner() {
    for configurations in [50, 500, 5_000] {
        let rates: Vec<String> = (0..configurations).map(|n| format!("{:.7}", 1e-3 + 1e-7 * f64::from(n))).collect();
        let scene = Scene::new("run: {device: cpu}");
        let text = fs::read_to_string(scene.path().join("small.yaml")).unwrap();
        let text = text.replace("train.batch_size: [4, 8]", &format!("train.learning_rate: [{}]", rates.join(", ")));
        fs::write(scene.path().join("small.yaml"), text.replace("max_bytes: 40000", "max_bytes: 20000")).unwrap();
        // Nanoseconds of the processor that this thread has had.
        let used =
            || fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap();
        let (world, before) = (Pretended(Arc::new(Shared { trial: Some(20_000), ..Shared::default() })), used());
        let (ended, _) = scene.run(&world, NEVER);
        let milliseconds = (used() - before) / 1e6;
        let each = milliseconds / ended.trials as f64;
        writeln!(std::io::stdout(), "{} trials: {milliseconds:.0} ms of the processor, {each:.3} ms each", ended.trials).unwrap();
    }
}
