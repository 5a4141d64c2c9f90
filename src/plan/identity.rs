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
