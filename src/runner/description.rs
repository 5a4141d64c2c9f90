//! What is written down of an experiment before it runs: `experiment.yaml` as it was given, `experiment.json` as it was understood.

use std::rc::Rc;

use super::git;
use super::session::Session;
use crate::corpus::References;
use crate::durable;
use crate::error::Result;
use crate::plan::Known;
use crate::runs::{DescribedReferences, DescribedTokenizer, DescribedTrial, Description};

/// A text that trials read, with the name that the report gives to its tokenizer.
type Text = (String, Rc<Known>);

/// Writes both.
pub(super) fn write_description(session: &Session) -> Result<()> {
    let (experiment, whole, folder) = (&session.experiment, session.whole(), &session.folder);
    let texts = session.texts_of_trials()?;
    let described = Description {
        version: Description::VERSION,
        experiment: experiment.resolved(),
        swept: Some(session.plan.swept.clone()),
        common_context: Some(session.plan.common_context),
        numbers: whole.numbers.clone(),
        device: Some(session.device),
        gpus: Some(session.kinds.clone()),
        program: crate::program(),
        lock_file: Some(crate::lock_file()),
        git: git::commit(),
        evaluate: experiment.base.evaluate.clone(),
        report: experiment.base.report.clone(),
        text_hash: texts.first().map(|(_, known)| known.prepared.text_hash.clone()),
        tokenizers: texts.iter().map(tokenizer).collect(),
        references: references(session, &texts)?,
        trials: trials(session),
    };
    durable::write(&folder.experiment_yaml(), experiment.source.as_bytes())?;
    described.write(folder)
}

fn tokenizer((label, known): &Text) -> DescribedTokenizer {
    let prepared = &known.prepared;
    DescribedTokenizer {
        label: label.clone(),
        hash: Some(prepared.tokenizer_hash.clone()),
        text_hash: Some(prepared.text_hash.clone()),
        vocabulary: prepared.vocabulary,
        lossless: Some(prepared.lossless),
        unknown_share: Some(prepared.unknown_share),
        unknown_tokens: Some(prepared.unknown_tokens),
        unknown_parts: prepared.unknown_parts.clone(),
        scored_tokens: prepared.scored_tokens.saturating_sub(1),
        scored_words: prepared.scored_words,
    }
}

/// What simple models reach on each text.
fn references(session: &Session, texts: &[Text]) -> Result<Vec<DescribedReferences>> {
    let mut described = Vec::new();
    for (label, known) in texts {
        if let Some(references) = References::of(&known.prepared, &session.folder.cache())? {
            let (hash, text_hash) = (known.prepared.tokenizer_hash.clone(), known.prepared.text_hash.clone());
            let (hash, text_hash) = (Some(hash), Some(text_hash));
            described.push(DescribedReferences { tokenizer: label.clone(), hash, text_hash, references });
        }
    }
    Ok(described)
}

fn trials(session: &Session) -> Vec<DescribedTrial> {
    let described = session.whole().trials.iter().map(|trial| DescribedTrial {
        id: trial.id.clone(),
        configuration: trial.configuration,
        seed: trial.seed,
        label: session.plan.label(trial),
    });
    described.collect()
}
