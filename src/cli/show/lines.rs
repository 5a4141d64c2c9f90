//! Events as lines of text.

use jiff::tz::TimeZone;

use crate::device::Gpu;
use crate::rows::{CheckpointKind, EvaluationRow, Phase, Protocol, ScoredPart};
use crate::runs::{End, Outcome, Progress};
use crate::schedule::{Cause, Event, Left, Lighter, Overview, Stop};
use crate::words::{clock, duration, harmless, plural, thousands};

/// The line for an event of the trial called `label`; `None` for what has no line of its own.
pub(super) fn line(event: &Event, label: &str) -> Option<String> {
    let (word, rest) = match event {
        Event::Started { attempt, threads, gpu, .. } => ("started", started(label, *attempt, *threads, gpu.as_ref())),
        Event::Submitted { attempt, .. } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            ("submitted", format!("{label}{again}"))
        }
        Event::StartsOver { why, .. } => ("starts over", format!("{label}: {}", harmless(why))),
        Event::Progressed { progress, .. } => (progress.phase.name(), format!("{label}: {}", how_far(progress))),
        Event::HeldElsewhere { .. } => ("waiting", format!("{label}: another worker is still at it")),
        Event::TakenOver { .. } => ("taken over", format!("{label}: another worker took this trial over; it is waited for")),
        Event::Silent { seconds, phase, .. } => ("silent", format!("{label}: for {seconds} s while {}", phase.name())),
        Event::StillThere { waits: true, .. } => {
            ("still there", format!("{label}: its job was cancelled and has not left the queue yet; nobody waits for it"))
        }
        Event::StillThere { slot, .. } => (
            "still there",
            format!("{label}: its worker was killed and does not end: slot {slot} is not used any more, the others go on"),
        ),
        // That is not its fault.
        Event::Failed { cause: Cause::Disk, reason, .. } => {
            ("disk full", format!("{label}: {}; it goes on when there is room", harmless(reason)))
        }
        Event::Failed { reason, last_lines, first, .. } => {
            // The first failure is told in full: it is the one that teaches something.
            let shown = if *first { 0 } else { last_lines.len().saturating_sub(1) };
            let lines: String = last_lines[shown..].iter().map(|l| format!("\n            | {}", harmless(l))).collect();
            ("failed", format!("{label}: {}{lines}", harmless(reason)))
        }
        Event::Stopped { .. } => {
            ("stopped", format!("{label}: somebody stopped its worker (SIGTERM or SIGINT), which has saved"))
        }
        Event::Displaced { why, .. } => ("displaced", format!("{label}: {}; it goes on from its checkpoint", harmless(why))),
        Event::Retrying { in_seconds, retries_left, lighter, .. } => {
            let how = lighter.map_or_else(|| more_tries(*retries_left), more_memory);
            ("retrying", format!("{label}: in {}, {how}", duration(*in_seconds)))
        }
        Event::GpuLeftOut { gpu, reason, left } => {
            ("left out", format!("{gpu} is not used any more ({}): {}", harmless(reason), without_it(*left)))
        }
        Event::Pause { seconds, failures } => {
            let starts = if *failures == 1 { "the last start".to_owned() } else { format!("the last {failures} starts") };
            ("pausing", format!("nothing is started for {}, since {starts} failed", duration(*seconds)))
        }
        Event::DiskFull => {
            ("disk full", "nothing is started until it has room: looked at every 30 s; running trials go on".to_owned())
        }
        Event::DiskHasRoom => ("disk", "has room again: trials go on".to_owned()),
        Event::Ended { end, reason, seconds, outcome, .. } => {
            return ended(*end, label, reason.as_deref(), *seconds, outcome.as_deref());
        }
        Event::Left { why: Left::Interrupted, .. } => ("interrupted", format!("{label}: goes on from its last checkpoint")),
        Event::Stopping { why } => ("stopping", stopping(why)),
        Event::Left { .. } | Event::Skipped { .. } | Event::Aliased { .. } | Event::Waits { .. } | Event::Overview(_) => {
            return None;
        }
    };
    Some(format!("{word:<11} {rest}"))
}

fn started(label: &str, attempt: u32, threads: u32, gpu: Option<&Gpu>) -> String {
    let on = gpu.map_or_else(String::new, |gpu| format!(" on {}", gpu.device()));
    let attempt = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
    let threads = if threads > 1 { format!(", {threads} threads") } else { String::new() };
    format!("{label}{on}{attempt}{threads}")
}

/// What becomes of the trials of a GPU that is not used any more, where so many others are left.
fn without_it(left: usize) -> String {
    match left {
        0 => "no other one is left".to_owned(),
        1 => "its trials go on with the other one".to_owned(),
        n => format!("its trials go on with the other {n}"),
    }
}

/// The line for the trial called `label` that is the same as the one called `source`, and therefore is not trained.
pub(crate) fn alias(label: &str, source: &str, outcome: &Outcome) -> String {
    let what = match (final_perplexity(outcome), &outcome.reason) {
        (Some(perplexity), _) => format!("; perplexity {perplexity:.2}"),
        (None, Some(reason)) => format!("; {}", harmless(reason)),
        (None, None) => String::new(),
    };
    format!("{:<11} {label}: the same as {source}{what}", "alias")
}

/// The line for the trial called `label` that ran out of memory after the one called `other`.
pub(super) fn waits(label: &str, other: &str) -> String {
    format!("{:<11} {label}: until {other}, which has the same shape, has shown what fits", "waiting")
}

fn more_memory(lighter: Lighter) -> String {
    match lighter {
        Lighter::Threads(1) => "on 1 thread, which needs less memory; others of its shape wait".to_owned(),
        Lighter::Threads(threads) => format!("on {threads} threads, which need less memory; others of its shape wait"),
        Lighter::MoreMemory => "with four times the memory; others of its shape wait".to_owned(),
        Lighter::Alone => "alone, when nothing else is left to start; others of its shape wait".to_owned(),
    }
}

fn more_tries(retries_left: u32) -> String {
    match retries_left {
        0 => "for the last time".to_owned(),
        n => format!("{n} more {} left after that", if n == 1 { "try" } else { "tries" }),
    }
}

fn stopping(why: &Stop) -> String {
    let running = if why.reaches_running() { "running trials save and leave" } else { "running trials go on" };
    format!("{}; {running}", harmless(&why.to_string()))
}

fn ended(end: End, label: &str, reason: Option<&str>, seconds: f64, outcome: Option<&Outcome>) -> Option<String> {
    let word = match end {
        End::Completed => "completed",
        End::Diverged => "diverged",
        End::DidNotFit => "did not fit",
        End::Failed => "given up",
    };
    let what = match (end, outcome.and_then(final_perplexity), reason) {
        (End::Completed, Some(perplexity), _) => format!("perplexity {perplexity:.2}, {}", duration(seconds)),
        (End::Completed, None, _) => duration(seconds),
        (_, _, Some(reason)) => harmless(reason),
        (_, _, None) => "for an unknown reason".to_owned(),
    };
    Some(format!("{word:<11} {label}: {what}"))
}

/// The perplexity that ranks by default: of the final weights in the common context, on the validation part.
pub(crate) fn final_perplexity(outcome: &Outcome) -> Option<f64> {
    let last = |row: &&EvaluationRow| row.kind == CheckpointKind::Final && row.part == ScoredPart::Validation;
    let common = outcome.scores.iter().filter(last).find(|row| row.protocol == Protocol::Common);
    common.or_else(|| outcome.scores.iter().find(last)).and_then(EvaluationRow::perplexity)
}

/// `step 120 of 500, loss 3.214, 12,345 tokens/s, 40 s left`, as far as it is known.
pub(crate) fn how_far(progress: &Progress) -> String {
    let number = |n: i64| thousands(u64::try_from(n).unwrap_or(0));
    let mut parts = Vec::new();
    if progress.phase == Phase::WaitingForRoom {
        parts.push("waits for room on the disk".to_owned());
    }
    parts.push(match progress.counted_steps() {
        None => format!("step {}, {:.0} %", number(progress.step), progress.fraction * 100.0),
        Some(steps) => format!("step {} of {}", number(progress.step), number(steps)),
    });
    parts.extend(progress.loss.map(|loss| format!("loss {loss:.3}")));
    parts.extend(progress.tokens_per_second.map(|rate| format!("{} tokens/s", thousands(rate.round() as u64))));
    parts.extend(seconds_left(progress).map(|left| format!("{} left", duration(left))));
    parts.join(", ")
}

/// What a worker is doing that has given no sign of life for so many seconds, instead of how far it is: `scoring, silent for 70 s`.
pub(crate) fn silent(phase: Phase, seconds: u64) -> String {
    format!("{}, silent for {seconds} s", phase.name())
}

/// Seconds of training that are left, by the trial's speed so far.
pub(crate) fn seconds_left(progress: &Progress) -> Option<f64> {
    let known = progress.fraction >= 0.01 && progress.fraction < 1.0;
    known.then(|| progress.training_seconds * (1.0 - progress.fraction) / progress.fraction)
}

/// `3 of 12 done, 1 of them failed, 2 running, 7 waiting, ends about 02:14`.
pub(super) fn standing(overview: &Overview, now: i64, zone: &TimeZone) -> String {
    let mut text = format!("{} of {} done", overview.done, overview.trials);
    if overview.failed > 0 {
        text.push_str(&format!(", {} of them failed", overview.failed));
    }
    text.push_str(&format!(", {} running, {} waiting", overview.running, overview.left));
    if let Some(utc) = overview.ends_utc {
        text.push_str(&format!(", ends about {}", clock(utc, now, zone)));
    }
    text
}

/// `3 trials were not started, 1 would not have ended before the deadline`.
pub(super) fn left_over(left: &[(Left, u64)]) -> Option<String> {
    let say = |(why, n): &(Left, u64)| {
        let what = match why {
            Left::NotStarted => "not started",
            Left::WouldNotEnd => "would not have ended before the deadline",
            Left::Interrupted => "interrupted",
            Left::Failed => "failed, and may be tried again",
            Left::HeldElsewhere => "still held by another worker",
            Left::NoGpu => "without a GPU that they fit, or were begun on",
            Left::StillThere => "held by a worker that cannot be killed",
            Left::StillQueued => "cancelled and still in the queue",
        };
        format!("{n} {what}")
    };
    let total: u64 = left.iter().map(|l| l.1).sum();
    let list: Vec<String> = left.iter().filter(|l| l.1 > 0).map(say).collect();
    (total > 0).then(|| format!("{total} trial{} left: {}", plural(total), list.join(", ")))
}
