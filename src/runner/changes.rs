//! What an edited file changes in an experiment that was run before: told first, since the edited file's plan takes the place of the old.

use std::collections::HashSet;

use crate::experiment::Resolved;
use crate::plan::{Plan, TrialId};
use crate::runs::{Description, ExperimentFolder};

/// What is planned otherwise than when the experiment was run last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Trials that were not planned then and were never finished.
    pub added: usize,
    /// Trials that were not planned then, and were finished earlier still.
    pub again: usize,
    /// Trials that were planned then too.
    pub kept: usize,
    /// The labels of those that are planned no longer, a trial each.
    pub gone: Vec<String>,
    /// Whether the text, or how it is split, is another than it was.
    pub text: bool,
    /// What is another setting for all: `train.learning_rate: 0.003 -> 0.01`.
    pub settings: Vec<String>,
    /// The experiment file of then and the one of now, where they are two and have no trial in common.
    pub files: Option<(String, String)>,
}

impl Changes {
    /// Between what an experiment's folder describes and what is planned `now`; `None` where the same trials are planned.
    pub(super) fn between(before: Description, now: &Plan, resolved: Resolved, folder: &ExperimentFolder) -> Option<Self> {
        let ids: HashSet<&TrialId> = now.trials.iter().map(|trial| &trial.id).collect();
        let planned: HashSet<&TrialId> = before.trials.iter().map(|trial| &trial.id).collect();
        let (kept, new): (Vec<&TrialId>, Vec<&TrialId>) = ids.iter().partition(|id| planned.contains(*id));
        let gone: Vec<String> = before.trials.iter().filter(|t| !ids.contains(&t.id)).map(|t| t.label.clone()).collect();
        if new.is_empty() && gone.is_empty() {
            return None;
        }
        let again = new.iter().filter(|id| folder.trial(id).outcome().is_file()).count();
        // The hash is that of the text and its split.
        let mut hashes = now.trials.iter().map(|trial| &trial.facts.text_hash);
        let text = before.text_hash.as_ref().is_some_and(|before| hashes.all(|hash| hash != before));
        let swept = before.swept.iter().flatten().chain(&now.swept).map(String::as_str).collect();
        let settings = before.experiment.changed_settings(&resolved, &swept);
        let other = kept.is_empty() && !before.experiment.file.is_empty() && before.experiment.file != resolved.file;
        let files = other.then_some((before.experiment.file, resolved.file));
        Some(Self { added: new.len() - again, again, kept: kept.len(), gone, text, settings, files })
    }
}
