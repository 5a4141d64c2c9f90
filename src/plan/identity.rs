//! What makes a trial the one it is: what its id is the hash of.

use serde_json::{Value, json};

use super::{Known, TrialId};
use crate::device::Device;
use crate::experiment::settings::{ClipNorm, Engine, Settings, Tokenizer};

/// What trials have in common of which one may turn out to be the same as another: everything but their seed, what their
/// tokenizer is called where it is the same one and, `with_any_clip_norm`, their clip norm.
pub fn kinship(settings: &Settings, known: &Known, device: Device, with_any_clip_norm: bool) -> TrialId {
    let mut settings = settings.clone();
    settings.tokenizer = Tokenizer::default();
    if with_any_clip_norm {
        settings.train.clip_norm = ClipNorm::Off;
    }
    let (hash, end) = (&known.prepared.tokenizer_hash, known.prepared.end_of_text);
    TrialId::of(&format!("{} {hash} {end:?}", Description::of(&settings, known, device).id(Some(0))))
}

/// What a trial's id is the hash of; without a seed, its configuration's.
pub(super) struct Description(Value);

impl Description {
    pub(super) fn of(settings: &Settings, known: &Known, device: Device) -> Self {
        // The hash of a folder to start from covers its tokenizer, as it lies there.
        let as_it_lies = known.from.is_some() && known.prepared.turned_off.is_empty();
        let own = matches!(settings.tokenizer, Tokenizer::File { .. }) && !as_it_lies;
        let tokenizer = own.then_some(&known.prepared.tokenizer_hash);
        let mut description = json!({
            // Of a text that names the end-of-text token other tokens were learned before.
            "version": if known.prepared.names_end_of_text { 2 } else { 1 },
            "settings": settings.identity(),
            "seed": null,
            "device": device.kind(),
            "text": known.prepared.text_hash,
            "tokenizer": tokenizer,
            "from": known.from.as_ref().map(|from| &from.hash),
        });
        // What stands between documents is not in `tokenizer.json`; where that alone would give the same it was never told.
        if known.prepared.has_other_end_of_text {
            description["end_of_text"] = json!(known.prepared.end_of_text);
        }
        // On NVIDIA GPUs candle came first.
        if matches!(device, Device::Cuda(_)) && settings.run.engine == Engine::Own {
            description["engine"] = json!(Engine::Own);
        }
        Self(description)
    }

    pub(super) fn id(&mut self, seed: Option<u64>) -> TrialId {
        self.0["seed"] = seed.into();
        TrialId::of(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::corpus::{self, Request};
    use crate::experiment::settings::Corpus;

    /// With equal ids, what was trained with one token between documents was taken for a training with another.
    #[test]
    fn another_token_between_documents_is_another_trial_and_the_usual_one_has_the_id_it_always_had() {
        let folder = tempfile::tempdir().unwrap();
        let (tokenizers, cache) = (folder.path().join("tokenizers"), folder.path().join("cache"));
        for file in ["a.txt", "b.txt"] {
            fs::write(folder.path().join(file), "one two three\n\n".repeat(20)).unwrap();
        }
        let corpus = Corpus { text: vec!["*.txt".to_owned()], ..Corpus::default() };
        let known = |tokenizer: &Tokenizer| {
            let (corpus, base, tokenizers, cache) = (&corpus, folder.path(), &*tokenizers, &*cache);
            let request = Request { corpus, tokenizer, base, tokenizers, cache, scored_bytes: 1_000 };
            Known { prepared: corpus::prepare(&request, &|_| {}).unwrap(), from: None }
        };
        let made = known(&Tokenizer::Char).prepared.tokenizer_file;
        fs::copy(made, folder.path().join("tokenizer.json")).unwrap();
        let settings = Settings { tokenizer: Tokenizer::File { path: "tokenizer.json".to_owned() }, ..Settings::default() };
        let id = |eos: &str| {
            fs::write(folder.path().join("tokenizer_config.json"), format!("{{\"eos_token\": {eos}}}")).unwrap();
            let known = known(&settings.tokenizer);
            (known.prepared.tokenizer_hash.clone(), Description::of(&settings, &known, Device::Cpu).id(Some(1)))
        };
        let (usual, other, another) = (id("\"<|endoftext|>\""), id("\"o\""), id("\"n\""));
        assert!(usual.0 == other.0 && usual.0 == another.0, "the tokenizer is the same");
        assert!(usual.1 != other.1 && usual.1 != another.1 && other.1 != another.1);
        assert_eq!(id("null"), usual);
        assert_eq!(usual.1.as_str(), "c5849f75c94c");
    }
}
