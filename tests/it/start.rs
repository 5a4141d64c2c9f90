//! Training that starts from the weights of a folder: `model.from`.

use std::fs;
use std::path::{Path, PathBuf};

use votive::runs::{Status, TrialFolder, state_of};

use crate::support::{SMALL, Scene, Signal, assert_alike, read, small};

const LLAMA: &str = "family: llama, layers: 2, heads: 4, kv_heads: 2, width: 16, tied: false";

/// An experiment that trains this model for 40 steps.
fn first(model: &str) -> String {
    SMALL.replace("layers: 1, heads: 2, width: 16, dropout: 0.1", model)
}

/// The last checkpoint of the only trial.
fn checkpoint(scene: &Scene) -> PathBuf {
    let trials = scene.trials();
    assert_eq!(trials.len(), 1);
    trials.values().next().unwrap().checkpoints().join("step-00000040")
}

/// A scene with the folders `gpt2` and `llama`, trained for 40 steps each, and this experiment.
fn tuning(yaml: &str) -> Scene {
    let scene = Scene::new(yaml);
    for (name, model) in [("gpt2", "layers: 1, heads: 2, width: 16, bias: false"), ("llama", LLAMA)] {
        let other = Scene::new(&first(model));
        other.run(&[]).exits(0);
        copy(&checkpoint(&other), &scene.path().join(name));
    }
    scene
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// `SMALL` from this folder.
fn from(folder: &str) -> String {
    first(&format!("from: {folder}"))
}

/// The sums of NLL of the final weights under both protocols.
fn scores(folder: &TrialFolder) -> Vec<(String, f64)> {
    let frame = read(&folder.evaluations());
    let words = |name: &str| frame.column(name).unwrap().str().unwrap().iter().map(|w| w.unwrap().to_owned()).collect::<Vec<_>>();
    let sums = frame.column("nll_sum").unwrap().f64().unwrap().iter();
    let rows = words("kind").into_iter().zip(words("protocol")).zip(sums);
    rows.filter(|((kind, _), _)| kind == "final").map(|((_, protocol), sum)| (protocol, sum.unwrap())).collect()
}

#[test]
fn a_step_of_nothing_from_a_checkpoint_is_scored_as_the_checkpoint_was() {
    for model in ["layers: 1, heads: 2, width: 16", LLAMA] {
        let scene = Scene::new(&first(model));
        scene.run(&[]).exits(0);
        let trained = scores(scene.trials().values().next().unwrap());
        let folder = checkpoint(&scene);
        let other = Scene::new("");
        copy(&folder, &other.path().join("start"));
        other.write(
            &from("start")
                .replace("steps: 40", "steps: 1")
                .replace("train:\n", "train:\n  learning_rate: 1e-30\n  weight_decay: 0\n"),
        );
        other.run(&[]).exits(0);
        let trials = other.trials();
        let again = trials.values().next().unwrap();
        assert_eq!(trained.len(), 2);
        assert_eq!(scores(again), trained, "the same sums to the bit");
        let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
        assert!(weights(&again.checkpoints().join("step-00000001")) == weights(&folder));
    }
}

#[test]
fn the_plan_knows_the_model_and_its_folder_is_part_of_the_id() {
    let scene = tuning(&small("grid: {model.from: [gpt2, llama]}").replace("layers: 1, heads: 2, width: 16, dropout: 0.1", ""));
    let plan = scene.plan(&[]);
    let trials = plan["trials"].as_array().unwrap().clone();
    let shape = |trial: &serde_json::Value| {
        let model = &trial["settings"]["model"];
        (model["family"].as_str().unwrap().to_owned(), model["layers"].as_u64().unwrap(), trial["facts"]["parameters"].as_u64())
    };
    assert_eq!(trials.len(), 2);
    // The embedding of 64 characters and 32 positions, a block without biases and the last norm.
    let vocabulary = trials[0]["facts"]["vocabulary"].as_u64().unwrap();
    assert_eq!(shape(&trials[0]), ("gpt2".to_owned(), 1, Some((vocabulary + 32) * 16 + 12 * 16 * 16 + 3 * 16)));
    assert_eq!((shape(&trials[1]).0.as_str(), shape(&trials[1]).1), ("llama", 2));
    let said = scene.votive(&["plan", "small.yaml"]).exits(0);
    said.says("starting from ").says("llama of 2 layers and 4 heads, 16 wide");
    scene.votive(&["explain", "small.yaml"]).exits(0);
    // Both folders have the same tokenizer, so their perplexities compare.
    assert_eq!(trials[0]["settings"]["tokenizer"], trials[1]["settings"]["tokenizer"]);
    scene.run(&[]).exits(0).says_nothing_of("Tokenizers differ");
    assert_eq!(scene.trials().len(), 2);

    // The same content elsewhere is the same trial; a byte of the weights makes another.
    let ids = |plan: &serde_json::Value| -> Vec<String> {
        plan["trials"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect()
    };
    copy(&scene.path().join("gpt2"), &scene.path().join("elsewhere"));
    let moved = scene.plan(&["--set", "model.from=elsewhere"]);
    assert_eq!(ids(&moved), ids(&plan)[..1]);
    let weights = scene.path().join("gpt2/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    // The lowest byte of the last value of the first tensor's fraction, far from any name.
    let place = bytes.len() - 4 * 16 * 16;
    bytes[place] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let changed = scene.plan(&[]);
    assert_ne!(ids(&changed)[0], ids(&plan)[0]);
    assert_eq!(ids(&changed)[1], ids(&plan)[1]);
}

#[test]
fn killed_and_started_again_it_ends_as_in_one_go_and_needs_the_folder_no_more() {
    let slow = |yaml: String| {
        yaml.replace("sequence_length: 32", "sequence_length: 32\n  stride: 4").replace("batch_size: 8", "batch_size: 256")
    };
    let scene = tuning(&slow(from("llama")));
    let other = tuning(&slow(from("llama")));
    let mut runner = scene.start(&[]);
    scene.wait_for_steps(&mut runner, 12);
    runner.send(Signal::KILL);
    scene.kill_workers();
    runner.wait();
    let (id, folder) = scene.trials().into_iter().next().unwrap();
    assert_eq!(state_of(&folder).status, Status::Interrupted);
    scene.run(&[]).exits(0);
    other.run(&[]).exits(0);
    assert!(scene.attempts()[0] > 1);
    assert_alike(&folder, &other.trials()[&id], 40);

    let shown = scene.votive(&["show", "runs/small", "1"]).exits(0).out;
    assert!(shown.contains("from: llama") && !shown.contains("layers") && !shown.contains("tokenizer"), "{shown}");
    fs::write(scene.path().join("shown.yaml"), shown).unwrap();
    scene.votive(&["check", "shown.yaml"]).exits(0);
}

#[test]
fn a_folder_beside_sizes_is_shown_with_its_own_sizes_and_rules_read_those() {
    let yaml = small(
        "grid:\n  - {model.from: [gpt2]}\n  - {model.layers: [1, 2], model.width: [8], model.heads: [2]}\n\
         exclude: [{when: width > 100, why: too wide}]\nderive: {train.learning_rate: 1 / (width * 100)}",
    );
    let scene = tuning(&yaml.replace("layers: 1, heads: 2, width: 16, dropout: 0.1", ""));
    let checked = scene.votive(&["check", "small.yaml"]).exits(0).says("3 configurations");
    assert!(!checked.err.contains("only one value"), "what stands outside the axes would be refused: {}", checked.err);
    let plan = scene.plan(&[]);
    assert_eq!(plan["swept"][3], "model.heads");
    let of = |trial: &serde_json::Value| {
        trial["values"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let rows: Vec<String> = plan["trials"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(rows, ["gpt2 1 16 2 0.000625", "none 1 8 2 0.00125", "none 2 8 2 0.00125"]);
    scene.votive(&["explain", "small.yaml"]).exits(0).says("from gpt2 · layers 1 · width 16 · heads 2");
    scene.run(&[]).exits(0);
    let table = scene.table();
    assert_eq!(crate::support::words(&table, "swept_model_width"), ["16", "8", "8"]);
    scene.votive(&["compare", "1", "2"]).says("width 16");
}

/// What is said to a file that is refused, without the folder's name.
#[track_caller]
fn refused(scene: &Scene, yaml: &str, command: &str) -> String {
    scene.write(yaml);
    let said = scene.votive(&[command, "small.yaml"]).exits(2);
    said.err.replace(&*scene.path().to_string_lossy(), "FOLDER")
}

#[test]
fn what_cannot_be_started_from_is_told_with_its_line() {
    let scene = tuning("");
    let mut all = String::new();
    let mut note = |what: &str, said: String| all += &format!("-- {what}\n{said}\n");
    note("no such folder", refused(&scene, &from("nowhere"), "check"));
    fs::create_dir(scene.path().join("bare")).unwrap();
    note("an empty folder", refused(&scene, &from("bare"), "check"));
    copy(&scene.path().join("gpt2"), &scene.path().join("pickled"));
    fs::rename(scene.path().join("pickled/model.safetensors"), scene.path().join("pickled/pytorch_model.bin")).unwrap();
    note("a pickle", refused(&scene, &from("pickled"), "check"));
    note("what the folder says", refused(&scene, &from("gpt2, layers: 2, tied: true"), "check"));
    note("another tokenizer", refused(&scene, &(from("gpt2") + "tokenizer: {kind: byte}\n"), "check"));
    scene.put("other.json", fs::read_to_string(scene.path().join("gpt2/tokenizer.json")).unwrap() + " ");
    note("another file", refused(&scene, &(from("gpt2") + "tokenizer: {kind: file, path: other.json}\n"), "plan"));
    note("windows that are too long", refused(&scene, &from("gpt2").replace("length: 32", "length: 64"), "plan"));
    note("dropout for llama", refused(&scene, &from("llama, dropout: 0.1"), "plan"));
    let config = scene.path().join("llama/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3")).unwrap();
    note(
        "another model",
        refused(
            &scene,
            &small("grid: {model.from: [gpt2, llama]}").replace("layers: 1, heads: 2, width: 16, dropout: 0.1", ""),
            "plan",
        ),
    );
    assert!(scene.trials().is_empty());
    insta::assert_snapshot!(all);

    // The same tokenizer by another name is none other.
    scene.put("same.json", fs::read(scene.path().join("gpt2/tokenizer.json")).unwrap());
    scene.write(&(from("gpt2, dropout: 0.1") + "tokenizer: {kind: file, path: same.json}\n"));
    scene.plan(&[]);
    // Rotary positions go on for ever, but a person should know.
    fs::write(&config, text).unwrap();
    scene.write(&from("llama").replace("length: 32", "length: 64"));
    scene.votive(&["plan", "small.yaml"]).exits(0).says("windows of 64 tokens are longer than the 32 that the model in");
}

/// `lm_head.weight` of these values added to the weights of a folder.
fn add_head(folder: &Path, change: f32) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let embedding = tensors.tensor("transformer.wte.weight").unwrap();
    let floats = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>();
    let head: Vec<u8> = floats(embedding.data()).iter().flat_map(|value| (value + change * value.abs()).to_le_bytes()).collect();
    let shape = embedding.shape().to_vec();
    let head = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &head).unwrap();
    let all = tensors.tensors().into_iter().chain([("lm_head.weight".to_owned(), head)]);
    let written = safetensors::serialize(all, None).unwrap();
    fs::write(&path, written).unwrap();
}

#[test]
fn an_output_layer_of_its_own_scores_as_it_is_although_the_config_says_tied() {
    let nothing = |folder: &str| {
        from(folder).replace("steps: 40", "steps: 1").replace("train:\n", "train:\n  learning_rate: 1e-30\n  weight_decay: 0\n")
    };
    let scene = tuning(&nothing("gpt2"));
    for (name, change) in [("copied", 0.0), ("own", 0.5), ("untied", 0.5)] {
        let folder = scene.path().join(name);
        copy(&scene.path().join("gpt2"), &folder);
        add_head(&folder, change);
    }
    let config = scene.path().join("untied/config.json");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\"tie_word_embeddings\": true"), "{text}");
    fs::write(&config, text.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false")).unwrap();

    let mut found = Vec::new();
    for name in ["gpt2", "copied", "own", "untied"] {
        scene.write(&nothing(name));
        let said = scene.run(&["--runs", name]).exits(0);
        let note = "the output layer in";
        if name == "own" {
            drop(said.says(note).says("untied"))
        } else {
            drop(said.says_nothing_of(note))
        }
        let trials = fs::read_dir(scene.path().join(name).join("small/trials")).unwrap().map(|entry| entry.unwrap().path());
        found.push(scores(&TrialFolder::at(&trials.collect::<Vec<_>>()[0])));
    }
    assert_eq!(found[1], found[0], "a head that is the embedding is tied");
    assert_eq!(found[2], found[3], "the same weights, whatever the config says");
    assert_ne!(found[2], found[0], "the head is not lost");
}

/// A folder's hash covers its `tokenizer.json`, dropout and all; what is used of it is another text.
#[test]
fn dropout_of_a_folders_tokenizer_is_turned_off_and_is_no_part_of_a_checkpoint() {
    let scene = tuning(&from("gpt2"));
    let plain = scene.plan(&[]);
    let path = scene.path().join("gpt2/tokenizer.json");
    let json = fs::read_to_string(&path).unwrap();
    let with = json.replacen("\"dropout\": null", "\"dropout\": 0.3", 1);
    assert_ne!(with, json);
    fs::write(&path, with).unwrap();
    let said = scene.run(&[]).exits(0).says("dropout 0.3: turned off");
    assert_eq!(said.err.matches("turned off").count(), 1, "{}", said.err);
    let kept = fs::read_to_string(checkpoint(&scene).join("tokenizer.json")).unwrap();
    assert!(kept.contains("\"dropout\": null"), "{kept}");
    let dropped = scene.plan(&[]);
    assert_eq!(dropped["trials"][0]["facts"]["text_tokens"], plain["trials"][0]["facts"]["text_tokens"]);
    assert_ne!(dropped["trials"][0]["id"], plain["trials"][0]["id"]);
}
