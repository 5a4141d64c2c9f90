//! The rows of a trial that is the same as another one, and is therefore not trained.

use super::schema::schemas;
use super::table::{Groups, write_tables};
use crate::durable;
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::{Published, TrialFolder};

/// What tells of the training itself, and stays with the trial that was trained.
const OF_THE_SOURCE: [&str; 2] = ["steps", "checkpoints"];

/// Copies the scores of one trial into the folder of another, row by row under the other's id. Steps and checkpoints are not
/// copied; what the other has of its own is removed. Only by who holds its lock, and before its outcome is written, which says what was
/// written.
pub fn copy_scores(from: &TrialFolder, to: &TrialFolder, id: &TrialId) -> Result<Vec<Published>> {
    let mut written = Vec::new();
    durable::remove_folder(&to.checkpoints())?;
    durable::remove_folder(&to.steps_parts())?;
    for schema in schemas() {
        let name = format!("{}.parquet", schema.name);
        let (source, copy) = (from.path().join(&name), to.path().join(&name));
        if OF_THE_SOURCE.contains(&schema.name) || !source.exists() {
            durable::remove_file(&copy)?;
            continue;
        }
        let groups = Groups::open(&source, schema.clone())?;
        let renamed = groups.map(|table| table.map(|table| table.with_text("trial_id", id.as_str())));
        written.push(write_tables(&copy, &schema, Some(id.as_str()), renamed)?);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::record::ParquetRecorder;
    use crate::record::rows::tests::{checkpoint, evaluation, step};
    use crate::record::schema;
    use crate::record::table::Table;
    use crate::rows::{CheckpointKind, Protocol, Recorder, TokenNll};

    /// A trial of three steps with its scores in two row groups; its folder.
    fn trained(dir: &Path, id: &TrialId) -> TrialFolder {
        let folder = TrialFolder::at(&dir.join(id.as_str()));
        fs::create_dir_all(folder.checkpoints()).unwrap();
        let mut recorder = ParquetRecorder::open(&folder, id).unwrap();
        for number in 1..=3 {
            recorder.step(&step(number)).unwrap();
        }
        recorder.checkpoint(&checkpoint(3, CheckpointKind::Final)).unwrap();
        for kind in [CheckpointKind::Best, CheckpointKind::Final] {
            recorder.evaluation(&evaluation(3, kind)).unwrap();
            let (positions, tokens, nll) = (vec![2, 3], vec![7, 8], vec![0.5, 1.5]);
            let scores = TokenNll { protocol: Protocol::Common, context: 32, stride: 16, kind, positions, tokens, nll };
            recorder.token_nll(&scores).unwrap();
        }
        recorder.finish().unwrap();
        folder
    }

    #[test]
    fn scores_are_copied_under_the_other_id_and_steps_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (source, alias) = (TrialId::of("off"), TrialId::of("100"));
        let from = trained(dir.path(), &source);
        // It had been trained in part before.
        let to = trained(dir.path(), &alias);
        fs::remove_file(to.evaluations()).unwrap();
        copy_scores(&from, &to, &alias).unwrap();
        for (path, schema) in [(to.evaluations(), schema::evaluations()), (to.token_nll(), schema::token_nll())] {
            let table = Table::read(&path, schema.clone()).unwrap();
            assert!(table.text("trial_id").iter().all(|id| id.as_deref() == Some(alias.as_str())), "{}", path.display());
            let original = Table::read(&from.path().join(path.file_name().unwrap()), schema).unwrap();
            assert!(original.text("trial_id").iter().all(|id| id.as_deref() == Some(source.as_str())));
            assert_eq!(table, original.with_text("trial_id", alias.as_str()), "all else is the same");
        }
        let mut left: Vec<_> = fs::read_dir(to.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["evaluations.parquet", "token_nll.parquet"]);
        assert_eq!(from.beside(&alias), to);
    }

    #[test]
    fn what_the_source_does_not_have_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (source, alias) = (TrialId::of("off"), TrialId::of("100"));
        let (from, to) = (trained(dir.path(), &source), trained(dir.path(), &alias));
        fs::remove_file(from.token_nll()).unwrap();
        copy_scores(&from, &to, &alias).unwrap();
        assert!(!to.token_nll().exists() && to.evaluations().exists());
    }

    #[test]
    fn a_damaged_source_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let (source, alias) = (TrialId::of("off"), TrialId::of("100"));
        let from = trained(dir.path(), &source);
        let bytes = fs::read(from.token_nll()).unwrap();
        fs::write(from.token_nll(), &bytes[..bytes.len() / 2]).unwrap();
        let to = from.beside(&alias);
        fs::create_dir(to.path()).unwrap();
        let error = copy_scores(&from, &to, &alias).unwrap_err();
        assert!(error.to_string().ends_with("token_nll.parquet is damaged"), "{error}");
    }
}
