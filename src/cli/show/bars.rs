//! Bars on a terminal: one a running trial, and one for all of them.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::{how_far, silent};
use super::screen::Screen;
use crate::plan::TrialId;
use crate::rows::Phase;
use crate::runs::Progress;
use crate::terminal::{Look, cut};

/// Parts of a bar: budgets in minutes have no number of steps, so every bar shows the share of the budget.
const PARTS: u64 = 1000;
/// Longest label in a line.
const LABEL: usize = 44;
/// Columns of a bar, and in a terminal that is narrower than [`NARROW`].
const BAR: usize = 20;
const NARROW_BAR: usize = 8;
const NARROW: usize = 80;

/// A bar for each running trial, below the lines that are printed.
pub(super) struct Bars {
    screen: MultiProgress,
    all: ProgressBar,
    /// The bar of each trial, and what the trial is called in its line.
    running: HashMap<TrialId, (ProgressBar, String)>,
    style: ProgressStyle,
}

impl Bars {
    /// Bars on standard error for this many trials.
    pub(super) fn new(trials: usize, colour: bool) -> Self {
        let width = Look::of(std::io::stderr()).width;
        let bar = if width.is_some_and(|width| width < NARROW) { NARROW_BAR } else { BAR };
        Self::on(ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 10), trials, colour, bar)
    }

    fn on(target: ProgressDrawTarget, trials: usize, colour: bool, width: usize) -> Self {
        let screen = MultiProgress::with_draw_target(target);
        let colours = if colour { ".cyan/dim" } else { "" };
        // `wide_msg` is cut to what the terminal has left whenever it is drawn: a line that wraps would be counted as one, and
        // another one above it be taken away with it when the size changes.
        let template = format!("{{bar:{width}{colours}}} {{wide_msg}}");
        let plain = ProgressStyle::default_bar();
        // The template is ours; a broken one would only show plainer bars.
        let style = plain.clone().template(&template).unwrap_or(plain).progress_chars("━╸─");
        let all = screen.add(ProgressBar::new(trials as u64).with_style(style.clone()));
        all.enable_steady_tick(Duration::from_secs(1));
        Self { screen, all, running: HashMap::new(), style }
    }

    /// A line above the bars.
    pub(super) fn say(&self, text: &str) {
        // A terminal that is gone shows nothing; the run goes on without it.
        let _ = self.screen.println(text);
    }

    /// A trial has a worker now.
    pub(super) fn started(&mut self, trial: &TrialId, label: &str) {
        let label = cut(label, LABEL);
        let bar = ProgressBar::new(PARTS).with_style(self.style.clone()).with_message(format!("{label}  starting"));
        self.running.insert(trial.clone(), (self.screen.insert_before(&self.all, bar), label));
    }

    /// A trial got further.
    pub(super) fn progressed(&self, trial: &TrialId, progress: &Progress) {
        let Some((bar, label)) = self.running.get(trial) else { return };
        bar.set_position((progress.fraction.clamp(0.0, 1.0) * PARTS as f64) as u64);
        let doing = match progress.phase {
            // That it waits is said with how far it is.
            Phase::Training | Phase::WaitingForRoom => String::new(),
            phase => format!("{}, ", phase.name()),
        };
        bar.set_message(format!("{label}  {doing}{}", how_far(progress)));
    }

    /// A trial's worker has given no sign of life for so long.
    pub(super) fn silent(&self, trial: &TrialId, phase: Phase, seconds: u64) {
        if let Some((bar, label)) = self.running.get(trial) {
            bar.set_message(format!("{label}  {}", silent(phase, seconds)));
        }
    }

    /// A trial has no worker any more.
    pub(super) fn ended(&mut self, trial: &TrialId) {
        if let Some((bar, _)) = self.running.remove(trial) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
    }

    /// How the whole run stands.
    pub(super) fn overview(&self, done: usize, text: String) {
        self.all.set_position(done as u64);
        self.all.set_message(text);
    }

    /// Takes all bars away.
    pub(super) fn finish(&mut self) {
        for (_, (bar, _)) in self.running.drain() {
            bar.finish_and_clear();
        }
        self.all.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;
    use crate::terminal::width_of;

    #[test]
    fn bars_come_and_go_with_their_trials() {
        for colour in [false, true] {
            let mut bars = Bars::on(ProgressDrawTarget::hidden(), 3, colour, BAR);
            let id = TrialId::of("a");
            bars.started(&id, "L=64");
            bars.overview(1, "1 of 3 done".to_owned());
            assert_eq!((bars.running.len(), bars.all.position(), bars.all.message().as_str()), (1, 1, "1 of 3 done"));
            bars.silent(&id, Phase::Scoring, 70);
            assert_eq!(bars.running[&id].0.message(), "L=64  scoring, silent for 70 s");
            bars.ended(&id);
            bars.ended(&id);
            assert!(bars.running.is_empty());
            bars.finish();
            assert!(bars.all.is_finished());
        }
    }

    #[test]
    fn a_line_is_cut_to_the_terminal_and_never_wraps() {
        let progress = Progress {
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
        };
        for width in [40, 60, 120, 200] {
            let paper = Paper { width, written: Arc::default() };
            let mut bars = Bars::on(ProgressDrawTarget::term_like(Box::new(paper.clone())), 3, false, NARROW_BAR);
            let id = TrialId::of("a");
            bars.started(&id, "length 128 · stride 64 · batch size 16 · clip 0.5 · seed 1");
            bars.progressed(&id, &progress);
            bars.overview(1, "3 of 12 done, 1 of them failed, 2 running, 7 waiting, ends about 02:00 tomorrow".to_owned());
            let written = paper.written.lock().unwrap();
            assert!(written.iter().any(|line| line.contains("length 128 · stride")), "{written:?}");
            assert!(written.iter().any(|line| line.contains("3 of 12 done")), "{written:?}");
            assert!(written.iter().all(|line| width_of(line) <= usize::from(width)), "{width}: {written:?}");
        }
    }

    /// A terminal of which only the width and what is written counts.
    #[derive(Debug, Clone)]
    struct Paper {
        width: u16,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            self.width
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            // The end of a line may be filled up, which is no text.
            self.written.lock().unwrap().push(text.trim_end().to_owned());
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }
}
