//! The checkpoints of a trial, and the rows that tell of them.

use super::Trial;
use crate::durable;
use crate::error::Result;
use crate::experiment::settings::WhenDone;
use crate::train::checkpoint::{self, ARITHMETIC, Position, Reason, Written};
use crate::train::recorder::{CheckpointKind, CheckpointRow};

impl Trial<'_> {
    /// Makes rows and folders agree after a kill: the row of the checkpoint that is gone on from may not have been written, a
    /// deletion may not have been noted, and folders after it are of no use.
    pub(super) fn reconcile(&mut self, position: Option<&Position>, written: Option<Written>) -> Result<()> {
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
                self.recorder.checkpoint_deleted(&self.row_path(step), super::now_utc())?;
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

    /// Writes the position, the weights and the moments.
    pub(super) fn save(&mut self, reason: Reason, validation_loss: Option<f64>) -> Result<()> {
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
            kept: self.kept.clone(),
            time_utc: super::now_utc(),
        };
        let tokenizer = self.place.experiment.join(&self.job.corpus.tokenizer_file);
        let state = self.backend.state()?;
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
        self.recorder.checkpoint_deleted(&self.row_path(step), super::now_utc())?;
        self.kept.retain(|&kept| kept != step);
        Ok(())
    }

    /// What stays of a complete trial: `checkpoint.when_done`.
    pub(super) fn tidy(&mut self) -> Result<()> {
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
