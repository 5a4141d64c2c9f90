//! The step loop.

mod feed;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use self::feed::Feed;
use super::backend::{self, Backend, Hardware, State, Step, StepResult};
use super::checkpoint::{self, ARITHMETIC, Best, Loaded, Position, Reason};
use super::divergence::Losses;
use super::evaluate::{self, GROUP, Layout, Predicted};
use super::keeper::Keeper;
use super::pretrained;
use super::recorder::{CheckpointKind, EvaluationRow, Phase, Protocol, Recorder, StepRow, now_utc};
use super::sample::{self, Sample};
use super::scoring::{self, HeldOut, Weights};
use super::{Job, Place};
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::Budget;
use crate::model::{Config, initial_values};
use crate::optimize::LearningRate;
use crate::plan::is_due;
use crate::pulse;

/// Seconds of work that a device has before it are enough: whoever asks to stop waits for it.
const AHEAD: f64 = 0.25;
/// Steps of so many seconds are made one after another: what is between them does not matter, and the first can be dropped.
const LONG: f64 = 1.0;

/// How a call of [`run`] ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// The whole budget was trained and scored.
    Completed(Summary),
    /// Loss or norm were not finite, or the loss stayed far above that of guessing.
    Diverged {
        /// In a sentence.
        reason: String,
        /// What was done before.
        summary: Summary,
    },
    /// It was asked to stop, and saved.
    Interrupted {
        /// Steps done.
        step: u64,
    },
}

/// What a trial came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
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

/// What became of a trial's checkpoint.
enum Resumed {
    /// There was none.
    Nothing,
    /// This goes on from it.
    Here(Box<dyn Backend>),
    /// The trial starts over: why.
    Otherwise(String),
}

struct Trial<'a> {
    job: &'a Job,
    config: Config,
    place: Place<'a>,
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
    place: Place<'_>,
    hardware: &Hardware,
    attempt: u32,
    recorder: &mut dyn Recorder,
    stop: &AtomicBool,
) -> Result<Ended> {
    let (train, draws) = (&job.settings.train, (job.seed, job.batch()));
    let open = |config: &Config, state: &State| backend::open(config, train, draws, hardware, state);
    run_on(&open, job, place, attempt, recorder, stop)
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
    place: Place<'_>,
    attempt: u32,
    recorder: &mut dyn Recorder,
    stop: &AtomicBool,
) -> Result<Ended> {
    recorder.phase(Phase::Starting);
    let mut feed = Feed::open(job, place)?;
    let mut trial = Trial::start(open, job, place, recorder, attempt)?;
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

impl<'a> Trial<'a> {
    /// Goes on from the newest checkpoint, or begins.
    fn start(open: Open<'_>, job: &'a Job, place: Place<'a>, recorder: &'a mut dyn Recorder, attempt: u32) -> Result<Self> {
        let config = job.model()?;
        let newest = checkpoint::newest(place.checkpoints, job, &config)?;
        let resumed = match &newest {
            Some(loaded) => Self::resumed(open, &config, loaded)?,
            None if checkpoint::list(place.checkpoints)?.is_empty() => Resumed::Nothing,
            None => Resumed::Otherwise("none of its checkpoints can be gone on from (its log says why)".to_owned()),
        };
        let resumed = match resumed {
            Resumed::Here(backend) => Some(backend),
            Resumed::Nothing => None,
            Resumed::Otherwise(why) => {
                tracing::warn!("the trial starts over: {why}");
                recorder.starts_over(&why);
                None
            }
        };
        let newest = newest.filter(|_| resumed.is_some());
        let backend = match resumed {
            Some(backend) => backend,
            None => {
                let values = match &job.from {
                    Some(from) => pretrained::start(from)?,
                    None => config.parameters().iter().map(|p| initial_values(p, job.seed)).collect(),
                };
                open(&config, &State::untrained(values))?
            }
        };
        let (position, written) = match newest {
            // Where only the weights are left, the row tells what was written before the rest went.
            Some(Loaded { position, state, written }) => (Some(position), (!state.first.is_empty()).then_some(written)),
            None => (None, None),
        };
        let step = position.as_ref().map_or(0, |position| position.step);
        if position.is_some() {
            tracing::info!(step, attempt, "goes on from a checkpoint");
        }
        let held_out = HeldOut::open(job, place)?;
        recorder.resume(step as i64)?;
        Ok(Self {
            job,
            config,
            place,
            keeper: Keeper::reconciled(job, place, position.as_ref(), written, recorder)?,
            recorder,
            backend,
            held_out,
            schedule: LearningRate::new(&job.settings.train),
            attempt,
            step,
            tokens_seen: position.as_ref().map_or(0, |position| position.tokens_seen),
            training_seconds: position.as_ref().map_or(0.0, |position| position.training_seconds),
            last_seconds: position.as_ref().and_then(|position| position.due_after).unwrap_or(0.0),
            is_due: position.as_ref().is_some_and(|position| position.due_after.is_some()),
            completed: Instant::now(),
            best: position.as_ref().and_then(|position| position.best),
            predicted: Predicted::default(),
            losses: Losses::new(job.corpus.vocabulary, position.as_ref().map_or(&[], |position| &position.recent_losses)),
        })
    }

    /// What goes on from a checkpoint, or why it would not go on bit for bit.
    fn resumed(open: Open<'_>, config: &Config, loaded: &Loaded) -> Result<Resumed> {
        let backend = open(config, &loaded.state)?;
        Ok(match (loaded.position.made_by.as_ref(), backend.made_by()) {
            (before, now) if before == now => Resumed::Here(backend),
            (Some(before), Some(now)) => Resumed::Otherwise(now.unlike(before)),
            (Some(before), None) => Resumed::Otherwise(format!("its checkpoint was made on {before}, and this is none")),
            (None, now) => {
                let this = now.map_or_else(String::new, |now| format!(", and this is {now}"));
                Resumed::Otherwise(format!("its checkpoint does not say on which GPU it was made{this}"))
            }
        })
    }

    /// The share of a budget in minutes that is spent; `None` for other budgets.
    fn fraction(&self) -> Option<f64> {
        match self.job.settings.train.budget {
            Budget::Minutes(minutes) => Some((self.training_seconds / (60.0 * minutes)).min(1.0)),
            _ => None,
        }
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
        let in_minutes = matches!(self.job.settings.train.budget, Budget::Minutes(_));
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
        let (epoch, windows) = feed.read(number);
        let learning_rate = match self.fraction() {
            Some(fraction) => self.schedule.at_fraction(fraction),
            None => self.schedule.at_step(number, self.job.steps),
        };
        let whole = self.backend.submit(Step { windows, number, learning_rate }, stop)?;
        Ok(whole.then_some(Submitted { epoch, targets: windows.targets.len(), learning_rate, at }))
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

    /// Evaluation, then checkpoint, where they are due. False where `stop` said so before that was done.
    fn after_step(&mut self, stop: &AtomicBool) -> Result<bool> {
        self.is_due = true;
        let before = match self.job.settings.train.budget {
            Budget::Minutes(minutes) => (self.training_seconds - self.last_seconds) / (60.0 * minutes),
            _ => 0.0,
        };
        let plan = &self.job.evaluation;
        let mut validation_loss = None;
        let mut improved = false;
        if plan.periodic_tokens > 1 && self.due(plan.every, before) {
            self.recorder.phase(Phase::Evaluating);
            let Some(row) = self.evaluate_cheaply(stop)? else { return Ok(false) };
            validation_loss = row.loss();
            self.recorder.evaluation(&row)?;
            if let Some(loss) = validation_loss
                && self.best.is_none_or(|best| loss < best.loss)
            {
                self.best = Some(Best { step: self.step, loss });
                improved = true;
            }
            self.recorder.phase(Phase::Training);
        }
        let last = self.budget_is_spent();
        if last || improved || self.due(self.job.settings.checkpoint.every, before) {
            let kind = match (last, improved) {
                (true, _) => CheckpointKind::Final,
                (false, true) => CheckpointKind::Best,
                (false, false) => CheckpointKind::Periodic,
            };
            self.recorder.phase(Phase::Saving);
            match self.save(Reason::Kept(kind), validation_loss) {
                // What is trained is still in memory, and the next one may find room. The best and the final weights are needed.
                Err(error) if kind == CheckpointKind::Periodic && error.kind() == Kind::DiskFull => {
                    tracing::warn!(step = self.step, error = error.chain(), "goes on without a checkpoint");
                }
                saved => saved?,
            }
            self.recorder.phase(Phase::Training);
        }
        self.is_due = false;
        Ok(true)
    }

    /// Writes the position, the weights and the moments.
    fn save(&mut self, reason: Reason, validation_loss: Option<f64>) -> Result<()> {
        // First the rows up to here, then the checkpoint: whoever goes on from it finds them all.
        self.recorder.flush()?;
        let position = Position {
            version: 1,
            arithmetic: ARITHMETIC,
            made_by: self.backend.made_by().cloned(),
            program: crate::program(),
            trial: self.job.id.to_string(),
            reason,
            step: self.step,
            tokens_seen: self.tokens_seen,
            training_seconds: self.training_seconds,
            best: self.best,
            validation_loss,
            recent_losses: self.losses.to_vec(),
            kept: self.keeper.kept().to_vec(),
            due_after: (self.is_due && reason == Reason::Interrupted).then_some(self.last_seconds),
            time_utc: now_utc(),
        };
        self.keeper.save(&self.config, &position, &self.backend.state()?, self.recorder)
    }

    /// The weights of this step.
    fn weights(&self, kind: CheckpointKind) -> Weights {
        Weights { kind, step: self.step, tokens_seen: self.tokens_seen }
    }

    /// The cheap evaluation on the way: one pass over a fixed part, in the common context. `None` where `stop` said so.
    fn evaluate_cheaply(&mut self, stop: &AtomicBool) -> Result<Option<EvaluationRow>> {
        let (started, plan) = (Instant::now(), &self.job.evaluation);
        let layout = Layout::side_by_side(plan.common_context);
        let validation = self.held_out.validation.as_ref();
        let part = validation.ok_or_else(|| Error::internal("there is no validation part to score"))?;
        let (mut predicted, last) = (Predicted::default(), self.budget_is_spent());
        if last && plan.periodic_tokens == plan.scored_tokens {
            // All of it is about to be scored in full anyhow. Windows side by side begin where the configuration's own do: those
            // first, so that these need not be computed. The checkpoint waits for two passes instead of one.
            let native = Layout::overlapping(self.job.settings.train.sequence_length);
            if native.context > layout.context {
                evaluate::score(&mut *self.backend, part, plan.scored_tokens, native, GROUP, &mut predicted, stop)?;
            }
        }
        let scores = evaluate::score(&mut *self.backend, part, plan.periodic_tokens, layout, GROUP, &mut predicted, stop)?;
        let Some(scores) = scores else { return Ok(None) };
        let row = self.weights(CheckpointKind::Periodic).row("validation", Protocol::Common, layout, &scores, started);
        if last {
            self.predicted = predicted;
        }
        Ok(Some(row))
    }

    fn interrupt(mut self) -> Result<Ended> {
        self.recorder.phase(Phase::Saving);
        // A checkpoint of this very step is already there, and may have a row: it is not replaced by one without.
        if self.step > 0 && !self.keeper.kept().contains(&self.step) {
            self.save(Reason::Interrupted, None)?;
        }
        self.leave()
    }

    /// Leaves with everything saved.
    fn leave(self) -> Result<Ended> {
        self.recorder.flush()?;
        Ok(Ended::Interrupted { step: self.step })
    }

    fn diverge(mut self, reason: String) -> Result<Ended> {
        tracing::warn!(reason, "diverged");
        // Later steps are not told of.
        self.backend.drain()?;
        self.keeper.forget_stops(None)?;
        self.recorder.flush()?;
        let summary = self.summary(Vec::new());
        Ok(Ended::Diverged { reason, summary })
    }

    fn summary(&self, scores: Vec<EvaluationRow>) -> Summary {
        Summary {
            steps: self.step,
            tokens_seen: self.tokens_seen,
            training_seconds: self.training_seconds,
            peak_device_memory_bytes: self.backend.peak_device_memory_bytes(),
            scores,
            sample: None,
        }
    }

    /// The final weights are scored in full, and the best ones where they are others; then what need not stay goes. Where `stop` says
    /// so before that is done, all of it is done when the trial goes on: its last checkpoint is there.
    fn finish(mut self, stop: &AtomicBool) -> Result<Ended> {
        self.recorder.phase(Phase::Scoring);
        let held_out = (self.job, &self.held_out);
        let in_full = |backend: &mut dyn Backend, predicted: &mut Predicted, weights, recorder: &mut dyn Recorder| {
            scoring::in_full(held_out, backend, predicted, weights, recorder, stop)
        };
        let weights = self.weights(CheckpointKind::Final);
        let scored = in_full(&mut *self.backend, &mut self.predicted, weights, &mut *self.recorder)?;
        let Some(mut scores) = scored else { return self.leave() };
        // Before the best weights take the place of the final ones.
        let sample = self.sample();
        if let Some(best) = self.best.filter(|best| best.step != self.step) {
            let folder = self.place.checkpoints.join(checkpoint::name(best.step));
            let (position, values) = checkpoint::load_weights(&folder, &self.config)?;
            self.backend.set_values(&values)?;
            drop(values);
            self.predicted = Predicted::default();
            let weights = Weights { kind: CheckpointKind::Best, step: best.step, tokens_seen: position.tokens_seen };
            let of_best = in_full(&mut *self.backend, &mut self.predicted, weights, &mut *self.recorder)?;
            let Some(of_best) = of_best else { return self.leave() };
            scores.extend(of_best);
        }
        self.recorder.flush()?;
        self.keeper.tidy(self.step, self.best.map(|best| best.step), self.recorder)?;
        self.recorder.flush()?;
        Ok(Ended::Completed(Summary { sample, ..self.summary(scores) }))
    }

    /// A short text by the final weights. It changes nothing, and a trial that is trained and scored does not fail for it.
    fn sample(&self) -> Option<Sample> {
        let (part, tokens) = (self.held_out.validation.as_ref(), sample::tokens_after(self.tokens_seen));
        if tokens == 0 {
            return None;
        }
        let values = self.backend.values();
        let made =
            values.and_then(|values| sample::of_trial(self.job, self.place.experiment, part, &self.config, &values, tokens));
        match made {
            Ok(sample) => Some(Sample { step: self.step, ..sample }),
            Err(error) => {
                tracing::warn!(error = error.chain(), "no sample could be made");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
