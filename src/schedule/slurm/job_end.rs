//! What the end of a job means for its trial.

use super::listing::Ending;
use crate::error::Result;
use crate::runs::Outcome;
use crate::schedule::cause::{Evidence, classify};
use crate::schedule::{Cause, Exit, Failure, Kill};

/// What a shell adds to the number of the signal that ended a program.
const SIGNAL: i32 = 128;
/// Exit codes of a worker that saved and left.
const SAVED_AND_LEFT: [i32; 2] = [130, 143];

/// What is known of a job that is over.
#[derive(Debug)]
pub(super) struct Known {
    /// What its script left: the worker's exit code, as a shell tells it.
    pub(super) code: Option<i32>,
    /// What Slurm says; `None` where it knows the job no more.
    pub(super) ending: Option<Ending>,
    /// What the trial's folder says.
    pub(super) outcome: Result<Option<Outcome>>,
    /// Whether we asked it to stop.
    pub(super) asked: bool,
    /// Why we killed it, if we did.
    pub(super) killed: Option<Kill>,
    /// Whether there is a newer checkpoint than when it was submitted.
    pub(super) further: bool,
    /// What it said last.
    pub(super) last_lines: Vec<String>,
}

/// What it means. An outcome counts whatever Slurm says: it is written last.
pub(super) fn verdict(known: Known) -> Exit {
    let Known { code, ending, outcome, asked, killed, further, last_lines } = known;
    let failed = |cause, reason: String| Exit::Failed(Failure { cause, reason, last_lines: last_lines.clone() });
    let open = matches!(outcome, Ok(None)) && killed.is_none();
    let saved = code.is_some_and(|code| SAVED_AND_LEFT.contains(&code));
    if open && !asked {
        // The signal ahead of the end makes the worker save, and what Slurm then says is that the script failed.
        let taken = match ending {
            Some(ending @ (Ending::TimeOut | Ending::Preempted)) => Some(format!("Slurm took its place ({})", ending.word())),
            Some(Ending::Cancelled) => None,
            _ => saved.then(|| "the time that Slurm gave it was over".to_owned()),
        };
        match taken {
            Some(why) if further => return Exit::Displaced(why),
            Some(why) => return failed(Cause::Unknown, format!("{why} before there was a new checkpoint")),
            None => {}
        }
    }
    let memory_ran_out = ending == Some(Ending::OutOfMemory);
    match (code, ending) {
        (Some(code), _) => {
            let by_signal = code > SIGNAL && !saved;
            let signal = by_signal.then_some(code - SIGNAL);
            let code = (!by_signal).then_some(code);
            classify(Evidence { code, signal, killed_by_us: killed, memory_ran_out }, outcome, last_lines)
        }
        (None, _) if !open => {
            classify(Evidence { code: None, signal: None, killed_by_us: killed, memory_ran_out }, outcome, last_lines)
        }
        (None, _) if asked => Exit::Interrupted,
        (None, Some(Ending::Cancelled)) => Exit::Interrupted,
        (None, Some(Ending::OutOfMemory)) => failed(Cause::Memory, "killed for memory".to_owned()),
        (None, Some(Ending::NodeFailed)) => failed(Cause::Unknown, "its node failed (NODE_FAIL)".to_owned()),
        (None, Some(Ending::Completed)) => failed(Cause::Unknown, "no outcome was written".to_owned()),
        (None, Some(ending)) => failed(Cause::Unknown, format!("its job ended without a word ({})", ending.word())),
        (None, None) => failed(Cause::Unknown, "its job is gone from Slurm's queue".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::End;

    fn known(code: Option<i32>, ending: Option<Ending>) -> Known {
        Known { code, ending, outcome: Ok(None), asked: false, killed: None, further: true, last_lines: Vec::new() }
    }

    fn of(cause: Cause, reason: &str) -> Exit {
        Exit::Failed(Failure { cause, reason: reason.to_owned(), last_lines: Vec::new() })
    }

    #[test]
    fn an_outcome_counts_whatever_slurm_says() {
        let outcome = Outcome::example(End::Completed);
        for ending in [Ending::Completed, Ending::Cancelled, Ending::NodeFailed, Ending::TimeOut] {
            let known = Known { outcome: Ok(Some(outcome.clone())), ..known(None, Some(ending)) };
            assert_eq!(verdict(known), Exit::Done(Box::new(outcome.clone())));
        }
    }

    #[test]
    fn every_end_of_a_job_has_its_meaning() {
        let displaced = |why: &str| Exit::Displaced(why.to_owned());
        for (code, ending, exit) in [
            (Some(130), Some(Ending::Failed), displaced("the time that Slurm gave it was over")),
            (Some(143), None, displaced("the time that Slurm gave it was over")),
            (Some(130), Some(Ending::TimeOut), displaced("Slurm took its place (TIMEOUT)")),
            (None, Some(Ending::TimeOut), displaced("Slurm took its place (TIMEOUT)")),
            (None, Some(Ending::Preempted), displaced("Slurm took its place (PREEMPTED)")),
            (Some(130), Some(Ending::Cancelled), Exit::Interrupted),
            (None, Some(Ending::Cancelled), Exit::Interrupted),
            (None, Some(Ending::OutOfMemory), of(Cause::Memory, "killed for memory")),
            (Some(137), Some(Ending::OutOfMemory), of(Cause::Memory, "killed for memory")),
            (Some(137), Some(Ending::Failed), of(Cause::Unknown, "signal 9 (killed)")),
            (Some(139), Some(Ending::Failed), of(Cause::Crash, "signal 11 (segmentation fault)")),
            (Some(101), Some(Ending::Failed), of(Cause::Crash, "exit code 101 (panic)")),
            (Some(71), Some(Ending::Failed), of(Cause::Memory, "memory ran out")),
            (Some(75), Some(Ending::Failed), Exit::HeldElsewhere),
            (Some(0), Some(Ending::Completed), of(Cause::Unknown, "no outcome was written")),
            (None, Some(Ending::Completed), of(Cause::Unknown, "no outcome was written")),
            (None, Some(Ending::NodeFailed), of(Cause::Unknown, "its node failed (NODE_FAIL)")),
            (None, Some(Ending::Deadline), of(Cause::Unknown, "its job ended without a word (DEADLINE)")),
            (None, Some(Ending::Failed), of(Cause::Unknown, "its job ended without a word (FAILED)")),
            (None, None, of(Cause::Unknown, "its job is gone from Slurm's queue")),
        ] {
            assert_eq!(verdict(known(code, ending)), exit, "{code:?} {ending:?}");
        }
    }

    #[test]
    fn what_does_not_come_further_is_not_displaced_for_ever() {
        for ending in [Ending::TimeOut, Ending::Preempted] {
            let exit = verdict(Known { further: false, ..known(None, Some(ending)) });
            let reason = format!("Slurm took its place ({}) before there was a new checkpoint", ending.word());
            assert_eq!(exit, of(Cause::Unknown, &reason));
        }
    }

    #[test]
    fn what_we_asked_for_or_killed_is_no_failure() {
        for ending in [Some(Ending::TimeOut), Some(Ending::Cancelled), Some(Ending::Failed), None] {
            assert_eq!(verdict(Known { asked: true, ..known(Some(130), ending) }), Exit::Interrupted);
            assert_eq!(verdict(Known { asked: true, ..known(None, ending) }), Exit::Interrupted);
            let killed = Known { killed: Some(Kill::Late(30.0)), ..known(None, ending) };
            assert_eq!(verdict(killed), Exit::Interrupted);
        }
        let hung = Known { killed: Some(Kill::Hung("silent".to_owned())), ..known(Some(137), Some(Ending::Cancelled)) };
        assert_eq!(verdict(hung), of(Cause::Hang, "silent"));
    }
}
