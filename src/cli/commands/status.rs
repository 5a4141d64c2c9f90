//! `votive status`: what is done, running, waiting, failed and why.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cli::args::Status;
use crate::cli::exit_code::Code;
use crate::cli::find::{Found, experiment_of, experiments, find, home_of, no_experiment};
use crate::cli::output::{print, say_error};
use crate::cli::show::status;
use crate::error::Result;
use crate::plan::TrialId;
use crate::rows::now_utc;
use crate::runner::Failure;
use crate::runs::{DescribedTrial, Description, ExperimentFolder, State, queued_jobs, runner_of, states_of};
use crate::terminal::Look;

pub(super) fn execute(arguments: &Status) -> Result<Code, Failure> {
    let asked = asked(arguments)?;
    let mut said = BTreeSet::new();
    loop {
        // Of several experiments one that cannot be read hides no other; it is told once.
        let mut errors = Vec::new();
        let read = |one: &Asked| told(one, arguments.json).map_err(|error| errors.push(error)).ok();
        let texts: Vec<String> = asked.iter().filter_map(read).collect();
        let only = if texts.is_empty() { errors.pop() } else { None };
        errors.iter().filter(|error| said.insert(error.chain())).for_each(say_error);
        if let Some(error) = only {
            return Err(error.into());
        }
        match (arguments.json, arguments.name.is_some()) {
            (true, true) => print(&format!("{}\n", texts.join("\n")))?,
            (true, false) => print(&format!("[{}]\n", texts.join(",")))?,
            (false, _) => print(&texts.join("\n"))?,
        }
        if !arguments.watch {
            return Ok(Code::Ok);
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// An experiment, and which of its trials are asked for.
struct Asked {
    folder: ExperimentFolder,
    which: Which,
}

enum Which {
    All,
    Configuration(usize),
    Trial(TrialId),
}

impl Which {
    fn includes(&self, trial: &DescribedTrial) -> bool {
        match self {
            Self::All => true,
            Self::Configuration(number) => trial.configuration == *number,
            Self::Trial(id) => trial.id == *id,
        }
    }
}

/// What a name asks for; without one, every experiment.
fn asked(arguments: &Status) -> Result<Vec<Asked>> {
    let Some(name) = &arguments.name else {
        let all: Vec<Asked> =
            experiments(&arguments.runs).into_iter().map(|folder| Asked { folder, which: Which::All }).collect();
        return if all.is_empty() { Err(no_experiment(&arguments.runs)) } else { Ok(all) };
    };
    let found = find(name, &arguments.runs)?;
    let folder = experiment_of(&found)?;
    let which = match &found {
        Found::Configuration(_, number) => Which::Configuration(*number),
        Found::Trial(trial) => Which::Trial(home_of(trial)?.1),
        _ => Which::All,
    };
    Ok(vec![Asked { folder, which }])
}

fn told(asked: &Asked, json: bool) -> Result<String> {
    let folder = &asked.folder;
    let described = Description::read(folder)?;
    let runner = runner_of(folder)?;
    let trials: Vec<DescribedTrial> = described.trials.into_iter().filter(|trial| asked.which.includes(trial)).collect();
    let states = states_of(folder, &trials.iter().map(|trial| &trial.id).collect::<Vec<_>>());
    let jobs = queued_jobs(folder)?;
    let row = |(trial, state): (DescribedTrial, State)| status::Row {
        job: jobs.get(&trial.id).filter(|job| job.is_waited_for(&state)).map(|job| job.number.clone()),
        id: trial.id,
        configuration: trial.configuration,
        seed: trial.seed,
        label: trial.label,
        state,
    };
    let rows: Vec<status::Row> = trials.into_iter().zip(states).map(row).collect();
    Ok(if json {
        status::json(&described.experiment.name, runner.as_ref(), &rows, now_utc()).to_string()
    } else {
        status::text(&described.experiment.name, runner.as_ref(), &rows, now_utc(), Look::of(std::io::stdout()))
    })
}
