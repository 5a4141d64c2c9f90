//! Two side by side, and several experiments in one table.

use std::fs;

use crate::support::{Scene, json, small};

/// Two batch sizes with these seeds, trained.
fn trained(seeds: &str) -> Scene {
    let scene =
        Scene::new(&small(&format!("grid: {{train.batch_size: [4, 8]}}\nseeds: {seeds}")).replace("steps: 40", "tokens: 8192"));
    scene.run(&[]).exits(0);
    scene
}

#[test]
fn two_configurations_are_compared_by_every_name_they_have() {
    let scene = trained("3");
    let said = scene.votive(&["compare", "small#1", "small#2"]).exits(0);
    assert_eq!(said.err, "");
    for line in [
        "A  small#1  batch 4  3 seeds  perplexity ",
        "B  small#2  batch 8  3 seeds  perplexity ",
        "settings that differ\n  batch size  4  8\n",
        "also changed: follows from them\n  steps            64   32\n",
        "over the seeds 1, 2 and 3 that both have; common context, final weights",
        "95 % limits: ",
        "Unadjusted: one pair looked at.",
    ] {
        assert!(said.out.contains(line), "`{line}` is not in\n{}", said.out);
    }
    for (a, b) in [("1", "2"), ("runs/small#1", "2"), ("1", "small#2"), ("small#1", "runs/small/#2"), ("#1", "#2")] {
        assert_eq!(scene.votive(&["compare", a, b]).exits(0).out, said.out, "{a} {b}");
    }
    let best = scene.summary()["configurations"][0]["configuration"].clone();
    let json = scene.votive(&["compare", "small", "2", "--json"]).exits(0).json();
    assert_eq!(json["a"]["configuration"], best);

    let json = scene.votive(&["compare", "1", "2", "--json"]).exits(0).json();
    let loss = |side: &str| json[side]["loss"].as_f64().unwrap();
    assert!((json["difference"].as_f64().unwrap() - (loss("a") - loss("b"))).abs() < 1e-9);
    assert!((json["perplexity_ratio"].as_f64().unwrap() - (loss("a") - loss("b")).exp()).abs() < 1e-9);
    let number = |key: &str| json[key].as_f64().unwrap();
    assert!(number("lower") < number("difference") && number("difference") < number("upper"));
    assert!(number("standard_error") > 0.0 && number("degrees") >= 2.0);
    // What the report says of the two is the same.
    let against = scene.summary()["statistics"]["against"].as_array().unwrap()[1].clone();
    assert!((against["difference"].as_f64().unwrap() - number("difference").abs()).abs() < 1e-12);
    assert!((against["standard_error"].as_f64().unwrap() - number("standard_error")).abs() < 1e-12);
    assert_eq!((json["uncontrolled"].as_array().unwrap().len(), json["adjusted"].as_bool()), (0, Some(false)));
    assert_eq!(json["settings"][0], serde_json::json!({"key": "train.batch_size", "a": "4", "b": "8"}));
}

#[test]
fn single_trials_have_no_interval_over_seeds() {
    let scene = trained("2");
    let trials: Vec<_> = scene.trials().into_iter().collect();
    let by_seed = |batch: u64, seed: u64| {
        let of = |folder: &votive::runs::TrialFolder| json(&folder.job());
        let found = trials.iter().find(|(_, folder)| {
            let job = of(folder);
            job["seed"] == seed && job["settings"]["train"]["batch_size"].to_string().contains(&batch.to_string())
        });
        found.unwrap().0.clone()
    };
    let (one, other) = (by_seed(4, 1), by_seed(8, 1));
    let said = scene.votive(&["compare", &one[..6], &format!("runs/small/trials/{other}")]).exits(0);
    assert!(said.out.contains("There are no limits: with one seed nothing says"), "{}", said.out);
    assert!(!said.out.contains("is better than"), "{}", said.out);
    let said = scene.votive(&["compare", &one, &by_seed(8, 2)]).exits(0);
    let refused = "Neither is called better: they have no seed in common, and that alone may make the difference.";
    assert!(said.out.contains(refused), "{}", said.out);
}

#[test]
fn what_cannot_be_compared_is_said_with_what_can() {
    let scene = trained("1");
    scene.votive(&["compare", "1", "9"]).exits(2).says("there is no configuration 9 in runs/small").says("from 1 to 2");
    scene.votive(&["compare", "smal#1", "2"]).exits(2).says("there is no experiment `smal`");
    scene.votive(&["compare", "small#x", "2"]).exits(2).says("`small#x` names no configuration");
    scene
        .votive(&["compare", "deadbeef", "2"])
        .exits(2)
        .says("there is no experiment, configuration, trial or checkpoint `deadbeef`");
    scene.votive(&["compare", "1", "2", "--runs", "elsewhere"]).exits(4).says("there is no experiment under elsewhere");
    scene.votive(&["compare", "1"]).exits(2);
    let (_, folder) = scene.trials().pop_first().unwrap();
    let checkpoint = folder.checkpoints().read_dir().unwrap().next().unwrap().unwrap().path();
    scene.votive(&["compare", checkpoint.to_str().unwrap(), "2"]).exits(2).says("is a checkpoint, which has no result");
    scene.run(&["--set", "name=other"]).exits(0);
    scene
        .votive(&["compare", "1", "2"])
        .exits(2)
        .says("there are 2 experiments under runs")
        .says("`votive compare other#1 other#2`");
    let said = scene.votive(&["compare", "small#1", "other#1"]).exits(0);
    assert!(said.out.contains("no setting differs") && said.out.contains("A and B have the very same results ("), "{}", said.out);
}

#[test]
fn several_experiments_stand_in_one_table_where_they_were_measured_alike() {
    let scene = trained("2");
    scene.run(&["--set", "name=wide", "--set", "model.width=32"]).exits(0);
    scene.run(&["--set", "name=words", "--set", "tokenizer.kind=word"]).exits(0);
    let said =
        scene.votive(&["report", "runs/small", "runs/wide", "runs/words"]).exits(0).says("nothing is written: `--into DIR`");
    assert_eq!(said.rows().len(), 4, "{}", said.out);
    let heading = said.out.lines().next().unwrap();
    assert!(["experiment", "width", "batch size", "perplexity"].iter().all(|word| heading.contains(word)), "{}", said.out);
    assert!(said.out.contains("Lowest of 4 configurations of 2 experiments: "), "{}", said.out);
    assert!(said.out.contains("Not comparable with the first table: another tokenizer (word, not char)"), "{}", said.out);

    scene.votive(&["report", "runs/small", "runs/wide", "runs/words", "--into", "all"]).exits(0).says("report: all/index.html");
    let summary = json(&scene.path().join("all/summary.json"));
    assert_eq!(summary["experiments"], serde_json::json!(["small", "wide", "words"]));
    let sizes: Vec<usize> = summary["groups"].as_array().unwrap().iter().map(|g| g["lines"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [4, 2]);
    let lines = summary["groups"][0]["lines"].as_array().unwrap();
    assert!(lines.windows(2).all(|pair| pair[0]["loss"].as_f64() <= pair[1]["loss"].as_f64()), "best first");
    let csv = fs::read_to_string(scene.path().join("all/leaderboard.csv")).unwrap();
    assert_eq!(csv.lines().count(), 7);
    assert!(csv.starts_with("group,place,experiment,configuration,model.width,train.batch_size,perplexity,"), "{csv}");
    let page = fs::read_to_string(scene.path().join("all/index.html")).unwrap();
    assert!(page.contains("Measured otherwise") && !page.contains("<script") && !page.contains("://"), "{page}");

    // Another budget is said, and forbids the word.
    scene.run(&["--set", "name=longer", "--set", "train.budget.tokens=12288"]).exits(0);
    let said = scene.votive(&["report", "runs/small", "runs/longer"]).exits(0);
    assert!(
        said.out
            .contains("It is not called better than lines that differ from it beside their settings, in the budget for 2 of 3."),
        "{}",
        said.out
    );
    let said = scene.votive(&["compare", "small#1", "longer#1"]).exits(0);
    assert!(said.out.contains("not controlled\n  budget  8,192 tokens  12,288 tokens\n"), "{}", said.out);
    assert!(said.out.contains("Neither is called better: their budgets differ"), "{}", said.out);

    fs::write(scene.path().join("runs/wide/plan.parquet"), b"torn").unwrap();
    fs::write(scene.path().join("runs/wide/trials.parquet"), b"torn").unwrap();
    let said = scene.votive(&["report", "runs/small", "runs/wide"]).exits(0).says("damaged and left out: ");
    assert_eq!(said.rows().len(), 2, "{}", said.out);
    scene.votive(&["report", "runs/small", "runs/nowhere"]).exits(2).says("trial or checkpoint `runs/nowhere`");
}

#[test]
fn the_report_says_where_the_winner_lies_and_what_to_do_with_it() {
    let scene = trained("1");
    let said = scene.votive(&["report", "runs/small"]).exits(0);
    let line = |start: &str| {
        said.err.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{start}: {}", said.err))
    };
    assert!(scene.path().join(line("final weights: ")).join("model.safetensors").is_file());
    for start in ["sample: votive ", "settings: votive "] {
        let command = line(start).replace('\'', "");
        let arguments: Vec<&str> = command.split(' ').collect();
        assert!(!scene.votive(&arguments).exits(0).out.is_empty(), "{command}");
    }
    assert_eq!(scene.votive(&["report", "runs/small", "--into", "mine"]).exits(0).out, said.out);
    assert!(scene.path().join("mine/index.html").is_file());
}
