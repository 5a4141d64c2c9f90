//! What the program says to bad input, kept word for word. Problems of the file alone are kept beside the code that
//! finds them (`src/experiment/tests`); here are those that a person meets on the command line.

use crate::support::{SMALL, Scene, small};

/// The message of a run that is refused, without the folder's name.
fn refused(yaml: &str) -> String {
    let scene = Scene::new(yaml);
    scene.put("short.txt", "Too short.\n\nBy far.\n");
    scene.put("latin.txt", b"A caf\xe9 in the rain.\n");
    scene.put("rows.jsonl", "{\"text\": \"A lamp.\"}\n{\"txt\": \"A boat.\"}\n");
    scene.put("empty.txt", "");
    let said = scene.votive(&["run", "small.yaml"]).exits(2);
    assert_eq!(said.out, "", "nothing on standard output");
    assert!(!said.err.contains('\u{1b}'), "no escape codes off a terminal");
    assert!(scene.trials().is_empty() && !scene.experiment().experiment_json().exists(), "nothing is begun");
    said.err.replace(&*scene.path().to_string_lossy(), "FOLDER")
}

macro_rules! refuses {
    ($name:ident, $yaml:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(refused(&$yaml));
        }
    };
}

refuses!(an_unknown_key, SMALL.replace("sequence_length", "block_size"));
refuses!(a_wrong_type, SMALL.replace("batch_size: 8", "batch_size: 1.5"));
refuses!(a_duplicate_key, small("name: again"));
refuses!(an_axis_twice, small("grid: {train.stride: [8, 16]}\nzip:\n  - {train.stride: [8, 16]}"));
refuses!(an_unequal_zip, small("zip:\n  - {model.width: [16, 32], model.layers: [1, 2, 3]}"));
refuses!(a_cycle_in_derive, small("derive:\n  train.stride: batch_size * 2\n  train.batch_size: stride / 2"));
refuses!(a_text_too_short, SMALL.replace("builtin:keeper, max_bytes: 40000", "short.txt"));
refuses!(a_validation_part_too_short, SMALL.replace("40000", "400, validation: 0.05"));
refuses!(an_empty_text, SMALL.replace("builtin:keeper", "empty.txt"));
refuses!(a_text_that_is_missing, SMALL.replace("builtin:keeper", "nowhere.txt"));
refuses!(a_pattern_that_no_file_fits, SMALL.replace("builtin:keeper", "books/*.txt"));
refuses!(a_text_that_is_not_utf8, SMALL.replace("builtin:keeper", "latin.txt"));
refuses!(rows_without_the_name_of_a_field, SMALL.replace("builtin:keeper", "rows.jsonl"));
refuses!(a_row_without_its_field, SMALL.replace("builtin:keeper", "rows.jsonl, field: text"));
refuses!(a_name_that_climbs, SMALL.replace("name: small", "name: ../small"));
refuses!(a_word_in_arithmetic, small("exclude:\n  - when: kind + 1 > 2"));
refuses!(a_name_that_does_not_exist, small("exclude:\n  - when: sequence_lenght > 2"));
refuses!(a_model_of_unequal_heads, small("grid: {model.heads: [2, 3]}"));
refuses!(
    several_problems_at_once,
    small("seeds: 0\nexclude:\n  - when: 1 +\ngrid: {train.batchsize: [4, 8]}").replace("layers: 1", "layers: one")
);
refuses!(
    a_thousand_million_combinations,
    small(
        "grid:\n  train.learning_rate: {from: 1e-5, to: 1e-2, log: 1000}\n  train.weight_decay: {from: 0, to: 1, step: 0.001}\n  train.warmup: {from: 0, to: 0.999, step: 0.001}"
    )
);
refuses!(
    nested_aliases,
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n\
     d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e]\n"
);

#[test]
fn a_model_that_fits_no_memory() {
    let scene = Scene::new(&SMALL.replace("width: 16", "width: 2000000"));
    let said = scene.votive(&["plan", "small.yaml"]).exits(2).says("one configuration cannot be trained");
    said.says("of memory are needed (48000224000000 parameters, windows of 32 tokens), and there are ");
}

#[test]
fn a_missing_file() {
    let scene = Scene::new(SMALL);
    insta::assert_snapshot!(scene.votive(&["run", "smal.yaml"]).exits(2).err);
}

#[test]
fn what_the_command_line_and_the_environment_set_wrongly() {
    let scene = Scene::new(SMALL);
    let mut command = scene.command(&["run", "small.yaml", "--set", "train.batch_size=many", "--set", "seeds"]);
    let output = command.env("VOTIVE_SET__TRAIN__LR", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap());
}

#[test]
fn an_exclude_that_matches_nothing_is_a_warning() {
    let scene = Scene::new(&small("grid: {train.stride: [16, 32]}\nexclude:\n  - when: stride > 64"));
    insta::assert_snapshot!(scene.votive(&["check", "small.yaml"]).exits(0).err);
}

#[test]
fn every_command_refuses_a_wrong_file_with_the_same_words() {
    let scene = Scene::new(&SMALL.replace("batch_size: 8", "batch_size: 1.5"));
    let said = scene.votive(&["check", "small.yaml"]).exits(2).err;
    for command in ["run", "plan", "explain"] {
        assert_eq!(scene.votive(&[command, "small.yaml"]).exits(2).err, said, "{command}");
    }
}

#[test]
fn arguments_that_are_none_are_refused() {
    let scene = Scene::new(SMALL);
    for arguments in [
        &["run"][..],
        &["rnu", "small.yaml"],
        &["run", "small.yaml", "--slot", "1"],
        &["run", "small.yaml", "--slots", "many"],
        &["run", "small.yaml", "--until", "7 o'clock"],
        &["run", "small.yaml", "--device", "abacus"],
        &["plan", "small.yaml", "--max-trials", "-1"],
        &["explain", "small.yaml", "--configuration", "2"],
        &["show", "runs/small"],
        &["completions", "cmd"],
    ] {
        let said = scene.votive(arguments).exits(2);
        assert!(
            said.out.is_empty() && said.err.starts_with("error: ") || said.err.contains(" error: "),
            "{arguments:?}: {}",
            said.err
        );
    }
    assert!(scene.trials().is_empty());
}
