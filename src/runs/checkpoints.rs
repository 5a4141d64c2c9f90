//! The folders of a trial's checkpoints, by their names.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file of the weights in a checkpoint's folder.
pub const WEIGHTS: &str = "model.safetensors";

/// The name of the folder of the checkpoint of this step: `step-00000400`.
pub fn checkpoint_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The checkpoints that have a folder in this one, by step, oldest first. Whether they hold is not checked.
pub fn list_checkpoints(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        if let Some(step) = entry.file_name().to_str().and_then(|n| n.strip_prefix("step-")?.parse().ok()) {
            found.push((step, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_listed_by_step_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(list_checkpoints(&directory.path().join("none")).unwrap(), []);
        for name in [&checkpoint_name(100_000_000), &checkpoint_name(20), ".tmp-1-step-00000030.part", "notes"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let steps: Vec<u64> = list_checkpoints(directory.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [20, 100_000_000]);
    }
}
