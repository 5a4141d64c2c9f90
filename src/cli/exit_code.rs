//! Exit codes: documented, stable, one meaning each.

use std::process::ExitCode;

use crate::error::Kind;
use crate::schedule::{Cause, HELD_ELSEWHERE, INTERRUPTED, Stop, Summary, TAKEN_OVER, TERMINATED};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 0: everything that was asked for is done; for `run`: all trials completed.
    Ok,
    /// 1: an error of the system or of Votive itself.
    Internal,
    /// 2: the command line or the experiment file.
    Usage,
    /// 3: some trials failed, diverged or did not fit.
    SomeFailed,
    /// 4: nothing to report.
    Nothing,
    /// 5: trials are left, and can go on: stopped by the deadline, by a full disk, or since no slot or no GPU was left; or another
    /// worker holds them, or was stopped by somebody.
    Stopped,
    /// 75: another runner holds this experiment.
    Busy,
    /// 130: interrupted by Ctrl-C; can be resumed.
    Interrupted,
    /// 143: interrupted by SIGTERM; can be resumed.
    Terminated,
    /// 76, of a worker alone: another worker took its trial over.
    TakenOver,
    /// Of a worker alone: what its trial failed of, which its runner acts upon.
    Failed(Cause),
}

impl Code {
    /// What the system is told.
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::SomeFailed => 3,
            Self::Nothing => 4,
            Self::Stopped => 5,
            Self::Busy => HELD_ELSEWHERE,
            Self::TakenOver => TAKEN_OVER,
            Self::Interrupted => INTERRUPTED,
            Self::Terminated => TERMINATED,
            Self::Failed(cause) => cause.exit_code().unwrap_or(Self::Internal.number()),
        }
    }

    /// The code for an error of this kind.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Usage => Self::Usage,
            Kind::Busy => Self::Busy,
            Kind::TakenOver => Self::TakenOver,
            Kind::Nothing => Self::Nothing,
            Kind::DiskFull | Kind::Deadline => Self::Stopped,
            Kind::Interrupted => Self::Interrupted,
            Kind::Terminated => Self::Terminated,
            Kind::Data | Kind::Io | Kind::OutOfMemory | Kind::Device | Kind::Internal => Self::Internal,
        }
    }

    /// The code of a worker whose trial failed of an error of this kind.
    pub fn of_worker(kind: Kind) -> Self {
        match kind {
            Kind::Busy => Self::Busy,
            Kind::TakenOver => Self::TakenOver,
            kind => Self::Failed(Cause::of(kind)),
        }
    }

    /// The code for a run that ended so. `terminated` says whether SIGTERM asked it to stop, rather than Ctrl-C.
    pub fn of_run(summary: &Summary, terminated: bool) -> Self {
        match summary.stopped {
            // Asked to stop when all was done.
            _ if summary.all_completed() => Self::Ok,
            // Whatever it was stopped by, all were over.
            _ if summary.left == 0 => Self::SomeFailed,
            Some(Stop::Asked) if terminated => Self::Terminated,
            Some(Stop::Asked) => Self::Interrupted,
            Some(Stop::Deadline | Stop::DiskFull | Stop::CannotStart { .. } | Stop::NoSlot | Stop::NoGpu) => Self::Stopped,
            // None was lost: another worker holds them, or somebody stopped theirs.
            None if summary.completed + summary.left == summary.trials => Self::Stopped,
            Some(Stop::SameFailure { .. }) | None => Self::SomeFailed,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_by_its_code_how_it_went() {
        let run =
            |completed, failed, left, stopped| Summary { trials: 3, completed, failed, left, stopped, ..Summary::default() };
        for (summary, terminated, code) in [
            (run(3, 0, 0, None), false, 0),
            (run(3, 0, 0, Some(Stop::Asked)), false, 0),
            (run(2, 1, 0, None), false, 3),
            (run(1, 0, 2, Some(Stop::Asked)), false, 130),
            (run(1, 0, 2, Some(Stop::Asked)), true, 143),
            (run(2, 1, 0, Some(Stop::Asked)), true, 3),
            (run(1, 0, 2, Some(Stop::Deadline)), false, 5),
            (run(2, 1, 0, Some(Stop::Deadline)), false, 3),
            (run(2, 0, 1, None), false, 5),
            (run(1, 1, 1, None), false, 3),
            (run(1, 0, 2, Some(Stop::DiskFull)), false, 5),
            (run(2, 1, 0, Some(Stop::DiskFull)), false, 3),
            (run(1, 0, 2, Some(Stop::NoSlot)), false, 5),
            (run(1, 0, 2, Some(Stop::NoGpu)), false, 5),
            (run(0, 2, 1, Some(Stop::SameFailure { reason: "x".to_owned(), trials: 2 })), false, 3),
        ] {
            assert_eq!(Code::of_run(&summary, terminated).number(), code, "{summary:?}");
        }
    }
}
