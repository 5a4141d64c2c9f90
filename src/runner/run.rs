//! The flow of `votive run`: plan, look at what is over, probe, train what is missing, report.

use std::collections::{HashMap, HashSet};

use super::alias::{self, Kinships};
use super::announce;
use super::context::Context;
use super::deadline::deadline;
use super::description::write_description;
use super::device::cuda_libraries;
use super::failure::Failure;
use super::memory::Memory;
use super::mended::mended;
use super::notice::{Listener, Notice};
use super::probe::{Done, How, Measured, Prober, Probes, shapes};
use super::reports::Reports;
use super::rescore;
use super::session::{Asked, Session};
use super::signals::Signals;
use super::tables::write_tables;
use super::workers::{patience, work_off};
use super::world::World;
use super::{cluster, cluster_jobs};
use crate::device::Device;
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings;
use crate::model::gpu::cuda::Search;
use crate::plan::{Trial, TrialId};
use crate::record::write_plan;
use crate::runs::{End, ExperimentFolder, Outcome, Reopen, RunnerLock, State, Status, reopen, states_of};
use crate::schedule::slurm::Needed;
use crate::schedule::{Allotment, Candidate, Conclusion, Machine, Needs, Policy, Queue, Standing, Summary, Work};

/// What is asked of a run.
#[derive(Debug, Clone)]
pub struct Request {
    /// The experiment and its trials.
    pub asked: Asked,
    /// The clock time to end by; over the file's.
    pub until: Option<String>,
    /// Trials at a time; over the file's.
    pub slots: Option<usize>,
    /// Whether time and memory of each shape are measured first.
    pub probe: bool,
    /// Whether finished trials are scored again that were scored otherwise than this plan compares.
    pub rescore: bool,
    /// Beginnings of the ids of trials that are tried again however they ended.
    pub retry: Vec<String>,
    /// Whether trials that are the same as another one are recorded, and not trained.
    pub alias: bool,
}

/// What a run came to.
pub struct Ended {
    /// What training came to; `None` where scoring again was stopped before it.
    pub trained: Option<Summary>,
    /// What scoring again came to; of no trials where it was not asked for.
    pub scored: Summary,
    /// Whether SIGTERM asked to stop, rather than Ctrl-C.
    pub terminated: bool,
    /// The experiment's folder.
    pub folder: ExperimentFolder,
    /// What there is to say of the report, which is written there and was shown; why it is not, where it could not be.
    pub report: Result<String>,
    /// Trials of the whole plan that were not trained, since they are the same as another.
    pub aliases: usize,
    /// Trials of the whole plan.
    pub trials: usize,
    /// Whether two of its tokenizers are the same under other names.
    pub equal_tokenizers: bool,
}

/// Plans an experiment, trains what is missing of it, and has its tables and its report written.
///
/// # Errors
/// Of kind [`Kind::Busy`](crate::error::Kind::Busy) where another runner holds the experiment; where the file is not right; where
/// what must be written cannot be.
pub fn run(request: &Request, signals: &Signals, listener: &dyn Listener, world: &dyn World) -> Result<Ended, Failure> {
    // First of all: preparing a large text takes long, too.
    signals.outlive_the_terminal()?;
    let session = open(request, signals, listener, world)?;
    durable::create_folder(&session.folder.trials())?;
    let _lock = RunnerLock::take(&session.folder)?;
    durable::sweep(session.folder.path())?;
    // Other commands may be writing there: they hold no lock.
    for folder in [session.folder.cache(), session.folder.tokenizers(), session.folder.report()] {
        durable::sweep_abandoned(&folder);
    }
    describe(&session, listener)?;
    let context = Context { session: &session, signals, listener, world };
    let run = Run { context, session: &session, request, listener, machine: Machine::this() };
    let mut reports = Reports::new(context);
    let mut standing = run.standing()?;
    let mut kinships = run.kinships(&mut standing)?;
    let scored = run.score_again(&mut standing, &mut reports)?;
    if scored.stopped.is_some() {
        return Ok(run.finish(None, scored, write_tables(&session, None), reports));
    }
    let aliases = run.look_back(&mut kinships, &mut standing)?;
    let trained = run.train(&kinships, &standing, &mut reports)?;
    // Where nothing was done the tables that were just written are right.
    let tables = if trained.nothing_was_to_do() { Ok(aliases) } else { write_tables(&session, None) };
    Ok(run.finish(Some(trained), scored, tables, reports))
}

/// Reads the file, prepares its texts and plans, until the deadline: what that takes counts.
fn open(request: &Request, signals: &Signals, listener: &dyn Listener, world: &dyn World) -> Result<Session, Failure> {
    let began = world.clock().moment();
    let ends = |run: &settings::Run| {
        let (until, time) = (request.until.as_deref().or(run.until.as_deref()), run.time.as_deref());
        deadline(until, time, &began.on_the_wall()?, began)
    };
    let session = Session::open_before(&ends, signals.asked(), &request.asked, true, listener)?;
    session.refuse_unfit()?;
    if cluster::is_asked_for(&session.experiment.base.run) {
        let shared = cluster_jobs::shared(&session, Work::Train)?;
        let refused = |error: Error| match error.setting() {
            Some(setting) => session.experiment.problem_with(setting, &error).into(),
            None => Failure::from(error),
        };
        world.check(&shared, &session.folder, cluster::threads(&session.experiment.base.run)).map_err(refused)?;
    }
    Ok(session)
}

/// Tells what is planned, and writes it down.
fn describe(session: &Session, listener: &dyn Listener) -> Result<()> {
    listener.notice(&Notice::Planned(&session.plan));
    if let Some((left, of)) = session.only() {
        listener.notice(&Notice::Only { left, of });
    }
    announce::changes(session, listener);
    write_description(session)?;
    write_plan(&session.folder.plan_parquet(), session.whole())
}

/// A run whose experiment is planned and held.
struct Run<'a> {
    context: Context<'a>,
    session: &'a Session,
    request: &'a Request,
    listener: &'a dyn Listener,
    machine: Machine,
}

impl Run<'_> {
    fn until_utc(&self) -> Option<i64> {
        self.session.deadline.utc(self.context.world.clock().moment())
    }

    fn is_retried(&self, id: &TrialId) -> bool {
        self.request.retry.iter().any(|begins| id.as_str().starts_with(begins.as_str()))
    }

    /// What each trial is doing now.
    fn states(&self) -> Vec<State> {
        states_of(&self.session.folder, &self.session.plan.trials.iter().map(|trial| &trial.id).collect::<Vec<_>>())
    }

    /// How each trial stands, where those that may be tried again are open again.
    fn standing(&self) -> Result<Vec<State>> {
        let trials = &self.session.plan.trials;
        for id in &self.request.retry {
            if !trials.iter().any(|trial| trial.id.as_str().starts_with(id.as_str())) {
                let error = Error::usage(format!("no trial that is asked for has an id that begins with `{id}`"));
                return Err(error.help("`votive status` lists the ids"));
            }
        }
        let shapes = self.shapes()?;
        let standing = self.states();
        // Whether a shape fits is asked of one trial for all of them.
        let did_not_fit = |state: &State| state.status == Status::DidNotFit;
        let retried = trials.iter().zip(&standing).filter(|(trial, state)| self.is_retried(&trial.id) && did_not_fit(state));
        let open: HashSet<usize> = retried.map(|(trial, _)| shapes[&trial.id]).collect();
        let reopened = |(trial, state): (&Trial, State)| {
            let again = self.is_retried(&trial.id) || (open.contains(&shapes[&trial.id]) && did_not_fit(&state));
            let which = if again { Reopen::Unfinished } else { Reopen::Failed };
            mended(self.context, trial, reopen(&self.session.folder.trial(&trial.id), state, which)?)
        };
        let complete = trials.iter().zip(&standing).filter(|(trial, state)| {
            self.is_retried(&trial.id) && state.outcome.as_ref().is_some_and(|outcome| outcome.end == End::Completed)
        });
        let labels: Vec<String> = complete.map(|(trial, _)| self.session.label(trial)).collect();
        if !labels.is_empty() {
            self.listener.notice(&Notice::CompleteNotRetried { labels });
        }
        let standing = trials.iter().zip(standing).map(reopened).collect();
        if !self.is_on_cluster() && !self.session.device.is_cpu() && self.asked_slots().is_some_and(|asked| asked > 1) {
            self.listener.notice(&Notice::SlotsOfGpus);
        }
        standing
    }

    /// The number of each trial's shape.
    fn shapes(&self) -> Result<HashMap<TrialId, usize>> {
        let plan = &self.session.plan;
        shapes(plan, &plan.trials.iter().collect::<Vec<_>>(), self.session.device)
    }

    fn is_on_cluster(&self) -> bool {
        cluster::is_asked_for(&self.session.experiment.base.run)
    }

    fn asked_slots(&self) -> Option<usize> {
        self.request.slots.or(self.session.experiment.base.run.slots)
    }

    /// Shares the machine among so many trials of which the largest needs so much memory.
    fn allotment(&self, trials: usize, largest: Memory) -> Allotment {
        self.session.allotment(self.machine, self.asked_slots(), trials, largest)
    }

    /// The rules of a run in so many slots, or in those of the GPUs.
    fn policy(&self, slots: usize, largest: Memory) -> Policy {
        let run = &self.session.experiment.base.run;
        let gpus = self.session.gpu_slots(largest);
        let (until_utc, on_gpu, on_cluster) = (self.until_utc(), !self.session.device.is_cpu(), self.is_on_cluster());
        let threads = if on_cluster { Some(cluster::threads(run)) } else { run.threads };
        let (cores, retries) = (self.machine.cores, run.retries);
        Policy { slots, cores, threads, on_gpu, on_cluster, gpus, retries, until_utc, ..Policy::default() }
    }

    /// Which trials could be the same as each other. Those whose source is gone are opened again.
    fn kinships(&self, standing: &mut [State]) -> Result<Kinships> {
        let kinships = Kinships::of(self.session, !self.request.alias, &self.request.retry)?;
        alias::refresh(self.session, !self.request.alias, standing, &|| self.context.must_end(), self.listener)?;
        Ok(kinships)
    }

    /// Scores finished trials again, where that is asked for.
    fn score_again(&self, standing: &mut [State], reports: &mut Reports<'_>) -> Result<Summary> {
        if !self.request.rescore {
            return Ok(Summary::default());
        }
        let stale = rescore::stale(&self.session.plan, standing);
        let largest = rescore::memory(&stale, self.session.device);
        let shape = self.allotment(stale.len().max(1), largest);
        let policy = self.policy(shape.slots, largest);
        let scored = rescore::score_again(self.context, &stale, policy, reports)?;
        // With their new scores.
        standing.clone_from_slice(&self.states());
        alias::refresh(self.session, false, standing, &|| self.context.must_end(), self.listener)?;
        Ok(scored)
    }

    /// What earlier runs left: trials that are the same as one that is over, some that are scored otherwise, some that diverged by
    /// another rule. Writes the tables; how many trials of the whole plan are the same as another.
    fn look_back(&self, kinships: &mut Kinships, standing: &mut [State]) -> Result<usize> {
        alias::record_at_once(self.session, kinships, standing, &|| self.context.must_end(), self.listener)?;
        let plan = &self.session.plan;
        let stale = rescore::stale(plan, standing);
        if !self.request.rescore && !stale.is_empty() {
            let (why, file) = (rescore::reasons(&stale), &self.request.asked.file);
            self.listener.notice(&Notice::Stale { trials: stale.len(), why, file });
        }
        let earlier = |state: &State| state.outcome.as_ref().is_some_and(Outcome::by_an_earlier_rule);
        let diverged = plan.trials.iter().zip(&*standing).filter(|(_, state)| earlier(state));
        let diverged: Vec<&TrialId> = diverged.map(|(trial, _)| &trial.id).collect();
        if !diverged.is_empty() {
            self.listener.notice(&Notice::DivergedBefore(diverged));
        }
        // From here on every query finds its tables.
        write_tables(self.session, Some(standing))
    }

    /// Trains what is missing.
    fn train(&self, kinships: &Kinships, standing: &[State], reports: &mut Reports<'_>) -> Result<Summary> {
        let trials = &self.session.plan.trials;
        let missing = trials.iter().zip(standing).filter(|(_, state)| state.outcome.is_none());
        let missing: Vec<&Trial> = missing.map(|(trial, _)| trial).collect();
        if missing.is_empty() {
            let ends = standing.iter().filter_map(|state| Some(state.outcome.as_ref()?.end));
            let lost = ends.clone().filter(|end| matches!(end, End::Diverged | End::DidNotFit)).count();
            self.listener.notice(&Notice::NothingToTrain { trials: trials.len(), lost });
            return Ok(Summary::of(ends.map(Conclusion::DoneBefore), None));
        }
        let planned = Memory::largest_planned(missing.iter().copied(), self.session.device);
        let here = !self.is_on_cluster();
        let is_told =
            here && self.session.device.is_cpu() && announce::little_memory(self.machine, 1, planned.host, self.listener);
        let probes = self.probe(&missing, self.allotment(missing.len(), planned))?;
        // What was measured decides how many trials run at a time: the plan's estimate may be too high, or too low.
        let largest = match &probes {
            Some(probes) => probes.largest(&self.session.plan, &missing)?.or_on_gpu(planned),
            None => planned,
        };
        let shape = self.allotment(missing.len(), largest);
        if here && !is_told && (self.session.device.is_cpu() || probes.is_some()) {
            announce::little_memory(self.machine, shape.slots, largest.host, self.listener);
        }
        announce::fewer_on_gpus(self.session, largest, self.listener);
        let candidates = self.candidates(kinships, standing, probes.as_ref())?;
        announce::training(self.context, &missing, &candidates, shape, self.until_utc());
        let needed = self.needed(&missing, &candidates, probes.as_ref())?;
        work_off(self.context, Queue::new(candidates, self.policy(shape.slots, largest)), Work::Train, needed, reports)
    }

    /// What a cluster is asked for, for each trial.
    fn needed(&self, missing: &[&Trial], candidates: &[Candidate], probes: Option<&Probes>) -> Result<HashMap<TrialId, Needed>> {
        let seconds: HashMap<&TrialId, Option<f64>> = candidates.iter().map(|c| (&c.id, c.expected_seconds)).collect();
        let mut needed = HashMap::new();
        for trial in missing.iter().filter(|_| self.is_on_cluster()) {
            let measured = probes.map(|probes| probes.of(trial, &self.session.plan)).transpose()?.flatten();
            let memory =
                measured.map_or_else(|| cluster::memory(trial, self.session.device), |measured| measured.memory(trial).host);
            let seconds = seconds.get(&trial.id).copied().flatten();
            needed.insert(trial.id.clone(), Needed { memory, seconds });
        }
        Ok(needed)
    }

    /// Measures every distinct shape, unless that is not wanted.
    fn probe(&self, missing: &[&Trial], shape: Allotment) -> Result<Option<Probes>> {
        if !self.request.probe {
            return Ok(None);
        }
        let Context { session, signals, listener, world } = self.context;
        let search = Search::usual(cuda_libraries(&session.experiment), &session.folder.cache());
        let patience = patience(&session.experiment.base.run);
        let gpus = session.gpus().cloned().collect();
        let memory = || missing.iter().map(|trial| cluster::memory(trial, session.device)).max().unwrap_or(0);
        let on = self.is_on_cluster().then(|| Ok::<_, Error>((cluster_jobs::prober(session)?, memory()))).transpose()?;
        let how = How { device: session.device, gpus, slots: shape.slots, threads: shape.threads, search, patience, cluster: on };
        // What does not leave this thread stays out of what is asked on others.
        let deadline = session.deadline;
        let must_end = || deadline.has_come(world.clock().moment()) || signals.so_far() != 0;
        let measure = |shape: &_, how: &_, stop: &dyn Fn() -> bool| world.measure(shape, how, stop);
        let prober = Prober { measure: &measure, must_end: &must_end };
        Probes::measure(&session.folder, &session.plan, missing, how, &prober, listener).map(Some)
    }

    /// Every trial, for the queue to choose from.
    fn candidates(&self, kinships: &Kinships, standing: &[State], probes: Option<&Probes>) -> Result<Vec<Candidate>> {
        let plan = &self.session.plan;
        let shapes = self.shapes()?;
        let submitted = if self.is_on_cluster() { cluster::submitted(&self.session.folder)? } else { HashSet::new() };
        let mut candidates = Vec::with_capacity(plan.trials.len());
        for (trial, state) in plan.trials.iter().zip(standing) {
            let done = Done::of(trial, &self.session.folder.trial(&trial.id))?;
            let measured = probes.map(|probes| probes.of(trial, plan)).transpose()?.flatten();
            candidates.push(Candidate {
                id: trial.id.clone(),
                shape: shapes[&trial.id],
                round: plan.seeds.iter().position(|&seed| seed == trial.seed).unwrap_or(0),
                clip_norm: trial.settings.train.clip_norm,
                kin: kinships.of_trial(&trial.id),
                twins: kinships.twins_of(&trial.id),
                needs: needs(trial, state, measured, done.steps > 0, self.session.device),
                expected_seconds: measured.map(|m| m.seconds(trial, plan.common_context, done)).transpose()?,
                // A worker that an earlier runner has submitted is ours to take up.
                standing: match state.into() {
                    Standing::HeldElsewhere if submitted.contains(&trial.id) => Standing::Interrupted,
                    standing => standing,
                },
            });
        }
        Ok(candidates)
    }

    /// The report, at the end. `tables` are written: how many trials are aliases by them, or why they could not be.
    fn finish(&self, trained: Option<Summary>, scored: Summary, tables: Result<usize>, reports: Reports<'_>) -> Ended {
        let aliases = *tables.as_ref().unwrap_or(&0);
        let report = tables.and_then(|_| reports.last());
        // One that was given up, or that the last runner had begun and outlived it for a moment, has left half a file.
        durable::sweep_abandoned(&self.session.folder.report());
        Ended {
            trained,
            scored,
            terminated: self.context.signals.asked().terminated(),
            folder: self.session.folder.clone(),
            report,
            aliases,
            trials: self.session.whole().trials.len(),
            equal_tokenizers: self.session.has_equal_tokenizers(),
        }
    }
}

/// What a trial needs of a GPU: as much memory as was measured, or is planned; and the kind that it was begun on, where it goes on from
/// a checkpoint.
fn needs(trial: &Trial, state: &State, measured: Option<Measured>, goes_on: bool, device: Device) -> Needs {
    let planned = Memory::planned(trial, device);
    let memory = measured.map_or(planned, |measured| measured.memory(trial).or_on_gpu(planned));
    let begun_on = state.attempts.last().and_then(|attempt| attempt.gpu.as_ref()).map(|gpu| gpu.name.clone());
    Needs { memory: memory.device.unwrap_or(0), kind: begun_on.filter(|_| goes_on) }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
