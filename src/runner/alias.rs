//! Trials that are the same as one that is trained already: recorded, not trained.
//!
//! **Which.** A trial is an alias of another where both have the same settings (all that make the id) but for the clip norm and the
//! name of the tokenizer, the same tokens of the same text, weights to start from and seed, and where
//!
//! * both have the same clip norm: they are twins, as where a text cannot fill either of two sizes of a vocabulary; or
//! * the other one was trained without a single step being clipped, and its largest gradient norm would not have been clipped by
//!   this trial's clip norm either ([`Clipping::never_binds`]), so that both are the same to the bit. It does not matter which
//!   of the two clip norms is larger.
//!
//! **Which not.** By clip norm with a budget in minutes, and on a GPU: there the same trial may not give the same bits twice. By
//! another version of the arithmetic. Trials that a person asks for by `--retry`, and all with `--no-alias`.
//!
//! **Order of writing.** The outcome comes last, as for every trial: whoever is killed before leaves a trial without an outcome, which the
//! next run records again or trains.
//!
//! **When the source goes.** An alias whose source is gone or has another outcome now is opened again by the next run.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::difference::Difference;
use super::job::write_job;
use super::notice::{Listener, Notice};
use super::session::Session;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::ClipNorm;
use crate::plan::{Trial, TrialId};
use crate::record::copy_scores;
use crate::rows::now_utc;
use crate::runs::{Clipping, End, EventLog, Outcome, State, Status, TrialLock, set_aside_outcome, state_of, write_outcome};
use crate::schedule::{Event, Work};
use crate::train::Job;

/// Aliases that are named where many are recorded at once.
const NAMED: usize = 8;

/// Which trials could be the same as each other.
#[derive(Default)]
pub struct Kinships(HashMap<TrialId, Member>);

/// What a trial shares with others; all these numbers differ from each other.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// With those that are equal but for the clip norm; `None` where its own will bind.
    kin: Option<usize>,
    /// With those that have the same clip norm too; `None` where there is no other.
    twins: Option<usize>,
}

impl Kinships {
    /// The kinships of all planned trials, without those whose ids begin with one of `retry`; none with `no_alias`.
    pub fn of(session: &Session, no_alias: bool, retry: &[String]) -> Result<Self> {
        let trials = &session.whole().trials;
        let clip_norms = trials.iter().any(|trial| trial.settings.train.clip_norm != trials[0].settings.train.clip_norm);
        if no_alias || !(clip_norms && session.device.repeats() || session.has_equal_tokenizers()) {
            return Ok(Self::default());
        }
        let (mut keys, mut numbers) = (HashMap::new(), Numbers::default());
        let mut found = Vec::new();
        for trial in trials {
            let train = &trial.settings.train;
            let repeats = session.device.repeats() && train.budget.seconds().is_none();
            if retry.iter().any(|id| trial.id.as_str().starts_with(id.as_str())) {
                continue;
            }
            let key: &mut TrialId = match keys.entry(trial.configuration) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(session.kinship(&trial.settings, repeats)?),
            };
            let kin = repeats.then(|| numbers.of(key, trial.seed, None));
            found.push((trial, kin, numbers.of(key, trial.seed, Some(train.clip_norm))));
        }
        let members = found.into_iter().filter_map(|(trial, kin, twins)| {
            let twins = Some(twins).filter(|&number| numbers.members(number) > 1);
            (kin.is_some() || twins.is_some()).then(|| (trial.id.clone(), Member { kin, twins }))
        });
        Ok(Self(members.collect()))
    }

    /// How many of these trials are the same as another one of them, whatever their training comes to.
    pub fn certain(&self, trials: &[Trial]) -> usize {
        repeated(trials.iter().filter_map(|trial| self.twins_of(&trial.id)))
    }

    /// How many more of these trials may turn out to be the same as another one of them.
    pub fn possible(&self, trials: &[Trial]) -> usize {
        repeated(trials.iter().filter_map(|trial| self.of_trial(&trial.id))).saturating_sub(self.certain(trials))
    }

    /// The number of a trial's kinship; `None` where it is the same as no trial with another clip norm.
    pub(super) fn of_trial(&self, id: &TrialId) -> Option<usize> {
        self.0.get(id)?.kin
    }

    /// The number of a trial and its twins; `None` where it has none.
    pub(super) fn twins_of(&self, id: &TrialId) -> Option<usize> {
        self.0.get(id)?.twins
    }

    fn clip_norm_binds(&mut self, id: &TrialId) {
        if let Some(member) = self.0.get_mut(id) {
            member.kin = None;
        }
    }
}

/// How many of these numbers came before.
fn repeated(numbers: impl Iterator<Item = usize>) -> usize {
    let mut seen = HashSet::new();
    numbers.filter(|&number| !seen.insert(number)).count()
}

/// Numbers for what trials have in common, and how many trials have each.
#[derive(Default)]
struct Numbers(HashMap<(TrialId, u64, Option<Option<u64>>), usize>, Vec<usize>);

impl Numbers {
    /// The number of trials with this seed that have `key` in common, and this clip norm where one is given.
    fn of(&mut self, key: &TrialId, seed: u64, clip_norm: Option<ClipNorm>) -> usize {
        let clip_norm = clip_norm.map(|clip_norm| match clip_norm {
            ClipNorm::Off => None,
            ClipNorm::At(norm) => Some(norm.to_bits()),
        });
        let number = *self.0.entry((key.clone(), seed, clip_norm)).or_insert(self.1.len());
        if number == self.1.len() {
            self.1.push(0);
        }
        self.1[number] += 1;
        number
    }

    fn members(&self, number: usize) -> usize {
        self.1[number]
    }
}

/// Opens those aliases again whose source is gone, or all of these with `no_alias`; gives the others their source's scores where
/// those are newer, until all must end: the next run gives them to the rest.
pub(super) fn refresh(
    session: &Session,
    no_alias: bool,
    states: &mut [State],
    must_end: &dyn Fn() -> bool,
    listener: &dyn Listener,
) -> Result<()> {
    for (trial, state) in session.plan.trials.iter().zip(states) {
        let Some(outcome) = &state.outcome else { continue };
        let Some(source) = &outcome.alias_of else { continue };
        let found = durable::read_json::<Outcome>(&session.folder.trial(source).outcome()).ok().flatten();
        match found.filter(|found| !no_alias && still_holds(outcome, found)) {
            Some(found) if (&found.scores, found.protocol) == (&outcome.scores, outcome.protocol) => continue,
            // A source that is not planned any more keeps its old scores, and the alias may have been scored since.
            Some(found) if Difference::of(trial, session.plan.common_context, &found).is_some() => continue,
            Some(_) if must_end() => continue,
            Some(_) => match record(session, trial, source) {
                Ok(_) => {}
                Err(error) if error.kind() == Kind::DiskFull => return Err(error),
                Err(error) => {
                    tell_not_aliased(session, trial, &error, listener);
                    continue;
                }
            },
            None => {
                if !no_alias {
                    listener.notice(&Notice::SourceGone { label: session.label(trial), source });
                }
                set_aside_outcome(&session.folder.trial(&trial.id))?;
            }
        }
        *state = state_of(&session.folder.trial(&trial.id));
    }
    Ok(())
}

/// Whether the trial that another one is the same as has the same gradients and the same end as when that was found.
fn still_holds(alias: &Outcome, source: &Outcome) -> bool {
    let result = |o: &Outcome| (o.end, o.clipping, o.steps);
    source.alias_of.is_none() && result(source) == result(alias)
}

/// Records every trial at once that is the same as one that was over before, and takes those out of their kinships that are certainly not.
pub(super) fn record_at_once(
    session: &Session,
    kinships: &mut Kinships,
    states: &mut [State],
    must_end: &dyn Fn() -> bool,
    listener: &dyn Listener,
) -> Result<()> {
    let sources = sources(session, kinships, states);
    let mut recorder = Recorder { session, listener, log: None, recorded: 0 };
    for (trial, state) in session.plan.trials.iter().zip(states) {
        if state.outcome.is_some() || state.status == Status::Running || state.is_claimed_elsewhere() {
            continue;
        }
        match sources.of(kinships, trial) {
            Kin::Same(_) if must_end() => break,
            Kin::Same(source) => recorder.record(trial, source, state)?,
            Kin::Different => kinships.clip_norm_binds(&trial.id),
            Kin::Open => {}
        }
    }
    recorder.finish();
    Ok(())
}

/// Records trials as aliases one after the other, names the first ones, and writes each down in the log.
struct Recorder<'a> {
    session: &'a Session,
    listener: &'a dyn Listener,
    /// Opened with the first one.
    log: Option<EventLog>,
    recorded: usize,
}

impl Recorder<'_> {
    /// One that cannot be recorded is told, and trained like any other; where the disk is full none can.
    fn record(&mut self, trial: &Trial, source: &TrialId, state: &mut State) -> Result<()> {
        match record(self.session, trial, source) {
            Ok(outcome) => {
                self.tell(trial, source, &outcome);
                self.write_down(trial, source, outcome)?;
                *state = state_of(&self.session.folder.trial(&trial.id));
                Ok(())
            }
            Err(error) if error.kind() == Kind::DiskFull => Err(error),
            Err(error) => {
                tell_not_aliased(self.session, trial, &error, self.listener);
                Ok(())
            }
        }
    }

    fn tell(&mut self, trial: &Trial, source: &TrialId, outcome: &Outcome) {
        self.recorded += 1;
        if self.recorded <= NAMED {
            let (label, source) = (self.session.label(trial), source_label(self.session, source));
            self.listener.notice(&Notice::Aliased { label, source, outcome });
        }
    }

    fn write_down(&mut self, trial: &Trial, source: &TrialId, outcome: Outcome) -> Result<()> {
        let log = match &mut self.log {
            Some(log) => log,
            none => none.insert(EventLog::open(&self.session.folder.events())?),
        };
        let (end, outcome) = (outcome.end, Box::new(outcome));
        let event = Event::Aliased { trial: trial.id.clone(), source: source.clone(), end, outcome };
        event.entry(now_utc()).map_or(Ok(()), |entry| log.append(&entry))
    }

    /// How many there are that were not named.
    fn finish(self) {
        if self.recorded > NAMED {
            self.listener.notice(&Notice::MoreAliased(self.recorded - NAMED));
        }
    }
}

/// Trials that are over, which others may be the same as.
#[derive(Default)]
struct Sources {
    /// One of each group of twins.
    twins: HashMap<usize, TrialId>,
    /// One of each kinship that was not clipped: all such of one are the same.
    unclipped: HashMap<usize, (TrialId, Clipping)>,
}

/// What is known of a trial from those that are over.
enum Kin<'a> {
    /// It is the same as this one.
    Same(&'a TrialId),
    /// Its own clip norm will bind: it is the same as none of its kinship.
    Different,
    /// Nothing.
    Open,
}

impl Sources {
    fn of(&self, kinships: &Kinships, trial: &Trial) -> Kin<'_> {
        if let Some(twin) = kinships.twins_of(&trial.id).and_then(|number| self.twins.get(&number)) {
            return Kin::Same(twin);
        }
        match kinships.of_trial(&trial.id).and_then(|number| self.unclipped.get(&number)) {
            Some((source, clipping)) if clipping.never_binds(trial.settings.train.clip_norm) => Kin::Same(source),
            Some(_) => Kin::Different,
            None => Kin::Open,
        }
    }
}

fn sources(session: &Session, kinships: &Kinships, states: &[State]) -> Sources {
    let asked: HashMap<&TrialId, &State> = session.plan.trials.iter().map(|trial| &trial.id).zip(states).collect();
    let mut sources = Sources::default();
    for trial in &session.whole().trials {
        let (kin, twins) = (kinships.of_trial(&trial.id), kinships.twins_of(&trial.id));
        if kin.is_none() && twins.is_none() {
            continue;
        }
        let read = || durable::read_json::<Outcome>(&session.folder.trial(&trial.id).outcome()).ok().flatten();
        let outcome = match asked.get(&trial.id) {
            Some(state) => state.outcome.clone(),
            // Not asked for by `--only`, but trained.
            None => read(),
        };
        let Some(Outcome { end: End::Completed | End::Diverged, clipping, alias_of, .. }) = outcome else { continue };
        // Aliases were looked after before: what they name is there.
        let source = alias_of.unwrap_or_else(|| trial.id.clone());
        if let (Some(kin), Some(clipping)) = (kin, clipping)
            && clipping.never_binds(trial.settings.train.clip_norm)
        {
            sources.unclipped.entry(kin).or_insert_with(|| (source.clone(), clipping));
        }
        if let Some(twins) = twins {
            sources.twins.entry(twins).or_insert(source);
        }
    }
    sources
}

/// Records one trial as an alias, or again with its source's newer scores. What was trained of it goes.
pub(super) fn record(session: &Session, trial: &Trial, source: &TrialId) -> Result<Outcome> {
    let from = session.folder.trial(source);
    let to = session.folder.trial(&trial.id);
    let found: Option<Outcome> = durable::read_json(&from.outcome())?;
    let trained: Option<Job> = durable::read_json(&from.job())?;
    let clip = trial.settings.train.clip_norm;
    let same_clip = trained.as_ref().is_some_and(|job| job.settings.train.clip_norm == clip);
    let never_binds = |o: &Outcome| o.clipping.is_some_and(|clipping| clipping.never_binds(clip));
    let same = |o: &Outcome| o.alias_of.is_none() && (same_clip || never_binds(o));
    let Some(found) = found.filter(same) else {
        return Err(Error::data(format!("trial {source} is not the same any more")));
    };
    let Some(_lock) = TrialLock::take(&to)? else {
        return Err(Error::new(Kind::Busy, "another worker holds the trial"));
    };
    // A worker of it may have been killed while it wrote.
    for swept in [to.path(), &to.attempts()] {
        durable::sweep(swept)?;
    }
    let files = copy_scores(&from, &to, &trial.id)?;
    write_job(session, trial, Work::Train)?;
    // It was scored as its source was, whatever the experiment says now.
    if let (Some(mut job), Some(trained)) = (durable::read_json::<Job>(&to.job())?, trained) {
        job.evaluation = trained.evaluation;
        durable::write_json(&to.job(), &job)?;
    }
    if let Ok(sample) = std::fs::read(from.sample()) {
        durable::write(&to.sample(), &sample)?;
    }
    let outcome = Outcome { alias_of: Some(source.clone()), training_seconds: 0.0, finished_utc: now_utc(), files, ..found };
    write_outcome(&to, &outcome)?;
    Ok(outcome)
}

/// As [`record`]; tells where that cannot be done.
pub(super) fn record_or_tell(session: &Session, trial: &Trial, source: &TrialId, listener: &dyn Listener) -> Result<Outcome> {
    record(session, trial, source).inspect_err(|error| tell_not_aliased(session, trial, error, listener))
}

fn tell_not_aliased(session: &Session, trial: &Trial, error: &Error, listener: &dyn Listener) {
    listener.notice(&Notice::NotAliased { label: session.label(trial), error });
}

/// What people call a trial; its id where it is not planned any more.
fn source_label(session: &Session, id: &TrialId) -> String {
    let trial = session.whole().trials.iter().find(|trial| trial.id == *id);
    trial.map_or_else(|| format!("trial {id}"), |trial| session.label(trial))
}
