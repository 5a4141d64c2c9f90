//! How a worker ended, and what that means.

use std::fmt;

use serde::Serialize;

use crate::error::{Kind, Result};
use crate::runs::Outcome;

/// Exit code of a worker whose trial another worker holds.
pub const HELD_ELSEWHERE: u8 = 75;
/// Exit code of a worker whose trial another worker has taken over.
pub const TAKEN_OVER: u8 = 76;
/// Exit code of a worker that saved and left after SIGINT: a shell's number for that.
pub const INTERRUPTED: u8 = 130;
/// Exit code of a worker that saved and left after SIGTERM.
pub const TERMINATED: u8 = 143;
/// Exit code of a worker that panicked.
const PANIC: i32 = 101;
/// The signal of a program that gives up, as where it gets no memory.
const SIGABRT: i32 = 6;
/// The signal that nobody can catch; the kernel's means against a lack of memory.
const SIGKILL: i32 = 9;

/// How a worker ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Exit {
    /// It wrote an outcome: the trial is over.
    Done(Box<Outcome>),
    /// It saved and left, or we killed it because the run stops: it can go on.
    Interrupted,
    /// Its place was taken away: the time that a cluster gave it was over, or another job was more urgent. It has come further, and goes
    /// on from its checkpoint as often as need be. Why, in a few words.
    Displaced(String),
    /// Another worker holds the trial.
    HeldElsewhere,
    /// Another worker has taken the trial over: this one wrote nothing since.
    TakenOver,
    /// Anything else.
    Failed(Failure),
}

/// Why a worker is killed.
#[derive(Debug, Clone, PartialEq)]
pub enum Kill {
    /// Somebody asked for it.
    Asked,
    /// So many seconds after it was asked to stop it had not.
    Late(f64),
    /// It was silent for too long: how long, and what it was doing.
    Hung(String),
}

impl Kill {
    /// What the end of a worker means that was killed so; `last_lines` is what it said last.
    pub fn exit(&self, last_lines: Vec<String>) -> Exit {
        match self {
            Self::Asked | Self::Late(_) => Exit::Interrupted,
            Self::Hung(reason) => Exit::Failed(Failure { cause: Cause::Hang, reason: reason.clone(), last_lines }),
        }
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("killed"),
            Self::Late(seconds) => write!(f, "killed: it had not stopped after {seconds} s"),
            Self::Hung(reason) => write!(f, "hung: {reason}"),
        }
    }
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

impl Failure {
    /// Whether the driver has lost the GPU, by the worker's last words.
    pub(super) fn says_lost(&self) -> bool {
        self.cause == Cause::Device && say_any(&self.last_lines, &LOST)
    }

    /// What happened, for people: the cause, what is known of it, and what the worker said itself.
    ///
    /// `crashed: exit code 101: index out of bounds`
    pub fn sentence(&self) -> String {
        let name = match self.cause {
            Cause::NotStarted => "not started",
            Cause::Crash => "crashed",
            Cause::Hang => "hung",
            Cause::Refused => "refused",
            Cause::BadData => "bad data",
            Cause::Device => "the device failed",
            Cause::Unknown => "ended for an unknown reason",
            // The reason says it all.
            Cause::Memory | Cause::Disk => "",
        };
        // Where the cause follows from the exit code, the code says nothing more.
        let told_by_code = self.cause.exit_code().is_some() && !matches!(self.cause, Cause::Memory | Cause::Disk);
        let said = said(&self.last_lines);
        let is_said = told_by_code && said.is_some() || said.is_some_and(|said| said.contains(&self.reason));
        let reason = if is_said { "" } else { self.reason.as_str() };
        let parts = [name, reason, said.unwrap_or_default()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }
}

/// What a worker says whose GPU is gone: the driver's words and the system's, in small letters. That the driver shows no GPU is one of
/// them, since it showed this one when the run began.
const LOST: [&str; 7] = [
    "the gpu was lost",
    "the driver shows no gpu",
    "gpu is lost",
    "fallen off the bus",
    "device lost",
    "xid 79",
    "cuda_error_no_device",
];

/// What stands in the last words of a program that a fault of its GPU ended, in small letters, whatever its exit code is.
const OF_A_DEVICE: [&str; 6] = ["cuda_error_", "cudaerror", "nvrm: xid", "fallen off the bus", "device lost", "gpu is lost"];

fn say_any(lines: &[String], words: &[&str]) -> bool {
    lines.iter().map(|line| line.to_lowercase()).any(|line| words.iter().any(|word| line.contains(word)))
}

/// What a worker said of its own end: its error, or the message of its panic.
fn said(last_lines: &[String]) -> Option<&str> {
    let error = last_lines.iter().rev().find_map(|line| line.strip_prefix("error: "));
    let panic = || {
        let place = last_lines.iter().rposition(|line| line.starts_with("thread '") && line.contains("panicked at"))?;
        last_lines.get(place + 1).map(String::as_str)
    };
    error.or_else(panic)
}

/// What sort of failure. What follows from each is said in `policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No worker could be started.
    NotStarted,
    /// It ended with an error of Votive or of the system, a panic or a signal.
    Crash,
    /// It got no memory, or was killed because memory ran out: the machine's or the device's.
    Memory,
    /// It said nothing for too long and was killed.
    Hang,
    /// The disk is full.
    Disk,
    /// It says that the trial asks for what is not possible.
    Refused,
    /// A text, a tokenizer or a checkpoint does not hold what it should.
    BadData,
    /// The GPU or its driver failed.
    Device,
    /// It was killed by somebody, or ended without a word.
    Unknown,
}

impl Cause {
    const ALL: [Self; 9] = [
        Self::NotStarted,
        Self::Crash,
        Self::Memory,
        Self::Hang,
        Self::Disk,
        Self::Refused,
        Self::BadData,
        Self::Device,
        Self::Unknown,
    ];

    /// What an error of this kind is a failure of, in a worker.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Usage => Self::Refused,
            Kind::Data => Self::BadData,
            Kind::DiskFull => Self::Disk,
            Kind::OutOfMemory => Self::Memory,
            Kind::Device => Self::Device,
            Kind::Io
            | Kind::Busy
            | Kind::TakenOver
            | Kind::Nothing
            | Kind::Deadline
            | Kind::Interrupted
            | Kind::Terminated
            | Kind::Internal => Self::Crash,
        }
    }

    /// The exit code by which a worker tells its runner of this cause; `None` where it cannot.
    pub fn exit_code(self) -> Option<u8> {
        match self {
            Self::Refused => Some(2),
            Self::Disk => Some(5),
            // As `sysexits.h` has them: data error, software unavailable, operating system error.
            Self::BadData => Some(65),
            Self::Device => Some(69),
            Self::Memory => Some(71),
            Self::NotStarted | Self::Crash | Self::Hang | Self::Unknown => None,
        }
    }

    fn of_exit_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.exit_code().is_some_and(|own| i32::from(own) == code))
    }
}

/// What the system says of an ended process, and what we know besides.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evidence {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why we killed it, if we did.
    pub killed_by_us: Option<Kill>,
    /// Whether the kernel killed anything for want of memory while it ran.
    pub memory_ran_out: bool,
}

/// What the end of a worker means. An outcome counts whatever the exit code: it is written last.
pub(super) fn classify(evidence: Evidence, outcome: Result<Option<Outcome>>, last_lines: Vec<String>) -> Exit {
    let failed = |cause, reason: String| Exit::Failed(Failure { cause, reason, last_lines: last_lines.clone() });
    match outcome {
        Ok(Some(outcome)) => return Exit::Done(Box::new(outcome)),
        Err(error) => return failed(Cause::Crash, error.chain()),
        Ok(None) => {}
    }
    if let Some(kill) = evidence.killed_by_us {
        return kill.exit(last_lines);
    }
    // Rust's allocator says so before it aborts.
    let refused_memory = || last_lines.iter().any(|line| line.starts_with("memory allocation of "));
    let of_a_device = || say_any(&last_lines, &OF_A_DEVICE);
    match (evidence.code, evidence.signal) {
        (Some(code), _) if [INTERRUPTED, TERMINATED].map(i32::from).contains(&code) => Exit::Interrupted,
        (Some(code), _) if code == i32::from(HELD_ELSEWHERE) => Exit::HeldElsewhere,
        (Some(code), _) if code == i32::from(TAKEN_OVER) => Exit::TakenOver,
        (Some(0), _) => failed(Cause::Unknown, "no outcome was written".to_owned()),
        (Some(code), _) => match Cause::of_exit_code(code) {
            Some(Cause::Memory) => failed(Cause::Memory, "memory ran out".to_owned()),
            Some(Cause::Disk) => failed(Cause::Disk, "the disk is full".to_owned()),
            Some(cause) => failed(cause, format!("exit code {code}")),
            None if of_a_device() => failed(Cause::Device, format!("exit code {code}")),
            None if code == PANIC => failed(Cause::Crash, format!("exit code {code} (panic)")),
            None => failed(Cause::Crash, format!("exit code {code}")),
        },
        (None, Some(SIGKILL)) if evidence.memory_ran_out => failed(Cause::Memory, "killed for memory".to_owned()),
        (None, Some(SIGABRT)) if refused_memory() => failed(Cause::Memory, "memory ran out".to_owned()),
        (None, Some(SIGKILL)) => failed(Cause::Unknown, signal_name(SIGKILL)),
        (None, Some(signal)) if of_a_device() => failed(Cause::Device, signal_name(signal)),
        (None, Some(signal)) => failed(Cause::Crash, signal_name(signal)),
        (None, None) => failed(Cause::Unknown, "neither an exit code nor a signal".to_owned()),
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
        24 => "limit of processor time",
        25 => "limit of a file's size",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({word})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::runs::End;

    fn code(code: i32) -> Evidence {
        Evidence { code: Some(code), signal: None, killed_by_us: None, memory_ran_out: false }
    }

    fn signal(signal: i32) -> Evidence {
        Evidence { code: None, signal: Some(signal), killed_by_us: None, memory_ran_out: false }
    }

    fn of(cause: Cause, reason: &str) -> Exit {
        Exit::Failed(Failure { cause, reason: reason.to_owned(), last_lines: Vec::new() })
    }

    fn crash(reason: &str) -> Exit {
        of(Cause::Crash, reason)
    }

    #[test]
    fn without_an_outcome_the_exit_code_or_signal_decides() {
        for (evidence, exit) in [
            (code(130), Exit::Interrupted),
            (code(143), Exit::Interrupted),
            (code(75), Exit::HeldElsewhere),
            (code(76), Exit::TakenOver),
            (code(0), of(Cause::Unknown, "no outcome was written")),
            (code(1), crash("exit code 1")),
            (code(101), crash("exit code 101 (panic)")),
            (code(2), of(Cause::Refused, "exit code 2")),
            (code(5), of(Cause::Disk, "the disk is full")),
            (code(65), of(Cause::BadData, "exit code 65")),
            (code(69), of(Cause::Device, "exit code 69")),
            (code(71), of(Cause::Memory, "memory ran out")),
            (signal(11), crash("signal 11 (segmentation fault)")),
            (signal(6), crash("signal 6 (abort)")),
            (signal(9), of(Cause::Unknown, "signal 9 (killed)")),
            (signal(25), crash("signal 25 (limit of a file's size)")),
            (signal(64), crash("signal 64")),
            (Evidence { memory_ran_out: true, ..signal(9) }, of(Cause::Memory, "killed for memory")),
            (Evidence { memory_ran_out: true, ..signal(11) }, crash("signal 11 (segmentation fault)")),
            (Evidence { killed_by_us: Some(Kill::Asked), ..signal(9) }, Exit::Interrupted),
            (Evidence { killed_by_us: Some(Kill::Late(30.0)), memory_ran_out: true, ..signal(9) }, Exit::Interrupted),
            (
                Evidence { killed_by_us: Some(Kill::Hung("silent for 130 s while scoring".to_owned())), ..signal(9) },
                of(Cause::Hang, "silent for 130 s while scoring"),
            ),
        ] {
            assert_eq!(classify(evidence.clone(), Ok(None), Vec::new()), exit, "{evidence:?}");
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
        for evidence in [code(0), code(3), code(130), signal(11), Evidence { killed_by_us: Some(Kill::Asked), ..signal(9) }] {
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
    fn an_allocation_that_is_refused_is_a_want_of_memory() {
        let said = vec!["memory allocation of 8589934592 bytes failed".to_owned()];
        let Exit::Failed(failure) = classify(signal(6), Ok(None), said) else { panic!() };
        assert_eq!((failure.cause, failure.reason.as_str()), (Cause::Memory, "memory ran out"));
    }

    #[test]
    fn last_words_of_a_fault_of_the_gpu_decide_where_the_exit_code_does_not() {
        let of = |evidence, said: &str| {
            let Exit::Failed(failure) = classify(evidence, Ok(None), vec![said.to_owned(), "bye".to_owned()]) else { panic!() };
            (failure.cause, failure.says_lost())
        };
        for (evidence, said, expected) in [
            (code(69), "error: the GPU was lost: `cuStreamQuery` answered CUDA_ERROR_UNKNOWN (999)", (Cause::Device, true)),
            (code(69), "error: the driver shows no GPU: `cuInit` answered CUDA_ERROR_NO_DEVICE (100)", (Cause::Device, true)),
            (code(69), "error: a kernel failed", (Cause::Device, false)),
            (code(1), "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access\")", (Cause::Device, false)),
            (code(101), "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.", (Cause::Device, true)),
            (signal(6), "terminate called: CUDA_ERROR_LAUNCH_FAILED", (Cause::Device, false)),
            (signal(6), "assertion failed", (Cause::Crash, false)),
            (code(1), "the disk is odd", (Cause::Crash, false)),
            (signal(9), "CUDA_ERROR_LAUNCH_FAILED", (Cause::Unknown, false)),
        ] {
            assert_eq!(of(evidence, said), expected, "{said}");
        }
    }

    #[test]
    fn every_cause_that_a_worker_tells_is_understood_by_its_runner() {
        for kind in [Kind::Usage, Kind::Data, Kind::DiskFull, Kind::OutOfMemory, Kind::Device] {
            let cause = Cause::of(kind);
            let exit = classify(code(i32::from(cause.exit_code().unwrap())), Ok(None), Vec::new());
            assert!(matches!(exit, Exit::Failed(Failure { cause: c, .. }) if c == cause), "{kind:?}");
        }
        assert_eq!(Cause::of(Kind::Io).exit_code(), None);
    }

    #[test]
    fn each_cause_has_its_sentence_with_what_the_worker_said() {
        let failure = |cause, reason: &str, said: &[&str]| {
            let last_lines = said.iter().map(|s| (*s).to_owned()).collect();
            Failure { cause, reason: reason.to_owned(), last_lines }.sentence()
        };
        let panic = ["thread 'main' (7) panicked at src/a.rs:1:2:", "index out of bounds", "note: run with `RUST_BACKTRACE=1`"];
        for (sentence, expected) in [
            (failure(Cause::Crash, "signal 11 (segmentation fault)", &["x"]), "crashed: signal 11 (segmentation fault)"),
            (failure(Cause::Crash, "exit code 101 (panic)", &panic), "crashed: exit code 101 (panic): index out of bounds"),
            (failure(Cause::Crash, "exit code 1", &["error: a", "error: b", "hint: c"]), "crashed: exit code 1: b"),
            (failure(Cause::Memory, "killed for memory", &[]), "killed for memory"),
            (failure(Cause::Memory, "memory ran out", &["error: 3 GB"]), "memory ran out: 3 GB"),
            (failure(Cause::Memory, "memory ran out", &["error: the GPU's memory ran out: x"]), "the GPU's memory ran out: x"),
            (failure(Cause::Hang, "silent for 130 s while scoring", &["x"]), "hung: silent for 130 s while scoring"),
            (failure(Cause::NotStarted, "no such file", &[]), "not started: no such file"),
            (failure(Cause::Disk, "the disk is full", &[]), "the disk is full"),
            (failure(Cause::Refused, "exit code 2", &["error: no such GPU"]), "refused: no such GPU"),
            (failure(Cause::Refused, "exit code 2", &[]), "refused: exit code 2"),
            (failure(Cause::BadData, "exit code 65", &["error: a.bin is damaged"]), "bad data: a.bin is damaged"),
            (failure(Cause::Device, "exit code 69", &["error: a kernel failed"]), "the device failed: a kernel failed"),
            (failure(Cause::Unknown, "signal 9 (killed)", &[]), "ended for an unknown reason: signal 9 (killed)"),
        ] {
            assert_eq!(sentence, expected);
        }
    }
}
