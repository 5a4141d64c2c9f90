//! Every Parquet file of a run, read by polars: the documented columns, and no NaN.

use std::fs;
use std::path::{Path, PathBuf};

use polars::prelude::*;

use crate::support::{SMALL, Scene, read, signal};

fn parquet_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            parquet_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "parquet") {
            into.push(path);
        }
    }
}

fn assert_no_nan(path: &Path, frame: &DataFrame) {
    for column in frame.columns() {
        if let Ok(values) = column.f64() {
            assert!(!values.iter().flatten().any(f64::is_nan), "{}: NaN in {}", path.display(), column.name());
        }
        if let Ok(values) = column.f32() {
            assert!(!values.iter().flatten().any(f32::is_nan), "{}: NaN in {}", path.display(), column.name());
        }
    }
}

#[test]
fn every_file_has_its_columns_and_no_nan() {
    let scene = Scene::new(&(SMALL.to_owned() + "grid: {train.learning_rate: [1e-3, 1e6]}\nseeds: 2\n"));
    scene.run(&["--set", "train.clip_norm=off"]).exits(3);
    let mut files = Vec::new();
    parquet_files(&scene.experiment(), &mut files);
    assert!(files.len() >= 2 + 2 * 4 + 2, "{files:?}");
    let schemas = votive::record::schemas();
    for path in &files {
        let frame = read(path);
        assert!(
            frame.height() > 0 || path.ends_with("checkpoints.parquet") || path.ends_with("evaluations.parquet"),
            "{} is empty, and only a trial that diverged at once has no evaluation",
            path.display()
        );
        assert_no_nan(path, &frame);
        let kind = path.file_stem().unwrap().to_string_lossy().into_owned();
        if let Some(schema) = schemas.iter().find(|s| s.name == kind) {
            let expected: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
            let names: Vec<&str> = frame.get_column_names().into_iter().map(|n| n.as_str()).collect();
            assert_eq!(names, expected, "{}", path.display());
        }
    }
    let trials = read(&scene.experiment().join("trials.parquet"));
    assert_eq!(trials.height(), 4);
    let steps = scene.table("steps.parquet");
    assert!(steps.column("loss").unwrap().f64().unwrap().iter().flatten().all(f64::is_finite));
}

#[test]
fn the_tables_can_be_read_while_a_trial_runs() {
    let scene = Scene::new(&SMALL.replace("steps: 40", "steps: 20000"));
    let mut runner = scene.start(&[]);
    scene.wait_for_step(2500);
    let mut reads = 0;
    for _ in 0..50 {
        for trial in scene.trials() {
            let path = trial.join("steps.parquet");
            if path.exists() {
                let frame = read(&path);
                let steps: Vec<i64> = frame.column("step").unwrap().i64().unwrap().into_no_null_iter().collect();
                assert_eq!(steps, (1..=frame.height() as i64).collect::<Vec<_>>());
                reads += 1;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(reads > 0);
    signal(runner.id() as i32, "INT");
    runner.wait().unwrap();
}
