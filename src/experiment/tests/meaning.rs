//! What right files mean.

use super::settings::{BatchSize, Budget, ClipNorm, Part, Tokenizer};
use super::*;

#[test]
fn the_file_of_the_design_has_its_configurations() {
    let text = r#"
name: stride-vs-context
description: Does overlap help more than context, at equal tokens seen?
corpus:
  text: builtin:keeper
  validation: 0.1
tokenizer: {kind: bpe, vocab_size: 512}
model: {family: gpt2, layers: 4, heads: 4, width: 128}
train:
  sequence_length: 128
  batch_size: 16
  clip_norm: 1.0
  learning_rate: 1e-3
  budget: {tokens: 200_000}
grid:
  train.sequence_length: [64, 128, 256]
  train.batch_size: [8, 16]
  train.clip_norm: [off, 0.5, 1.0]
zip:
  - {model.width: [128, 256], model.layers: [4, 6]}
derive:
  train.stride: sequence_length / 2
exclude:
  - when: batch_size * sequence_length > 2048
    why: more tokens in a step than the others
points:
  - {train.clip_norm: 0.25}
seeds: 3
run: {until: "07:00"}
"#;
    let (experiment, notes) = parse("x.yaml", text, &Overrides::default()).unwrap();
    assert_eq!(notes, []);
    assert_eq!(experiment.combinations(), Some(37));
    assert_eq!(experiment.seeds, [1, 2, 3]);
    let expansion = expand(&experiment);
    assert_eq!(
        expansion.swept,
        ["train.sequence_length", "train.batch_size", "train.clip_norm", "model.width", "model.layers", "train.stride"]
    );
    assert_eq!((expansion.combinations, expansion.merged, expansion.configurations.len()), (37, 0, 31));
    assert_eq!(expansion.excluded[0].count, 6);
    assert_eq!(expansion.excluded[0].why.as_deref(), Some("more tokens in a step than the others"));
    let rows = rows(&expansion);
    assert_eq!(rows[0], "64 8 off 128 4 32");
    assert_eq!(rows[1], "64 8 off 256 6 32");
    assert_eq!(rows[2], "64 8 0.5 128 4 32");
    assert_eq!(rows[30], "128 16 0.25 128 4 64");
    let first = &expansion.configurations[1].settings;
    assert_eq!((first.train.sequence_length, first.train.stride, first.model.width), (64, Some(32), 256));
    assert_eq!(first.train.clip_norm, ClipNorm::Off);
    assert_eq!(first.run.until.as_deref(), Some("07:00"));
    assert_eq!(first.train.budget, Budget::Tokens(200_000));
}

#[test]
fn values_mean_what_a_person_means() {
    let experiment = experiment(
        "tokenizer: byte\nmodel: {tied: no, bias: off, dropout: .1}\ncorpus.max_bytes: 2e6\ncorpus.validation: none\ntrain.batch_size: 007\ntrain.clip_norm: off\ntrain.learning_rate: 1e-4\n",
    );
    let base = &experiment.base;
    assert_eq!(base.tokenizer, Tokenizer::Byte);
    assert_eq!((base.model.tied, base.model.bias, base.model.dropout), (false, Some(false), 0.1));
    assert_eq!((base.corpus.max_bytes, &base.corpus.validation), (Some(2_000_000), &Part::None));
    assert_eq!((base.train.batch_size, base.train.clip_norm), (BatchSize::Windows(7), ClipNorm::Off));
    assert_eq!(base.train.learning_rate, 1e-4);
    assert_eq!(rows(&expand(&experiment)), [""]);
}

#[test]
fn one_value_has_one_spelling_and_words_and_paths_keep_theirs() {
    let of = |rest: &str| rows(&expand(&experiment(rest)));
    assert_eq!(
        of("grid: {train.clip_norm: [0.5, 1.0, off]}\npoints: [{train.sequence_length: 64}]\n"),
        ["0.5 128", "1.0 128", "off 128", "1.0 64"]
    );
    let grids = "grid:\n  - {train.learning_rate: [1e-3, 2e-3]}\n  - {train.learning_rate: [0.001, 0.002], model.layers: [2]}\n";
    assert_eq!(of(grids), ["1e-3 4", "2e-3 4", "1e-3 2", "2e-3 2"]);
    assert_eq!(
        of("grid: {train.budget: [{tokens: 1e5}]}\npoints: [{train.budget: {tokens: 100_000}, model.layers: 2}]\n"),
        ["1e5 tokens 4", "1e5 tokens 2"]
    );
    // Words, what a setting is where it is not written, and parts of blocks.
    assert_eq!(
        of("grid:\n  - {train.shuffle: [yes, no]}\n  - {train.shuffle: [true], model.layers: [2]}\n"),
        ["yes 4", "no 4", "yes 2"]
    );
    assert_eq!(of("grid: {train.stride: [64, 128]}\npoints: [{model.layers: 2}]\n"), ["64 4", "128 4", "128 2"]);
    let sizes = "tokenizer: {kind: bpe, vocab_size: 512}\ngrid: {tokenizer.vocab_size: [512, 1_024]}\n\
                 points: [{model.layers: 2}, {tokenizer.vocab_size: 1024, model.layers: 2}]\n";
    assert_eq!(of(sizes), ["512 4", "1_024 4", "512 2", "1_024 2"]);
    // 8 heads for keys and values are not always `auto`.
    let heads =
        "model: {family: llama, width: 128}\ngrid: {model.heads: [4, 8]}\npoints: [{model.heads: 8, model.kv_heads: 4}]\n";
    assert_eq!(of(heads), ["4 auto", "8 auto", "8 4"]);
    assert_eq!(of("grid: {corpus.field: ['1', '1.0']}\n"), ["1", "1.0"]);
}

#[test]
fn a_list_of_grids_is_their_union_and_equal_configurations_are_merged() {
    let experiment = experiment(
        "grid:\n  - {train.batch_size: [8, 16], train.stride: [64, 128]}\n  - {train.batch_size: [16, 32]}\n  - train: {clip_norm: [off, 1]}\n",
    );
    assert_eq!(experiment.combinations(), Some(8));
    let expansion = expand(&experiment);
    // 16 with the default stride is 16 with stride 128; clip 1 at batch 16 is the same again.
    assert_eq!((expansion.merged, expansion.configurations.len()), (2, 6));
    assert_eq!(rows(&expansion), ["8 64 1", "8 128 1", "16 64 1", "16 128 1", "32 128 1", "16 128 off"]);
}

#[test]
fn names_of_ones_own_are_swept_and_derived_from() {
    let experiment = experiment(
        "let: {base_lr: [3e-4, 1e-3], scale: 2}\ngrid: {train.batch_size: [8, 16]}\nderive:\n  train.learning_rate: base_lr * sqrt(batch_size / 8) * scale\n",
    );
    let expansion = expand(&experiment);
    assert_eq!(expansion.swept, ["base_lr", "train.batch_size", "train.learning_rate"]);
    assert_eq!(expansion.configurations.len(), 4);
    assert_eq!(rows(&expansion)[0], "3e-4 8 0.0006");
    assert!((expansion.configurations[3].settings.train.learning_rate - 2e-3 * 2f64.sqrt()).abs() < 1e-15);
}

#[test]
fn derived_settings_may_need_each_other_and_what_follows_from_them() {
    let experiment = experiment(
        "grid: {model.layers: [2, 4]}\nderive:\n  train.warmup: stride / 1000\n  train.sequence_length: layers * 32\n  train.clip_norm: off\n",
    );
    let expansion = expand(&experiment);
    assert_eq!(expansion.swept, ["model.layers", "train.warmup", "train.sequence_length", "train.clip_norm"]);
    assert_eq!(rows(&expansion), ["2 0.064 64 off", "4 0.128 128 off"]);
    assert_eq!(expansion.configurations[1].settings.train.warmup, 0.128);
    assert_eq!(expansion.configurations[1].settings.train.clip_norm, ClipNorm::Off);
}

#[test]
fn a_derived_key_overrides_the_base_and_a_budget_may_be_derived() {
    let experiment = experiment("grid: {train.batch_size: [8, 16]}\nderive:\n  train.budget.steps: 1600 / batch_size\n");
    let expansion = expand(&experiment);
    let budgets: Vec<Budget> = expansion.configurations.iter().map(|c| c.settings.train.budget).collect();
    assert_eq!(budgets, [Budget::Steps(200), Budget::Steps(100)]);
}

#[test]
fn blocks_are_axes_with_short_labels() {
    let experiment = experiment(
        "grid:\n  tokenizer: [{kind: char}, {kind: bpe, vocab_size: 1024}]\n  train.budget: [{tokens: 1e5}, {epochs: 2}]\n",
    );
    let expansion = expand(&experiment);
    assert_eq!(rows(&expansion), ["char 1e5 tokens", "char 2 epochs", "bpe-1024 1e5 tokens", "bpe-1024 2 epochs"]);
    assert_eq!(expansion.configurations[3].settings.tokenizer, Tokenizer::Bpe { vocab_size: 1024 });
    assert_eq!(expansion.configurations[3].settings.train.budget, Budget::Epochs(2.0));
}

#[test]
fn files_of_one_name_are_different_tokenizers() {
    let experiment = experiment(
        "grid:\n  tokenizer: [{kind: file, path: a/tokenizer.json}, {kind: file, path: b/tokenizer.json}]\n  \
         train.learning_rate: [1e-3, 2e-3]\ntune: [train.learning_rate]\n",
    );
    assert_eq!(
        rows(&expand(&experiment)),
        ["a/tokenizer.json 1e-3", "a/tokenizer.json 2e-3", "b/tokenizer.json 1e-3", "b/tokenizer.json 2e-3"]
    );
}

#[test]
fn the_parts_of_a_tokenizer_are_read_together_wherever_they_stand() {
    let bpe = |vocab_size| Tokenizer::Bpe { vocab_size };
    let of = |rest: &str, set: &[&str], environment: &[(&str, &str)]| {
        let overrides = Overrides {
            set: set.iter().map(|&text| text.to_owned()).collect(),
            environment: environment.iter().map(|(name, value)| (format!("VOTIVE_SET__{name}"), (*value).to_owned())).collect(),
        };
        match parse("x.yaml", &format!("{HEAD}{rest}"), &overrides) {
            Ok((experiment, _)) => Ok(experiment.base.tokenizer),
            Err(problems) => Err(problems.list().iter().map(|p| p.message().to_owned()).collect::<Vec<_>>().join("; ")),
        }
    };
    assert_eq!(of("tokenizer.vocab_size: 512\ntokenizer.kind: bpe\n", &[], &[]), Ok(bpe(512)));
    assert_eq!(of("", &["tokenizer.kind=bpe", "tokenizer.vocab_size=512"], &[]), Ok(bpe(512)));
    assert_eq!(of("", &["tokenizer.vocab_size=512", "seeds=2", "tokenizer.kind=bpe"], &[]), Ok(bpe(512)));
    assert_eq!(of("", &[], &[("TOKENIZER__KIND", "bpe"), ("TOKENIZER__VOCAB_SIZE", "512")]), Ok(bpe(512)));
    assert_eq!(of("", &["tokenizer.kind=bpe"], &[("TOKENIZER__VOCAB_SIZE", "512")]), Ok(bpe(512)));
    let file = "tokenizer: {kind: bpe, vocab_size: 300}\n";
    assert_eq!(of(file, &["tokenizer.vocab_size=400", "tokenizer.vocab_size=512"], &[]), Ok(bpe(512)));
    // What a whole block replaces does not come back.
    assert_eq!(of(file, &["tokenizer.vocab_size=400", "tokenizer=byte"], &[]), Ok(Tokenizer::Byte));
    for (rest, set, message) in [
        ("tokenizer.kind: bpe\n", &[][..], "`tokenizer.kind` needs a `vocab_size` with `kind: bpe`"),
        ("tokenizer: byte\ntokenizer.kind: char\n", &[], "`tokenizer.kind` is set twice (as `tokenizer`)"),
        ("", &["tokenizer.vocab_size=9"], "`tokenizer.vocab_size` needs a `kind`"),
        (
            "",
            &["tokenizer.kind=bpe", "tokenizer.vocab_size=many"],
            "`tokenizer.vocab_size` should be a whole number from 1 up, not `many`",
        ),
        (
            "",
            &["tokenizer.kind=bep", "tokenizer.vocab_size=9"],
            "`tokenizer.kind` should be one of char, byte, word, bpe, file, not `bep`",
        ),
    ] {
        assert_eq!(of(rest, set, &[]), Err(message.to_owned()), "{rest}{set:?}");
    }
}

#[test]
fn a_search_draws_sizes_of_vocabularies_and_budgets() {
    let experiment = experiment(
        "tokenizer: {kind: bpe, vocab_size: 512}\nsearch:\n  random: 8\n  tokenizer.vocab_size: {from: 300, to: 1000}\n  \
         train.budget.tokens: {from: 1e5, to: 1e6, log: true}\n",
    );
    let expansion = expand(&experiment);
    assert_eq!(expansion.configurations.len(), 8);
    for configuration in &expansion.configurations {
        let Tokenizer::Bpe { vocab_size } = configuration.settings.tokenizer else { panic!("{configuration:?}") };
        let Budget::Tokens(tokens) = configuration.settings.train.budget else { panic!("{configuration:?}") };
        assert!((300..=1000).contains(&vocab_size) && (100_000..=1_000_000).contains(&tokens));
        assert_eq!(configuration.values, [vocab_size.to_string(), format!("{tokens} tokens")]);
    }
}

#[test]
fn settings_may_stand_in_their_sections_wherever_configurations_are_described() {
    let of = |rest: &str| rows(&expand(&experiment(rest)));
    assert_eq!(of("grid: {train: {clip_norm: [0.5, 1]}}\npoints: [{train: {clip_norm: 0.25}}]\n"), ["0.5", "1", "0.25"]);
    assert_eq!(of("zip: [{model: {layers: [2, 4]}, train: {stride: [32, 64]}}]\n"), ["2 32", "4 64"]);
    assert_eq!(of("search: {random: 2, model: {layers: [3]}, train: {stride: [32]}}\n"), ["3 32"]);
    assert_eq!(of("grid: {model.layers: [2, 4]}\nderive: {train: {stride: layers * 16}}\n"), ["2 32", "4 64"]);
}

#[test]
fn minus_nothing_is_nothing() {
    let expansion = expand(&experiment("grid: {train.warmup: [0, -0], model.dropout: [-0, 0]}\n"));
    assert_eq!((rows(&expansion), expansion.merged), (vec!["0 -0".to_owned()], 3));
}

#[test]
fn a_part_of_a_block_may_be_an_axis() {
    let experiment = experiment(
        "tokenizer: {kind: bpe, vocab_size: 512}\ngrid:\n  tokenizer.vocab_size: {from: 300, to: 1200, factor: 2}\n  train.budget.steps: [10, 20]\n",
    );
    let expansion = expand(&experiment);
    assert_eq!(expansion.swept, ["tokenizer.vocab_size", "train.budget"]);
    assert_eq!(rows(&expansion)[5], "1200 20 steps");
    assert_eq!(expansion.configurations[5].settings.tokenizer, Tokenizer::Bpe { vocab_size: 1200 });
}

#[test]
fn a_smaller_search_is_a_prefix_of_a_larger_one() {
    let search = |n: u64, rest: &str| {
        let text = format!(
            "search:\n  random: {n}\n  seed: 7\n  train.learning_rate: {{from: 1e-4, to: 1e-2, log: true}}\n  model.layers: {{from: 2, to: 5}}\n  train.clip_norm: [off, 1, 2]\n{rest}"
        );
        expand(&experiment(&text))
    };
    let (ten, twenty) = (search(10, ""), search(20, ""));
    assert_eq!(ten.configurations.len(), 10);
    assert_eq!(ten.configurations[..], twenty.configurations[..10]);
    let more = search(10, "  train.batch_size: [8, 16]\n");
    for (a, b) in ten.configurations.iter().zip(&more.configurations) {
        assert_eq!(a.settings.train.learning_rate, b.settings.train.learning_rate);
        assert!((1e-4..=1e-2).contains(&a.settings.train.learning_rate));
        assert!((2..=5).contains(&a.settings.model.layers));
    }
    let layers: std::collections::BTreeSet<usize> = twenty.configurations.iter().map(|c| c.settings.model.layers).collect();
    assert_eq!(layers.len(), 4);
}

#[test]
fn points_only_add() {
    let experiment = experiment("grid: {train.batch_size: [8, 16]}\npoints: [{train.clip_norm: off}, {train.batch_size: 8}]\n");
    let expansion = expand(&experiment);
    assert_eq!(rows(&expansion), ["8 1", "16 1"].iter().chain(&["16 off"]).copied().collect::<Vec<_>>());
    assert_eq!(expansion.merged, 1);
    let alone = super::experiment("points: [{train.clip_norm: off}, {train.clip_norm: 2}]\n");
    assert_eq!(rows(&expand(&alone)), ["off", "2"]);
}

#[test]
fn layers_above_the_file_win_and_replace_axes() {
    let text = format!(
        "{HEAD}let: {{base_lr: [1e-4, 1e-3]}}\ngrid:\n  train.batch_size: [8, 16]\n  train.clip_norm: [1, 2]\nzip: [{{model.width: [128, 256], model.layers: [2, 4]}}]\nderive: {{train.learning_rate: base_lr}}\nseeds: 3\n"
    );
    let overrides = Overrides {
        set: vec![
            "train.batch_size=4".to_owned(),
            "train.budget.epochs=2".to_owned(),
            "model.layers=3".to_owned(),
            "base_lr=5e-4".to_owned(),
            "seeds=[7]".to_owned(),
            "corpus.text=[a.txt, b.txt]".to_owned(),
            "name=other".to_owned(),
            "tokenizer={kind: byte}".to_owned(),
        ],
        environment: vec![
            ("VOTIVE_SET__TRAIN__BATCH_SIZE".to_owned(), "2".to_owned()),
            ("VOTIVE_SET__TRAIN__BETA2".to_owned(), "0.99".to_owned()),
            ("PATH".to_owned(), "x".to_owned()),
        ],
    };
    let (experiment, notes) = parse("x.yaml", &text, &overrides).unwrap();
    let notes: Vec<&str> = notes.iter().filter(|n| n.severity() == Severity::Note).map(Problem::message).collect();
    assert_eq!(
        notes,
        [
            "`train.batch_size` is 4 for all: `--set` replaces its axis",
            "`model.layers` is 3 for all: `--set` replaces its axis",
            "`base_lr` is 5e-4 for all: `--set` replaces its axis",
        ]
    );
    assert_eq!((experiment.name.as_str(), experiment.seeds.as_slice()), ("other", [7].as_slice()));
    let expansion = expand(&experiment);
    assert_eq!(expansion.configurations.len(), 4);
    let settings = &expansion.configurations[3].settings;
    assert_eq!(settings.train.batch_size, BatchSize::Windows(4));
    assert_eq!(settings.train.budget, Budget::Epochs(2.0));
    assert_eq!((settings.train.beta2, settings.train.learning_rate), (0.99, 5e-4));
    assert_eq!((settings.model.width, settings.model.layers), (256, 3));
    assert_eq!(settings.corpus.text, ["a.txt", "b.txt"]);
    assert_eq!(settings.tokenizer, Tokenizer::Byte);
    let resolved = experiment.resolved();
    assert_eq!(resolved.settings["train"]["beta2"], 0.99);
    assert_eq!(resolved.overrides[0]["from"], "the environment");
}

#[test]
fn one_value_over_the_only_axis_leaves_its_configuration_beside_the_points() {
    let of = |rest: &str, set: &str| {
        let overrides = Overrides { set: vec![set.to_owned()], ..Overrides::default() };
        let (experiment, _) = parse("x.yaml", &format!("{HEAD}{rest}"), &overrides).unwrap();
        (experiment.combinations(), rows(&expand(&experiment)))
    };
    let two = "grid: {train.clip_norm: [off, 1.0]}\npoints: [{train.learning_rate: 3e-3}]\n";
    assert_eq!(of(two, "train.clip_norm=0.5"), (Some(2), vec!["0.5 0.001".to_owned(), "0.5 3e-3".to_owned()]));
    // Points that no axis stands beside stay alone, and an axis from above is crossed beside them.
    let alone = "points: [{train.learning_rate: 3e-3}]\n";
    assert_eq!(of(alone, "train.clip_norm=0.5"), (Some(1), vec!["3e-3".to_owned()]));
    assert_eq!(of(alone, "train.clip_norm=[1, 2]").0, Some(3));
}

#[test]
fn a_variable_of_the_environment_finds_a_name_of_ones_own_with_capitals() {
    let of = |names: &str, derived: &str| {
        let text = format!("{HEAD}let: {{{names}}}\nderive: {{train.learning_rate: {derived}}}\n");
        let environment = vec![("VOTIVE_SET__LR".to_owned(), "2e-3".to_owned())];
        let (experiment, _) = parse("x.yaml", &text, &Overrides { environment, ..Overrides::default() }).ok()?;
        Some(expand(&experiment).configurations[0].settings.train.learning_rate)
    };
    assert_eq!(of("LR: 1e-3", "LR"), Some(2e-3));
    assert_eq!(of("LR: 1e-3, lr: 1e-4", "LR + lr"), Some(3e-3));
    assert_eq!(of("LR: 1e-3, Lr: 1e-4", "LR + Lr"), None, "either may be meant");
}

#[test]
fn the_note_on_a_replaced_derivation_names_the_layer_that_holds() {
    let overrides = Overrides {
        set: vec!["train.stride=16".to_owned()],
        environment: vec![("VOTIVE_SET__TRAIN__STRIDE".to_owned(), "32".to_owned())],
    };
    let (experiment, notes) =
        parse("x.yaml", &format!("{HEAD}derive: {{train.stride: sequence_length / 2}}\n"), &overrides).unwrap();
    assert_eq!(experiment.base.train.stride, Some(16));
    let notes: Vec<&str> = notes.iter().map(Problem::message).collect();
    assert_eq!(notes, ["`train.stride` is 16 for all: `--set` replaces its `derive`"]);
}

#[test]
fn an_axis_of_fields_is_read_where_a_text_may_have_rows() {
    let warned = |text: &str| {
        let text = format!(
            "name: x\ncorpus: {{text: {text}, validation: v.txt}}\ntrain: {{budget: {{steps: 1}}}}\ngrid: {{corpus.field: [a, b]}}\n"
        );
        let (experiment, _) = parse("x.yaml", &text, &Overrides::default()).unwrap();
        expand(&experiment).warnings.iter().map(|w| w.message().to_owned()).collect::<Vec<_>>()
    };
    for text in ["a.jsonl", "a.ndjson", "A.JSONL", "'texts/*'"] {
        assert_eq!(warned(text), [""; 0], "{text}");
    }
    let message = "nothing reads the axis `corpus.field`: only `.jsonl` and `.ndjson` files have fields";
    assert_eq!(warned("a.txt"), [message]);
}

#[test]
fn full_is_the_number_of_training_windows() {
    let experiment = experiment(
        "grid: {train.batch_size: [8, full]}\nexclude: [{when: batch_size * sequence_length > 4096}, {when: batch_size == 70}]\n",
    );
    let expansion = experiment.expand(100, &mut Knowing { windows: Some(70), ..Knowing::default() }).unwrap();
    assert_eq!(expansion.configurations.len(), 1);
    assert_eq!(expansion.excluded.iter().map(|e| e.count).collect::<Vec<_>>(), [1, 0]);
    // Where the number is not known the rule does not apply, and nothing is said about it.
    let unknown = expand(&experiment);
    assert_eq!((unknown.configurations.len(), unknown.warnings.len()), (2, 0));
}

#[test]
fn the_limit_counts_trials() {
    let experiment = experiment("grid: {train.batch_size: [8, 16]}\nseeds: 3\n");
    assert!(experiment.expand(5, &mut Knowing::default()).is_err());
    assert_eq!(experiment.expand(6, &mut Knowing::default()).unwrap().configurations.len(), 2);
}

#[test]
fn paths_are_relative_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, HEAD).unwrap();
    let (experiment, _) = load(&path, &Overrides::default()).unwrap();
    assert_eq!(experiment.folder, folder.path());
    assert_eq!(experiment.source, HEAD);
}

#[test]
fn ten_thousand_configurations_are_expanded_quickly() {
    let experiment = experiment(
        "grid:\n  train.sequence_length: {from: 10, to: 100, step: 10}\n  train.batch_size: {from: 1, to: 10, step: 1}\n  train.clip_norm: {from: 1, to: 10, step: 1}\n  train.learning_rate: {from: 0.001, to: 0.01, step: 0.001}\nderive: {train.stride: sequence_length / 2}\nexclude: [{when: batch_size * sequence_length > 1e6}, {when: clip_norm < 0}]\n",
    );
    let start = std::time::Instant::now();
    let expansion = expand(&experiment);
    assert_eq!(expansion.configurations.len(), 10_000);
    // A guard against a quadratic slip, not a measurement: that is the benchmark's work.
    assert!(start.elapsed().as_secs_f64() < 60.0, "{:?}", start.elapsed());
}

#[test]
fn tuned_axes_are_axes_like_others_and_are_told_to_the_report() {
    let text = "name: x\ncorpus: {text: a.txt}\ntrain: {budget: {steps: 100}}\ngrid:\n  train.batch_size: [8, 16]\n  \
                train.learning_rate: [1e-3, 3e-3]\ntune: [train.learning_rate]\n";
    let (experiment, notes) = parse("x.yaml", text, &Overrides::default()).unwrap();
    assert_eq!(notes, []);
    assert_eq!(experiment.combinations(), Some(4));
    assert_eq!(experiment.resolved().tune, ["train.learning_rate"]);
    let one = Overrides { set: vec!["train.learning_rate=1e-3".to_owned()], ..Overrides::default() };
    let (experiment, _) = parse("x.yaml", text, &one).unwrap();
    assert_eq!((experiment.combinations(), experiment.resolved().tune), (Some(2), Vec::new()));
}

#[test]
fn a_list_above_the_file_makes_an_axis() {
    let swept = |rest: &str, set: &[&str]| {
        let overrides = Overrides { set: set.iter().map(|&text| text.to_owned()).collect(), environment: Vec::new() };
        match parse("x.yaml", &format!("{HEAD}{rest}"), &overrides) {
            Ok((experiment, notes)) => (rows(&expand(&experiment)), notes.iter().map(|n| n.message().to_owned()).collect()),
            Err(problems) => (Vec::new(), problems.list().iter().map(|p| p.message().to_owned()).collect::<Vec<_>>()),
        }
    };
    let (rows, notes) = swept("", &["train.batch_size=[8, 16]"]);
    assert_eq!(rows, ["8", "16"]);
    assert_eq!(notes, ["`train.batch_size` is swept over 8, 16: `--set` makes an axis of it"]);
    // Beside another part of the same block.
    let bpe = "tokenizer: {kind: bpe, vocab_size: 512}\n";
    assert_eq!(swept(bpe, &["tokenizer.vocab_size=[300, 1024]", "tokenizer.kind=bpe"]).0, ["300", "1024"]);
    // In the place of the axis that it replaces.
    let (rows, notes) = swept("grid: {train.batch_size: [8, 16], train.stride: [64, 128]}\n", &["train.batch_size=[2, 4]"]);
    assert_eq!(rows, ["2 64", "2 128", "4 64", "4 128"]);
    assert_eq!(notes, ["`train.batch_size` is swept over 2, 4: `--set` replaces its axis"]);
    // Out of a zip, whose other settings go on together.
    let zip = "zip: [{model.width: [128, 256], model.layers: [4, 6]}]\n";
    assert_eq!(swept(zip, &["model.layers=[1, 2]"]).0, ["128 1", "256 1", "128 2", "256 2"]);
    // One value after it, and the other way round: the last one holds.
    assert_eq!(swept("", &["train.batch_size=[8, 16]", "train.batch_size=4"]).0, [""]);
    assert_eq!(swept("", &["train.batch_size=4", "train.batch_size=[8, 16]"]).0, ["8", "16"]);
    // Ranges, parts of blocks, blocks, names of one's own, lists of texts.
    assert_eq!(swept("", &["train.learning_rate={from: 1e-4, to: 1e-2, log: 3}"]).0, ["0.0001", "0.001", "0.01"]);
    assert_eq!(swept("", &["train.budget.steps=[10, 20]"]).0, ["10 steps", "20 steps"]);
    assert_eq!(swept("", &["tokenizer=[char, {kind: bpe, vocab_size: 300}]"]).0, ["char", "bpe-300"]);
    let own = "let: {rate: 1e-3}\nderive: {train.learning_rate: rate}\n";
    assert_eq!(swept(own, &["rate=[1e-3, 2e-3]"]).0, ["1e-3 0.001", "2e-3 0.002"]);
    let texts = "corpus.validation: v.txt\n";
    assert_eq!(swept(texts, &["corpus.text=[a.txt, b.txt]"]).0, [""]);
    assert_eq!(swept(texts, &["corpus.text=[[a.txt], [b.txt, c.txt]]"]).0, ["a.txt", "b.txt c.txt"]);
    // A search draws from it, every grid of a list has it, points stay what they are.
    assert_eq!(swept("search: {random: 3, train.stride: [64]}\n", &["train.batch_size=[8]"]).0, ["64 8"]);
    let grids = "grid: [{train.stride: [64, 128]}, {train.clip_norm: [off]}]\n";
    assert_eq!(swept(grids, &["train.batch_size=[8, 4]"]).0.len(), 6);
    let points = "grid: {train.batch_size: [8, 16]}\npoints: [{train.batch_size: 32}]\n";
    assert_eq!(swept(points, &["train.batch_size=[2, 4]"]).0, ["2", "4", "32"]);
    // What cannot be swept, and what does not fit.
    assert_eq!(swept("", &["run.slots=[1, 2]"]).1, ["`run.slots` takes one value, not a list"]);
    assert_eq!(swept("", &["train.batch_size=[]"]).1, ["the axis `train.batch_size` has no values"]);
    assert_eq!(swept("", &["train.batch_size=[8, x]"]).1.len(), 1);
    assert_eq!(swept("", &["nothing=[1, 2]"]).1, ["there is no setting called `nothing`"]);
}

#[test]
fn keys_that_begin_with_x_are_a_place_for_anchors() {
    let experiment = experiment(
        "x-small: &small {layers: 2, heads: 2, width: 64}\nx-rates: &rates [1e-3, 3e-3]\nmodel: *small\n\
         grid: {train.learning_rate: *rates}\n",
    );
    assert_eq!(rows(&expand(&experiment)), ["1e-3", "3e-3"]);
    assert_eq!(experiment.base.model.width, 64);
}

#[test]
fn what_a_folder_brings_is_shown_and_read_by_rules() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("small")).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::write(folder.path().join("small").join(file), "").unwrap();
    }
    let text = format!(
        "{HEAD}grid:\n  - {{model.from: [small]}}\n  - {{model.width: [8, 200], tokenizer: [byte]}}\n\
         exclude: [{{when: width > 150 or family == llama and dropout > 0}}]\nderive: {{train.stride: width * 2}}\n"
    );
    std::fs::write(folder.path().join("x.yaml"), text).unwrap();
    let (experiment, notes) = load(&folder.path().join("x.yaml"), &Overrides::default()).unwrap();
    assert_eq!(notes, []);
    let model = settings::Model { family: settings::Family::Llama, width: 48, heads: 2, ..settings::Model::default() };
    let says = |longest| Knowing { folder: Some(Folder { model: model.clone(), longest }), ..Knowing::default() };
    let expansion = experiment.expand(100, &mut says(None)).unwrap();
    assert_eq!(rows(&expansion), ["small 48 small/tokenizer.json 96", "none 8 byte 16"]);
    assert_eq!(expansion.configurations[0].settings.model.width, 48);
    assert_eq!(expansion.excluded[0].count, 1);
    let problems = experiment.expand(100, &mut says(Some(64))).unwrap_err();
    assert_eq!(problems.list()[0].message(), "`small` has 64 learned positions, and a window has 128 tokens");
}
