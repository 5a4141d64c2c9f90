//! Whether claims of workers on other machines still hold, whose locks may not reach this one.
//!
//! A worker that was killed with its machine never says so. What tells is the note of its progress, which it writes anew four times a second
//! while its work goes on: a claim holds as long as that is seen to change, and for a while after. Only this machine's own clock counts, and
//! only what was seen from here: no two clocks are compared.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Standing;
use crate::plan::TrialId;
use crate::runs::{Progress, State, TrialFolder, state_of};

/// How long a claim holds that stands still. NFS may show what another machine wrote up to a minute later; twice that, and as long as a
/// worker may be silent at least before it is killed. Who loses a trial wrongly loses its work since the last checkpoint, and no more.
const LEASE: Duration = Duration::from_secs(120);

/// What was seen of the claims that are waited for.
#[derive(Debug, Default)]
pub(super) struct Leases(HashMap<TrialId, Seen>);

/// What was seen of a claim, and when it was seen first.
#[derive(Debug)]
struct Seen {
    attempt: Option<u32>,
    progress: Option<Progress>,
    since: Instant,
}

impl Leases {
    /// How a trial stands of which another worker had the claim.
    pub(super) fn standing(&mut self, trial: &TrialId, folder: &TrialFolder) -> Standing {
        self.at(trial, &state_of(folder), Instant::now())
    }

    fn at(&mut self, trial: &TrialId, state: &State, now: Instant) -> Standing {
        if !state.is_claimed_elsewhere() {
            self.0.remove(trial);
            return state.into();
        }
        let (attempt, progress) = (state.attempts.last().map(|attempt| attempt.attempt), state.progress.clone());
        let before = self.0.get(trial).filter(|seen| (seen.attempt, &seen.progress) == (attempt, &progress));
        if before.is_some_and(|seen| now.duration_since(seen.since) >= LEASE) {
            self.0.remove(trial);
            return Standing::Interrupted;
        }
        if before.is_none() {
            self.0.insert(trial.clone(), Seen { attempt, progress, since: now });
        }
        Standing::HeldElsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{Attempt, AttemptEnd, Status, boot};

    fn state(boot: Option<String>, beat: i64) -> State {
        let progress = format!(
            r#"{{"attempt":1,"phase":"training","step":0,"steps":9,"tokens_seen":0,"fraction":0.0,"loss":null,"validation_loss":null,
            "tokens_per_second":null,"training_seconds":0.0,"time_utc":{beat}}}"#
        );
        State {
            status: Status::Interrupted,
            progress: Some(serde_json::from_str(&progress).unwrap()),
            outcome: None,
            attempts: vec![Attempt { boot, ..Attempt::example() }],
            reason: None,
        }
    }

    #[test]
    fn a_claim_of_another_machine_holds_while_it_moves_and_two_minutes_more() {
        let (mut leases, trial, start) = (Leases::default(), TrialId::of("t"), Instant::now());
        let mut at = |seconds, beat| {
            let state = state(Some("another".to_owned()), beat);
            assert_eq!(Standing::from(&state), Standing::HeldElsewhere, "before anything was seen");
            leases.at(&trial, &state, start + Duration::from_secs(seconds))
        };
        for (seconds, beat, standing) in [
            (0, 1, Standing::HeldElsewhere),
            (119, 1, Standing::HeldElsewhere),
            // Its own clock may go backwards: that it moves is all that counts.
            (120, 0, Standing::HeldElsewhere),
            (239, 0, Standing::HeldElsewhere),
            (240, 0, Standing::Interrupted),
            (241, 0, Standing::HeldElsewhere),
        ] {
            assert_eq!(at(seconds, beat), standing, "{seconds}");
        }
    }

    #[test]
    fn a_claim_of_this_machine_has_expired_with_its_lock() {
        let (mut leases, trial) = (Leases::default(), TrialId::of("t"));
        for of in [boot(), None] {
            assert_eq!(leases.at(&trial, &state(of, 1), Instant::now()), Standing::Interrupted);
        }
    }

    #[test]
    fn a_claim_that_was_given_back_holds_no_longer() {
        let mut state = state(Some("another".to_owned()), 1);
        state.attempts[0].ended = Some(AttemptEnd::Interrupted);
        assert_eq!(Leases::default().at(&TrialId::of("t"), &state, Instant::now()), Standing::Interrupted);
    }
}
