use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::config::read_config;
use super::folder::hash;
use super::*;
use crate::corpus::{Prepared, PreparedPart};
use crate::error::Error;
use crate::experiment::settings::{Activation, Family, Model};
use crate::model::{Config, Pretrained, initial_values};
use crate::train::export;

fn configs() -> Vec<Config> {
    let base = Model { layers: 2, heads: 4, width: 16, ..Model::default() };
    let llama = Model { family: Family::Llama, kv_heads: Some(2), ..base.clone() };
    let models = [
        base.clone(),
        Model { bias: Some(false), dropout: 0.1, ..base.clone() },
        Model { tied: false, activation: Activation::GeluTanh, ..base },
        llama.clone(),
        Model { tied: false, bias: Some(true), ..llama },
    ];
    models.iter().map(|model| Config::new(model, 11, 8).unwrap()).collect()
}

fn corpus(end_of_text: Option<u32>) -> Prepared {
    let part = PreparedPart { file: "train.tokens".into(), tokens: 0, bytes: 0 };
    Prepared {
        text_hash: String::new(),
        validation_hash: None,
        tokenizer_key: String::new(),
        tokenizer_hash: String::new(),
        tokenizer_file: "tokenizer.json".into(),
        vocabulary: 11,
        end_of_text,
        has_other_end_of_text: false,
        names_end_of_text: false,
        lossless: true,
        unknown_share: 0.0,
        unknown_tokens: 0,
        unknown_parts: Vec::new(),
        turned_off: Vec::new(),
        has_rows: false,
        remarks: Vec::new(),
        scored_tokens: 0,
        scored_words: 0,
        scored_test_tokens: 0,
        text_tokens: 0,
        text_bytes: 0,
        train: part,
        validation: None,
        test: None,
    }
}

fn values_of(config: &Config) -> Vec<Vec<f32>> {
    config.parameters().iter().map(|parameter| initial_values(parameter, 1)).collect()
}

/// A folder with this model's weights, as a checkpoint has them.
fn folder(config: &Config) -> TempDir {
    let folder = TempDir::new().unwrap();
    let (parameters, values) = (config.parameters(), values_of(config));
    export::write_weights(&folder.path().join("model.safetensors"), config, &parameters, &values).unwrap();
    write_config(folder.path(), &export::config_json(config, &corpus(Some(0))));
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    folder
}

fn refusal(folder: &Path) -> Error {
    read(folder).unwrap_err()
}

fn write_config(folder: &Path, config: &Value) {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// A safetensors file of these tensors, all of one value, in this type.
fn write_file(path: &Path, kind: &str, tensors: &BTreeMap<String, Vec<usize>>, value: &[u8]) {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * value.len();
        header.insert(name.clone(), json!({"dtype": kind, "shape": shape, "data_offsets": [start, end]}));
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(value.iter().cycle().take(end));
    fs::write(path, bytes).unwrap();
}

fn shapes(config: &Config) -> BTreeMap<String, Vec<usize>> {
    config.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
}

#[test]
fn what_a_checkpoint_holds_is_read_back_to_the_bit() {
    for config in configs() {
        let folder = folder(&config);
        assert_eq!(read_config(folder.path()).unwrap(), config);
        assert_eq!(read(folder.path()).unwrap(), (config.clone(), values_of(&config)), "{config:?}");
        let found = look(folder.path()).unwrap();
        assert_eq!((found.config, found.folder.as_path(), found.own_head), (config, folder.path(), false));
    }
}

#[test]
fn a_folder_that_changed_since_the_plan_is_not_started_from() {
    let config = &configs()[0];
    let folder = folder(config);
    let planned = look(folder.path()).unwrap();
    assert_eq!(start(&planned).unwrap(), values_of(config));
    for name in ["tokenizer.json", "config.json", "model.safetensors"] {
        let path = folder.path().join(name);
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        *after.last_mut().unwrap() ^= 1;
        fs::write(&path, after).unwrap();
        assert!(start(&planned).unwrap_err().to_string().ends_with("has changed since the trial was planned"), "{name}");
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn files_of_others_mean_what_transformers_takes_them_for() {
    let folder = TempDir::new().unwrap();
    write_config(folder.path(), &json!({"model_type": "gpt2", "n_inner": null, "summary_type": "cls_index", "n_embd": 24}));
    let found = read_config(folder.path()).unwrap();
    assert_eq!((found.vocabulary, found.context, found.layers, found.heads), (50_257, 1_024, 12, 12));
    assert_eq!((found.width, found.hidden, found.activation, found.bias, found.tied), (24, 96, Activation::GeluTanh, true, true));
    assert_eq!((found.norm_epsilon, found.dropout), (1e-5, 0.1));

    write_config(folder.path(), &json!({"model_type": "llama", "num_key_value_heads": null, "rope_scaling": null}));
    let found = read_config(folder.path()).unwrap();
    assert_eq!((found.vocabulary, found.context, found.layers, found.heads), (32_000, 2_048, 32, 32));
    assert_eq!((found.kv_heads, found.width, found.hidden, found.bias, found.tied), (32, 4_096, 11_008, false, false));
    assert_eq!((found.norm_epsilon, found.rope_theta), (1e-6, 10_000.0));

    for theta in [
        json!({"rope_theta": 5e5}),
        json!({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
        json!({"rope_theta": 5e5, "rope_scaling": {"type": "default"}}),
    ] {
        let mut config = json!({"model_type": "llama"});
        config.as_object_mut().unwrap().extend(theta.as_object().unwrap().clone());
        write_config(folder.path(), &config);
        assert_eq!(read_config(folder.path()).unwrap().rope_theta, 5e5, "{config}");
    }
}

#[test]
fn what_would_be_computed_otherwise_is_refused() {
    let folder = TempDir::new().unwrap();
    for (family, keys, expected) in [
        ("mistral", json!({}), "is of the family `mistral`"),
        (
            "gpt2",
            json!({"activation_function": "relu"}),
            "`activation_function: relu` is not supported: `gelu` (exact), `gelu_new`",
        ),
        ("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}), "`scale_attn_by_inverse_layer_idx: true` is not supported"),
        ("gpt2", json!({"scale_attn_weights": false}), "`scale_attn_weights: false` is not supported"),
        ("gpt2", json!({"add_cross_attention": true}), "`add_cross_attention: true` is not supported"),
        ("gpt2", json!({"n_embd": 10}), "a width of 10 is not a multiple of its 12 attention heads"),
        ("gpt2", json!({"n_layer": 1u64 << 60}), "`n_layer` should be a whole number from 1 to 10000, not 1152921504606846976"),
        ("gpt2", json!({"n_head": 0}), "`n_head` should be a whole number from 1"),
        ("gpt2", json!({"vocab_size": "many"}), "`vocab_size` should be a whole number from 1 to 134217728, not \"many\""),
        ("llama", json!({"hidden_act": "gelu"}), "`hidden_act: gelu` is not supported: only `silu` is"),
        ("llama", json!({"head_dim": 64}), "`head_dim: 64` is not supported"),
        ("llama", json!({"mlp_bias": true}), "`mlp_bias: true` is not supported"),
        ("llama", json!({"sliding_window": 4096}), "`sliding_window: 4096` is not supported"),
        ("llama", json!({"num_key_value_heads": 5}), "32 attention heads are not a multiple of 5 key and value heads"),
        ("llama", json!({"hidden_size": 96}), "a head of 3 is odd"),
        ("llama", json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}), "of the type `llama3` are not supported"),
        ("llama", json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}), "`rope_theta` is 500000 here, and 10000"),
        ("llama", json!({"quantization_config": {"bits": 4}}), "`quantization_config: {\"bits\":4}` is not supported"),
    ] {
        let mut config = keys.clone();
        config["model_type"] = family.into();
        write_config(folder.path(), &config);
        let error = read_config(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
    write_config(folder.path(), &json!({"model_type": "llama", "mlp_bias": true, "hidden_act": "gelu"}));
    let error = read_config(folder.path()).unwrap_err().to_string();
    assert!(error.contains("mlp_bias") && error.contains("hidden_act"), "all at once: {error}");
}

#[test]
fn a_folder_that_is_none_says_what_is_missing() {
    let empty = TempDir::new().unwrap();
    assert!(refusal(empty.path()).to_string().ends_with("has no `config.json`"));
    write_config(empty.path(), &export::config_json(&configs()[0], &corpus(None)));
    assert!(refusal(empty.path()).to_string().ends_with("has no `model.safetensors`"));
    fs::write(empty.path().join("pytorch_model.bin"), "").unwrap();
    let error = refusal(empty.path());
    assert!(error.help_text().unwrap().contains("save_pretrained"), "{error:?}");
}

#[test]
fn all_wrong_tensors_are_told_at_once() {
    let config = &configs()[3];
    let folder = folder(config);
    let path = folder.path().join("model.safetensors");
    let mut tensors = shapes(config);
    tensors.remove("model.norm.weight");
    tensors.remove("model.layers.1.mlp.up_proj.weight");
    tensors.insert("model.layers.0.self_attn.k_proj.weight".to_owned(), vec![16, 16]);
    tensors.insert("model.layers.2.mlp.up_proj.weight".to_owned(), vec![1]);
    write_file(&path, "F32", &tensors, &[0; 4]);
    let error = refusal(folder.path()).to_string();
    for expected in [
        "missing: `model.layers.1.mlp.up_proj.weight` [64, 16], `model.norm.weight` [16]",
        "unexpected: `model.layers.2.mlp.up_proj.weight`",
        "of another shape: `model.layers.0.self_attn.k_proj.weight` is [16, 16] instead of [8, 16]",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    write_file(&path, "I8", &shapes(config), &[0]);
    let error = refusal(folder.path()).to_string();
    assert!(error.contains("not F32, F16 or BF16: `model.embed_tokens.weight` has I8 values"), "{error}");
}

#[test]
fn a_file_is_believed_only_as_far_as_it_reaches() {
    let config = &configs()[0];
    let folder = folder(config);
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = refusal(folder.path());
        assert!(error.to_string().ends_with("model.safetensors is damaged"), "{error}");
        error.chain()
    };
    for cut in [0, 7, 8, 100, whole.len() - 1] {
        said(&whole[..cut]);
    }
    assert!(said(&[&whole[..], b"\0"].concat()).contains("its header speaks of"));
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(said(&huge).contains("its header claims 1152921504606846976 bytes"));
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &[0; 8]].concat();
    for (text, expected) in [
        ("[1]", "its header is not the JSON it should be"),
        (r#"{"a":{"dtype":"F32","shape":[1152921504606846976,16],"data_offsets":[0,8]}}"#, "does not fit into its 8 bytes"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1152921504606846976]}}"#, "should end at byte 1152921504606846976"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551615,18446744073709551615]}}"#, "should end at byte"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "it has no `data_offsets`"),
        (r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, "it has no `dtype`"),
    ] {
        let error = said(&header(text));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn names_without_prefix_buffers_and_a_second_head_do_no_harm() {
    let config = &configs()[0];
    let folder = folder(config);
    let plain = |name: String| name.trim_start_matches("transformer.").to_owned();
    let mut tensors: BTreeMap<String, Vec<usize>> =
        shapes(config).into_iter().map(|(name, shape)| (plain(name), shape)).collect();
    tensors.insert("h.0.attn.bias".to_owned(), vec![1, 1, 8, 8]);
    tensors.insert("h.1.attn.masked_bias".to_owned(), vec![]);
    tensors.insert("lm_head.weight".to_owned(), vec![11, 16]);
    for (kind, one) in [("F32", &[0, 0, 0x80, 0x3f][..]), ("F16", &[0, 0x3c]), ("BF16", &[0x80, 0x3f])] {
        write_file(&folder.path().join("model.safetensors"), kind, &tensors, one);
        let (read_as, values) = read(folder.path()).unwrap();
        assert_eq!(read_as, *config, "a head that is the embedding is tied");
        let lengths: Vec<usize> = config.parameters().iter().map(|p| p.len()).collect();
        assert_eq!(values.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
        assert!(values.iter().flatten().all(|value| *value == 1.0), "{kind}");
    }
}

#[test]
fn weights_in_several_files_are_those_in_one() {
    let config = &configs()[4];
    let folder = folder(config);
    let values = values_of(config);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let parameters = config.parameters();
    let mut map = serde_json::Map::new();
    for (number, part) in [0..5, 5..parameters.len()].into_iter().enumerate() {
        let name = format!("model-{}-of-2.safetensors", number + 1);
        export::write_weights(&folder.path().join(&name), config, &parameters[part.clone()], &values[part.clone()]).unwrap();
        map.extend(parameters[part].iter().map(|parameter| (parameter.name.clone(), json!(name))));
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(read(folder.path()).unwrap().1, values);
    let hash = look(folder.path()).unwrap().hash;

    let second = folder.path().join("model-2-of-2.safetensors");
    let mut bytes = fs::read(&second).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&second, bytes).unwrap();
    assert_ne!(look(folder.path()).unwrap().hash, hash);
    fs::remove_file(&second).unwrap();
    assert!(refusal(folder.path()).chain().contains("`model-2-of-2.safetensors`, which it names"));
    fs::write(&index, json!({"weight_map": {"a": "../model.safetensors"}}).to_string()).unwrap();
    assert!(refusal(folder.path()).chain().contains("is not the name of a file in this folder"));
}

#[test]
fn a_model_without_biases_has_zeros_there_or_nothing() {
    let config = &configs()[1];
    let folder = folder(config);
    let path = folder.path().join("model.safetensors");
    write_file(&path, "F32", &shapes(config), &[0; 4]);
    read(folder.path()).unwrap();
    write_file(&path, "F32", &shapes(&Config { bias: true, ..config.clone() }), &1f32.to_le_bytes());
    let error = refusal(folder.path());
    assert!(error.to_string().contains("says `bias: false`, and its `transformer.h.0.ln_1.bias` is not 0"), "{error}");
}

/// Writes a GPT-2's weights with these tensors besides.
fn write_with(path: &Path, config: &Config, values: &[Vec<f32>], names: &[&str], more: &[(&str, Vec<f32>)]) {
    let (mut header, mut bytes) = (serde_json::Map::new(), Vec::new());
    let own = config.parameters().into_iter().zip(values).filter(|(parameter, _)| names.contains(&parameter.name.as_str()));
    let own = own.map(|(parameter, values)| (parameter.name, parameter.shape, values.clone()));
    let more = more.iter().map(|(name, values)| ((*name).to_owned(), vec![config.vocabulary, config.width], values.clone()));
    for (name, shape, values) in own.chain(more) {
        let start = bytes.len();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()]}));
    }
    let header = Value::Object(header).to_string();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()).unwrap();
}

#[test]
fn an_output_layer_with_values_of_its_own_is_kept_where_the_config_says_tied_or_nothing() {
    let config = &configs()[0];
    let folder = folder(config);
    let (path, values) = (folder.path().join("model.safetensors"), values_of(config));
    let parameters = config.parameters();
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let mut said = export::config_json(config, &corpus(Some(0)));
    for tied in [json!(true), Value::Null] {
        said["tie_word_embeddings"] = tied;
        write_config(folder.path(), &said);
        // The embedding once more, as older files have it: tied.
        write_with(&path, config, &values, &names, &[("lm_head.weight", values[0].clone())]);
        let found = look(folder.path()).unwrap();
        assert_eq!((found.config.tied, found.own_head), (true, false));
        assert_eq!(read(folder.path()).unwrap().1, values);

        let mut head = values[0].clone();
        head[5] += 0.25;
        write_with(&path, config, &values, &names, &[("lm_head.weight", head.clone())]);
        let found = look(folder.path()).unwrap();
        assert_eq!((found.config.tied, found.own_head), (false, true));
        let expected: Vec<Vec<f32>> = values.iter().chain([&head]).cloned().collect();
        assert_eq!(read(folder.path()).unwrap(), (Config { tied: false, ..config.clone() }, expected.clone()));
        assert_eq!(start(&found).unwrap(), expected);
        // Of a trial that was planned by the version that lost the output layer.
        let lost = Pretrained { config: config.clone(), own_head: false, hash: hash(folder.path(), false).unwrap(), ..found };
        assert!(start(&lost).unwrap_err().to_string().ends_with("has changed since the trial was planned"));
        assert_ne!(hash(folder.path(), true).unwrap(), lost.hash, "other trials");
    }
}

#[test]
fn a_lone_output_layer_is_the_embedding_too_where_the_config_says_tied_and_only_there() {
    let config = &configs()[0];
    let folder = folder(config);
    let (path, values) = (folder.path().join("model.safetensors"), values_of(config));
    let parameters = config.parameters();
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).skip(1).collect();
    write_with(&path, config, &values, &names, &[("lm_head.weight", values[0].clone())]);
    assert_eq!(read(folder.path()).unwrap(), (config.clone(), values.clone()));
    write_with(&path, config, &values, &names, &[]);
    assert!(refusal(folder.path()).to_string().contains("missing: `transformer.wte.weight` [11, 16]"));
    write_config(folder.path(), &export::config_json(&Config { tied: false, ..config.clone() }, &corpus(Some(0))));
    write_with(&path, config, &values, &names, &[("lm_head.weight", values[0].clone())]);
    assert!(refusal(folder.path()).to_string().contains("missing: `transformer.wte.weight` [11, 16]"));
}

#[test]
fn an_output_layer_of_another_shape_is_told() {
    let config = &configs()[0];
    let folder = folder(config);
    let mut tensors = shapes(config);
    tensors.insert("lm_head.weight".to_owned(), vec![12, 16]);
    write_file(&folder.path().join("model.safetensors"), "F32", &tensors, &[0; 4]);
    assert!(refusal(folder.path()).to_string().contains("of another shape: `lm_head.weight` is [12, 16] instead of [11, 16]"));
}
