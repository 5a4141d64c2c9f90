//! The commands around a run: what they print, where, and how they exit.

use std::fs;

use crate::support::{SMALL, Said, Scene, Signal, small};

#[test]
fn help_names_every_command_and_every_exit_code() {
    let scene = Scene::new(SMALL);
    let help = scene.votive(&["--help"]).exits(0);
    for word in [
        "run",
        "plan",
        "check",
        "explain",
        "show",
        "status",
        "report",
        "compare",
        "sample",
        "settings",
        "schema",
        "completions",
        "man",
    ] {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(word)), "{word}: {}", help.out);
    }
    for code in ["0", "1", "2", "3", "4", "5", "75", "130, 143"] {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code}: {}", help.out);
    }
    assert_eq!(help.err, "");
    for hidden in ["worker", "probe"] {
        assert!(!help.out.lines().any(|line| line.trim_start().starts_with(hidden)), "{hidden} is not for people");
    }
    for command in ["run", "plan", "check", "explain", "show", "status", "report", "compare", "sample"] {
        let help = scene.votive(&[command, "--help"]).exits(0);
        assert!(help.out.contains("Usage: votive"), "{}", help.out);
    }
    scene.votive(&[]).exits(2);
}

#[test]
fn the_version_is_that_of_the_package() {
    let said = Scene::new(SMALL).votive(&["--version"]).exits(0);
    assert_eq!(said.out, format!("votive {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_and_the_man_page_come_from_the_command_line() {
    let scene = Scene::new(SMALL);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = scene.votive(&["completions", shell]).exits(0).says("votive").says("max-trials");
        assert_eq!(said.err, "", "{shell}");
    }
    scene.votive(&["man"]).exits(0).says(".TH votive 1").says("Exit codes");
}

#[test]
fn settings_lists_every_key_or_tells_one_and_the_schema_is_json() {
    let scene = Scene::new(SMALL);
    let all = scene.votive(&["settings"]).exits(0).says("train.clip_norm").says("report.margin").says("seeds");
    assert_eq!(all.err, "");
    scene.votive(&["settings", "train.clip_norm"]).exits(0).says("a number above 0, or `off`").says("called `max_grad_norm`");
    scene.votive(&["settings", "grad_clip"]).exits(0).says("train.clip_norm\n");
    let several = scene.votive(&["settings", "every"]).exits(0).says("evaluate.every").says("checkpoint.every");
    assert!(!several.out.contains("train.stride\n"), "{}", several.out);
    scene.votive(&["settings", "train.sride"]).exits(2).says("hint: did you mean `train.stride`?");
    scene.votive(&["settings", "zzzzzz"]).exits(2).says("hint: `votive settings` lists all of them");
    let schema = scene.votive(&["schema"]).exits(0).json();
    assert_eq!(schema["definitions"]["train.schedule"]["enum"], serde_json::json!(["cosine", "linear", "constant"]));
    assert!(schema["properties"]["grid"]["description"].as_str().unwrap().contains("Example: `grid: {"));
}

#[test]
fn check_says_that_a_file_is_right_and_what_is_odd_about_it() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}\nseeds: 3"));
    let said = scene.votive(&["check", "small.yaml"]).exits(0).says("small.yaml is right: 2 configurations, 6 trials");
    assert_eq!(said.out, "");
    assert!(!scene.path().join("runs").exists(), "it writes nothing");
    scene.write(&small("grid: {train.batch_size: [4]}"));
    scene
        .votive(&["check", "small.yaml"])
        .exits(0)
        .says("warning")
        .says("small.yaml is right: 1 configuration, 1 trial (the text was not read: `votive plan` does that)\n");
}

#[test]
fn a_folder_in_place_of_a_file_and_a_command_that_there_is_not_are_told_with_what_to_do() {
    let scene = Scene::new(SMALL);
    fs::create_dir(scene.path().join("folder")).unwrap();
    let said = scene.votive(&["plan", "folder"]).exits(2).says("`folder` is a folder, and an experiment file is needed");
    said.says("name its YAML file");
    scene.votive(&["train", "small.yaml"]).exits(2).says("votive has no command `train`").says("did you mean `votive run`?");
    scene.votive(&["zzzzzz"]).exits(2).says("there are `new`, `check`").says("`votive --help`");
}

#[test]
fn a_short_last_step_of_an_epoch_is_told_only_where_the_budget_comes_to_one() {
    let scene = Scene::new(SMALL);
    let plan = |batch: usize, budget: &str| {
        let set = [format!("train.batch_size={batch}"), format!("train.budget={budget}")];
        scene.votive(&["plan", "small.yaml", "--set", &set[0], "--set", &set[1]]).exits(0).err
    };
    let is_told = |said: &str| said.contains("the last step of an epoch has only");
    let batch = (9..40).find(|&batch| is_told(&plan(batch, "{epochs: 1}"))).expect("a batch size that leaves few windows");
    assert!(!is_told(&plan(batch, "{steps: 3}")));
}

#[test]
fn a_report_that_cannot_be_shown_or_written_hides_nothing_of_the_trials() {
    let scene = Scene::new(SMALL);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut run = scene.command(&["run", "small.yaml", "--no-probe"]);
    Said::of(run.stdout(full).output().unwrap()).exits(0).says("warning: the report is written and cannot be shown");
    let report = scene.experiment().report();
    fs::remove_dir_all(&report).unwrap();
    fs::write(&report, "in its place").unwrap();
    let said = scene.run(&[]).exits(1).says("error: the report cannot be written").says("nothing to train");
    said.says("hint: `votive report runs/small` writes it again");
    scene.run(&["--set", "train.budget={steps: 1000000}", "--set", "run.time=2s"]).exits(5).says("the report cannot be written");
}

#[test]
fn the_process_that_writes_a_report_beside_a_run_shows_it_only_when_asked_and_keeps_what_memory_it_took() {
    let scene = Scene::new(SMALL);
    scene.run(&[]).exits(0);
    let (report, took) = (scene.experiment().report(), scene.experiment().report_memory());
    assert!(took.exists(), "the run had its report written so");
    fs::remove_dir_all(&report).unwrap();
    fs::remove_file(&took).unwrap();
    let quiet = scene.votive(&["write-report", "runs/small"]).exits(0);
    assert!(quiet.out.is_empty() && quiet.err.is_empty() && report.join("index.html").exists());
    let text = fs::read_to_string(took).unwrap();
    assert!(text.contains("\"trials\": 1"), "{text}");
    let shown = scene.votive(&["write-report", "runs/small", "--show"]).exits(0).says("report: ");
    assert_eq!(shown.out, scene.votive(&["report", "runs/small"]).exits(0).out);
}

#[test]
fn a_plan_starts_nothing() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}"));
    let said = scene.votive(&["plan", "small.yaml"]).exits(0).says("2 combinations = 2 configurations × 1 seed = 2 trials");
    assert_eq!(said.err, "");
    assert!(scene.trials().is_empty() && !scene.experiment().experiment_json().exists());
    scene.votive(&["status", "runs/small"]).exits(4);
}

#[test]
fn off_a_terminal_there_are_plain_lines_and_data_on_standard_output_only() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}"));
    // With a probe, as a person runs it.
    let said = scene.votive(&["run", "small.yaml"]).exits(0);
    for text in [&said.out, &said.err] {
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
    }
    for line in [
        "probed      ",
        "training    2 trials on cpu",
        "started     batch 4",
        "completed   batch 8: perplexity ",
        "report: runs/small/report/index.html",
    ] {
        assert!(said.err.contains(line) && !said.out.contains(line), "{line}: {}", said.err);
    }
    assert!(said.out.contains("perplexity") && !said.err.contains("───"), "the table is data");
    assert_eq!(said.rows().len(), 2);
    let mut forced = scene.command(&["report", "runs/small"]);
    let plain = forced.env("TERM", "xterm-256color").env("COLORTERM", "truecolor").output().unwrap();
    assert_eq!(String::from_utf8(plain.stdout).unwrap(), said.out);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    use std::process::Stdio;
    let scene = Scene::new(&small("grid: {train.batch_size: {from: 1, to: 400, step: 1}}"));
    let mut child =
        scene.command(&["plan", "small.yaml", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn status_tells_each_trial_and_changes_nothing() {
    let scene = Scene::new(&small("seeds: 2").replace("steps: 40", "steps: 1000000"));
    let mut runner = scene.start(&["--slots", "1"]);
    scene.wait_for_steps(&mut runner, 1);
    let text =
        scene.votive(&["status", "runs/small"]).exits(0).says("small: 2 trials: 1 running, 1 waiting; being run by process");
    assert!(text.out.contains("step ") && text.out.contains(" of 1,000,000"), "{}", text.out);
    runner.send(Signal::TERM);
    runner.wait().exits(143);

    let files = |scene: &Scene| -> Vec<_> {
        let stamp = |path: &std::path::PathBuf| (path.clone(), fs::metadata(path).unwrap().modified().unwrap());
        crate::support::files_below(scene.path(), "").iter().map(stamp).collect()
    };
    let before = files(&scene);
    let said = scene.votive(&["status", "runs/small", "--json"]).exits(0);
    assert_eq!(said.err, "");
    let json = said.json();
    assert_eq!((&json["experiment"], &json["runner"]), (&"small".into(), &serde_json::Value::Null));
    assert_eq!(json["counts"], serde_json::json!({"interrupted": 1, "waiting": 1}));
    let trials = json["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 2);
    assert!(trials.iter().any(|t| t["status"] == "interrupted" && t["progress"]["step"].as_i64().unwrap() > 0), "{json}");
    let all = scene.votive(&["status", "--json"]).exits(0).json();
    assert_eq!(all.as_array().unwrap().len(), 1, "without a folder: every experiment under `runs`");
    scene.votive(&["status"]).exits(0).says("small: 2 trials: 1 interrupted, 1 waiting; nobody is running it");
    assert_eq!(files(&scene), before);
}

#[test]
fn an_experiment_that_cannot_be_read_hides_no_other_from_a_status() {
    let scene = Scene::new(SMALL);
    scene.run(&["--set", "run.time=1s", "--set", "train.budget={steps: 1000000}"]).exits(5);
    let broken = scene.path().join("runs/broken");
    fs::create_dir(&broken).unwrap();
    for name in ["experiment.json", "plan.parquet"] {
        fs::copy(scene.path().join("runs/small").join(name), broken.join(name)).unwrap();
    }
    fs::write(broken.join("experiment.json"), "{").unwrap();
    let said = scene.votive(&["status"]).exits(0).says("small: 1 trial");
    assert!(said.err.starts_with("error: ") && said.err.contains("broken"), "{}", said.err);
    let all = scene.votive(&["status", "--json"]).exits(0).json();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    scene.votive(&["status", "runs/broken"]).exits(1).says("broken");
    fs::write(scene.path().join("runs/small/experiment.json"), "{").unwrap();
    let said = scene.votive(&["status"]).exits(1);
    assert_eq!(said.err.matches("error: ").count(), 2, "each once: {}", said.err);
}

#[test]
fn show_prints_an_experiment_that_is_the_same_trials() {
    let yaml = small(
        "grid: {train.batch_size: [4, full], train.clip_norm: [off, 0.5]}\nseeds: [3, 5]\ntokenizer: {kind: bpe, vocab_size: 300}",
    );
    let scene = Scene::new(
        &yaml
            .replace("layers: 1", "layers: 1, family: llama, bias: true")
            .replace(", dropout: 0.1", "")
            .replace("steps: 40", "tokens: 5_000"),
    );
    scene.run(&[]).exits(0);
    let ids: Vec<String> = scene.trials().into_keys().collect();
    let mut shown = Vec::new();
    for configuration in ["1", "2", "3", "4"] {
        let said = scene.votive(&["show", "runs/small", configuration]).exits(0);
        assert_eq!(said.err, "");
        scene.put("one.yaml", &said.out);
        scene.votive(&["check", "one.yaml"]).exits(0).says("one.yaml is right: 1 configuration, 2 trials");
        let plan = scene.votive(&["plan", "one.yaml", "--json"]).exits(0).json();
        shown.extend(plan["trials"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()));
    }
    shown.sort();
    assert_eq!(shown, ids, "the same settings have the same ids");
    scene.votive(&["show", "runs/small", "5"]).exits(2).says("take a number from 1 to 4");
    scene.votive(&["show", "runs/small", "0"]).exits(2);
    scene
        .votive(&["show", "runs/other", "1"])
        .exits(2)
        .says("there is no experiment, configuration, trial or checkpoint `runs/other`");
}

#[test]
fn report_makes_the_same_again_from_the_files() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}\nseeds: 2"));
    let first = scene.run(&[]).exits(0);
    let report = scene.experiment().report();
    let names = ["index.html", "leaderboard.csv", "report.md", "summary.json"];
    let read = || names.map(|name| fs::read_to_string(report.join(name)).unwrap());
    let before = read();
    fs::remove_dir_all(&report).unwrap();
    assert_eq!(scene.votive(&["report", "runs/small"]).exits(0).out, first.out);
    let again = read();
    for ((name, before), again) in names.iter().zip(&before).zip(&again).skip(1) {
        assert_eq!(before, again, "{name}");
    }
    let loaded = ["<script src", "<link", "<img src=\"http", "@import"];
    assert!(loaded.iter().all(|tag| !again[0].contains(tag)), "the page opens without a network");
    assert_eq!(again[1].lines().count(), 3);
    let perplexities = scene.summary()["configurations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["perplexity"].as_f64().unwrap())
        .collect::<Vec<_>>();
    assert!(
        perplexities[0] <= perplexities[1] && perplexities[1] < 60.0,
        "best first, and better than guessing: {perplexities:?}"
    );
}

#[test]
fn where_there_is_nothing_a_report_and_a_status_exit_4() {
    let scene = Scene::new(SMALL);
    fs::create_dir(scene.path().join("empty")).unwrap();
    for arguments in [&["report", "."][..], &["report", "empty"], &["status", "empty"], &["status"]] {
        let said = scene.votive(arguments).exits(4).says("there is no experiment ").says("hint: ");
        assert_eq!(said.out, "");
    }
    for command in ["report", "status", "show", "sample"] {
        scene.votive(&[command, "nowhere"]).exits(2).says("there is no experiment, configuration, trial or checkpoint `nowhere`");
    }
    // An experiment of which nothing is complete.
    scene.run(&["--set", "run.time=1s", "--set", "train.budget={steps: 1000000}"]).exits(5);
    scene.votive(&["report", "runs/small"]).exits(4).says("No trial is complete");
}

#[test]
fn explain_takes_numbers_as_the_file_does() {
    let scene = Scene::new(SMALL);
    let explain = |tokens: &str, length: &str, stride: &str, batch: &str| {
        let flags = ["--tokens", tokens, "--sequence-length", length, "--stride", stride, "--batch-size", batch];
        scene.votive(&[&["explain"][..], &flags].concat())
    };
    let plain = explain("20000", "512", "256", "8").exits(0).out;
    assert_eq!(explain("20_000", "5.12e2", "0256", "8").exits(0).out, plain);
    assert_eq!(explain("2e4", "512", "256", "8").exits(0).out, plain);
    explain("2e4", "512", "256", "full").exits(0).says("`full`: all 77 windows of the epoch");
    for (tokens, length, stride, batch) in [
        ("18446744073709551615", "512", "256", "8"),
        ("1.5", "512", "256", "8"),
        ("2e4", "1e10", "256", "8"),
        ("2e4", "512", "-5", "8"),
        ("2e4", "512", "256", "0"),
        ("200k", "512", "256", "8"),
    ] {
        let said = explain(tokens, length, stride, batch).exits(2);
        assert!(said.err.contains("should be a whole number") && !said.err.contains("panicked"), "{}", said.err);
    }
    explain("1e15", "1e9", "1", "full").exits(2).says("more predictions than can be counted");
    explain("1e15", "1e9", "1e9", "full").exits(0);
    let said = scene.votive(&["sample", "x", "--seed", "-1"]).exits(2);
    assert!(said.err.contains("a seed is a whole number from 0 to 18446744073709551615"), "{}", said.err);
}

#[test]
fn output_goes_where_it_is_told() {
    let scene = Scene::new(SMALL);
    scene.run(&["--runs", "other/place"]).exits(0).says("report: other/place/small/report/index.html");
    assert!(!scene.path().join("runs").exists());
    scene.votive(&["status", "other/place/small"]).exits(0).says("1 completed");
    let yaml = SMALL.replace("builtin:keeper", "book.txt");
    fs::create_dir_all(scene.path().join("deep")).unwrap();
    scene.put("deep/there.yaml", &yaml);
    scene.put("deep/book.txt", "A lamp was lit at dusk.\n\n".repeat(400));
    scene.votive(&["run", "deep/there.yaml", "--no-probe"]).exits(0);
    assert_eq!(scene.trials().len(), 1, "a text is beside its experiment, output where the command is given");
}
