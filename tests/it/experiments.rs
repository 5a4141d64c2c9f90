//! Every file in `experiments/` can be checked and planned.

use std::fs;
use std::path::Path;

use crate::support::{SMALL, Scene};

#[test]
fn every_experiment_is_right_and_says_what_it_teaches() {
    let scene = Scene::new(SMALL);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let file = path.to_str().unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("# "), "{file} begins with a comment");
        scene.votive(&["check", file]).exits(0);
        let plan = scene.votive(&["plan", file, "--json"]).exits(0);
        let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
        assert!(plan["trials"].as_array().unwrap().len() > 1, "{file}");
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    for expected in ["quickstart", "overnight", "sequence-length", "stride", "batch-size", "clip-norm", "tokenizer"] {
        assert!(names.iter().any(|n| n == expected), "{expected}.yaml is missing: {names:?}");
    }
}
