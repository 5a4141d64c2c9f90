use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::experiment::settings::ClipNorm;
use crate::schedule::queue::trials::Running;
use crate::schedule::{Lighter, Needs, Start};

pub(super) const SECOND: i64 = 1_000_000;

pub(super) fn id(n: usize) -> TrialId {
    TrialId::of(&n.to_string())
}

/// Which candidate has this id.
pub(super) fn number(trial: &TrialId) -> usize {
    (0..1000).find(|n| id(*n) == *trial).unwrap()
}

pub(super) fn waiting(n: usize) -> Candidate {
    Candidate {
        id: id(n),
        round: 0,
        shape: n,
        clip_norm: ClipNorm::At(1.0),
        kin: None,
        twins: None,
        needs: Needs::default(),
        expected_seconds: None,
        standing: Standing::Waiting,
    }
}

fn queue(count: usize, policy: Policy) -> Queue {
    Queue::new((0..count).map(waiting).collect(), policy)
}

pub(super) fn done(end: End) -> Exit {
    Exit::Done(Box::new(Outcome { reason: (end != End::Completed).then(|| "a reason".to_owned()), ..Outcome::example(end) }))
}

fn crash(reason: &str) -> Exit {
    Exit::Failed(Failure { cause: Cause::Crash, reason: reason.to_owned(), last_lines: vec!["last".to_owned()] })
}

/// Starts all that can start now; their numbers.
pub(super) fn start_all(queue: &mut Queue, now: i64) -> Vec<usize> {
    std::iter::from_fn(|| queue.next(now)).map(|s| number(&s.trial)).collect()
}

/// The words of some events.
pub(super) fn words(events: &[Event]) -> Vec<String> {
    let word = |e: &Event| match e {
        Event::Failed { first, .. } => format!("failed{}", if *first { " first" } else { "" }),
        Event::Retrying { in_seconds, retries_left, lighter: None, .. } => {
            format!("retrying in {in_seconds}, {retries_left} left")
        }
        Event::Retrying { in_seconds, lighter: Some(Lighter::Alone), .. } => format!("alone in {in_seconds}"),
        Event::Retrying { in_seconds, lighter: Some(Lighter::Threads(n)), .. } => format!("on {n} threads in {in_seconds}"),
        Event::Stopped { .. } => "stopped alone".to_owned(),
        Event::Waits { other, .. } => format!("waits for {}", number(other)),
        Event::Pause { seconds, failures } => format!("pause of {seconds} after {failures}"),
        Event::DiskFull => "disk full".to_owned(),
        Event::DiskHasRoom => "disk has room".to_owned(),
        Event::Ended { end, .. } => format!("ended {end:?}"),
        Event::Left { why, .. } => format!("left {why:?}"),
        Event::Stopping { why } => format!("{why}"),
        Event::Skipped { end, .. } => format!("skipped {end:?}"),
        Event::HeldElsewhere { .. } => "held".to_owned(),
        Event::TakenOver { .. } => "taken over".to_owned(),
        other => format!("{other:?}"),
    };
    events.iter().map(word).collect()
}

#[test]
fn never_more_trials_run_than_there_are_slots_and_a_free_slot_is_used_again() {
    let mut queue = queue(3, Policy { slots: 2, ..Policy::default() });
    let starts: Vec<Start> = std::iter::from_fn(|| queue.next(0)).collect();
    assert_eq!(starts.iter().map(|s| s.slot).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(words(&queue.on_exit(&starts[0].trial, done(End::Completed), SECOND)), ["ended Completed"]);
    let third = queue.next(SECOND).unwrap();
    assert_eq!((number(&third.trial), third.slot), (2, 1));
    assert!(!queue.is_over(SECOND));
    queue.on_exit(&starts[1].trial, done(End::Completed), SECOND);
    queue.on_exit(&third.trial, done(End::Completed), SECOND);
    assert!(queue.is_over(SECOND));
    let (events, summary) = queue.finish();
    assert!(events.is_empty());
    assert!(summary.all_completed());
}

#[test]
fn one_seed_of_every_configuration_comes_first() {
    // File order: configurations, and within each its seeds.
    let candidates = (0..6).map(|n| Candidate { round: n % 2, ..waiting(n) }).collect();
    let mut queue = Queue::new(candidates, Policy { slots: 6, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0, 2, 4, 1, 3, 5]);
}

#[test]
fn within_a_round_interrupted_off_large_norms_and_long_trials_come_first() {
    // Each of a kin of its own: nobody waits.
    let one = |n| Candidate { kin: Some(n), ..waiting(n) };
    let candidates = vec![
        Candidate { clip_norm: ClipNorm::At(0.5), expected_seconds: Some(50.0), ..one(0) },
        Candidate { clip_norm: ClipNorm::At(1.0), expected_seconds: Some(10.0), ..one(1) },
        Candidate { clip_norm: ClipNorm::At(1.0), expected_seconds: Some(20.0), ..one(2) },
        Candidate { clip_norm: ClipNorm::Off, expected_seconds: Some(1.0), ..one(3) },
        Candidate { clip_norm: ClipNorm::At(0.1), standing: Standing::Interrupted, ..waiting(4) },
        Candidate { clip_norm: ClipNorm::Off, round: 1, standing: Standing::Interrupted, ..waiting(5) },
    ];
    let mut queue = Queue::new(candidates, Policy { slots: 9, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [4, 3, 2, 1, 0, 5]);
}

#[test]
fn where_every_trial_is_trained_the_longest_come_first_whatever_their_clip_norms() {
    let candidates = vec![
        Candidate { clip_norm: ClipNorm::At(0.5), expected_seconds: Some(20.0), ..waiting(0) },
        Candidate { clip_norm: ClipNorm::At(1.0), expected_seconds: Some(10.0), ..waiting(1) },
        Candidate { clip_norm: ClipNorm::Off, expected_seconds: Some(20.0), ..waiting(2) },
        Candidate { clip_norm: ClipNorm::At(0.1), expected_seconds: Some(30.0), ..waiting(3) },
    ];
    let mut queue = Queue::new(candidates, Policy { slots: 9, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [3, 0, 2, 1]);
}

#[test]
fn trials_that_are_over_are_skipped_and_said_so() {
    let candidates = vec![
        Candidate { standing: Standing::Done(End::Completed), ..waiting(0) },
        Candidate { standing: Standing::Done(End::Diverged), ..waiting(1) },
        waiting(2),
    ];
    let mut queue = Queue::new(candidates, Policy { slots: 9, ..Policy::default() });
    assert_eq!(words(&queue.begin()), ["skipped Completed", "skipped Diverged"]);
    assert_eq!(start_all(&mut queue, 0), [2]);
    queue.on_exit(&id(2), done(End::Completed), 1);
    let (_, summary) = queue.finish();
    assert_eq!((summary.done_before, summary.completed, summary.diverged), (2, 2, 1));
}

#[test]
fn an_experiment_that_is_done_is_over_at_once() {
    let candidates = vec![Candidate { standing: Standing::Done(End::Completed), ..waiting(0) }];
    let mut queue = Queue::new(candidates, Policy::default());
    assert!(queue.is_over(0));
    assert!(queue.finish().1.nothing_was_to_do());
}

#[test]
fn a_crash_is_tried_again_after_a_growing_pause_and_then_given_up() {
    let mut queue = queue(1, Policy { retries: 2, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0]);
    assert_eq!(words(&queue.on_exit(&id(0), crash("a"), 0)), ["failed first", "retrying in 2, 1 left"]);
    assert_eq!(queue.next(2 * SECOND - 1), None);
    assert!(!queue.is_over(1));
    assert_eq!(start_all(&mut queue, 2 * SECOND), [0]);
    assert_eq!(words(&queue.on_exit(&id(0), crash("a"), 2 * SECOND)), ["failed", "retrying in 8, 0 left"]);
    assert_eq!(start_all(&mut queue, 10 * SECOND), [0]);
    assert_eq!(words(&queue.on_exit(&id(0), crash("a"), 11 * SECOND)), ["failed", "ended Failed"]);
    assert!(queue.is_over(11 * SECOND));
    assert_eq!(queue.finish().1.failed, 1);
}

#[test]
fn while_one_trial_waits_for_its_retry_others_start() {
    let mut queue = queue(2, Policy::default());
    assert_eq!(start_all(&mut queue, 0), [0]);
    queue.on_exit(&id(0), crash("a"), 0);
    assert_eq!(start_all(&mut queue, 1), [1]);
    queue.on_exit(&id(1), done(End::Completed), 3 * SECOND);
    assert_eq!(start_all(&mut queue, 3 * SECOND), [0]);
}

#[test]
fn ends_are_never_tried_again() {
    for end in [End::Completed, End::Diverged, End::DidNotFit, End::Failed] {
        let mut queue = queue(1, Policy { retries: 9, ..Policy::default() });
        start_all(&mut queue, 0);
        let events = queue.on_exit(&id(0), done(end), 1);
        assert!(matches!(events.last(), Some(Event::Ended { end: e, outcome: Some(_), .. }) if *e == end));
        assert_eq!(matches!(events[0], Event::Failed { cause: Cause::Refused, .. }), end == End::Failed);
        assert_eq!(queue.next(i64::MAX), None);
        assert!(queue.is_over(1));
    }
}

#[test]
fn five_trials_that_fail_alike_stop_the_queue() {
    let mut queue = queue(9, Policy { retries: 2, ..Policy::default() });
    for n in 0..5 {
        assert_eq!(start_all(&mut queue, 0), [n]);
        let said = words(&queue.on_exit(&id(n), crash("exit code 3"), 0));
        let stopped = "stopped: 5 trials of different shapes failed one after another for the same reason (exit code 3)";
        assert_eq!(said.last().unwrap() == stopped, n == 4, "{said:?}");
    }
    assert!(queue.is_over(0) && !queue.stops_running());
    let (events, summary) = queue.finish();
    assert_eq!(words(&events).iter().filter(|w| *w == "left NotStarted").count(), 4);
    assert_eq!((summary.left, summary.failed), (9, 0));
    assert!(matches!(summary.stopped, Some(Stop::SameFailure { trials: 5, .. })));
}

#[test]
fn another_reason_or_an_end_in_between_starts_the_count_again() {
    for other in [crash("exit code 4"), done(End::Completed), done(End::Diverged)] {
        let mut queue = queue(9, Policy { retries: 0, ..Policy::default() });
        for n in 0..9 {
            assert_eq!(start_all(&mut queue, 0), [n]);
            queue.on_exit(&id(n), if n % 5 == 4 { other.clone() } else { crash("exit code 3") }, 0);
        }
        assert!(!queue.is_stopping());
    }
}

#[test]
fn one_trial_that_fails_again_and_again_does_not_stop_the_others() {
    let mut queue = queue(2, Policy { slots: 2, retries: 20, backoff_seconds: 0.0, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0, 1]);
    queue.on_exit(&id(0), crash("exit code 3"), 0);
    for _ in 0..19 {
        assert_eq!(start_all(&mut queue, 0), [0]);
        queue.on_exit(&id(0), crash("exit code 3"), 0);
    }
    assert!(!queue.is_stopping());
}

#[test]
fn what_cannot_end_before_the_deadline_is_begun_only_where_nothing_shorter_is_left() {
    let candidates = vec![
        Candidate { expected_seconds: Some(100.0), ..waiting(0) },
        Candidate { expected_seconds: Some(30.0), ..waiting(1) },
        Candidate { expected_seconds: None, ..waiting(2) },
    ];
    let policy = Policy { slots: 9, until_utc: Some(60 * SECOND), ..Policy::default() };
    let mut queue = Queue::new(candidates.clone(), policy.clone());
    assert_eq!(start_all(&mut queue, 0), [2, 1, 0], "of unknown length, short enough, too long");
    let one_slot = Policy { slots: 1, ..policy.clone() };
    let mut queue = Queue::new(candidates.clone(), one_slot.clone());
    assert_eq!(start_all(&mut queue, 31 * SECOND), [2]);
    queue.on_exit(&id(2), crash("a"), 32 * SECOND);
    assert_eq!(start_all(&mut queue, 32 * SECOND), [0usize; 0], "its pause ends in time, and it may be short");
    assert_eq!(start_all(&mut queue, 34 * SECOND), [2]);
    queue.on_exit(&id(2), done(End::Completed), 35 * SECOND);
    assert_eq!(start_all(&mut queue, 35 * SECOND), [0], "the longest that is left: it goes on another time");
    assert_eq!(words(&queue.tick(60 * SECOND)), ["stopped by the deadline"]);
    queue.on_exit(&id(0), Exit::Interrupted, 60 * SECOND);
    let (events, summary) = queue.finish();
    assert_eq!((words(&events), summary.left), (vec!["left NotStarted".to_owned()], 2));
    let mut queue = Queue::new(vec![waiting(0)], one_slot);
    assert_eq!(start_all(&mut queue, 58 * SECOND), [0]);
    queue.on_exit(&id(0), crash("a"), 59 * SECOND);
    assert!(queue.is_over(59 * SECOND), "its pause is longer than what is left of the night");
    let (events, summary) = queue.finish();
    assert_eq!(words(&events), ["left WouldNotEnd"]);
    assert_eq!(summary.stopped, Some(Stop::Deadline));
    let mut queue = Queue::new(candidates, policy);
    assert_eq!(start_all(&mut queue, 60 * SECOND), [0usize; 0]);
}

#[test]
fn at_the_deadline_running_trials_save_and_leave() {
    let mut queue = queue(2, Policy { until_utc: Some(60 * SECOND), ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0]);
    assert!(queue.tick(59 * SECOND).is_empty());
    assert_eq!(words(&queue.tick(60 * SECOND)), ["stopped by the deadline"]);
    assert!(queue.tick(61 * SECOND).is_empty(), "told once");
    assert!(queue.stops_running() && !queue.is_over(61 * SECOND));
    assert_eq!(words(&queue.on_exit(&id(0), Exit::Interrupted, 61 * SECOND)), ["left Interrupted"]);
    assert!(queue.is_over(61 * SECOND));
    let (events, summary) = queue.finish();
    assert_eq!((words(&events), summary.left), (vec!["left NotStarted".to_owned()], 2));
}

#[test]
fn a_deadline_after_the_last_trial_stops_nothing() {
    let mut queue = queue(1, Policy { until_utc: Some(60 * SECOND), ..Policy::default() });
    start_all(&mut queue, 0);
    queue.on_exit(&id(0), done(End::Completed), SECOND);
    assert!(queue.tick(61 * SECOND).is_empty());
    assert_eq!(queue.finish().1.stopped, None);
}

#[test]
fn finished_trials_teach_how_long_the_others_take() {
    let candidates = (0..3).map(|n| Candidate { expected_seconds: Some(10.0), ..waiting(n) }).collect();
    let mut queue = Queue::new(candidates, Policy { until_utc: Some(55 * SECOND), ..Policy::default() });
    assert_eq!(queue.overview(0).ends_utc, Some(30 * SECOND));
    start_all(&mut queue, 0);
    queue.on_exit(&id(0), done(End::Completed), 20 * SECOND);
    assert_eq!(queue.overview(20 * SECOND).ends_utc, Some(55 * SECOND), "never later than the deadline");
    assert_eq!(start_all(&mut queue, 20 * SECOND), [1]);
    queue.on_exit(&id(1), done(End::Completed), 40 * SECOND);
    assert!(!queue.any_can_end(40 * SECOND), "20 seconds do not fit into 15");
    assert_eq!(start_all(&mut queue, 40 * SECOND), [2], "and nothing shorter is left");
}

#[test]
fn a_running_trial_is_expected_to_end_at_its_own_speed() {
    let candidates = vec![Candidate { expected_seconds: Some(10.0), ..waiting(0) }];
    let mut queue = Queue::new(candidates, Policy::default());
    start_all(&mut queue, 0);
    assert_eq!(queue.overview(4 * SECOND).ends_utc, Some(10 * SECOND));
    queue.on_progress(&id(0), 0.0, 0);
    queue.on_progress(&id(0), 0.25, 10 * SECOND);
    assert_eq!(queue.overview(10 * SECOND).ends_utc, Some(40 * SECOND));
    let overview = queue.overview(10 * SECOND);
    assert_eq!((overview.running, overview.done, overview.left), (1, 0, 0));
}

#[test]
fn nothing_is_said_of_the_end_while_nothing_is_known() {
    let mut queue = queue(2, Policy::default());
    assert_eq!(queue.overview(0).ends_utc, None);
    start_all(&mut queue, 0);
    queue.on_exit(&id(0), done(End::Completed), 10 * SECOND);
    assert_eq!(queue.overview(10 * SECOND).ends_utc, Some(20 * SECOND), "the other is taken to be like the first");
}

#[test]
fn a_crashed_trial_needs_only_what_is_left_of_it() {
    let candidates = vec![Candidate { expected_seconds: Some(40.0), ..waiting(0) }];
    let mut queue = Queue::new(candidates, Policy { until_utc: Some(50 * SECOND), ..Policy::default() });
    start_all(&mut queue, 0);
    queue.on_progress(&id(0), 0.0, 0);
    queue.on_progress(&id(0), 0.75, 30 * SECOND);
    queue.on_exit(&id(0), crash("a"), 30 * SECOND);
    assert_eq!(start_all(&mut queue, 32 * SECOND), [0], "10 of its 40 seconds are left, and fit");
}

#[test]
fn a_stop_starts_nothing_and_takes_effect_once() {
    let mut queue = queue(3, Policy::default());
    start_all(&mut queue, 0);
    assert_eq!(words(&queue.stop(Stop::Asked)), ["stopped on request"]);
    assert!(queue.stop(Stop::Asked).is_empty() && queue.stop(Stop::Deadline).is_empty());
    assert_eq!(queue.next(0), None);
    assert_eq!(words(&queue.on_exit(&id(0), crash("a"), 1)), ["failed first", "left Failed"]);
    let (events, summary) = queue.finish();
    assert_eq!(words(&events), ["left NotStarted", "left NotStarted"]);
    assert_eq!((summary.left, summary.stopped), (3, Some(Stop::Asked)));
}

#[test]
fn a_request_to_stop_reaches_workers_that_the_same_failure_had_let_run() {
    let mut queue = queue(6, Policy { slots: 6, retries: 0, ..Policy::default() });
    start_all(&mut queue, 0);
    for n in 0..5 {
        queue.on_exit(&id(n), crash("a"), 0);
    }
    assert!(queue.is_stopping() && !queue.stops_running());
    assert_eq!(words(&queue.stop(Stop::Asked)), ["stopped on request"]);
    assert!(queue.stops_running());
}

#[test]
fn a_worker_that_is_stopped_by_somebody_else_is_started_again_but_not_for_ever() {
    let mut queue = queue(1, Policy { retries: 1, ..Policy::default() });
    start_all(&mut queue, 0);
    assert_eq!(words(&queue.on_exit(&id(0), Exit::Interrupted, 0)), ["stopped alone", "retrying in 2, 0 left"]);
    start_all(&mut queue, 2 * SECOND);
    assert_eq!(words(&queue.on_exit(&id(0), Exit::Interrupted, 2 * SECOND)), ["stopped alone", "left Interrupted"]);
    assert_eq!(queue.finish().1.left, 1);
}

#[test]
fn a_trial_that_another_worker_holds_is_waited_for() {
    for (standing, said, starts) in [
        (Standing::Interrupted, &[] as &[&str], &[0usize] as &[usize]),
        (Standing::Waiting, &[], &[0]),
        (Standing::HeldElsewhere, &[], &[]),
        (Standing::Done(End::Completed), &["skipped Completed"], &[]),
    ] {
        let candidates = vec![Candidate { standing: Standing::HeldElsewhere, ..waiting(0) }];
        let mut queue = Queue::new(candidates, Policy::default());
        assert_eq!(words(&queue.begin()), ["held"]);
        assert_eq!(queue.next(0), None);
        assert!(!queue.is_over(0));
        assert_eq!(words(&queue.on_standing(&id(0), standing)), said);
        assert_eq!(start_all(&mut queue, 0), starts);
        assert_eq!(queue.is_over(0), standing == Standing::Done(End::Completed));
    }
}

#[test]
fn a_worker_that_finds_its_trial_held_is_waited_for_unless_the_run_stops() {
    for (exit, said) in [(Exit::HeldElsewhere, "held"), (Exit::TakenOver, "taken over")] {
        let mut queue = queue(1, Policy::default());
        start_all(&mut queue, 0);
        assert_eq!(words(&queue.on_exit(&id(0), exit, 0)), [said]);
        assert!(!queue.is_over(0));
        queue.stop(Stop::Asked);
        assert!(queue.is_over(0));
        assert_eq!(words(&queue.finish().0), ["left HeldElsewhere"]);
    }
}

#[test]
fn the_last_trials_share_the_cores_that_are_free() {
    for (slots, cores, threads, trials, expected) in [
        (2, 2, None, 3, &[1u32, 1] as &[u32]),
        (2, 2, None, 1, &[2]),
        (4, 8, None, 9, &[2, 2, 2, 2]),
        (4, 8, None, 3, &[2, 3, 3]),
        (4, 8, Some(1), 3, &[1, 1, 1]),
        (8, 2, None, 3, &[1, 1, 1]),
    ] {
        let mut queue = queue(trials, Policy { slots, cores, threads, ..Policy::default() });
        let starts: Vec<u32> = std::iter::from_fn(|| queue.next(0)).map(|s| s.threads).collect();
        assert_eq!(starts, expected, "{slots} slots, {cores} cores, {threads:?}, {trials} trials");
    }
}

#[test]
fn what_happens_to_trials_that_do_not_run_is_passed_over() {
    let mut queue = queue(1, Policy::default());
    assert!(queue.on_exit(&id(0), crash("a"), 0).is_empty());
    assert!(queue.on_exit(&id(7), crash("a"), 0).is_empty());
    assert!(queue.on_standing(&id(0), Standing::Done(End::Completed)).is_empty());
    queue.on_progress(&id(7), 0.5, 0);
    assert_eq!(start_all(&mut queue, 0), [0]);
}

/// A scheduler without any cleverness, to compare with: lists that are searched, and every rule spelled out.
struct Naive {
    candidates: Vec<Candidate>,
    policy: Policy,
    /// Numbers of queued trials, with the time from which they may start and whether they
    /// were stopped (0), never started (1), or failed (2).
    queued: Vec<(usize, i64, u8)>,
    running: Vec<usize>,
    failures: Vec<u32>,
    stopped: bool,
    failed: Vec<usize>,
    last_reason: String,
    /// Shapes that failed for that reason, and the times of the events that they failed by.
    alike: Vec<usize>,
    events: Vec<i64>,
    /// When each was started last.
    began: Vec<i64>,
}

impl Naive {
    fn new(candidates: Vec<Candidate>, policy: Policy) -> Self {
        let queued = candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| matches!(c.standing, Standing::Waiting | Standing::Interrupted))
            .map(|(i, c)| (i, i64::MIN, u8::from(c.standing != Standing::Interrupted)))
            .collect();
        let (failures, began) = (vec![0; candidates.len()], vec![0; candidates.len()]);
        Self {
            candidates,
            policy,
            queued,
            running: Vec::new(),
            failures,
            stopped: false,
            failed: Vec::new(),
            last_reason: String::new(),
            alike: Vec::new(),
            events: Vec::new(),
            began,
        }
    }

    fn next(&mut self, now: i64) -> Option<usize> {
        if self.stopped || self.running.len() >= self.policy.slots {
            return None;
        }
        let mut best: Option<(usize, u8)> = None;
        let until = self.policy.until_utc.unwrap();
        let ends = |i: usize, from: i64| from + (self.candidates[i].expected_seconds.unwrap_or(0.0) * 1e6) as i64;
        let in_time = |i: usize, from: i64| from < until && ends(i, from) <= until;
        let only_late_ones = !self.queued.iter().any(|&(i, ready, _)| in_time(i, ready.max(now)));
        for &(i, ready, begun) in &self.queued {
            let c = &self.candidates[i];
            if ready > now || now >= until || !(only_late_ones || in_time(i, now)) {
                continue;
            }
            let norm = |c: &Candidate| match (c.kin, c.clip_norm) {
                (None, _) => -1.0,
                (_, ClipNorm::At(x)) => x,
                (_, ClipNorm::Off) => 1e300,
            };
            let long = |c: &Candidate| c.expected_seconds.unwrap_or(1e300);
            let better = match best {
                None => true,
                Some((b, b_begun)) => {
                    let b_c = &self.candidates[b];
                    if c.round != b_c.round {
                        c.round < b_c.round
                    } else if begun != b_begun {
                        begun < b_begun
                    } else if norm(c) != norm(b_c) {
                        norm(c) > norm(b_c)
                    } else if long(c) != long(b_c) {
                        long(c) > long(b_c)
                    } else {
                        i < b
                    }
                }
            };
            if better {
                best = Some((i, begun));
            }
        }
        let (i, _) = best?;
        self.queued.retain(|q| q.0 != i);
        self.running.push(i);
        self.began[i] = now;
        Some(i)
    }

    fn exit(&mut self, i: usize, exit: &Exit, now: i64) {
        self.running.retain(|r| *r != i);
        let mut again = None;
        match exit {
            Exit::Done(_) => {
                self.alike.clear();
                self.events.clear();
                self.last_reason.clear();
            }
            Exit::HeldElsewhere | Exit::TakenOver => {}
            Exit::Displaced(_) => self.queued.push((i, i64::MIN, 0)),
            Exit::Interrupted => again = Some(if self.failed.contains(&i) { 2 } else { 0 }),
            Exit::Failed(failure) => {
                if failure.reason != self.last_reason {
                    self.alike.clear();
                    self.events.clear();
                    self.last_reason = failure.reason.clone();
                }
                let shape = self.candidates[i].shape;
                self.alike.retain(|a| *a != shape);
                self.alike.push(shape);
                // What ran already when the last event came, and failed soon after it, failed by it.
                if self.events.last().is_none_or(|last| self.began[i] >= *last || now >= last + 60 * SECOND) {
                    self.events.push(now);
                }
                self.stopped |= self.alike.len().min(self.events.len()) >= self.policy.same_failures;
                self.failed.push(i);
                again = Some(2);
            }
        }
        if let Some(begun) = again {
            self.failures[i] += 1;
            if self.failures[i] <= self.policy.retries && !self.stopped {
                let mut pause = self.policy.backoff_seconds;
                for _ in 1..self.failures[i] {
                    pause *= 4.0;
                }
                self.queued.push((i, now + (pause.min(300.0) * 1e6) as i64, begun));
            }
        }
    }
}

impl Queue {
    /// What must hold after every call.
    fn sanity_check(&self) {
        let running: Vec<&Running> = self.trials.iter().filter_map(QueuedTrial::running).collect();
        assert!(running.len() <= self.policy.slots);
        let slots: BTreeSet<u32> = running.iter().map(|r| r.slot).collect();
        assert_eq!(slots.len(), running.len(), "a slot is used twice");
        assert!(slots.iter().all(|s| (1..=self.policy.slots as u32).contains(s)));
        assert!(running.iter().all(|r| r.threads >= 1));
        if self.policy.threads.is_none() && self.policy.cores >= self.policy.slots {
            let threads: u32 = running.iter().map(|r| r.threads).sum();
            assert!(threads as usize <= self.policy.cores, "{threads} threads on {} cores", self.policy.cores);
        }
        self.trials.sanity_check();
    }
}

fn any_candidate() -> impl Strategy<Value = (usize, u8, Option<u8>, u8)> {
    (0..3usize, 0..4u8, prop::option::of(1..40u8), 0..8u8)
}

#[derive(Debug, Clone)]
enum Move {
    /// So many milliseconds pass, and all that can start starts.
    Start(u32),
    /// The n-th running trial ends so.
    Exit(usize, u8),
    /// The n-th running trial says how far it is.
    Progress(usize, u8),
    /// Somebody asks for a stop.
    Stop,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0..8_000u32).prop_map(Move::Start),
        6 => (0..8usize, 0..12u8).prop_map(|(n, how)| Move::Exit(n, how)),
        1 => (0..8usize, 0..=100u8).prop_map(|(n, at)| Move::Progress(n, at)),
        1 => (0..40u8).prop_map(|n| if n == 0 { Move::Stop } else { Move::Start(1) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_queue_does_what_a_naive_one_does(
        made in prop::collection::vec(any_candidate(), 0..14),
        moves in prop::collection::vec(any_move(), 0..80),
        slots in 1..5usize,
        retries in 0..3u32,
        with_progress in any::<bool>(),
    ) {
        let candidates: Vec<Candidate> = made.iter().enumerate().map(|(n, (round, norm, seconds, standing))| Candidate {
            id: id(n),
            round: *round,
            clip_norm: if *norm == 0 { ClipNorm::Off } else { ClipNorm::At(f64::from(*norm)) },
            // Some have the same shape, which keeps none of them waiting while memory suffices.
            shape: n % 5,
            // Some are of a kin, each of its own, so that nobody waits.
            kin: (n % 3 > 0).then_some(n),
            twins: None,
            needs: Needs::default(),
            expected_seconds: seconds.map(f64::from),
            standing: match standing {
                0 => Standing::Done(End::Completed),
                1 => Standing::Interrupted,
                2 => Standing::HeldElsewhere,
                _ => Standing::Waiting,
            },
        }).collect();
        let policy = Policy { slots, cores: slots + 2, retries, until_utc: Some(120 * SECOND), same_failures: 4, ..Policy::default() };
        let mut queue = Queue::new(candidates.clone(), policy.clone());
        let mut naive = Naive::new(candidates.clone(), policy.clone());
        let mut concluded: Vec<TrialId> = Vec::new();
        let conclude = |events: &[Event], concluded: &mut Vec<TrialId>| {
            for event in events {
                if let Event::Skipped { trial, .. } | Event::Ended { trial, .. } | Event::Left { trial, .. } = event {
                    concluded.push(trial.clone());
                }
            }
        };
        conclude(&queue.begin(), &mut concluded);
        let mut now = 0i64;
        // Progress and completions teach the queue other durations than planned, which the naive one does not know.
        let mut comparable = true;
        for step in &moves {
            let running: Vec<TrialId> = queue.running().cloned().collect();
            match step {
                Move::Start(milliseconds) => {
                    now += i64::from(*milliseconds) * 1000;
                    let events = queue.tick(now);
                    naive.stopped |= now >= 120 * SECOND;
                    conclude(&events, &mut concluded);
                    while let Some(start) = queue.next(now) {
                        queue.sanity_check();
                        prop_assert!(now < 120 * SECOND, "started after the deadline");
                        if comparable {
                            prop_assert_eq!(Some(number(&start.trial)), naive.next(now));
                        }
                    }
                    if comparable {
                        prop_assert_eq!(naive.next(now), None);
                    }
                }
                Move::Exit(n, how) if !running.is_empty() => {
                    let trial = running[n % running.len()].clone();
                    let exit = match how {
                        0..=4 => done(End::Diverged),
                        5 => done(End::Completed),
                        6 => Exit::Interrupted,
                        7 => Exit::HeldElsewhere,
                        8..=10 => crash("exit code 1"),
                        _ => crash("exit code 2"),
                    };
                    comparable &= *how != 5;
                    naive.exit(number(&trial), &exit, now);
                    let events = queue.on_exit(&trial, exit, now);
                    prop_assert!(!events.is_empty());
                    conclude(&events, &mut concluded);
                }
                Move::Progress(n, at) if !running.is_empty() && with_progress => {
                    queue.on_progress(&running[n % running.len()], f64::from(*at) / 100.0, now);
                    comparable = false;
                }
                Move::Stop => {
                    queue.stop(Stop::Asked);
                    naive.stopped = true;
                }
                Move::Exit(..) | Move::Progress(..) => {}
            }
            queue.sanity_check();
            let overview = queue.overview(now);
            prop_assert_eq!(overview.done + overview.running + overview.left, overview.trials);
        }
        conclude(&queue.finish().0, &mut concluded);
        let (again, summary) = queue.finish();
        prop_assert!(again.is_empty(), "concluded twice");
        concluded.sort();
        let mut all: Vec<TrialId> = candidates.iter().map(|c| c.id.clone()).collect();
        all.sort();
        prop_assert_eq!(concluded, all, "every trial ends exactly once");
        prop_assert_eq!(summary.trials, candidates.len());
    }

    #[test]
    fn whatever_crashes_the_queue_comes_to_an_end(
        count in 1..12usize,
        slots in 1..4usize,
        exits in prop::collection::vec(0..4u8, 60),
    ) {
        let mut queue = queue(count, Policy { slots, ..Policy::default() });
        let mut exits = exits.into_iter();
        let mut now = 0;
        for _ in 0..2_000 {
            if queue.is_over(now) {
                break;
            }
            now += SECOND;
            while queue.next(now).is_some() {}
            queue.sanity_check();
            let first = queue.running().next().cloned();
            if let Some(trial) = first {
                let exit = match exits.next() {
                    Some(0) => crash("a"),
                    Some(1) => crash("b"),
                    Some(2) => Exit::Interrupted,
                    _ => done(End::Completed),
                };
                queue.on_exit(&trial, exit, now);
            }
        }
        prop_assert!(queue.is_over(now));
        let (_, summary) = queue.finish();
        prop_assert_eq!(summary.completed + summary.failed + summary.left, count);
    }
}

#[test]
fn what_lost_its_place_goes_on_at_once_and_as_often_as_need_be() {
    let mut queue = queue(1, Policy { retries: 0, ..Policy::default() });
    for round in 0..10 {
        assert_eq!(start_all(&mut queue, round), [0]);
        let events = queue.on_exit(&id(0), Exit::Displaced("its time was over".to_owned()), round);
        assert_eq!(events, [Event::Displaced { trial: id(0), why: "its time was over".to_owned() }]);
    }
    assert_eq!(start_all(&mut queue, 10), [0]);
    queue.stop(Stop::Asked);
    let events = queue.on_exit(&id(0), Exit::Displaced("its time was over".to_owned()), 11);
    assert_eq!(events, [Event::Left { trial: id(0), why: Left::Interrupted }]);
}

#[test]
fn time_in_a_clusters_queue_is_no_time_of_a_trial() {
    let mut queue = queue(1, Policy::default());
    start_all(&mut queue, 0);
    queue.on_pending(&id(0), 100 * SECOND);
    let events = queue.on_exit(&id(0), done(End::Completed), 103 * SECOND);
    assert!(matches!(&events[..], [Event::Ended { seconds, .. }] if *seconds == 3.0), "{events:?}");
}

#[test]
fn a_pause_in_a_clusters_queue_makes_no_trial_slower() {
    let mut queue = queue(1, Policy::default());
    start_all(&mut queue, 0);
    queue.on_progress(&id(0), 0.5, 0);
    queue.on_progress(&id(0), 0.6, 10 * SECOND);
    let ends = |queue: &Queue, now: i64| queue.overview(now * SECOND).ends_utc.map(|ends| ends / SECOND);
    assert_eq!(ends(&queue, 10), Some(50));
    // It was requeued, and begins again from a checkpoint.
    queue.on_pending(&id(0), 1_000 * SECOND);
    assert_eq!(ends(&queue, 1_000), None);
    queue.on_begun(&id(0));
    queue.on_progress(&id(0), 0.5, 2_000 * SECOND);
    queue.on_progress(&id(0), 0.6, 2_010 * SECOND);
    assert_eq!(ends(&queue, 2_010), Some(2_050));
}

#[test]
fn what_was_cancelled_in_a_clusters_queue_and_stays_there_is_no_worker_that_cannot_be_killed() {
    let mut queue = queue(2, Policy { slots: 2, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0, 1]);
    (0..2).for_each(|n| queue.on_pending(&id(n), SECOND));
    queue.on_begun(&id(1));
    queue.stop(Stop::Asked);
    let waits = |events: &[Event]| matches!(events, [Event::StillThere { waits: true, .. }]);
    assert_eq!((waits(&queue.on_still_there(&id(0))), waits(&queue.on_still_there(&id(1)))), (true, false));
    let left: Vec<Event> =
        [Left::StillQueued, Left::StillThere].into_iter().zip([0, 1]).map(|(why, n)| Event::Left { trial: id(n), why }).collect();
    assert_eq!(queue.finish().0, left);
}

#[test]
fn on_a_cluster_what_ran_out_of_memory_is_given_more_beside_the_others() {
    let alike = |n| Candidate { shape: 7, ..waiting(n) };
    let policy = Policy { slots: 3, on_cluster: true, threads: Some(4), backoff_seconds: 0.0, ..Policy::default() };
    let mut queue = Queue::new(vec![alike(0), waiting(1), waiting(2)], policy);
    assert_eq!(start_all(&mut queue, 0), [0, 1, 2]);
    let memory =
        || Exit::Failed(Failure { cause: Cause::Memory, reason: "killed for memory".to_owned(), last_lines: Vec::new() });
    let events = queue.on_exit(&id(0), memory(), 1);
    assert!(matches!(&events[1], Event::Retrying { lighter: Some(Lighter::MoreMemory), .. }), "{events:?}");
    let again = queue.next(2).unwrap();
    assert!(again.ample && again.threads == 4 && queue.running().count() == 3, "{again:?}");
    let events = queue.on_exit(&id(0), memory(), 3);
    let reason = "killed for memory, also with four times the memory";
    assert!(matches!(&events[1], Event::Ended { end: End::DidNotFit, reason: Some(said), .. } if said == reason), "{events:?}");
}
