//! Why a run ends before all of its trials are over.

use std::fmt;

use serde::Serialize;

/// Why nothing is started any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Stop {
    /// Somebody asked for it.
    Asked,
    /// The deadline has come, or is too near for what is left.
    Deadline,
    /// Trials of one shape after another failed for the same reason, and none ended well in between.
    SameFailure {
        /// The reason.
        reason: String,
        /// How many trials, each of another shape.
        trials: usize,
    },
    /// No trial could be started for too long.
    CannotStart {
        /// Why the last one could not.
        reason: String,
    },
    /// The disk was full for too long.
    DiskFull,
    /// No GPU is left: they failed.
    NoGpu,
    /// No slot was left for too long: in each is a worker that was killed and is still there.
    NoSlot,
}

impl Stop {
    /// Whether running workers save and leave too, or may end their trials.
    pub fn reaches_running(&self) -> bool {
        matches!(self, Self::Asked | Self::Deadline)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("stopped on request"),
            Self::Deadline => f.write_str("stopped by the deadline"),
            Self::CannotStart { reason } => write!(f, "stopped: for an hour no trial could be started ({reason})"),
            Self::DiskFull => f.write_str("stopped: the disk has been full for too long"),
            Self::NoGpu => f.write_str("stopped: no GPU is left that works"),
            Self::NoSlot => f.write_str("stopped: for an hour no slot was left, since the workers there cannot be killed"),
            Self::SameFailure { reason, trials } => {
                write!(f, "stopped: {trials} trials of different shapes failed one after another for the same reason ({reason})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_lets_running_trials_end() {
        assert!(Stop::Asked.reaches_running() && Stop::Deadline.reaches_running());
        let same = Stop::SameFailure { reason: "exit code 1".to_owned(), trials: 5 };
        assert!(!same.reaches_running());
        assert_eq!(
            same.to_string(),
            "stopped: 5 trials of different shapes failed one after another for the same reason (exit code 1)"
        );
    }
}
