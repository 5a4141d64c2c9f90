//! `votive show`: one configuration as an experiment file of its own, to train longer.

use crate::cli::args::Show;
use crate::cli::exit_code::Code;
use crate::cli::find::{Found, best_configuration, check_number, find, home_of, is_checkpoint};
use crate::cli::output::print;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::experiment::to_yaml;
use crate::plan::TrialId;
use crate::runner::Failure;
use crate::runs::ExperimentFolder;
use crate::runs::{DescribedTrial, Description};
use crate::train::Job;

pub(super) fn execute(arguments: &Show) -> Result<Code, Failure> {
    let (folder, wanted, only) = wanted(arguments)?;
    let described = Description::read(&folder)?;
    let is_wanted = |trial: &&DescribedTrial| only.as_ref().map_or(trial.configuration == wanted, |id| trial.id == *id);
    let trials: Vec<_> = described.trials.iter().filter(is_wanted).collect();
    for trial in &trials {
        if let Some(job) = durable::read_json::<Job>(&folder.trial(&trial.id).job())? {
            let name = format!("{}-{wanted}", described.experiment.name);
            let description = format!("Configuration {wanted} of {}: {}", described.experiment.name, trial.label);
            let seeds: Vec<u64> = trials.iter().map(|t| t.seed).collect();
            let swept = described.experiment.tune.iter().chain(described.swept.iter().flatten()).cloned().collect::<Vec<_>>();
            print(&to_yaml(&name, &description, &job.settings, &seeds, &swept))?;
            return Ok(Code::Ok);
        }
    }
    let path = folder.path().display();
    Err(Error::new(Kind::Nothing, format!("configuration {wanted} of {path} was never started"))
        .help("its settings are known once it has begun: `votive run` of its experiment trains it")
        .into())
}

/// The configuration that is asked for, and the trial where it is one alone.
fn wanted(arguments: &Show) -> Result<(ExperimentFolder, usize, Option<TrialId>)> {
    Ok(match (find(&arguments.name, &arguments.runs)?, arguments.configuration) {
        (Found::Experiment(folder), Some(number)) => {
            check_number(&folder, number)?;
            (folder, number, None)
        }
        (_, Some(number)) => {
            let error =
                Error::usage(format!("`{}` is no experiment that {number} could be a number in", arguments.name.display()));
            return Err(error.help("leave the number out, or name the experiment: `votive show quickstart 3`"));
        }
        (Found::Experiment(folder), None) => {
            let best = best_configuration(&folder)?;
            (folder, best, None)
        }
        (Found::Configuration(folder, number), None) => (folder, number, None),
        (Found::Trial(trial), None) => {
            let (folder, id) = home_of(&trial)?;
            let trials = Description::read(&folder)?.trials;
            let number = trials.iter().find(|trial| trial.id == id).map(|trial| trial.configuration).ok_or_else(|| {
                Error::usage(format!("the trial {id} is no longer planned in {}", folder.path().display()))
                    .help("its settings are in its `trial.json`")
            })?;
            (folder, number, Some(id))
        }
        (Found::Checkpoint(path), None) => return Err(is_checkpoint(&path)),
    })
}
