//! What many trials are doing.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::{fs, io};

use rayon::prelude::*;

use super::{ExperimentFolder, State, state_of};
use crate::plan::TrialId;

/// What these trials of an experiment are doing, in their order. The folder of all trials is listed once: those that have none of their
/// own are not looked for, and the others are read on all cores, since each of their files may come over a network.
pub fn states_of(experiment: &ExperimentFolder, trials: &[&TrialId]) -> Vec<State> {
    // Where it cannot be listed each may still be there.
    let there = names(&experiment.trials()).ok();
    let state = |trial: &&TrialId| match &there {
        Some(there) if !there.contains(OsStr::new(trial.as_str())) => State::waiting(),
        _ => state_of(&experiment.trial(trial)),
    };
    trials.par_iter().map(state).collect()
}

fn names(folder: &Path) -> io::Result<HashSet<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{Attempt, End, Outcome, Status, begin_attempt, write_outcome};

    #[test]
    fn many_trials_stand_as_each_of_them_does() {
        let directory = tempfile::tempdir().unwrap();
        let experiment = ExperimentFolder::at(directory.path());
        let ids: Vec<TrialId> = (0..100).map(|number| TrialId::of(&number.to_string())).collect();
        let trials: Vec<&TrialId> = ids.iter().collect();
        assert!(states_of(&experiment, &trials).iter().all(|state| *state == State::waiting()), "nothing is there yet");
        for (number, id) in ids.iter().enumerate() {
            let folder = experiment.trial(id);
            match number % 4 {
                0 => continue,
                1 => fs::create_dir_all(folder.path()).unwrap(),
                2 => begin_attempt(&folder, &Attempt::example()).unwrap(),
                _ => {
                    fs::create_dir_all(folder.path()).unwrap();
                    write_outcome(&folder, &Outcome::example(End::Diverged)).unwrap();
                }
            }
        }
        let states = states_of(&experiment, &trials);
        for (state, id) in states.iter().zip(&ids) {
            assert_eq!(*state, state_of(&experiment.trial(id)));
        }
        let counts = [Status::Waiting, Status::Interrupted, Status::Diverged]
            .map(|status| states.iter().filter(|state| state.status == status).count());
        assert_eq!(counts, [50, 25, 25]);
    }
}
