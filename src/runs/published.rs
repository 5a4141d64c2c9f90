//! What a trial's files were when its outcome was written.
//!
//! A worker looks whether its trial is still its own just before it puts a file in place, and may be stopped between the two: what it puts
//! there much later is an overwrite that nobody can prevent. It is found by this.
//!
//! A look costs one `stat` a file: where size and time of writing are as they were, so is the file. Where only the time differs (a folder
//! that was copied) the content decides, and the time is set back, so that it is read once.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::TrialFolder;

/// A file of a finished trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its path in the trial's folder: `steps.parquet`, `checkpoints/step-00000060/model.safetensors`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows, where it is a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// BLAKE3 of its content.
    pub blake3: String,
    /// When it was written, as its file system tells: microseconds since 1970 (UTC).
    pub modified_utc: i64,
}

/// When a file was written, as its file system tells: microseconds since 1970 (UTC).
fn modified_utc(found: &fs::Metadata) -> i64 {
    found.mtime().saturating_mul(1_000_000).saturating_add(found.mtime_nsec() / 1_000)
}

/// The names of those files of a finished trial that are others than they were when it ended. Weights that are gone are not: they are large, and who
/// took them away will have had a reason. A table that is gone is, where the weights are there to score again.
pub fn overwritten<'a>(folder: &TrialFolder, files: &'a [Published]) -> Vec<&'a str> {
    let weights = files.iter().filter(|file| file.rows.is_none());
    let has_weights = weights.map(|file| folder.path().join(&file.name)).all(|path| path.exists());
    let other = |file: &&Published| file.is_other(&folder.path().join(&file.name), has_weights);
    files.iter().filter(other).map(|file| file.name.as_str()).collect()
}

impl Published {
    /// A file of this name with so many rows and this hash, of which its file system says the rest.
    pub fn of(name: &str, found: &fs::Metadata, rows: Option<u64>, blake3: String) -> Self {
        Self { name: name.to_owned(), bytes: found.len(), rows, blake3, modified_utc: modified_utc(found) }
    }

    /// Whether another file lies there. One that cannot be read is not known to be.
    fn is_other(&self, path: &Path, has_weights: bool) -> bool {
        let Ok(found) = fs::metadata(path) else { return self.rows.is_some() && has_weights && !path.exists() };
        if found.len() != self.bytes {
            return true;
        }
        if modified_utc(&found) == self.modified_utc {
            return false;
        }
        match hash(path) {
            Ok(hash) if hash == self.blake3 => {
                // Where that cannot be done it is read again the next time.
                let _ = self.set_time_back(path);
                false
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    fn set_time_back(&self, path: &Path) -> std::io::Result<()> {
        let time = UNIX_EPOCH + Duration::from_micros(u64::try_from(self.modified_utc).unwrap_or(0));
        File::options().append(true).open(path)?.set_modified(time)
    }
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::Outcome;

    /// A trial with a table and weights, and what its outcome says of both.
    fn finished() -> (tempfile::TempDir, TrialFolder, Vec<Published>) {
        let dir = tempfile::tempdir().unwrap();
        let published = |name: &str, rows| {
            let path = dir.path().join(name);
            fs::write(&path, format!("content of {name}")).unwrap();
            Published::of(name, &fs::metadata(&path).unwrap(), rows, hash(&path).unwrap())
        };
        let files = vec![published("steps.parquet", Some(3)), published("model.safetensors", None)];
        let folder = TrialFolder::at(dir.path());
        (dir, folder, files)
    }

    fn put(path: &Path, content: &str, seconds: u64) {
        fs::write(path, content).unwrap();
        File::options().append(true).open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn a_file_of_another_size_or_content_was_overwritten() {
        let (_dir, folder, files) = finished();
        assert_eq!(overwritten(&folder, &files), [""; 0]);
        put(&folder.steps(), "longer than it was before", 1_000);
        assert_eq!(overwritten(&folder, &files), ["steps.parquet"]);
        put(&folder.steps(), "CONTENT of steps.parquet", 1_000);
        assert_eq!(overwritten(&folder, &files), ["steps.parquet"]);
        assert_eq!(modified_utc(&fs::metadata(folder.steps()).unwrap()), 1_000_000_000, "it stays as it is");
    }

    #[test]
    fn a_copy_is_the_same_and_is_read_once() {
        let (_dir, folder, files) = finished();
        put(&folder.steps(), "content of steps.parquet", 1_000);
        assert_eq!(overwritten(&folder, &files), [""; 0]);
        let now = modified_utc(&fs::metadata(folder.steps()).unwrap());
        assert_eq!(now, files[0].modified_utc);
    }

    #[test]
    fn weights_may_be_taken_away_and_a_table_may_not_be_where_it_can_be_made_again() {
        let (dir, folder, files) = finished();
        fs::remove_file(folder.steps()).unwrap();
        assert_eq!(overwritten(&folder, &files), ["steps.parquet"]);
        fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        assert_eq!(overwritten(&folder, &files), [""; 0]);
    }

    #[test]
    fn an_outcome_of_before_there_were_hashes_says_nothing() {
        let old = r#"{"end":"completed","reason":null,"steps":3,"tokens_seen":9,"training_seconds":0.5,"peak_memory_bytes":1,"scores":[],"finished_utc":1,"program":"v"}"#;
        let outcome: Outcome = serde_json::from_str(old).unwrap();
        let (_dir, folder, _) = finished();
        assert_eq!(overwritten(&folder, &outcome.files), [""; 0]);
    }
}
