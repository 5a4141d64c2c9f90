//! What is written down of an experiment before it runs: `experiment.yaml` as it was given, `experiment.json` as it was understood.

use std::rc::Rc;

use serde_json::{Value, json};

use super::git;
use super::session::Session;
use crate::corpus::References;
use crate::durable;
use crate::error::Result;
use crate::plan::Known;

/// A text that trials read, with the name that the report gives to its tokenizer.
type Text = (String, Rc<Known>);

/// Writes both.
pub(super) fn write_description(session: &Session) -> Result<()> {
    let (experiment, whole, folder) = (&session.experiment, session.whole(), &session.folder);
    let texts = session.texts_of_trials()?;
    let mut resolved = experiment.resolved();
    for (key, value) in [
        ("swept", json!(session.plan.swept)),
        ("common_context", json!(session.plan.common_context)),
        ("numbers", json!(whole.numbers)),
        ("device", json!(session.device)),
        ("gpus", json!(session.kinds)),
        ("program", json!(crate::program())),
        ("lock_file", json!(crate::lock_file())),
        ("git", git::commit()),
        ("evaluate", json!(experiment.base.evaluate)),
        ("report", json!(experiment.base.report)),
        ("text_hash", json!(texts.first().map(|(_, known)| &known.prepared.text_hash))),
        ("tokenizers", texts.iter().map(tokenizer).collect()),
        ("references", references(session, &texts)?),
        ("trials", trials(session)),
    ] {
        resolved[key] = value;
    }
    durable::write(&folder.experiment_yaml(), experiment.source.as_bytes())?;
    durable::write_json(&folder.experiment_json(), &resolved)
}

fn tokenizer((label, known): &Text) -> Value {
    let prepared = &known.prepared;
    json!({
        "label": label,
        "hash": prepared.tokenizer_hash,
        "text_hash": prepared.text_hash,
        "vocabulary": prepared.vocabulary,
        "lossless": prepared.lossless,
        "unknown_share": prepared.unknown_share,
        "unknown_tokens": prepared.unknown_tokens,
        "unknown_parts": prepared.unknown_parts,
        "scored_tokens": prepared.scored_tokens.saturating_sub(1),
        "scored_words": prepared.scored_words,
    })
}

/// What simple models reach on each text.
fn references(session: &Session, texts: &[Text]) -> Result<Value> {
    let mut references = Vec::new();
    for (label, known) in texts {
        if let Some(found) = References::of(&known.prepared, &session.folder.cache())? {
            let mut line = json!(found);
            line["tokenizer"] = json!(label);
            line["hash"] = json!(known.prepared.tokenizer_hash);
            line["text_hash"] = json!(known.prepared.text_hash);
            references.push(line);
        }
    }
    Ok(json!(references))
}

fn trials(session: &Session) -> Value {
    let trials = session.whole().trials.iter();
    trials
        .map(|trial| {
            let label = session.plan.label(trial);
            json!({"id": trial.id, "configuration": trial.configuration, "seed": trial.seed, "label": label})
        })
        .collect()
}
