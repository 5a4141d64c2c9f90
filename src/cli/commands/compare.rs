//! `votive compare`: two configurations or trials side by side.

use std::path::Path;

use crate::cli::args::Compare;
use crate::cli::exit_code::Code;
use crate::cli::find::{Found, as_number, check_number, experiment_called, find, home_of, is_checkpoint, only_experiment};
use crate::cli::output::{print, say};
use crate::error::{Error, Result};
use crate::report::{Named, Pair, Which};
use crate::runner::Failure;
use crate::runs::ExperimentFolder;
use crate::terminal::{Look, wrapped};

pub(super) fn execute(arguments: &Compare) -> Result<Code, Failure> {
    let (first, second) = sides(&arguments.first, &arguments.second, &arguments.runs)?;
    let pair = Pair::read(&first, &second)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&pair.json())
            .map_err(|e| Error::internal("the comparison has no JSON form").caused_by(e))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&wrapped(&pair.text(), Look::of(std::io::stdout()).width))?;
    }
    for damaged in pair.damaged() {
        say(&format!("damaged and left out: {damaged}"));
    }
    Ok(Code::Ok)
}

/// What a name stands for, before it is known which experiment a bare number is of.
enum Asked {
    Named(Named),
    Number(usize),
}

/// Finds both sides: a bare number is a configuration of the other side's experiment, or of the only one there is.
fn sides(first: &Path, second: &Path, runs: &Path) -> Result<(Named, Named)> {
    let of = |number: usize, folder: &ExperimentFolder| {
        check_number(folder, number)?;
        Ok::<_, Error>(Named { folder: folder.clone(), which: Which::Configuration(number as i64) })
    };
    Ok(match (asked(first, runs)?, asked(second, runs)?) {
        (Asked::Named(a), Asked::Named(b)) => (a, b),
        (Asked::Named(a), Asked::Number(n)) => (a.clone(), of(n, &a.folder)?),
        (Asked::Number(n), Asked::Named(b)) => (of(n, &b.folder)?, b),
        (Asked::Number(m), Asked::Number(n)) => {
            let folder = only_experiment(runs, &|name| format!("`votive compare {name}#{m} {name}#{n}`"))?;
            (of(m, &folder)?, of(n, &folder)?)
        }
    })
}

fn asked(name: &Path, runs: &Path) -> Result<Asked> {
    let word = name.to_string_lossy();
    if let Some(number) = as_number(&word).filter(|_| !name.exists() && experiment_called(&word, runs).is_none()) {
        return Ok(Asked::Number(number));
    }
    let named = |folder, which| Ok(Asked::Named(Named { folder, which }));
    match find(name, runs)? {
        Found::Experiment(folder) => named(folder, Which::Best),
        Found::Configuration(folder, number) => named(folder, Which::Configuration(number as i64)),
        Found::Trial(trial) => {
            let (folder, id) = home_of(&trial)?;
            named(folder, Which::Trial(id))
        }
        Found::Checkpoint(path) => Err(is_checkpoint(&path)),
    }
}
