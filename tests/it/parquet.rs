//! Every Parquet file of a run, read by polars: the documented columns, and no NaN.

use std::path::Path;

use polars::prelude::*;
use votive::record::{Type, schemas};

use crate::support::{SMALL, Scene, Signal, files_below, read, small, until};

fn assert_no_nan(path: &Path, frame: &DataFrame) {
    for column in frame.columns() {
        let wrong = match column.dtype() {
            DataType::Float64 => column.f64().unwrap().iter().flatten().any(|v| !v.is_finite()),
            DataType::Float32 => column.f32().unwrap().iter().flatten().any(|v| !v.is_finite()),
            _ => false,
        };
        assert!(!wrong, "{}: {} holds a number that is none", path.display(), column.name());
    }
}

/// How polars shows a column of this type.
fn shown(kind: Type, column: &Column) -> bool {
    match (kind, column.dtype()) {
        (Type::Bool, DataType::Boolean)
        | (Type::Int32, DataType::Int32)
        | (Type::Int64, DataType::Int64)
        | (Type::Float32, DataType::Float32)
        | (Type::Float64, DataType::Float64)
        | (Type::Text, DataType::String) => true,
        (Type::Time, DataType::Datetime(TimeUnit::Microseconds, Some(zone))) => ["UTC", "+00:00"].contains(&zone.as_str()),
        _ => false,
    }
}

#[test]
fn every_file_has_its_columns_and_no_nan() {
    // One diverges; dropout, clip norm and stride are at values that are null in a table.
    let scene = Scene::new(&small("grid: {train.learning_rate: [1e-3, 1e6], train.batch_size: [8, full]}\nseeds: 2"));
    scene.run(&["--set", "train.clip_norm=off", "--set", "corpus.max_bytes=8000", "--set", "corpus.test=0.1"]).exits(3);
    let files = files_below(scene.experiment().path(), ".parquet");
    let (known, mut seen) = (schemas(), Vec::new());
    for path in &files {
        let frame = read(path);
        assert_no_nan(path, &frame);
        let kind = path.file_stem().unwrap().to_string_lossy().into_owned();
        if let Some(schema) = known.iter().find(|s| s.name == kind) {
            let expected: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
            let names: Vec<&str> = frame.get_column_names().into_iter().map(|n| n.as_str()).collect();
            assert_eq!(names, expected, "{}", path.display());
            for (column, read) in schema.columns.iter().zip(frame.columns()) {
                assert!(shown(column.kind, read), "{}: {} is {:?}", path.display(), column.name, read.dtype());
            }
        }
        seen.push(kind);
    }
    let count = |kind: &str| seen.iter().filter(|k| *k == kind).count();
    assert_eq!((count("plan"), count("trials"), count("steps")), (1, 1, 8), "{seen:?}");
    for schema in known.iter().filter(|s| !["plan", "trials"].contains(&s.name)) {
        assert!(count(schema.name) >= 4, "{} is there for each trial that was completed: {seen:?}", schema.name);
    }
    for folder in scene.trials().values() {
        let steps = read(&folder.steps());
        assert!(steps.height() > 0);
        let losses = steps.column("loss").unwrap();
        assert_eq!(losses.null_count(), 0, "a step is recorded where its loss is finite");
    }
    let trials = read(&scene.experiment().trials_parquet());
    let statuses: Vec<&str> = trials.column("status").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(statuses.iter().filter(|s| **s == "completed").count(), 4);
    assert_eq!(statuses.iter().filter(|s| **s == "diverged").count(), 4);
    let full = trials.column("train_batch_size_full").unwrap().bool().unwrap();
    assert_eq!(full.iter().flatten().filter(|full| *full).count(), 4);
    assert_eq!(trials.column("train_clip_norm").unwrap().null_count(), 8, "`off` is null");
}

#[test]
fn every_scored_token_has_a_row_and_they_add_up() {
    let scene = Scene::new(SMALL);
    scene.run(&[]).exits(0);
    let trials = scene.trials();
    let folder = trials.values().next().unwrap();
    let evaluations = read(&folder.evaluations());
    let column = |name: &str| evaluations.column(name).unwrap().clone();
    let (kinds, protocols) = (column("kind"), column("protocol"));
    let (kinds, protocols) = (kinds.str().unwrap(), protocols.str().unwrap());
    let row = (0..evaluations.height()).find(|&i| (kinds.get(i), protocols.get(i)) == (Some("final"), Some("common"))).unwrap();
    let (sum, tokens) =
        (column("nll_sum").f64().unwrap().get(row).unwrap(), column("scored_tokens").i64().unwrap().get(row).unwrap());
    let scores = read(&folder.token_nll());
    let kinds = scores.column("checkpoint_kind").unwrap().str().unwrap().clone();
    let (nll, positions) = (scores.column("nll").unwrap(), scores.column("position").unwrap());
    let of_final = |i: &usize| kinds.get(*i) == Some("final");
    let rows: Vec<usize> = (0..scores.height()).filter(of_final).collect();
    let added: f64 = rows.iter().map(|&i| f64::from(nll.f32().unwrap().get(i).unwrap())).sum();
    assert!((added / sum - 1.0).abs() < 1e-5, "{added} and {sum}");
    let positions: Vec<i64> = rows.iter().map(|&i| positions.i64().unwrap().get(i).unwrap()).collect();
    assert_eq!(positions, (2..tokens + 2).collect::<Vec<_>>(), "each once, the first token is context only");
}

#[test]
fn the_tables_can_be_read_at_any_moment_of_a_run() {
    let scene = Scene::new(&SMALL.replace("steps: 40", "steps: 400").replace("batch_size: 8", "batch_size: 16"));
    let mut runner = scene.start(&["--set", "checkpoint.every=0.01"]);
    let (mut reads, mut longest) = (0, 0);
    while !runner.is_over() {
        for folder in scene.trials().values().filter(|folder| folder.steps().exists()) {
            let frame = read(&folder.steps());
            let steps: Vec<i64> = frame.column("step").unwrap().i64().unwrap().into_no_null_iter().collect();
            assert_eq!(steps, (1..=frame.height() as i64).collect::<Vec<_>>(), "whole, each row once");
            assert!(steps.len() >= longest, "rows never go");
            (reads, longest) = (reads + 1, steps.len());
        }
    }
    runner.wait().exits(0);
    assert!(reads > 10, "{reads}");
}

#[test]
fn a_report_can_be_made_while_trials_run_and_after_a_kill() {
    let scene = Scene::new(&small("seeds: 2").replace("steps: 40", "steps: 2000"));
    let mut runner = scene.start(&["--slots", "1"]);
    until("the tables are there", || scene.experiment().trials_parquet().exists() || runner.is_over());
    assert_eq!(scene.table().height(), 2, "before anything is trained");
    scene.wait_for_steps(&mut runner, 2100);
    // One trial is over and the other runs: the table is older, and the report knows all the same.
    let said =
        scene.votive(&["report", "runs/small"]).exits(0).says("One configuration. Perplexity ").says("1 completed, 1 running");
    said.says_nothing_of("waiting");
    let status = scene.votive(&["status", "runs/small"]).exits(0);
    assert!(status.out.contains("1 completed, 1 running"), "{}", status.out);
    runner.send(Signal::KILL);
    scene.kill_workers();
    runner.wait();
    for path in files_below(scene.experiment().path(), ".parquet") {
        assert_no_nan(&path, &read(&path));
    }
}
