//! Bars on a terminal: one a running trial, and one for all of them.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::how_far;
use crate::plan::TrialId;
use crate::runs::Progress;

/// Parts of a bar: budgets in minutes have no number of steps, so every bar shows the share of the budget.
const PARTS: u64 = 1000;
/// Longest label before a bar.
const LABEL: usize = 44;

/// The bars.
pub(super) struct Bars {
    screen: MultiProgress,
    all: ProgressBar,
    running: HashMap<TrialId, ProgressBar>,
    style: ProgressStyle,
}

impl Bars {
    /// Bars on standard error for this many trials.
    pub(super) fn new(trials: usize, colour: bool) -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(10), trials, colour)
    }

    fn on(target: ProgressDrawTarget, trials: usize, colour: bool) -> Self {
        let screen = MultiProgress::with_draw_target(target);
        let bar = if colour { "{bar:20.cyan/dim}" } else { "{bar:20}" };
        let style = |template: String| {
            let plain = ProgressStyle::default_bar();
            // The templates are ours; a broken one would only show plainer bars.
            plain.clone().template(&template).unwrap_or(plain).progress_chars("━╸─")
        };
        let all = screen.add(ProgressBar::new(trials as u64).with_style(style(format!("{bar} {{msg}}"))));
        all.enable_steady_tick(Duration::from_secs(1));
        Self { screen, all, running: HashMap::new(), style: style(format!("{bar} {{prefix}}  {{msg}}")) }
    }

    /// A line above the bars.
    pub(super) fn say(&self, text: &str) {
        // A terminal that is gone shows nothing; the run goes on without it.
        let _ = self.screen.println(text);
    }

    /// A trial has a worker now.
    pub(super) fn started(&mut self, trial: &TrialId, label: &str) {
        let bar = ProgressBar::new(PARTS).with_style(self.style.clone()).with_prefix(short(label)).with_message("starting");
        self.running.insert(trial.clone(), self.screen.insert_before(&self.all, bar));
    }

    /// A trial got further.
    pub(super) fn progressed(&self, trial: &TrialId, progress: &Progress) {
        let Some(bar) = self.running.get(trial) else { return };
        bar.set_position((progress.fraction.clamp(0.0, 1.0) * PARTS as f64) as u64);
        let doing = if progress.phase == "training" { String::new() } else { format!("{}, ", progress.phase) };
        bar.set_message(format!("{doing}{}", how_far(progress)));
    }

    /// A trial has no worker any more.
    pub(super) fn ended(&mut self, trial: &TrialId) {
        if let Some(bar) = self.running.remove(trial) {
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
        for (_, bar) in self.running.drain() {
            bar.finish_and_clear();
        }
        self.all.finish_and_clear();
    }
}

/// A label that leaves room for the bar.
fn short(label: &str) -> String {
    if label.chars().count() <= LABEL {
        return label.to_owned();
    }
    let kept: String = label.chars().take(LABEL - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_labels_are_cut_between_characters() {
        assert_eq!(short("L=64"), "L=64");
        let cut = short(&"ü".repeat(60));
        assert_eq!((cut.chars().count(), cut.ends_with('…')), (LABEL, true));
    }

    #[test]
    fn bars_come_and_go_with_their_trials() {
        for colour in [false, true] {
            let mut bars = Bars::on(ProgressDrawTarget::hidden(), 3, colour);
            let id = TrialId::of("a");
            bars.started(&id, "L=64");
            bars.overview(1, "1 of 3 done".to_owned());
            assert_eq!((bars.running.len(), bars.all.position(), bars.all.message().as_str()), (1, 1, "1 of 3 done"));
            bars.ended(&id);
            bars.ended(&id);
            assert!(bars.running.is_empty());
            bars.finish();
            assert!(bars.all.is_finished());
        }
    }
}
