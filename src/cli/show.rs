//! `votive show`: one configuration as an experiment file of its own, to train longer.

use super::args::Show;
use super::exit_code::Code;
use super::{Failure, print, session};
use crate::durable;
use crate::error::{Error, Kind};
use crate::experiment::to_yaml;
use crate::runs::ExperimentFolder;
use crate::train::Job;

pub(super) fn execute(arguments: &Show) -> Result<Code, Failure> {
    let folder = ExperimentFolder::at(&arguments.folder);
    let summary = session::Summary::read(&folder)?;
    let wanted = arguments.configuration;
    let trials: Vec<_> = summary.trials.iter().filter(|t| t.configuration == wanted).collect();
    if trials.is_empty() {
        let last = summary.trials.iter().map(|t| t.configuration).max().unwrap_or(0);
        let error = Error::usage(format!("there is no configuration {wanted} in {}", arguments.folder.display()));
        return Err(error.help(format!("take a number from 1 to {last}")).into());
    }
    for trial in &trials {
        if let Some(job) = durable::read_json::<Job>(&folder.trial(&trial.id).job())? {
            let name = format!("{}-{wanted}", summary.name);
            let description = format!("Configuration {wanted} of {}: {}", summary.name, trial.label);
            let seeds: Vec<u64> = trials.iter().map(|t| t.seed).collect();
            print(&to_yaml(&name, &description, &job.settings, &seeds))?;
            return Ok(Code::Ok);
        }
    }
    Err(Error::new(Kind::Nothing, format!("configuration {wanted} was never started")).into())
}
