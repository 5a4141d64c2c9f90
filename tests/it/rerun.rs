//! The same command again goes on where it stopped; an edited file trains only what is new.

use std::fs;

use serde_json::Value;
use votive::runs::{Status, state_of};

use crate::support::{SMALL, Scene, Signal, json, read, signal_a_worker, small};

const LONG: &str = "budget: {steps: 1000000}";

/// The statuses of the trials in `report/summary.json`, configuration by configuration, best first.
fn ranked(scene: &Scene) -> Vec<(String, Value)> {
    let summary = scene.summary();
    let configurations = summary["configurations"].as_array().unwrap();
    configurations.iter().map(|c| (c["values"].to_string(), c["status"].clone())).collect()
}

#[test]
fn the_second_run_of_the_same_file_trains_nothing_and_says_so() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}\nseeds: 2"));
    let first = scene.run(&[]).exits(0).says("2 combinations = 2 configurations × 2 seeds = 4 trials").says("perplexity");
    assert_eq!(first.rows().len(), 2, "{}", first.out);
    let second = scene.run(&[]).exits(0).says("nothing to train: all 4 trials are over already");
    assert_eq!(second.out, first.out, "the table is printed all the same");
    assert_eq!(scene.attempts(), [1, 1, 1, 1]);
    let margin = || json(&scene.experiment().experiment_json())["report"]["margin"].clone();
    assert_eq!((margin(), &scene.summary()["protocol"]["margin"]), (0.002.into(), &0.002.into()));
    let set = ["evaluate.every=0.5", "run.slots=1", "checkpoint.keep_last=3", "report.margin=0.05"];
    scene.run(&set.map(|set| ["--set", set]).concat()).exits(0).says("nothing to train");
    assert_eq!(scene.attempts(), [1, 1, 1, 1], "how a trial is scored and kept, and what is said of it, is not part of it");
    assert_eq!((margin(), &scene.summary()["protocol"]["margin"]), (0.05.into(), &0.05.into()));
}

#[test]
fn one_value_added_to_an_axis_trains_only_the_new_trials() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}\nseeds: 2"));
    scene.run(&[]).exits(0).says_nothing_of("has changed");
    let before = scene.trials();
    scene.write(&small("grid: {train.batch_size: [4, 8, 16]}\nseeds: 2"));
    let said = scene.run(&[]).exits(0).says("the experiment has changed: 2 trials added, 4 kept, 0 no longer planned");
    let said = said.says("training    2 trials (4 of 6 are over already)").says("skipped     4 trials that were over before");
    assert_eq!(said.rows().len(), 3);
    assert_eq!(scene.attempts(), [1; 6]);
    assert!(before.keys().all(|id| scene.trials().contains_key(id)), "no trial is renamed");
}

#[test]
fn what_is_no_longer_planned_is_named_and_stays_unranked() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8, 16]}"));
    scene.run(&[]).exits(0);
    scene.write(&small("grid: {train.batch_size: [8, 16]}"));
    let said = scene.run(&[]).exits(0).says("0 trials added, 2 kept, 1 no longer planned");
    let said = said.says("on disk, but unranked: batch 4").says("nothing to train: all 2 trials are over already");
    assert_eq!(said.rows().len(), 2, "{}", said.out);
    assert_eq!(scene.trials().len(), 3, "nothing is deleted");
    assert!(ranked(&scene).iter().all(|(values, _)| !values.contains("\"4\"")));
    scene.write(&small("grid: {train.batch_size: [4, 8, 16]}"));
    let said = scene.run(&[]).exits(0).says("0 trials added, 1 planned again that were trained earlier, 2 kept");
    let said = said.says("nothing to train");
    assert_eq!((said.rows().len(), scene.attempts()), (3, vec![1, 1, 1]), "it comes back as it was");
}

#[test]
fn a_setting_that_is_another_for_all_is_named_and_so_is_another_file_of_the_same_name() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}"));
    scene.run(&[]).exits(0);
    let said = scene.run(&["--set", "train.learning_rate=1e-2"]).exits(0);
    let said = said.says("2 trials added, 0 kept, 2 no longer planned").says("another setting for all: train.learning_rate: ");
    said.says(" -> 0.01").says_nothing_of("last run from");
    scene.put("other.yaml", small("grid: {train.batch_size: [4, 16]}").replace("width: 16", "width: 32"));
    let said = scene.votive(&["run", "other.yaml"]).exits(0).says("another setting for all: model.width: 16 -> 32");
    said.says("the folder was last run from small.yaml, and now from other.yaml: give one of them a `name` of its own");
}

#[test]
fn another_text_is_another_trial() {
    let scene = Scene::new(&SMALL.replace("builtin:keeper", "book.txt"));
    scene.put("book.txt", "The lamp was lit at dusk.\n\n".repeat(400));
    scene.run(&[]).exits(0);
    scene.put("book.txt", "The lamp was out at dawn.\n\n".repeat(400));
    scene.run(&[]).exits(0).says("1 trial added, 0 kept, 1 no longer planned");
    assert_eq!(scene.trials().len(), 2);
}

#[test]
fn a_trial_that_diverges_is_a_result_and_the_others_go_on() {
    let yaml =
        small("grid: {train.learning_rate: [1e-3, 1e4, 2e-3]}").replace("batch_size: 8", "batch_size: 8\n  clip_norm: off");
    let scene = Scene::new(&yaml);
    let said = scene.run(&[]).exits(3).says("diverged    learning rate 1e4: the ");
    let rows = said.rows();
    assert_eq!(rows.len(), 3, "{}", said.out);
    assert!(rows[0].contains("completed") && rows[1].contains("completed"), "{}", said.out);
    assert!(rows[2].contains("1e4") && rows[2].contains("diverged"), "it stays in the table: {}", said.out);

    scene.run(&[]).exits(3).says("nothing to train: all 3 trials are over already; 1 of them diverged");
    assert_eq!(scene.attempts(), [1, 1, 1], "it is not tried again by itself");
    let diverged = scene.trials().into_iter().find(|(_, folder)| state_of(folder).status == Status::Diverged).unwrap();
    let reason = state_of(&diverged.1).reason.unwrap();
    assert!(reason.contains("at step "), "{reason}");
    scene.run(&["--retry", &diverged.0[..6]]).exits(3).says("diverged    learning rate 1e4: the ");
    assert_eq!(scene.attempts().iter().sum::<usize>(), 4, "it is where a person asks for it");
    assert_eq!(state_of(&diverged.1).reason.unwrap(), reason);
    let complete = scene.trials().into_iter().find(|(_, folder)| state_of(folder).status == Status::Completed).unwrap();
    scene.run(&["--retry", &complete.0]).exits(3).says("is complete and is not trained again");
    assert_eq!(scene.attempts().iter().sum::<usize>(), 4);
    scene.run(&["--retry", "nonsense"]).exits(2).says("no trial that is asked for has an id that begins with `nonsense`");
}

#[test]
fn a_second_runner_says_who_holds_the_experiment_and_leaves() {
    let scene = Scene::new(&SMALL.replace("budget: {steps: 40}", LONG));
    let mut runner = scene.start(&[]);
    scene.wait_for_steps(&mut runner, 1);
    let holder = format!("runs/small is being run by process {} on ", runner.pid());
    let second = scene.run(&[]).exits(75).says(&holder);
    assert_eq!(second.out, "");
    let status = scene.votive(&["status", "runs/small", "--json"]).exits(0).json();
    assert_eq!((&status["trials"][0]["status"], &status["runner"]["pid"]), (&"running".into(), &runner.pid().into()));
    scene.votive(&["status", "runs/small"]).exits(0).says(&format!("being run by process {}", runner.pid()));
    runner.send(Signal::INT);
    runner.wait().exits(130);
    scene.votive(&["status", "runs/small"]).exits(0).says("1 interrupted; nobody is running it");
    assert_eq!(scene.attempts(), [1], "the second runner started nothing");
}

#[test]
fn a_second_ctrl_c_kills() {
    let scene = Scene::new(&SMALL.replace("budget: {steps: 40}", LONG));
    let mut runner = scene.start(&[]);
    scene.wait_for_steps(&mut runner, 1);
    // A worker that stands still cannot save and leave: only killing ends it.
    signal_a_worker(&scene, Signal::STOP);
    runner.send(Signal::INT);
    std::thread::sleep(std::time::Duration::from_millis(300));
    runner.send(Signal::INT);
    runner.wait().exits(130).says("killing the workers: they go on from their last checkpoints");
    assert_eq!(state_of(scene.trials().values().next().unwrap()).status, Status::Interrupted);
}

#[test]
fn at_the_deadline_running_trials_save_and_the_rest_waits() {
    let scene = Scene::new(&small("seeds: 2\nrun: {time: 2s, slots: 1}").replace("budget: {steps: 40}", LONG));
    let said = scene.run(&[]).exits(5).says("2 of 2 trials are not done: the same command goes on where this one stopped");
    assert!(!said.out.is_empty(), "the report is written all the same");
    let states: Vec<Status> = scene.trials().values().map(|folder| state_of(folder).status).collect();
    assert_eq!(states, [Status::Interrupted], "the other one was not begun");
    let before = scene.steps();
    assert!(before > 0);
    scene.run(&["--set", "run.time=1s"]).exits(5);
    assert_eq!(scene.attempts(), [2]);
    assert!(scene.steps() > before, "it went on where it stopped");
}

#[test]
fn where_a_word_of_the_text_has_changed_it_is_said_that_the_text_has() {
    let scene = Scene::new(&SMALL.replace("builtin:keeper", "text.txt"));
    let text = "the keeper of the lighthouse wrote a line.\n".repeat(1_000);
    scene.put("text.txt", &text);
    scene.run(&[]).exits(0).says_nothing_of("has changed");
    scene.put("text.txt", text.replacen("keeper", "captain", 1));
    let said = scene.run(&[]).exits(0).says("1 trial added, 0 kept, 1 no longer planned");
    said.says("the text, or how it is split, is not what it was");
    scene.write(&SMALL.replace("builtin:keeper", "text.txt").replace("width: 16", "width: 32"));
    scene.run(&[]).exits(0).says("the experiment has changed").says_nothing_of("or how it is split");
}

#[test]
fn only_trains_a_part_and_forgets_nothing_of_the_rest() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8, 16]}"));
    let said = scene.run(&["--only", "batch_size >= 8"]).exits(0).says("`--only` leaves 2 of 3 trials");
    assert_eq!((said.rows().len(), scene.attempts()), (3, vec![1, 1]), "the third is in the table as waiting: {}", said.out);
    scene.votive(&["status", "runs/small"]).exits(0).says("3 trials: 2 completed, 1 waiting");
    scene.run(&[]).exits(0).says_nothing_of("has changed");
    let said = scene.run(&["--only", "batch_size == 4"]).exits(0).says("nothing to train: the trial is over already");
    assert_eq!((said.rows().len(), scene.attempts()), (3, vec![1, 1, 1]), "{}", said.out);
    assert_eq!(read(&scene.experiment().plan_parquet()).height(), 3);
    assert_eq!(read(&scene.experiment().trials_parquet()).height(), 3);
    for (condition, said) in [
        ("batch_size == 5", "no trial fits `--only batch_size == 5`"),
        ("batch_size", "is neither true nor false"),
        ("batchsize == 4", "batch_size"),
    ] {
        scene.run(&["--only", condition]).exits(2).says(said);
    }
}

#[test]
fn a_set_value_replaces_an_axis_and_the_environment_a_value() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}"));
    let said = scene.votive(&["plan", "small.yaml", "--set", "train.batch_size=16"]).exits(0).says("= 1 trial");
    said.says("`train.batch_size` is 16 for all: `--set` replaces its axis");
    assert_eq!(scene.plan(&["--set", "seeds=[1, 2, 3]"])["trials"].as_array().unwrap().len(), 6);
    scene.votive(&["plan", "small.yaml", "--set", "train.batch_size=[2, 4]"]).exits(0).says("`--set` replaces its axis");
    scene.votive(&["plan", "small.yaml", "--set", "run.slots=[2, 4]"]).exits(2).says("takes one value, not a list");

    let mut command = scene.command(&["plan", "small.yaml", "--json"]);
    let output = command.env("VOTIVE_SET__TRAIN__LEARNING_RATE", "0.25").output().unwrap();
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["trials"][0]["settings"]["train"]["learning_rate"], 0.25);
    let mut command = scene.command(&["plan", "small.yaml", "--json", "--set", "train.learning_rate=0.5"]);
    let output = command.env("VOTIVE_SET__TRAIN__LEARNING_RATE", "0.25").output().unwrap();
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["trials"][0]["settings"]["train"]["learning_rate"], 0.5, "the command line is later");
}

#[test]
fn what_is_kept_of_the_experiment_is_the_file_byte_for_byte() {
    let yaml = small("# a remark\n");
    let scene = Scene::new(&yaml);
    scene.run(&[]).exits(0);
    assert_eq!(fs::read_to_string(scene.experiment().experiment_yaml()).unwrap(), yaml);
    let events = fs::read_to_string(scene.experiment().events()).unwrap();
    assert!(events.lines().count() >= 2 && events.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{events}");
}

#[test]
fn what_an_earlier_rule_called_diverged_is_told_and_opened_by_its_id_only() {
    let scene = Scene::new(&small(""));
    scene.run(&[]).exits(0).says_nothing_of("earlier version");
    let (id, folder) = scene.trials().into_iter().next().unwrap();
    let mut outcome: Value = serde_json::from_slice(&fs::read(folder.outcome()).unwrap()).unwrap();
    outcome["end"] = "diverged".into();
    outcome["reason"] = "the loss is inf at step 7".into();
    fs::write(folder.outcome(), outcome.to_string()).unwrap();
    scene.run(&[]).exits(3).says_nothing_of("earlier version");

    outcome["reason"] = "the mean loss of the last 20 steps is 20.31, above 3 ln V = 12.70, at step 25".into();
    fs::write(folder.outcome(), outcome.to_string()).unwrap();
    scene.run(&[]).exits(3).says("1 trial was stopped as diverged by an earlier version").says(&format!("`--retry {id}`"));
    assert_eq!(state_of(&folder).status, Status::Diverged, "nothing is opened unasked");
    scene.run(&["--retry", id.as_str()]).exits(0).says_nothing_of("earlier version");
    assert_eq!(state_of(&folder).status, Status::Completed);
}

#[test]
fn dropout_that_leaves_a_gradient_at_zero_ends_no_trial() {
    let yaml = SMALL.replace("dropout: 0.1", "dropout: 0.99").replace("sequence_length: 32", "sequence_length: 4");
    let scene = Scene::new(&yaml.replace("batch_size: 8", "batch_size: 1"));
    scene.run(&[]).exits(0);
}

/// The batch size of each planned configuration, in the order of the file, with its number.
fn numbers(scene: &Scene) -> Vec<(u64, u64)> {
    let plan = scene.plan(&[]);
    let trials = plan["trials"].as_array().unwrap().iter();
    let number = |trial: &Value| trial["configuration"].as_u64().unwrap();
    trials.map(|trial| (trial["settings"]["train"]["batch_size"]["windows"].as_u64().unwrap(), number(trial))).collect()
}

#[test]
fn a_number_stays_with_its_configuration_and_tables_follow_the_file() {
    let sweep = |list: &str| small(&format!("grid: {{train.batch_size: {list}}}")).replace("steps: 40", "steps: 4");
    let scene = Scene::new(&sweep("[4, 8]"));
    assert_eq!(numbers(&scene), [(4, 1), (8, 2)], "before the first run");
    scene.run(&[]).exits(0);
    scene.write(&sweep("[2, 8, 4]"));
    let planned = numbers(&scene);
    assert_eq!(planned, [(2, 3), (8, 2), (4, 1)]);
    let said = scene.run(&["--only", "batch_size != 2"]).exits(0);
    let first: Vec<&str> = said.rows().iter().map(|row| row.split_whitespace().next().unwrap()).collect();
    assert_eq!((first[2], said.rows()[2].contains("waiting")), ("3", true), "{}", said.out);
    let plan = read(&scene.experiment().plan_parquet());
    let written = crate::support::numbers(&plan, "configuration");
    assert_eq!(written, [3.0, 2.0, 1.0].map(Some), "plan and run agree, also with `--only`");
    assert_eq!(numbers(&scene), planned);
    let only = scene.plan(&["--only", "configuration == 2"]);
    assert_eq!(only["trials"].as_array().unwrap().len(), 1);
    assert_eq!(only["trials"][0]["settings"]["train"]["batch_size"]["windows"], 8);
    let status = scene.votive(&["status", "runs/small", "--json"]).exits(0).json();
    let listed: Vec<u64> = status["trials"].as_array().unwrap().iter().map(|t| t["configuration"].as_u64().unwrap()).collect();
    assert_eq!(listed, [3, 2, 1]);

    scene.votive(&["show", "runs/small", "1"]).exits(0).says("batch_size: 4");
    scene.votive(&["explain", "small.yaml", "--configuration", "3"]).exits(0).says("configuration 3, one of 3: batch 2");
    scene.votive(&["compare", "small#1", "small#2"]).exits(0).says("batch 4").says("batch 8");

    // What is gone keeps its number from being used again, for as long as anything is known of it.
    scene.write(&sweep("[8, 4]"));
    scene.run(&[]).exits(0);
    scene.votive(&["show", "runs/small", "3"]).exits(2).says("take a number from 1 to 2");
    scene.write(&sweep("[16, 8, 4, 2]"));
    assert_eq!(numbers(&scene), [(16, 4), (8, 2), (4, 1), (2, 3)]);
    scene.votive(&["explain", "small.yaml"]).exits(0).says("configuration 4, one of 4: batch 16");

    // A description of an older program lists trials only, and a damaged one nothing.
    let path = scene.experiment().experiment_json();
    let mut description: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(description["numbers"].as_object_mut().unwrap().len(), 3);
    description.as_object_mut().unwrap().remove("numbers");
    fs::write(&path, description.to_string()).unwrap();
    assert_eq!(numbers(&scene), [(16, 3), (8, 2), (4, 1), (2, 4)]);
    fs::write(&path, "{").unwrap();
    assert_eq!(numbers(&scene), [(16, 3), (8, 2), (4, 1), (2, 4)], "each trial's own description has its number");

    // What a newer program wrote is left as it is.
    fs::write(&path, r#"{"version": 99}"#).unwrap();
    scene.votive(&["plan", "small.yaml"]).exits(1).says("was written by a newer program");
    scene.run(&[]).exits(1).says("was written by a newer program");
    assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"version": 99}"#);

    // What is damaged fixes as much as before: the context in which trials are compared, and the device.
    let longer = sweep("[16, 8, 4, 2]").replace("sequence_length: 32", "sequence_length: 64");
    assert_ne!(longer, sweep("[16, 8, 4, 2]"));
    scene.write(&longer);
    fs::write(&path, "{").unwrap();
    let said = scene.votive(&["plan", "small.yaml"]).exits(0);
    said.says("experiment.json is damaged").says("taken from the trials' folders").says("ranked in windows of 32 tokens");
}

#[test]
fn every_file_of_a_run_has_the_rights_of_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new(&SMALL.replace("steps: 40", "steps: 4"));
    scene.run(&[]).exits(0);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
    let usual = mode(&scene.path().join("small.yaml"));
    let files = crate::support::files_below(scene.experiment().path(), "");
    assert!(files.iter().any(|path| path.ends_with("model.safetensors")), "{files:?}");
    for path in files {
        assert_eq!(mode(&path), usual, "{}", path.display());
    }
}

#[test]
fn a_program_that_was_deleted_while_it_runs_goes_on() {
    let scene = Scene::new(&SMALL.replace("steps: 40", "steps: 4"));
    let program = scene.path().join("votive");
    // A link where that can be: a file that was written just now may still be open in a child of another test, and not start.
    let built = env!("CARGO_BIN_EXE_votive");
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
    let mut command = std::process::Command::new(&program);
    command.args(["run", "small.yaml"]).current_dir(scene.path());
    let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    fs::remove_file(&program).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("probed      1 shape"), "{said}");
    assert!(!said.contains("could not be measured"), "{said}");
}
