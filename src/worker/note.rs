//! How far a trial is, noted for its runner and for people.

use std::sync::atomic::AtomicBool;

use super::heartbeat::Heart;
use crate::durable;
use crate::error::Result;
use crate::record::ParquetRecorder;
use crate::rows::{CheckpointRow, EvaluationRow, Phase, Positions, Recorded, Recorder, StepRow, TokenNll};
use crate::runs::{Attempt, Progress, TrialFolder, begin_attempt};
use crate::train::Job;

/// The room that is waited for with rows, bytes: of any table, and for each token that was scored.
const ROOM: u64 = 1 << 20;
const TOKEN_BYTES: u64 = 16;

/// Records, and notes how far the trial is.
pub(super) struct Noting<'a> {
    parquet: ParquetRecorder,
    heart: &'a Heart,
    stop: &'a AtomicBool,
    folder: TrialFolder,
    attempt: Attempt,
    /// Smoothed over the last steps.
    loss: Option<f64>,
    rate: Option<f64>,
    /// Where the budget is in minutes.
    budget_seconds: Option<f64>,
}

impl<'a> Noting<'a> {
    /// Notes what `attempt` makes of the job, beside the record that `parquet` keeps. Whoever waits for room heeds `stop`.
    pub(super) fn new(
        parquet: ParquetRecorder,
        (heart, stop): (&'a Heart, &'a AtomicBool),
        folder: &TrialFolder,
        job: &Job,
        attempt: &Attempt,
    ) -> Self {
        let budget_seconds = job.settings.train.budget.seconds();
        heart.change(|progress| progress.steps = job.steps as i64);
        let (folder, attempt) = (folder.clone(), attempt.clone());
        Self { parquet, heart, stop, folder, attempt, loss: None, rate: None, budget_seconds }
    }

    /// What was recorded.
    pub(super) fn into_record(self) -> ParquetRecorder {
        self.parquet
    }
}

/// The share of the budget that is done.
fn fraction(progress: &Progress, budget_seconds: Option<f64>) -> f64 {
    match budget_seconds {
        Some(seconds) => (progress.training_seconds / seconds).min(1.0),
        None => progress.step as f64 / progress.steps.max(1) as f64,
    }
}

/// Smooths over about the last twenty steps.
fn smooth(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + 0.1 * (new - old))
}

impl Recorder for Noting<'_> {
    fn phase(&mut self, phase: Phase) {
        let change = |progress: &mut Progress| progress.phase = phase;
        // Between two steps there may be little time.
        if phase == Phase::Training { self.heart.change(change) } else { self.heart.tell(change) }
    }

    fn starts_over(&mut self, why: &str) {
        self.heart.tell(|progress| progress.starts_over = Some(why.to_owned()));
    }

    fn recorded(&self, step: i64) -> Option<Recorded> {
        self.parquet.recorded(step)
    }

    fn resume(&mut self, step: i64) -> Result<()> {
        self.parquet.resume(step)?;
        if step == 0 {
            return Ok(());
        }
        // What was made before counts: by it, it is told how long the rest will take.
        let (tokens_seen, training_seconds) = self.parquet.trained();
        let budget_seconds = self.budget_seconds;
        self.heart.change(|progress| {
            (progress.step, progress.tokens_seen, progress.training_seconds) = (step, tokens_seen, training_seconds);
            progress.fraction = fraction(progress, budget_seconds);
        });
        self.attempt.from_step = step;
        begin_attempt(&self.folder, &self.attempt)
    }

    fn keep_best(&mut self, like: &[EvaluationRow]) -> Result<Vec<EvaluationRow>> {
        self.parquet.keep_best(like)
    }

    fn step(&mut self, row: &StepRow) -> Result<()> {
        self.loss = row.loss.map(|loss| smooth(self.loss, loss));
        self.rate = Some(smooth(self.rate, row.tokens_per_second));
        let (loss, rate, budget_seconds) = (self.loss, self.rate, self.budget_seconds);
        self.heart.change(|progress| {
            progress.step = row.step;
            progress.tokens_seen = row.tokens_seen;
            progress.training_seconds += row.step_seconds;
            progress.loss = loss;
            progress.tokens_per_second = rate;
            progress.fraction = fraction(progress, budget_seconds);
        });
        self.parquet.step(row)
    }

    fn evaluation(&mut self, row: &EvaluationRow) -> Result<()> {
        self.heart.change(|progress| progress.validation_loss = row.loss());
        self.parquet.evaluation(row)
    }

    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()> {
        self.parquet.checkpoint(row)
    }

    fn checkpoint_deleted(&mut self, path: &str, time_utc: i64) -> Result<()> {
        self.parquet.checkpoint_deleted(path, time_utc)
    }

    // Scores are made in the end, and took their time: room for them is waited for.
    fn token_nll(&mut self, scores: &TokenNll) -> Result<()> {
        let bytes = ROOM + TOKEN_BYTES * scores.nll.len() as u64;
        durable::patiently(self.folder.path(), bytes, Some(self.stop), || self.parquet.token_nll(scores))
    }

    fn positions(&mut self, positions: &Positions) -> Result<()> {
        durable::patiently(self.folder.path(), ROOM, Some(self.stop), || self.parquet.positions(positions))
    }

    fn flush(&mut self) -> Result<()> {
        self.parquet.flush()
    }
}
