//! What the program says to bad input, kept word for word. Problems of the file alone are kept beside the code that
//! finds them (`src/experiment/tests`); here are those that a person meets on the command line.

use std::fs;

use crate::support::{SMALL, Scene};

/// The message of a command that is refused, without the folder's name.
fn refused(yaml: &str) -> String {
    let scene = Scene::new(yaml);
    fs::write(scene.path().join("short.txt"), "Too short.\n\nBy far.\n").unwrap();
    fs::write(scene.path().join("latin.txt"), b"A caf\xe9 in the rain.\n").unwrap();
    let said = scene.votive(&["run", "small.yaml"]).exits(2);
    assert_eq!(said.out, "", "nothing on standard output");
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
refuses!(a_duplicate_key, SMALL.to_owned() + "name: again\n");
refuses!(an_axis_twice, SMALL.to_owned() + "grid: {train.stride: [8, 16]}\nzip:\n  - {train.stride: [8, 16]}\n");
refuses!(an_unequal_zip, SMALL.to_owned() + "zip:\n  - {model.width: [16, 32], model.layers: [1, 2, 3]}\n");
refuses!(a_cycle_in_derive, SMALL.to_owned() + "derive:\n  train.stride: batch_size * 2\n  train.batch_size: stride / 2\n");
refuses!(a_text_too_short, SMALL.replace("builtin:keeper, max_bytes: 40000", "short.txt"));
refuses!(a_text_that_is_missing, SMALL.replace("builtin:keeper", "nowhere.txt"));
refuses!(a_text_that_is_not_utf8, SMALL.replace("builtin:keeper", "latin.txt"));
refuses!(a_name_that_climbs, SMALL.replace("name: small", "name: ../small"));
refuses!(a_word_in_arithmetic, SMALL.to_owned() + "exclude:\n  - when: kind + 1 > 2\n");
refuses!(a_name_that_does_not_exist, SMALL.to_owned() + "exclude:\n  - when: sequence_lenght > 2\n");
refuses!(
    a_thousand_million_combinations,
    SMALL.to_owned()
        + "grid:\n  train.learning_rate: {from: 1e-5, to: 1e-2, log: 1000}\n  train.weight_decay: {from: 0, to: 1, step: 0.001}\n  train.warmup: {from: 0, to: 0.999, step: 0.001}\n"
);
refuses!(
    nested_aliases,
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n\
     d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e]\n"
);

#[test]
fn a_missing_file() {
    let scene = Scene::new(SMALL);
    let said = scene.votive(&["run", "smal.yaml"]).exits(2);
    insta::assert_snapshot!(said.err);
}

#[test]
fn an_exclude_that_matches_nothing_is_a_warning() {
    let scene = Scene::new(&(SMALL.to_owned() + "grid: {train.stride: [16, 32]}\nexclude:\n  - when: stride > 64\n"));
    let said = scene.votive(&["check", "small.yaml"]).exits(0);
    insta::assert_snapshot!(said.err);
}
