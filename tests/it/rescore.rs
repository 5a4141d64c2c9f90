//! Finished trials are scored again when the protocol has changed, from the weights that they left; nothing is trained again.

use std::fs;

use votive::runs::TrialFolder;

use crate::support::{Scene, Signal, files_below, json, numbers, read, small, table, until, words};

const STEPS: u64 = 40;

/// Trials of this sequence length and these.
fn lengths(lengths: &str) -> String {
    small(&format!("grid: {{train.sequence_length: [{lengths}]}}\ntokenizer: {{kind: byte}}\nevaluate: {{at_most: 1}}"))
}

/// What must not change when a trial is scored again: what it learned, and how.
fn kept(folder: &TrialFolder) -> Vec<(String, Vec<u8>)> {
    let mut files = files_below(&folder.checkpoints(), "");
    files.extend([folder.steps(), folder.checkpoints_parquet(), folder.sample()]);
    files.extend(files_below(&folder.attempts(), ".json"));
    files.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// The contexts of the rows of a file that are of evaluations in full, each once.
fn contexts(folder: &TrialFolder) -> Vec<f64> {
    let evaluations = read(&folder.evaluations());
    let kinds = words(&evaluations, "kind");
    let protocols = words(&evaluations, "protocol");
    let rows = numbers(&evaluations, "context").into_iter().flatten().zip(kinds).zip(protocols);
    let common = rows.filter(|((_, kind), protocol)| kind != "periodic" && protocol == "common").map(|((c, _), _)| c);
    let mut contexts: Vec<f64> = common.collect();
    contexts.dedup();
    contexts
}

/// Contexts of `trials.parquet`.
fn common_contexts(scene: &Scene) -> Vec<Option<f64>> {
    numbers(&scene.table(), "common_context")
}

#[test]
fn a_shorter_sequence_length_that_joins_later_leads_to_one_common_context_without_training_again() {
    let scene = Scene::new(&lengths("64"));
    scene.run(&[]).exits(0).says_nothing_of("--rescore");
    let (id, old) = scene.trials().into_iter().next().unwrap();
    let before = kept(&old);
    let native = table(&old.evaluations());

    scene.write(&lengths("64, 32"));
    let said =
        scene.run(&[]).exits(0).says("1 finished trial is scored otherwise than this plan compares (context 64 instead of 32)");
    said.says("`votive run --rescore small.yaml` scores it again without training");
    assert_eq!(common_contexts(&scene), [64.0, 32.0].map(Some));
    let ranked = |scene: &Scene| {
        let summary = scene.summary();
        assert_eq!(summary["protocol"]["common_context"], 32);
        summary["configurations"].as_array().unwrap().iter().filter(|c| !c["place"].is_null()).count()
    };
    assert_eq!(ranked(&scene), 1, "what is scored in another context does not rank");

    let said = scene.run(&["--rescore"]).exits(0).says("1 finished trial again (context 64 instead of 32): nothing is trained");
    said.says("nothing to train: all 2 trials are over already").says_nothing_of("otherwise than this plan");
    assert_eq!(common_contexts(&scene), [32.0, 32.0].map(Some));
    assert_eq!(ranked(&scene), 2);
    assert_eq!(kept(&old), before, "weights, steps, checkpoints, sample and attempts are as they were");
    assert_eq!(scene.attempts(), [1, 1]);

    // Every score in full is of the new protocol; its own context is what it was, to the bit.
    assert_eq!(contexts(&old), [32.0]);
    let tokens = read(&old.token_nll());
    let protocols = words(&tokens, "protocol");
    for (context, protocol) in numbers(&tokens, "context").into_iter().flatten().zip(protocols) {
        assert_eq!(context, if protocol == "common" { 32.0 } else { 64.0 });
    }
    assert!(numbers(&read(&old.positions()), "context").iter().all(|c| *c == Some(64.0)));
    let own = |frame: &polars::prelude::DataFrame| {
        let rows = numbers(frame, "nll_sum").into_iter().zip(words(frame, "protocol")).zip(words(frame, "kind"));
        rows.filter(|((_, protocol), kind)| protocol == "native" && kind == "final").map(|((sum, _), _)| sum).collect::<Vec<_>>()
    };
    assert_eq!(own(&native), own(&table(&old.evaluations())));
    // What was measured on the way cannot be measured again, and keeps the context that it had.
    let periodic = |frame: &polars::prelude::DataFrame| {
        let rows = numbers(frame, "context").into_iter().zip(words(frame, "kind"));
        rows.filter(|(_, kind)| kind == "periodic").map(|(context, _)| context).collect::<Vec<_>>()
    };
    assert!(!periodic(&native).is_empty());
    assert_eq!(periodic(&native), periodic(&table(&old.evaluations())));
    let outcome = json(&scene.trials()[&id].outcome());
    assert_eq!(outcome["steps"], STEPS);

    // The same as if the shorter one had been there from the start.
    let together = Scene::new(&lengths("64, 32"));
    together.run(&[]).exits(0);
    let (a, b) = (numbers(&scene.table(), "common_loss"), numbers(&together.table(), "common_loss"));
    assert_eq!(a, b);
    scene.run(&["--rescore"]).exits(0).says("every finished trial is scored as this plan compares");
}

#[test]
fn another_context_or_amount_of_text_is_scored_again_from_the_same_weights() {
    let scene = Scene::new(&lengths("64"));
    scene.run(&[]).exits(0);
    let folder = scene.trials().into_values().next().unwrap();
    let before = kept(&folder);
    let context = ["--set", "evaluate.context=16"];
    scene.run(&context).exits(0).says("(context 64 instead of 16)");
    scene.run(&[&context[..], &["--rescore"]].concat()).exits(0);
    assert_eq!(common_contexts(&scene), [Some(16.0)]);
    let less = [&context[..], &["--set", "evaluate.max_bytes=2000"]].concat();
    scene.run(&less).exits(0).says(" instead of 1,999)");
    assert!(scene.summary()["configurations"][0]["place"].is_null(), "scored on other tokens, it does not rank");
    scene.run(&[&less[..], &["--rescore"]].concat()).exits(0);
    assert_eq!(numbers(&scene.table(), "scored_tokens"), [Some(1_999.0)]);
    assert_eq!(scene.summary()["configurations"][0]["place"], 1);
    assert_eq!(kept(&folder), before);
}

#[test]
fn a_kill_while_it_is_scored_again_leaves_a_trial_that_is_still_to_be_scored_again() {
    let yaml = lengths("64").replace("max_bytes: 40000", "max_bytes: 130000").replace("layers: 1", "layers: 4");
    let scene = Scene::new(&yaml);
    scene.run(&[]).exits(0);
    let folder = scene.trials().into_values().next().unwrap();
    let before = kept(&folder);
    let context = ["--set", "evaluate.context=8"];
    let mut runner = scene.start(&[&context[..], &["--rescore"]].concat());
    let at_it = || votive::runs::worker_of(&folder).unwrap().is_some();
    until("a worker scores", || at_it() || runner.is_over());
    runner.send(Signal::KILL);
    scene.kill_workers();
    runner.wait();
    assert_eq!(kept(&folder), before);
    scene.run(&[&context[..], &["--rescore"]].concat()).exits(0);
    assert_eq!(contexts(&folder), [8.0]);
    assert_eq!(kept(&folder), before);
    scene.run(&context).exits(0).says_nothing_of("otherwise than this plan");
}

#[test]
fn a_trial_without_its_weights_cannot_be_scored_again_and_says_so() {
    let scene = Scene::new(&lengths("64"));
    scene.run(&[]).exits(0);
    let folder = scene.trials().into_values().next().unwrap();
    fs::remove_dir_all(folder.checkpoints()).unwrap();
    let set = ["--set", "evaluate.context=16", "--set", "run.retries=0"];
    let said = scene.run(&[&set[..], &["--rescore"]].concat()).exits(3).says("1 of 1 could not be scored again");
    said.says("there are no final weights");
    assert_eq!(common_contexts(&scene), [Some(64.0)], "it keeps the scores that it had");
}
