//! `model.from`: the folder decides what the model and its tokenizer are, so the file does not decide it as well.

use std::path::Path;

use super::check::Conflict;
use super::keys::{self, TOKENIZER};
use super::settings::{Settings, Tokenizer};
use super::surroundings::Folder;

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

/// A setting that the folder brings, as a person writes it; `None` where there is no folder, or it says nothing of this one.
pub(super) fn label(settings: &Settings, key: &str) -> Option<String> {
    settings.model.from.as_ref()?;
    if key == TOKENIZER {
        return match &settings.tokenizer {
            Tokenizer::File { path } => Some(path.clone()),
            _ => None,
        };
    }
    if !BROUGHT.iter().any(|keys| keys[0] == key) && keys::whole_setting(key) != TOKENIZER {
        return None;
    }
    settings.cell(key)?.written()
}

/// Whether such a folder has the files that it must have.
pub(super) fn is_complete(base: &Path, from: &str) -> bool {
    missing(&base.join(from), from).is_none()
}

/// Windows that are longer than the positions that the folder's model has learned.
pub(super) fn too_long(settings: &Settings, folder: &Folder) -> Option<Conflict> {
    let length = settings.train.sequence_length;
    let longest = folder.longest.filter(|&longest| length > longest)?;
    let from = settings.model.from.as_deref().unwrap_or_default();
    Some(Conflict {
        keys: &["train.sequence_length", "model.from"],
        message: format!("`{from}` has {longest} learned positions, and a window has {length} tokens"),
        help: Some(format!("set `train.sequence_length` to at most {longest}")),
    })
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
