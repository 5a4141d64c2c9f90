//! How a trial ends: it saves and leaves, diverges, or is scored.

use std::sync::atomic::AtomicBool;

use super::{Ended, Trained, Trainer};
use crate::durable;
use crate::error::{Kind, Result};
use crate::pulse;
use crate::rows::{CheckpointKind, EvaluationRow, Phase, Recorder, Sample};
use crate::train::backend::Backend;
use crate::train::checkpoint::Reason;
use crate::train::evaluate::Predicted;
use crate::train::retention::ROWS;
use crate::train::sample;
use crate::train::scoring::{self, Weights};

impl Trainer<'_> {
    pub(super) fn interrupt(mut self) -> Result<Ended> {
        self.recorder.phase(Phase::Saving);
        // A checkpoint of this very step is already there, and may have a row: it is not replaced by one without.
        if self.step > 0 && !self.keeper.kept().contains(&self.step) {
            self.save(Reason::Interrupted, None, None)?;
        }
        self.leave()
    }

    /// Leaves with everything saved.
    pub(super) fn leave(self) -> Result<Ended> {
        self.recorder.flush()?;
        Ok(Ended::Interrupted { step: self.step })
    }

    pub(super) fn diverge(mut self, reason: String) -> Result<Ended> {
        tracing::warn!(reason, "diverged");
        // Later steps are not told of.
        self.backend.drain()?;
        self.keeper.forget_stops(None)?;
        self.recorder.flush()?;
        let summary = self.summary(Vec::new());
        Ok(Ended::Diverged { reason, summary })
    }

    pub(super) fn summary(&self, scores: Vec<EvaluationRow>) -> Trained {
        Trained {
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
    pub(super) fn finish(mut self, stop: &AtomicBool) -> Result<Ended> {
        self.recorder.phase(Phase::Scoring);
        let held_out = (self.job, &self.held_out);
        let in_full = |backend: &mut dyn Backend, predicted: &mut Predicted, weights, recorder: &mut dyn Recorder| {
            scoring::in_full(held_out, backend, predicted, weights, recorder, stop)
        };
        let weights = self.weights(CheckpointKind::Final);
        let scored = in_full(&mut *self.backend, &mut self.predicted, weights, &mut *self.recorder)?;
        let Some(mut scores) = scored else { return self.leave() };
        // Before the best weights take the place of the final ones.
        let sample = self.sample(stop)?;
        if pulse::is_asked(stop) {
            return self.leave();
        }
        let best = self.best.filter(|best| best.step != self.step);
        let found = best.map(|best| scoring::best_weights(best, self.folders, &self.config)).transpose()?.flatten();
        let (readable, is_gone) = (best.filter(|_| found.is_some()), best.is_some() && found.is_none());
        // What an earlier attempt recorded of weights that are gone cannot be made again.
        let recorded = self.recorder.keep_best(if is_gone { &scores } else { &[] })?;
        if let (Some(best), Some((position, values))) = (best, found) {
            self.backend.set_values(&values)?;
            drop(values);
            self.predicted = Predicted::default();
            let weights = Weights { kind: CheckpointKind::Best, step: best.step, tokens_seen: position.tokens_seen };
            let of_best = in_full(&mut *self.backend, &mut self.predicted, weights, &mut *self.recorder)?;
            let Some(of_best) = of_best else { return self.leave() };
            scores.extend(of_best);
        } else if let Some(best) = best {
            scores.extend(scoring::without_weights(best, &scores, &recorded));
        }
        durable::patiently(self.folders.checkpoints, ROWS, Some(stop), || {
            self.recorder.flush()?;
            self.keeper.tidy(self.step, readable.map(|best| best.step), self.recorder)?;
            self.recorder.flush()
        })?;
        Ok(Ended::Completed(Trained { sample, ..self.summary(scores) }))
    }

    /// A short text by the final weights, which ends where `stop` says so. It changes nothing, and a trial that is trained and scored does
    /// not fail for it, but where a file is there and cannot be read.
    fn sample(&self, stop: &AtomicBool) -> Result<Option<Sample>> {
        let (part, tokens) = (self.held_out.validation.as_ref(), sample::tokens_after(self.tokens_seen));
        if tokens == 0 {
            return Ok(None);
        }
        let values = self.backend.values();
        let made = values
            .and_then(|values| sample::of_trial(self.job, self.folders.experiment, part, (&self.config, &values), tokens, stop));
        match made {
            Ok(sample) => Ok(Some(Sample { step: self.step, ..sample })),
            // The next attempt may read what this one could not.
            Err(error) if matches!(error.kind(), Kind::Io | Kind::DiskFull) => Err(error),
            Err(error) => {
                tracing::warn!(error = error.chain(), "no sample could be made");
                Ok(None)
            }
        }
    }
}
