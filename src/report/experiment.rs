//! An experiment, as the report knows it: everything that is read and computed, before anything is said or drawn.

use std::collections::BTreeMap;

use super::attempts_in_time::{Stay, stays};
use super::comparison::{Comparison, Configuration};
use super::confounding::{Confounding, confounding};
use super::curves::{Curve, curves};
use super::design::Design;
use super::positions::{Positions, positions};
use super::ranking::Ranking;
use super::samples::{TrialSample, samples};
use super::settings::Settings;
use super::statistics::{Statistics, statistics};
use super::trial_row::TrialRow;
use super::winner::Winner;
use super::{clipping, references};
use crate::error::Result;
use crate::report::wording;
use crate::runs::{ExperimentFolder, Status};

/// Configurations whose curves are drawn; the files have them all.
pub(super) const DRAWN: usize = 50;

/// What an experiment came to.
pub struct Report {
    pub(super) design: Design,
    pub(super) comparison: Comparison,
    /// Which differences are real; `None` where nothing is ranked.
    pub(super) statistics: Option<Statistics>,
    pub(super) settings: Settings,
    pub(super) curves: Vec<Curve>,
    /// Attempts of all trials, by start.
    pub(super) stays: Vec<Stay>,
    /// Loss by place in the window, of the configurations that are drawn.
    pub(super) positions: Vec<Positions>,
    /// Configurations that have a figure but no curve on the page.
    pub(super) not_drawn: usize,
    /// What the best of them write.
    pub(super) samples: Vec<TrialSample>,
    /// The best one's weights, and the commands to go on with; `None` where nothing is ranked.
    pub(super) winner: Option<Winner>,
    /// What changed along with the swept settings, and what forbids to call the first one better.
    pub(super) confounding: Confounding,
    /// What the clip norms did.
    pub(super) clipping: Vec<String>,
    /// What the figures are to be judged by, in sentences.
    pub(super) references: Vec<String>,
    pub(super) damaged: Vec<String>,
}

impl Report {
    /// Reads an experiment's folder. An error of kind [`Kind::Nothing`](crate::error::Kind::Nothing) where there is no plan and no trial.
    pub fn read(folder: &ExperimentFolder) -> Result<Self> {
        let mut damaged = Vec::new();
        let Ranking { trials, design, comparison } = Ranking::read(folder, &mut damaged)?;
        let confounding = confounding(&trials, &design, &comparison)?;
        let statistics = statistics(folder, &comparison, &design, &confounding, &mut damaged);
        let settings = Settings::read(&trials)?;
        // What was scored on another text does not belong into a figure with the others.
        let comparable = comparison.configurations.iter().filter_map(|c| c.comparable());
        let drawn: Vec<i64> = comparable.take(DRAWN).map(|c| c.number).collect();
        let not_drawn = comparison.configurations.iter().skip(DRAWN).filter(|c| c.has_result()).count();
        let curves = curves(folder, &comparison, &drawn, &aliases(trials.rows()), &mut damaged);
        let stays = stays(folder, &comparison, &mut damaged);
        let positions = positions(folder, &comparison, &drawn, &mut damaged);
        let samples = samples(folder, &comparison, &design.swept, &mut damaged);
        let winner = Winner::of(folder, &comparison, design.rank_at);
        let clipping = clipping::notes(trials.rows(), &settings);
        let references = references::notes(&design, &comparison);
        Ok(Self {
            design,
            comparison,
            statistics,
            settings,
            curves,
            stays,
            positions,
            not_drawn,
            samples,
            winner,
            confounding,
            clipping,
            references,
            damaged,
        })
    }

    /// Whether no trial has a result yet.
    pub fn is_empty(&self) -> bool {
        !self.comparison.configurations.iter().any(Configuration::has_result)
    }

    /// The best configuration, with its weights and the commands to go on with.
    pub fn winner(&self) -> Option<&Winner> {
        self.winner.as_ref()
    }

    /// Files that could not be read.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// `length 128 · stride 64`, as a run's lines have it; empty where nothing is swept.
    pub(super) fn name(&self, configuration: &Configuration) -> String {
        wording::named(&self.design.swept, &configuration.values)
    }

    /// A configuration in words that are never empty.
    pub(super) fn full_name(&self, configuration: &Configuration) -> String {
        let name = self.name(configuration);
        if name.is_empty() { format!("configuration {}", configuration.number) } else { name }
    }

    /// The figure that ranks, as its heading has it.
    pub(super) fn unit(&self) -> &'static str {
        if self.comparison.by_bytes { "bits per byte" } else { "perplexity" }
    }

    /// What losses are drawn in.
    pub(super) fn loss_unit(&self) -> &'static str {
        if self.comparison.by_bytes { "bits per byte" } else { "nats per token" }
    }

    /// A value of the figure that ranks, in words.
    pub(super) fn figure(&self, value: f64) -> String {
        if self.comparison.by_bytes { format!("{value:.4}") } else { wording::perplexity(value) }
    }

    /// Number of trials of each status.
    pub(super) fn status(&self) -> BTreeMap<Status, usize> {
        let mut counts = BTreeMap::new();
        for trial in &self.comparison.trials {
            *counts.entry(trial.status).or_default() += 1;
        }
        counts
    }

    /// Seconds from the first start to the last end.
    pub(super) fn wall_seconds(&self) -> Option<f64> {
        let started = self.comparison.trials.iter().filter_map(|t| t.started_utc).min()?;
        let finished = self.comparison.trials.iter().filter_map(|t| t.finished_utc).max()?;
        Some((finished - started) as f64 / 1e6).filter(|seconds| *seconds >= 0.0)
    }
}

/// Trials that were not trained since another is the same to the bit, with that one.
fn aliases(trials: &[TrialRow]) -> BTreeMap<String, String> {
    trials.iter().filter_map(|trial| Some((trial.id.clone(), trial.alias_of.clone()?))).collect()
}
