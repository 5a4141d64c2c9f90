//! Patterns of file names, as a shell reads them: `*`, `?` and `[…]` within a name, `**` for folders at any depth. What is
//! hidden (its name begins with a dot) is taken only where the pattern names the dot.

use std::path::{Component, Path, PathBuf};

use glob::Pattern;

use crate::error::{Error, Result};

/// One name of a pattern.
enum Step {
    /// A file or folder of this name.
    Name(PathBuf),
    /// All whose names fit.
    Fitting(Pattern),
    /// This folder and all below it.
    Below,
}

/// The files that fit a pattern, which is relative to `base`, sorted; `found` is called for every file.
pub(crate) fn files(pattern: &str, base: &Path, found: &mut dyn FnMut()) -> Result<Vec<PathBuf>> {
    let (mut folder, mut steps) = (base.to_owned(), Vec::new());
    for component in Path::new(pattern).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => folder.push(component),
            Component::CurDir => {}
            Component::ParentDir => steps.push(Step::Name(PathBuf::from(".."))),
            Component::Normal(name) => steps.push(Step::of(&name.to_string_lossy(), pattern)?),
        }
    }
    if let Some(Step::Below) = steps.last() {
        steps.push(Step::of("*", pattern)?);
    }
    let mut files = Vec::new();
    walk(&folder, &steps, &mut |path| {
        found();
        files.push(path);
    })?;
    files.sort();
    // `**` twice leads to some files by two ways.
    files.dedup();
    Ok(files)
}

impl Step {
    fn of(name: &str, whole: &str) -> Result<Self> {
        if name == "**" {
            return Ok(Self::Below);
        }
        if !name.contains(['*', '?', '[']) {
            return Ok(Self::Name(PathBuf::from(name)));
        }
        let pattern = Pattern::new(name).map_err(|e| Error::usage(format!("`{whole}` is not a valid pattern")).caused_by(e))?;
        Ok(Self::Fitting(pattern))
    }
}

fn walk(path: &Path, steps: &[Step], take: &mut dyn FnMut(PathBuf)) -> Result<()> {
    let Some((first, rest)) = steps.split_first() else {
        if path.is_file() {
            take(path.to_owned());
        }
        return Ok(());
    };
    match first {
        Step::Name(name) => walk(&path.join(name), rest, take),
        Step::Fitting(pattern) => {
            let hidden_too = pattern.as_str().starts_with('.');
            for (name, child, _) in entries(path)? {
                if (hidden_too || !name.starts_with('.')) && pattern.matches(&name) {
                    walk(&child, rest, take)?;
                }
            }
            Ok(())
        }
        Step::Below => {
            walk(path, rest, take)?;
            for (name, child, is_folder) in entries(path)? {
                // A link to a folder is not followed: it may lead up again.
                if is_folder && !name.starts_with('.') {
                    walk(&child, steps, take)?;
                }
            }
            Ok(())
        }
    }
}

/// What lies in a folder: name, path, and whether it is a folder itself and no link to one. Nothing lies in what is no folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf, bool)>> {
    let failed = |e| Error::io("list", folder, e);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path(), is_folder));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn hidden_files_and_folders_are_taken_only_where_the_pattern_names_the_dot() {
        let base = tempfile::tempdir().unwrap();
        for file in
            ["a.txt", ".b.txt", "sub/c.txt", "sub/.d.txt", "sub/deep/e.txt", ".git/f.txt", ".git/sub/g.txt", "sub/.h/i.txt"]
        {
            fs::create_dir_all(base.path().join(file).parent().unwrap()).unwrap();
            fs::write(base.path().join(file), "x").unwrap();
        }
        for (pattern, expected) in [
            ("*.txt", &["a.txt"][..]),
            ("./*.txt", &["a.txt"]),
            ("?b.txt", &[]),
            ("[.]b.txt", &[]),
            (".*.txt", &[".b.txt"]),
            ("*/*.txt", &["sub/c.txt"]),
            ("sub/../*.txt", &["sub/../a.txt"]),
            (".*/*.txt", &[".git/f.txt"]),
            (".git/**/*.txt", &[".git/f.txt", ".git/sub/g.txt"]),
            ("**/*.txt", &["a.txt", "sub/c.txt", "sub/deep/e.txt"]),
            ("**", &["a.txt", "sub/c.txt", "sub/deep/e.txt"]),
            ("**/.*.txt", &[".b.txt", "sub/.d.txt"]),
            ("**/.h/*.txt", &["sub/.h/i.txt"]),
            ("**/**/*.txt", &["a.txt", "sub/c.txt", "sub/deep/e.txt"]),
            ("**/sub/**/*.txt", &["sub/c.txt", "sub/deep/e.txt"]),
            ("a.txt/*.txt", &[]),
            ("nowhere/*.txt", &[]),
        ] {
            let expected: Vec<PathBuf> = expected.iter().map(|file| base.path().join(file)).collect();
            assert_eq!(files(pattern, base.path(), &mut || {}).unwrap(), expected, "{pattern}");
            let absolute = format!("{}/{pattern}", base.path().display());
            assert_eq!(files(&absolute, Path::new("elsewhere"), &mut || {}).unwrap(), expected, "{absolute}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_a_folder_is_followed_where_it_is_named_and_not_below_two_asterisks() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("texts")).unwrap();
        fs::write(base.path().join("texts/a.txt"), "x").unwrap();
        std::os::unix::fs::symlink("..", base.path().join("texts/up")).unwrap();
        std::os::unix::fs::symlink("texts", base.path().join("link")).unwrap();
        let found = |pattern| files(pattern, base.path(), &mut || {}).unwrap();
        assert_eq!(found("**/*.txt"), [base.path().join("texts/a.txt")]);
        assert_eq!(found("link/**/*.txt"), [base.path().join("link/a.txt")]);
        assert_eq!(found("l*/*.txt"), [base.path().join("link/a.txt")]);
    }
}
