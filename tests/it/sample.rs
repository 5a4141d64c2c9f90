//! Text from trained weights: on the command line, and in the report.

use std::fs;
use std::path::Path;

use crate::support::{SMALL, Scene, json, small};

/// What `votive sample` says with these arguments.
fn sampled(scene: &Scene, arguments: &[&str]) -> String {
    scene.votive(&[&["sample"], arguments].concat()).exits(0).out
}

fn relative(scene: &Scene, path: &Path) -> String {
    path.strip_prefix(scene.path()).unwrap().to_string_lossy().into_owned()
}

/// What is said on standard error, without what every trial and machine has of its own.
fn refused(scene: &Scene, arguments: &[&str], code: i32) -> String {
    let said = scene.votive(&[&["sample"], arguments].concat()).exits(code);
    assert_eq!(said.out, "", "nothing on standard output");
    let mut text = said.err;
    for (number, id) in scene.trials().keys().enumerate() {
        text = text.replace(id, &format!("TRIAL{number}"));
    }
    text
}

#[test]
fn a_trained_trial_goes_on_with_a_prompt_by_every_name() {
    let scene = Scene::new(SMALL);
    scene.run(&[]).exits(0);
    let (id, folder) = scene.trials().pop_first().unwrap();
    let said = scene.votive(&["sample", &id, "--prompt", "The keeper", "--tokens", "60"]).exits(0);
    let said = said.says("(final, step 40, validation loss ").says("sampled     60 tokens in ");
    assert!(said.err.contains("seed 1, temperature 0.8, of the 50 likeliest tokens each time"), "{}", said.err);
    assert!(said.out.starts_with("The keeper") && said.out.ends_with('\n'), "{}", said.out);
    let made = said.out.trim_end_matches('\n').chars().count() - "The keeper".len();
    assert!((50..=60).contains(&made), "a token is a character here, and the last may be a line break: {}", said.out);

    let prompted =
        |trial: &str, rest: &[&str]| sampled(&scene, &[&[trial, "--prompt", "The keeper", "--tokens", "60"], rest].concat());
    let trial = relative(&scene, folder.path());
    let checkpoint = format!("{trial}/checkpoints/step-00000040");
    for name in [&id[..5], "runs/small", "small", "small#1", "runs/small#1", "1", &trial, &checkpoint] {
        assert_eq!(prompted(name, &[]), said.out, "{name}");
    }
    assert_eq!(prompted(&id, &["--checkpoint", "40", "--device", "cpu", "--seed", "1"]), said.out);
    assert_ne!(prompted(&id, &["--seed", "2"]), said.out);
    scene.votive(&["sample", &id, "--checkpoint", "best"]).exits(0).says(", validation loss ");
    let greedy = prompted(&id, &["--temperature", "0"]);
    assert_eq!(prompted(&id, &["--temperature", "0", "--seed", "9", "--top-k", "3"]), greedy, "nothing is drawn");
    assert_eq!(prompted(&id, &["--top-k", "1"]), greedy, "of one token there is no choice");

    let moved = scene.path().join("elsewhere");
    fs::rename(scene.path().join(&checkpoint), &moved).unwrap();
    assert_eq!(prompted("elsewhere", &[]), said.out, "a checkpoint's folder is all that is needed");
    fs::remove_file(moved.join("manifest.json")).unwrap();
    assert_eq!(prompted("elsewhere", &[]), said.out, "also one that somebody else made");
    let longer = sampled(&scene, &["elsewhere", "--tokens", "400"]);
    assert!(longer.chars().count() > 390, "an empty prompt, and more tokens than the context has: {longer}");
    assert_eq!(sampled(&scene, &["elsewhere", "--tokens", "0", "--prompt", "only this"]), "only this\n");
    scene
        .votive(&["sample", "elsewhere", "--prompt", "Ω and €"])
        .exits(0)
        .says("does not have `Ω`, `€`: it reads something unknown");
}

#[test]
fn every_tokenizer_makes_whole_characters_and_starts_from_nothing() {
    let yaml = small("grid: {tokenizer: [{kind: byte}, {kind: word}, {kind: bpe, vocab_size: 300}]}");
    let scene = Scene::new(&yaml.replace("steps: 40", "steps: 3"));
    scene.run(&[]).exits(0);
    for id in scene.trials().keys() {
        // Hardly trained, byte by byte it writes what is no UTF-8 as well; the support reads it as strict UTF-8.
        let text = sampled(&scene, &[id, "--temperature", "2", "--top-k", "0"]);
        assert!(text.len() > 50, "{text}");
        let text = sampled(&scene, &[id, "--prompt", "The light of the lamp", "--tokens", "5"]);
        assert!(text.starts_with("The light of the lamp"), "{text}");
    }
}

#[test]
fn what_cannot_be_sampled_is_said_with_what_can() {
    let scene = Scene::new(&small("seeds: 2"));
    insta::assert_snapshot!("nothing_there", refused(&scene, &["deadbeef"], 2));
    scene.run(&[]).exits(0);
    let ids: Vec<String> = scene.trials().into_keys().collect();
    let typo: String = ids[0].chars().rev().enumerate().map(|(place, c)| if place == 0 { 'z' } else { c }).collect();
    let typo: String = typo.chars().rev().collect();
    let said = scene.votive(&["sample", &typo]).exits(2);
    assert_eq!(
        said.err,
        format!("error: there is no experiment, configuration, trial or checkpoint `{typo}`\nhint: did you mean `{}`?\n", ids[0])
    );
    scene.votive(&["sample", "smal"]).exits(2).says("did you mean `small`?");
    scene
        .votive(&["sample", "runs"])
        .exits(4)
        .says("there is no experiment in runs, nor a trial or a checkpoint")
        .says("it holds experiments: name one, as in `runs/small`");
    scene.votive(&["sample", &ids[0], "--temperature", "NaN"]).exits(2).says("the temperature is NaN, and must be 0 or more");
    scene.votive(&["sample", &ids[0], "--device", "tpu"]).exits(2).says("`tpu` is not a device");
    insta::assert_snapshot!("no_such_step", refused(&scene, &[&ids[0], "--checkpoint", "7"], 2));
    insta::assert_snapshot!("no_such_word", refused(&scene, &[&ids[0], "--checkpoint", "newest"], 2));

    let folder = &scene.trials()[&ids[1]];
    let weights = folder.checkpoints().join("step-00000040/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    scene.votive(&["sample", &ids[1]]).exits(1).says("model.safetensors is not what its manifest says");
    fs::remove_dir_all(folder.checkpoints()).unwrap();
    insta::assert_snapshot!("no_checkpoint", refused(&scene, &[&ids[1]], 4));
}

#[test]
fn each_trial_writes_a_text_that_the_report_shows_and_the_command_makes_again() {
    let scene = Scene::new(&small("seeds: [5]"));
    scene.run(&[]).exits(0);
    let (id, folder) = scene.trials().pop_first().unwrap();
    let sample = json(&folder.sample());
    let (prompt, text) = (sample["prompt"].as_str().unwrap(), sample["text"].as_str().unwrap());
    // It was trained on 40 × 8 × 32 tokens, and each stands for a character.
    assert_eq!((prompt.chars().count(), text.chars().count(), &sample["step"]), (32, 102, &40.into()));
    let again = sampled(&scene, &[&id, "--prompt", prompt, "--seed", "5", "--tokens", "102"]);
    assert_eq!(again.trim_end_matches('\n'), format!("{prompt}{text}").trim_end_matches('\n'));
    assert_eq!(scene.summary()["samples"][0]["text"], sample["text"]);
    let markdown = fs::read_to_string(scene.experiment().report().join("report.md")).unwrap();
    assert!(markdown.contains("## What they write") && markdown.contains(&format!("⟦{prompt}⟧")), "{markdown}");

    // A trial of an older version has none, and is complete all the same.
    fs::remove_file(folder.sample()).unwrap();
    scene.run(&[]).exits(0);
    assert_eq!(scene.attempts(), [1]);
    assert!(scene.summary()["samples"].as_array().unwrap().is_empty());
}
