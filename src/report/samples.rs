//! What the best configurations write: the short text that each trial made when it had been scored. It ranks nothing.

use serde_json::{Value, json};

use super::comparison::{Comparison, TrialLine};
use crate::durable;
use crate::plan::TrialId;
use crate::report::wording;
use crate::rows::Sample;
use crate::runs::{ExperimentFolder, Status};
use crate::words;

/// Configurations whose text is shown.
const SHOWN: usize = 3;

/// What stands above the texts.
pub(super) const HEADING: &str = "What they write";

/// The text of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrialSample {
    pub(super) configuration: i64,
    /// What the configuration is called; empty where nothing is swept.
    name: String,
    pub(super) trial_id: String,
    pub(super) seed: Option<i64>,
    pub(super) sample: Sample,
}

/// The texts of the best configurations, of each that of its first trial that has one; files that cannot be read are listed.
pub(super) fn samples(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    swept: &[String],
    damaged: &mut Vec<String>,
) -> Vec<TrialSample> {
    let mut shown = Vec::new();
    for configuration in comparison.configurations.iter().filter(|c| c.place.is_some()).take(SHOWN) {
        let complete = |t: &&TrialLine| t.configuration == configuration.number && t.status == Status::Completed;
        for trial in comparison.trials.iter().filter(complete) {
            let Some(id) = TrialId::parse(&trial.id) else { continue };
            match durable::read_json(&folder.trial(&id).sample()) {
                Ok(Some(sample)) => {
                    let (trial_id, name) = (trial.id.clone(), wording::named(swept, &configuration.values));
                    shown.push(TrialSample { configuration: configuration.number, name, trial_id, seed: trial.seed, sample });
                    break;
                }
                Ok(None) => {}
                Err(error) => damaged.push(error.chain()),
            }
        }
    }
    shown
}

/// How the texts came about.
pub(super) fn caption(samples: &[TrialSample]) -> String {
    let Some(first) = samples.first() else { return String::new() };
    let whose = if samples.len() == 1 { "" } else { " of the best configurations" };
    let from = match first.sample.sampling.top_k {
        0 => String::new(),
        k => format!(" from the {k} likeliest each time"),
    };
    let most = samples.iter().map(|shown| shown.sample.tokens).max().unwrap_or(0);
    format!(
        "What the final weights{whose} go on with after the first words of the held-out text (set apart): {}, drawn{from} at \
         temperature {}. A glance, and no measure.",
        words::counted(most, "token"),
        first.sample.sampling.temperature,
    )
}

/// The configuration's name and the seed.
pub(super) fn name(shown: &TrialSample) -> String {
    let seed = shown.seed.map(|seed| format!("seed {seed}"));
    let parts = std::iter::once(shown.name.clone()).chain(seed).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" · ")
}

/// Prompt and text as one, the prompt in brackets.
pub(super) fn marked(shown: &TrialSample) -> String {
    wording::lines(&format!("⟦{}⟧{}", shown.sample.prompt, shown.sample.text))
}

/// As `summary.json` has it.
pub(super) fn json(shown: &TrialSample) -> Value {
    json!({
        "configuration": shown.configuration,
        "trial": shown.trial_id,
        "seed": shown.seed,
        "prompt": shown.sample.prompt,
        "text": shown.sample.text,
    })
}
