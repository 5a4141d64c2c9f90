//! What is recorded when a finished trial is scored again.

use super::parquet_recorder::{read, write_positions, write_token_nll};
use super::rows::{evaluations_rows, evaluations_table};
use super::schema;
use crate::error::{Error, Result};
use crate::plan::TrialId;
use crate::rows::{CheckpointKind, CheckpointRow, EvaluationRow, Positions, Recorder, StepRow, TokenNll};
use crate::runs::{Published, TrialFolder};

/// What a trial's weights are worth when they are scored again: kept in memory until all of it is there, then put in place of
/// the scores in full that lie in the trial's folder. Its steps, its checkpoints and its cheap evaluations on the way stay.
#[derive(Debug, Default)]
pub struct ScoresAgain {
    evaluations: Vec<EvaluationRow>,
    token_nll: Vec<TokenNll>,
    positions: Vec<Positions>,
}

impl ScoresAgain {
    /// Replaces the scores in full, file by file, each whole or not at all. The trial's outcome, which decides, is to be
    /// written after this: until then the trial counts as scored the old way, and is scored again. What was written.
    pub fn write(self, folder: &TrialFolder, trial_id: &TrialId) -> Result<Vec<Published>> {
        let mut rows = read(&folder.evaluations(), schema::evaluations(), evaluations_rows)?;
        rows.retain(|row| row.kind == CheckpointKind::Periodic);
        rows.extend(self.evaluations);
        Ok(vec![
            write_token_nll(folder, trial_id.as_str(), &self.token_nll)?,
            write_positions(folder, trial_id.as_str(), &self.positions)?,
            evaluations_table(trial_id.as_str(), &rows).write(&folder.evaluations(), Some(trial_id.as_str()))?,
        ])
    }
}

impl Recorder for ScoresAgain {
    fn resume(&mut self, _step: i64) -> Result<()> {
        Err(trains_nothing())
    }

    fn step(&mut self, _row: &StepRow) -> Result<()> {
        Err(trains_nothing())
    }

    fn evaluation(&mut self, row: &EvaluationRow) -> Result<()> {
        self.evaluations.push(row.clone());
        Ok(())
    }

    fn checkpoint(&mut self, _row: &CheckpointRow) -> Result<()> {
        Err(trains_nothing())
    }

    fn checkpoint_deleted(&mut self, _path: &str, _time_utc: i64) -> Result<()> {
        Err(trains_nothing())
    }

    fn token_nll(&mut self, scores: &TokenNll) -> Result<()> {
        self.token_nll.push(scores.clone());
        Ok(())
    }

    fn positions(&mut self, positions: &Positions) -> Result<()> {
        self.positions.push(positions.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

fn trains_nothing() -> Error {
    Error::internal("a trial that is scored again was trained")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ParquetRecorder;
    use crate::record::rows::tests::evaluation;
    use crate::record::table::Table;
    use crate::rows::{PositionBin, Protocol};

    fn scores(context: i64) -> TokenNll {
        let (positions, tokens, nll) = (vec![2, 3], vec![7, 8], vec![1.0, 2.0]);
        let (protocol, kind) = (Protocol::Common, CheckpointKind::Final);
        TokenNll { protocol, context, stride: context / 2, kind, positions, tokens, nll }
    }

    fn positions(context: i64) -> Positions {
        let bins = vec![PositionBin { first: 1, last: 1, tokens: 2, nll_sum: 3.0 }];
        Positions { protocol: Protocol::Native, context, kind: CheckpointKind::Final, bins }
    }

    #[test]
    fn scores_in_full_are_replaced_and_what_was_measured_on_the_way_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, id) = (TrialFolder::at(dir.path()), TrialId::of("a"));
        let row = |step, kind, context| EvaluationRow { context, ..evaluation(step, kind) };
        let tell = |recorder: &mut dyn Recorder, context: i64| {
            recorder.evaluation(&row(40, CheckpointKind::Final, context)).unwrap();
            recorder.evaluation(&row(30, CheckpointKind::Best, context)).unwrap();
            recorder.token_nll(&scores(context)).unwrap();
            recorder.positions(&positions(context)).unwrap();
        };
        let mut recorder = ParquetRecorder::open(&folder, &id).unwrap();
        recorder.evaluation(&row(10, CheckpointKind::Periodic, 64)).unwrap();
        tell(&mut recorder, 64);
        recorder.finish().unwrap();

        let mut again = ScoresAgain::default();
        tell(&mut again, 32);
        again.write(&folder, &id).unwrap();
        let rows = ParquetRecorder::open(&folder, &id).unwrap().evaluations().to_vec();
        let seen: Vec<_> = rows.iter().map(|row| (row.kind, row.context)).collect();
        let (periodic, best, last) = (CheckpointKind::Periodic, CheckpointKind::Best, CheckpointKind::Final);
        assert_eq!(seen, [(periodic, 64), (last, 32), (best, 32)]);
        for (path, schema) in [(folder.token_nll(), schema::token_nll()), (folder.positions(), schema::positions())] {
            let contexts = Table::read(&path, schema).unwrap().int64("context");
            assert!(!contexts.is_empty() && contexts.iter().all(|c| *c == Some(32)), "{}", path.display());
        }
    }
}
