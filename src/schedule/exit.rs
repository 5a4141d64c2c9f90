//! How a worker ended, and what that means.

use serde::Serialize;

use crate::error::Result;
use crate::runs::Outcome;

/// Exit code of a worker whose trial another worker holds.
pub const HELD_ELSEWHERE: i32 = 75;
/// Exit codes of a worker that saved and left: a shell's numbers for SIGINT and SIGTERM.
const SAVED_AND_LEFT: [i32; 2] = [130, 143];
/// Exit code of a worker that stopped for want of disk space.
const DISK: i32 = 5;
/// The signal that nobody can catch; the kernel's means against a lack of memory.
const SIGKILL: i32 = 9;

/// How a worker ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Exit {
    /// It wrote an outcome: the trial is over.
    Done(Box<Outcome>),
    /// It saved and left, or we killed it because the run stops: it can go on.
    Interrupted,
    /// Another worker holds the trial.
    HeldElsewhere,
    /// Anything else.
    Failed(Failure),
}

/// An attempt that ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure.
    pub cause: Cause,
    /// What is known of it, in a few words, the same for the same failure: `exit code 101`, `signal 11 (segmentation fault)`.
    pub reason: String,
    /// The last lines the worker said.
    pub last_lines: Vec<String>,
}

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No worker could be started.
    NotStarted,
    /// It ended with an error, a panic or a signal.
    Crash,
    /// The kernel killed it because memory ran out.
    Memory,
    /// It said nothing for too long and was killed.
    Hang,
    /// The disk is full.
    Disk,
    /// It says that the trial cannot work at all.
    Refused,
}

/// What the system says of an ended process, and what we know besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether we killed it.
    pub killed_by_us: bool,
    /// Whether the kernel killed anything for want of memory while it ran.
    pub memory_ran_out: bool,
}

/// What the end of a worker means. An outcome counts whatever the exit code: it is written last.
pub(super) fn classify(evidence: Evidence, outcome: Result<Option<Outcome>>, last_lines: Vec<String>) -> Exit {
    let failed = |cause, reason: String| Exit::Failed(Failure { cause, reason, last_lines });
    match outcome {
        Ok(Some(outcome)) => return Exit::Done(Box::new(outcome)),
        Err(error) => return failed(Cause::Crash, error.chain()),
        Ok(None) => {}
    }
    if evidence.killed_by_us {
        return Exit::Interrupted;
    }
    match (evidence.code, evidence.signal) {
        (Some(code), _) if SAVED_AND_LEFT.contains(&code) => Exit::Interrupted,
        (Some(HELD_ELSEWHERE), _) => Exit::HeldElsewhere,
        (Some(DISK), _) => failed(Cause::Disk, "the disk is full".to_owned()),
        (Some(0), _) => failed(Cause::Crash, "ended without an outcome".to_owned()),
        (Some(code), _) => failed(Cause::Crash, format!("exit code {code}")),
        (None, Some(SIGKILL)) if evidence.memory_ran_out => failed(Cause::Memory, "killed for memory".to_owned()),
        (None, Some(signal)) => failed(Cause::Crash, signal_name(signal)),
        (None, None) => failed(Cause::Crash, "ended in an unknown way".to_owned()),
    }
}

fn signal_name(signal: i32) -> String {
    let word = match signal {
        1 => "hangup",
        2 => "interrupt",
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic fault",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({word})")
}

/// How an attempt that ended badly is described in its file.
pub(super) fn describe(failure: &Failure) -> String {
    match failure.cause {
        Cause::NotStarted => format!("not started: {}", failure.reason),
        Cause::Hang => format!("hung: {}", failure.reason),
        Cause::Memory => failure.reason.clone(),
        Cause::Crash | Cause::Disk | Cause::Refused => format!("crashed: {}", failure.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::runs::End;

    fn code(code: i32) -> Evidence {
        Evidence { code: Some(code), signal: None, killed_by_us: false, memory_ran_out: false }
    }

    fn signal(signal: i32) -> Evidence {
        Evidence { code: None, signal: Some(signal), killed_by_us: false, memory_ran_out: false }
    }

    fn crash(reason: &str) -> Exit {
        Exit::Failed(Failure { cause: Cause::Crash, reason: reason.to_owned(), last_lines: Vec::new() })
    }

    #[test]
    fn without_an_outcome_the_exit_code_or_signal_decides() {
        let memory = Failure { cause: Cause::Memory, reason: "killed for memory".to_owned(), last_lines: Vec::new() };
        let disk = Failure { cause: Cause::Disk, reason: "the disk is full".to_owned(), last_lines: Vec::new() };
        for (evidence, exit) in [
            (code(130), Exit::Interrupted),
            (code(143), Exit::Interrupted),
            (code(75), Exit::HeldElsewhere),
            (code(0), crash("ended without an outcome")),
            (code(101), crash("exit code 101")),
            (code(5), Exit::Failed(disk)),
            (signal(11), crash("signal 11 (segmentation fault)")),
            (signal(6), crash("signal 6 (abort)")),
            (signal(9), crash("signal 9 (killed)")),
            (signal(64), crash("signal 64")),
            (Evidence { memory_ran_out: true, ..signal(9) }, Exit::Failed(memory)),
            (Evidence { memory_ran_out: true, ..signal(11) }, crash("signal 11 (segmentation fault)")),
            (Evidence { killed_by_us: true, ..signal(9) }, Exit::Interrupted),
            (Evidence { killed_by_us: true, memory_ran_out: true, ..signal(9) }, Exit::Interrupted),
        ] {
            assert_eq!(classify(evidence, Ok(None), Vec::new()), exit, "{evidence:?}");
        }
    }

    #[test]
    fn an_outcome_counts_whatever_the_exit_code() {
        let outcome = Outcome {
            reason: Some("loss is not finite".to_owned()),
            training_seconds: 0.0,
            peak_memory_bytes: 0,
            finished_utc: 0,
            ..Outcome::example(End::Diverged)
        };
        for evidence in [code(0), code(3), code(130), signal(11), Evidence { killed_by_us: true, ..signal(9) }] {
            assert_eq!(classify(evidence, Ok(Some(outcome.clone())), Vec::new()), Exit::Done(Box::new(outcome.clone())));
        }
    }

    #[test]
    fn an_outcome_that_cannot_be_read_is_a_failure_with_its_lines() {
        let exit = classify(code(0), Err(Error::data("outcome.json is damaged")), vec!["said".to_owned()]);
        let Exit::Failed(failure) = exit else { panic!("{exit:?}") };
        assert_eq!((failure.reason.as_str(), failure.last_lines), ("outcome.json is damaged", vec!["said".to_owned()]));
    }

    #[test]
    fn an_attempt_says_how_it_ended() {
        let failure = |cause, reason: &str| Failure { cause, reason: reason.to_owned(), last_lines: Vec::new() };
        for (failure, text) in [
            (failure(Cause::Crash, "signal 9 (killed)"), "crashed: signal 9 (killed)"),
            (failure(Cause::Memory, "killed for memory"), "killed for memory"),
            (failure(Cause::Hang, "silent for 60 s"), "hung: silent for 60 s"),
            (failure(Cause::NotStarted, "no such file"), "not started: no such file"),
        ] {
            assert_eq!(describe(&failure), text);
        }
    }
}
