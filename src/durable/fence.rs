//! Who may change a folder: a worker until another one has taken it over.
//!
//! Locks may lie where a file system is shared, and a process that was stopped for hours does not know. So a worker says what will be there
//! once it has lost its folder, and that is looked for just before each change of it. A stop between the look and the change remains
//! possible: whoever finds such a change later mends it.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use crate::error::{Error, Kind, Result};

/// Folders, each with the file by which this process has lost it.
static FENCES: RwLock<Vec<(PathBuf, PathBuf)>> = RwLock::new(Vec::new());

/// From here on this process changes nothing below `folder` any more once `sign` is there.
pub fn give_way(folder: &Path, sign: &Path) {
    FENCES.write().unwrap_or_else(PoisonError::into_inner).push((folder.to_owned(), sign.to_owned()));
}

/// Whether this process has lost the folder that `path` lies in.
pub fn has_given_way(path: &Path) -> bool {
    let fences = FENCES.read().unwrap_or_else(PoisonError::into_inner);
    fences.iter().any(|(folder, sign)| path.starts_with(folder) && sign.exists())
}

/// Whether this process may still change what lies at this path.
///
/// # Errors
/// [`taken_over`], where it may not.
pub(super) fn check(path: &Path) -> Result<()> {
    if has_given_way(path) { Err(taken_over()) } else { Ok(()) }
}

/// What a worker says that has lost its trial.
pub fn taken_over() -> Error {
    Error::new(Kind::TakenOver, "another worker took this trial over")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::*;
    use crate::error::Kind;

    #[test]
    fn who_has_lost_a_folder_changes_nothing_in_it_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, sign) = (dir.path().join("mine"), dir.path().join("mine/attempts/0002.json"));
        create_folder(&mine.join("attempts")).unwrap();
        give_way(&mine, &sign);
        assert!(create_json(&mine.join("attempts/0001.json"), &1).unwrap());
        write(&mine.join("a"), b"old").unwrap();
        folder_with(&mine.join("step-1"), |folder| fill_json(&folder.join("x"), &1)).unwrap();
        let listed = || {
            let mut found: Vec<_> = fs::read_dir(&mine).unwrap().map(|e| e.unwrap().file_name()).collect();
            found.sort();
            found
        };
        let before = listed();
        fs::write(&sign, "").unwrap();
        let lost = [
            write(&mine.join("a"), b"new"),
            write(&mine.join("b"), b"new"),
            replace_unflushed(&mine.join("c"), b"new"),
            create_json(&mine.join("d"), &1).map(drop),
            folder_with(&mine.join("step-1"), |folder| fill_json(&folder.join("x"), &2)),
            remove_folder(&mine.join("step-1")),
            remove_file(&mine.join("a")),
        ];
        for result in lost {
            assert_eq!(result.unwrap_err().kind(), Kind::TakenOver);
        }
        assert_eq!(listed(), before);
        assert_eq!(fs::read(mine.join("a")).unwrap(), b"old");
        assert_eq!(read_json::<u32>(&mine.join("step-1/x")).unwrap(), Some(1));
        write(&dir.path().join("other"), b"new").unwrap();
    }
}
