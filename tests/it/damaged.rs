//! A damaged or half-written trial stops neither the report nor the rest: it is listed.

use std::fs;
use std::path::Path;

use crate::support::{Said, Scene, small};

/// Two configurations with two seeds each, trained.
fn trained() -> Scene {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}\nseeds: 2").replace("steps: 40", "steps: 12"));
    scene.run(&[]).exits(0);
    scene
}

/// What `votive report` says of it; that it goes through is what is promised.
#[track_caller]
fn report(scene: &Scene) -> Said {
    let said = scene.votive(&["report", "runs/small"]).exits(0);
    assert_eq!(said.rows().len(), 2, "{}", said.out);
    for file in ["index.html", "report.md", "leaderboard.csv", "summary.json"] {
        assert!(scene.experiment().report().join(file).is_file(), "{file}");
    }
    said
}

/// The first file's bytes cut in the middle, then others in their place, then none.
fn damages(path: &Path) -> Vec<Vec<u8>> {
    let whole = fs::read(path).unwrap();
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle..].iter_mut().for_each(|byte| *byte = !*byte);
    vec![whole[..middle].to_vec(), flipped, b"\0\xff not this".to_vec(), Vec::new()]
}

#[test]
fn each_file_of_a_trial_may_be_damaged_and_is_listed_where_it_is_read() {
    let scene = trained();
    let (_, folder) = scene.trials().pop_first().unwrap();
    let kinds = [
        folder.steps(),
        folder.evaluations(),
        folder.token_nll(),
        folder.checkpoints_parquet(),
        folder.outcome(),
        folder.job(),
        folder.attempt(1),
        folder.sample(),
        folder.progress(),
        folder.log(),
        folder.lock(),
    ];
    for path in kinds {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for (number, damage) in damages_of(&path, &whole).into_iter().enumerate() {
            fs::write(&path, damage).unwrap();
            let said = report(&scene);
            if ["steps.parquet", "evaluations.parquet"].contains(&name.as_str()) {
                assert!(
                    said.err.contains(&format!("damaged and left out: {}", relative(&scene, &path))),
                    "{name} {number}: {}",
                    said.err
                );
                assert!(fs::read_to_string(scene.experiment().report().join("report.md")).unwrap().contains("## Damaged files"));
            }
        }
        // Looking at a trial never fails for its files either.
        scene.votive(&["status", "runs/small"]).exits(0);
        fs::remove_file(&path).unwrap();
        report(&scene);
        fs::write(&path, whole).unwrap();
        let mended = report(&scene);
        assert!(!mended.err.contains("damaged"), "{name}: {}", mended.err);
    }
}

fn damages_of(path: &Path, whole: &[u8]) -> Vec<Vec<u8>> {
    // A lock may be empty, and its holder's words are for people.
    if whole.is_empty() { vec![b"\0".to_vec()] } else { damages(path) }
}

fn relative(scene: &Scene, path: &Path) -> String {
    path.strip_prefix(scene.path()).unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_trial_whose_folder_is_gone_or_a_file_keeps_its_line() {
    let scene = trained();
    let (_, folder) = scene.trials().pop_first().unwrap();
    let away = scene.path().join("away");
    fs::rename(folder.path(), &away).unwrap();
    report(&scene);
    fs::write(folder.path(), "not a folder").unwrap();
    report(&scene).says("damaged and left out: ");
    fs::remove_file(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    report(&scene);
    for file in ["steps.parquet", "evaluations.parquet", "token_nll.parquet", "outcome.json", "sample.json"] {
        fs::create_dir(folder.path().join(file)).unwrap();
    }
    report(&scene).says("damaged and left out: ");
    fs::remove_dir_all(scene.experiment().trials()).unwrap();
    report(&scene);
}

#[test]
fn a_damaged_table_of_trials_or_plan_gives_way_to_what_the_others_say() {
    let scene = trained();
    let (table, plan) = (scene.experiment().trials_parquet(), scene.experiment().plan_parquet());
    let (whole_table, whole_plan) = (fs::read(&table).unwrap(), fs::read(&plan).unwrap());
    let summary = scene.summary();
    for damage in damages(&table) {
        fs::write(&table, damage).unwrap();
        report(&scene).says_nothing_of("damaged");
        assert_eq!(scene.summary(), summary, "the folders of the trials say it all");
    }
    fs::write(&plan, b"torn").unwrap();
    scene.votive(&["report", "runs/small"]).exits(1).says("plan.parquet is damaged");
    fs::write(&table, whole_table).unwrap();
    report(&scene).says("damaged and left out: runs/small/plan.parquet is damaged");
    fs::write(&plan, whole_plan).unwrap();
    // The table is derived: the same command writes it again.
    fs::remove_file(&table).unwrap();
    scene.run(&[]).exits(0);
    assert!(table.is_file());
    report(&scene);
}

#[test]
fn a_damaged_description_of_the_experiment_costs_its_words_only() {
    let scene = trained();
    let path = scene.experiment().experiment_json();
    for damage in damages(&path) {
        fs::write(&path, damage).unwrap();
        report(&scene).says("damaged and left out: ").says("experiment.json");
    }
}

#[test]
fn a_trial_that_was_cut_off_while_it_was_written_is_not_counted() {
    let scene = trained();
    let (_, folder) = scene.trials().pop_first().unwrap();
    // As a kill leaves it: no outcome yet, and a temporary name that nobody finished.
    fs::remove_file(folder.outcome()).unwrap();
    fs::write(folder.path().join(".steps.parquet.tmp"), b"half").unwrap();
    scene.votive(&["status", "runs/small"]).exits(0).says("interrupted");
    report(&scene);
}
