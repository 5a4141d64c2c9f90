//! A queue of trials is worked off by processes of this program, and everybody hears what happens.

use std::collections::HashMap;

use super::alias;
use super::device::cuda_libraries;
use super::job::write_job;
use super::notice::{Listener, Notice};
use super::session::Session;
use super::signals::Signals;
use super::tables::Tables;
use crate::error::{Error, Result};
use crate::experiment::settings;
use crate::plan::{Trial, TrialId};
use crate::runs::EventLog;
use crate::schedule::{Event, LocalExecutor, LocalSettings, Pace, Patience, Queue, Summary, SystemClock, Work, drive};

/// How long what is waited for, by these settings.
pub(super) fn patience(run: &settings::Run) -> Patience {
    Patience { timeout: run.timeout, stopping: run.patience as f64, ..Patience::default() }
}

/// Works a queue off, and obeys signals.
pub(super) fn work_off(
    session: &Session,
    queue: Queue,
    work: Work,
    signals: &Signals,
    listener: &dyn Listener,
) -> Result<Summary> {
    let (plan, folder) = (&session.plan, &session.folder);
    let by_id: HashMap<&TrialId, &Trial> = plan.trials.iter().map(|t| (&t.id, t)).collect();
    let planned = |id: &TrialId| by_id.get(id).copied().ok_or_else(|| Error::internal(format!("{id} is not planned")));
    let prepare = Box::new(|id: &TrialId| write_job(session, planned(id)?, work));
    let make_alias = Box::new(|id: &TrialId, source: &TrialId| alias::record_or_tell(session, planned(id)?, source, listener));
    let mut settings = LocalSettings::this_program(session.device, &crate::program(), work)?;
    if let Some(folder) = cuda_libraries(&session.experiment) {
        settings.arguments.extend(["--cuda-libraries".into(), folder.into()]);
    }
    let mut executor = LocalExecutor::new(settings, folder.clone(), prepare).with_alias(make_alias);
    let mut log = EventLog::open(&folder.events())?;
    listener.begin(plan.trials.iter().map(|trial| (trial.id.clone(), session.label(trial))).collect());
    let mut tables = Tables::new(session);
    let mut tell_all = |event: &Event, now: i64| {
        listener.event(event, now);
        if let Some(entry) = event.entry(now)
            && let Err(error) = log.append(&entry)
        {
            listener.notice(&Notice::NotLogged(error));
        }
        tables.after(event);
    };
    let pace = Pace { deadline: session.deadline, patience: patience(&session.experiment.base.run), ..Pace::default() };
    let work = || drive(queue, &mut executor, &SystemClock, &mut [&mut tell_all], signals.stop(), pace);
    let summary = signals.while_workers_run(work);
    listener.end();
    Ok(summary)
}
