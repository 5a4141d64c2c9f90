//! What is known before a run of the time that it takes: from shapes that earlier runs have measured.

use jiff::ZonedDateTime;

use super::deadline::deadline;
use super::device::cuda_libraries;
use super::memory::Memory;
use super::probe::{Done, How, Probes};
use super::session::Session;
use super::workers::patience;
use super::{cluster, cluster_jobs};
use crate::error::Result;
use crate::model::gpu::cuda::Search;
use crate::plan::Trial;
use crate::schedule::{Allotment, Machine, Moment};

/// What is known of the trials that are not over. Of other machines, or with other slots, what was measured says nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Forecast {
    /// How many there are.
    pub open: usize,
    /// Seconds that all of them take together; `None` where a shape of theirs was not measured yet, or none is left.
    pub seconds: Option<f64>,
    /// The labels of those that take longer than all the time from now on that the file gives (`run.time`, `run.until`).
    pub too_long: Vec<String>,
}

/// What earlier runs have measured says of the trials of a plan.
///
/// # Errors
/// A time that is none.
pub fn forecast(session: &Session) -> Result<Forecast> {
    let run = &session.experiment.base.run;
    let began = Moment::now();
    let deadline = deadline(run.until.as_deref(), run.time.as_deref(), &ZonedDateTime::now(), began)?;
    let left = deadline.left(began).map(|left| left as f64 / 1e6);
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
    let (mut known, mut labels) = (Vec::new(), Vec::new());
    for trial in &open {
        let Some(measured) = probes.of(trial, plan)? else { continue };
        let seconds = measured.seconds(trial, plan.common_context, Done::of(trial, &session.folder.trial(&trial.id))?)?;
        known.push(seconds);
        if left.is_some_and(|left| seconds > left) {
            labels.push(session.label(trial));
        }
    }
    let is_known = !open.is_empty() && known.len() == open.len();
    Ok(Forecast { open: open.len(), seconds: is_known.then(|| together(&known, slots)), too_long: labels })
}

/// Seconds that trials of so many seconds each take together, as many at a time as there are slots.
pub(super) fn together(seconds: &[f64], slots: usize) -> f64 {
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    (seconds.iter().sum::<f64>() / slots.max(1) as f64).max(longest)
}
