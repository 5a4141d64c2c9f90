//! What is due after a step: an evaluation, a checkpoint.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::Trainer;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::rows::{ARITHMETIC, CheckpointKind, EvaluationRow, Phase, Protocol, ScoredPart, now_utc};
use crate::train::checkpoint::{Best, Position, Reason};
use crate::train::evaluate::{self, GROUP, Predicted, WindowLayout};
use crate::train::retention::ROWS;
use crate::train::scoring::Weights;

impl Trainer<'_> {
    /// Evaluation, then checkpoint, where they are due. False where `stop` said so before that was done.
    pub(super) fn after_step(&mut self, stop: &AtomicBool) -> Result<bool> {
        self.is_due = true;
        let budget = self.job.settings.train.budget.seconds();
        let before = budget.map_or(0.0, |seconds| (self.training_seconds - self.last_seconds) / seconds);
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
            // The best and the final weights are needed: room is waited for.
            let wait = (kind != CheckpointKind::Periodic).then_some(stop);
            match self.save(Reason::Kept(kind), validation_loss, wait) {
                // What is trained is still in memory, and the next one may find room.
                Err(error) if wait.is_none() && error.kind() == Kind::DiskFull => {
                    tracing::warn!(step = self.step, error = error.chain(), "goes on without a checkpoint");
                }
                saved => saved?,
            }
            self.recorder.phase(Phase::Training);
        }
        self.is_due = false;
        Ok(true)
    }

    /// Writes the position, the weights and the moments. With `stop` room for them is waited for.
    pub(super) fn save(&mut self, reason: Reason, validation_loss: Option<f64>, stop: Option<&AtomicBool>) -> Result<()> {
        // First the rows up to here, then the checkpoint: whoever goes on from it finds them all.
        durable::patiently(self.folders.checkpoints, ROWS, stop, || self.recorder.flush())?;
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
            evaluations: self.recorder.recorded(self.step as i64).map(|recorded| recorded.evaluations),
            due_after: (self.is_due && reason == Reason::Interrupted).then_some(self.last_seconds),
            time_utc: now_utc(),
        };
        self.keeper.save(&self.config, &position, &self.backend.state()?, self.recorder, stop)
    }

    /// The weights of this step.
    pub(super) fn weights(&self, kind: CheckpointKind) -> Weights {
        Weights { kind, step: self.step, tokens_seen: self.tokens_seen }
    }

    /// The cheap evaluation on the way: one pass over a fixed part, in the common context. `None` where `stop` said so.
    pub(super) fn evaluate_cheaply(&mut self, stop: &AtomicBool) -> Result<Option<EvaluationRow>> {
        let (started, plan) = (Instant::now(), &self.job.evaluation);
        let layout = WindowLayout::side_by_side(plan.common_context);
        let validation = self.held_out.validation.as_ref();
        let part = validation.ok_or_else(|| Error::internal("there is no validation part to score"))?;
        let (mut predicted, last) = (Predicted::default(), self.budget_is_spent());
        if last && plan.periodic_tokens == plan.scored_tokens {
            // All of it is about to be scored in full anyhow. Windows side by side begin where the configuration's own do: those
            // first, so that these need not be computed. The checkpoint waits for two passes instead of one.
            let native = WindowLayout::overlapping(self.job.settings.train.sequence_length);
            if native.context > layout.context {
                evaluate::score(&mut *self.backend, part, plan.scored_tokens, native, GROUP, &mut predicted, stop)?;
            }
        }
        let scores = evaluate::score(&mut *self.backend, part, plan.periodic_tokens, layout, GROUP, &mut predicted, stop)?;
        let Some(scores) = scores else { return Ok(None) };
        let row = self.weights(CheckpointKind::Periodic).row(ScoredPart::Validation, Protocol::Common, layout, &scores, started);
        if last {
            self.predicted = predicted;
        }
        Ok(Some(row))
    }
}
