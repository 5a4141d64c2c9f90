//! Scoring a finished trial again.

use std::sync::atomic::AtomicBool;

use super::assignment::{Assignment, Leaves};
use super::heartbeat::Heart;
use crate::durable;
use crate::error::{Error, Result};
use crate::record::ScoresAgain;
use crate::rows::{PROTOCOL, Phase};
use crate::runs::{End, Outcome, Published, write_outcome};
use crate::train::{self, Folders};

/// Scores a finished trial again by the protocol of its job. The outcome is replaced last, so that a kill before that leaves a
/// trial that is still to be scored again. Nothing has changed where it was asked to stop.
pub(super) fn score_again(assignment: &Assignment, heart: &Heart, stop: &AtomicBool) -> Result<Leaves> {
    let (folder, job) = (&assignment.folder, assignment.job()?);
    let outcome: Option<Outcome> = durable::read_json(&folder.outcome())?;
    let Some(outcome) = outcome.filter(|outcome| outcome.end == End::Completed) else {
        return Err(Error::data(format!("trial {} is not complete: there is nothing to score again", job.id)));
    };
    heart.tell(|progress| {
        progress.phase = Phase::Rescoring;
        (progress.step, progress.steps, progress.tokens_seen) = (outcome.steps, job.steps as i64, outcome.tokens_seen);
        (progress.training_seconds, progress.fraction) = (outcome.training_seconds, 1.0);
    });
    tracing::info!(trial = job.id.as_str(), context = job.evaluation.common_context, "is scored again");
    let hardware = assignment.hardware(&job)?;
    // The weights of a trial that is the same as another one lie there.
    let trained = outcome.alias_of.as_ref().unwrap_or(&job.id);
    let checkpoints = folder.beside(trained).checkpoints();
    let folders = Folders { experiment: assignment.experiment()?, checkpoints: &checkpoints, name: "checkpoints" };
    let mut again = ScoresAgain::default();
    let Some(scores) = train::rescore(&job, trained, folders, &hardware, &mut again, stop)? else {
        return Ok(Leaves::Interrupted);
    };
    // For what is about to be replaced the outcome does not vouch until it is there.
    let stay =
        |file: &Published| !["evaluations.parquet", "token_nll.parquet", "positions.parquet"].contains(&file.name.as_str());
    let mut outcome = Outcome { files: outcome.files.into_iter().filter(stay).collect(), ..outcome };
    write_outcome(folder, &outcome)?;
    outcome.files.extend(again.write(folder, &job.id)?);
    write_outcome(folder, &Outcome { scores, protocol: PROTOCOL, ..outcome })?;
    Ok(Leaves::Done)
}
