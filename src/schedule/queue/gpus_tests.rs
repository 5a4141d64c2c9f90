//! Machines of two, four and eight GPUs that are made up: which trial runs when on which of them.

use std::collections::BTreeMap;

use crate::device::Gpu;
use crate::runs::End;
use crate::schedule::queue::Queue;
use crate::schedule::queue::tests::{SECOND, done, id, number, waiting, words};
use crate::schedule::{Candidate, Cause, Event, Exit, Failure, GpuSlots, Left, Needs, Policy, Stop, Summary};

/// A trial's stay on a GPU.
#[derive(Debug, Clone, PartialEq)]
struct Stay {
    trial: usize,
    gpu: u32,
    from: i64,
    to: i64,
    threads: u32,
}

/// What became of the trials.
struct Course {
    stays: Vec<Stay>,
    events: Vec<Event>,
    summary: Summary,
}

impl Course {
    /// When the last trial on each GPU ended, seconds.
    fn ends(&self) -> Vec<i64> {
        let mut ends = BTreeMap::new();
        for stay in &self.stays {
            let end = ends.entry(stay.gpu).or_insert(0);
            *end = stay.to.max(*end);
        }
        ends.into_values().collect()
    }

    /// The GPUs that a trial ran on.
    fn gpus_of(&self, trial: usize) -> Vec<u32> {
        self.stays.iter().filter(|stay| stay.trial == trial).map(|stay| stay.gpu).collect()
    }

    fn left_out(&self) -> Vec<(u32, usize)> {
        let one = |event: &Event| match event {
            Event::GpuLeftOut { gpu, left, .. } => Some((gpu.number, *left)),
            _ => None,
        };
        self.events.iter().filter_map(one).collect()
    }
}

/// GPUs of these kinds and memories with a slot each.
fn machine(gpus: &[(&str, u64)]) -> Vec<GpuSlots> {
    let one =
        |(number, (name, memory)): (u32, &(&str, u64))| GpuSlots { gpu: Gpu::example(number, name), slots: 1, memory: *memory };
    (0..).zip(gpus).map(one).collect()
}

fn alike(gpus: usize) -> Vec<GpuSlots> {
    machine(&vec![("X1", 80); gpus])
}

/// A trial of so many seconds.
fn trial(n: usize, seconds: i64) -> Candidate {
    Candidate { expected_seconds: Some(seconds as f64), ..waiting(n) }
}

fn device_fault(said: &str) -> Exit {
    Exit::Failed(Failure { cause: Cause::Device, reason: "exit code 69".to_owned(), last_lines: vec![said.to_owned()] })
}

fn kernel_fault() -> Exit {
    device_fault("error: a kernel failed")
}

/// Plays the trials on these GPUs: each takes as long as it says, or ends after a second as `fails` says of its GPU and the time (seconds).
fn play(candidates: Vec<Candidate>, gpus: Vec<GpuSlots>, fails: &dyn Fn(u32, i64) -> Option<Exit>) -> Course {
    play_each(candidates, gpus, &|_, gpu, now| fails(gpu, now))
}

/// The same, where `fails` is told the trial too.
fn play_each(candidates: Vec<Candidate>, gpus: Vec<GpuSlots>, fails: &dyn Fn(usize, u32, i64) -> Option<Exit>) -> Course {
    let lengths: Vec<i64> = candidates.iter().map(|c| c.expected_seconds.unwrap_or(1.0) as i64).collect();
    let policy = Policy { cores: 16, on_gpu: true, gpus, ..Policy::default() };
    let mut queue = Queue::new(candidates, policy);
    let (mut stays, mut events, mut running, mut now) = (Vec::new(), queue.begin(), Vec::<(Stay, Exit)>::new(), 0);
    while !queue.is_over(now * SECOND) {
        while let Some(start) = queue.next(now * SECOND) {
            let (trial, gpu) = (number(&start.trial), start.gpu.expect("it runs on a GPU").number);
            let fault = fails(trial, gpu, now);
            let takes = if fault.is_some() { 1 } else { lengths[trial] };
            let stay = Stay { trial, gpu, from: now, to: now + takes, threads: start.threads };
            running.push((stay, fault.unwrap_or_else(|| done(End::Completed))));
        }
        now = running.iter().map(|(stay, _)| stay.to).min().unwrap_or(now + 1);
        let (over, on): (Vec<_>, Vec<_>) = running.into_iter().partition(|(stay, _)| stay.to <= now);
        running = on;
        for (stay, exit) in over {
            events.extend(queue.on_exit(&id(stay.trial), exit, now * SECOND));
            stays.push(stay);
        }
        assert!(now < 100_000, "it does not end");
    }
    let (left, summary) = queue.finish();
    events.extend(left);
    Course { stays, events, summary }
}

fn works(_: u32, _: i64) -> Option<Exit> {
    None
}

#[test]
fn one_long_trial_and_many_short_ones_fill_all_gpus_and_end_together() {
    for gpus in [2usize, 4, 8] {
        // Each short one is a tenth of the long one, and there is as much work as all GPUs do in the time of that.
        let short = 10 * (gpus - 1);
        let trials = (0..short).map(|n| trial(n, 10)).chain([trial(short, 100)]).collect();
        let course = play(trials, alike(gpus), &works);
        assert!(course.summary.all_completed());
        assert_eq!(course.ends(), vec![100; gpus], "nobody waits");
        let long = course.stays.iter().find(|stay| stay.trial == short).unwrap();
        assert_eq!(long.from, 0, "the long one begins first");
    }
}

#[test]
fn a_round_ends_as_nearly_together_as_its_last_trials_are_long() {
    for gpus in [2usize, 4, 8] {
        let lengths = (0..5 * gpus as i64).map(|n| 20 + 37 * n % 60);
        let course = play(lengths.enumerate().map(|(n, seconds)| trial(n, seconds)).collect(), alike(gpus), &works);
        let ends = course.ends();
        let apart = ends.iter().max().unwrap() - ends.iter().min().unwrap();
        assert!(ends.len() == gpus && apart <= 40, "{gpus} GPUs: {ends:?}");
    }
}

#[test]
fn the_cores_are_shared_among_the_gpus() {
    for (gpus, trials, threads) in [(2, 8, 8), (4, 8, 4), (8, 8, 2), (8, 2, 8)] {
        let course = play((0..trials).map(|n| trial(n, 10)).collect(), alike(gpus), &works);
        assert!(course.stays.iter().filter(|stay| stay.from == 0).all(|stay| stay.threads == threads), "{:?}", course.stays);
    }
}

#[test]
fn a_gpu_that_fails_is_left_out_and_its_trials_end_on_the_others() {
    for gpus in [2usize, 4, 8] {
        let bad = gpus as u32 - 1;
        let fails = |gpu, now| (gpu == bad && now >= 15).then(|| device_fault("error: a kernel failed"));
        let course = play((0..4 * gpus).map(|n| trial(n, 10)).collect(), alike(gpus), &fails);
        assert!(course.summary.all_completed(), "{:?}", course.summary);
        assert_eq!(course.left_out(), [(bad, gpus - 1)]);
        let failed: Vec<&Stay> = course.stays.iter().filter(|stay| stay.gpu == bad && stay.to - stay.from == 1).collect();
        assert_eq!(failed.len(), 2, "two trials in a row");
        for stay in failed {
            assert_ne!(course.gpus_of(stay.trial).last(), Some(&bad), "it went on elsewhere");
        }
    }
}

#[test]
fn a_gpu_that_is_lost_is_left_out_at_once_and_costs_its_trial_no_try() {
    let lost = |gpu, _| (gpu == 0).then(|| device_fault("error: the GPU was lost: `cuStreamQuery` answered 999"));
    let course = play((0..6).map(|n| trial(n, 10)).collect(), alike(2), &lost);
    assert!(course.summary.all_completed());
    assert_eq!((course.left_out(), course.gpus_of(0)), (vec![(0, 1)], vec![0, 1]));
    let told = words(&course.events);
    assert!(told.iter().any(|word| word == "retrying in 2, 2 left"), "{told:?}");
}

#[test]
fn where_trials_fail_on_every_gpu_none_is_left_out() {
    let course = play((0..4).map(|n| trial(n, 10)).collect(), alike(2), &|_, _| Some(device_fault("error: a kernel failed")));
    assert_eq!((course.left_out(), course.summary.failed), (vec![], 4), "they fail of themselves");
}

#[test]
fn the_last_gpu_that_is_left_out_ends_the_run_and_the_trials_stay_open() {
    let fails = |_, now| (now >= 5).then(|| device_fault("error: the driver shows no GPU"));
    let course = play((0..5).map(|n| trial(n, 10)).collect(), alike(2), &fails);
    assert_eq!((course.summary.completed, course.summary.left), (2, 3));
    assert_eq!(course.summary.stopped, Some(Stop::NoGpu));
    assert_eq!(course.left_out(), [(0, 1), (1, 0)]);
    let one = play(vec![trial(0, 10), trial(1, 10)], alike(1), &|_, _| Some(device_fault("error: a kernel failed")));
    assert_eq!((one.summary.left, &one.summary.stopped, one.left_out()), (2, &Some(Stop::NoGpu), vec![(0, 0)]));
}

#[test]
fn a_trial_on_a_broken_gpu_waits_for_another_one_and_keeps_its_tries() {
    // It is alone there: two in a row are not seen.
    let course = play(vec![trial(0, 50), trial(1, 10)], alike(2), &|gpu, _| (gpu == 1).then(kernel_fault));
    assert!(course.summary.all_completed(), "{:?}", course.summary);
    assert_eq!((course.gpus_of(1), course.ends()), (vec![1, 0], vec![60, 1]));
}

#[test]
fn two_of_eight_gpus_that_break_together_are_left_out_and_no_trial_fails() {
    let trials = |shape: fn(usize) -> usize| (0..40).map(|n| Candidate { shape: shape(n), ..trial(n, 30) }).collect();
    let course = play(trials(|n| n), alike(8), &|gpu, _| (gpu >= 6).then(kernel_fault));
    assert!(course.summary.all_completed(), "{:?}", course.summary);
    assert_eq!(course.left_out().len(), 2);
    // Where all are of one shape it may be that which fails, until one has ended well.
    let course = play(trials(|_| 0), alike(8), &|gpu, _| (gpu >= 6).then(kernel_fault));
    assert!(course.summary.all_completed(), "{:?}", course.summary);
}

#[test]
fn a_shape_that_no_gpu_takes_fails_alone() {
    for (gpus, most_out) in [(8, 1), (2, 1), (1, 0)] {
        // Three of the first shape fail wherever they are.
        let trials = (0..20).map(|n| Candidate { shape: n.max(2), ..trial(n, 30) }).collect();
        let course = play_each(trials, alike(gpus), &|trial, _, _| (trial <= 2).then(kernel_fault));
        let (failed, completed) = (course.summary.failed, course.summary.completed);
        assert_eq!((failed, completed, &course.summary.stopped), (3, 17, &None), "{gpus} GPUs");
        assert!(course.left_out().len() <= most_out, "{gpus} GPUs: {:?}", course.left_out());
    }
}

#[test]
fn a_gpu_under_which_workers_hang_is_left_out_as_one_that_fails() {
    let hang = || Exit::Failed(Failure { cause: Cause::Hang, reason: "silent for 130 s".to_owned(), last_lines: Vec::new() });
    let course = play((0..6).map(|n| trial(n, 10)).collect(), alike(2), &|gpu, _| (gpu == 1).then(hang));
    assert!(course.summary.all_completed(), "{:?}", course.summary);
    assert_eq!(course.left_out(), [(1, 1)]);
}

#[test]
fn a_shape_that_is_too_large_for_a_small_gpu_ends_on_a_large_one() {
    let killed = || Exit::Failed(Failure { cause: Cause::Memory, reason: "memory ran out".to_owned(), last_lines: Vec::new() });
    // Two of one shape, planned to fit anywhere, and a small one.
    let needs = Needs { memory: 10, kind: None };
    let large = |n| Candidate { shape: 7, needs: needs.clone(), ..trial(n, 30) };
    let fails = |trial, gpu, _| (gpu == 1 && trial < 2).then(killed);
    let course = play_each(vec![large(0), large(1), trial(2, 10)], machine(&[("big", 80), ("small", 24)]), &fails);
    assert!(course.summary.all_completed(), "{:?}", course.summary);
    assert_eq!([0, 1, 2].map(|n| course.gpus_of(n)), [vec![1, 0], vec![0], vec![1]]);
    // Where no GPU is larger it is tried alone, and does not fit.
    let course = play_each(vec![large(0), large(1), trial(2, 10)], alike(2), &|trial, _, _| (trial < 2).then(killed));
    assert_eq!((course.summary.did_not_fit, course.summary.completed), (2, 1));
}

#[test]
fn what_fits_only_a_gpu_on_which_a_worker_cannot_be_killed_is_waited_for_by_nobody() {
    let needs = |memory| Needs { memory, kind: None };
    let large = |n| Candidate { needs: needs(60), ..trial(n, 30) };
    let policy = Policy { on_gpu: true, gpus: machine(&[("big", 80), ("small", 24)]), ..Policy::default() };
    let mut queue = Queue::new(vec![large(0), large(1)], policy);
    assert_eq!(queue.next(0).map(|start| start.gpu.unwrap().number), Some(0));
    assert!(queue.next(0).is_none() && !queue.is_over(0));
    queue.on_still_there(&id(0));
    assert!(queue.is_over(SECOND), "the small one is free, and of no use to it");
    assert!(queue.finish().0.contains(&Event::Left { trial: id(1), why: Left::NoGpu }));
}

#[test]
fn on_a_mixed_machine_a_shape_runs_where_it_fits_and_nothing_waits_for_it() {
    let needs = |memory| Needs { memory, kind: None };
    let large = |n| Candidate { needs: needs(60), ..trial(n, 30) };
    let small = |n| Candidate { needs: needs(10), ..trial(n, 20) };
    let trials = vec![large(0), large(1), small(2), small(3), small(4)];
    let course = play(trials, machine(&[("big", 80), ("small", 24)]), &works);
    assert!(course.summary.all_completed());
    assert_eq!((course.gpus_of(0), course.gpus_of(1)), (vec![0], vec![0]));
    assert_eq!([2, 3, 4].map(|n| course.gpus_of(n)), [[1], [1], [1]]);
    assert_eq!(course.ends(), [60, 60]);
}

#[test]
fn what_fits_no_gpu_that_is_left_waits_for_another_run() {
    let large = Candidate { needs: Needs { memory: 60, kind: None }, ..trial(0, 30) };
    let lost = |gpu, _| (gpu == 0).then(|| device_fault("error: the GPU was lost"));
    let course = play(vec![large, trial(1, 10), trial(2, 10)], machine(&[("big", 80), ("small", 24)]), &lost);
    assert_eq!((course.summary.completed, course.summary.left, &course.summary.stopped), (2, 1, &Some(Stop::NoGpu)));
    assert!(course.events.contains(&Event::Left { trial: id(0), why: Left::NoGpu }), "{:?}", course.events);
}

#[test]
fn a_trial_goes_on_on_the_kind_of_gpu_that_it_was_begun_on() {
    // It fails once by itself on the GPU where it is begun; the other kind is free from then on.
    let begun = Candidate { needs: Needs { memory: 10, kind: Some("B".to_owned()) }, ..trial(0, 10) };
    let course = play(vec![begun, trial(1, 50)], machine(&[("A", 80), ("B", 80)]), &works);
    assert_eq!((course.gpus_of(0), course.gpus_of(1)), (vec![1], vec![0]));
    let once = |gpu, now| (gpu == 0 && now == 0).then(|| device_fault("error: a kernel failed"));
    let course = play(vec![trial(0, 30), trial(1, 10)], machine(&[("A", 80), ("B", 80)]), &once);
    assert_eq!(course.gpus_of(0), [0, 0], "not on B, where its checkpoint is of no use");
}

#[test]
fn a_second_trial_on_a_gpu_comes_only_where_each_has_one() {
    let two_each = alike(2).into_iter().map(|one| GpuSlots { slots: 2, ..one }).collect();
    let course = play((0..4).map(|n| trial(n, 10)).collect(), two_each, &works);
    let begun: Vec<(usize, u32)> = course.stays.iter().map(|stay| (stay.trial, stay.gpu)).collect();
    assert_eq!(begun, [(0, 0), (1, 1), (2, 0), (3, 1)]);
    assert_eq!(course.ends(), [10, 10]);
}
