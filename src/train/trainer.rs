//! The step loop.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use candle_core::Device;

use super::Job;
use super::checkpoint::{self, ARITHMETIC, Best, Position, Reason, Written};
use super::divergence::Losses;
use super::evaluate::{self, GROUP, Layout, Predicted};
use super::learner::{Learner, LearnerState};
use super::pretrained;
use super::recorder::{CheckpointKind, CheckpointRow, EvaluationRow, Phase, Protocol, Recorder, StepRow};
use super::sample::{self, Sample};
use super::scoring::{self, HeldOut, Weights};
use crate::corpus::{Batches, TokenFile, Windows as CorpusWindows};
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings::{Budget, WhenDone};
use crate::model::plain::Windows;
use crate::model::{Config, initial_values};
use crate::optimize::LearningRate;
use crate::plan::is_due;

/// Where a trial lives.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The experiment's folder: the job's files are relative to it.
    pub experiment: &'a Path,
    /// The folder of the trial's checkpoints.
    pub checkpoints: &'a Path,
    /// The checkpoints' folder as the rows name it, relative to the trial's folder.
    pub name: &'a str,
}

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
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Steps done.
    pub steps: u64,
    /// Target tokens trained on.
    pub tokens_seen: u64,
    /// Seconds inside steps.
    pub training_seconds: f64,
    /// Evaluations in full.
    pub scores: Vec<EvaluationRow>,
    /// What the final weights write; none where the trial did not get there.
    pub sample: Option<Sample>,
}

pub(super) fn now_utc() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

struct Trial<'a> {
    job: &'a Job,
    config: Config,
    place: Place<'a>,
    recorder: &'a mut dyn Recorder,
    learner: Learner,
    held_out: HeldOut,
    step: u64,
    tokens_seen: u64,
    training_seconds: f64,
    last_seconds: f64,
    best: Option<Best>,
    /// What the weights of the last step gave on the validation part so far.
    predicted: Predicted,
    losses: Losses,
    /// Steps of the checkpoints that have a row and are on disk.
    kept: Vec<u64>,
}

/// Trains a trial from its newest checkpoint, or from its first step, to the end of its budget, and scores it.
///
/// `stop` is asked after each step; where it says so the position is saved and [`Ended::Interrupted`] returned.
pub fn run(
    job: &Job,
    place: Place<'_>,
    device: &Device,
    attempt: u32,
    recorder: &mut dyn Recorder,
    stop: &dyn Fn() -> bool,
) -> Result<Ended> {
    recorder.phase(Phase::Starting);
    let config = job.model()?;
    let train = &job.settings.train;
    let tokens = TokenFile::open(&place.experiment.join(&job.corpus.train.file))?;
    let windows = CorpusWindows { tokens: tokens.len(), length: train.sequence_length, stride: train.stride() };
    let mut batches = Batches::new(windows.count(), train.batch_size, train.shuffle, job.seed);
    let held_out = HeldOut::open(job, place)?;
    let mut trial = Trial::start(job, config, place, device, recorder, held_out, attempt)?;
    let schedule = LearningRate::new(train);
    let length = train.sequence_length;
    let (mut inputs, mut targets, mut buffer) = (Vec::new(), Vec::new(), vec![0; length + 1]);
    trial.recorder.phase(Phase::Training);

    while !trial.budget_is_spent() {
        if stop() {
            return trial.interrupt();
        }
        let started = Instant::now();
        let batch = batches.batch(trial.step);
        inputs.clear();
        targets.clear();
        for &window in &batch.windows {
            tokens.read(windows.start(window), &mut buffer);
            inputs.extend_from_slice(&buffer[..length]);
            targets.extend_from_slice(&buffer[1..]);
        }
        let learning_rate = match trial.fraction() {
            Some(fraction) => schedule.at_fraction(fraction),
            None => schedule.at_step(trial.step, job.steps),
        };
        let (loss, norm) = trial.learner.gradients(&Windows { inputs: &inputs, targets: &targets, length }, trial.step)?;
        // Before the weights are touched: what is not finite now would be in every weight after the update.
        if !(loss.is_finite() && norm.is_finite()) {
            let what = if loss.is_finite() { format!("the gradient norm is {norm}") } else { format!("the loss is {loss}") };
            let reason = format!("{what} at step {}", trial.step + 1);
            return trial.diverge(reason);
        }
        let clip_coefficient = trial.learner.update(norm, learning_rate)?;
        trial.step += 1;
        trial.tokens_seen += targets.len() as u64;
        let seconds = started.elapsed().as_secs_f64();
        trial.training_seconds += seconds;
        trial.last_seconds = seconds;
        trial.recorder.step(&StepRow {
            attempt: attempt as i32,
            step: trial.step as i64,
            epoch: batch.epoch as i64 + 1,
            tokens_seen: trial.tokens_seen as i64,
            loss: Some(loss),
            grad_norm: Some(norm),
            clip_coefficient: Some(clip_coefficient),
            clipped: clip_coefficient < 1.0,
            learning_rate,
            step_seconds: seconds,
            tokens_per_second: targets.len() as f64 / seconds.max(1e-9),
            time_utc: now_utc(),
        })?;
        trial.losses.push(loss);
        if let Some(reason) = trial.losses.diverged() {
            let reason = format!("{reason}, at step {}", trial.step);
            return trial.diverge(reason);
        }
        trial.after_step()?;
    }
    trial.finish(device)
}

impl<'a> Trial<'a> {
    /// Goes on from the newest checkpoint, or begins.
    fn start(
        job: &'a Job,
        config: Config,
        place: Place<'a>,
        device: &Device,
        recorder: &'a mut dyn Recorder,
        held_out: HeldOut,
        attempt: u32,
    ) -> Result<Self> {
        let loaded = checkpoint::newest(place.checkpoints, job, &config)?;
        let (state, position, written) = match loaded {
            Some(loaded) => {
                // Where only the weights are left, the row tells what was written before the rest went.
                let written = (!loaded.state.first.is_empty()).then_some(loaded.written);
                (loaded.state, Some(loaded.position), written)
            }
            None => {
                let values = match &job.from {
                    Some(from) => pretrained::start(from)?,
                    None => config.parameters().iter().map(|p| initial_values(p, job.seed)).collect(),
                };
                (LearnerState { steps: 0, values, first: Vec::new(), second: Vec::new() }, None, None)
            }
        };
        let learner = Learner::new(&config, &job.settings.train, job.seed, device, &state)?;
        let mut trial = Self {
            job,
            config,
            place,
            recorder,
            learner,
            held_out,
            step: 0,
            tokens_seen: 0,
            training_seconds: 0.0,
            last_seconds: 0.0,
            best: None,
            predicted: Predicted::default(),
            losses: Losses::new(job.corpus.vocabulary, position.as_ref().map_or(&[], |position| &position.recent_losses)),
            kept: Vec::new(),
        };
        if let Some(position) = &position {
            trial.step = position.step;
            trial.tokens_seen = position.tokens_seen;
            trial.training_seconds = position.training_seconds;
            trial.best = position.best;
            trial.kept.clone_from(&position.kept);
            tracing::info!(step = position.step, attempt, "goes on from a checkpoint");
        }
        trial.recorder.resume(trial.step as i64)?;
        trial.reconcile(position.as_ref(), written)?;
        Ok(trial)
    }

    /// Makes rows and folders agree after a kill: the row of the checkpoint that is gone on from may not have been written, a
    /// deletion may not have been noted, and folders after it are of no use.
    fn reconcile(&mut self, position: Option<&Position>, written: Option<Written>) -> Result<()> {
        for (step, folder) in checkpoint::list(self.place.checkpoints)? {
            let wanted = self.kept.contains(&step) || position.is_some_and(|p| p.step == step);
            if !wanted {
                durable::remove_folder(&folder)?;
            }
        }
        let on_disk: Vec<u64> = checkpoint::list(self.place.checkpoints)?.into_iter().map(|(step, _)| step).collect();
        for step in std::mem::take(&mut self.kept) {
            if on_disk.contains(&step) {
                self.kept.push(step);
            } else {
                self.recorder.checkpoint_deleted(&self.row_path(step), now_utc())?;
            }
        }
        if let Some(position) = position
            && let Reason::Kept(kind) = position.reason
        {
            if let Some(written) = written {
                self.recorder.checkpoint(&self.row(position, kind, &written))?;
            }
            self.kept.push(position.step);
            self.retire()?;
        }
        self.recorder.flush()
    }

    fn row_path(&self, step: u64) -> String {
        format!("{}/{}", self.place.name, checkpoint::name(step))
    }

    fn row(&self, position: &Position, kind: CheckpointKind, written: &Written) -> CheckpointRow {
        CheckpointRow {
            step: position.step as i64,
            tokens_seen: position.tokens_seen as i64,
            kind,
            path: self.row_path(position.step),
            bytes: written.bytes as i64,
            blake3: written.blake3.clone(),
            validation_loss: position.validation_loss,
            save_seconds: written.seconds,
            time_utc: position.time_utc,
            deleted_utc: None,
        }
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

    /// Evaluation, then checkpoint, where they are due.
    fn after_step(&mut self) -> Result<()> {
        let before = match self.job.settings.train.budget {
            Budget::Minutes(minutes) => (self.training_seconds - self.last_seconds) / (60.0 * minutes),
            _ => 0.0,
        };
        let plan = &self.job.evaluation;
        let mut validation_loss = None;
        let mut improved = false;
        if plan.periodic_tokens > 1 && self.due(plan.every, before) {
            self.recorder.phase(Phase::Evaluating);
            let row = self.evaluate_cheaply()?;
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
            self.save(Reason::Kept(kind), validation_loss)?;
            self.recorder.phase(Phase::Training);
        }
        Ok(())
    }

    fn save(&mut self, reason: Reason, validation_loss: Option<f64>) -> Result<()> {
        // First the rows up to here, then the checkpoint: whoever goes on from it finds them all.
        self.recorder.flush()?;
        let position = Position {
            version: 1,
            arithmetic: ARITHMETIC,
            program: crate::program(),
            trial: self.job.id.to_string(),
            reason,
            step: self.step,
            tokens_seen: self.tokens_seen,
            training_seconds: self.training_seconds,
            best: self.best,
            validation_loss,
            recent_losses: self.losses.to_vec(),
            kept: self.kept.clone(),
            time_utc: now_utc(),
        };
        let tokenizer = self.place.experiment.join(&self.job.corpus.tokenizer_file);
        let state = self.learner.state()?;
        let written = checkpoint::save(self.place.checkpoints, self.job, &self.config, &tokenizer, &position, &state)?;
        if let Reason::Kept(kind) = reason {
            self.recorder.checkpoint(&self.row(&position, kind, &written))?;
            self.kept.push(self.step);
            self.retire()?;
            self.recorder.flush()?;
        }
        Ok(())
    }

    /// Deletes the checkpoints that the newest one made superfluous.
    fn retire(&mut self) -> Result<()> {
        let newest = self.step;
        let best = self.best.map(|b| b.step);
        for (step, folder) in checkpoint::list(self.place.checkpoints)? {
            if !self.kept.contains(&step) && step != newest {
                durable::remove_folder(&folder)?;
            }
        }
        for step in checkpoint::superseded(&self.kept, newest, self.job.settings.checkpoint.keep_last, best) {
            self.forget(step)?;
        }
        Ok(())
    }

    fn forget(&mut self, step: u64) -> Result<()> {
        durable::remove_folder(&self.place.checkpoints.join(checkpoint::name(step)))?;
        self.recorder.checkpoint_deleted(&self.row_path(step), now_utc())?;
        self.kept.retain(|&kept| kept != step);
        Ok(())
    }

    /// The weights of this step.
    fn weights(&self, kind: CheckpointKind) -> Weights {
        Weights { kind, step: self.step, tokens_seen: self.tokens_seen }
    }

    /// The cheap evaluation on the way: one pass over a fixed part, in the common context.
    fn evaluate_cheaply(&mut self) -> Result<EvaluationRow> {
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
                evaluate::score(&mut self.learner, part, plan.scored_tokens, native, GROUP, &mut predicted)?;
            }
        }
        let scores = evaluate::score(&mut self.learner, part, plan.periodic_tokens, layout, GROUP, &mut predicted)?;
        let row = self.weights(CheckpointKind::Periodic).row("validation", Protocol::Common, layout, &scores, started);
        if last {
            self.predicted = predicted;
        }
        Ok(row)
    }

    fn interrupt(mut self) -> Result<Ended> {
        self.recorder.phase(Phase::Saving);
        // A checkpoint of this very step is already there, and may have a row: it is not replaced by one without.
        if self.step > 0 && !self.kept.contains(&self.step) {
            self.save(Reason::Interrupted, None)?;
        }
        self.recorder.flush()?;
        Ok(Ended::Interrupted { step: self.step })
    }

    fn diverge(self, reason: String) -> Result<Ended> {
        tracing::warn!(reason, "diverged");
        self.recorder.flush()?;
        let summary = self.summary(Vec::new());
        Ok(Ended::Diverged { reason, summary })
    }

    fn summary(&self, scores: Vec<EvaluationRow>) -> Summary {
        Summary { steps: self.step, tokens_seen: self.tokens_seen, training_seconds: self.training_seconds, scores, sample: None }
    }

    /// The final weights are scored in full, and the best ones where they are others; then what need not stay goes.
    fn finish(mut self, device: &Device) -> Result<Ended> {
        self.recorder.phase(Phase::Scoring);
        let held_out = (self.job, &self.held_out);
        let in_full = |learner: &mut Learner, predicted: &mut Predicted, weights, recorder: &mut dyn Recorder| {
            scoring::in_full(held_out, learner, predicted, weights, recorder, &|| false).map(Option::unwrap_or_default)
        };
        let weights = self.weights(CheckpointKind::Final);
        let mut scores = in_full(&mut self.learner, &mut self.predicted, weights, &mut *self.recorder)?;
        // Before the best weights take the place of the final ones.
        let sample = self.sample(device);
        if let Some(best) = self.best.filter(|best| best.step != self.step) {
            let folder = self.place.checkpoints.join(checkpoint::name(best.step));
            let (position, values) = checkpoint::load_weights(&folder, &self.config)?;
            self.learner.set_values(&values)?;
            drop(values);
            self.predicted = Predicted::default();
            let weights = Weights { kind: CheckpointKind::Best, step: best.step, tokens_seen: position.tokens_seen };
            scores.extend(in_full(&mut self.learner, &mut self.predicted, weights, &mut *self.recorder)?);
        }
        self.recorder.flush()?;
        self.tidy()?;
        self.recorder.flush()?;
        Ok(Ended::Completed(Summary { sample, ..self.summary(scores) }))
    }

    /// A short text by the final weights. It changes nothing, and a trial that is trained and scored does not fail for it.
    fn sample(&self, device: &Device) -> Option<Sample> {
        let (part, tokens) = (self.held_out.validation.as_ref(), sample::tokens_after(self.tokens_seen));
        if tokens == 0 {
            return None;
        }
        match sample::of_trial(self.job, self.place.experiment, part, &self.learner, device, tokens) {
            Ok(sample) => Some(Sample { step: self.step, ..sample }),
            Err(error) => {
                tracing::warn!(error = error.chain(), "no sample could be made");
                None
            }
        }
    }

    /// What stays of a complete trial: `checkpoint.when_done`.
    fn tidy(&mut self) -> Result<()> {
        let when_done = self.job.settings.checkpoint.when_done;
        if when_done == WhenDone::All {
            return Ok(());
        }
        let best = self.best.map(|b| b.step).filter(|_| when_done == WhenDone::Weights);
        for step in self.kept.clone() {
            if step == self.step || Some(step) == best {
                checkpoint::keep_weights_only(&self.place.checkpoints.join(checkpoint::name(step)))?;
            } else {
                self.forget(step)?;
            }
        }
        Ok(())
    }
}
