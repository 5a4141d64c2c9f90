//! What a person sees while trials run: bars on a terminal, a plain line an event elsewhere. All of it on standard error.

use std::collections::HashMap;
use std::io::Write;

use jiff::tz::TimeZone;

use super::bars::Bars;
use super::lines;
use crate::cli::stderr::Stderr;
use crate::plan::TrialId;
use crate::schedule::{Event, Left, Overview};
use crate::terminal;
use crate::words;

/// Off a terminal, between two lines about the progress of one trial, microseconds.
const PROGRESS_EVERY: i64 = 30_000_000;
/// Off a terminal, between two lines about the whole run, microseconds.
const OVERVIEW_EVERY: i64 = 10_000_000;

/// How to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Bars that are drawn over and over.
    Bars {
        /// Whether they have colours, which carry no meaning.
        colour: bool,
    },
    /// A line an event, nothing is ever drawn over.
    Lines,
}

impl Look {
    /// What suits standard error: bars on a terminal that can move its cursor, in colours unless `NO_COLOR` is set.
    pub fn of_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::of(terminal::Look::of(std::io::stderr()), dumb)
    }

    fn of(stderr: terminal::Look, dumb: bool) -> Self {
        if stderr.width.is_some() && !dumb { Self::Bars { colour: stderr.colour } } else { Self::Lines }
    }
}

/// Shows the events of a run.
pub struct Reporter {
    labels: HashMap<TrialId, String>,
    screen: Screen,
    zone: TimeZone,
    /// Trials that were over before, not yet told.
    skipped: u64,
    /// When a line about each running trial was last written.
    told_utc: HashMap<TrialId, i64>,
    /// The overview last written off a terminal, and when.
    overview: Option<(Overview, i64)>,
    left: Vec<(Left, u64)>,
}

enum Screen {
    Bars(Bars),
    Lines(Box<dyn Write + Send>),
}

impl Reporter {
    /// Shows on standard error. `labels` are what people call the trials.
    pub fn new(labels: HashMap<TrialId, String>, look: Look) -> Self {
        let screen = match look {
            Look::Bars { colour } => Screen::Bars(Bars::new(labels.len(), colour)),
            Look::Lines => Screen::Lines(Box::new(Stderr)),
        };
        Self::with(labels, screen, TimeZone::system())
    }

    fn with(labels: HashMap<TrialId, String>, screen: Screen, zone: TimeZone) -> Self {
        Self { labels, screen, zone, skipped: 0, told_utc: HashMap::new(), overview: None, left: Vec::new() }
    }

    /// A line of somebody else's, above the bars where there are any.
    pub fn say(&mut self, text: &str) {
        match &mut self.screen {
            // As wide as the terminal is now: it may have another size than before.
            Screen::Bars(bars) => bars.say(&terminal::wrapped(text, terminal::Look::of(std::io::stderr()).width)),
            Screen::Lines(out) => {
                // One write a line; standard error that is closed is no reason to stop the run.
                let _ = out.write_all(format!("{text}\n").as_bytes());
            }
        }
    }

    /// An event, at this time (microseconds since 1970, UTC).
    pub fn tell(&mut self, event: &Event, now: i64) {
        if let Event::Skipped { .. } = event {
            self.skipped += 1;
            return;
        }
        self.tell_skipped();
        match event {
            Event::Overview(overview) => return self.tell_overview(*overview, now),
            Event::Left { why, .. } => self.count_left(*why),
            _ => {}
        }
        if self.is_worth_a_line(event, now) {
            let named = |id| self.labels.get(id).map_or(id.as_str(), String::as_str);
            let label = event.trial().map_or("", named);
            let text = match event {
                Event::Aliased { source, outcome, .. } => Some(lines::alias(label, named(source), outcome)),
                Event::Waits { other, .. } => Some(lines::waits(label, named(other))),
                _ => lines::line(event, label),
            };
            if let Some(text) = text {
                self.say(&text);
            }
        }
        self.move_bars(event);
    }

    /// The run is over: takes the bars away, and says what is left and why.
    pub fn finish(&mut self) {
        self.tell_skipped();
        if let Screen::Bars(bars) = &mut self.screen {
            bars.finish();
        }
        if let Some(text) = lines::left_over(&std::mem::take(&mut self.left)) {
            self.say(&text);
        }
    }

    fn tell_skipped(&mut self) {
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            let (trials, were) = (words::plural(skipped), if skipped == 1 { "was" } else { "were" });
            self.say(&format!("{:<11} {skipped} trial{trials} that {were} over before", "skipped"));
        }
    }

    fn tell_overview(&mut self, overview: Overview, now: i64) {
        let text = lines::standing(&overview, now, &self.zone);
        if let Screen::Bars(bars) = &self.screen {
            return bars.overview(overview.done, text);
        }
        let worth = self.overview.is_none_or(|(last, at)| last.done != overview.done && is_over(at, OVERVIEW_EVERY, now));
        if worth {
            self.overview = Some((overview, now));
            self.say(&format!("{:<11} {text}", ""));
        }
    }

    fn count_left(&mut self, why: Left) {
        match self.left.iter_mut().find(|(w, _)| *w == why) {
            Some((_, n)) => *n += 1,
            None => self.left.push((why, 1)),
        }
    }

    /// Progress has its own bar on a terminal, and elsewhere a line now and then.
    fn is_worth_a_line(&mut self, event: &Event, now: i64) -> bool {
        match event {
            Event::Progressed { .. } | Event::Silent { .. } if matches!(self.screen, Screen::Bars(_)) => false,
            Event::Started { .. } | Event::Submitted { .. } if matches!(self.screen, Screen::Bars(_)) => false,
            Event::Started { trial, .. } => {
                self.told_utc.insert(trial.clone(), now);
                true
            }
            Event::Progressed { trial, .. } | Event::Silent { trial, .. } => {
                let last = self.told_utc.entry(trial.clone()).or_insert(i64::MIN);
                let worth = is_over(*last, PROGRESS_EVERY, now);
                if worth {
                    *last = now;
                }
                worth
            }
            _ => true,
        }
    }

    fn move_bars(&mut self, event: &Event) {
        let Screen::Bars(bars) = &mut self.screen else { return };
        match event {
            Event::Started { trial, gpu, .. } => {
                let label = self.labels.get(trial).map_or(trial.as_str(), String::as_str);
                match gpu {
                    Some(gpu) => bars.started(trial, &format!("{} {label}", gpu.device())),
                    None => bars.started(trial, label),
                }
            }
            Event::Progressed { trial, progress } => bars.progressed(trial, progress),
            Event::Silent { trial, seconds, phase } => bars.silent(trial, *phase, *seconds),
            Event::Ended { trial, .. }
            | Event::Failed { trial, .. }
            | Event::Stopped { trial }
            | Event::Displaced { trial, .. }
            | Event::Retrying { trial, .. }
            | Event::Waits { trial, .. }
            | Event::StillThere { trial, .. }
            | Event::Aliased { trial, .. }
            | Event::Left { trial, .. }
            | Event::HeldElsewhere { trial }
            | Event::TakenOver { trial } => bars.ended(trial),
            Event::Skipped { .. }
            | Event::Submitted { .. }
            | Event::StartsOver { .. }
            | Event::GpuLeftOut { .. }
            | Event::Pause { .. }
            | Event::DiskFull
            | Event::DiskHasRoom
            | Event::Stopping { .. }
            | Event::Overview(_) => {}
        }
    }
}

/// Whether so much has passed since then. Where the clock was set back nobody knows, and it is taken to be so.
fn is_over(since: i64, pause: i64, now: i64) -> bool {
    now < since || now.saturating_sub(since) >= pause
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::device::Gpu;
    use crate::rows::{CheckpointKind, EvaluationRow, Phase, Protocol, ScoredPart};
    use crate::runs::{End, Outcome, Progress};
    use crate::schedule::{Cause, Lighter, Stop};

    const SECOND: i64 = 1_000_000;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn id() -> TrialId {
        TrialId::of("a")
    }

    fn progress() -> Progress {
        Progress {
            attempt: 1,
            phase: Phase::Training,
            step: 1_200,
            steps: 5_000,
            tokens_seen: 1,
            fraction: 0.25,
            loss: Some(3.21449),
            validation_loss: None,
            tokens_per_second: Some(12_344.6),
            training_seconds: 20.0,
            starts_over: None,
            time_utc: 0,
        }
    }

    fn outcome() -> Outcome {
        let row = |kind, protocol, perplexity: f64| EvaluationRow {
            step: 1,
            tokens_seen: 1,
            protocol,
            kind,
            part: ScoredPart::Validation,
            context: 8,
            stride: 4,
            scored_tokens: 10,
            scored_bytes: 10,
            nll_sum: Some(perplexity.ln() * 10.0),
            seconds: 0.1,
            time_utc: 1,
        };
        Outcome {
            end: End::Completed,
            reason: None,
            steps: 1,
            tokens_seen: 1,
            training_seconds: 1.0,
            peak_memory_bytes: 1,
            peak_device_memory_bytes: None,
            scores: vec![
                row(CheckpointKind::Best, Protocol::Common, 9.0),
                row(CheckpointKind::Final, Protocol::Native, 11.0),
                row(CheckpointKind::Final, Protocol::Common, 12.25),
            ],
            protocol: 1,
            finished_utc: 1,
            program: String::new(),
            arithmetic: None,
            processor: None,
            gpu: None,
            clipping: None,
            alias_of: None,
            files: Vec::new(),
        }
    }

    /// What is written for these events, told at these seconds.
    fn written(events: &[(i64, Event)]) -> String {
        let paper = Paper::default();
        let labels = HashMap::from([(id(), "L=64, seed 1".to_owned())]);
        let mut reporter = Reporter::with(labels, Screen::Lines(Box::new(paper.clone())), TimeZone::UTC);
        for (at, event) in events {
            reporter.tell(event, at * SECOND);
        }
        reporter.finish();
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn every_event_off_a_terminal_is_a_plain_line() {
        let ended = |end, reason: Option<&str>, outcome| Event::Ended {
            trial: id(),
            end,
            reason: reason.map(str::to_owned),
            seconds: 41.2,
            outcome,
        };
        for (event, text) in [
            (Event::Started { trial: id(), attempt: 1, slot: 1, threads: 1, gpu: None }, "started     L=64, seed 1\n"),
            (
                Event::Started { trial: id(), attempt: 2, slot: 1, threads: 4, gpu: None },
                "started     L=64, seed 1, attempt 2, 4 threads\n",
            ),
            (
                Event::Progressed { trial: id(), progress: progress() },
                "training    L=64, seed 1: step 1,200 of 5,000, loss 3.214, 12,345 tokens/s, 60 s left\n",
            ),
            (
                Event::Progressed {
                    trial: id(),
                    progress: Progress { steps: 0, loss: None, tokens_per_second: None, ..progress() },
                },
                "training    L=64, seed 1: step 1,200, 25 %, 60 s left\n",
            ),
            (
                Event::Progressed { trial: id(), progress: Progress { phase: Phase::WaitingForRoom, loss: None, ..progress() } },
                "waiting     L=64, seed 1: waits for room on the disk, step 1,200 of 5,000, 12,345 tokens/s, 60 s left\n",
            ),
            (ended(End::Completed, None, Some(Box::new(outcome()))), "completed   L=64, seed 1: perplexity 12.25, 41 s\n"),
            (ended(End::Completed, None, None), "completed   L=64, seed 1: 41 s\n"),
            (ended(End::Diverged, Some("the loss is not finite"), None), "diverged    L=64, seed 1: the loss is not finite\n"),
            (ended(End::DidNotFit, None, None), "did not fit L=64, seed 1: for an unknown reason\n"),
            (ended(End::Failed, Some("exit code 1"), None), "given up    L=64, seed 1: exit code 1\n"),
            (
                Event::Stopped { trial: id() },
                "stopped     L=64, seed 1: somebody stopped its worker (SIGTERM or SIGINT), which has saved\n",
            ),
            (
                Event::Retrying { trial: id(), in_seconds: 2.0, retries_left: 1, lighter: None },
                "retrying    L=64, seed 1: in 2.0 s, 1 more try left after that\n",
            ),
            (
                Event::Retrying { trial: id(), in_seconds: 8.0, retries_left: 0, lighter: None },
                "retrying    L=64, seed 1: in 8.0 s, for the last time\n",
            ),
            (
                Event::Retrying { trial: id(), in_seconds: 2.0, retries_left: 2, lighter: Some(Lighter::Threads(2)) },
                "retrying    L=64, seed 1: in 2.0 s, on 2 threads, which need less memory; others of its shape wait\n",
            ),
            (
                Event::Retrying { trial: id(), in_seconds: 8.0, retries_left: 2, lighter: Some(Lighter::Alone) },
                "retrying    L=64, seed 1: in 8.0 s, alone, when nothing else is left to start; others of its shape wait\n",
            ),
            (
                Event::Waits { trial: id(), other: id() },
                "waiting     L=64, seed 1: until L=64, seed 1, which has the same shape, has shown what fits\n",
            ),
            (
                Event::Started { trial: id(), attempt: 1, slot: 2, threads: 4, gpu: Some(Gpu::example(1, "NVIDIA H200")) },
                "started     L=64, seed 1 on cuda:1, 4 threads\n",
            ),
            (
                Event::GpuLeftOut { gpu: Gpu::example(1, "NVIDIA H200"), reason: "the device failed: x".to_owned(), left: 3 },
                "left out    cuda:1 (NVIDIA H200) is not used any more (the device failed: x): its trials go on with the other 3\n",
            ),
            (Event::Stopping { why: Stop::NoGpu }, "stopping    stopped: no GPU is left that works; running trials go on\n"),
            (
                Event::Pause { seconds: 8.0, failures: 2 },
                "pausing     nothing is started for 8.0 s, since the last 2 starts failed\n",
            ),
            (Event::DiskFull, "disk full   nothing is started until it has room: looked at every 30 s; running trials go on\n"),
            (Event::Stopping { why: Stop::Deadline }, "stopping    stopped by the deadline; running trials save and leave\n"),
            (
                Event::StartsOver { trial: id(), why: "its checkpoint was made on another GPU".to_owned() },
                "starts over L=64, seed 1: its checkpoint was made on another GPU\n",
            ),
            (
                Event::Silent { trial: id(), seconds: 70, phase: Phase::Scoring },
                "silent      L=64, seed 1: for 70 s while scoring\n",
            ),
            (
                Event::StillThere { trial: id(), slot: 2, waits: false },
                "still there L=64, seed 1: its worker was killed and does not end: slot 2 is not used any more, the others go on\n",
            ),
            (
                Event::StillThere { trial: id(), slot: 2, waits: true },
                "still there L=64, seed 1: its job was cancelled and has not left the queue yet; nobody waits for it\n",
            ),
            (Event::HeldElsewhere { trial: id() }, "waiting     L=64, seed 1: another worker is still at it\n"),
            (
                Event::TakenOver { trial: id() },
                "taken over  L=64, seed 1: another worker took this trial over; it is waited for\n",
            ),
            (
                Event::Aliased { trial: id(), source: id(), end: End::Completed, outcome: Box::new(outcome()) },
                "alias       L=64, seed 1: the same as L=64, seed 1; perplexity 12.25\n",
            ),
        ] {
            assert_eq!(written(&[(100, event)]), text);
        }
    }

    #[test]
    fn the_first_failure_is_told_with_all_its_last_lines_and_others_with_one() {
        let failed = |first| Event::Failed {
            trial: id(),
            cause: Cause::Crash,
            reason: "exit code 101".to_owned(),
            last_lines: vec!["one".to_owned(), "two \u{1b}[2J".to_owned()],
            first,
        };
        assert_eq!(
            written(&[(1, failed(true))]),
            "failed      L=64, seed 1: exit code 101\n            | one\n            | two \u{fffd}[2J\n"
        );
        let disk = Event::Failed {
            trial: id(),
            cause: Cause::Disk,
            reason: "the disk is full: failed to write x".to_owned(),
            last_lines: vec!["error: failed to write x".to_owned()],
            first: true,
        };
        let said = "disk full   L=64, seed 1: the disk is full: failed to write x; it goes on when there is room\n";
        assert_eq!(written(&[(1, disk)]), said);
        assert_eq!(written(&[(1, failed(false))]), "failed      L=64, seed 1: exit code 101\n            | two \u{fffd}[2J\n");
    }

    #[test]
    fn a_trial_has_a_progress_line_every_half_minute_at_most() {
        let progressed = || Event::Progressed { trial: id(), progress: progress() };
        let mut events = vec![(0, Event::Started { trial: id(), attempt: 1, slot: 1, threads: 1, gpu: None })];
        events.extend((1..=65).map(|second| (second, progressed())));
        let text = written(&events);
        assert_eq!(text.lines().filter(|l| l.starts_with("training")).count(), 2, "{text}");
    }

    #[test]
    fn where_the_clock_is_set_back_lines_go_on() {
        let progressed = || Event::Progressed { trial: id(), progress: progress() };
        let overview = |done| Event::Overview(Overview { trials: 9, done, left: 9 - done, ..Overview::default() });
        let hour = 3_600;
        let before = [(hour, progressed()), (hour, overview(0))];
        let after = (1..=65).flat_map(|second| [(second, progressed()), (second, overview(second as usize))]);
        let text = written(&before.into_iter().chain(after).collect::<Vec<_>>());
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("training"), count("done")), (4, 8), "{text}");
    }

    #[test]
    fn skipped_trials_are_one_line() {
        let skipped = || (0, Event::Skipped { trial: id(), end: End::Completed });
        assert_eq!(written(&[skipped()]), "skipped     1 trial that was over before\n");
        assert_eq!(written(&[skipped(), skipped()]), "skipped     2 trials that were over before\n");
    }

    #[test]
    fn the_overview_says_what_is_done_and_left_and_when_it_ends() {
        // 20:00 UTC, and an end six hours later.
        let now = 1_795_464_000;
        let overview =
            Overview { trials: 12, done: 3, failed: 1, running: 2, left: 7, ends_utc: Some((now + 6 * 3600) * SECOND) };
        assert_eq!(
            written(&[(now, Event::Overview(overview))]),
            "            3 of 12 done, 1 of them failed, 2 running, 7 waiting, ends about 02:00\n"
        );
        let simple = Overview { trials: 2, running: 1, left: 1, ..Overview::default() };
        assert_eq!(written(&[(now, Event::Overview(simple))]), "            0 of 2 done, 1 running, 1 waiting\n");
    }

    #[test]
    fn the_overview_is_repeated_only_when_something_was_done_since() {
        let overview = |done| Event::Overview(Overview { trials: 9, done, left: 9 - done, ..Overview::default() });
        let text = written(&[(0, overview(0)), (60, overview(0)), (61, overview(1)), (62, overview(2)), (80, overview(3))]);
        let said: Vec<&str> = text.lines().map(|l| l.trim().split(' ').next().unwrap()).collect();
        assert_eq!(said, ["0", "1", "3"]);
    }

    #[test]
    fn what_is_left_is_counted_at_the_end() {
        let left = |why| (0, Event::Left { trial: id(), why });
        assert_eq!(
            written(&[left(Left::Interrupted), left(Left::NotStarted), left(Left::NotStarted), left(Left::WouldNotEnd)]),
            "interrupted L=64, seed 1: goes on from its last checkpoint\n\
             4 trials left: 1 interrupted, 2 not started, 1 would not have ended before the deadline\n"
        );
    }

    #[test]
    fn bars_are_for_terminals_and_colours_for_those_who_want_them() {
        let stderr = |width, colour| terminal::Look { width, colour };
        for (stderr, dumb, look) in [
            (stderr(Some(80), true), false, Look::Bars { colour: true }),
            (stderr(Some(80), false), false, Look::Bars { colour: false }),
            (stderr(Some(80), false), true, Look::Lines),
            (stderr(None, false), false, Look::Lines),
        ] {
            assert_eq!(Look::of(stderr, dumb), look);
        }
    }

    #[test]
    fn a_trial_without_a_label_is_called_by_its_id() {
        let other = TrialId::of("b");
        let started = Event::Started { trial: other.clone(), attempt: 1, slot: 1, threads: 1, gpu: None };
        assert_eq!(written(&[(0, started)]), format!("started     {other}\n"));
    }
}
