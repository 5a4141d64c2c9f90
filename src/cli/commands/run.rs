//! `votive run`: plan, probe, train what is missing, report.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use jiff::tz::TimeZone;
use jiff::{ToSpan, ZonedDateTime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::report;
use crate::cli::alias::{self, Families};
use crate::cli::args::Run as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::{Failure, say};
use crate::cli::rescore;
use crate::cli::session::{Session, Summary, arithmetic, cuda_libraries, exclusions};
use crate::cli::show::notice::notice;
use crate::cli::show::reporter::{Look, Reporter};
use crate::cli::show::words::{clock, duration, plural};
use crate::cli::tables::{Tables, write_tables};
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings::On;
use crate::experiment::{clock_time, duration as parse_duration};
use crate::model::gpu::cuda::Search;
use crate::plan::{Plan, Trial, TrialId};
use crate::record::write_plan;
use crate::runner::probe::{How, Probes};
use crate::runs::{EventLog, Outcome, Reopen, RunnerLock, State, now_utc, reopen};
use crate::schedule::{
    Candidate, Event, Layout, LocalExecutor, LocalSettings, Machine, Pace, Policy, Queue, STOP_AFTER_STEP, STOP_NOW, Work, drive,
    layout,
};
use crate::train::{Job, checkpoint};

/// Configurations that are named where some are no longer planned.
const NAMED: usize = 8;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let session = Session::open(&arguments.planning)?;
    let run = &session.experiment.base.run;
    if run.on == On::Slurm {
        return Err(Error::usage("`run.on: slurm` is not supported yet").help("leave it at `local`").into());
    }
    session.refuse_unfit()?;
    // A connection that drops stops nothing, from the first moment on; the flag is not looked at.
    signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))
        .map_err(|e| Error::internal("signals cannot be caught").caused_by(e))?;
    let until_utc = deadline(arguments.until.as_deref().or(run.until.as_deref()), run.time.as_deref())?;
    durable::create_folder(&session.folder.trials())?;
    let _lock = RunnerLock::take(&session.folder)?;
    durable::sweep(session.folder.path())?;

    let plan = &session.plan;
    say(&format!("{}: {}", plan.experiment, arithmetic(plan)));
    for line in exclusions(plan) {
        say(&format!("  {line}"));
    }
    if let Some(line) = session.only() {
        say(&line);
    }
    tell_changes(&session);
    session.write()?;
    write_plan(&session.folder.plan_parquet(), session.whole())?;

    for id in &arguments.retry {
        if !plan.trials.iter().any(|trial| trial.id.as_str().starts_with(id.as_str())) {
            let error = Error::usage(format!("no trial that is asked for has an id that begins with `{id}`"));
            return Err(error.help("`votive status` lists the ids").into());
        }
    }
    let mut standing = Vec::with_capacity(plan.trials.len());
    for trial in &plan.trials {
        let again = arguments.retry.iter().any(|id| trial.id.as_str().starts_with(id.as_str()));
        let which = if again { Reopen::Unfinished } else { Reopen::Failed };
        standing.push(reopen(&session.folder.trial(&trial.id), which)?);
    }
    let machine = Machine::this();
    let asked = arguments.slots.or(run.slots);
    let slots = session.slots(asked);
    if asked.is_some_and(|asked| slots.is_some_and(|slots| slots < asked)) {
        say("note        on a GPU trials run one after another: `run.slots` is for the processor");
    }
    let flags = Flags::default();
    let policy = |slots: usize| Policy {
        slots,
        cores: machine.cores,
        threads: run.threads,
        retries: run.retries,
        until_utc,
        ..Policy::default()
    };
    let mut families = Families::of(&session, arguments.no_alias, &arguments.retry)?;
    alias::look_after(&session, arguments.no_alias, &mut standing)?;
    let mut scored = crate::schedule::Summary::default();
    if arguments.rescore {
        let stale = rescore::stale(plan, &standing);
        let shape = layout(machine, slots, run.threads, stale.len().max(1), rescore::memory(&stale));
        scored = rescore::execute(&session, &stale, policy(shape.slots), &flags)?;
        alias::look_after(&session, false, &mut standing)?;
        if scored.stopped.is_some() {
            finish(&session)?;
            return Ok(Code::of_run(&scored, flags.terminated()));
        }
    }
    alias::record_at_once(&session, &mut families, &mut standing)?;
    if !arguments.rescore {
        rescore::tell(&rescore::stale(plan, &standing), &arguments.planning.file.file);
    }
    if let Some(note) = diverged_before(plan, &standing) {
        say(&note);
    }
    // From here on every query finds its tables.
    write_tables(&session)?;
    let missing: Vec<&Trial> =
        plan.trials.iter().zip(&standing).filter(|(_, state)| state.outcome.is_none()).map(|(trial, _)| trial).collect();
    if missing.is_empty() {
        say(&match plan.trials.len() {
            1 => "nothing to train: the trial is over already".to_owned(),
            trials => format!("nothing to train: all {trials} trials are over already"),
        });
        let summary = crate::schedule::Summary::of(
            standing.iter().filter_map(|s| s.outcome.as_ref()).map(|o| crate::schedule::Conclusion::DoneBefore(o.end)),
            None,
        );
        finish(&session)?;
        return Ok(if scored.all_completed() { Code::of_run(&summary, false) } else { Code::SomeFailed });
    }

    let planned = missing.iter().map(|t| t.facts.memory_bytes).max().unwrap_or(0);
    let shape = layout(machine, slots, run.threads, missing.len(), planned);
    let probes = if arguments.no_probe { None } else { Some(probe(&session, &missing, shape)?) };
    // What was measured may need more memory than was expected: then fewer trials run at a time.
    let measured = probes.as_ref().map(|p| p.largest(plan, &missing)).transpose()?.unwrap_or_default();
    let shape = layout(machine, slots, run.threads, missing.len(), measured.host.max(planned / 4));

    let mut candidates = Vec::with_capacity(plan.trials.len());
    for (trial, state) in plan.trials.iter().zip(&standing) {
        // It goes on from its newest checkpoint, which its worker may have been well beyond when it was killed.
        let checkpoints = checkpoint::list(&session.folder.trial(&trial.id).checkpoints())?;
        let done = checkpoints.last().map_or(0, |(step, _)| *step as i64);
        let measured = probes.as_ref().map(|p| p.of(trial, plan)).transpose()?.flatten();
        let expected_seconds = measured.map(|m| m.seconds(trial, plan.common_context, done)).transpose()?;
        candidates.push(Candidate {
            id: trial.id.clone(),
            round: plan.seeds.iter().position(|&seed| seed == trial.seed).unwrap_or(0),
            clip_norm: trial.settings.train.clip_norm,
            family: families.of_trial(&trial.id),
            twins: families.twins_of(&trial.id),
            expected_seconds,
            standing: state.status.into(),
        });
    }
    announce(&session, &missing, &candidates, shape, until_utc);
    let queue = Queue::new(candidates, policy(shape.slots));
    let summary = work_off(&session, queue, Work::Train, &flags)?;
    finish(&session)?;
    let code = match Code::of_run(&summary, flags.terminated()) {
        Code::Ok if !scored.all_completed() => Code::SomeFailed,
        code => code,
    };
    if summary.left > 0 {
        let (left, trials) = (summary.left, summary.trials);
        say(&format!("{left} of {trials} trials are not done: the same command goes on where this one stopped"));
    }
    Ok(code)
}

/// When everything must have ended: the next time the clock shows `until`, or after `time`, whichever comes first.
fn deadline(until: Option<&str>, time: Option<&str>) -> Result<Option<i64>> {
    let now = ZonedDateTime::now();
    let mut ends = Vec::new();
    if let Some(text) = until {
        let (hour, minute) =
            clock_time(text).ok_or_else(|| Error::usage(format!("`{text}` is not a clock time")).help("write it as `07:00`"))?;
        let failed = |e| Error::internal("the deadline cannot be computed").caused_by(e);
        let today = now.with().time(jiff::civil::time(hour as i8, minute as i8, 0, 0)).build().map_err(failed)?;
        let next = if today > now { today } else { today.checked_add(1.day()).map_err(failed)? };
        ends.push(next.timestamp().as_microsecond());
    }
    if let Some(text) = time {
        let length = parse_duration(text)
            .ok_or_else(|| Error::usage(format!("`{text}` is not a duration")).help("write it as `8h` or `1h30m`"))?;
        ends.push(now_utc() + length.as_micros() as i64);
    }
    Ok(ends.into_iter().min())
}

/// An edited file replaces the plan: what is added, kept and orphaned is shown first.
fn tell_changes(session: &Session) {
    let Ok(before) = Summary::read(&session.folder) else { return };
    let ids: HashSet<&TrialId> = session.whole().trials.iter().map(|t| &t.id).collect();
    let gone: Vec<&str> = before.trials.iter().filter(|t| !ids.contains(&t.id)).map(|t| t.label.as_str()).collect();
    let kept = before.trials.len() - gone.len();
    let added = ids.len() - kept.min(ids.len());
    if added == 0 && gone.is_empty() {
        return;
    }
    say(&format!(
        "the experiment has changed: {added} trial{} added, {kept} kept, {} no longer planned",
        plural(added as u64),
        gone.len()
    ));
    let mut labels = gone.clone();
    labels.dedup();
    let more = labels.len().saturating_sub(NAMED);
    labels.truncate(NAMED);
    if !labels.is_empty() {
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        say(&format!("  on disk, but unranked: {}{more}", labels.join("; ")));
    }
}

/// Trials that an earlier version stopped as diverged by a rule that this one does not have; `None` where there are none.
fn diverged_before(plan: &Plan, standing: &[State]) -> Option<String> {
    let earlier = |state: &State| state.outcome.as_ref().is_some_and(Outcome::by_an_earlier_rule);
    let ids: Vec<&str> =
        plan.trials.iter().zip(standing).filter(|(_, state)| earlier(state)).map(|(t, _)| t.id.as_str()).collect();
    let (first, more) = (ids.first()?, ids.len() - 1);
    let (were, them) = if more == 0 { ("trial was", "it") } else { ("trials were", "each") };
    let more = if more == 0 { String::new() } else { format!(" (and {more} more: see `votive status`)") };
    Some(format!(
        "note        {} {were} stopped as diverged by an earlier version, by the mean of 20 losses alone, also where the loss had come \
         back: `--retry {first}` trains {them} on{more}",
        ids.len()
    ))
}

fn probe(session: &Session, missing: &[&Trial], shape: Layout) -> Result<Probes> {
    let search = Search::usual(cuda_libraries(&session.experiment), &session.folder.cache());
    let how = How { device: session.device, slots: shape.slots, threads: shape.threads, search };
    Probes::measure(&session.folder, &session.plan, missing, how, &|told| say(&notice(&told)))
}

/// What will happen, and when it ends.
fn announce(session: &Session, missing: &[&Trial], candidates: &[Candidate], shape: Layout, until_utc: Option<i64>) {
    let trials = session.plan.trials.len();
    let over = trials - missing.len();
    let done = if over > 0 { format!(" ({over} of {trials} are over already)") } else { String::new() };
    let (slots, threads) = (shape.slots as u64, shape.threads as u64);
    let mut text = format!(
        "training    {} trial{}{done} on {}: {slots} at a time, {threads} thread{} each",
        missing.len(),
        plural(missing.len() as u64),
        session.device_in_words(),
        plural(threads)
    );
    let missing_ids: HashSet<&TrialId> = missing.iter().map(|trial| &trial.id).collect();
    let open: Vec<&Candidate> = candidates.iter().filter(|candidate| missing_ids.contains(&candidate.id)).collect();
    let known: Option<Vec<f64>> = open.iter().map(|c| c.expected_seconds).collect();
    if let Some(seconds) = known {
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        let together = (seconds.iter().sum::<f64>() / shape.slots as f64).max(longest);
        let (now, zone) = (now_utc(), TimeZone::system());
        let ends = now.saturating_add((together * 1e6) as i64);
        text += &format!("; about {}, ends about {}", duration(together), clock(ends, now, &zone));
        if let Some(until) = until_utc.filter(|&until| ends > until) {
            let share = (until - now) as f64 / (ends - now) as f64;
            text += &format!("\nnote        until {} about {:.0}% of that is reached", clock(until, now, &zone), 100.0 * share);
            let window = (until - now) as f64 / 1e6;
            let too_long = seconds.iter().filter(|&&s| s > window).count();
            if too_long > 0 {
                let takes = if too_long == 1 { "trial takes" } else { "trials take" };
                text += &format!("; {too_long} {takes} longer than that alone");
            }
        }
    }
    say(&text);
}

/// What signals ask for. They are watched from the first work on.
#[derive(Default)]
pub(in crate::cli) struct Flags {
    stop: Arc<AtomicU8>,
    terminated: Arc<AtomicBool>,
    watched: AtomicBool,
}

impl Flags {
    /// Whether SIGTERM asked to stop, rather than Ctrl-C.
    fn terminated(&self) -> bool {
        self.terminated.load(Ordering::Acquire)
    }

    fn watch(&self) -> Result<()> {
        if self.watched.swap(true, Ordering::AcqRel) { Ok(()) } else { watch_signals(&self.stop, &self.terminated) }
    }
}

/// Sets the stop flag at the first Ctrl-C or SIGTERM, and once more at the second.
fn watch_signals(stop: &Arc<AtomicU8>, terminated: &Arc<AtomicBool>) -> Result<()> {
    let failed = |e: std::io::Error| Error::internal("signals cannot be caught").caused_by(e);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (stop, terminated) = (stop.clone(), terminated.clone());
    let watch = move || {
        for signal in signals.forever() {
            terminated.store(signal == SIGTERM, Ordering::Release);
            let next = if stop.load(Ordering::Acquire) == 0 { STOP_AFTER_STEP } else { STOP_NOW };
            stop.store(next, Ordering::Release);
            say(if next == STOP_AFTER_STEP {
                "stopping: each trial finishes its step and saves (once more: kill)"
            } else {
                "killing the workers: they go on from their last checkpoints"
            });
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop).map_err(failed)
}

/// Works a queue off with worker processes of this program.
pub(in crate::cli) fn work_off(session: &Session, queue: Queue, work: Work, flags: &Flags) -> Result<crate::schedule::Summary> {
    let (plan, folder) = (&session.plan, &session.folder);
    flags.watch()?;
    let by_id: HashMap<&TrialId, &Trial> = plan.trials.iter().map(|t| (&t.id, t)).collect();
    let prepare = Box::new(|id: &TrialId| {
        let trial = by_id.get(id).ok_or_else(|| Error::internal(format!("{id} is not planned")))?;
        write_job(session, trial, work)
    });
    let make_alias = Box::new(|id: &TrialId, source: &TrialId| {
        let trial = by_id.get(id).ok_or_else(|| Error::internal(format!("{id} is not planned")))?;
        alias::record_or_say(session, trial, source)
    });
    let mut settings = LocalSettings::this_program(session.device, &crate::program(), work)?;
    if let Some(folder) = cuda_libraries(&session.experiment) {
        settings.arguments.extend(["--cuda-libraries".into(), folder.into()]);
    }
    let mut executor = LocalExecutor::new(settings, folder.clone(), prepare).with_alias(make_alias);
    let labels = plan.trials.iter().map(|t| (t.id.clone(), label(session, t))).collect();
    let mut reporter = Reporter::new(labels, Look::of_stderr());
    let mut log = EventLog::open(&folder.events())?;
    let mut tables = Tables::new(session);
    let mut sink = |event: &Event| {
        let now = now_utc();
        reporter.tell(event, now);
        if let Some(entry) = event.entry(now)
            && let Err(error) = log.append(&entry)
        {
            reporter.say(&format!("warning: {}", error.chain()));
        }
        tables.after(event);
    };
    let summary = drive(queue, &mut executor, &mut sink, &flags.stop, Pace::default());
    reporter.finish();
    Ok(summary)
}

/// A trial's name for people: its configuration's values, and its seed where there are several.
pub(in crate::cli) fn label(session: &Session, trial: &Trial) -> String {
    let label = session.plan.label(trial);
    if session.plan.seeds.len() > 1 { format!("{label}, seed {}", trial.seed) } else { label }
}

/// Writes `trial.json`. A trial that has begun keeps the evaluation that it began with, so that its rows stay of one kind; one
/// that is scored again is given that of this plan.
pub(in crate::cli) fn write_job(session: &Session, trial: &Trial, work: Work) -> Result<()> {
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

/// The tables and the report, at the end.
fn finish(session: &Session) -> Result<()> {
    let aliases = write_tables(session)?;
    report::write_and_print(&session.folder)?;
    if let Some(line) = alias::told(aliases, session.whole().trials.len(), session.has_equal_tokenizers()) {
        say(&line);
    }
    Ok(())
}
