//! The checkpoints of a trial: which stay, which go, and the rows that tell of them.

use std::sync::atomic::AtomicBool;

use super::backend::{Lent, State};
use super::checkpoint::{self, Position, Reason, Written};
use super::{Folders, Job};
use crate::durable;
use crate::error::Result;
use crate::experiment::settings::WhenDone;
use crate::model::Config;
use crate::rows::{CheckpointKind, CheckpointRow, Recorder, now_utc};
use crate::runs::{checkpoint_name, list_checkpoints};

/// The room that rows are waited for with, bytes.
pub(super) const ROWS: u64 = 1 << 20;

/// Keeps them.
pub(super) struct Keeper<'a> {
    job: &'a Job,
    folders: Folders<'a>,
    /// Steps of the checkpoints that have a row, if only in the recorder's memory, and are on disk.
    kept: Vec<u64>,
}

impl<'a> Keeper<'a> {
    /// Takes over what lies there of a trial that goes on from `position` (`None`: from its first step), and makes rows and folders
    /// agree after a kill: the row of the checkpoint that is gone on from may not have been written (it is where `written` is given),
    /// a deletion may not have been noted, and folders after it are of no use.
    pub(super) fn reconciled(
        job: &'a Job,
        folders: Folders<'a>,
        position: Option<&Position>,
        written: Option<Written>,
        recorder: &mut dyn Recorder,
    ) -> Result<Self> {
        let before = position.map_or(Vec::new(), |position| position.kept.clone());
        for (step, folder) in list_checkpoints(folders.checkpoints)? {
            let wanted = before.contains(&step) || position.is_some_and(|p| p.step == step);
            if !wanted {
                durable::remove_folder(&folder)?;
            }
        }
        let on_disk: Vec<u64> = list_checkpoints(folders.checkpoints)?.into_iter().map(|(step, _)| step).collect();
        let mut keeper = Self { job, folders, kept: Vec::new() };
        for step in before {
            if on_disk.contains(&step) {
                keeper.kept.push(step);
            } else {
                recorder.checkpoint_deleted(&keeper.row_path(step), now_utc())?;
            }
        }
        if let Some(position) = position
            && let Reason::Kept(kind) = position.reason
        {
            if let Some(written) = written {
                recorder.checkpoint(&keeper.row(position, kind, &written))?;
            }
            keeper.kept.push(position.step);
            keeper.retire(position, recorder)?;
        }
        recorder.flush()?;
        Ok(keeper)
    }

    /// Steps of the checkpoints that have a row and are on disk.
    pub(super) fn kept(&self) -> &[u64] {
        &self.kept
    }

    /// Writes a checkpoint; where it is one that stays, its row, and those go that it makes superfluous. With `stop` room for each is
    /// waited for.
    pub(super) fn save(
        &mut self,
        config: &Config,
        position: &Position,
        state: &State<Lent<'_>>,
        recorder: &mut dyn Recorder,
        stop: Option<&AtomicBool>,
    ) -> Result<()> {
        let Folders { experiment, checkpoints, .. } = self.folders;
        let tokenizer = experiment.join(&self.job.corpus.tokenizer_file);
        let written = durable::patiently(checkpoints, checkpoint::room(config, &tokenizer), stop, || {
            checkpoint::save(checkpoints, self.job, config, &tokenizer, position, state)
        })?;
        if let Reason::Kept(kind) = position.reason {
            // First: where the disk is full now, the recorder has the row and writes it later.
            self.kept.push(position.step);
            durable::patiently(checkpoints, ROWS, stop, || {
                recorder.checkpoint(&self.row(position, kind, &written))?;
                self.retire(position, recorder)?;
                recorder.flush()
            })?;
        }
        Ok(())
    }

    /// What stays of a trial that is complete at step `last`, where all its scores are on disk: `checkpoint.when_done`. `best` are the
    /// best weights, where they can be read.
    ///
    /// The optimizer of the final weights goes before any checkpoint does. So a final checkpoint without it says that all was scored and
    /// recorded, and a trial that is opened again (it was killed before its outcome was there, or that was damaged later) goes on from it
    /// whether the best weights are still there or not.
    pub(super) fn tidy(&mut self, last: u64, best: Option<u64>, recorder: &mut dyn Recorder) -> Result<()> {
        let when_done = self.job.settings.checkpoint.when_done;
        if when_done == WhenDone::All {
            return Ok(());
        }
        let best = best.filter(|_| when_done == WhenDone::Weights);
        let (stay, go): (Vec<u64>, Vec<u64>) = self.kept.iter().partition(|&&step| step == last || Some(step) == best);
        for step in stay {
            checkpoint::keep_weights_only(&self.folders.checkpoints.join(checkpoint_name(step)))?;
        }
        for step in go {
            self.forget(step, recorder)?;
        }
        Ok(())
    }

    /// Deletes the checkpoints that the newest one made superfluous.
    fn retire(&mut self, newest: &Position, recorder: &mut dyn Recorder) -> Result<()> {
        self.forget_stops(Some(newest.step))?;
        let (keep_last, best) = (self.job.settings.checkpoint.keep_last, newest.best.map(|best| best.step));
        for step in superseded(&self.kept, newest.step, keep_last, best) {
            self.forget(step, recorder)?;
        }
        Ok(())
    }

    /// Deletes those without a row, which stops on the way left, but for the one at this step.
    pub(super) fn forget_stops(&self, newest: Option<u64>) -> Result<()> {
        for (step, folder) in list_checkpoints(self.folders.checkpoints)? {
            if !self.kept.contains(&step) && Some(step) != newest {
                durable::remove_folder(&folder)?;
            }
        }
        Ok(())
    }

    fn forget(&mut self, step: u64, recorder: &mut dyn Recorder) -> Result<()> {
        durable::remove_folder(&self.folders.checkpoints.join(checkpoint_name(step)))?;
        recorder.checkpoint_deleted(&self.row_path(step), now_utc())?;
        self.kept.retain(|&kept| kept != step);
        Ok(())
    }

    fn row_path(&self, step: u64) -> String {
        format!("{}/{}", self.folders.name, checkpoint_name(step))
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
}

/// Which of the checkpoints on disk go, now that one was written at step `newest`: all but the newest `keep_last` ones, the
/// best one and the newest. A pure decision.
fn superseded(on_disk: &[u64], newest: u64, keep_last: usize, best: Option<u64>) -> Vec<u64> {
    let mut older: Vec<u64> = on_disk.iter().copied().filter(|&step| step != newest && Some(step) != best).collect();
    older.sort_unstable();
    older.truncate(older.len().saturating_sub(keep_last.saturating_sub(1)));
    older
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_the_best_stay() {
        for (on_disk, newest, keep, best, gone) in [
            (vec![10, 20, 30], 30, 1, None, vec![10, 20]),
            (vec![10, 20, 30], 30, 1, Some(10), vec![20]),
            (vec![10, 20, 30], 30, 2, None, vec![10]),
            (vec![10, 20, 30], 30, 0, Some(30), vec![10, 20]),
            (vec![10], 10, 1, None, vec![]),
        ] {
            assert_eq!(superseded(&on_disk, newest, keep, best), gone, "{on_disk:?} {newest} {keep} {best:?}");
        }
    }
}
