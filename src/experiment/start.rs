//! `model.from`: the folder decides what the model and its tokenizer are, so the file does not decide it as well.

use std::path::Path;

use super::check::Conflict;
use super::keys::TOKENIZER;
use super::settings::{Settings, Tokenizer};

/// The settings that such a folder brings; `dropout` stays the experiment's.
const BROUGHT: [&[&str]; 8] = [
    &["model.family"],
    &["model.layers"],
    &["model.heads"],
    &["model.width"],
    &["model.kv_heads"],
    &["model.bias"],
    &["model.tied"],
    &["model.activation"],
];

/// The tokenizer that a folder brings.
pub(super) fn tokenizer(from: &str) -> Tokenizer {
    Tokenizer::File { path: format!("{}/tokenizer.json", from.trim_end_matches('/')) }
}

/// What of a configuration does not go together with the folder that it starts from. `sets` says whether a setting is given
/// by hand; `base` is the folder that paths are relative to.
pub(super) fn conflicts(settings: &Settings, from: &str, base: &Path, sets: &dyn Fn(&str) -> bool) -> Vec<Conflict> {
    let mut found = Vec::new();
    for keys in BROUGHT {
        if sets(keys[0]) {
            let message = format!("`{}` cannot be set together with `model.from`: `{from}` says what the model is", keys[0]);
            found.push(Conflict {
                keys,
                message,
                help: Some(format!("take `{}` out; only `model.dropout` can be set", keys[0])),
            });
        }
    }
    if !matches!(settings.tokenizer, Tokenizer::File { .. }) {
        let message =
            format!("`tokenizer` cannot be set together with `model.from`: the weights know only the tokens of `{from}`");
        found.push(Conflict { keys: &[TOKENIZER], message, help: Some("take `tokenizer` out".to_owned()) });
    }
    if let Some((message, help)) = missing(&base.join(from), from) {
        found.push(Conflict { keys: &["model.from"], message, help: Some(help) });
    }
    found
}

/// What such a folder lacks, told from the names of its files.
fn missing(folder: &Path, from: &str) -> Option<(String, String)> {
    let layout = || "name a folder in Hugging Face's layout: config.json, tokenizer.json, model.safetensors".to_owned();
    if !folder.is_dir() {
        let what = if folder.exists() { "is not a folder" } else { "does not exist" };
        return Some((format!("`model.from`: `{from}` {what}"), layout()));
    }
    let has = |name: &str| folder.join(name).is_file();
    let lacking = match () {
        () if !has("config.json") => "config.json",
        () if !has("tokenizer.json") => "tokenizer.json",
        () if !has("model.safetensors") && !has("model.safetensors.index.json") => "model.safetensors",
        () => return None,
    };
    let help = match lacking {
        "tokenizer.json" if has("vocab.json") || has("tokenizer.model") => {
            "save it once with transformers: `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`".to_owned()
        }
        "model.safetensors" if has("pytorch_model.bin") || has("pytorch_model.bin.index.json") => {
            "its pytorch_model.bin is a pickle, which can run code and is not read: save it once with transformers, \
             `AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other)`"
                .to_owned()
        }
        _ => layout(),
    };
    Some((format!("`model.from`: `{from}` has no `{lacking}`"), help))
}
