//! What an experiment has fixed so far: the device that it is trained on, the context in which its trials are compared, the numbers of
//! its configurations. `experiment.json` says it; where that is damaged or gone, the folders of the trials do.

use std::collections::BTreeSet;

use super::notice::{Listener, Notice};
use crate::device::Device;
use crate::durable;
use crate::error::{Kind, Result};
use crate::plan::{Numbers, TrialId};
use crate::runs::{Description, ExperimentFolder, attempts};
use crate::train::Job;

/// What an experiment has fixed so far.
#[derive(Debug, Default)]
pub(super) struct Fixed {
    /// What its trials were trained on.
    pub(super) device: Option<Device>,
    /// The kinds of GPU that they were trained on, as far as that is written down.
    pub(super) gpus: Option<BTreeSet<String>>,
    /// The context of the common protocol, tokens.
    pub(super) common_context: Option<usize>,
    /// The numbers of the configurations.
    pub(super) numbers: Numbers,
    /// Whether there is an experiment at all.
    pub(super) is_begun: bool,
}

impl Fixed {
    /// Reads it.
    ///
    /// # Errors
    /// Where a newer program wrote it; where it is there and cannot be read.
    pub(super) fn read(folder: &ExperimentFolder, listener: &dyn Listener) -> Result<Self> {
        Description::refuse_newer(folder)?;
        match Description::find(folder) {
            Ok(Some(described)) => Ok(described.into()),
            Ok(None) => Ok(Self::of_trials(folder)),
            Err(error) if error.kind() == Kind::Data => {
                listener.notice(&Notice::DescriptionDamaged { error: &error });
                Ok(Self::of_trials(folder))
            }
            Err(error) => Err(error),
        }
    }

    /// What the trials' folders say.
    fn of_trials(folder: &ExperimentFolder) -> Self {
        let entries = std::fs::read_dir(folder.trials()).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| TrialId::parse(entry.file_name().to_str()?));
        let mut found = Self::default();
        let mut numbers = Vec::new();
        for trial in ids.map(|id| folder.trial(&id)) {
            let Some(job) = durable::read_json::<Job>(&trial.job()).ok().flatten() else { continue };
            found.is_begun = true;
            // The shortest that any was given: it is what all are compared in.
            let context = job.evaluation.common_context;
            found.common_context = Some(found.common_context.map_or(context, |known| known.min(context)));
            if found.device.is_none() {
                found.device = attempts(&trial).ok().and_then(|attempts| attempts.last().map(|attempt| attempt.device));
            }
            numbers.push((job.id, job.configuration));
        }
        found.numbers = Numbers::default().with_trials(numbers);
        found
    }
}

impl From<Description> for Fixed {
    fn from(described: Description) -> Self {
        let Description { device, gpus, common_context, numbers, trials, .. } = described;
        // A description of an older version has them by trial only.
        let numbers = numbers.with_trials(trials.into_iter().map(|trial| (trial.id, trial.configuration)));
        Self { device, gpus, common_context, numbers, is_begun: true }
    }
}
