//! How a trial ended, and how an attempt did.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The whole budget was trained and scored.
    Completed,
    /// Loss or gradient norm were not finite, or the loss stayed far above that of guessing. A result, not an error.
    Diverged,
    /// It does not fit into memory. A result, not an error.
    DidNotFit,
    /// It crashed more often than `run.retries` allows, or cannot work at all.
    Failed,
}

/// How an attempt ended; in its file a few words, of which only this reads more than that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum AttemptEnd {
    /// With the trial's outcome: `completed`, `diverged`, `did not fit`, `failed`.
    Outcome(End),
    /// Its worker was asked to stop, saved and left: `interrupted`.
    Interrupted,
    /// Its worker was asked to stop, and was killed since it did not in time: `killed`, `killed: it had not stopped after 30 s`.
    Killed(String),
    /// Badly: without an outcome, and not because somebody stopped it. `crashed: signal 9`, `hung: silent for 130 s while scoring`.
    Badly(String),
}

/// The words of those that end with an outcome.
const OUTCOMES: [(End, &str); 4] =
    [(End::Completed, "completed"), (End::Diverged, "diverged"), (End::DidNotFit, "did not fit"), (End::Failed, "failed")];

impl From<String> for AttemptEnd {
    fn from(words: String) -> Self {
        match OUTCOMES.iter().find(|(_, known)| *known == words) {
            Some((end, _)) => Self::Outcome(*end),
            None if words == "interrupted" => Self::Interrupted,
            None if words == "killed" || words.starts_with("killed: ") => Self::Killed(words),
            None => Self::Badly(words),
        }
    }
}

impl From<AttemptEnd> for String {
    fn from(end: AttemptEnd) -> Self {
        end.to_string()
    }
}

impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome(end) => f.write_str(OUTCOMES.iter().find(|(known, _)| known == end).map_or("", |(_, words)| *words)),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Killed(words) | Self::Badly(words) => f.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_file_read_back_as_what_they_say() {
        for (words, end) in [
            ("completed", AttemptEnd::Outcome(End::Completed)),
            ("did not fit", AttemptEnd::Outcome(End::DidNotFit)),
            ("interrupted", AttemptEnd::Interrupted),
            ("killed", AttemptEnd::Killed("killed".to_owned())),
            ("killed: it had not stopped after 30 s", AttemptEnd::Killed("killed: it had not stopped after 30 s".to_owned())),
            ("killed for memory", AttemptEnd::Badly("killed for memory".to_owned())),
            ("crashed: signal 9", AttemptEnd::Badly("crashed: signal 9".to_owned())),
        ] {
            assert_eq!(AttemptEnd::from(words.to_owned()), end);
            assert_eq!(end.to_string(), words);
            assert_eq!(serde_json::to_string(&end).unwrap(), format!("\"{words}\""));
        }
    }
}
