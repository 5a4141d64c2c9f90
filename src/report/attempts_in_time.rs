//! What ran when: every attempt of every trial, from its folder.

use rayon::prelude::*;

use super::comparison::{Comparison, TrialLine};
use crate::plan::TrialId;
use crate::report::wording;
use crate::runs::{Attempt, AttemptEnd, End, ExperimentFolder, Status, attempts, read_progress};

/// Trials whose attempts are read.
const TRIALS: usize = 10_000;

/// A trial's stay in a slot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stay {
    pub(super) trial_id: String,
    pub(super) configuration: i64,
    pub(super) seed: Option<i64>,
    pub(super) status: Status,
    pub(super) attempt: Attempt,
    /// Where it still runs: when its worker was last heard of.
    pub(super) heard_utc: Option<i64>,
}

impl Stay {
    /// Host, slot and GPU, the host only where there are several.
    pub(super) fn row(&self, hosts: bool) -> String {
        let host = hosts.then(|| wording::plain(&self.attempt.host));
        let gpu = self.attempt.gpu.as_ref().map(|gpu| wording::plain(&gpu.to_string()));
        [host, Some(self.attempt.slot.to_string()), gpu].into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }

    /// How it ended: one of few words for its colour, and what its file says.
    pub(super) fn end(&self, is_last: bool) -> (&'static str, String) {
        match &self.attempt.ended {
            Some(AttemptEnd::Outcome(End::Completed)) => ("completed", "completed".to_owned()),
            Some(end @ AttemptEnd::Outcome(End::Diverged | End::DidNotFit)) => ("diverged", end.to_string()),
            Some(end @ AttemptEnd::Interrupted) => ("interrupted", end.to_string()),
            Some(end) => ("failed", wording::plain(&end.to_string())),
            None if is_last && self.status == Status::Running => ("running", "running".to_owned()),
            None => ("failed", "killed; its end is not known".to_owned()),
        }
    }
}

/// The attempts of all trials, by start; files that cannot be read are listed.
pub(super) fn stays(folder: &ExperimentFolder, comparison: &Comparison, damaged: &mut Vec<String>) -> Vec<Stay> {
    let read = |trial: &TrialLine| {
        let trial_folder = folder.trial(&TrialId::parse(&trial.id)?);
        let progress = if trial.status == Status::Running { read_progress(&trial_folder) } else { None };
        Some((progress, attempts(&trial_folder)))
    };
    let trials = &comparison.trials[..comparison.trials.len().min(TRIALS)];
    let found: Vec<_> = trials.par_iter().map(read).collect();
    let mut stays = Vec::new();
    for (trial, found) in trials.iter().zip(found) {
        let Some((progress, attempts)) = found else { continue };
        match attempts {
            Ok(list) => stays.extend(list.into_iter().map(|attempt| Stay {
                trial_id: trial.id.clone(),
                configuration: trial.configuration,
                seed: trial.seed,
                status: trial.status,
                heard_utc: progress.as_ref().filter(|p| p.attempt == attempt.attempt).map(|p| p.time_utc),
                attempt,
            })),
            Err(error) => damaged.push(error.chain()),
        }
    }
    stays.sort_by_key(|stay| (stay.attempt.started_utc, stay.attempt.slot));
    stays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Gpu;

    #[test]
    fn a_row_of_the_timeline_is_a_slot_with_its_gpu() {
        let stay = |gpu| Stay {
            trial_id: String::new(),
            configuration: 1,
            seed: None,
            status: Status::Completed,
            attempt: Attempt { slot: 2, host: "rack".to_owned(), gpu, ..Attempt::example() },
            heard_utc: None,
        };
        assert_eq!((stay(None).row(false).as_str(), stay(None).row(true).as_str()), ("2", "rack · 2"));
        let gpu = Some(Gpu::example(1, "NVIDIA H200"));
        assert_eq!(stay(gpu.clone()).row(false), "2 · cuda:1 (NVIDIA H200)");
        assert_eq!(stay(gpu).row(true), "rack · 2 · cuda:1 (NVIDIA H200)");
    }
}
