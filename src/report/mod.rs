//! Parquet files become a comparison: tables, files and a page. polars lives only here.
//!
//! [`Report::read`] reads an experiment's folder, file by file and never by a pattern: a damaged file is listed and the rest is
//! reported. How each trial stands is asked of its folder (`trials`), so that it is right at any moment of a run; `trial_row` names the
//! columns of that table, and `design` is what `experiment.json` says of the whole. What is computed is
//! in `comparison` and `statistics`, all that is known in `experiment`, what is said in `verdict` and `standing`; `table`, `files`, `page`
//! and `picture` only show it. `pair` holds two configurations side by side, `several` experiments.

mod attempts_in_time;
mod clipping;
mod comparison;
mod confounding;
mod content;
mod controlled;
mod curves;
mod design;
mod experiment;
mod figures;
mod files;
mod frames;
mod inference;
mod loss_scale;
mod page;
mod pair;
mod picture;
mod positions;
mod ranking;
mod references;
mod samples;
mod settings;
mod several;
mod standing;
mod statistics;
mod subject;
mod summary;
mod swept_value;
mod table;
mod trial_row;
mod trials;
mod verdict;
mod winner;
mod wording;

use std::path::Path;

use crate::durable;
use crate::error::Result;
use crate::terminal::Look;

pub use experiment::Report;
pub use pair::{Named, Pair, Which};
pub use several::Several;
pub use summary::SummaryFile;
pub use winner::Winner;

impl Report {
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
        serde_json::json!(SummaryFile::of(self))
    }

    /// Writes `index.html`, `report.md`, `leaderboard.csv`, `summary.json` and, where there are curves, `figure.svg` into a folder.
    pub fn write(&self, into: &Path) -> Result<()> {
        durable::create_folder(into)?;
        durable::write(&into.join("leaderboard.csv"), files::leaderboard(self)?.as_bytes())?;
        durable::write_json(&into.join(summary::FILE), &self.summary())?;
        durable::write(&into.join("report.md"), files::markdown(self).as_bytes())?;
        if let Some(picture) = picture::svg(self) {
            durable::write(&into.join("figure.svg"), picture.as_bytes())?;
        }
        durable::write(&into.join("index.html"), page::html(self)?.as_bytes())
    }
}

#[cfg(test)]
mod browser_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdict_tests;
