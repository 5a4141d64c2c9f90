//! The recorder that a worker gives to its training: rows in, Parquet files out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::rows::{
    checkpoints_rows, checkpoints_table, evaluations_rows, evaluations_table, positions_rows, positions_table, token_nll_rows,
    token_nll_tables,
};
use super::schema;
use super::steps::{PART_ROWS, StepsFile};
use super::table::{Groups, Table, write_tables};
use crate::durable;
use crate::error::{Kind, Result};
use crate::plan::TrialId;
use crate::rows::{CheckpointKind, CheckpointRow, EvaluationRow, Positions, Recorded, Recorder, StepRow, TokenNll, now_utc};
use crate::runs::{Clipping, Published, TrialFolder, WEIGHTS};

/// How long rows may stay in memory only.
const FLUSH_AFTER: Duration = Duration::from_secs(30);

/// Writes a trial's rows into its folder.
///
/// A step is appended in memory; files are rewritten whole by [`Recorder::flush`], which the training calls before it writes a
/// checkpoint, and at most every 30 seconds. Rows of checkpoints are on disk when the call returns. How the steps of a
/// long trial are kept, and how a reader sees them, is told in `steps.rs`: a pattern over `trials/*/steps.parquet` never sees a row
/// twice, and sees all of them when the trial is complete ([`ParquetRecorder::finish`]).
pub struct ParquetRecorder {
    folder: TrialFolder,
    trial_id: String,
    steps: StepsFile,
    evaluations: Vec<EvaluationRow>,
    evaluations_changed: bool,
    checkpoints: Vec<CheckpointRow>,
    token_nll: Vec<TokenNll>,
    positions: Vec<Positions>,
    /// The other tables as they were written last, by name.
    written: BTreeMap<String, Published>,
    flush_after: Duration,
    flushed: Instant,
}

impl ParquetRecorder {
    /// Reads back the rows that earlier attempts left. A damaged file is an error that names it; of the steps of a long trial those
    /// count that lead up to a damaged part.
    pub fn open(folder: &TrialFolder, trial_id: &TrialId) -> Result<Self> {
        Self::with(folder, trial_id, PART_ROWS, FLUSH_AFTER)
    }

    fn with(folder: &TrialFolder, trial_id: &TrialId, part_rows: usize, flush_after: Duration) -> Result<Self> {
        Ok(Self {
            folder: folder.clone(),
            trial_id: trial_id.as_str().to_owned(),
            steps: StepsFile::open(folder, trial_id.as_str(), part_rows)?,
            evaluations: read(&folder.evaluations(), schema::evaluations(), evaluations_rows)?,
            evaluations_changed: false,
            checkpoints: read(&folder.checkpoints_parquet(), schema::checkpoints(), checkpoints_rows)?,
            token_nll: Vec::new(),
            positions: Vec::new(),
            written: BTreeMap::new(),
            flush_after,
            flushed: Instant::now(),
        })
    }

    /// Number of steps that are recorded.
    pub fn steps(&self) -> usize {
        self.steps.rows()
    }

    /// Target tokens trained on by the recorded steps, and the seconds that these took together.
    pub fn trained(&self) -> (i64, f64) {
        self.steps.trained()
    }

    /// The evaluations recorded so far.
    pub fn evaluations(&self) -> &[EvaluationRow] {
        &self.evaluations
    }

    /// The checkpoints recorded so far, also those deleted since.
    pub fn checkpoints(&self) -> &[CheckpointRow] {
        &self.checkpoints
    }

    /// How large the gradients of all recorded steps were, and how often they were clipped. `None` without a step.
    pub fn clipping(&self) -> Result<Option<Clipping>> {
        let (norms, clipped) = self.steps.norms()?;
        Ok(Clipping::of(norms, clipped))
    }

    /// Puts everything on disk and merges the parts of a long trial into one `steps.parquet`. To be called before the
    /// trial's outcome is written, which says what was written: all tables, and the weights that stay.
    pub fn finish(mut self) -> Result<Vec<Published>> {
        self.flush()?;
        if !self.folder.checkpoints_parquet().exists() {
            self.write_checkpoints()?;
        }
        let weights = self.weights();
        let tables = self.steps.merge()?.into_iter().chain(self.written.into_values());
        Ok(tables.chain(weights).collect())
    }

    /// The weights that lie there, as their rows say.
    fn weights(&self) -> Vec<Published> {
        let there = self.checkpoints.iter().filter(|row| row.deleted_utc.is_none());
        let weights = there.filter_map(|row| {
            let name = format!("{}/{WEIGHTS}", row.path);
            let found = std::fs::metadata(self.folder.path().join(&name)).ok()?;
            Some(Published::of(&name, &found, None, row.blake3.clone()))
        });
        weights.collect()
    }

    fn wrote(&mut self, written: Published) {
        self.written.insert(written.name.clone(), written);
    }

    fn write_evaluations(&mut self) -> Result<()> {
        if self.evaluations_changed {
            let table = evaluations_table(&self.trial_id, &self.evaluations);
            let written = table.write(&self.folder.evaluations(), Some(&self.trial_id))?;
            self.wrote(written);
            self.evaluations_changed = false;
        }
        Ok(())
    }

    fn write_checkpoints(&mut self) -> Result<()> {
        let table = checkpoints_table(&self.trial_id, &self.checkpoints);
        let written = table.write(&self.folder.checkpoints_parquet(), Some(&self.trial_id))?;
        self.wrote(written);
        Ok(())
    }

    /// Without scores there is no file.
    fn write_token_nll(&mut self) -> Result<()> {
        if self.token_nll.is_empty() {
            return durable::remove_file(&self.folder.token_nll());
        }
        let written = write_token_nll(&self.folder, &self.trial_id, &self.token_nll)?;
        self.wrote(written);
        Ok(())
    }

    /// Without scores there is no file.
    fn write_positions(&mut self) -> Result<()> {
        if self.positions.is_empty() {
            return durable::remove_file(&self.folder.positions());
        }
        let written = write_positions(&self.folder, &self.trial_id, &self.positions)?;
        self.wrote(written);
        Ok(())
    }

    /// What lies there of the best weights' tokens and positions; of a damaged file nothing.
    fn scores_of_best(&self) -> Result<(Vec<TokenNll>, Vec<Positions>)> {
        let (tokens, positions) = (self.folder.token_nll(), self.folder.positions());
        let tokens = if tokens.exists() { readable(token_nll_of_best(&tokens))? } else { Vec::new() };
        let mut positions = readable(read(&positions, schema::positions(), positions_rows))?;
        positions.retain(|positions| is_best(positions.kind));
        Ok((tokens, positions))
    }
}

fn is_best(kind: CheckpointKind) -> bool {
    kind == CheckpointKind::Best
}

/// What was read; nothing, and a word of it, where the file is damaged.
fn readable<T>(rows: Result<Vec<T>>) -> Result<Vec<T>> {
    match rows {
        Err(error) if error.kind() == Kind::Data => {
            tracing::warn!(error = error.chain(), "scores of the best weights are lost");
            Ok(Vec::new())
        }
        rows => rows,
    }
}

/// The scores of the best weights' tokens, row group by row group: those of the final ones are never in memory.
fn token_nll_of_best(path: &Path) -> Result<Vec<TokenNll>> {
    let mut all: Vec<TokenNll> = Vec::new();
    for group in Groups::open(path, schema::token_nll())? {
        let Some(scores) = token_nll_rows(&group?)?.filter(|scores| is_best(scores.kind)) else { continue };
        match all.last_mut().filter(|of| (of.protocol, of.context, of.stride) == (scores.protocol, scores.context, scores.stride))
        {
            Some(of) => {
                of.positions.extend(scores.positions);
                of.tokens.extend(scores.tokens);
                of.nll.extend(scores.nll);
            }
            None => all.push(scores),
        }
    }
    Ok(all)
}

pub(super) fn write_token_nll(folder: &TrialFolder, trial_id: &str, all: &[TokenNll]) -> Result<Published> {
    let tables = all.iter().flat_map(|scores| token_nll_tables(trial_id, scores)).map(Ok);
    write_tables(&folder.token_nll(), &schema::token_nll(), Some(trial_id), tables)
}

pub(super) fn write_positions(folder: &TrialFolder, trial_id: &str, all: &[Positions]) -> Result<Published> {
    positions_table(trial_id, all).write(&folder.positions(), Some(trial_id))
}

impl Recorder for ParquetRecorder {
    fn recorded(&self, step: i64) -> Option<Recorded> {
        let on_the_way = self.evaluations.iter().filter(|row| row.step <= step && row.kind == CheckpointKind::Periodic);
        Some(Recorded { steps: self.steps.rows() as i64, evaluations: on_the_way.count() as i64 })
    }

    /// Checkpoints whose folder is gone without a row saying so were deleted by a process that was killed before it
    /// could tell. A table without rows is on disk when the trial has ended, not when it begins.
    fn resume(&mut self, step: i64) -> Result<()> {
        self.steps.resume(step)?;
        self.evaluations.retain(|row| row.step <= step && row.kind != CheckpointKind::Final);
        self.evaluations_changed = true;
        if !self.evaluations.is_empty() || self.folder.evaluations().exists() {
            self.write_evaluations()?;
        }
        self.checkpoints.retain(|row| row.step <= step);
        let now = now_utc();
        for row in self.checkpoints.iter_mut().filter(|row| row.deleted_utc.is_none()) {
            if !self.folder.path().join(&row.path).exists() {
                row.deleted_utc = Some(now);
            }
        }
        if !self.checkpoints.is_empty() || self.folder.checkpoints_parquet().exists() {
            self.write_checkpoints()?;
        }
        let has_best = self.evaluations.iter().any(|row| is_best(row.kind));
        (self.token_nll, self.positions) = if has_best { self.scores_of_best()? } else { Default::default() };
        self.write_token_nll()?;
        self.write_positions()?;
        self.flushed = Instant::now();
        Ok(())
    }

    fn keep_best(&mut self, like: &[EvaluationRow]) -> Result<Vec<EvaluationRow>> {
        let measure =
            |row: &EvaluationRow| (row.part, row.protocol, row.context, row.stride, row.scored_tokens, row.scored_bytes);
        let best: Vec<EvaluationRow> = self.evaluations.iter().filter(|row| is_best(row.kind)).cloned().collect();
        if best.iter().all(|row| like.iter().any(|other| measure(other) == measure(row))) {
            return Ok(best);
        }
        self.evaluations.retain(|row| !is_best(row.kind));
        self.evaluations_changed = true;
        self.token_nll.retain(|scores| !is_best(scores.kind));
        self.positions.retain(|positions| !is_best(positions.kind));
        self.write_token_nll()?;
        self.write_positions()?;
        Ok(Vec::new())
    }

    fn step(&mut self, row: &StepRow) -> Result<()> {
        self.steps.push(row);
        if self.flushed.elapsed() < self.flush_after {
            return Ok(());
        }
        match self.flush() {
            // The rows stay here until there is room. No checkpoint is written without them.
            Err(error) if error.kind() == Kind::DiskFull => {
                tracing::warn!(error = error.chain(), "steps are not written yet");
                self.flushed = Instant::now();
                Ok(())
            }
            flushed => flushed,
        }
    }

    /// An evaluation of the same weights by the same protocol replaces the earlier one. Here and in the scores of tokens and positions the
    /// best weights come last, as where they are scored last: they may be of an earlier attempt.
    fn evaluation(&mut self, row: &EvaluationRow) -> Result<()> {
        let same = |other: &EvaluationRow| {
            (other.step, other.protocol, other.kind, &other.part, other.context, other.stride)
                == (row.step, row.protocol, row.kind, &row.part, row.context, row.stride)
        };
        match self.evaluations.iter_mut().find(|other| same(other)) {
            Some(earlier) => *earlier = row.clone(),
            None => self.evaluations.push(row.clone()),
        }
        self.evaluations.sort_by_key(|row| is_best(row.kind));
        self.evaluations_changed = true;
        Ok(())
    }

    /// A checkpoint of the same step and kind replaces the earlier row.
    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()> {
        match self.checkpoints.iter_mut().find(|other| (other.step, other.kind) == (row.step, row.kind)) {
            Some(earlier) => *earlier = row.clone(),
            None => self.checkpoints.push(row.clone()),
        }
        self.write_checkpoints()
    }

    fn checkpoint_deleted(&mut self, path: &str, time_utc: i64) -> Result<()> {
        for row in self.checkpoints.iter_mut().filter(|row| row.path == path && row.deleted_utc.is_none()) {
            row.deleted_utc = Some(time_utc);
        }
        self.write_checkpoints()
    }

    fn token_nll(&mut self, scores: &TokenNll) -> Result<()> {
        let key = |s: &TokenNll| (s.protocol, s.context, s.stride, s.kind);
        match self.token_nll.iter_mut().find(|other| key(other) == key(scores)) {
            Some(earlier) => *earlier = scores.clone(),
            None => self.token_nll.push(scores.clone()),
        }
        self.token_nll.sort_by_key(|scores| is_best(scores.kind));
        self.write_token_nll()
    }

    fn positions(&mut self, positions: &Positions) -> Result<()> {
        self.positions.retain(|other| (other.protocol, other.kind) != (positions.protocol, positions.kind));
        self.positions.push(positions.clone());
        self.positions.sort_by_key(|positions| is_best(positions.kind));
        self.write_positions()
    }

    fn flush(&mut self) -> Result<()> {
        self.steps.flush()?;
        self.write_evaluations()?;
        self.flushed = Instant::now();
        Ok(())
    }
}

pub(super) fn read<T>(path: &Path, schema: schema::Schema, rows: impl Fn(&Table) -> Result<Vec<T>>) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    rows(&Table::read(path, schema)?).map_err(|e| e.context(format!("{} is damaged", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::rows::tests::{checkpoint, evaluation, step};
    use crate::rows::{PositionBin, Protocol};

    fn trial() -> (tempfile::TempDir, TrialFolder, TrialId) {
        let dir = tempfile::tempdir().unwrap();
        let folder = TrialFolder::at(dir.path());
        (dir, folder, TrialId::of("a"))
    }

    fn scores(kind: CheckpointKind, nll: f32) -> TokenNll {
        TokenNll {
            protocol: Protocol::Common,
            context: 32,
            stride: 16,
            kind,
            positions: vec![2, 3, 4],
            tokens: vec![7, 8, 9],
            nll: vec![nll; 3],
        }
    }

    fn positions(kind: CheckpointKind, nll_sum: f64) -> Positions {
        let bin = |first, last| PositionBin { first, last, tokens: 9, nll_sum };
        Positions { protocol: Protocol::Native, context: 4, kind, bins: vec![bin(1, 1), bin(2, 2), bin(3, 4)] }
    }

    /// What a trial of 40 steps tells, from after `step` on; a checkpoint each tenth.
    fn train(recorder: &mut ParquetRecorder, folder: &TrialFolder, from: i64, to: i64) {
        recorder.resume(from).unwrap();
        for number in from + 1..=to {
            recorder.step(&step(number)).unwrap();
            if number % 10 == 0 {
                recorder.evaluation(&evaluation(number, CheckpointKind::Periodic)).unwrap();
                recorder.flush().unwrap();
                let row = checkpoint(number, CheckpointKind::Periodic);
                std::fs::create_dir_all(folder.path().join(&row.path)).unwrap();
                recorder.checkpoint(&row).unwrap();
                if number > 10 {
                    let old = checkpoint(number - 10, CheckpointKind::Periodic).path;
                    std::fs::remove_dir_all(folder.path().join(&old)).unwrap();
                    recorder.checkpoint_deleted(&old, 5).unwrap();
                }
            }
        }
    }

    fn files(folder: &TrialFolder) -> Vec<Vec<u8>> {
        [folder.steps(), folder.evaluations(), folder.checkpoints_parquet(), folder.token_nll(), folder.positions()]
            .map(|path| std::fs::read(path).unwrap())
            .to_vec()
    }

    fn finish(mut recorder: ParquetRecorder) {
        recorder.evaluation(&evaluation(40, CheckpointKind::Final)).unwrap();
        recorder.token_nll(&scores(CheckpointKind::Final, 1.0)).unwrap();
        recorder.positions(&positions(CheckpointKind::Final, 1.0)).unwrap();
        recorder.finish().unwrap();
    }

    #[test]
    fn a_trial_that_was_killed_and_resumed_leaves_the_same_bytes() {
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        train(&mut recorder, &folder, 0, 40);
        finish(recorder);
        let expected = files(&folder);
        for killed in [0, 3, 10, 27, 30, 39] {
            let (_dir, folder, id) = trial();
            let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
            train(&mut recorder, &folder, 0, killed);
            recorder.evaluation(&evaluation(killed, CheckpointKind::Final)).unwrap();
            recorder.flush().unwrap();
            drop(recorder);
            let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
            train(&mut recorder, &folder, killed / 10 * 10, 40);
            finish(recorder);
            assert_eq!(files(&folder), expected, "killed at {killed}");
        }
    }

    #[test]
    fn rows_reach_the_disk_after_a_while_without_a_checkpoint() {
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::with(&folder, &id, 100, Duration::ZERO).unwrap();
        recorder.step(&step(1)).unwrap();
        assert_eq!(ParquetRecorder::open(&folder, &id).unwrap().steps(), 1);
        let mut patient = ParquetRecorder::open(&folder, &id).unwrap();
        patient.step(&step(2)).unwrap();
        assert_eq!(ParquetRecorder::open(&folder, &id).unwrap().steps(), 1, "not before its time");
        patient.flush().unwrap();
        assert_eq!(ParquetRecorder::open(&folder, &id).unwrap().steps(), 2);
    }

    #[test]
    fn a_deleted_checkpoint_keeps_its_row() {
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        train(&mut recorder, &folder, 0, 20);
        let rows = ParquetRecorder::open(&folder, &id).unwrap().checkpoints().to_vec();
        let seen: Vec<_> = rows.iter().map(|row| (row.step, row.deleted_utc)).collect();
        assert_eq!(seen, [(10, Some(5)), (20, None)]);
    }

    #[test]
    fn a_checkpoint_that_vanished_untold_is_marked_at_resume() {
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        train(&mut recorder, &folder, 0, 10);
        std::fs::remove_dir_all(folder.checkpoints()).unwrap();
        recorder.resume(10).unwrap();
        assert!(recorder.checkpoints()[0].deleted_utc.is_some());
    }

    #[test]
    fn the_same_evaluation_made_again_replaces_the_first() {
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        recorder.evaluation(&evaluation(10, CheckpointKind::Periodic)).unwrap();
        recorder.evaluation(&EvaluationRow { nll_sum: Some(1.0), ..evaluation(10, CheckpointKind::Periodic) }).unwrap();
        recorder.evaluation(&EvaluationRow { context: 64, ..evaluation(10, CheckpointKind::Periodic) }).unwrap();
        let sums: Vec<_> = recorder.evaluations().iter().map(|row| row.nll_sum).collect();
        assert_eq!(sums, [Some(1.0), Some(2_000.0)]);
    }

    #[test]
    fn token_scores_of_best_and_final_lie_in_one_file_and_go_at_resume() {
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        recorder.token_nll(&scores(CheckpointKind::Best, 1.0)).unwrap();
        recorder.token_nll(&scores(CheckpointKind::Final, 2.0)).unwrap();
        recorder.token_nll(&scores(CheckpointKind::Final, f32::INFINITY)).unwrap();
        let table = Table::read(&folder.token_nll(), schema::token_nll()).unwrap();
        assert_eq!(table.int64("position"), [2, 3, 4, 2, 3, 4].map(Some));
        assert_eq!(table.float64("nll"), [None, None, None, Some(1.0), Some(1.0), Some(1.0)]);
        recorder.positions(&positions(CheckpointKind::Final, 1.0)).unwrap();
        recorder.positions(&positions(CheckpointKind::Final, f64::NAN)).unwrap();
        let table = Table::read(&folder.positions(), schema::positions()).unwrap();
        assert_eq!(table.int64("last_position"), [1, 2, 4].map(Some));
        assert_eq!(table.float64("nll_sum"), [None; 3]);
        recorder.resume(0).unwrap();
        assert!(!folder.token_nll().exists() && !folder.positions().exists());
    }

    #[test]
    fn scores_of_best_weights_that_are_gone_outlive_kills_and_end_in_the_same_bytes() {
        let tell = |recorder: &mut ParquetRecorder, kind, step| {
            let row = evaluation(step, kind);
            recorder.evaluation(&row).unwrap();
            recorder.positions(&positions(kind, 1.5)).unwrap();
            for protocol in [Protocol::Common, Protocol::Native] {
                recorder.token_nll(&TokenNll { protocol, ..scores(kind, step as f32) }).unwrap();
            }
            recorder.flush().unwrap();
            row
        };
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        train(&mut recorder, &folder, 0, 40);
        tell(&mut recorder, CheckpointKind::Final, 40);
        let best = tell(&mut recorder, CheckpointKind::Best, 20);
        recorder.finish().unwrap();
        let expected = files(&folder);
        // Killed before and after the final weights are scored again.
        for scored in [false, true, true] {
            let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
            recorder.resume(40).unwrap();
            if scored {
                let last = tell(&mut recorder, CheckpointKind::Final, 40);
                assert_eq!(recorder.keep_best(std::slice::from_ref(&last)).unwrap(), std::slice::from_ref(&best));
            }
        }
        assert_eq!(files(&folder), expected);
        // Lost are those of another measure, and all of them where they are to be made again.
        for like in [vec![], vec![EvaluationRow { context: 64, ..best.clone() }]] {
            let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
            recorder.resume(40).unwrap();
            tell(&mut recorder, CheckpointKind::Final, 40);
            assert_eq!(recorder.keep_best(&like).unwrap(), []);
            recorder.finish().unwrap();
            assert_ne!(files(&folder), expected);
            let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
            assert!(recorder.evaluations().iter().all(|row| row.kind != CheckpointKind::Best));
            tell(&mut recorder, CheckpointKind::Best, 20);
        }
        // A damaged table costs what it held.
        std::fs::write(folder.token_nll(), b"torn").unwrap();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        recorder.resume(40).unwrap();
        assert!(!folder.token_nll().exists());
        assert_eq!(recorder.keep_best(std::slice::from_ref(&best)).unwrap(), [best]);
    }

    #[test]
    fn no_temporary_file_matches_a_parquet_pattern_or_stays() {
        let (_dir, folder, id) = trial();
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        train(&mut recorder, &folder, 0, 40);
        finish(recorder);
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let kinds = ["checkpoints", "evaluations", "positions", "steps", "token_nll"].map(|kind| format!("{kind}.parquet"));
        assert_eq!(names, [&["checkpoints".to_owned()][..], &kinds].concat());
    }

    #[test]
    fn a_damaged_file_of_any_kind_is_named_when_the_recorder_opens() {
        for name in ["steps.parquet", "evaluations.parquet", "checkpoints.parquet"] {
            let (dir, folder, id) = trial();
            std::fs::write(dir.path().join(name), b"torn").unwrap();
            let error = ParquetRecorder::open(&folder, &id).err().unwrap();
            assert!(error.to_string().ends_with(&format!("{name} is damaged")), "{error}");
        }
    }
}
