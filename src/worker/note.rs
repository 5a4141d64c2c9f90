//! How far a trial is, noted for its runner and for people.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::experiment::settings::Budget;
use crate::record::ParquetRecorder;
use crate::runs::{Attempt, Progress, TrialFolder, begin_attempt, now_utc, write_progress};
use crate::train::Job;
use crate::train::recorder::{CheckpointRow, EvaluationRow, Phase, Positions, Recorder, StepRow, TokenNll};

/// Between two notes of how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Records, and notes now and then how far the trial is.
pub(super) struct Noting {
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

impl Noting {
    /// Notes what `attempt` makes of the job, beside the record that `parquet` keeps.
    pub(super) fn new(parquet: ParquetRecorder, folder: &TrialFolder, job: &Job, attempt: &Attempt) -> Self {
        let minutes = match job.settings.train.budget {
            Budget::Minutes(minutes) => Some(minutes),
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
        let (folder, attempt) = (folder.clone(), attempt.clone());
        Self { parquet, folder, attempt, progress, told: None, loss: None, rate: None, minutes }
    }

    /// What was recorded.
    pub(super) fn into_record(self) -> ParquetRecorder {
        self.parquet
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

/// Smooths over about the last twenty steps.
fn smooth(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + 0.1 * (new - old))
}

impl Recorder for Noting {
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
