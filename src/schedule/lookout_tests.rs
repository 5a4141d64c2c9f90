use super::*;
use crate::rows::Phase;
use crate::schedule::simulation::{Dice, NIGHTS};

const SECOND: i64 = 1_000_000;
const PACE: i64 = SECOND / 5;

/// A lookout on one trial, on a clock of its own.
struct Watch {
    lookout: Lookout,
    trial: TrialId,
    now: i64,
    notes: i64,
}

impl Watch {
    fn new(timeout: Timeout) -> Self {
        let trial = TrialId::of("a");
        let mut lookout = Lookout::new(Patience { timeout, ..Patience::default() }, PACE);
        lookout.started(&trial);
        lookout.pass(0);
        Self { lookout, trial, now: 0, notes: 0 }
    }

    /// Looks for so many seconds at the pace that is right; what was found.
    fn wait(&mut self, seconds: f64) -> Vec<Finding> {
        let until = self.now + micros(seconds);
        let mut found = Vec::new();
        while self.now < until {
            self.now += PACE;
            self.lookout.pass(self.now);
            found.extend(self.lookout.findings(self.now).into_iter().map(|(_, finding)| finding));
        }
        found
    }

    fn says(&mut self, phase: Phase) {
        self.notes += 1;
        assert!(self.lookout.hears(&self.trial.clone(), &said(phase, self.notes)));
    }

    /// Seconds after which it is killed that says nothing any more, and as what.
    fn killed_after(&mut self) -> (i64, String) {
        let began = self.now;
        loop {
            for finding in self.wait(0.2) {
                if let Finding::Kill(kill) = finding {
                    return ((self.now - began) / SECOND, kill.to_string());
                }
            }
            assert!(self.now - began < 100_000 * SECOND, "never killed");
        }
    }
}

fn said(phase: Phase, time_utc: i64) -> Progress {
    Progress {
        attempt: 1,
        phase,
        step: 1,
        steps: 2,
        tokens_seen: 1,
        fraction: 0.5,
        loss: None,
        validation_loss: None,
        tokens_per_second: None,
        training_seconds: 0.0,
        starts_over: None,
        time_utc,
    }
}

#[test]
fn how_long_a_silence_may_last_follows_from_the_longest_before() {
    for (timeout, known, expected) in [
        (Timeout::Auto, None, Some(600.0)),
        (Timeout::Auto, Some(0.3), Some(120.0)),
        (Timeout::Auto, Some(6.0), Some(120.0)),
        (Timeout::Auto, Some(60.0), Some(1_200.0)),
        (Timeout::After(5), Some(60.0), Some(5.0)),
        (Timeout::Never, Some(60.0), None),
    ] {
        assert_eq!(longest(timeout, known), expected, "{timeout:?} {known:?}");
    }
}

#[test]
fn each_phase_has_its_own_silence_and_a_note_that_is_the_same_is_none() {
    let mut watch = Watch::new(Timeout::Auto);
    watch.says(Phase::Training);
    watch.wait(12.0);
    assert!(!watch.lookout.hears(&watch.trial.clone(), &said(Phase::Training, 1)), "an old one");
    // The silence before it belongs to the phase before it.
    watch.says(Phase::Scoring);
    assert_eq!(watch.killed_after(), (600, "hung: silent for 600 s while scoring".to_owned()));
    // The next attempt of the trial knows what the first one knew.
    let trial = watch.trial.clone();
    watch.lookout.ended(&trial);
    watch.lookout.started(&trial);
    watch.says(Phase::Training);
    assert_eq!(watch.killed_after(), (240, "hung: silent for 240 s while training".to_owned()), "20 times 12 s");
}

#[test]
fn a_worker_that_is_to_begin_anew_is_not_silent_and_starts_first() {
    let mut watch = Watch::new(Timeout::Auto);
    (0..2).for_each(|_| watch.says(Phase::Training));
    watch.wait(119.0);
    watch.lookout.waits(&watch.trial.clone());
    assert_eq!(watch.killed_after(), (600, "hung: silent for 600 s while starting".to_owned()));
}

#[test]
fn time_that_the_looks_have_missed_is_no_silence_of_a_worker() {
    let mut watch = Watch::new(Timeout::After(60));
    watch.says(Phase::Training);
    assert!(watch.wait(59.0).iter().all(|finding| matches!(finding, Finding::Silent(..))));
    for _ in 0..3 {
        // The machine was suspended, or the runner stopped, for an hour.
        watch.now += 3_600 * SECOND;
        watch.lookout.pass(watch.now);
        assert_eq!(watch.lookout.findings(watch.now), []);
    }
    assert_eq!(watch.killed_after().1, "hung: silent for 60 s while training");
    // A look that comes a little late counts.
    let mut silence = Silence::default();
    silence.grows(SECOND, PACE);
    silence.grows(3 * SECOND, PACE);
    assert_eq!(silence.seconds(), 1.2);
}

#[test]
fn a_silence_is_told_once_a_second_from_ten_seconds_on_and_later_where_it_is_usual() {
    let mut watch = Watch::new(Timeout::Never);
    watch.says(Phase::Training);
    let told = |found: Vec<Finding>| found.iter().map(|f| if let Finding::Silent(s, _) = f { *s } else { 0 }).collect::<Vec<_>>();
    assert_eq!(told(watch.wait(12.0)), [10, 11, 12]);
    watch.says(Phase::Training);
    assert_eq!(told(watch.wait(35.8)), Vec::<u64>::new(), "12 s were known");
    assert_eq!(told(watch.wait(1.4)), [36, 37]);
}

#[test]
fn what_was_killed_and_is_still_there_is_told_once() {
    let mut watch = Watch::new(Timeout::After(5));
    assert_eq!(watch.killed_after().0, 5);
    assert_eq!(watch.wait(9.0), []);
    assert_eq!(watch.wait(2.0), [Finding::StillThere]);
    assert_eq!(watch.wait(100.0), []);
}

#[test]
fn a_worker_is_asked_once_killed_once_and_killed_where_it_does_not_stop() {
    let mut watch = Watch::new(Timeout::Auto);
    let trial = watch.trial.clone();
    assert!(watch.lookout.is_to_ask(&trial, watch.now) && !watch.lookout.is_to_ask(&trial, watch.now));
    assert_eq!(watch.killed_after(), (30, "killed: it had not stopped after 30 s".to_owned()));
    assert!(!watch.lookout.is_to_kill(&trial, watch.now));
    watch.lookout.ended(&trial);
    watch.lookout.started(&trial);
    assert!(watch.lookout.is_to_kill(&trial, watch.now) && !watch.lookout.is_to_kill(&trial, watch.now));
    assert!(!watch.lookout.is_to_kill(&TrialId::of("b"), watch.now), "nobody");
}

/// A night of one worker; whether time that the looks have missed counts, by mistake.
fn a_night_of_notes(number: u64, by_mistake: bool) {
    let mut dice = Dice(number.wrapping_mul(0x9e6c_63d0_876a_9a47));
    let timeout = match dice.below(4) {
        0 => Timeout::Never,
        1 => Timeout::After(1 + dice.below(200)),
        _ => Timeout::Auto,
    };
    let pace = if by_mistake { i64::MAX / (2 * GAP) } else { PACE };
    let (trial, patience) = (TrialId::of("a"), Patience { timeout, ..Patience::default() });
    let mut lookout = Lookout::new(patience, pace);
    lookout.started(&trial);
    lookout.pass(0);
    // What is said again here: the time that was looked at since the last note, and the longest of each phase.
    let (mut now, mut silent, mut known) = (0, 0, [None::<i64>; 3]);
    let phases = [Phase::Training, Phase::Saving, Phase::Scoring];
    let (mut phase, mut notes, mut next) = (None::<usize>, 0, now + 1);
    let hangs_at = dice.below(4_000) as i64 * SECOND;
    for _ in 0..20_000 {
        let is_missed = dice.one_in(400);
        let step = if is_missed { (10 + dice.below(30_000) as i64) * SECOND } else { PACE + dice.below(PACE as u64) as i64 };
        now += step;
        silent += if is_missed { PACE } else { step };
        lookout.pass(now);
        // Whoever is stopped or suspended says nothing; somebody whose runner was stopped may have.
        if now >= next && now < hangs_at && (!is_missed || dice.one_in(2)) {
            notes += 1;
            let says = dice.below(3) as usize;
            assert!(lookout.hears(&trial, &said(phases[says], notes)));
            if let Some(before) = phase.replace(says) {
                known[before] = Some(known[before].unwrap_or(0).max(silent));
            }
            silent = 0;
            let most = if dice.one_in(20) { 100 } else { 2 };
            next = now + dice.below(most) as i64 * SECOND;
        }
        let longest = match (timeout, phase.and_then(|phase| known[phase])) {
            (Timeout::Never, _) => i64::MAX,
            (Timeout::After(seconds), _) => seconds as i64 * SECOND,
            (Timeout::Auto, None) => 600 * SECOND,
            (Timeout::Auto, Some(known)) => (20 * known).max(120 * SECOND),
        };
        let killed = lookout.findings(now).iter().any(|(_, finding)| matches!(finding, Finding::Kill(_)));
        // Seconds are no whole numbers of microseconds in binary.
        assert!(killed || silent <= longest, "silent for {silent}, and {longest} are allowed");
        assert!(!killed || silent >= longest - 1, "killed after {silent} of {longest}");
        if killed {
            return;
        }
    }
    assert!(timeout == Timeout::Never || now < hangs_at || silent < 2_400 * SECOND, "it hung and was never killed");
}

#[test]
fn in_nights_that_are_made_up_what_hangs_is_killed_and_nothing_else() {
    for number in 0..NIGHTS / 100 {
        let played = std::panic::catch_unwind(|| a_night_of_notes(number, false));
        assert!(played.is_ok(), "night {number} went wrong: see above");
    }
    let goes_wrong = |number| std::panic::catch_unwind(|| a_night_of_notes(number, true)).is_err();
    assert!((0..100).any(goes_wrong), "that missed time counts is not found");
}
