//! What a worker is to do: `trial.json`.

use super::session::Session;
use crate::durable;
use crate::error::Result;
use crate::plan::Trial;
use crate::schedule::Work;
use crate::train::Job;

/// Writes `trial.json`. A trial that has begun keeps the evaluation that it began with, so that its rows stay of one kind; one
/// that is scored again is given that of this plan.
pub(super) fn write_job(session: &Session, trial: &Trial, work: Work) -> Result<()> {
    let folder = session.folder.trial(&trial.id);
    durable::create_folder(folder.path())?;
    let begun =
        durable::read_json::<Job>(&folder.job()).ok().flatten().filter(|_| work == Work::Train && folder.checkpoints().exists());
    let job = Job {
        version: Job::VERSION,
        id: trial.id.clone(),
        configuration: trial.configuration,
        seed: trial.seed,
        settings: trial.settings.clone(),
        steps: trial.facts.steps,
        corpus: session.prepared(&trial.settings)?,
        evaluation: match begun {
            Some(job) => job.evaluation,
            None => trial.evaluation(session.plan.common_context)?,
        },
        from: trial.from.clone(),
    };
    durable::write_json(&folder.job(), &job)
}
