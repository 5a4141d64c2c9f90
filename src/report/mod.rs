//! Parquet files become a comparison: tables, files and a page. polars lives only here.
//!
//! [`Report::read`] reads an experiment's folder, file by file and never by a pattern: a damaged file is listed and the rest is
//! reported. How each trial stands is asked of its folder (`trials`), so that it is right at any moment of a run. What is computed is in `comparison` and `curves`, what is said in `verdict`; `table`, `files` and
//! `page` only show it.

mod clipping;
mod comparison;
mod confounding;
mod content;
mod controlled;
mod curves;
mod figures;
mod files;
mod frames;
mod inference;
mod page;
mod pair;
mod picture;
mod protocol;
mod references;
mod samples;
mod settings;
mod several;
mod several_words;
mod standing;
mod statistics;
mod subject;
mod table;
mod trials;
mod tuning;
mod twins;
mod verdict;
mod winner;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use polars::prelude::DataFrame;

use crate::durable;
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::ExperimentFolder;
use crate::terminal::Look;

pub use pair::{Named, Pair, Which};
pub use several::Several;
pub use winner::Winner;

use comparison::{Comparison, Configuration, compare};
use confounding::{Confounding, confounding};
use curves::{Curve, curve};
use figures::Sources;
use protocol::Protocol;
use samples::{Shown, samples};
use settings::Settings;
use statistics::{Statistics, statistics};
use trials::trials;

/// Configurations whose curves are drawn; the files have them all.
const DRAWN: usize = 50;
/// Points of all curves together: what a page holds in two megabytes.
const POINTS: usize = 24_000;
/// Trials whose curves are drawn: some seeds of each of these configurations.
const DRAWN_TRIALS: usize = 300;

/// What an experiment came to.
pub struct Report {
    protocol: Protocol,
    comparison: Comparison,
    /// Which differences are real; `None` where nothing is ranked.
    statistics: Option<Statistics>,
    settings: Settings,
    curves: Vec<Curve>,
    /// What other figures are drawn from.
    sources: Sources,
    /// Configurations that have a figure but no curve on the page.
    not_drawn: usize,
    /// What the best of them write.
    samples: Vec<Shown>,
    /// The best one's weights, and the commands to go on with; `None` where nothing is ranked.
    winner: Option<Winner>,
    /// What changed along with the swept settings, and what forbids to call the first one better.
    confounding: Confounding,
    /// What the clip norms did.
    clipping: Vec<String>,
    /// What the figures are to be judged by, in sentences.
    references: Vec<String>,
    damaged: Vec<String>,
}

impl Report {
    /// Reads an experiment's folder. An error of kind [`Kind::Nothing`](crate::error::Kind::Nothing) where there is no plan and no trial.
    pub fn read(folder: &ExperimentFolder) -> Result<Self> {
        let mut damaged = Vec::new();
        let frame = trials(folder, &mut damaged)?;
        let columns: Vec<String> = frame.get_column_names().iter().map(|name| name.to_string()).collect();
        let protocol = Protocol::read_or_default(folder, &columns, &mut damaged);
        let comparison = compare(&frame, &protocol)?;
        let confounding = confounding(&frame, &protocol, &comparison)?;
        let statistics = statistics(folder, &comparison, &protocol, &confounding, &mut damaged);
        let settings = Settings::read(&frame)?;
        // What was scored on another text does not belong into a figure with the others.
        let comparable = comparison.configurations.iter().filter_map(|c| c.comparable());
        let drawn: Vec<i64> = comparable.take(DRAWN).map(|c| c.number).collect();
        let not_drawn = comparison.configurations.iter().skip(DRAWN).filter(|c| c.has_result()).count();
        let curves = curves(folder, &comparison, &drawn, &aliases(&frame), &mut damaged);
        let sources = Sources::read(folder, &comparison, &drawn, &mut damaged);
        let samples = samples(folder, &comparison, &mut damaged);
        let winner = Winner::of(folder, &comparison);
        let clipping = clipping::notes(&frame);
        // A damaged description is listed already.
        let references = references::notes(folder, &comparison).unwrap_or_default();
        Ok(Self {
            protocol,
            comparison,
            statistics,
            settings,
            curves,
            sources,
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

    /// What a person should know, in plain sentences.
    pub fn verdict(&self) -> String {
        verdict::sentences(self).join(" ")
    }

    /// The table of configurations, best first, and notes on it, as this terminal shows them.
    pub fn table(&self, look: Look) -> String {
        table::terminal(self, look)
    }

    /// Everything as `summary.json` has it.
    pub fn summary(&self) -> serde_json::Value {
        files::summary(self)
    }

    /// Writes `index.html`, `report.md`, `leaderboard.csv`, `summary.json` and, where there are curves, `figure.svg` into a folder.
    pub fn write(&self, into: &Path) -> Result<()> {
        durable::create_folder(into)?;
        durable::write(&into.join("leaderboard.csv"), files::leaderboard(self)?.as_bytes())?;
        durable::write_json(&into.join("summary.json"), &self.summary())?;
        durable::write(&into.join("report.md"), files::markdown(self).as_bytes())?;
        if let Some(picture) = picture::svg(self) {
            durable::write(&into.join("figure.svg"), picture.as_bytes())?;
        }
        durable::write(&into.join("index.html"), page::html(self)?.as_bytes())
    }

    /// The best configuration, with its weights and the commands to go on with.
    pub fn winner(&self) -> Option<&Winner> {
        self.winner.as_ref()
    }

    /// Files that could not be read.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// Number of trials of each status.
    fn status(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for trial in &self.comparison.trials {
            *counts.entry(trial.status.as_str()).or_default() += 1;
        }
        counts
    }

    /// Seconds from the first start to the last end.
    fn wall_seconds(&self) -> Option<f64> {
        let started = self.comparison.trials.iter().filter_map(|t| t.started_utc).min()?;
        let finished = self.comparison.trials.iter().filter_map(|t| t.finished_utc).max()?;
        Some((finished - started) as f64 / 1e6).filter(|seconds| *seconds >= 0.0)
    }
}

/// Trials that were not trained since another is the same to the bit, with that one.
fn aliases(frame: &DataFrame) -> BTreeMap<String, String> {
    let (Ok(ids), Ok(sources)) = (frames::words(frame, "trial_id"), frames::words(frame, "alias_of")) else {
        return BTreeMap::new();
    };
    ids.into_iter().zip(sources).filter_map(|(id, source)| Some((id?, source?))).collect()
}

/// The curves of the configurations that are drawn, of an alias that of its source; files that cannot be read are listed.
fn curves(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    drawn: &[i64],
    aliases: &BTreeMap<String, String>,
    damaged: &mut Vec<String>,
) -> Vec<Curve> {
    let most = (DRAWN_TRIALS / drawn.len().max(1)).max(1);
    let mut seeds: BTreeMap<i64, usize> = drawn.iter().map(|&number| (number, 0)).collect();
    let few = |trial: &&comparison::TrialLine| {
        seeds.get_mut(&trial.configuration).is_some_and(|seen| {
            *seen += 1;
            *seen <= most
        })
    };
    let trials: Vec<_> = comparison.trials.iter().filter(few).collect();
    let points = (POINTS / trials.len().max(1)).clamp(60, 600);
    let mut curves = Vec::new();
    for trial in trials {
        let Some(id) = TrialId::parse(aliases.get(&trial.id).unwrap_or(&trial.id)) else { continue };
        match curve(&folder.trial(&id), comparison.common_context, points) {
            Ok(Some(read)) => {
                curves.push(Curve { trial_id: trial.id.clone(), configuration: trial.configuration, seed: trial.seed, ..read })
            }
            Ok(None) => {}
            Err(error) => damaged.push(error.chain()),
        }
    }
    curves
}

#[cfg(test)]
mod browser_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdict_tests;
