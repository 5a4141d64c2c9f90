//! The memory that writing a report takes, so that trials leave room for it.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{ExperimentFolder, TrialFolder};
use crate::durable;
use crate::error::Result;

/// Of a report of no trial, bytes.
const ALONE: u64 = 100_000_000;
/// Added by each trial, bytes. Measured were 91 MB with one trial, 115 MB with the 12 of the quickstart, and 140 MB with 1,000 that have no
/// losses of tokens.
const EACH: u64 = 200_000;

/// What one report took.
#[derive(Debug, Serialize, Deserialize)]
struct Took {
    /// Most memory of the process that wrote it, bytes.
    peak_memory_bytes: u64,
    /// Trials that were over then.
    trials: u64,
}

/// What a report of so many trials will take, bytes: what the last one of this experiment took and what was added since, or an estimate.
pub fn report_memory(folder: &ExperimentFolder, trials: usize) -> u64 {
    let last: Option<Took> = durable::read_json(&folder.report_memory()).ok().flatten();
    let Took { peak_memory_bytes, trials: over } = last.unwrap_or(Took { peak_memory_bytes: ALONE, trials: 0 });
    peak_memory_bytes.saturating_add(EACH.saturating_mul((trials as u64).saturating_sub(over)))
}

/// Keeps what the report that was just written took.
pub fn keep_report_memory(folder: &ExperimentFolder, peak_memory_bytes: u64) -> Result<()> {
    let trials = fs::read_dir(folder.trials()).into_iter().flatten().flatten();
    let over = trials.filter(|trial| TrialFolder::at(&trial.path()).outcome().exists()).count() as u64;
    durable::write_json(&folder.report_memory(), &Took { peak_memory_bytes, trials: over })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_last_report_took_goes_before_an_estimate_and_trials_since_then_are_added() {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::at(dir.path());
        assert_eq!(report_memory(&folder, 0), ALONE);
        assert_eq!(report_memory(&folder, 1_000), ALONE + 1_000 * EACH);
        for (trial, is_over) in [("a", true), ("b", true), ("c", false)] {
            fs::create_dir_all(folder.trials().join(trial)).unwrap();
            if is_over {
                fs::write(folder.trials().join(trial).join("outcome.json"), "{}").unwrap();
            }
        }
        fs::create_dir_all(folder.cache()).unwrap();
        keep_report_memory(&folder, 300_000_000).unwrap();
        assert_eq!(report_memory(&folder, 2), 300_000_000);
        assert_eq!(report_memory(&folder, 1), 300_000_000, "trials of an earlier plan are gone");
        assert_eq!(report_memory(&folder, 12), 300_000_000 + 10 * EACH);
        fs::write(folder.report_memory(), "{").unwrap();
        assert_eq!(report_memory(&folder, 0), ALONE);
    }
}
