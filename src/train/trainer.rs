//! The step loop.

mod due;
mod feed;
mod finish;
mod start;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use self::feed::Feed;
use super::backend::{self, Backend, Hardware, State, Step, StepResult};
use super::checkpoint::Best;
use super::divergence::Losses;
use super::evaluate::Predicted;
use super::retention::Keeper;
use super::scoring::HeldOut;
use super::{Folders, Job};
use crate::error::Result;
use crate::model::Config;
use crate::optimize::LearningRate;
use crate::plan::is_due;
use crate::pulse;
use crate::rows::{EvaluationRow, Phase, Recorder, Sample, StepRow, now_utc};

/// Seconds of work that a device has before it are enough: whoever asks to stop waits for it.
const AHEAD: f64 = 0.25;
/// Steps of so many seconds are made one after another: what is between them does not matter, and the first can be dropped.
const LONG: f64 = 1.0;

/// How a call of [`run`] ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// The whole budget was trained and scored.
    Completed(Trained),
    /// Loss or norm were not finite, or the loss stayed far above that of guessing.
    Diverged {
        /// In a sentence.
        reason: String,
        /// What was done before.
        summary: Trained,
    },
    /// It was asked to stop, and saved.
    Interrupted {
        /// Steps done.
        step: u64,
    },
}

/// What a trial came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trained {
    /// Steps done.
    pub steps: u64,
    /// Target tokens trained on.
    pub tokens_seen: u64,
    /// Seconds inside steps.
    pub training_seconds: f64,
    /// The most bytes that were taken of a device with memory of its own, as far as they are counted.
    pub peak_device_memory_bytes: Option<u64>,
    /// Evaluations in full.
    pub scores: Vec<EvaluationRow>,
    /// What the final weights write; none where the trial did not get there.
    pub sample: Option<Sample>,
}

/// A step on its way.
struct Submitted {
    epoch: u64,
    targets: usize,
    learning_rate: f64,
    at: Instant,
}

struct Trainer<'a> {
    job: &'a Job,
    config: Config,
    folders: Folders<'a>,
    recorder: &'a mut dyn Recorder,
    backend: Box<dyn Backend>,
    held_out: HeldOut,
    schedule: LearningRate,
    attempt: u32,
    /// Steps whose result was taken.
    step: u64,
    tokens_seen: u64,
    training_seconds: f64,
    last_seconds: f64,
    /// Whether what is due after the last step was not done yet, or not wholly.
    is_due: bool,
    /// When the last step was over.
    completed: Instant,
    best: Option<Best>,
    /// What the weights of the last step gave on the validation part so far.
    predicted: Predicted,
    losses: Losses,
    keeper: Keeper<'a>,
}

/// Trains a trial from its newest checkpoint, or from its first step, to the end of its budget, and scores it.
///
/// `stop` is heeded before each step and within it, and while it is scored. Where it says so an unfinished step is dropped, the
/// position is saved and [`Ended::Interrupted`] returned; what is due after the last step and was not done is done when it goes on.
pub fn run(
    job: &Job,
    folders: Folders<'_>,
    hardware: &Hardware,
    attempt: u32,
    recorder: &mut dyn Recorder,
    stop: &AtomicBool,
) -> Result<Ended> {
    let (train, draws) = (&job.settings.train, (job.seed, job.batch()));
    let open = |config: &Config, state: &State| backend::open(config, train, draws, hardware, state);
    run_on(&open, job, folders, attempt, recorder, stop)
}

/// What computes a model that goes on from a state.
type Open<'a> = &'a dyn Fn(&Config, &State) -> Result<Box<dyn Backend>>;

/// [`run`] on the backend that `open` gives.
///
/// Results of steps come some steps later where the backend's depth is above 1. Nothing is submitted beyond a step after which
/// something is due, so evaluations, checkpoints and the end meet the weights of their step, and a stop those of the last one that
/// was submitted.
fn run_on(
    open: Open<'_>,
    job: &Job,
    folders: Folders<'_>,
    attempt: u32,
    recorder: &mut dyn Recorder,
    stop: &AtomicBool,
) -> Result<Ended> {
    recorder.phase(Phase::Starting);
    let mut feed = Feed::open(job, folders)?;
    let mut trial = Trainer::start(open, job, folders, recorder, attempt)?;
    trial.recorder.phase(Phase::Training);
    if trial.is_due && !trial.after_step(stop)? {
        return trial.interrupt();
    }
    let (mut in_flight, mut stopped) = (VecDeque::new(), false);
    loop {
        while !stopped && trial.may_submit(in_flight.len()) {
            let submitted = if pulse::is_asked(stop) { None } else { trial.submit(&mut feed, in_flight.len(), stop)? };
            stopped = submitted.is_none();
            in_flight.extend(submitted);
        }
        let Some(submitted) = in_flight.pop_front() else { break };
        let result = trial.backend.result()?;
        // The weights were not touched, and no later step touches them.
        if !result.is_finite() {
            let (what, value) = if result.loss.is_finite() { ("gradient norm", result.norm) } else { ("loss", result.loss) };
            let reason = format!("the {what} is {value} at step {}", trial.step + 1);
            return trial.diverge(reason);
        }
        trial.complete(submitted, result)?;
        if let Some(reason) = trial.losses.diverged() {
            let reason = format!("{reason}, at step {}", trial.step);
            return trial.diverge(reason);
        }
        if !trial.after_step(stop)? {
            return trial.interrupt();
        }
    }
    if stopped { trial.interrupt() } else { trial.finish(stop) }
}

impl<'a> Trainer<'a> {
    /// The share of a budget in minutes that is spent; `None` for other budgets.
    fn fraction(&self) -> Option<f64> {
        self.job.settings.train.budget.seconds().map(|seconds| (self.training_seconds / seconds).min(1.0))
    }

    fn budget_is_spent(&self) -> bool {
        self.fraction().map_or(self.step >= self.job.steps, |fraction| fraction >= 1.0)
    }

    /// Whether something due at every multiple of `every` of the budget is due after the step just made.
    fn due(&self, every: f64, before: f64) -> bool {
        match self.fraction() {
            Some(fraction) => fraction >= 1.0 || (fraction / every).floor() > (before / every).floor(),
            None => is_due(self.step, self.job.steps, every),
        }
    }

    /// Whether one more step may be submitted, after so many whose result is not taken yet.
    fn may_submit(&self, in_flight: usize) -> bool {
        if in_flight == 0 {
            return !self.budget_is_spent();
        }
        let in_minutes = self.job.settings.train.budget.seconds().is_some();
        let (last, steps) = (self.step + in_flight as u64, self.job.steps);
        let evaluated = self.job.evaluation.periodic_tokens > 1 && is_due(last, steps, self.job.evaluation.every);
        let due = last >= steps || evaluated || is_due(last, steps, self.job.settings.checkpoint.every);
        // How far a budget in minutes is, and so the learning rate, is known once a step is over.
        // One step beside the one that is made; more where they are short.
        let enough = (in_flight - 1) as f64 * self.last_seconds >= AHEAD || self.last_seconds >= LONG;
        in_flight < self.backend.depth() && !in_minutes && !due && !enough
    }

    /// Begins the step that follows those made and those in flight; `None` where `stop` said so before it was whole.
    fn submit(&mut self, feed: &mut Feed, in_flight: usize, stop: &AtomicBool) -> Result<Option<Submitted>> {
        let (at, number) = (Instant::now(), self.step + in_flight as u64);
        let (epoch, sequences) = feed.read(number);
        let learning_rate = match self.fraction() {
            Some(fraction) => self.schedule.at_fraction(fraction),
            None => self.schedule.at_step(number, self.job.steps),
        };
        let whole = self.backend.submit(Step { sequences, number, learning_rate }, stop)?;
        Ok(whole.then_some(Submitted { epoch, targets: sequences.targets.len(), learning_rate, at }))
    }

    /// Counts and records a step that has just been made. It took as long as the device had nothing else to do for it.
    fn complete(&mut self, submitted: Submitted, result: StepResult) -> Result<()> {
        let began = submitted.at.max(std::mem::replace(&mut self.completed, Instant::now()));
        let seconds = (self.completed - began).as_secs_f64();
        self.step += 1;
        self.tokens_seen += submitted.targets as u64;
        self.training_seconds += seconds;
        self.last_seconds = seconds;
        self.recorder.step(&StepRow {
            attempt: self.attempt as i32,
            step: self.step as i64,
            epoch: submitted.epoch as i64 + 1,
            tokens_seen: self.tokens_seen as i64,
            loss: Some(result.loss),
            grad_norm: Some(result.norm),
            clip_coefficient: Some(result.clip_coefficient),
            clipped: result.clip_coefficient < 1.0,
            learning_rate: submitted.learning_rate,
            step_seconds: seconds,
            tokens_per_second: submitted.targets as f64 / seconds.max(1e-9),
            time_utc: now_utc(),
        })?;
        self.losses.push(result.loss);
        pulse::beat();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
