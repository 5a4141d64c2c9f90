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
    scene.put("rows.json", "{\"id\": 0, \"text\": \"A lamp.\"}\n{\"id\": 1, \"text\": \"A boat.\"}\n");
    scene.put("array.jsonl", "[{\"text\": \"A lamp.\"}, {\"text\": \"A boat.\"}]\n");
    scene.put("nan.jsonl", "{\"score\": NaN, \"text\": \"the keeper lit the lamp\"}\n");
    scene.put("surrogate.jsonl", "{\"text\": \"one\"}\n{\"text\": \"cut in two \\ud83d\"}\n");
    scene.put("table.csv", "id,text\n0,\"A lamp, lit.\"\n1,A boat.\n");
    scene.put("one.jsonl", "{\"text\": \"A lamp.\"}\n");
    scene.put("utf16.txt", "\u{FEFF}A lamp.\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    scene.put("gzip.txt.gz", b"\x1F\x8B\x08\x00\x00\x00\x00\x00\x00\x03");
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
refuses!(a_test_part_too_short, SMALL.replace("40000", "40000, test: short.txt"));
refuses!(an_empty_text, SMALL.replace("builtin:keeper", "empty.txt"));
refuses!(a_text_that_is_missing, SMALL.replace("builtin:keeper", "nowhere.txt"));
refuses!(a_pattern_that_no_file_fits, SMALL.replace("builtin:keeper", "books/*.txt"));
refuses!(a_text_that_is_not_utf8, SMALL.replace("builtin:keeper", "latin.txt"));
refuses!(rows_without_the_name_of_a_field, SMALL.replace("builtin:keeper", "rows.jsonl"));
refuses!(a_row_without_its_field, SMALL.replace("builtin:keeper", "rows.jsonl, field: text"));
refuses!(rows_under_another_name, SMALL.replace("builtin:keeper", "rows.json, field: text"));
refuses!(rows_under_another_name_without_the_name_of_a_field, SMALL.replace("builtin:keeper", "rows.json"));
refuses!(a_table, SMALL.replace("builtin:keeper", "table.csv"));
refuses!(an_array_of_rows, SMALL.replace("builtin:keeper", "array.jsonl, field: text"));
refuses!(a_row_with_a_number_that_is_none, SMALL.replace("builtin:keeper", "nan.jsonl, field: text"));
refuses!(a_row_with_half_a_character, SMALL.replace("builtin:keeper", "surrogate.jsonl, field: text"));
refuses!(a_single_row, SMALL.replace("builtin:keeper", "one.jsonl, field: text"));
refuses!(a_text_in_utf16, SMALL.replace("builtin:keeper", "utf16.txt"));
refuses!(a_text_that_is_compressed, SMALL.replace("builtin:keeper", "gzip.txt.gz"));
refuses!(a_field_that_no_file_uses, SMALL.replace("builtin:keeper", "builtin:keeper, field: text"));
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
    said.says("of memory are needed (48,000,224,000,000 parameters, windows of 32 tokens), and there are ");
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
        &["show"],
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

#[test]
fn numbers_that_do_not_fit_are_refused_where_they_stand() {
    let scene = Scene::new(SMALL);
    for (key, value) in [
        ("train.budget.epochs", "1e300"),
        ("train.budget.minutes", "1e300"),
        ("train.budget.steps", "9223372036854775807"),
        ("train.budget.tokens", "18446744073709551615"),
        ("train.budget.bytes", "1e18"),
        ("train.sequence_length", "9223372036854775807"),
        ("train.stride", "4294967296"),
        ("train.batch_size", "1e18"),
        ("train.micro_batch", "1e15"),
        ("train.learning_rate", "1e300"),
        ("train.weight_decay", "1e300"),
        ("train.epsilon", "1e-300"),
        ("train.clip_norm", "1e999"),
        ("model.layers", "1e12"),
        ("model.width", "18446744073709551616"),
        ("model.heads", "1e999"),
        ("model.kv_heads", "1e10"),
        ("tokenizer", "{kind: bpe, vocab_size: 1e12}"),
        ("corpus.max_bytes", "1e300"),
        ("checkpoint.every", "1e300"),
        ("checkpoint.keep_last", "1e300"),
        ("evaluate.every", "1e-300"),
        ("evaluate.context", "1e10"),
        ("evaluate.max_bytes", "1e300"),
        ("run.slots", "1e9"),
        ("run.threads", "65536"),
        ("run.retries", "1e10"),
        ("run.time", "99999999d"),
        ("report.margin", "1e300"),
        ("seeds", "1e300"),
        ("seeds", "[1, 9223372036854775808]"),
    ] {
        let set = format!("{key}={value}");
        let said = scene.votive(&["check", "small.yaml", "--set", &set]).exits(2).err;
        assert!(said.contains("should be a") && said.contains("--set:1:") && said.contains("1 problem"), "{set}: {said}");
        let mut command = scene.command(&["check", "small.yaml"]);
        let variable = format!("VOTIVE_SET__{}", key.replace('.', "__").to_uppercase());
        let output = command.env(&variable, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{set}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // In the file, with its line; and what each is alone, but not together.
    let said = refused(&SMALL.replace("steps: 40", "steps: 9223372036854775807"));
    for part in ["`train.budget` should be a whole number up to 1,000,000,000,000, not", "small.yaml:7:", "steps: 922337203685"] {
        assert!(said.contains(part), "{said}");
    }
    scene.votive(&["check", "small.yaml", "--set", "model.width=1e9", "--set", "model.layers=1e3"]).exits(2).says("parameters");
    let set = ["--set", "train.budget.epochs=1e9", "--set", "train.stride=1"];
    scene.votive(&[&["plan", "small.yaml"][..], &set].concat()).exits(0);
    scene.votive(&["run", "small.yaml", "--slots", "1e9"]).exits(2).says("up to 10,000");
}

#[test]
fn what_this_program_cannot_run_here_is_refused_before_anything_is_started() {
    let scene = Scene::new(&small("grid: {train.precision: [f32, bf16]}\nrun: {device: cpu}"));
    let said =
        scene.votive(&["check", "small.yaml"]).exits(2).says("needs a GPU").says("small.yaml:8:8").says("leave it at `f32`").err;
    for command in ["plan", "run", "explain"] {
        assert_eq!(scene.votive(&[command, "small.yaml"]).exits(2).err, said, "{command}");
    }
    scene.write(&small("run: {on: slurm, device: cuda}"));
    scene.votive(&["check", "small.yaml"]).exits(2).says("asks the cluster for none").says("small.yaml:8:26");
    for (set, said) in [
        ("run.slurm.memory=8", "a memory such as `8G`"),
        ("run.slurm.gpus=2", "a trial is trained on one GPU"),
        ("run.slurm.extra=[--array=1-9]", "it is set by `run.slots`"),
        ("run.slurm.extra=[nice]", "holds options of sbatch"),
        ("run.slurm.partitions=gpu", "did you mean `run.slurm.partition`?"),
        ("run.slurm=gpu", "is a section"),
    ] {
        scene.votive(&["check", "small.yaml", "--set", set]).exits(2).says(said).says("--set:1:");
    }
    scene.write(SMALL);
    #[cfg(not(feature = "metal"))]
    for command in ["check", "plan", "run"] {
        let said = scene.votive(&[command, "small.yaml", "--set", "run.device=metal"]).exits(2);
        said.says("this build cannot use the device `metal`").says("--set:1:12").says("--features metal");
    }
    for device in ["cuda", "cuda:9", "gpu"] {
        scene.votive(&["plan", "small.yaml", "--device", device]).exits(2);
    }
    scene.votive(&["check", "small.yaml", "--set", "model.family=llama"]).exits(2).says("a llama has none");
    for set in ["run.device=cpu:1", "run.engine=torch", "tokenizer={kind: bpe, vocab_size: 256}", "run.per_device=0"] {
        scene.votive(&["check", "small.yaml", "--set", set]).exits(2).says("--set:1:");
    }
    scene.votive(&["check", "small.yaml", "--set", "corpus.text=nowhere.txt"]).exits(2).says("does not exist").says("--set:1:13");
    scene.votive(&["check", "small.yaml", "--set", "corpus.field=text"]).exits(2).says("no file of the corpus has rows");
    let set = "tokenizer={kind: file, path: nowhere.json}";
    scene.votive(&["check", "small.yaml", "--set", set]).exits(2).says("nowhere.json does not exist").says("--set:1:");
    scene.votive(&["check", "small.yaml", "--set", "evaluate.context=64"]).exits(2).says("at most 32");
    scene.votive(&["check", "small.yaml", "--set", "tokenizer={kind: bpe, vocab_size: 257}"]).exits(0);
    assert!(!scene.path().join("runs/small/trials").exists());
}

#[test]
fn an_axis_that_changes_what_is_held_out_is_refused_with_the_way_out() {
    let scene = Scene::new(SMALL);
    let part = |of: &str| format!("The {of} was lit at dusk, and a boat went by.\n\n").repeat(300);
    for (name, of) in [("a.txt", "lamp"), ("b.txt", "lantern"), ("held-out.txt", "candle")] {
        scene.put(name, part(of));
    }
    let sweep = SMALL.replace("text: builtin:keeper, max_bytes: 40000", "validation: 0.1");
    scene.write(&format!("{sweep}grid:\n  corpus.text: [a.txt, b.txt]\n"));
    let said = scene.votive(&["check", "small.yaml"]).exits(2).says("`corpus.text` cannot differ").says("small.yaml:9:3").err;
    assert!(said.contains("hold out one file for all"), "{said}");
    for command in ["plan", "run"] {
        assert_eq!(scene.votive(&[command, "small.yaml"]).exits(2).err, said, "{command}");
    }
    let one = format!("{}corpus.text: a.txt\n", sweep);
    for axis in [
        "grid: {corpus.max_bytes: [9000, 12000]}",
        "zip: [{corpus.max_bytes: [9000, 12000], train.batch_size: [4, 8]}]",
        "points: [{corpus.max_bytes: 9000}, {corpus.max_bytes: 12000}]",
        "grid: [{corpus.max_bytes: [9000]}, {train.batch_size: [4]}]",
        "grid: {train.batch_size: [4, 8]}\nderive: {corpus.max_bytes: batch_size * 2000}",
        "search: {random: 20, corpus.max_bytes: [9000, 12000]}",
        "grid: {corpus.test: [none, 0.1]}",
    ] {
        scene.write(&format!("{one}{axis}\n"));
        scene.votive(&["check", "small.yaml"]).exits(2).says("cannot differ between configurations");
        scene.votive(&["plan", "small.yaml"]).exits(2).says("cannot differ between configurations");
    }
    scene.votive(&["check", "small.yaml", "--set", "corpus.validation=[0.1, 0.2]"]).exits(2);

    // The way out: what is learned from differs, what is scored does not.
    scene.write(&format!(
        "{}grid:\n  corpus.text: [a.txt, b.txt]\n  corpus.max_bytes: [9000, 12000]\n",
        sweep.replace("validation: 0.1", "validation: held-out.txt").replace("train:\n", "tokenizer: byte\ntrain:\n")
    ));
    scene.votive(&["check", "small.yaml"]).exits(0).says("4 configurations");
    let plan = scene.plan(&[]);
    let scored: Vec<_> = plan["trials"].as_array().unwrap().iter().map(|t| t["facts"]["validation_tokens"].clone()).collect();
    assert_eq!(scored.len(), 4);
    assert!(scored.iter().all(|tokens| *tokens == scored[0]), "{scored:?}");
}

#[test]
fn a_list_on_the_command_line_makes_an_axis_and_says_so() {
    let scene = Scene::new(&small("grid: {train.stride: [16, 32]}"));
    let plan = |set: &[&str]| {
        let arguments: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        scene.votive(&[&["plan", "small.yaml"], arguments.as_slice()].concat()).exits(0)
    };
    let said = plan(&["train.batch_size=[4,8,16]"]).says("6 combinations = 6 configurations");
    assert!(said.err.contains("`train.batch_size` is swept over 4, 8, 16: `--set` makes an axis of it"), "{}", said.err);
    let said = plan(&["train.stride=[8, 16, 32]"]).says("3 combinations = 3 configurations");
    assert!(said.err.contains("`train.stride` is swept over 8, 16, 32: `--set` replaces its axis"), "{}", said.err);
    plan(&["train.learning_rate={from: 1e-4, to: 1e-2, log: 3}"]).says("6 combinations");
    let mut command = scene.command(&["plan", "small.yaml"]);
    let output = command.env("VOTIVE_SET__TRAIN__BATCH_SIZE", "[4, 8]").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("4 combinations = 4 configurations"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the environment makes an axis of it"));
    scene.votive(&["check", "small.yaml", "--set", "evaluate.every=[0.1, 0.2]"]).exits(2);
    scene.votive(&["check", "small.yaml", "--set", "report.margin=[0.01, 0.02]"]).exits(2).says("takes one value, not a list");
    scene.votive(&["check", "small.yaml", "--set", "train.batch_size=[]"]).exits(2).says("has no values");
    scene.votive(&["plan", "small.yaml", "--only", "seed == 1"]).exits(0).says("leaves 2 of 2 trials");
}
