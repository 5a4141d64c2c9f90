//! How long the workers of others have been silent, whose trials are waited for.
//!
//! One that hangs keeps its lock for ever. It is not this run's to kill, but nothing waits for it any more once it has been silent
//! for as long as no worker may be.

use std::collections::HashMap;

use super::lookout::{Silence, longest};
use crate::experiment::settings::Timeout;
use crate::plan::TrialId;

/// What was seen of the workers of others.
#[derive(Debug, Default)]
pub(super) struct Held {
    looked: Option<i64>,
    seen: HashMap<TrialId, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    said: Option<i64>,
    silence: Silence,
}

impl Held {
    /// Time has passed since the last look; looks should be `pace` microseconds apart.
    pub(super) fn pass(&mut self, now: i64, pace: i64) {
        let apart = now - self.looked.replace(now).unwrap_or(now);
        self.seen.values_mut().for_each(|seen| seen.silence.grows(apart, pace));
    }

    /// The last sign of life of the worker that holds this trial is of this time, by whatever clock; whether none has come for
    /// longer than is waited for.
    pub(super) fn is_silent_for_too_long(&mut self, trial: &TrialId, said: Option<i64>, timeout: Timeout) -> bool {
        let seen = self.seen.entry(trial.clone()).or_default();
        if std::mem::replace(&mut seen.said, said) != said {
            seen.silence.ends();
        }
        // How long its phases take is known to its own runner only.
        longest(timeout, None).is_some_and(|longest| seen.silence.seconds() >= longest)
    }
}
