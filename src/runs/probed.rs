//! The memory that probes said each trial would take: kept beside what else can be made again, since it decides nothing.

use std::collections::BTreeMap;

use super::ExperimentFolder;
use crate::durable;
use crate::error::Result;
use crate::plan::TrialId;

/// What probes said so far, bytes; empty where that is gone.
pub fn probed_memory(folder: &ExperimentFolder) -> BTreeMap<TrialId, i64> {
    durable::read_json(&folder.probed()).ok().flatten().unwrap_or_default()
}

/// Keeps what probes said of these trials; what they said of others stays.
pub fn keep_probed_memory(folder: &ExperimentFolder, trials: BTreeMap<TrialId, i64>) -> Result<()> {
    let mut known = probed_memory(folder);
    known.extend(trials);
    durable::write_json(&folder.probed(), &known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_other_trials_stays() {
        let directory = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::at(directory.path());
        assert!(probed_memory(&folder).is_empty());
        durable::create_folder(&folder.cache()).unwrap();
        let [one, two] = ["a", "b"].map(TrialId::of);
        keep_probed_memory(&folder, BTreeMap::from([(one.clone(), 1), (two.clone(), 2)])).unwrap();
        keep_probed_memory(&folder, BTreeMap::from([(two.clone(), 3)])).unwrap();
        assert_eq!(probed_memory(&folder), BTreeMap::from([(one, 1), (two, 3)]));
        std::fs::write(folder.probed(), "{").unwrap();
        assert!(probed_memory(&folder).is_empty(), "it decides nothing, so damage is no error");
    }
}
