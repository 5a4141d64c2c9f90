//! `votive status`: what is done, running, waiting, failed and why.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::Status;
use super::exit_code::Code;
use super::{Failure, print, session, status};
use crate::error::{Error, Kind, Result};
use crate::runs::{ExperimentFolder, runner_of, state_of};

pub(super) fn execute(arguments: &Status) -> Result<Code, Failure> {
    let folders = match &arguments.folder {
        Some(folder) => vec![folder.clone()],
        None => experiments(Path::new("runs"))?,
    };
    loop {
        let mut all = Vec::new();
        for folder in &folders {
            let text = one(&ExperimentFolder::at(folder), arguments.json)?;
            all.push(text);
        }
        match (arguments.json, arguments.folder.is_some()) {
            (true, true) => print(&format!("{}\n", all.join("\n")))?,
            (true, false) => print(&format!("[{}]\n", all.join(",")))?,
            (false, _) => print(&all.join("\n"))?,
        }
        if !arguments.watch {
            return Ok(Code::Ok);
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn experiments(runs: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| ExperimentFolder::at(path).experiment_json().exists()).collect();
    found.sort();
    if found.is_empty() {
        let error = Error::new(Kind::Nothing, format!("there is no experiment under {}", runs.display()));
        return Err(error.help("start one: `votive run experiments/quickstart.yaml`"));
    }
    Ok(found)
}

fn one(folder: &ExperimentFolder, json: bool) -> Result<String> {
    let summary = session::Summary::read(folder)?;
    let runner = runner_of(folder)?;
    let rows: Vec<status::Row> = summary
        .trials
        .into_iter()
        .map(|trial| status::Row {
            state: state_of(&folder.trial(&trial.id)),
            id: trial.id,
            configuration: trial.configuration,
            seed: trial.seed,
            label: trial.label,
        })
        .collect();
    Ok(if json {
        status::json(&summary.name, runner.as_ref(), &rows).to_string()
    } else {
        status::text(&summary.name, runner.as_ref(), &rows)
    })
}
