//! A queue of trials is worked off by processes of this program, and everybody hears what happens.

use std::collections::HashMap;
use std::time::Duration;

use super::alias;
use super::context::Context;
use super::device::cuda_libraries;
use super::job::write_job;
use super::notice::Notice;
use super::observers::{Log, ToListener};
use super::reports::Reports;
use super::tables::Tables;
use super::world::{Cluster, Workers};
use super::{cluster, cluster_jobs};
use crate::error::{Error, Result};
use crate::experiment::settings;
use crate::plan::{Trial, TrialId};
use crate::schedule::slurm::Needed;
use crate::schedule::{Observer, Pace, Patience, Queue, Summary, Work, drive};

/// Between two looks at workers on a cluster, whose files lie on a file system that many share.
const ON_CLUSTER: Duration = Duration::from_secs(1);
/// Seconds until a wish has reached a worker on a cluster, and until it is known that one was killed.
const HEARD_LATER: f64 = 30.0;
const KILLED_LATER: f64 = 60.0;

/// How long what is waited for, by these settings.
pub(super) fn patience(run: &settings::Run) -> Patience {
    let here = Patience { timeout: run.timeout, stopping: run.patience as f64, ..Patience::default() };
    if cluster::is_asked_for(run) {
        Patience { stopping: here.stopping + HEARD_LATER, killed: KILLED_LATER, ..here }
    } else {
        here
    }
}

/// Works a queue off, and obeys signals.
pub(super) fn work_off(
    context: Context<'_>,
    queue: Queue,
    work: Work,
    needed: HashMap<TrialId, Needed>,
    reports: &mut Reports<'_>,
) -> Result<Summary> {
    let Context { session, signals, listener, world } = context;
    let (plan, folder) = (&session.plan, &session.folder);
    let by_id: HashMap<&TrialId, &Trial> = plan.trials.iter().map(|t| (&t.id, t)).collect();
    let planned = |id: &TrialId| by_id.get(id).copied().ok_or_else(|| Error::internal(format!("{id} is not planned")));
    let run = &session.experiment.base.run;
    let cluster = cluster::is_asked_for(run).then(|| {
        Ok::<_, Error>(Cluster {
            shared: cluster_jobs::shared(session, work)?,
            needed: Box::new(move |id| needed.get(id).copied().unwrap_or_default()),
            tell: Box::new(|words| listener.notice(&Notice::Cluster(words))),
        })
    });
    let (cluster, look) = (cluster.transpose()?, if cluster::is_asked_for(run) { ON_CLUSTER } else { Pace::default().look });
    let mut executor = world.executor(Workers {
        folder: folder.clone(),
        device: session.device,
        libraries: cuda_libraries(&session.experiment),
        work,
        prepare: Box::new(|id| write_job(session, planned(id)?, work)),
        make_alias: Box::new(|id, source| alias::record_or_tell(session, planned(id)?, source, listener)),
        cluster,
    })?;
    let mut log = Log::open(folder, listener)?;
    let labels = plan.trials.iter().map(|trial| (trial.id.clone(), session.label(trial))).collect();
    let (mut shown, mut tables) = (ToListener::begin(listener, labels), Tables::new(context));
    let pace = Pace { deadline: session.deadline, patience: patience(run), look, ..Pace::default() };
    let observers: &mut [&mut dyn Observer] = &mut [&mut shown, &mut log, &mut tables, reports];
    Ok(signals.while_workers_run(|| drive(queue, &mut *executor, world.clock(), observers, signals.stop(), pace)))
}
