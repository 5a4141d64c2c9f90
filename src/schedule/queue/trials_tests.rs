//! Whatever becomes of trials, each is found where it is, and finding the next one takes no longer where there are many.

use proptest::prelude::*;

use super::*;
use crate::experiment::settings::ClipNorm;
use crate::schedule::queue::Queue;
use crate::schedule::queue::tests::{SECOND, done, waiting};
use crate::schedule::{Candidate, Policy};

impl Trials {
    /// What must hold after every change.
    pub(in crate::schedule) fn sanity_check(&self) {
        let mut anew = Situations::default();
        self.all.iter().enumerate().for_each(|(i, trial)| anew.add(i, trial));
        assert_eq!(self.situations, anew);
        assert!(self.all.iter().enumerate().all(|(i, trial)| self.number(&trial.candidate.id) == Some(i)));
    }
}

/// A place by a number; `when` is the end of a pause.
fn situation(which: u8, when: i64) -> Situation {
    match which {
        0 => Situation::AT_ONCE,
        1 => Situation::Queued { ready_utc: when },
        2 => Situation::HeldElsewhere,
        3 => Situation::SameAs(TrialId::of("another")),
        4 => Situation::Running(Running { slot: 1, threads: 1, room: Room::Planned, since_utc: when, track: None, waits: false }),
        5 => Situation::Over(Conclusion::Ended(End::Completed)),
        6 => Situation::Over(Conclusion::Ended(End::Failed)),
        7 => Situation::StillThere(Running {
            slot: 1,
            threads: 1,
            room: Room::Planned,
            since_utc: when,
            track: None,
            waits: false,
        }),
        _ => Situation::Over(Conclusion::Left(crate::schedule::Left::NotStarted)),
    }
}

proptest! {
    #[test]
    fn places_are_what_looking_through_all_trials_comes_to(
        changes in prop::collection::vec((0usize..6, 0u8..9, 0i64..5, any::<bool>(), any::<bool>(), any::<bool>()), 0..40),
        now in 0i64..5,
    ) {
        let candidate = |n| Candidate { kin: Some(n / 2), clip_norm: ClipNorm::At(n as f64), ..waiting(n) };
        let mut trials = Trials::new((0..6).map(candidate).collect());
        for (i, which, when, failed, interrupted, alone) in changes {
            trials.change(i, |trial| {
                trial.situation = situation(which, when);
                (trial.failed, trial.interrupted) = (failed, interrupted);
                if alone {
                    trial.candidate.kin = None;
                }
            });
        }
        trials.sanity_check();
        let is_paused = |trial: &QueuedTrial| matches!(trial.situation, Situation::Queued { ready_utc } if ready_utc > now);
        let paused: BTreeSet<usize> = (0..6).filter(|i| is_paused(&trials.all[*i])).collect();
        prop_assert_eq!(trials.paused(now).collect::<BTreeSet<_>>(), paused);
        let ranks: Vec<Rank> = trials.queued().map(|i| Rank::of(&trials.all[i].candidate, trials.all[i].begun(), i)).collect();
        prop_assert!(ranks.is_sorted());
        let overview = trials.overview();
        let count = |is: fn(&Situation) -> bool| trials.all.iter().filter(|trial| is(&trial.situation)).count();
        prop_assert_eq!(overview.running, count(|situation| matches!(situation, Situation::Running(_))));
        prop_assert_eq!(overview.done, count(|situation| matches!(situation, Situation::Over(over) if over.end().is_some())));
        prop_assert_eq!(overview.failed, count(|situation| matches!(situation, Situation::Over(Conclusion::Ended(End::Failed)))));
        prop_assert_eq!(overview.done + overview.running + overview.left, 6);
        let over = count(|situation| matches!(situation, Situation::Over(_)));
        prop_assert_eq!(trials.are_all_over(), over == 6);
    }
}

#[test]
fn relatives_are_found_by_kin_and_by_twins_each_once() {
    let one = |n, kin, twins| Candidate { kin, twins, ..waiting(n) };
    let trials = Trials::new(vec![
        one(0, Some(1), Some(7)),
        one(1, Some(1), None),
        one(2, Some(2), None),
        one(3, Some(1), Some(7)),
        one(4, None, None),
    ]);
    assert_eq!(trials.relatives(&one(0, Some(1), Some(7))), BTreeSet::from([0, 1, 3]));
    assert_eq!(trials.relatives(&one(0, None, Some(7))), BTreeSet::from([0, 3]));
    assert!(trials.relatives(&trials.all[4].candidate).is_empty());
}

/// How often a trial is looked at until so many are done, for each; every tenth crashes once.
fn looks_per_trial(trials: usize, policy: Policy) -> f64 {
    let candidate = |n: usize| Candidate {
        round: n % 3,
        shape: n % 7,
        // Kin of two, of which both are trained.
        kin: Some(n / 2),
        expected_seconds: Some((n % 11) as f64),
        id: TrialId::of(&n.to_string()),
        ..waiting(0)
    };
    let mut queue = Queue::new((0..trials).map(candidate).collect(), policy);
    let crashes: BTreeSet<TrialId> = (0..trials).step_by(10).map(|n| TrialId::of(&n.to_string())).collect();
    let (mut now, mut attempts) = (0, HashMap::new());
    while !queue.is_over(now) {
        assert!(queue.next_alias().is_none());
        while queue.next(now).is_some() {}
        now += SECOND;
        let running: Vec<TrialId> = queue.running().cloned().collect();
        for trial in running {
            let attempt = attempts.entry(trial.clone()).or_insert(0);
            *attempt += 1;
            let failure = || crate::schedule::Failure {
                cause: crate::schedule::Cause::Crash,
                reason: trial.to_string(),
                last_lines: Vec::new(),
            };
            let exit = if *attempt == 1 && crashes.contains(&trial) {
                crate::schedule::Exit::Failed(failure())
            } else {
                done(End::Completed)
            };
            queue.on_exit(&trial, exit, now);
        }
        queue.tick(now);
        assert!(queue.overview_without_end().left < trials + 1);
    }
    assert!(queue.finish().1.all_completed());
    queue.trials.looks.get() as f64 / trials as f64
}

#[test]
fn ten_thousand_trials_take_no_more_looks_each_than_a_hundred() {
    for slots in [1, 4] {
        let policy = Policy { slots, cores: 4, ..Policy::default() };
        let looks = [100, 1_000, 10_000].map(|trials| looks_per_trial(trials, policy.clone()));
        assert!(looks.iter().all(|looks| *looks < 200.0), "{slots} slots: {looks:?}");
        assert!(looks[2] < 1.5 * looks[0], "{slots} slots: {looks:?}");
    }
}
