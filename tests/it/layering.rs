//! A module uses only modules above it in the list of `src/lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn modules() -> Vec<String> {
    let lib = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned)).collect()
}

/// The text without comments: documentation may name what it likes.
pub(crate) fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_module_uses_only_modules_above_it() {
    let modules = modules();
    assert!(modules.len() >= 14, "{modules:?}");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    for (place, module) in modules.iter().enumerate() {
        let (mut files, folder) = (Vec::new(), source.join(module));
        if folder.is_dir() {
            rust_files(&folder, &mut files);
        } else {
            files.push(source.join(format!("{module}.rs")));
        }
        for file in files {
            let text = code(&fs::read_to_string(&file).unwrap());
            for later in &modules[place + 1..] {
                if text.contains(&format!("crate::{later}::")) || text.contains(&format!("crate::{later};")) {
                    faults.push(format!("{} uses `{later}`, which stands below `{module}`", file.display()));
                }
            }
            assert!(!text.contains("use crate::{"), "{}: write one `use` a module, so that this test sees it", file.display());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn libraries_live_where_the_architecture_says() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    for (library, homes) in [
        ("figment", &["experiment"][..]),
        ("serde_saphyr", &["experiment"]),
        ("tokenizers", &["corpus"]),
        ("candle_core", &["model", "optimize", "train"]),
        ("candle_nn", &["model", "optimize", "train"]),
        ("parquet", &["record"]),
        ("polars", &["report"]),
        ("plotly", &["report"]),
        ("clap", &["cli"]),
        ("indicatif", &["cli"]),
        ("libloading", &["model/gpu/cuda"]),
    ] {
        for file in &files {
            let text = code(&fs::read_to_string(file).unwrap());
            // A word of its own: `set_parquet::` is none.
            let word = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            let used = text.match_indices(&format!("{library}::")).any(|(at, _)| word(at));
            let at_home = homes.iter().any(|home| file.starts_with(source.join(home)));
            assert!(!used || at_home, "{} uses {library}, which lives in {homes:?} only", file.display());
        }
    }
}

#[test]
fn what_keeps_and_shows_results_stands_on_rows_and_on_nothing_that_has_tensors() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for room in ["rows.rs", "runs", "record", "report"] {
        let mut files = Vec::new();
        match source.join(room) {
            folder if folder.is_dir() => rust_files(&folder, &mut files),
            file => files.push(file),
        }
        for file in files {
            let text = code(&fs::read_to_string(&file).unwrap());
            for below in ["model", "optimize", "train"] {
                assert!(!text.contains(&format!("crate::{below}::")), "{} uses `{below}`", file.display());
            }
        }
    }
}

#[test]
fn a_script_needs_torch_only_where_it_uses_torch() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    for entry in fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "py") {
            let text = fs::read_to_string(&path).unwrap();
            let has_line = |begins: &str| text.lines().any(|line| line.starts_with(begins));
            let needs_torch = has_line("from plain_gpt import") && !has_line("import torch");
            assert!(!needs_torch, "{} uses no torch, and imports what does", path.display());
        }
    }
}
