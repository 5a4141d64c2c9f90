//! What follows from each cause.

use crate::runs::End;
use crate::schedule::queue::Queue;
use crate::schedule::queue::tests::{SECOND, done, id, number, start_all, waiting, words};
use crate::schedule::{Candidate, Cause, Event, Exit, Failure, Policy, Standing, Stop};

fn failed(cause: Cause) -> Exit {
    let reason = if cause == Cause::Memory { "killed for memory" } else { "exit code 1" };
    Exit::Failed(Failure { cause, reason: reason.to_owned(), last_lines: Vec::new() })
}

/// Trials of these shapes, the first the longest.
fn of_shapes(shapes: &[usize], policy: Policy) -> Queue {
    let seconds = |n: usize| Some((100 - n) as f64);
    let one = |(n, shape): (usize, &usize)| Candidate { shape: *shape, expected_seconds: seconds(n), ..waiting(n) };
    Queue::new(shapes.iter().enumerate().map(one).collect(), policy)
}

/// What a machine does with a trial.
type Machine<'a> = dyn FnMut(usize, u32, usize) -> Exit + 'a;

/// Lets trials run until the queue is over, a second each: `machine` is told a trial's number, its threads, and how many run.
fn run_to_the_end(queue: &mut Queue, machine: &mut Machine<'_>) -> Vec<Event> {
    let (mut now, mut events, mut threads) = (0, Vec::new(), std::collections::HashMap::new());
    while !queue.is_over(now) {
        assert!(now < 10_000 * SECOND, "no end");
        while let Some(start) = queue.next(now) {
            threads.insert(start.trial.clone(), start.threads);
        }
        now += SECOND;
        let running: Vec<_> = queue.running().cloned().collect();
        for trial in &running {
            events.extend(queue.on_exit(trial, machine(number(trial), threads[trial], running.len()), now));
        }
    }
    events.extend(queue.finish().0);
    events
}

fn count(queue: &mut Queue) -> (usize, usize, usize, usize) {
    let summary = queue.finish().1;
    (summary.completed, summary.did_not_fit, summary.failed, summary.left)
}

#[test]
fn the_five_largest_are_killed_for_memory_and_the_six_small_ones_are_trained() {
    // As they were seen: five trials of one shape first. And the same where each has a shape of its own.
    for shapes in [[0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
        for slots in [1, 2, 6] {
            let mut queue = of_shapes(&shapes, Policy { slots, cores: 6, ..Policy::default() });
            let mut starts = [0; 11];
            let events = run_to_the_end(&mut queue, &mut |n, _, _| {
                starts[n] += 1;
                if n < 5 { failed(Cause::Memory) } else { done(End::Completed) }
            });
            assert_eq!(count(&mut queue), (6, 5, 0, 0), "{slots} slots: {:?}", words(&events));
            assert_eq!(starts[5..], [1; 6]);
            // Of one shape one is tried for all of them; others only as far as they ran already when it was killed.
            let tried_again = starts[..5].iter().filter(|n| **n > 1).count();
            assert_eq!(tried_again, if shapes[1] == 0 { 1 } else { 5 }, "{slots} slots: {starts:?}");
        }
    }
}

#[test]
fn after_the_first_kill_others_of_the_shape_wait_while_it_is_tried_on_half_the_threads_and_then_alone() {
    let policy = Policy { slots: 2, cores: 8, ..Policy::default() };
    let mut queue = of_shapes(&[0, 0, 0, 1], policy);
    let first = queue.next(0).unwrap();
    assert_eq!((number(&first.trial), first.threads), (0, 4));
    assert_eq!(start_all(&mut queue, 0), [1]);
    assert_eq!(words(&queue.on_exit(&id(0), failed(Cause::Memory), 0)), ["failed first", "on 2 threads in 2"]);
    // The one that runs goes on; another one of the shape does not start, but one of another shape does.
    assert_eq!(start_all(&mut queue, 0), [3]);
    assert_eq!(words(&queue.on_exit(&id(1), failed(Cause::Memory), 1)), ["failed", "waits for 0"]);
    assert_eq!(start_all(&mut queue, 1), [0usize; 0]);
    let half = queue.next(2 * SECOND).unwrap();
    assert_eq!((number(&half.trial), half.threads), (0, 2));
    assert_eq!(words(&queue.on_exit(&id(0), failed(Cause::Memory), 3 * SECOND)), ["failed", "alone in 8"]);
    assert_eq!(start_all(&mut queue, 30 * SECOND), [0usize; 0], "another trial runs");
    queue.on_exit(&id(3), done(End::Completed), 40 * SECOND);
    let alone = queue.next(40 * SECOND).unwrap();
    assert_eq!((number(&alone.trial), alone.threads), (0, 2));
    assert_eq!(queue.next(40 * SECOND), None, "it is alone");
    let events = queue.on_exit(&id(0), failed(Cause::Memory), 50 * SECOND);
    assert_eq!(words(&events), ["failed", "ended DidNotFit", "ended DidNotFit", "ended DidNotFit"]);
    let reasons: Vec<&str> = events[1..]
        .iter()
        .map(|event| if let Event::Ended { reason: Some(reason), outcome: None, .. } = event { reason.as_str() } else { "" })
        .collect();
    let as_first = format!("as {}, which has the same shape", id(0));
    assert_eq!(reasons, ["killed for memory, also when nothing else ran", &as_first, &as_first]);
    assert!(queue.is_over(50 * SECOND));
    assert_eq!(count(&mut queue), (1, 3, 0, 0));
}

#[test]
fn what_helped_one_of_a_shape_is_how_the_others_are_started() {
    // (threads and trials at a time that fit, most that are ever alone)
    for (most_threads, most_trials, on_gpu) in [(2, 9, false), (1, 1, false), (4, 1, true)] {
        let policy = Policy { slots: 3, cores: 12, on_gpu, ..Policy::default() };
        let mut queue = of_shapes(&[0, 0, 0, 0, 0], policy);
        let mut kills = 0;
        let events = run_to_the_end(&mut queue, &mut |_, threads, running| {
            let fits = threads <= most_threads.max(2) && running <= most_trials;
            kills += usize::from(!fits);
            if fits { done(End::Completed) } else { failed(Cause::Memory) }
        });
        assert_eq!(count(&mut queue), (5, 0, 0, 0), "{:?}", words(&events));
        assert!(kills <= 6, "{kills} kills: {:?}", words(&events));
    }
}

#[test]
fn on_one_thread_and_on_a_gpu_it_is_tried_alone_at_once() {
    for (on_gpu, cores) in [(false, 1), (true, 8)] {
        let mut queue = of_shapes(&[0], Policy { cores, on_gpu, ..Policy::default() });
        start_all(&mut queue, 0);
        assert_eq!(words(&queue.on_exit(&id(0), failed(Cause::Memory), 0)), ["failed first", "alone in 2"]);
    }
}

#[test]
fn retries_are_not_what_a_want_of_memory_is_tried_again_by() {
    let mut queue = of_shapes(&[0], Policy { retries: 0, cores: 4, ..Policy::default() });
    let mut threads_seen = Vec::new();
    run_to_the_end(&mut queue, &mut |_, threads, _| {
        threads_seen.push(threads);
        failed(Cause::Memory)
    });
    assert_eq!((threads_seen, count(&mut queue)), (vec![4, 2, 2], (0, 1, 0, 0)));
}

#[test]
fn where_another_of_the_shape_was_completed_only_the_one_that_was_killed_does_not_fit() {
    let one = |n, standing| Candidate { shape: 0, standing, ..waiting(n) };
    let candidates = vec![one(0, Standing::Done(End::Completed)), one(1, Standing::Waiting), one(2, Standing::Waiting)];
    let mut queue = Queue::new(candidates, Policy::default());
    run_to_the_end(&mut queue, &mut |n, _, _| if n == 1 { failed(Cause::Memory) } else { done(End::Completed) });
    assert_eq!(count(&mut queue), (2, 1, 0, 0));
}

#[test]
fn a_trial_that_others_wait_for_lets_them_go_when_it_fails_of_something_else_or_cannot_end_in_time() {
    let mut queue = of_shapes(&[0, 0], Policy { cores: 2, ..Policy::default() });
    start_all(&mut queue, 0);
    queue.on_exit(&id(0), failed(Cause::Memory), 0);
    assert_eq!(start_all(&mut queue, 2 * SECOND), [0]);
    queue.on_exit(&id(0), failed(Cause::Crash), 3 * SECOND);
    assert_eq!(start_all(&mut queue, 3 * SECOND), [1]);

    let policy = Policy { cores: 2, until_utc: Some(110 * SECOND), ..Policy::default() };
    let candidates = [(0, 100.0), (1, 20.0)].map(|(n, s)| Candidate { shape: 0, expected_seconds: Some(s), ..waiting(n) });
    let mut queue = Queue::new(candidates.to_vec(), policy);
    assert_eq!(start_all(&mut queue, 0), [0]);
    queue.on_exit(&id(0), failed(Cause::Memory), 20 * SECOND);
    assert_eq!(start_all(&mut queue, 22 * SECOND), [1], "100 seconds do not fit into 88, 20 do");
    queue.on_exit(&id(1), done(End::Completed), 42 * SECOND);
    assert_eq!(start_all(&mut queue, 42 * SECOND), [0], "nothing shorter is left");
}

#[test]
fn the_next_night_begins_with_what_was_never_tried() {
    let stand = |n| if n < 5 { Standing::Failed } else { Standing::Waiting };
    let one = |n| Candidate { shape: n / 5, standing: stand(n), expected_seconds: Some((100 - n) as f64), ..waiting(n) };
    let mut candidates: Vec<Candidate> = (0..7).map(one).collect();
    candidates.push(Candidate { standing: Standing::Interrupted, ..one(7) });
    candidates.push(Candidate { round: 1, ..one(8) });
    let mut queue = Queue::new(candidates, Policy { slots: 9, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [7, 5, 6, 0, 1, 2, 3, 4, 8]);
}

#[test]
fn what_failed_goes_to_the_end_of_its_round_and_keeps_no_relative_waiting() {
    let relative = |n, twins| Candidate { kin: Some(1), twins, ..waiting(n) };
    let mut queue = Queue::new(vec![relative(0, Some(9)), relative(1, Some(9))], Policy::default());
    assert_eq!(start_all(&mut queue, 0), [0]);
    queue.on_exit(&id(0), failed(Cause::Crash), 0);
    assert_eq!(start_all(&mut queue, 0), [1], "its twin");
    let candidates =
        vec![relative(0, None), relative(1, None), relative(2, None), waiting(3), Candidate { round: 1, ..waiting(4) }];
    let mut queue = Queue::new(candidates, Policy::default());
    assert_eq!(start_all(&mut queue, 0), [0]);
    queue.on_exit(&id(0), failed(Cause::Crash), 0);
    for n in [1, 2, 3, 0, 4] {
        assert_eq!(start_all(&mut queue, 10 * SECOND), [n]);
        queue.on_exit(&id(n), done(End::Completed), 10 * SECOND);
    }
}

#[test]
fn what_is_refused_or_has_bad_data_is_over_at_once() {
    for cause in [Cause::Refused, Cause::BadData] {
        let mut queue = of_shapes(&[0], Policy { retries: 9, ..Policy::default() });
        start_all(&mut queue, 0);
        assert_eq!(words(&queue.on_exit(&id(0), failed(cause), 0)), ["failed first", "ended Failed"]);
    }
}

#[test]
fn what_may_go_by_is_tried_again() {
    for cause in [Cause::Crash, Cause::Device, Cause::Unknown, Cause::Hang, Cause::NotStarted] {
        let mut queue = of_shapes(&[0], Policy { retries: 1, ..Policy::default() });
        start_all(&mut queue, 0);
        let pause = (cause == Cause::NotStarted).then(|| "pause of 2 after 1".to_owned());
        let expected = ["failed first", "retrying in 2, 0 left"].map(str::to_owned).into_iter().chain(pause);
        assert_eq!(words(&queue.on_exit(&id(0), failed(cause), 0)), expected.collect::<Vec<String>>());
    }
}

#[test]
fn trials_of_one_shape_are_no_streak() {
    let mut queue = of_shapes(&[0, 0, 0, 0, 0, 0, 1], Policy { retries: 0, ..Policy::default() });
    run_to_the_end(&mut queue, &mut |n, _, _| if n < 6 { failed(Cause::Crash) } else { done(End::Completed) });
    assert_eq!(count(&mut queue), (1, 0, 6, 0));
    let mut queue = of_shapes(&[0, 1, 2, 3, 4, 4, 5], Policy { retries: 0, ..Policy::default() });
    run_to_the_end(&mut queue, &mut |_, _, _| failed(Cause::Crash));
    assert_eq!(count(&mut queue), (0, 0, 5, 2));
}

#[test]
fn what_one_event_does_to_all_that_run_is_no_streak() {
    let mut queue = of_shapes(&[0, 1, 2, 3, 4, 5], Policy { slots: 5, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0, 1, 2, 3, 4]);
    for n in 0..5 {
        queue.on_exit(&id(n), failed(Cause::Unknown), (10 + n as i64) * SECOND);
    }
    assert!(!queue.is_stopping());
    run_to_the_end(&mut queue, &mut |_, _, _| done(End::Completed));
    assert_eq!(count(&mut queue), (6, 0, 0, 0));
    // What fails again each time it is tried does stop it, whatever runs beside it.
    let mut queue = of_shapes(&[0, 1, 2, 3, 4, 5], Policy { slots: 5, retries: 9, ..Policy::default() });
    run_to_the_end(&mut queue, &mut |_, _, _| failed(Cause::Unknown));
    assert!(matches!(queue.finish().1.stopped, Some(Stop::SameFailure { .. })));
}

#[test]
fn where_nothing_can_be_started_for_a_while_the_queue_waits_and_no_trial_is_given_up() {
    let not_started = |n: usize| {
        let reason = format!("failed to create `trials/{n}`: input/output error");
        Exit::Failed(Failure { cause: Cause::NotStarted, reason, last_lines: Vec::new() })
    };
    for (outage, left) in [(30, 0), (600, 0), (7_200, 40)] {
        let mut queue = of_shapes(&[0; 40], Policy { slots: 4, ..Policy::default() });
        let (mut now, mut events) = (0, Vec::new());
        while !queue.is_over(now) {
            while let Some(start) = queue.next(now) {
                let exit = if now < outage * SECOND { not_started(number(&start.trial)) } else { done(End::Completed) };
                events.extend(queue.on_exit(&start.trial, exit, now));
            }
            now += SECOND;
        }
        let summary = queue.finish().1;
        assert_eq!((summary.completed, summary.left), (40 - left, left), "{outage} s: {:?}", words(&events));
        assert_eq!(matches!(summary.stopped, Some(Stop::CannotStart { .. })), left > 0);
        assert!(now < 5_000 * SECOND, "after an hour it ends");
        let pauses: Vec<f64> =
            events.iter().filter_map(|e| if let Event::Pause { seconds, .. } = e { Some(*seconds) } else { None }).collect();
        assert_eq!(pauses[..4.min(pauses.len())], [2.0, 8.0, 32.0, 128.0][..4.min(pauses.len())]);
    }
    // One whose start alone fails is given up, and does not slow the others more and more.
    let mut queue = of_shapes(&[0, 1], Policy { slots: 2, ..Policy::default() });
    let events = run_to_the_end(&mut queue, &mut |n, _, _| if n == 0 { not_started(0) } else { failed(Cause::Crash) });
    assert_eq!(count(&mut queue), (0, 0, 2, 0), "{:?}", words(&events));
}

#[test]
fn beside_a_worker_that_cannot_be_killed_nothing_is_said_of_what_fits() {
    let mut queue = of_shapes(&[0, 1, 1], Policy { slots: 2, cores: 2, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0, 1]);
    queue.on_still_there(&id(0));
    assert_eq!(words(&queue.on_exit(&id(1), failed(Cause::Memory), SECOND)), ["failed first", "alone in 2"]);
    assert_eq!(start_all(&mut queue, 3 * SECOND), [1]);
    assert_eq!(words(&queue.on_exit(&id(1), failed(Cause::Memory), 4 * SECOND)), ["failed", "left Failed"]);
    // The worker ends after all: now it is seen what fits.
    queue.on_exit(&id(0), failed(Cause::Hang), 5 * SECOND);
    queue.on_exit(&id(0), done(End::Completed), 5 * SECOND);
    assert_eq!(start_all(&mut queue, 7 * SECOND), [0]);
    queue.on_exit(&id(0), done(End::Completed), 8 * SECOND);
    assert_eq!(start_all(&mut queue, 8 * SECOND), [2]);
    queue.on_exit(&id(2), done(End::Completed), 9 * SECOND);
    assert_eq!(count(&mut queue), (2, 0, 0, 1));
}

#[test]
fn another_cause_with_the_same_words_is_no_streak() {
    let mut queue = of_shapes(&[0, 1, 2, 3, 4, 5], Policy { retries: 0, ..Policy::default() });
    run_to_the_end(&mut queue, &mut |n, _, _| failed(if n % 2 == 0 { Cause::Crash } else { Cause::Device }));
    assert_eq!(count(&mut queue), (0, 0, 6, 0));
}

#[test]
fn a_full_disk_is_waited_for_and_costs_no_retry() {
    let mut queue = of_shapes(&[0, 1, 2], Policy { slots: 2, retries: 0, ..Policy::default() });
    assert_eq!(start_all(&mut queue, 0), [0, 1]);
    assert_eq!(words(&queue.on_exit(&id(0), failed(Cause::Disk), 0)), ["failed", "disk full"]);
    assert_eq!(start_all(&mut queue, SECOND), [0usize; 0]);
    assert_eq!(words(&queue.on_exit(&id(1), failed(Cause::Disk), SECOND)), ["failed"], "told once");
    assert_eq!(queue.disk_to_look_at(29 * SECOND), None);
    assert_eq!(queue.disk_to_look_at(30 * SECOND), Some(&id(0)));
    assert!(queue.on_disk(false, 30 * SECOND).is_empty());
    assert_eq!(queue.disk_to_look_at(59 * SECOND), None);
    assert!(!queue.is_over(59 * SECOND));
    assert_eq!(words(&queue.on_disk(true, 60 * SECOND)), ["disk has room"]);
    assert_eq!(start_all(&mut queue, 60 * SECOND), [0, 1], "they go on before others");
    for n in [0, 1] {
        queue.on_exit(&id(n), done(End::Completed), 70 * SECOND);
    }
    assert_eq!(start_all(&mut queue, 70 * SECOND), [2]);
}

#[test]
fn a_disk_that_stays_full_for_an_hour_stops_the_queue_and_what_runs_goes_on() {
    for room_is_seen in [false, true] {
        // Also where each look finds room and each trial finds none.
        let mut queue = of_shapes(&[0, 1], Policy { slots: 2, ..Policy::default() });
        start_all(&mut queue, 0);
        let mut now = 0;
        queue.on_exit(&id(0), failed(Cause::Disk), now);
        while !queue.is_stopping() {
            now += SECOND;
            assert!(now <= 3601 * SECOND);
            if queue.disk_to_look_at(now).is_some() {
                queue.on_disk(room_is_seen, now);
                if queue.next(now).is_some() {
                    queue.on_exit(&id(0), failed(Cause::Disk), now);
                }
            }
        }
        assert_eq!(now, 3600 * SECOND);
        assert!(!queue.stops_running() && !queue.is_over(now), "the other trial still runs");
        queue.on_exit(&id(1), done(End::Completed), now);
        assert!(queue.is_over(now));
        let (_, summary) = queue.finish();
        assert_eq!((summary.completed, summary.left, summary.stopped), (1, 1, Some(Stop::DiskFull)));
    }
}

#[test]
fn a_full_disk_is_waited_for_until_the_deadline() {
    let mut queue = of_shapes(&[0], Policy { until_utc: Some(200 * SECOND), ..Policy::default() });
    start_all(&mut queue, 0);
    queue.on_exit(&id(0), failed(Cause::Disk), SECOND);
    assert!(!queue.is_over(50 * SECOND));
    assert!(!queue.is_over(150 * SECOND), "what cannot end in time would be begun, and goes on another time");
    assert_eq!(words(&queue.tick(200 * SECOND)), ["stopped by the deadline"]);
    assert_eq!(queue.disk_to_look_at(210 * SECOND), None);
    let (events, _) = queue.finish();
    assert_eq!(words(&events), ["left Interrupted"], "it was begun");
}
