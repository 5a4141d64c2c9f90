//! What makes perplexities comparable: the same tokens from the same context, whatever the configuration.

use std::collections::BTreeSet;
use std::fs;

use polars::prelude::DataFrame;
use votive::runs::TrialFolder;

use crate::support::{SMALL, Scene, final_weights, json, numbers, read, small, words};

/// Rows of evaluations of the final weights on the validation part: (protocol, context, tokens, bytes, NLL sum).
fn finals(folder: &TrialFolder) -> Vec<(String, [f64; 4])> {
    let frame = read(&folder.evaluations());
    let column = |name: &str| numbers(&frame, name).into_iter().map(Option::unwrap).collect::<Vec<_>>();
    let (context, tokens) = (column("context"), column("scored_tokens"));
    let (bytes, sum) = (column("scored_bytes"), column("nll_sum"));
    let (kind, part) = (words(&frame, "kind"), words(&frame, "part"));
    let rows = words(&frame, "protocol").into_iter().enumerate();
    let rows = rows.filter(|&(i, _)| kind[i] == "final" && part[i] == "validation");
    rows.map(|(i, protocol)| (protocol, [context[i], tokens[i], bytes[i], sum[i]])).collect()
}

/// Position and token of each row of one protocol, and its NLL.
fn tokens(folder: &TrialFolder, protocol: &str) -> (Vec<(f64, f64)>, Vec<f64>) {
    let frame = read(&folder.token_nll());
    let (kinds, protocols) = (words(&frame, "checkpoint_kind"), words(&frame, "protocol"));
    let column = |name: &str| numbers(&frame, name).into_iter().map(Option::unwrap).collect::<Vec<_>>();
    let (position, token, nll) = (column("position"), column("token"), column("nll"));
    let rows = (0..frame.height()).filter(|&i| kinds[i] == "final" && protocols[i] == protocol);
    rows.map(|i| ((position[i], token[i]), nll[i])).unzip()
}

#[test]
fn the_same_weights_rank_the_same_whatever_context_they_are_used_at() {
    let trained = Scene::new(
        &small("")
            .replace("{layers: 1, heads: 2, width: 16, dropout: 0.1}", "{family: llama, layers: 1, heads: 2, width: 32}")
            .replace("sequence_length: 32", "sequence_length: 64\n  learning_rate: 1e-2")
            .replace("steps: 40", "steps: 150"),
    );
    trained.run(&[]).exits(0);
    let folder = trained.trials().into_values().next().unwrap();
    let checkpoint = folder.checkpoints().join("step-00000150");

    // A learning rate at which no weight moves; windows of 32 and of 64.
    let scene = Scene::new(&format!(
        "name: small\ncorpus: {{text: 'builtin:keeper', max_bytes: 40000}}\nmodel: {{from: '{}'}}\n\
         train: {{learning_rate: 1e-30, batch_size: 4, budget: {{steps: 1}}}}\ngrid: {{train.sequence_length: [32, 64]}}\n",
        checkpoint.display()
    ));
    scene.run(&[]).exits(0);
    let plan = scene.plan(&[]);
    let of = |place: usize| scene.trials()[plan["trials"][place]["id"].as_str().unwrap()].clone();
    let (short, long) = (of(0), of(1));
    assert!(final_weights(&short, 1) == final_weights(&long, 1), "the weights are the same");
    assert!(final_weights(&long, 1) == final_weights(&folder, 150));

    // What ranks: the same tokens, the same context, and so the same sum.
    let (a, b) = (finals(&short), finals(&long));
    assert_eq!(
        a.iter().map(|(protocol, row)| (protocol.as_str(), row[0])).collect::<Vec<_>>(),
        [("common", 32.0), ("native", 32.0)]
    );
    assert_eq!(
        b.iter().map(|(protocol, row)| (protocol.as_str(), row[0])).collect::<Vec<_>>(),
        [("common", 32.0), ("native", 64.0)]
    );
    assert_eq!(a[0].1[1..3], b[0].1[1..3]);
    assert!((a[0].1[3] / b[0].1[3] - 1.0).abs() < 1e-6, "{a:?} {b:?}");
    let ((places, nll), (other_places, other_nll)) = (tokens(&short, "common"), tokens(&long, "common"));
    assert_eq!(places, other_places);
    assert!(nll.iter().zip(&other_nll).all(|(a, b)| (a - b).abs() < 1e-4));
    let summary = scene.summary();
    assert_eq!((&summary["protocol"]["common_context"], &summary["protocol"]["rank_by"]), (&32.into(), &"common".into()));
    let perplexities: Vec<f64> =
        summary["configurations"].as_array().unwrap().iter().map(|c| c["perplexity"].as_f64().unwrap()).collect();
    assert!((perplexities[0] / perplexities[1] - 1.0).abs() < 1e-6, "{perplexities:?}");

    // What would be compared without it: the same tokens from twice the context, and so another number for the same weights.
    assert_eq!(places, tokens(&long, "native").0);
    let gain = (a[1].1[3] - b[1].1[3]) / a[1].1[1];
    assert!(gain.abs() > 1e-4, "{gain} nats a token");
}

#[test]
fn how_often_it_is_scored_on_the_way_leaves_the_weights_alone() {
    let run = |every: &str, at_most: &str| {
        let scene = Scene::new(SMALL);
        let (every, at_most) = (format!("evaluate.every={every}"), format!("evaluate.at_most={at_most}"));
        scene.run(&["--set", &every, "--set", &at_most, "--set", "train.batch_size=16"]).exits(0);
        let folder = scene.trials().into_values().next().unwrap();
        let kinds = words(&read(&folder.evaluations()), "kind");
        (kinds.iter().filter(|kind| *kind == "periodic").count(), final_weights(&folder, 40), finals(&folder))
    };
    let (always, never) = (run("0.025", "1"), run("0.025", "0"));
    assert_eq!((always.0, never.0), (40, 0), "after every step, and never");
    assert!(always.1 == never.1, "the final weights differ");
    assert_eq!(always.2, never.2);
}

#[test]
fn final_and_best_weights_are_scored_on_every_part_and_only_the_validation_part_chooses() {
    // So much of so little text that it is learned by heart.
    let yaml = small("evaluate: {at_most: 1}").replace("max_bytes: 40000", "max_bytes: 3000").replace("steps: 40", "steps: 400");
    let yaml =
        yaml.replace("width: 16, dropout: 0.1", "width: 64").replace("batch_size: 8", "batch_size: 8\n  learning_rate: 1e-2");
    let scene = Scene::new(&yaml);
    scene.run(&["--set", "corpus.test=0.1"]).exits(0);
    let folder = scene.trials().into_values().next().unwrap();
    let evaluations = read(&folder.evaluations());
    let (kinds, parts, protocols) = (words(&evaluations, "kind"), words(&evaluations, "part"), words(&evaluations, "protocol"));
    let mut rows: Vec<String> = (0..evaluations.height())
        .filter(|&i| kinds[i] != "periodic")
        .map(|i| format!("{} {} {}", kinds[i], parts[i], protocols[i]))
        .collect();
    rows.sort();
    let expected = ["best test common", "best validation common", "best validation native"];
    assert_eq!(rows[..3], expected);
    assert_eq!(rows[3..], expected.map(|row| row.replace("best", "final")));
    let table = scene.table();
    let number = |name: &str| numbers(&table, name)[0].unwrap();
    assert!(number("best_common_loss") < number("common_loss"));
    assert!(number("best_step") < 400.0);
    for kind in ["test", "best_test"] {
        let loss = number(&format!("{kind}_loss"));
        assert!((number(&format!("{kind}_perplexity")) / loss.exp() - 1.0).abs() < 1e-9);
        assert!(number(&format!("{kind}_bits_per_byte")) > 0.0);
    }
    assert_ne!(number("test_loss"), number("best_test_loss"));
    assert_ne!(number("test_loss"), number("common_loss"));
}

#[test]
fn the_loss_falls_with_the_place_in_the_window() {
    let scene = Scene::new(
        &small("").replace("steps: 40", "steps: 200").replace("batch_size: 8", "batch_size: 8\n  learning_rate: 1e-2"),
    );
    scene.run(&[]).exits(0);
    let frame = read(&scene.trials().into_values().next().unwrap().positions());
    let last = frame.filter(&words(&frame, "checkpoint_kind").iter().map(|k| Some(k == "final")).collect()).unwrap();
    let edges: Vec<_> = numbers(&last, "first_position").into_iter().zip(numbers(&last, "last_position")).collect();
    assert_eq!(edges, [(1., 1.), (2., 2.), (3., 4.), (5., 8.), (9., 16.), (17., 32.)].map(|(a, b)| (Some(a), Some(b))));
    let (tokens, sums) = (numbers(&last, "tokens"), numbers(&last, "nll_sum"));
    let windows = tokens[0].unwrap();
    assert_eq!(tokens, [1., 1., 2., 4., 8., 16.].map(|width| Some(width * windows)));
    let losses: Vec<f64> = sums.iter().zip(&tokens).map(|(s, t)| s.unwrap() / t.unwrap()).collect();
    assert!(losses[0] > losses[5], "a first token is harder than one that much stands before: {losses:?}");
}

/// What stands in `experiment.json` of each tokenizer, by its name.
fn named<'a>(all: &'a serde_json::Value, key: &str, name: &str) -> Vec<(String, &'a serde_json::Value)> {
    all[key].as_array().unwrap().iter().map(|one| (one[name].as_str().unwrap().to_owned(), one)).collect()
}

#[test]
fn tokenizers_are_trained_on_as_many_bytes_and_compared_by_bytes_where_nothing_is_lost() {
    let yaml = small("grid: {tokenizer: [{kind: char}, {kind: byte}, {kind: bpe, vocab_size: 300}, {kind: word}]}");
    let scene = Scene::new(&yaml.replace("{steps: 40}", "{bytes: 30_000}"));
    let plan = scene.plan(&[]);
    for trial in plan["trials"].as_array().unwrap() {
        let fact = |name: &str| trial["facts"][name].as_f64().unwrap();
        let per_token = fact("train_bytes") / fact("train_tokens");
        let (seen, step) = (fact("target_tokens") * per_token, fact("tokens_per_step") * per_token);
        assert!(seen >= 30_000.0 && seen < 30_000.0 + step, "{seen} bytes, {step} a step");
    }
    scene.run(&[]).exits(0);
    let experiment = json(&scene.experiment().experiment_json());
    let tokenizers = named(&experiment, "tokenizers", "label");
    let lossless: Vec<_> = tokenizers.iter().map(|(label, t)| (label.as_str(), t["lossless"].as_bool().unwrap())).collect();
    assert_eq!(lossless, [("char", true), ("byte", true), ("bpe-300", true), ("word", false)]);
    assert!(tokenizers[3].1["unknown_share"].as_f64().unwrap() > 0.0);

    // Words stand beside, without a place: they do not say what the text was.
    let summary = scene.summary();
    assert_eq!(summary["protocol"]["unit"], "bits_per_byte");
    let ranked = summary["configurations"].as_array().unwrap().iter().filter(|c| !c["place"].is_null()).count();
    assert_eq!(ranked, 3);

    let references = named(&experiment, "references", "tokenizer");
    assert_eq!(references.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), ["char", "byte", "bpe-300", "word"]);
    let table: DataFrame = scene.table();
    let (scored, vocabulary) = (numbers(&table, "scored_tokens"), numbers(&table, "vocabulary"));
    let (losses, word_perplexity) = (numbers(&table, "common_loss"), numbers(&table, "word_perplexity"));
    let (scored_words, shares) = (numbers(&table, "validation_words"), numbers(&table, "unknown_share"));
    for (place, (label, reference)) in references.iter().enumerate() {
        let loss = |model: &str| reference[model]["loss"].as_f64().unwrap();
        assert_eq!(reference["scored_tokens"].as_f64(), scored[place]);
        assert!((loss("uniform") - vocabulary[place].unwrap().ln()).abs() < 1e-12);
        assert!(loss("bigram") < loss("unigram") && loss("unigram") < loss("uniform"), "{label}: {reference}");
        let word = (losses[place].unwrap() * scored[place].unwrap() / scored_words[place].unwrap()).exp();
        assert!((word_perplexity[place].unwrap() / word - 1.0).abs() < 1e-9, "{label}");
        assert_eq!(shares[place], tokenizers[place].1["unknown_share"].as_f64());
    }
    let distinct: BTreeSet<u64> = scored_words.iter().map(|n| n.unwrap() as u64).collect();
    assert!(distinct.last().unwrap() - distinct.first().unwrap() <= 1, "the same text has the same words: {distinct:?}");
    let cached = fs::read_dir(scene.experiment().cache()).unwrap().flatten();
    let cached = cached.filter(|file| file.file_name().to_string_lossy().starts_with("references-")).count();
    assert_eq!(cached, 4);
}

#[test]
fn texts_may_be_swept_where_what_is_scored_stays_the_same() {
    let yaml = |tokenizer: &str| {
        small(&format!("grid: {{corpus.text: [one.txt, two.txt]}}\ntokenizer: {tokenizer}"))
            .replace("text: builtin:keeper, max_bytes: 40000", "text: one.txt, validation: held.txt")
    };
    let scene = Scene::new(&yaml("{kind: char}"));
    scene.put("one.txt", "A lamp was lit at dusk.\n\n".repeat(300));
    scene.put("two.txt", "A lamp was lit at dusk; the keeper slept.\n\n".repeat(300));
    scene.put("held.txt", "A lamp was dusk.\n\n".repeat(60));
    scene.run(&[]).exits(0);
    let distinct = |table: &DataFrame, name: &str| words(table, name).into_iter().collect::<BTreeSet<_>>().len();
    let table = scene.table();
    let counts = ["text_hash", "tokenizer_hash", "validation_hash"].map(|name| distinct(&table, name));
    assert_eq!(counts, [2, 2, 1], "one label over two texts is two vocabularies");
    let summary = scene.summary();
    assert_eq!(summary["protocol"]["unit"], "bits_per_byte", "perplexities of other tokens do not compare");
    assert!(summary["configurations"].as_array().unwrap().iter().all(|c| !c["place"].is_null()), "both give the text back");
    let said = scene.votive(&["report", "small"]).exits(0);
    assert!(said.out.contains("char of #1: ") && said.out.contains("; char of #2: "), "{}", said.out);
    let said = scene.votive(&["compare", "1", "2"]).exits(0);
    assert!(said.out.contains("bits per byte") && !said.out.contains("Neither is called better: their"), "{}", said.out);

    // Bytes are the same tokens for both.
    scene.write(&yaml("{kind: byte}").replace("name: small", "name: bytes"));
    let said = scene.run(&[]).exits(0);
    assert!(said.out.contains("Best of 2 configurations") && said.out.contains("Perplexity"), "{}", said.out);
    let said = scene.votive(&["report", "small", "bytes"]).exits(0);
    assert!(said.out.contains("Not comparable with the first table: another tokenizer (char, not byte)"), "{}", said.out);
}
