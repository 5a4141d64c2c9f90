//! Which files are the same one, whatever they are called.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that are known already, each with the part of the corpus that it belongs to. Every file is looked at once, and every
/// folder once: many files cost as much as they are, not as much as there are pairs of them.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Where each folder really is, by what it was called.
    folders: HashMap<PathBuf, PathBuf>,
    parts: HashMap<PathBuf, &'static str>,
}

impl Places {
    /// Notes that this file belongs to a part; the part that it belonged to before, under whatever name.
    pub(crate) fn add(&mut self, path: &Path, part: &'static str) -> Option<&'static str> {
        let place = self.real(path);
        match self.parts.entry(place) {
            Entry::Occupied(known) => Some(known.get()),
            Entry::Vacant(new) => {
                new.insert(part);
                None
            }
        }
    }

    /// Where a file really is; what cannot be followed is taken by its name.
    fn real(&mut self, path: &Path) -> PathBuf {
        let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let (Some(folder), Some(name), false) = (path.parent(), path.file_name(), is_link) else { return resolved(path) };
        if let Some(folder) = self.folders.get(folder) {
            return folder.join(name);
        }
        let real = resolved(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let place = real.join(name);
        self.folders.insert(folder.to_owned(), real);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_is_looked_at_once_however_many_files_it_has() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a", "b"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let mut places = Places::default();
        for number in 0..3_000 {
            for folder in ["a", "b"] {
                assert_eq!(places.add(&dir.path().join(folder).join(format!("{number}.txt")), "training"), None);
            }
        }
        assert_eq!((places.folders.len(), places.parts.len()), (2, 6_000));
        assert_eq!(places.add(&dir.path().join("a/7.txt"), "validation"), Some("training"));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_and_folders_and_roundabout_names_lead_to_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/a.txt"), "a").unwrap();
        fs::write(at("real/b.txt"), "a").unwrap();
        std::os::unix::fs::symlink(at("real"), at("linked")).unwrap();
        std::os::unix::fs::symlink("real/a.txt", at("link.txt")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling.txt")).unwrap();
        let mut places = Places::default();
        assert_eq!(places.add(&at("real/a.txt"), "training"), None);
        for name in ["linked/a.txt", "link.txt", "./real/a.txt", "real/../real/a.txt", "real//a.txt"] {
            assert_eq!(places.add(&at(name), "test"), Some("training"), "{name}");
        }
        for name in ["real/b.txt", "dangling.txt", "gone/a.txt", "builtin:keeper"] {
            assert_eq!((places.add(&at(name), "training"), places.add(&at(name), "test")), (None, Some("training")), "{name}");
        }
    }
}
