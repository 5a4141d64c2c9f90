//! The hidden command that trains one trial. Runner and worker share nothing but the trial's folder and a pipe.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::args::Worker as Arguments;
use super::exit_code::Code;
use super::output::Failure;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::model::gpu::cuda::{Search, user_cache};
use crate::plan::TrialId;
use crate::record::{ParquetRecorder, ScoresAgain};
use crate::runs::{
    Attempt, End, ExperimentFolder, Outcome, Progress, TrialFolder, TrialLock, begin_attempt, end_attempt, host, now_utc,
    write_outcome, write_progress,
};
use crate::schedule::watch_runner;
use crate::train::backend::Hardware;
use crate::train::checkpoint::ARITHMETIC;
use crate::train::evaluate::PROTOCOL;
use crate::train::recorder::{CheckpointRow, EvaluationRow, Phase, Positions, Recorder, StepRow, TokenNll};
use crate::train::{self, Ended, Job, Place, Sample, device};

/// How long the lock of a worker that is just leaving is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Between two notes of how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// What a worker that was asked to stop exits with.
const INTERRUPTED: Code = Code::Interrupted;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let folder = TrialFolder::at(&arguments.folder);
    let Some(_lock) = TrialLock::wait(&folder, LOCK_WAIT)? else {
        return Err(Error::new(Kind::Busy, "another worker holds this trial").into());
    };
    durable::sweep(folder.path())?;
    durable::sweep(&folder.checkpoints())?;
    start_log(&folder)?;
    let stop = Arc::new(AtomicBool::new(false));
    watch_runner(stop.clone()).map_err(|e| Error::internal("the pipe from the runner cannot be watched").caused_by(e))?;
    // SIGTERM (a cluster that takes its machine back) is a request to stop as well; SIGHUP and Ctrl-C are the runner's.
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Error::internal("a signal cannot be caught").caused_by(e))?;
    }
    if arguments.score_again {
        return match score_again(&folder, arguments, &stop) {
            Ok(true) => Ok(Code::Ok),
            Ok(false) => Ok(INTERRUPTED),
            Err(error) => {
                tracing::error!(error = error.chain(), "the trial could not be scored again");
                Err(error.into())
            }
        };
    }
    let attempt = Attempt {
        attempt: arguments.attempt,
        pid: std::process::id(),
        host: host(),
        slot: arguments.slot,
        threads: arguments.threads,
        device: arguments.device,
        program: crate::program(),
        from_step: 0,
        started_utc: now_utc(),
        ended_utc: None,
        ended: None,
        last_lines: Vec::new(),
    };
    begin_attempt(&folder, &attempt)?;
    match train_trial(&folder, arguments, &attempt, &stop) {
        Ok(Some(outcome)) => {
            let word = match outcome.end {
                End::Completed => "completed",
                End::Diverged => "diverged",
                End::DidNotFit => "did not fit",
                End::Failed => "failed",
            };
            end_attempt(&folder, &attempt, word, &[])?;
            write_outcome(&folder, &outcome)?;
            Ok(Code::Ok)
        }
        Ok(None) => {
            end_attempt(&folder, &attempt, "interrupted", &[])?;
            Ok(INTERRUPTED)
        }
        Err(error) => {
            tracing::error!(error = error.chain(), "the trial failed");
            Err(error.into())
        }
    }
}

/// The log as JSON lines in the trial's folder; warnings also as short lines for the runner.
fn start_log(folder: &TrialFolder) -> Result<()> {
    let path = folder.log();
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(|e| Error::io("open", &path, e))?;
    let whole =
        tracing_subscriber::fmt::layer().json().with_writer(file).with_filter(tracing_subscriber::filter::LevelFilter::INFO);
    let short = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_filter(tracing_subscriber::filter::LevelFilter::WARN);
    tracing_subscriber::registry().with(whole).with(short).init();
    Ok(())
}

/// What the worker is to do.
fn read_job(folder: &TrialFolder) -> Result<Job> {
    let job: Job =
        durable::read_json(&folder.job())?.ok_or_else(|| Error::data(format!("{} is missing", folder.job().display())))?;
    if job.version != Job::VERSION {
        let message = format!("{} has version {}, and this program reads {}", folder.job().display(), job.version, Job::VERSION);
        return Err(Error::data(message).help("run the experiment with the program that wrote it"));
    }
    Ok(job)
}

/// What the trial may use.
fn hardware(folder: &TrialFolder, arguments: &Arguments, job: &Job) -> Result<Hardware> {
    let experiment = ExperimentFolder::at(experiment_of(folder.path())?);
    Ok(Hardware {
        device: arguments.device,
        engine: job.settings.run.engine,
        threads: arguments.threads as usize,
        search: search(arguments.cuda_libraries.clone(), &experiment),
    })
}

/// Where NVIDIA's libraries are looked for first, and compiled kernels kept: in the user's cache, or in the experiment's where
/// there is none.
pub(super) fn search(libraries: Option<PathBuf>, experiment: &ExperimentFolder) -> Search {
    Search { libraries, cache: user_cache().unwrap_or_else(|| experiment.cache().join("kernels")) }
}

/// Scores a finished trial again by the protocol of its job. The outcome is replaced last, so that a kill before that leaves a
/// trial that is still to be scored again. False where it was asked to stop: nothing has changed then.
fn score_again(folder: &TrialFolder, arguments: &Arguments, stop: &AtomicBool) -> Result<bool> {
    let job = read_job(folder)?;
    let outcome: Option<Outcome> = durable::read_json(&folder.outcome())?;
    let Some(outcome) = outcome.filter(|outcome| outcome.end == End::Completed) else {
        return Err(Error::data(format!("trial {} is not complete: there is nothing to score again", job.id)));
    };
    tracing::info!(trial = job.id.as_str(), context = job.evaluation.common_context, "is scored again");
    let hardware = hardware(folder, arguments, &job)?;
    // The weights of a trial that is the same as another one lie there.
    let trained = outcome.alias_of.as_ref().unwrap_or(&job.id);
    let checkpoints = folder.beside(trained).checkpoints();
    let place = Place { experiment: experiment_of(folder.path())?, checkpoints: &checkpoints, name: "checkpoints" };
    let mut again = ScoresAgain::default();
    let Some(scores) = train::rescore(&job, trained, place, &hardware, &mut again, &|| stop.load(Ordering::Acquire))? else {
        return Ok(false);
    };
    again.write(folder, &job.id)?;
    write_outcome(folder, &Outcome { scores, protocol: PROTOCOL, ..outcome })?;
    Ok(true)
}

/// Trains to the end (an outcome) or to a stop (none).
fn train_trial(folder: &TrialFolder, arguments: &Arguments, attempt: &Attempt, stop: &AtomicBool) -> Result<Option<Outcome>> {
    let job = read_job(folder)?;
    tracing::info!(trial = job.id.as_str(), attempt = attempt.attempt, threads = attempt.threads, "begins");
    let hardware = hardware(folder, arguments, &job)?;
    let mut recorder = Telling::open(folder, &job, attempt)?;
    let experiment = experiment_of(folder.path())?;
    let checkpoints = folder.checkpoints();
    let place = Place { experiment, checkpoints: &checkpoints, name: "checkpoints" };
    let ended = train::run(&job, place, &hardware, attempt.attempt, &mut recorder, &|| stop.load(Ordering::Acquire));
    let outcome = |end, reason, summary: train::Summary| Outcome {
        end,
        reason,
        steps: summary.steps as i64,
        tokens_seen: summary.tokens_seen as i64,
        training_seconds: summary.training_seconds,
        peak_memory_bytes: peak_memory_bytes(),
        peak_device_memory_bytes: summary.peak_device_memory_bytes.map(|bytes| bytes as i64),
        scores: summary.scores,
        protocol: PROTOCOL,
        finished_utc: now_utc(),
        program: crate::program(),
        arithmetic: Some(ARITHMETIC),
        processor: device::processor(&hardware),
        clipping: None,
        alias_of: None,
    };
    let outcome = match ended {
        Ok(Ended::Completed(summary)) => {
            keep_sample(folder, summary.sample.as_ref());
            outcome(End::Completed, None, summary)
        }
        Ok(Ended::Diverged { reason, summary }) => outcome(End::Diverged, Some(reason), summary),
        Ok(Ended::Interrupted { step }) => {
            tracing::info!(step, "saved and leaves");
            return Ok(None);
        }
        Err(error) if error.kind() == Kind::OutOfMemory => {
            outcome(End::DidNotFit, Some(error.chain()), train::Summary::default())
        }
        Err(error) => return Err(error),
    };
    // From the rows, which are those of all attempts.
    let clipping = recorder.parquet.clipping()?;
    recorder.parquet.finish()?;
    tracing::info!(end = ?outcome.end, "ends");
    Ok(Some(Outcome { clipping, ..outcome }))
}

/// Writes what the trial's weights write. It decides nothing: where that fails, the trial is complete all the same.
fn keep_sample(folder: &TrialFolder, sample: Option<&Sample>) {
    if let Some(sample) = sample
        && let Err(error) = durable::write_json(&folder.sample(), sample)
    {
        tracing::warn!(error = error.chain(), "the sample cannot be kept");
    }
}

/// `runs/<experiment>/trials/<id>` → `runs/<experiment>`.
fn experiment_of(trial: &Path) -> Result<&Path> {
    let above = trial.parent().and_then(Path::parent);
    above.ok_or_else(|| Error::usage(format!("{} is not a trial's folder", trial.display())))
}

/// The most memory this process has held, bytes; 0 where the system does not say.
pub(super) fn peak_memory_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Records, and says now and then how far the trial is.
struct Telling {
    parquet: ParquetRecorder,
    folder: TrialFolder,
    attempt: Attempt,
    progress: Progress,
    told: Option<Instant>,
    /// Smoothed over the last steps.
    loss: Option<f64>,
    rate: Option<f64>,
    minutes: Option<f64>,
}

impl Telling {
    fn open(folder: &TrialFolder, job: &Job, attempt: &Attempt) -> Result<Self> {
        let minutes = match job.settings.train.budget {
            crate::experiment::settings::Budget::Minutes(minutes) => Some(minutes),
            _ => None,
        };
        let progress = Progress {
            attempt: attempt.attempt,
            phase: Phase::Starting.name().to_owned(),
            step: 0,
            steps: job.steps as i64,
            tokens_seen: 0,
            fraction: 0.0,
            loss: None,
            validation_loss: None,
            tokens_per_second: None,
            training_seconds: 0.0,
            starts_over: None,
            time_utc: now_utc(),
        };
        let parquet = open_record(folder, &job.id)?;
        let (folder, attempt) = (folder.clone(), attempt.clone());
        Ok(Self { parquet, folder, attempt, progress, told: None, loss: None, rate: None, minutes })
    }

    /// The share of the budget that is done.
    fn fraction(&self) -> f64 {
        match self.minutes {
            Some(minutes) => (self.progress.training_seconds / (60.0 * minutes)).min(1.0),
            None => self.progress.step as f64 / self.progress.steps.max(1) as f64,
        }
    }

    fn tell(&mut self, at_once: bool) -> Result<()> {
        if !at_once && self.told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            return Ok(());
        }
        self.told = Some(Instant::now());
        self.progress.time_utc = now_utc();
        write_progress(&self.folder, &self.progress)
    }
}

/// Opens the trial's record. Where a file of it is damaged, rows that the checkpoints rely on are lost: the trial starts over.
fn open_record(folder: &TrialFolder, id: &TrialId) -> Result<ParquetRecorder> {
    match ParquetRecorder::open(folder, id) {
        Err(error) if error.kind() == Kind::Data => {
            tracing::warn!(error = error.chain(), "the record is damaged: the trial starts over");
            durable::remove_folder(&folder.checkpoints())?;
            durable::remove_folder(&folder.steps_parts())?;
            let tables = [folder.steps(), folder.evaluations(), folder.checkpoints_parquet(), folder.token_nll()];
            for path in tables.into_iter().chain([folder.positions()]) {
                if let Err(e) = std::fs::remove_file(&path)
                    && e.kind() != std::io::ErrorKind::NotFound
                {
                    return Err(Error::io("remove", &path, e));
                }
            }
            ParquetRecorder::open(folder, id)
        }
        result => result,
    }
}

/// Smooths over about the last twenty steps.
fn smooth(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + 0.1 * (new - old))
}

impl Recorder for Telling {
    fn phase(&mut self, phase: Phase) {
        phase.name().clone_into(&mut self.progress.phase);
        // How far it is decides nothing: a note that cannot be written is none.
        let _ = self.tell(phase != Phase::Training);
    }

    fn starts_over(&mut self, why: &str) {
        self.progress.starts_over = Some(why.to_owned());
        let _ = self.tell(true);
    }

    fn resume(&mut self, step: i64) -> Result<()> {
        self.parquet.resume(step)?;
        if step == 0 {
            return Ok(());
        }
        // What was made before counts: by it, it is told how long the rest will take.
        let (tokens_seen, training_seconds) = self.parquet.trained()?;
        (self.progress.step, self.progress.tokens_seen, self.progress.training_seconds) = (step, tokens_seen, training_seconds);
        self.progress.fraction = self.fraction();
        self.attempt.from_step = step;
        begin_attempt(&self.folder, &self.attempt)
    }

    fn step(&mut self, row: &StepRow) -> Result<()> {
        self.loss = row.loss.map(|loss| smooth(self.loss, loss));
        self.rate = Some(smooth(self.rate, row.tokens_per_second));
        self.progress.step = row.step;
        self.progress.tokens_seen = row.tokens_seen;
        self.progress.training_seconds += row.step_seconds;
        self.progress.loss = self.loss;
        self.progress.tokens_per_second = self.rate;
        self.progress.fraction = self.fraction();
        let _ = self.tell(false);
        self.parquet.step(row)
    }

    fn evaluation(&mut self, row: &EvaluationRow) -> Result<()> {
        self.progress.validation_loss = row.loss();
        self.parquet.evaluation(row)
    }

    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()> {
        self.parquet.checkpoint(row)
    }

    fn checkpoint_deleted(&mut self, path: &str, time_utc: i64) -> Result<()> {
        self.parquet.checkpoint_deleted(path, time_utc)
    }

    fn token_nll(&mut self, scores: &TokenNll) -> Result<()> {
        self.parquet.token_nll(scores)
    }

    fn positions(&mut self, positions: &Positions) -> Result<()> {
        self.parquet.positions(positions)
    }

    fn flush(&mut self) -> Result<()> {
        self.parquet.flush()
    }
}
