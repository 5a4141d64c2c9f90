//! What is known before a run of the time that it takes: from shapes that earlier runs have measured.

use jiff::ZonedDateTime;

use super::deadline::deadline;
use super::device::cuda_libraries;
use super::memory::Memory;
use super::probe::{How, Probes};
use super::session::Session;
use super::workers::patience;
use super::{cluster, cluster_jobs};
use crate::error::Result;
use crate::model::gpu::cuda::Search;
use crate::plan::Trial;
use crate::schedule::{Allotment, Machine, Moment};

/// The labels of trials that take longer than all the time from now on that the file gives (`run.time`, `run.until`), as far as they
/// are not over and their shapes were measured: of other machines, or with other slots, nothing is known.
///
/// # Errors
/// A time that is none.
pub fn too_long(session: &Session) -> Result<Vec<String>> {
    let run = &session.experiment.base.run;
    let began = Moment::now();
    let deadline = deadline(run.until.as_deref(), run.time.as_deref(), &ZonedDateTime::now(), began)?;
    let Some(left) = deadline.left(began) else { return Ok(Vec::new()) };
    let plan = &session.plan;
    let is_open = |trial: &&Trial| !session.folder.trial(&trial.id).outcome().exists();
    let open: Vec<&Trial> = plan.trials.iter().filter(is_open).collect();
    let planned = Memory::largest_planned(open.iter().copied(), session.device);
    let Allotment { slots, threads } = session.allotment(Machine::this(), run.slots, open.len(), planned);
    let search = Search::usual(cuda_libraries(&session.experiment), &session.folder.cache());
    let gpus = session.gpus().cloned().collect();
    let cluster = if cluster::is_asked_for(run) { Some((cluster_jobs::prober(session)?, 0)) } else { None };
    let how = How { device: session.device, gpus, slots, threads, search, patience: patience(run), cluster };
    let probes = Probes::known(&session.folder, how);
    let mut labels = Vec::new();
    for trial in open {
        let Some(measured) = probes.of(trial, plan)? else { continue };
        if measured.seconds(trial, plan.common_context, 0)? > left as f64 / 1e6 {
            labels.push(session.label(trial));
        }
    }
    Ok(labels)
}
