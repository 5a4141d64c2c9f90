//! A trial that would be the same as one already trained, to the bit, is recorded and not trained again.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use polars::prelude::*;
use serde_json::Value;
use votive::runs::{Status, TrialFolder, attempts, state_of};

use crate::support::{Scene, Signal, assert_alike, final_weights, json, random, read, small, table};

const STEPS: u64 = 40;

fn clips(list: &str, rest: &str) -> String {
    small(&format!("grid: {{train.clip_norm: [{list}]}}\n{rest}"))
}

/// The id and the folder of the trial with this clip norm and seed.
#[track_caller]
fn trial(scene: &Scene, clip: &str, seed: u64) -> (String, TrialFolder) {
    named(scene, &format!("clip {clip}"), seed)
}

#[track_caller]
fn named(scene: &Scene, label: &str, seed: u64) -> (String, TrialFolder) {
    let plan = scene.plan(&[]);
    let trials = plan["trials"].as_array().unwrap();
    let found = trials.iter().find(|t| t["label"] == label && t["seed"] == seed);
    let id = found.unwrap_or_else(|| panic!("{plan}"))["id"].as_str().unwrap().to_owned();
    let folder = TrialFolder::at(&scene.experiment().trials().join(&id));
    (id, folder)
}

fn alias_of(folder: &TrialFolder) -> Option<String> {
    state_of(folder).outcome.unwrap().alias_of.map(|id| id.to_string())
}

fn without_id(frame: DataFrame) -> DataFrame {
    frame.drop("trial_id").unwrap()
}

/// Fails the test where this is no whole alias of that trial.
#[track_caller]
fn assert_alias(alias: &(String, TrialFolder), source: &(String, TrialFolder)) {
    let (state, original) = (state_of(&alias.1), state_of(&source.1));
    assert_eq!(state.status, Status::Completed);
    assert_eq!(alias_of(&alias.1).as_deref(), Some(source.0.as_str()));
    let (outcome, original) = (state.outcome.unwrap(), original.outcome.unwrap());
    assert!(outcome.arithmetic.is_some() && outcome.processor.is_some());
    let (ours, theirs) = ((outcome.arithmetic, outcome.processor), (original.arithmetic, original.processor));
    assert_eq!(ours, theirs, "what trained it is the source's");
    assert_eq!((outcome.scores, outcome.clipping, outcome.steps), (original.scores, original.clipping, original.steps));
    assert!(attempts(&alias.1).unwrap().is_empty(), "it was never started");
    for file in ["evaluations.parquet", "token_nll.parquet", "positions.parquet"] {
        let (copy, original) = (read(&alias.1.path().join(file)), read(&source.1.path().join(file)));
        let ids = copy.column("trial_id").unwrap().str().unwrap().clone();
        assert!(ids.iter().all(|id| id == Some(alias.0.as_str())), "{file} is under its own id");
        assert!(copy.height() > 0 && without_id(copy).equals_missing(&without_id(original)), "{file}");
    }
    assert_eq!(fs::read(alias.1.sample()).unwrap(), fs::read(source.1.sample()).unwrap());
    for path in [alias.1.steps(), alias.1.steps_parts(), alias.1.checkpoints(), alias.1.checkpoints_parquet()] {
        assert!(!path.exists(), "{} is the source's", path.display());
    }
    assert_eq!(json(&alias.1.job())["id"], alias.0, "`show` prints its settings");
}

#[test]
fn a_clip_norm_that_never_binds_is_not_trained_and_would_have_come_to_the_same_bytes() {
    let scene = Scene::new(&clips("off, 100, 0.1", "seeds: 2"));
    scene.votive(&["plan", "small.yaml"]).exits(0).says("up to 4 trials may turn out to be the same as another");
    let said =
        scene.run(&["--slots", "2"]).exits(0).says("alias       clip 100, seed 1: the same as clip off, seed 1; perplexity ");
    let said = said.says("2 of 6 trials were not trained: each is the same, to the bit, as one with another clip norm");
    let said = said.says("Clip norm 100 never bound: all its trials are those of `off`.").says("Clip norm 0.1 clipped ");
    assert_eq!(said.rows().len(), 3, "{}", said.out);
    for seed in [1, 2] {
        assert_alias(&trial(&scene, "100", seed), &trial(&scene, "off", seed));
        let bound = trial(&scene, "0.1", seed);
        assert_eq!((alias_of(&bound.1), attempts(&bound.1).unwrap().len()), (None, 1));
        assert!(json(&bound.1.outcome())["clipping"]["clipped_steps"].as_i64().unwrap() > 30);
    }

    // In the tables, the status and the report it is a trial like any other that says whose results it has.
    let trials = read(&scene.experiment().trials_parquet());
    assert_eq!(trials.column("alias_of").unwrap().null_count(), 4);
    assert_eq!(trials.column("training_seconds").unwrap().null_count(), 2, "it took no time");
    let (source, alias) = (trial(&scene, "off", 1), trial(&scene, "100", 1));
    scene.votive(&["status", "runs/small"]).exits(0).says(&format!("the same as {} (1 clip off), perplexity ", source.0));
    let configurations = scene.summary()["configurations"].as_array().unwrap().clone();
    let of = |clip: &str| configurations.iter().find(|c| c["values"].to_string().contains(clip)).unwrap().clone();
    assert_eq!((&of("\"100\"")["seeds"], &of("\"100\"")["status"]["completed"]), (&Value::from(2), &Value::from(2)));
    assert_eq!(of("\"100\"")["loss"], of("off")["loss"]);

    // Its weights are the source's.
    let sampled = |id: &str| scene.votive(&["sample", id, "--tokens", "30"]).exits(0);
    let said = sampled(&alias.0).says(&format!("of trial {}, which {} is the same as", source.0, alias.0));
    assert_eq!(said.out, sampled(&source.0).out);
    scene.votive(&["show", "runs/small", "2"]).exits(0).says("clip_norm: 100");

    scene.run(&[]).exits(0).says("nothing to train: all 6 trials are over already").says("2 of 6 trials were not trained");
    let said = scene.run(&["--no-alias"]).exits(0).says("training    2 trials (4 of 6 are over already)");
    said.says_nothing_of("were not trained");
    for seed in [1, 2] {
        let (off, hundred) = (trial(&scene, "off", seed).1, trial(&scene, "100", seed).1);
        assert_eq!(attempts(&hundred).unwrap().len(), 1);
        assert!(final_weights(&off, STEPS) == final_weights(&hundred, STEPS), "the final weights differ");
        assert!(final_weights(&off, STEPS) != final_weights(&trial(&scene, "0.1", seed).1, STEPS));
        for file in ["steps.parquet", "evaluations.parquet", "token_nll.parquet"] {
            let of = |folder: &TrialFolder| without_id(table(&folder.path().join(file)));
            assert!(of(&off).height() > 0 && of(&off).equals_missing(&of(&hundred)), "{file}");
        }
    }
    scene.run(&[]).exits(0).says("nothing to train").says_nothing_of("not trained");
}

#[test]
fn what_the_outcome_says_of_clipping_is_what_the_steps_say() {
    let scene = Scene::new(&small("").replace("batch_size: 8", "batch_size: 8\n  clip_norm: 0.5"));
    // Interrupted once, so that two attempts made the rows.
    let mut runner = scene.start(&["--set", "train.budget={steps: 400}"]);
    scene.wait_for_steps(&mut runner, 100);
    runner.send(Signal::INT);
    runner.wait().exits(130);
    scene.run(&["--set", "train.budget={steps: 400}"]).exits(0);
    let (_, folder) = scene.trials().pop_first().unwrap();
    let steps = read(&folder.steps());
    assert!(steps.column("attempt").unwrap().i32().unwrap().iter().any(|attempt| attempt == Some(2)));
    let mut norms: Vec<f64> = steps.column("grad_norm").unwrap().f64().unwrap().into_no_null_iter().collect();
    norms.sort_by(f64::total_cmp);
    let clipped = steps.column("clipped").unwrap().bool().unwrap().iter().flatten().filter(|c| *c).count();
    let said = &json(&folder.outcome())["clipping"];
    assert_eq!((said["steps"].as_u64(), said["clipped_steps"].as_u64()), (Some(400), Some(clipped as u64)));
    for (name, place) in [("grad_norm_p50", 199), ("grad_norm_p90", 359), ("grad_norm_p99", 395), ("grad_norm_max", 399)] {
        assert_eq!(said[name].as_f64(), Some(norms[place]), "{name}");
    }
    let trials = read(&scene.experiment().trials_parquet());
    let cell = |name: &str| trials.column(name).unwrap().f64().unwrap().get(0);
    assert_eq!((cell("clipped_share"), cell("grad_norm_p99")), (Some(clipped as f64 / 400.0), Some(norms[395])));
}

#[test]
fn a_value_that_joins_later_is_recorded_at_once_whichever_is_larger() {
    let scene = Scene::new(&clips("50", ""));
    scene.run(&[]).exits(0);
    scene.write(&clips("off, 50", ""));
    let said = scene.run(&[]).exits(0).says("alias       clip off: the same as clip 50; perplexity ");
    said.says("nothing to train: all 2 trials are over already");
    let source = trial(&scene, "50", 1);
    assert_alias(&trial(&scene, "off", 1), &source);
    let events = fs::read_to_string(scene.experiment().events()).unwrap();
    let aliased =
        events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|e| e["kind"] == "aliased").unwrap();
    let told = [&aliased["trial"], &aliased["source"], &aliased["end"]];
    assert_eq!(told, [trial(&scene, "off", 1).0.as_str(), &source.0, "completed"]);

    // Also where `--only` leaves the source out, and where the source is planned no more: an alias is never a source.
    scene.write(&clips("off, 50, 60", ""));
    scene.run(&["--only", "clip_norm == 60"]).exits(0).says("nothing to train: the trial is over already");
    assert_alias(&trial(&scene, "60", 1), &source);
    scene.write(&clips("off, 70", ""));
    scene.run(&[]).exits(0).says(&format!("alias       clip 70: the same as trial {}; perplexity", source.0));
    assert_alias(&trial(&scene, "70", 1), &source);
    assert_eq!(scene.attempts().iter().sum::<usize>(), 1, "one trial was ever started");
}

#[test]
fn an_alias_whose_source_is_gone_is_opened_again() {
    let scene = Scene::new(&clips("off, 50", ""));
    scene.run(&["--slots", "1"]).exits(0);
    let (source, alias) = (trial(&scene, "off", 1), trial(&scene, "50", 1));
    assert_alias(&alias, &source);
    fs::remove_dir_all(source.1.path()).unwrap();
    scene.votive(&["sample", &alias.0]).exits(4).says(&format!("is the same as {}, which is gone", source.0));
    let said =
        scene.run(&["--slots", "1"]).exits(0).says("clip 50 was the same as trial ").says("which is gone: it is open again");
    said.says("training    2 trials on");
    assert_alias(&alias, &source);

    // Where only the alias is left to train, it is trained.
    fs::remove_dir_all(source.1.path()).unwrap();
    scene.write(&clips("50", ""));
    scene.run(&[]).exits(0).says("training    1 trial on");
    assert_eq!((alias_of(&alias.1), attempts(&alias.1).unwrap().len()), (None, 1));
}

#[test]
fn newer_scores_of_a_source_are_given_to_its_aliases_where_there_is_time() {
    let scene = Scene::new(&clips("off, 50", ""));
    scene.run(&["--slots", "1"]).exits(0);
    let (source, alias) = (trial(&scene, "off", 1), trial(&scene, "50", 1));
    let mut outcome = json(&alias.1.outcome());
    outcome["protocol"] = 0.into();
    fs::write(alias.1.outcome(), outcome.to_string()).unwrap();
    let mut late = scene.command(&["run", "small.yaml", "--no-probe"]);
    late.env("VOTIVE_DEADLINE", "1000").output().unwrap();
    assert_eq!(json(&alias.1.outcome()), outcome, "the deadline had come");
    scene.run(&[]).exits(0);
    assert_alias(&alias, &source);
    assert_eq!(json(&alias.1.outcome())["protocol"], json(&source.1.outcome())["protocol"]);
}

#[test]
fn a_trial_that_diverged_unclipped_has_aliases_too_and_retry_trains_them() {
    let scene = Scene::new(&clips("off, 1e300", "").replace("batch_size: 8", "batch_size: 8\n  learning_rate: 1e4"));
    let said = scene.run(&["--slots", "1"]).exits(3).says("diverged    clip off: the ");
    said.says("alias       clip 1e300: the same as clip off; the ");
    let (source, alias) = (trial(&scene, "off", 1), trial(&scene, "1e300", 1));
    let (one, other) = (state_of(&source.1), state_of(&alias.1));
    assert_eq!((one.status, one.reason), (Status::Diverged, other.reason));
    assert_eq!((alias_of(&alias.1), other.status), (Some(source.0), Status::Diverged));
    scene.run(&["--retry", &alias.0]).exits(3).says("diverged    clip 1e300: the ");
    assert_eq!((alias_of(&alias.1), attempts(&alias.1).unwrap().len()), (None, 1));
    assert_eq!(state_of(&alias.1).reason, state_of(&source.1).reason);
}

#[test]
fn scored_again_with_its_source_an_alias_has_the_new_scores() {
    let lengths = |lengths: &str, clips: &str| {
        let grid = format!("grid: {{train.sequence_length: [{lengths}], train.clip_norm: [{clips}]}}\n");
        small(&format!("{grid}tokenizer: {{kind: byte}}\nevaluate: {{at_most: 1}}"))
    };
    let scene = Scene::new(&lengths("64", "off, 50"));
    scene.run(&["--slots", "1"]).exits(0);
    scene.write(&lengths("64, 32", "off, 50"));
    let (off, fifty) = ("length 64 · clip off", "length 64 · clip 50");
    let said = scene.run(&["--slots", "1"]).exits(0).says("1 finished trial is scored otherwise than this plan compares");
    said.says("2 of 4 trials were not trained");
    assert_alias(&named(&scene, fifty, 1), &named(&scene, off, 1));
    scene.run(&["--rescore"]).exits(0).says("1 finished trial again").says("nothing to train: all 4 trials are over already");
    assert_alias(&named(&scene, fifty, 1), &named(&scene, off, 1));
    let contexts = read(&scene.experiment().trials_parquet()).column("common_context").unwrap().i64().unwrap().clone();
    assert_eq!(contexts.iter().collect::<Vec<_>>(), [Some(32); 4]);
    assert_eq!(scene.attempts().iter().sum::<usize>(), 2);

    // Its source is planned no more: it is scored from the weights that lie there, and not trained.
    scene.write(&lengths("64, 16", "50"));
    let said = scene.run(&["--rescore"]).exits(0).says("1 finished trial again (context 32 instead of 16)");
    said.says("training    1 trial");
    assert!(alias_of(&named(&scene, fifty, 1).1).is_some());
    scene.run(&[]).exits(0).says_nothing_of("otherwise than this plan");
    let contexts = read(&scene.experiment().trials_parquet()).column("common_context").unwrap().i64().unwrap().clone();
    assert_eq!(contexts.iter().collect::<Vec<_>>(), [Some(16); 2]);
}

#[test]
fn budgets_in_minutes_have_no_aliases() {
    let scene = Scene::new(&clips("off, 100", "").replace("{steps: 40}", "{minutes: 0.005}"));
    scene.votive(&["plan", "small.yaml"]).exits(0).says_nothing_of("may turn out");
    scene.run(&["--slots", "1"]).exits(0).says_nothing_of("alias ");
    assert_eq!(scene.attempts(), [1, 1]);
}

#[test]
fn killed_at_any_moment_of_recording_the_next_run_has_every_alias_whole() {
    let many: Vec<String> = (40..80).map(|n| n.to_string()).collect();
    let scene = Scene::new(&clips("off", ""));
    scene.run(&[]).exits(0);
    scene.write(&clips(&format!("off, {}", many.join(", ")), ""));
    for _ in 0..4 {
        let runner = scene.start(&[]);
        sleep(Duration::from_millis(random(600)));
        runner.send(Signal::KILL);
        runner.wait();
    }
    // What kills leave: just before the outcome, and of a worker while it wrote.
    scene.run(&[]).exits(0).says("nothing to train: all 41 trials are over already");
    let (source, torn) = (trial(&scene, "off", 1), trial(&scene, "50", 1));
    fs::remove_file(torn.1.outcome()).unwrap();
    let halves = [".tmp-1-token_nll.parquet.part", "attempts/.tmp-1-0001.json.part"].map(|half| torn.1.path().join(half));
    fs::create_dir_all(torn.1.attempts()).unwrap();
    for half in &halves {
        fs::write(half, "half").unwrap();
    }
    scene.run(&[]).exits(0).says("alias       clip 50: the same as clip off");
    assert!(halves.iter().all(|half| !half.exists()));
    for clip in &many {
        assert_alias(&trial(&scene, clip, 1), &source);
    }
    assert_eq!(scene.attempts().iter().sum::<usize>(), 1);

    // And half an alias that is trained after all.
    fs::remove_file(torn.1.outcome()).unwrap();
    scene.write(&clips("50", ""));
    fs::rename(source.1.path(), scene.path().join("away")).unwrap();
    scene.run(&["--no-alias"]).exits(0);
    let undisturbed = Scene::new(&clips("50", ""));
    undisturbed.run(&[]).exits(0);
    assert_alike(&torn.1, &undisturbed.trials().pop_first().unwrap().1, STEPS);
}

#[test]
fn tokenizers_that_come_to_the_same_are_trained_once_whatever_was_clipped() {
    let axes = |list: &str, rest: &str| {
        let text = small(&format!("tokenizer: {{kind: bpe, vocab_size: 300}}\ngrid: {{tokenizer.vocab_size: [{list}]{rest}}}"));
        text.replace("{text: builtin:keeper, max_bytes: 40000}", "{text: a.txt}")
    };
    let clips = ", train.clip_norm: [0.01, 0.02]";
    let scene = Scene::new(&axes("2000, 8000", clips));
    scene.put("a.txt", "the keeper lit the lamp and the ship went by in the dark\n".repeat(200));
    let planned = scene.votive(&["plan", "small.yaml"]).exits(0).says("bpe-2000 and bpe-8000: the same tokenizer of ");
    let planned = planned.says("2 trials are the same as another and need no training: their tokenizers are equal");
    planned.says("up to 1 trial may turn out").says_nothing_of("the tokenizer varies");

    let said = scene.run(&["--slots", "2"]).exits(0).says("alias       vocab size 8000 · clip 0.0");
    let said =
        said.says("2 of 4 trials were not trained: each is the same as one whose tokenizer or clip norm comes to the same");
    let said =
        said.says("bpe-2000 and bpe-8000 are the same tokenizer: one line stands for both, and 2 trials were not trained again.");
    assert_eq!(said.rows().len(), 2, "{}", said.out);
    for clip in ["0.01", "0.02"] {
        let of = |size: u32| named(&scene, &format!("vocab size {size} · clip {clip}"), 1);
        assert_alias(&of(8000), &of(2000));
        assert!(json(&of(2000).1.outcome())["clipping"]["clipped_steps"].as_i64().unwrap() > 0, "clip norms that bind");
    }
    scene.run(&[]).exits(0).says("nothing to train").says("2 of 4 trials were not trained");

    // A size that joins later is recorded at once; what is trained under its own name comes to the same bytes.
    scene.write(&axes("2000, 8000, 9000", clips));
    scene.run(&[]).exits(0).says("nothing to train: all 6 trials are over already").says("4 of 6 trials were not trained");
    scene.write(&axes("8000", ", train.clip_norm: [0.01]"));
    scene.run(&["--no-alias"]).exits(0).says("training    1 trial");
    let trial = |size: u32| {
        scene.write(&axes(&size.to_string(), ", train.clip_norm: [0.01]"));
        scene.plan(&[])["trials"][0]["id"].as_str().unwrap().to_owned()
    };
    let [trained, again] = [2000, 8000].map(|size| TrialFolder::at(&scene.experiment().trials().join(trial(size))));
    assert!(alias_of(&again).is_none() && final_weights(&trained, STEPS) == final_weights(&again, STEPS));
}
