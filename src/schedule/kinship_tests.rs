use proptest::prelude::*;

use super::*;
use crate::experiment::settings::ClipNorm;
use crate::plan::TrialId;
use crate::runs::Clipping;
use crate::schedule::{Cause, Event, Exit, Failure, Needs, Policy, Queue, Standing};

const SECOND: i64 = 1_000_000;

fn id(n: usize) -> TrialId {
    TrialId::of(&n.to_string())
}

fn number(trial: &TrialId) -> usize {
    (0..1000).find(|n| id(*n) == *trial).unwrap()
}

/// A member of a kin; limit 0 is `off`.
fn member(n: usize, kin: usize, limit: f64) -> Candidate {
    let clip_norm = if limit > 0.0 { ClipNorm::At(limit) } else { ClipNorm::Off };
    let (round, kin) = (0, Some(kin));
    Candidate {
        id: id(n),
        round,
        shape: n,
        clip_norm,
        kin,
        twins: None,
        needs: Needs::default(),
        expected_seconds: None,
        standing: Standing::Waiting,
    }
}

fn queue(candidates: &[Candidate], slots: usize) -> Queue {
    Queue::new(candidates.to_vec(), Policy { slots, ..Policy::default() })
}

/// The end of a trial with this largest norm, of whose steps so many were clipped.
fn outcome(end: End, max: f64, clipped: usize) -> Outcome {
    Outcome { steps: 2, clipping: Clipping::of(vec![max / 2.0, max], clipped), ..Outcome::example(end) }
}

fn done(end: End, max: f64, clipped: usize) -> Exit {
    Exit::Done(Box::new(outcome(end, max, clipped)))
}

fn crash() -> Exit {
    Exit::Failed(Failure { cause: Cause::Crash, reason: "exit code 1".to_owned(), last_lines: Vec::new() })
}

fn start_all(queue: &mut Queue, now: i64) -> Vec<usize> {
    std::iter::from_fn(|| queue.next(now)).map(|s| number(&s.trial)).collect()
}

/// Records every alias there is to record; which trial is the same as which.
fn record_all(queue: &mut Queue, outcome: &Outcome) -> Vec<(usize, usize)> {
    let mut aliases = Vec::new();
    while let Some((trial, source)) = queue.next_alias() {
        let outcome = Outcome { alias_of: Some(source.clone()), ..outcome.clone() };
        let events = queue.on_alias(&trial, Some(Box::new(outcome)));
        assert!(matches!(&events[..], [Event::Aliased { trial: t, source: s, .. }] if *t == trial && *s == source));
        aliases.push((number(&trial), number(&source)));
    }
    aliases
}

#[test]
fn off_starts_first_its_relatives_wait_and_other_trials_go_before_them() {
    let (a, b) = ([0.1, 0.0, 100.0], [1.0, 0.5]);
    let first: Vec<Candidate> = a.iter().enumerate().map(|(n, limit)| member(n, 1, *limit)).collect();
    let second = b.iter().enumerate().map(|(n, limit)| member(3 + n, 2, *limit));
    let alone = Candidate { kin: None, ..member(5, 0, 0.01) };
    let candidates: Vec<Candidate> = first.into_iter().chain(second).chain([alone]).collect();
    let mut queue = queue(&candidates, 3);
    assert_eq!(start_all(&mut queue, 0), [1, 3, 5], "`off`, the largest of the second family, and one of no family");
    queue.on_exit(&id(5), done(End::Completed, 1.0, 0), SECOND);
    assert_eq!(queue.next_alias(), None, "it has no relatives");
    assert_eq!(start_all(&mut queue, SECOND), [0], "nothing else is left: the least likely alias starts all the same");
}

#[test]
fn of_twins_one_is_trained_and_the_others_wait_whatever_was_clipped() {
    let twin = |n: usize, limit| Candidate { twins: Some(10 + n / 2), ..member(n, 1, limit) };
    let candidates = [twin(0, 1.0), twin(1, 1.0), twin(2, 0.1), twin(3, 0.1)];
    let mut queue = queue(&candidates, 4);
    assert_eq!(start_all(&mut queue, 0), [0, 2], "a relative starts where there is nothing else, a twin does not");
    queue.on_exit(&id(0), done(End::Completed, 5.0, 2), SECOND);
    assert_eq!(record_all(&mut queue, &outcome(End::Completed, 5.0, 2)), [(1, 0)]);
    assert!(start_all(&mut queue, SECOND).is_empty(), "its family says that it is not the same, but its twin is at work");
    assert!(!queue.is_over(SECOND));
    queue.on_exit(&id(2), done(End::Diverged, 9.0, 1), SECOND);
    assert_eq!(record_all(&mut queue, &outcome(End::Diverged, 9.0, 1)), [(3, 2)]);
    assert!(queue.is_over(SECOND));
}

#[test]
fn where_a_twin_fails_or_cannot_be_recorded_the_next_one_is_trained() {
    let twin = |n: usize| Candidate { kin: None, twins: Some(9), ..member(n, 1, 1.0) };
    let mut queue = Queue::new(vec![twin(0), twin(1), twin(2)], Policy { slots: 3, retries: 0, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0]);
    queue.on_exit(&id(0), crash(), SECOND);
    assert_eq!(start_all(&mut queue, SECOND), [1]);
    queue.on_exit(&id(1), done(End::Completed, 1.0, 1), SECOND);
    assert_eq!(queue.next_alias(), Some((id(2), id(1))));
    queue.on_alias(&id(2), None);
    assert_eq!(start_all(&mut queue, SECOND), [2]);
}

#[test]
fn where_nothing_was_clipped_those_that_would_not_have_clipped_are_the_same() {
    let limits = [0.0, 100.0, 2.0, 1.0];
    let candidates: Vec<Candidate> = limits.iter().enumerate().map(|(n, limit)| member(n, 1, *limit)).collect();
    let mut queue = queue(&candidates, 1);
    assert_eq!(start_all(&mut queue, 0), [0]);
    queue.on_exit(&id(0), done(End::Completed, 1.5, 0), SECOND);
    assert!(!queue.is_over(SECOND));
    assert_eq!(record_all(&mut queue, &outcome(End::Completed, 1.5, 0)), [(1, 0), (2, 0)]);
    let overview = queue.overview(SECOND);
    assert_eq!((overview.done, overview.left), (3, 1));
    assert_eq!(start_all(&mut queue, SECOND), [3], "1.0 would have clipped");
    queue.on_exit(&id(3), done(End::Completed, 1.4, 2), 2 * SECOND);
    assert_eq!(queue.finish().1.completed, 4);
}

#[test]
fn a_larger_limit_is_the_same_as_a_smaller_one_that_never_bound() {
    let begun = Candidate { standing: Standing::Interrupted, ..member(1, 1, 2.0) };
    let mut queue = queue(&[member(0, 1, 0.0), begun], 1);
    assert_eq!(start_all(&mut queue, 0), [1], "what was begun goes on first");
    queue.on_exit(&id(1), done(End::Completed, 1.5, 0), SECOND);
    assert_eq!(record_all(&mut queue, &outcome(End::Completed, 1.5, 0)), [(0, 1)]);
    assert!(queue.is_over(SECOND));
}

#[test]
fn a_trial_that_was_clipped_is_nobodys_source_but_one_that_diverged_may_be() {
    for (exit, same) in [
        (done(End::Completed, 1.5, 1), false),
        (done(End::Completed, 1.5, 0), true),
        (done(End::Diverged, 1.5, 0), true),
        (done(End::DidNotFit, 1.5, 0), false),
        (done(End::Failed, 1.5, 0), false),
        (Exit::Done(Box::new(Outcome { clipping: None, ..outcome(End::Completed, 1.0, 0) })), false),
    ] {
        let mut queue = queue(&[member(0, 1, 9.0), member(1, 1, 8.0), member(2, 2, 8.0)], 1);
        assert_eq!(start_all(&mut queue, 0), [0]);
        queue.on_exit(&id(0), exit.clone(), SECOND);
        assert_eq!(queue.next_alias(), same.then(|| (id(1), id(0))), "{exit:?}");
    }
}

#[test]
fn what_one_trial_says_of_the_others() {
    let limits = [0.0, 3.0, 2.0, 1.0, 0.5];
    for (clipped, expected) in [
        // The one with 2.0 came to a norm of 1.5.
        (0, [Verdict::Same, Verdict::Same, Verdict::Same, Verdict::Different, Verdict::Different]),
        (1, [Verdict::Open, Verdict::Open, Verdict::Different, Verdict::Different, Verdict::Different]),
    ] {
        let ended = outcome(End::Completed, 1.5, clipped);
        let verdicts = limits.map(|limit| verdict(&ended, &member(0, 1, 2.0), &member(1, 1, limit)));
        assert_eq!(verdicts, expected, "{clipped} clipped");
    }
}

#[test]
fn who_is_certainly_not_the_same_waits_for_nobody() {
    let others = [member(3, 2, 0.0), member(4, 2, 0.2)];
    let members = [member(0, 1, 0.0), member(1, 1, 0.4), member(2, 1, 0.3)];
    let mut queue = queue(&[&members[..], &others].concat(), 2);
    assert_eq!(start_all(&mut queue, 0), [0, 3]);
    queue.on_exit(&id(0), done(End::Completed, 1.5, 0), SECOND);
    assert_eq!(start_all(&mut queue, SECOND), [1]);
    queue.on_exit(&id(3), done(End::Diverged, 1.5, 0), SECOND);
    assert_eq!(start_all(&mut queue, SECOND), [2], "its relative runs, and will teach it nothing");
}

#[test]
fn an_alias_of_an_alias_names_the_one_that_was_trained() {
    let mut queue = queue(&[member(0, 1, 9.0), member(1, 1, 8.0)], 1);
    start_all(&mut queue, 0);
    let exit = Exit::Done(Box::new(Outcome { alias_of: Some(id(7)), ..outcome(End::Completed, 1.0, 0) }));
    queue.on_exit(&id(0), exit, SECOND);
    assert_eq!(queue.next_alias(), Some((id(1), id(7))));
}

#[test]
fn an_alias_that_cannot_be_recorded_is_trained() {
    let mut queue = queue(&[member(0, 1, 0.0), member(1, 1, 8.0), member(2, 1, 7.0)], 1);
    start_all(&mut queue, 0);
    queue.on_exit(&id(0), done(End::Completed, 1.0, 0), SECOND);
    let (trial, _) = queue.next_alias().unwrap();
    assert!(queue.on_alias(&trial, None).is_empty());
    assert_eq!(record_all(&mut queue, &outcome(End::Completed, 1.0, 0)), [(2, 0)]);
    assert_eq!(start_all(&mut queue, SECOND), [1]);
    assert!(queue.on_alias(&id(1), None).is_empty(), "it runs: nobody asked");
    queue.on_exit(&id(1), done(End::Completed, 1.0, 0), 2 * SECOND);
    assert!(queue.is_over(2 * SECOND));
}

#[test]
fn relatives_wait_for_one_that_was_stopped_while_there_is_something_else_and_never_for_one_that_failed() {
    for (exit, then) in [(Exit::Interrupted, [2, 1]), (crash(), [1, 2])] {
        let mut queue = queue(&[member(0, 1, 0.0), member(1, 1, 8.0), member(2, 2, 1.0)], 1);
        assert_eq!(start_all(&mut queue, 0), [0]);
        queue.on_exit(&id(0), exit, 0);
        for n in then {
            assert_eq!(start_all(&mut queue, 1), [n]);
            queue.on_exit(&id(n), done(End::Completed, 9.0, 1), 1);
        }
    }
}

#[test]
fn a_stop_still_lets_aliases_be_recorded() {
    let mut queue = queue(&[member(0, 1, 0.0), member(1, 1, 8.0)], 1);
    start_all(&mut queue, 0);
    queue.stop(crate::schedule::Stop::Asked);
    queue.on_exit(&id(0), done(End::Completed, 1.0, 0), SECOND);
    assert!(!queue.is_over(SECOND));
    assert_eq!(record_all(&mut queue, &outcome(End::Completed, 1.0, 0)), [(1, 0)]);
    assert!(queue.is_over(SECOND));
    assert!(queue.finish().1.all_completed());
}

#[test]
fn seeds_are_families_of_their_own_and_each_leader_goes_before_any_relative() {
    // Three limits, two seeds; in the order of the file.
    let limits = [0.1, 0.0, 100.0];
    let candidates: Vec<Candidate> = (0..6).map(|n| Candidate { round: n % 2, ..member(n, n % 2, limits[n / 2]) }).collect();
    let mut queue = queue(&candidates, 2);
    assert_eq!(start_all(&mut queue, 0), [2, 3], "`off` of both seeds");
    queue.on_exit(&id(3), done(End::Completed, 5.0, 0), SECOND);
    assert_eq!(record_all(&mut queue, &outcome(End::Completed, 5.0, 0)), [(5, 3)]);
    assert_eq!(start_all(&mut queue, SECOND), [1], "the other limit of the seed that is through, not one that waits");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every trial has a kin with a largest norm that it reaches when nothing clips.
    #[test]
    fn whatever_the_families_every_trial_ends_once_and_no_slot_stays_empty(
        made in prop::collection::vec((0..3usize, 0..3usize, 0..6u8), 1..14),
        maxima in prop::collection::vec(0.5f64..6.0, 9),
        slots in 1..4usize,
        picks in prop::collection::vec(0..8usize, 40),
    ) {
        let family = |n: usize| made[n].0 * 3 + made[n].1;
        let candidates: Vec<Candidate> = made.iter().enumerate().map(|(n, (_, round, limit))| Candidate {
            round: *round,
            ..member(n, family(n), f64::from(*limit))
        }).collect();
        let binds = |n: usize| candidates[n].limit() / (maxima[family(n)] + 1e-6) < 1.0;
        let mut queue = queue(&candidates, slots);
        let (mut trained, mut aliases, mut picks, mut now) = (Vec::new(), Vec::new(), picks.into_iter().cycle(), 0);
        while !queue.is_over(now) {
            now += SECOND;
            let started = start_all(&mut queue, now);
            let running: Vec<usize> = queue.running().map(number).collect();
            prop_assert_eq!(running.len(), slots.min(running.len() + queue.overview(now).left), "a slot is empty");
            for n in started {
                let source = trained.iter().find(|s: &&usize| family(**s) == family(n) && !binds(**s));
                prop_assert!(binds(n) || source.is_none(), "{n} was trained, and is the same as {source:?}");
            }
            let n = running[picks.next().unwrap() % running.len()];
            let outcome = outcome(End::Completed, maxima[family(n)], usize::from(binds(n)));
            trained.push(n);
            queue.on_exit(&id(n), Exit::Done(Box::new(outcome.clone())), now);
            for (alias, source) in record_all(&mut queue, &outcome) {
                prop_assert!(source == n && family(alias) == family(n) && !binds(alias) && !binds(source));
                aliases.push(alias);
            }
        }
        let mut all: Vec<usize> = trained.into_iter().chain(aliases).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..made.len()).collect::<Vec<_>>());
        prop_assert!(queue.finish().1.all_completed());
    }
}
