use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::*;
use crate::error::{Error, Result};
use crate::experiment::settings::{ClipNorm, Timeout};
use crate::rows::{Phase, now_utc};
use crate::runs::{End, Outcome, Progress};
use crate::schedule::estimate::seconds;
use crate::schedule::{Candidate, Left, Moment, Needs, Policy, Standing, SystemClock};

/// What a pretended worker does.
#[derive(Clone)]
enum Script {
    /// Ends so, at once.
    Ends(Exit),
    /// Works until it is asked to stop, then leaves.
    Works,
    /// Does not listen, and ends only when killed.
    Deaf,
    /// Does not even end when killed.
    Unkillable,
    /// Does not end when killed, but so many seconds later.
    DiesSlowly(i64),
    /// Cannot be started.
    CannotStart,
    /// Cannot be started, since what it needs is damaged.
    BadData,
}

/// An executor without processes: each trial follows its scripts, one an attempt, the last one again and again.
#[derive(Default)]
struct Pretend {
    scripts: HashMap<TrialId, VecDeque<Script>>,
    running: HashMap<TrialId, Script>,
    attempts: HashMap<TrialId, u32>,
    ready: Vec<Finished>,
    standings: VecDeque<Standing>,
    /// What workers say, one after the other; the last one again and again.
    progress: VecDeque<Progress>,
    given_up: Vec<(TrialId, End, String)>,
    /// Whether the disk has room, one look after the other; after the last one it has.
    room: VecDeque<bool>,
    /// Whether its worker is still to begin, each time that is asked; after the last one it has.
    pending: VecDeque<bool>,
    /// What an alias is recorded with; without it none can be.
    outcome_of_source: Option<Outcome>,
    said: Vec<String>,
    /// What was killed, why, and the microseconds after which it ends.
    dying: Vec<(TrialId, Kill, i64)>,
    /// What aliases fail of, one after the other.
    no_alias: VecDeque<Error>,
}

impl Executor for Pretend {
    fn start(&mut self, start: &Start) -> Result<u32> {
        let scripts = self.scripts.get_mut(&start.trial).unwrap();
        let script = if scripts.len() > 1 { scripts.pop_front().unwrap() } else { scripts[0].clone() };
        match &script {
            Script::CannotStart => return Err(Error::internal("no processes left")),
            Script::BadData => return Err(Error::data("the text is damaged")),
            Script::Ends(exit) => self.ready.push(Finished {
                trial: start.trial.clone(),
                exit: exit.clone(),
                progress: self.progress.back().cloned(),
            }),
            Script::Works | Script::Deaf | Script::Unkillable | Script::DiesSlowly(_) => {}
        }
        self.running.insert(start.trial.clone(), script);
        let attempt = self.attempts.entry(start.trial.clone()).or_default();
        *attempt += 1;
        Ok(*attempt)
    }

    fn wait(&mut self, at_most: Duration) -> Vec<Finished> {
        if self.ready.is_empty() {
            std::thread::sleep(at_most);
        }
        let ready = std::mem::take(&mut self.ready);
        for finished in &ready {
            self.running.remove(&finished.trial);
        }
        ready
    }

    fn is_pending(&mut self, _trial: &TrialId) -> bool {
        self.pending.pop_front().unwrap_or(false)
    }

    fn progress(&mut self, _trial: &TrialId) -> Option<Progress> {
        if self.progress.len() > 1 { self.progress.pop_front() } else { self.progress.front().cloned() }
    }

    fn said_last(&mut self, _trial: &TrialId) -> Option<i64> {
        self.progress.front().map(|progress| progress.time_utc)
    }

    fn ask_to_stop(&mut self, trial: &TrialId) {
        self.said.push("asked".to_owned());
        if let Some(Script::Works) = self.running.get(trial) {
            self.ready.push(Finished { trial: trial.clone(), exit: Exit::Interrupted, progress: None });
        }
    }

    fn kill(&mut self, trial: &TrialId, why: &Kill) {
        self.said.push(why.to_string());
        if let Some(Script::DiesSlowly(seconds)) = self.running.get(trial) {
            self.dying.push((trial.clone(), why.clone(), *seconds * 1_000_000));
        } else if !matches!(self.running.get(trial), Some(Script::Unkillable)) {
            self.ready.push(Finished { trial: trial.clone(), exit: why.exit(Vec::new()), progress: None });
        }
    }

    fn standing(&mut self, _trial: &TrialId) -> Standing {
        self.standings.pop_front().unwrap_or(Standing::HeldElsewhere)
    }

    fn alias(&mut self, trial: &TrialId, source: &TrialId) -> Result<Box<Outcome>> {
        self.said.push("alias".to_owned());
        if let Some(error) = self.no_alias.pop_front() {
            return Err(error);
        }
        match &self.outcome_of_source {
            Some(outcome) if !self.running.contains_key(trial) => {
                Ok(Box::new(Outcome { alias_of: Some(source.clone()), ..outcome.clone() }))
            }
            _ => Err(Error::internal("the disk is full")),
        }
    }

    fn give_up(&mut self, trial: &TrialId, end: End, reason: &str) -> Result<()> {
        self.given_up.push((trial.clone(), end, reason.to_owned()));
        Ok(())
    }

    fn has_room(&mut self, _trial: &TrialId) -> bool {
        self.room.pop_front().unwrap_or(true)
    }
}

fn id(n: usize) -> TrialId {
    TrialId::of(&n.to_string())
}

fn done(end: End) -> Script {
    Script::Ends(Exit::Done(Box::new(Outcome { end, ..completed() })))
}

fn completed() -> Outcome {
    Outcome::example(End::Completed)
}

fn crash() -> Script {
    Script::Ends(Exit::Failed(Failure { cause: Cause::Crash, reason: "exit code 1".to_owned(), last_lines: Vec::new() }))
}

/// Drives trials with these scripts; looks around every 5 ms, and `look` may set the stop flag at each event.
fn run_with(
    scripts: &[&[Script]],
    policy: Policy,
    standing: Standing,
    mut pretend: Pretend,
    pace: Pace,
    look: impl Fn(&Event, &AtomicU8),
) -> (Pretend, Vec<Event>, Summary) {
    let candidates = (0..scripts.len())
        .map(|n| Candidate {
            id: id(n),
            round: 0,
            shape: n,
            clip_norm: ClipNorm::Off,
            kin: None,
            twins: None,
            needs: Needs::default(),
            expected_seconds: None,
            standing,
        })
        .collect();
    for (n, script) in scripts.iter().enumerate() {
        pretend.scripts.insert(id(n), script.iter().cloned().collect());
    }
    let stop = AtomicU8::new(0);
    let mut events = Vec::new();
    let mut sink = |event: &Event, _: i64| {
        look(event, &stop);
        events.push(event.clone());
    };
    let queue = Queue::new(candidates, policy);
    let summary = drive(queue, &mut pretend, &SystemClock, &mut [&mut sink], &stop, pace);
    (pretend, events, summary)
}

fn quick() -> Pace {
    Pace {
        look: Duration::from_millis(5),
        overview: Duration::from_millis(20),
        patience: Patience::default(),
        deadline: Deadline::default(),
    }
}

fn policy(slots: usize) -> Policy {
    Policy { slots, retries: 1, backoff_seconds: 0.02, ..Policy::default() }
}

fn run(scripts: &[&[Script]], slots: usize) -> (Pretend, Vec<Event>, Summary) {
    run_with(scripts, policy(slots), Standing::Waiting, Pretend::default(), quick(), |_, _| {})
}

#[test]
fn a_queue_is_driven_to_its_end() {
    let (_, events, summary) = run(&[&[done(End::Completed)], &[done(End::Diverged)], &[done(End::Completed)]], 2);
    assert_eq!((summary.completed, summary.diverged, summary.left), (2, 1, 0));
    let count = |f: fn(&Event) -> bool| events.iter().filter(|e| f(e)).count();
    assert_eq!(count(|e| matches!(e, Event::Started { .. })), 3);
    assert_eq!(count(|e| matches!(e, Event::Ended { .. })), 3);
    assert!(count(|e| matches!(e, Event::Overview(_))) >= 2);
}

#[test]
fn many_short_trials_cost_next_to_nothing() {
    let scripts = vec![[done(End::Completed)]; 500];
    let scripts: Vec<&[Script]> = scripts.iter().map(|s| s.as_slice()).collect();
    let begin = Instant::now();
    let (_, _, summary) = run(&scripts, 2);
    assert!(summary.all_completed());
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn a_crash_is_retried_and_the_runner_gives_up_at_last() {
    let (pretend, events, summary) = run(&[&[crash(), done(End::Completed)], &[crash()]], 2);
    assert_eq!((summary.completed, summary.failed), (1, 1));
    assert_eq!(pretend.given_up, [(id(1), End::Failed, "crashed: exit code 1".to_owned())]);
    assert_eq!((pretend.attempts[&id(0)], pretend.attempts[&id(1)]), (2, 2));
    let firsts = events.iter().filter(|e| matches!(e, Event::Failed { first: true, .. })).count();
    assert_eq!(firsts, 1);
}

#[test]
fn a_worker_that_cannot_be_started_is_a_failure_like_others() {
    let (pretend, events, summary) = run(&[&[Script::CannotStart, done(End::Completed)], &[Script::CannotStart]], 1);
    assert_eq!((summary.completed, summary.failed), (1, 1));
    assert_eq!(pretend.given_up, [(id(1), End::Failed, "not started: no processes left".to_owned())]);
    assert!(events.iter().any(|e| matches!(e, Event::Failed { cause: Cause::NotStarted, .. })));
}

#[test]
fn a_request_to_stop_asks_each_worker_once_and_starts_no_other() {
    let works: &[Script] = &[Script::Works];
    let (pretend, events, summary) =
        run_with(&[works, works, works], policy(2), Standing::Waiting, Pretend::default(), quick(), |event, stop| {
            if matches!(event, Event::Overview(_)) {
                stop.store(STOP_AFTER_STEP, Ordering::Release);
            }
        });
    assert_eq!(pretend.said, ["asked", "asked"]);
    assert_eq!((summary.left, summary.stopped), (3, Some(Stop::Asked)));
    let left: Vec<Left> = events.iter().filter_map(|e| if let Event::Left { why, .. } = e { Some(*why) } else { None }).collect();
    assert_eq!(left, [Left::Interrupted, Left::Interrupted, Left::NotStarted]);
}

#[test]
fn a_second_request_kills_those_that_do_not_listen() {
    let deaf: &[Script] = &[Script::Deaf];
    let (pretend, _, summary) = run_with(&[deaf], policy(1), Standing::Waiting, Pretend::default(), quick(), |event, stop| {
        if matches!(event, Event::Overview(_)) {
            stop.fetch_add(1, Ordering::AcqRel);
        }
    });
    assert_eq!(pretend.said, ["asked", "killed"]);
    assert_eq!(summary.left, 1);
}

#[test]
fn at_the_deadline_workers_are_asked_to_leave() {
    let policy = Policy { until_utc: Some(now_utc() + 60_000), ..policy(1) };
    let works: &[Script] = &[Script::Works];
    let (pretend, _, summary) = run_with(&[works, works], policy, Standing::Waiting, Pretend::default(), quick(), |_, _| {});
    assert_eq!(pretend.said, ["asked"]);
    assert_eq!((summary.left, summary.stopped), (2, Some(Stop::Deadline)));
}

#[test]
fn the_deadline_of_the_loop_is_looked_at_all_the_time() {
    const SOON: i64 = 200_000;
    let deadlines: [fn() -> Deadline; 3] = [
        || Deadline { until_utc: Some(now_utc() + SOON), until_elapsed: None },
        || Deadline { until_utc: None, until_elapsed: Some(Moment::now().elapsed + SOON) },
        // The clock was set back by a day since the deadline was computed: the length of time counts.
        || Deadline { until_utc: Some(now_utc() + 86_400_000_000), until_elapsed: Some(Moment::now().elapsed + SOON) },
    ];
    for (n, deadline) in deadlines.iter().enumerate() {
        let (works, pace) = (&[Script::Works] as &[Script], Pace { deadline: deadline(), ..quick() });
        let (pretend, _, summary) = run_with(&[works, works], policy(1), Standing::Waiting, Pretend::default(), pace, |_, _| {});
        assert_eq!(pretend.said, ["asked"], "{n}");
        assert_eq!((summary.left, summary.stopped), (2, Some(Stop::Deadline)));
    }
}

#[test]
fn a_trial_that_another_worker_holds_is_started_when_it_is_free() {
    let pretend = Pretend {
        standings: [Standing::HeldElsewhere, Standing::HeldElsewhere, Standing::Interrupted].into(),
        ..Pretend::default()
    };
    let (pretend, events, summary) =
        run_with(&[&[done(End::Completed)]], policy(1), Standing::HeldElsewhere, pretend, quick(), |_, _| {});
    assert!(matches!(events[0], Event::HeldElsewhere { .. }));
    assert!(summary.all_completed() && pretend.standings.is_empty());
}

fn progress() -> Progress {
    Progress {
        attempt: 1,
        phase: Phase::Training,
        step: 5,
        steps: 10,
        tokens_seen: 50,
        fraction: 0.5,
        loss: Some(2.0),
        validation_loss: None,
        tokens_per_second: None,
        training_seconds: 1.0,
        starts_over: None,
        time_utc: 77,
    }
}

#[test]
fn progress_is_told_when_it_changes() {
    let pretend = Pretend { progress: [progress()].into(), ..Pretend::default() };
    let works: &[Script] = &[Script::Works];
    let begin = Instant::now();
    let (_, events, _) = run_with(&[works], policy(1), Standing::Waiting, pretend, quick(), |_, stop| {
        if begin.elapsed() > Duration::from_millis(100) {
            stop.store(STOP_AFTER_STEP, Ordering::Release);
        }
    });
    let told: Vec<&Event> = events.iter().filter(|e| matches!(e, Event::Progressed { .. })).collect();
    assert_eq!(told, [&Event::Progressed { trial: id(0), progress: progress() }]);
}

#[test]
fn where_a_trial_goes_on_from_is_not_taken_for_progress_of_this_attempt() {
    // It looks for its checkpoint, finds one half way, and has made one step of a thousand since.
    let starting = Progress { phase: Phase::Starting, fraction: 0.0, ..progress() };
    let found = Progress { fraction: 0.5, time_utc: 78, ..progress() };
    let stepped = Progress { fraction: 0.501, time_utc: 79, ..progress() };
    let mut pretend = Pretend { progress: [starting, found, stepped].into(), ..Pretend::default() };
    pretend.scripts.insert(id(0), [Script::Works].into());
    let expected_seconds = Some(100.0);
    let (clip_norm, standing) = (ClipNorm::Off, Standing::Interrupted);
    let candidate = Candidate {
        id: id(0),
        round: 0,
        shape: 0,
        clip_norm,
        kin: None,
        twins: None,
        needs: Needs::default(),
        expected_seconds,
        standing,
    };
    let (stop, begin) = (AtomicU8::new(0), Instant::now());
    let mut ends = None;
    let mut sink = |event: &Event, _: i64| {
        if let Event::Overview(overview) = event {
            ends = overview.ends_utc;
        }
        if begin.elapsed() > Duration::from_millis(150) {
            stop.store(STOP_AFTER_STEP, Ordering::Release);
        }
    };
    drive(Queue::new(vec![candidate], policy(1)), &mut pretend, &SystemClock, &mut [&mut sink], &stop, quick());
    let left = seconds(ends.unwrap() - now_utc());
    assert!((90.0..=100.0).contains(&left), "{left} s");
}

#[test]
fn that_a_trial_starts_over_is_told_once_also_where_its_worker_ends_before_it_is_looked_at() {
    let why = "its checkpoint was made on another GPU";
    let said = |time_utc| Progress { starts_over: Some(why.to_owned()), time_utc, ..progress() };
    for script in [done(End::Completed), Script::Works] {
        let pretend = Pretend { progress: (1..5).map(said).collect(), ..Pretend::default() };
        let stop_after = |event: &Event, stop: &AtomicU8| {
            if matches!(event, Event::Progressed { progress, .. } if progress.time_utc == 4) {
                stop.store(STOP_AFTER_STEP, Ordering::Release);
            }
        };
        let (_, events, _) = run_with(&[&[script]], policy(1), Standing::Waiting, pretend, quick(), stop_after);
        let told: Vec<&Event> = events.iter().filter(|e| matches!(e, Event::StartsOver { .. })).collect();
        assert_eq!(told, [&Event::StartsOver { trial: id(0), why: why.to_owned() }]);
    }
}

#[test]
fn a_trial_that_is_the_same_as_one_that_ended_is_recorded_and_not_started() {
    let outcome = Outcome { clipping: crate::runs::Clipping::of(vec![1.0], 0), ..completed() };
    let end = Script::Ends(Exit::Done(Box::new(outcome.clone())));
    for (can_be_recorded, starts, said) in
        [(true, vec!["started", "ended", "aliased"], 1), (false, vec!["started", "ended", "started", "ended"], 1)]
    {
        let family = |n: usize| Candidate {
            id: id(n),
            round: 0,
            shape: n,
            clip_norm: ClipNorm::Off,
            kin: Some(1),
            twins: None,
            needs: Needs::default(),
            expected_seconds: None,
            standing: Standing::Waiting,
        };
        let mut pretend = Pretend { outcome_of_source: can_be_recorded.then(|| outcome.clone()), ..Pretend::default() };
        for n in 0..2 {
            pretend.scripts.insert(id(n), [end.clone()].into());
        }
        let mut words = Vec::new();
        let mut sink = |event: &Event, _: i64| match event {
            Event::Started { .. } => words.push("started"),
            Event::Ended { .. } => words.push("ended"),
            Event::Aliased { source, trial, .. } => {
                assert_eq!((trial, source), (&id(1), &id(0)));
                words.push("aliased");
            }
            _ => {}
        };
        let queue = Queue::new(vec![family(0), family(1)], Policy::default());
        let summary = drive(queue, &mut pretend, &SystemClock, &mut [&mut sink], &AtomicU8::new(0), Pace::default());
        assert_eq!((words, pretend.said.len()), (starts, said));
        assert!(summary.all_completed());
    }
}

#[test]
fn a_shape_that_does_not_fit_is_written_down_for_each_of_its_trials() {
    let killed = Script::Ends(Exit::Failed(Failure {
        cause: Cause::Memory,
        reason: "killed for memory".to_owned(),
        last_lines: Vec::new(),
    }));
    let candidates = (0..3).map(|n| Candidate {
        id: id(n),
        round: 0,
        shape: n / 2,
        clip_norm: ClipNorm::Off,
        kin: None,
        twins: None,
        needs: Needs::default(),
        expected_seconds: None,
        standing: Standing::Waiting,
    });
    let mut pretend = Pretend::default();
    for (n, script) in [killed.clone(), killed, done(End::Completed)].into_iter().enumerate() {
        pretend.scripts.insert(id(n), [script].into());
    }
    let summary =
        drive(Queue::new(candidates.collect(), policy(1)), &mut pretend, &SystemClock, &mut [], &AtomicU8::new(0), quick());
    assert_eq!((summary.did_not_fit, summary.completed), (2, 1));
    let reasons = ["killed for memory, also when nothing else ran".to_owned(), format!("as {}, which has the same shape", id(0))];
    assert_eq!(pretend.given_up, [0, 1].map(|n| (id(n), End::DidNotFit, reasons[n].clone())));
    assert_eq!((pretend.attempts[&id(0)], pretend.attempts.get(&id(1))), (2, None));
}

#[test]
fn what_cannot_be_started_for_bad_data_is_given_up_at_once() {
    let (pretend, _, summary) = run(&[&[Script::BadData], &[done(End::Completed)]], 1);
    assert_eq!((summary.completed, summary.failed), (1, 1));
    assert_eq!(pretend.given_up, [(id(0), End::Failed, "bad data: the text is damaged".to_owned())]);
}

/// A clock that goes on only when somebody waits by it.
#[derive(Default)]
struct PretendClock(std::cell::Cell<i64>);

impl Clock for PretendClock {
    fn moment(&self) -> Moment {
        Moment { utc: self.0.get(), elapsed: self.0.get() }
    }

    fn steady(&self) -> i64 {
        self.0.get()
    }
}

/// Pretended workers on a clock that is moved by waiting, and by a second for each alias.
struct Sleepers<'a>(&'a PretendClock, Pretend);

impl Executor for Sleepers<'_> {
    fn start(&mut self, start: &Start) -> Result<u32> {
        self.1.start(start)
    }

    fn wait(&mut self, at_most: Duration) -> Vec<Finished> {
        self.0.0.set(self.0.0.get() + at_most.as_micros() as i64);
        self.1.dying.iter_mut().for_each(|dying| dying.2 -= at_most.as_micros() as i64);
        for (trial, why, _) in self.1.dying.extract_if(.., |dying| dying.2 <= 0) {
            self.1.ready.push(Finished { trial, exit: why.exit(Vec::new()), progress: None });
        }
        std::mem::take(&mut self.1.ready)
    }

    fn is_pending(&mut self, trial: &TrialId) -> bool {
        self.1.is_pending(trial)
    }

    fn progress(&mut self, trial: &TrialId) -> Option<Progress> {
        self.1.progress(trial)
    }

    fn said_last(&mut self, trial: &TrialId) -> Option<i64> {
        self.1.said_last(trial)
    }

    fn ask_to_stop(&mut self, trial: &TrialId) {
        self.1.ask_to_stop(trial);
    }

    fn kill(&mut self, trial: &TrialId, why: &Kill) {
        self.1.kill(trial, why);
    }

    fn standing(&mut self, trial: &TrialId) -> Standing {
        self.1.standing(trial)
    }

    fn alias(&mut self, trial: &TrialId, source: &TrialId) -> Result<Box<Outcome>> {
        self.0.0.set(self.0.0.get() + 1_000_000);
        self.1.alias(trial, source)
    }

    fn give_up(&mut self, trial: &TrialId, end: End, reason: &str) -> Result<()> {
        self.1.give_up(trial, end, reason)
    }

    fn has_room(&mut self, trial: &TrialId) -> bool {
        self.1.has_room(trial)
    }
}

/// The first trial, which waits.
fn candidate() -> Candidate {
    Candidate {
        id: id(0),
        round: 0,
        shape: 0,
        clip_norm: ClipNorm::Off,
        kin: None,
        twins: None,
        needs: Needs::default(),
        expected_seconds: None,
        standing: Standing::Waiting,
    }
}

#[test]
fn a_night_of_eight_hours_passes_in_a_moment_and_every_observer_hears_the_same() {
    const HOUR: i64 = 3_600_000_000;
    let clock = PretendClock::default();
    let mut workers = Sleepers(&clock, Pretend::default());
    workers.1.scripts.insert(id(0), [Script::Works].into());
    let candidate = candidate();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut one = |event: &Event, now: i64| first.push((event.clone(), now));
    let mut other = |event: &Event, now: i64| second.push((event.clone(), now));
    let deadline = Deadline { until_utc: None, until_elapsed: Some(8 * HOUR) };
    let patience = Patience { timeout: Timeout::Never, ..Patience::default() };
    let pace = Pace { overview: Duration::from_secs(60), deadline, patience, ..Pace::default() };
    let queue = Queue::new(vec![candidate], policy(1));
    let summary = drive(queue, &mut workers, &clock, &mut [&mut one, &mut other], &AtomicU8::new(0), pace);
    assert_eq!((summary.left, summary.stopped), (1, Some(Stop::Deadline)));
    assert_eq!(workers.1.said, ["asked"]);
    assert!((8 * HOUR..8 * HOUR + 1_000_000).contains(&clock.steady()), "{}", clock.steady());
    assert_eq!(first, second);
    let overviews = first.iter().filter(|(event, _)| matches!(event, Event::Overview(_))).count();
    assert!((480..=490).contains(&overviews), "one a minute: {overviews}");
}

/// The same as [`run_with`], on a clock that only waiting moves; `stop_at` is when somebody asks to stop, seconds.
fn run_by_the_clock(
    scripts: &[&[Script]],
    policy: Policy,
    patience: Patience,
    stop_at: Option<i64>,
) -> (Pretend, Vec<Event>, Summary, i64) {
    let (clock, stop) = (PretendClock::default(), AtomicU8::new(0));
    let mut pretend = Pretend::default();
    let candidate = |n: usize| Candidate {
        id: id(n),
        round: 0,
        shape: n,
        clip_norm: ClipNorm::Off,
        kin: None,
        twins: None,
        needs: Needs::default(),
        expected_seconds: None,
        standing: Standing::Waiting,
    };
    for (n, script) in scripts.iter().enumerate() {
        pretend.scripts.insert(id(n), script.iter().cloned().collect());
    }
    let mut events = Vec::new();
    let mut observer = |event: &Event, now: i64| {
        if stop_at.is_some_and(|at| now >= at * 1_000_000) {
            stop.store(STOP_AFTER_STEP, Ordering::Release);
        }
        if !matches!(event, Event::Overview(_)) {
            events.push(event.clone());
        }
    };
    let mut sleepers = Sleepers(&clock, pretend);
    let queue = Queue::new((0..scripts.len()).map(candidate).collect(), policy);
    let pace = Pace { patience, ..Pace::default() };
    let summary = drive(queue, &mut sleepers, &clock, &mut [&mut observer], &stop, pace);
    (sleepers.1, events, summary, clock.0.get() / 1_000_000)
}

#[test]
fn a_silent_worker_is_killed_counts_as_hung_and_is_tried_again() {
    for (timeout, longest) in [(Timeout::After(130), 130), (Timeout::Auto, 600)] {
        let patience = Patience { timeout, ..Patience::default() };
        let scripts: &[&[Script]] = &[&[Script::Deaf, done(End::Completed)]];
        let (pretend, events, summary, seconds) = run_by_the_clock(scripts, policy(1), patience, None);
        let reason = format!("hung: silent for {longest} s while starting");
        assert_eq!(pretend.said, std::slice::from_ref(&reason));
        assert!(events.iter().any(|e| matches!(e, Event::Failed { cause: Cause::Hang, reason: r, .. } if *r == reason)));
        let silent =
            |e: &&Event| matches!(e, Event::Silent { seconds, phase, .. } if *seconds >= 10 && *phase == Phase::Starting);
        assert_eq!(events.iter().filter(silent).count(), longest as usize - 10, "told each second");
        assert!(summary.all_completed() && (longest..longest + 5).contains(&seconds), "{seconds}");
    }
}

#[test]
fn a_worker_that_is_waited_for_for_ever_is_not_killed() {
    let patience = Patience { timeout: Timeout::Never, ..Patience::default() };
    let (pretend, _, summary, seconds) = run_by_the_clock(&[&[Script::Works]], policy(1), patience, Some(20_000));
    assert_eq!((pretend.said, summary.left), (vec!["asked".to_owned()], 1));
    assert!(seconds >= 20_000);
}

#[test]
fn after_the_patience_of_a_stop_or_a_deadline_workers_are_killed() {
    let until = Policy { until_utc: Some(100_000_000), ..policy(1) };
    for (policy, stop_at) in [(policy(1), Some(100)), (until, None)] {
        let (pretend, events, summary, seconds) = run_by_the_clock(&[&[Script::Deaf]], policy, Patience::default(), stop_at);
        assert_eq!(pretend.said, ["asked", "killed: it had not stopped after 30 s"]);
        assert!((130..133).contains(&seconds), "{seconds}");
        assert!(matches!(events.last(), Some(Event::Left { why: Left::Interrupted, .. })) && summary.left == 1);
    }
}

#[test]
fn a_worker_that_cannot_be_killed_takes_its_slot_out_and_the_others_go_on() {
    let patience = Patience { timeout: Timeout::After(60), ..Patience::default() };
    let ends = [done(End::Completed)];
    let scripts: &[&[Script]] = &[&[Script::Unkillable], &ends, &ends, &ends];
    let (_, events, summary, seconds) = run_by_the_clock(scripts, policy(2), patience, None);
    assert_eq!((summary.completed, summary.left, seconds), (3, 1, 70));
    let told = events.iter().filter(|e| matches!(e, Event::StillThere { slot: 1, .. })).count();
    assert_eq!((told, events.last()), (1, Some(&Event::Left { trial: id(0), why: Left::StillThere })));
}

#[test]
fn a_run_ends_where_no_slot_is_left() {
    let stuck: &[Script] = &[Script::Unkillable];
    let patience = Patience { timeout: Timeout::After(60), ..Patience::default() };
    let (_, _, summary, seconds) = run_by_the_clock(&[stuck, stuck], policy(1), patience, None);
    assert_eq!((summary.left, summary.stopped, seconds), (2, Some(Stop::NoSlot), 70 + 3_600));
    let (pretend, _, summary, seconds) = run_by_the_clock(&[stuck, stuck], policy(2), Patience::default(), Some(5));
    assert_eq!(pretend.said.len(), 4, "each asked, and killed");
    assert_eq!((summary.left, summary.stopped), (2, Some(Stop::Asked)));
    assert!((45..48).contains(&seconds), "{seconds}: 30 s to stop, 10 s to die");
}

#[test]
fn a_slot_whose_worker_takes_long_to_die_is_waited_for() {
    let patience = Patience { timeout: Timeout::After(60), ..Patience::default() };
    let scripts: &[&[Script]] = &[&[Script::DiesSlowly(900), done(End::Completed)], &[done(End::Completed)]];
    let (_, events, summary, seconds) = run_by_the_clock(scripts, policy(1), patience, None);
    assert!(summary.all_completed(), "{events:?}");
    assert!((960..965).contains(&seconds), "{seconds}");
}

#[test]
fn a_worker_of_others_that_hangs_is_not_waited_for_for_ever() {
    for (timeout, longest) in [(Timeout::Auto, 600), (Timeout::After(60), 60)] {
        let clock = PretendClock::default();
        let mut workers = Sleepers(&clock, Pretend { progress: [progress()].into(), ..Pretend::default() });
        workers.1.scripts.insert(id(1), [done(End::Completed)].into());
        let held = Candidate { standing: Standing::HeldElsewhere, kin: Some(1), twins: Some(1), ..candidate() };
        let twin = Candidate { id: id(1), kin: Some(1), twins: Some(1), ..candidate() };
        let pace = Pace { patience: Patience { timeout, ..Patience::default() }, ..Pace::default() };
        let queue = Queue::new(vec![held, twin], policy(2));
        let mut events = Vec::new();
        let mut observer = |event: &Event, _: i64| events.push(event.clone());
        let summary = drive(queue, &mut workers, &clock, &mut [&mut observer], &AtomicU8::new(0), pace);
        assert_eq!((summary.completed, summary.left), (1, 1));
        let seconds = clock.0.get() / 1_000_000;
        assert!((longest..longest + 5).contains(&seconds), "{seconds}");
        assert!(events.contains(&Event::Left { trial: id(0), why: Left::HeldElsewhere }));
    }
}

#[test]
fn an_alias_waits_until_a_full_disk_has_room() {
    let outcome = Outcome { clipping: crate::runs::Clipping::of(vec![1.0], 0), ..completed() };
    let full = || Error::new(Kind::DiskFull, "the disk is full");
    for (errors, room, completed, stopped) in
        [(vec![full()], vec![true], 2, None), ((0..200).map(|_| full()).collect(), vec![false; 200], 1, Some(Stop::DiskFull))]
    {
        let clock = PretendClock::default();
        let pretend = Pretend {
            outcome_of_source: Some(outcome.clone()),
            no_alias: errors.into(),
            room: room.into(),
            ..Pretend::default()
        };
        let mut workers = Sleepers(&clock, pretend);
        for n in 0..2 {
            workers.1.scripts.insert(id(n), [Script::Ends(Exit::Done(Box::new(outcome.clone())))].into());
        }
        let member = |n: usize| Candidate { id: id(n), kin: Some(1), ..candidate() };
        let queue = Queue::new(vec![member(0), member(1)], policy(1));
        let summary = drive(queue, &mut workers, &clock, &mut [], &AtomicU8::new(0), Pace::default());
        assert_eq!((summary.completed, summary.left, summary.stopped), (completed, 2 - completed, stopped));
        assert_eq!(workers.1.attempts.len(), 1, "none is trained for want of room");
    }
}

#[test]
fn aliases_are_recorded_until_the_deadline_or_a_second_request_to_stop() {
    let outcome = Outcome { clipping: crate::runs::Clipping::of(vec![1.0], 0), ..completed() };
    let member = |n: usize| Candidate {
        id: id(n),
        round: 0,
        shape: 0,
        clip_norm: ClipNorm::Off,
        kin: Some(1),
        twins: None,
        needs: Needs::default(),
        expected_seconds: None,
        standing: Standing::Waiting,
    };
    for (asked, until, aliases, stopped) in [
        (0, None, 9, None),
        (STOP_AFTER_STEP, None, 9, Some(Stop::Asked)),
        (STOP_NOW, None, 0, Some(Stop::Asked)),
        (0, Some(4_500_000), 5, Some(Stop::Deadline)),
    ] {
        let clock = PretendClock::default();
        let mut workers = Sleepers(&clock, Pretend { outcome_of_source: Some(outcome.clone()), ..Pretend::default() });
        for n in 0..10 {
            workers.1.scripts.insert(id(n), [Script::Ends(Exit::Done(Box::new(outcome.clone())))].into());
        }
        let stop = AtomicU8::new(0);
        // Asked for when the first one has ended.
        let mut ask = |event: &Event, _: i64| {
            if matches!(event, Event::Ended { .. }) {
                stop.store(asked, Ordering::Release);
            }
        };
        // The wait for the first one comes before.
        let deadline = Deadline { until_utc: None, until_elapsed: until.map(|until| until + 200_000) };
        let pace = Pace { deadline, ..Pace::default() };
        let queue = Queue::new((0..10).map(member).collect(), policy(1));
        let summary = drive(queue, &mut workers, &clock, &mut [&mut ask], &stop, pace);
        assert_eq!(workers.1.said.iter().filter(|said| *said == "alias").count(), aliases, "{asked} {until:?}");
        assert_eq!((summary.completed, summary.left, summary.stopped), (1 + aliases, 9 - aliases, stopped));
    }
}

#[test]
fn what_waits_in_a_clusters_queue_has_not_started_and_is_not_silent() {
    let patience = Patience { timeout: Timeout::After(1), ..Patience::default() };
    // Some seconds, together.
    let pretend = Pretend { pending: [true; 400].into(), ..Pretend::default() };
    let stop_when_started = |event: &Event, stop: &AtomicU8| {
        if matches!(event, Event::Started { .. }) {
            stop.store(STOP_AFTER_STEP, Ordering::Release);
        }
    };
    let pace = Pace { patience, ..quick() };
    let (pretend, events, _) = run_with(&[&[Script::Works]], policy(1), Standing::Waiting, pretend, pace, stop_when_started);
    let told: Vec<&Event> = events.iter().filter(|e| matches!(e, Event::Submitted { .. } | Event::Started { .. })).collect();
    assert!(matches!(told[..], [Event::Submitted { attempt: 1, .. }, Event::Started { attempt: 1, .. }]), "{told:?}");
    assert!(pretend.said.iter().all(|said| !said.starts_with("hung") || pretend.pending.is_empty()), "{:?}", pretend.said);
}

#[test]
fn what_is_requeued_waits_again_and_runs_again() {
    let clock = PretendClock::default();
    // It has begun, is requeued for two hours, and begins again.
    let pending = std::iter::once(false).chain([true; 36_000]).collect();
    let mut workers = Sleepers(&clock, Pretend { pending, ..Pretend::default() });
    workers.1.scripts.insert(id(0), [Script::Unkillable].into());
    let candidate = candidate();
    let mut events = Vec::new();
    let mut observer = |event: &Event, _: i64| {
        if matches!(event, Event::Started { .. } | Event::Submitted { .. } | Event::StillThere { .. }) {
            events.push(event.clone());
        }
    };
    let pace = Pace { patience: Patience { timeout: Timeout::After(60), ..Patience::default() }, ..Pace::default() };
    drive(Queue::new(vec![candidate], policy(1)), &mut workers, &clock, &mut [&mut observer], &AtomicU8::new(0), pace);
    assert_eq!(workers.1.said, ["hung: silent for 60 s while starting"]);
    assert_eq!(clock.0.get() / 1_000_000, 2 * 3_600 + 60 + 10);
    assert!(
        matches!(events[..], [Event::Started { attempt: 1, .. }, Event::StillThere { waits: false, .. }]),
        "it is not told as one that waits: {events:?}"
    );
}
