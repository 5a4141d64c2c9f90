//! Several experiments in one table, where they were measured alike.
//!
//! Figures stand in one table only where the same tokens were predicted from the same context: the same held-out text and the
//! same tokenizer (by content), context, stride and number of scored tokens, ranked by the same figure. What was measured
//! otherwise stands in a table of its own, and it is said what differs. Within a table the settings that vary are shown, those
//! that differ between the experiments included; what else differs (the text that was learned from, say) is said, and forbids to
//! call the first one better.
//!
//! Where seeds are missing in an experiment its figures are those of its own report: over all its seeds, by least squares. What another
//! experiment did with a seed makes up for nothing: where experiments have results of different seeds that is said.

mod files;
mod groups;
mod sentences;
mod table;

use std::path::Path;

use crate::durable;
use crate::error::Result;
use crate::terminal::Look;

pub use groups::Several;

impl Several {
    /// The tables and what there is to say, as this terminal shows them.
    pub fn table(&self, look: Look) -> String {
        table::terminal(self, look)
    }

    /// Everything as `summary.json` has it.
    pub fn summary(&self) -> serde_json::Value {
        files::summary(self)
    }

    /// Writes `index.html`, `report.md`, `leaderboard.csv` and `summary.json` into a folder.
    pub fn write(&self, into: &Path) -> Result<()> {
        durable::create_folder(into)?;
        durable::write(&into.join("leaderboard.csv"), files::leaderboard(self)?.as_bytes())?;
        durable::write_json(&into.join("summary.json"), &self.summary())?;
        durable::write(&into.join("report.md"), files::markdown(self).as_bytes())?;
        durable::write(&into.join("index.html"), files::html(self)?.as_bytes())
    }
}

#[cfg(test)]
mod tests;
