//! What is said about wrong files, word for word.

use std::time::Instant;

use insta::assert_snapshot;

use super::*;
use crate::experiment::reference;

/// All that is said about a text: by reading it, or else by expanding it.
fn said(text: &str) -> String {
    said_with(text, &Overrides::default())
}

fn said_with(text: &str, overrides: &Overrides) -> String {
    let style = Style { colour: false, unicode: true, width: 100 };
    match parse("x.yaml", text, overrides) {
        Err(problems) => problems.render(style),
        Ok((experiment, mut notes)) => match experiment.expand(10_000, &mut Knowing::default()) {
            Err(problems) => problems.render(style),
            Ok(expansion) => {
                notes.extend(expansion.warnings);
                notes.iter().map(|p| p.render(style)).collect()
            }
        },
    }
}

fn said_after_head(rest: &str) -> String {
    said(&format!("{HEAD}{rest}"))
}

#[test]
fn unknown_key() {
    assert_snapshot!(said(
        "name: x\ncorpus: {text: a.txt}\ntrain:\n  budget: {steps: 100}\n  batchsize: 8\n  lr: 1e-3\nmodle: {layers: 2}\n"
    ));
}

#[test]
fn unknown_key_of_another_tool_in_a_grid() {
    assert_snapshot!(said_after_head("grid:\n  block_size: [64, 128]\n  max_grad_norm: [1, 2]\n"));
}

#[test]
fn wrong_type() {
    assert_snapshot!(said_after_head("model: {layers: 1.5, dropout: 1, family: gpt3}\ngrid: {train.batch_size: [8, many]}\n"));
}

#[test]
fn clip_norm_of_nothing() {
    assert_snapshot!(said_after_head("grid: {train.clip_norm: [0, 1]}\n"));
}

#[test]
fn duplicate_key() {
    assert_snapshot!(said_after_head("seeds: 3\nname: y\n"));
}

#[test]
fn duplicate_key_in_a_section() {
    assert_snapshot!(said("name: x\ncorpus: {text: a.txt}\ntrain:\n  stride: 64\n  budget: {steps: 9}\n  stride: 32\n"));
}

#[test]
fn a_name_of_ones_own_that_the_tables_have_for_a_setting() {
    assert_snapshot!(said_after_head("let: {model_width: 128}\n"));
}

#[test]
fn axis_twice() {
    assert_snapshot!(said_after_head(
        "grid:\n  train.batch_size: [8, 16]\nzip:\n  - train.batch_size: [8, 16]\n    train.stride: [64, 128]\n"
    ));
}

#[test]
fn a_fault_of_one_derived_setting_is_not_told_of_another() {
    let said = said_after_head(
        "tokenizer: {kind: bpe, vocab_size: 512}\nderive: {tokenizer.vocab_size: width * 4, model.dropout: batch_size / 8}\n",
    );
    assert!(said.contains("`model.dropout` should be a number from 0 to below 1, not `2`"), "{said}");
    assert!(!said.contains("`tokenizer.vocab_size`"), "{said}");
}

#[test]
fn two_units_of_a_budget_are_not_both_derived() {
    let said = said_after_head("derive:\n  train.budget.steps: layers * 10\n  train.budget.tokens: layers * 1000\n");
    assert!(said.contains("`train.budget.tokens` is set twice: by `derive` (as `train.budget.steps`)"), "{said}");
}

#[test]
fn axis_of_a_block_and_of_its_part() {
    assert_snapshot!(said_after_head(
        "tokenizer: {kind: bpe, vocab_size: 512}\ngrid:\n  tokenizer: [{kind: char}, {kind: byte}]\n  tokenizer.vocab_size: [300, 400]\n"
    ));
}

#[test]
fn zip_of_unequal_lengths() {
    assert_snapshot!(said_after_head("zip:\n  - {model.width: [128, 256], model.layers: [4, 6, 8]}\n"));
}

#[test]
fn cycle_in_derive() {
    assert_snapshot!(said_after_head("derive:\n  train.stride: sequence_length / 2\n  train.sequence_length: stride * 2\n"));
}

#[test]
fn derived_and_swept() {
    assert_snapshot!(said_after_head("grid: {train.stride: [32, 64]}\nderive:\n  train.stride: sequence_length / 2\n"));
}

#[test]
fn derived_fraction() {
    assert_snapshot!(said_after_head("grid: {train.batch_size: [8, 16]}\nderive:\n  train.stride: sequence_length / 3\n"));
}

#[test]
fn derived_value_out_of_range() {
    assert_snapshot!(said_after_head(
        "grid: {train.batch_size: [8, 16]}\nderive:\n  model.dropout: batch_size / 8\n  train.warmup: 1 / (batch_size - 8)\n"
    ));
}

#[test]
fn exclude_that_matches_nothing() {
    assert_snapshot!(said_after_head(
        "grid: {train.batch_size: [8, 16]}\nexclude:\n  - when: batch_size * sequence_length > 4096\n    why: too many tokens\n"
    ));
}

#[test]
fn no_trial_left() {
    assert_snapshot!(said_after_head("grid: {train.batch_size: [8, 16]}\nexclude: [{when: batch_size > 1}]\n"));
}

#[test]
fn a_thousand_million_combinations() {
    let start = Instant::now();
    let axes: String = ["learning_rate", "weight_decay", "warmup"]
        .map(|key| format!("  train.{key}: {{from: 0.001, to: 1, step: 0.001}}\n"))
        .concat();
    assert_snapshot!(said_after_head(&format!("grid:\n{axes}seeds: 3\n")));
    assert!(start.elapsed().as_secs_f64() < 60.0, "it would take for ever");
}

#[test]
fn more_combinations_than_can_be_counted() {
    let start = Instant::now();
    let axes: String = ["learning_rate", "weight_decay", "warmup", "epsilon", "beta1", "beta2", "final_learning_rate"]
        .map(|key| format!("  train.{key}: {{from: 0.001, to: 0.9, step: 0.001}}\n"))
        .concat();
    assert_snapshot!(said_after_head(&format!("grid:\n{axes}")));
    assert!(start.elapsed().as_secs_f64() < 60.0, "it would take for ever");
}

#[test]
fn nested_aliases() {
    let start = Instant::now();
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
    }
    assert_snapshot!(said(&text));
    assert!(start.elapsed().as_secs_f64() < 60.0, "it would take for ever");
}

#[test]
fn a_name_that_climbs() {
    assert_snapshot!(said("name: ../x\ncorpus: {text: a.txt}\ntrain: {budget: {steps: 100}}\n"));
}

#[test]
fn names_are_folders() {
    for name in ["X", "-x", ".x", "a b", "a/b", "", "é", "[x]", &"x".repeat(65)] {
        let text = format!("name: '{name}'\ncorpus: {{text: a.txt}}\ntrain: {{budget: {{steps: 100}}}}\n");
        assert!(said(&text).contains("cannot be a name"), "{name}");
    }
    for name in ["x", "0", "a.b_c-d", &"x".repeat(64)] {
        let text = format!("name: '{name}'\ncorpus: {{text: a.txt}}\ntrain: {{budget: {{steps: 100}}}}\n");
        assert_eq!(said(&text), "", "{name}");
    }
}

#[test]
fn a_word_in_arithmetic() {
    assert_snapshot!(said_after_head("grid: {train.batch_size: [8, 16]}\nexclude: [{when: kind + 1 > 2}]\n"));
}

#[test]
fn a_name_that_does_not_exist_in_when() {
    assert_snapshot!(said_after_head("grid: {train.batch_size: [8, 16]}\nexclude:\n  - when: batch_sise * seq_len > 4096\n"));
}

#[test]
fn when_that_is_no_question() {
    assert_snapshot!(said_after_head("exclude: [{when: batch_size * 2}, {if: shuffle}]\n"));
}

#[test]
fn several_problems_at_once() {
    assert_snapshot!(said(
        "name: A b\ncorpus: {txt: a.txt}\ntrain:\n  sequence_length: 1.5\n  clip_norm: -1\n  stride: 64\n  stride: 32\ngrid:\n  train.batch_size: [8, x]\n  run.slots: [1, 2]\nexclude:\n  - when: batch_size >\nseeds: 0\n"
    ));
}

#[test]
fn missing_settings() {
    assert_snapshot!(said("description: nothing else\n"));
}

#[test]
fn an_empty_file() {
    assert_snapshot!(said(" \n# only a comment\n"));
    assert!(said("").contains("the file is empty"));
}

#[test]
fn a_list_at_the_top() {
    assert_snapshot!(said("- name: x\n- train: y\n"));
}

#[test]
fn broken_yaml() {
    assert_snapshot!(said("name: x\ntrain: {budget: {steps: 1}\nseeds: 3\n"));
}

#[test]
fn a_list_outside_the_grid() {
    assert_snapshot!(said("name: x\ncorpus: {text: a.txt}\ntrain:\n  budget: {steps: 1}\n  batch_size: [8, 16]\n"));
}

#[test]
fn settings_that_do_not_go_together() {
    assert_snapshot!(said_after_head("grid:\n  model.heads: [4, 5, 6]\n  train.batch_size: [8, 16]\n"));
    assert_snapshot!(said_after_head("model: {width: 100, heads: 3}\n"));
}

#[test]
fn what_cannot_be_swept() {
    assert_snapshot!(said_after_head("grid: {evaluate.every: [0.1, 0.2], checkpoint.every: [0.1, 0.2], seeds: [1, 2]}\n"));
}

#[test]
fn what_is_not_built_yet() {
    assert_snapshot!(said_after_head("confirm: {top: 4, seeds: 3}\n"));
}

#[test]
fn what_cannot_be_tuned() {
    assert_snapshot!(said_after_head(
        "grid:\n  train.sequence_length: [64, 128]\nderive: {train.stride: sequence_length / 2}\ntune: [train.sequence_length, \
         train.sequence_length, train.stride, train.learning_rate, lr, {a: 1}]\n"
    ));
    assert_snapshot!(said_after_head("grid: {train.batch_size: [8, 16]}\ntune: {train.batch_size: 8}\n"));
    assert_snapshot!(said_after_head("grid: {train.batch_size: [8, 16]}\ntune: train.batch_size\n"));
}

#[test]
fn times_that_are_none() {
    assert_snapshot!(said_after_head("run: {until: 7 o'clock, time: 8 hours}\n"));
}

#[test]
fn axes_that_say_little() {
    assert_snapshot!(said_after_head(
        "let: {unread: [1, 2]}\ngrid:\n  train.batch_size: [8]\n  train.clip_norm: [1, 1.0, off]\n  model.activation: [gelu, gelu_tanh]\nmodel: {family: llama}\n"
    ));
}

#[test]
fn overrides_say_where_they_stand() {
    let overrides = Overrides {
        set: vec!["train.batch_size=x".to_owned(), "train.lr=1".to_owned(), "nothing".to_owned(), "own=3".to_owned()],
        environment: vec![
            ("VOTIVE_SET__TRAIN__STRIDE".to_owned(), "1.5".to_owned()),
            ("VOTIVE_SET__TRAIN__STRID".to_owned(), "1".to_owned()),
            ("VOTIVE_RUNS".to_owned(), "x".to_owned()),
        ],
    };
    assert_snapshot!(said_with(HEAD, &overrides));
}

#[test]
fn a_replaced_axis_is_told() {
    let overrides = Overrides { set: vec!["train.batch_size=4".to_owned()], environment: Vec::new() };
    assert_snapshot!(said_with(&format!("{HEAD}grid:\n  train.batch_size: [8, 16]\n"), &overrides));
}

#[test]
fn a_file_that_is_missing_or_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str| {
        let problems = load(&folder.path().join(name), &Overrides::default()).unwrap_err();
        let text = problems.render(Style { width: 1000, ..Style::default() });
        text.replace(&format!("{}/", folder.path().display()), "")
    };
    std::fs::write(folder.path().join("quickstart.yaml"), "name: x").unwrap();
    std::fs::write(folder.path().join("latin.yaml"), b"name: x\ndescription: caf\xe9\n").unwrap();
    std::fs::write(folder.path().join("huge.yaml"), "#".repeat(2 << 20)).unwrap();
    assert_snapshot!(refused("quickstrat.yaml"));
    assert_snapshot!(refused("latin.yaml"));
    assert_snapshot!(refused("huge.yaml"));
    assert!(refused("").contains("is a folder, and an experiment file is needed"));
}

#[test]
fn a_problem_becomes_an_error_of_usage() {
    let error = crate::error::Error::from(parse("x.yaml", "- a\n", &Overrides::default()).unwrap_err());
    assert_eq!(error.kind(), crate::error::Kind::Usage);
    assert!(error.to_string().starts_with("x.yaml:1:1: the file holds a list"), "{error}");
}

/// What is said about a text, a line a problem: the message, and what to do about it.
fn told(text: &str, set: &[&str]) -> Vec<String> {
    let overrides = Overrides { set: set.iter().map(|&text| text.to_owned()).collect(), environment: Vec::new() };
    let line = |problem: &Problem| match problem.help_text() {
        Some(help) => format!("{} | {help}", problem.message()),
        None => problem.message().to_owned(),
    };
    let problems = match parse("x.yaml", text, &overrides) {
        Err(problems) => problems.list().to_vec(),
        Ok((experiment, notes)) => match experiment.expand(10_000, &mut Knowing::default()) {
            Err(problems) => problems.list().to_vec(),
            Ok(expansion) => [notes, expansion.warnings].concat(),
        },
    };
    problems.iter().map(line).collect()
}

fn told_after_head(rest: &str) -> Vec<String> {
    told(&format!("{HEAD}{rest}"), &[])
}

#[test]
fn what_the_table_calls_no_axis_is_refused_as_one() {
    let held_out = "name: x\ncorpus: {text: a.jsonl, validation: held-out.txt}\ntrain: {budget: {steps: 100}}\n";
    let said = |key: &str| reference::entry(key).unwrap().sweep_words();
    for (key, values) in [
        ("corpus.text", "a.jsonl, b.jsonl"),
        ("corpus.field", "text, body"),
        ("corpus.join", "none, end_of_text"),
        ("corpus.max_bytes", "1000, 2000"),
        ("corpus.validation", "0.1, 0.2"),
        ("corpus.test", "0.05, 0.1"),
        ("evaluate.every", "10, 20"),
        ("run.slots", "1, 2"),
        ("train.stride", "32, 64"),
    ] {
        let told = told(&format!("{held_out}grid: {{{key}: [{values}]}}\n"), &[]);
        let refused = told.iter().any(|line| line.contains("cannot differ between configurations"));
        assert_eq!((refused, said(key).starts_with("no: ")), (!said(key).starts_with("yes"), refused), "{key}: {told:?}");
    }
    assert_eq!(said("corpus.test"), "no: each configuration would be scored on a text of its own");
}

#[test]
fn two_units_of_a_budget_and_a_tab_are_told_with_what_to_do() {
    assert_eq!(
        told("name: x\ncorpus: {text: a.txt}\ntrain: {budget: {tokens: 500, steps: 10}}\n", &[]),
        ["`train.budget` has one unit, not `steps` and `tokens` | keep one of them"]
    );
    let tab = told("name: x\ntrain:\n\tbudget: {steps: 10}\n", &[]);
    assert!(tab.len() == 1 && tab[0].ends_with(" | indent with spaces: YAML takes no tabs there"), "{tab:?}");
}

#[test]
fn a_value_with_a_line_break_is_told_whole() {
    assert_eq!(
        told("name: x\ncorpus: {text: a.txt}\ntrain:\n  budget:\n    steps: |\n      5\n", &[]),
        [
            "`train.budget` should be a whole number from 1 up, not `5\\n` | for example `train: {budget: {tokens: 1_000_000}}`; more by \
          `votive settings train.budget`"
        ]
    );
}

#[test]
fn words_of_other_tools_that_stand_for_something_else_here() {
    for (line, message, help) in [
        ("optimizer: adam", "there is no setting called `optimizer`", "the optimizer is AdamW"),
        ("model.grad_accum: 2", "there is no setting called `model.grad_accum`", "`grad_accum` is called `train.micro_batch`"),
        (
            "evaluate: {eval_interval: 9}",
            "there is no setting called `evaluate.eval_interval`",
            "`evaluate.every` here, a fraction",
        ),
        ("wandb: true", "there is no setting called `wandb`", "nothing is sent anywhere"),
        ("early_stopping: 3", "there is no setting called `early_stopping`", "`evaluate.rank_at: best`"),
        ("report: 0.01", "`report` holds settings, not", "write `report: {margin: 0.01}`"),
        ("report: {margins: 0.01}", "there is no setting called `report.margins`", "did you mean `report.margin`?"),
        (
            "grid: {report.margin: [0.01, 0.02]}",
            "`report.margin` cannot differ between configurations",
            "`run` and `report` hold",
        ),
        ("gpus: 2", "there is no setting called `gpus`", "`run.device`"),
        ("search: {random: 3, method: bayes, train.stride: [64, 128]}", "there is no setting called `method`", "draws at random"),
        ("run: {timeout: off}", "`run.timeout` should be `auto`, `never`, or a length of time", "`never` waits for ever"),
        ("run: {patience: -1}", "`run.patience` should be a length of time such as `30`, `30s` or `2m`", "not"),
        ("run: {per_device: 0}", "`run.per_device` should be a whole number from 1", "not"),
        ("run: {mixed: maybe}", "`run.mixed` should be `true` or `false`", "not"),
        ("run: {notify: mail}", "there is no setting called `run.notify`", "yet"),
    ] {
        let told = told_after_head(&format!("{line}\n"));
        let right = told.len() == 1 && told[0].starts_with(message) && (help == "not" || told[0].contains(help));
        assert!(right, "{line}: {told:?}");
    }
}

#[test]
fn values_of_other_tools() {
    assert_eq!(
        told("name: x\ncorpus: texts/*.txt\nmodel: gpt2\ntrain: {budget: {tokens: 200k}, batch_size: '1,024'}\n", &[]),
        [
            "`corpus` holds settings, not `texts/*.txt` | write `corpus: {text: \"texts/*.txt\"}`",
            "`model` holds settings, not `gpt2` | write `model: {family: gpt2}`",
            "`train.budget` should be a whole number from 1 up, not `200k` | write `200e3`",
            "`train.batch_size` should be a whole number from 1 up, or `full`, not `1,024` | write `1_024`",
        ]
    );
    assert_eq!(
        told_after_head("train.warmup: 10%\ntrain.learning_rate: 1e300\n"),
        [
            "`train.warmup` should be a fraction from 0 to 1, not `10%` | write `0.1`",
            "`train.learning_rate` should be a number from 1e-37 to 1e37, as 32 bits hold them, not `1e300` | for example \
             `train: {learning_rate: 3e-3}`; more by `votive settings train.learning_rate`",
        ]
    );
}

#[test]
fn a_section_is_no_setting() {
    assert_eq!(
        told(HEAD, &["train=5", "grid=3", "train.seeds=2"]),
        [
            "there is no setting called `train.seeds` | `seeds` stands at the top of the file",
            "`train` is not one setting | `train` is a section: name one of its settings, such as `train.sequence_length`",
            "`grid` is not one setting | `grid` stands at the top of the file",
        ]
    );
    assert_eq!(
        told_after_head("grid: {train: [5, 6]}\n"),
        ["`train` is not one setting | `train` is a section: name one of its settings, such as `train.sequence_length`"]
    );
}

#[test]
fn one_value_in_one_of_several_grids_cannot_stand_elsewhere() {
    let grids = "grid:\n  - {train.batch_size: [8], train.stride: [64, 128]}\n  - {train.clip_norm: [off]}\n";
    assert_eq!(said_after_head(grids), "");
    assert_eq!(said_after_head("grid: {train.batch_size: [8]}\npoints: [{train.clip_norm: off}]\n"), "");
    assert!(said_after_head("grid: [{train.batch_size: [8]}]\n").contains("has only one value"));
}

#[test]
fn what_is_set_and_not_read_is_told() {
    assert_eq!(
        told_after_head(
            "model: {family: llama, activation: gelu_tanh}\ntrain.schedule: constant\ntrain.final_learning_rate: 0.2\n"
        ),
        [
            "nothing reads `model.activation`: only gpt2 has a choice of it",
            "nothing reads `train.final_learning_rate`: the schedule is constant",
        ]
    );
}

#[test]
fn numbers_that_do_not_fit_in_an_axis_a_range_and_a_derived_setting() {
    assert_eq!(
        told_after_head(
            "grid:\n  train.batch_size: [8, 1e10]\n  train.stride: {from: 1, to: 1e12, factor: 1e6}\n\
             seeds: [1, 18446744073709551615]\n"
        ),
        [
            "`train.batch_size` should be a whole number up to 1,000,000,000, or `full`, not `1e10` | for example `train: {batch_size: 8}`; more by \
             `votive settings train.batch_size`",
            "`train.stride` should be a whole number up to 1,000,000,000, not `1000000000000` | for example `train: {stride: 64}`; more by `votive settings train.stride`",
            "a seed should be a whole number up to 9,223,372,036,854,775,807, not `18446744073709551615` | `seeds: 3` means the \
             seeds 1, 2, 3; a list names them: `seeds: [1, 7]`",
        ]
    );
    let derived = told_after_head("grid: {train.batch_size: [8, 16]}\nderive: {train.stride: batch_size * 1e9}\n");
    assert!(derived.len() == 2 && derived[0].contains("should be a whole number up to 1,000,000,000"), "{derived:?}");
    let search = told_after_head("search: {random: 1e300, seed: 1e300, train.batch_size: [8, 16]}\n");
    assert!(search.iter().all(|line| line.contains("a whole number up to 9,223,372,036,854,775,807")), "{search:?}");
}
