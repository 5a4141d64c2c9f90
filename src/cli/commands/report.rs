//! `votive report`: writes the report again from the Parquet files, and prints the table.

use std::path::Path;

use crate::cli::args::Report as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::find::{Found, experiment_of, find};
use crate::cli::output::{print, say, say_as_is};
use crate::error::Result;
use crate::report::{Report, Several};
use crate::runner::Failure;
use crate::runs::ExperimentFolder;
use crate::terminal::{Look, wrapped};

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let folders = asked(arguments)?;
    let empty = match folders.as_slice() {
        [folder] => {
            let into = arguments.into.clone().unwrap_or_else(|| folder.report());
            let report = Report::read(folder)?;
            report.write(&into)?;
            show_report(&report, &into)?;
            report.is_empty()
        }
        several => report_several(several, arguments.into.as_deref())?,
    };
    Ok(if empty { Code::Nothing } else { Code::Ok })
}

/// The experiments that are asked for, each once; of a configuration or a trial the one that it is in.
fn asked(arguments: &Arguments) -> Result<Vec<ExperimentFolder>> {
    let mut folders = Vec::new();
    for name in &arguments.names {
        let found = find(name, &arguments.runs)?;
        let folder = experiment_of(&found)?;
        if !matches!(found, Found::Experiment(_)) {
            say(&format!("note: a report is of a whole experiment: that of {}", folder.path().display()));
        }
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// Prints the table and the verdict to standard output, and to standard error where the report lies and what to do with the best.
pub(super) fn show_report(report: &Report, into: &Path) -> Result<()> {
    let look = Look::of(std::io::stdout());
    let verdict = wrapped(report.verdict().trim_end(), look.width);
    print(&format!("{}\n{verdict}\n", report.table(look).trim_end()))?;
    tell_damaged(report.damaged());
    say_as_is(&format!("report: {}", into.join("index.html").display()));
    tell_winner(report);
    Ok(())
}

/// Several experiments in one table; written only where somebody says into which folder.
fn report_several(folders: &[ExperimentFolder], into: Option<&Path>) -> Result<bool> {
    let several = Several::read(folders)?;
    print(&format!("{}\n", several.table(Look::of(std::io::stdout())).trim_end()))?;
    tell_damaged(several.damaged());
    match into {
        Some(into) => {
            several.write(into)?;
            say_as_is(&format!("report: {}", into.join("index.html").display()));
        }
        None => say("nothing is written: `--into DIR` writes the report of all of them there"),
    }
    Ok(several.is_empty())
}

fn tell_damaged(files: &[String]) {
    for damaged in files {
        say(&format!("damaged and left out: {damaged}"));
    }
}

/// What to do with the best configuration: where its weights lie, text from them, its settings as a file.
fn tell_winner(report: &Report) {
    let Some(winner) = report.winner() else { return };
    if let Some((weights, which)) = winner.weights().zip(winner.weights_are()) {
        say_as_is(&format!("{which} weights: {}", weights.display()));
    }
    if winner.has_lost_the_ranked() {
        say("note: the best weights, which rank, were not kept: `checkpoint.when_done: weights` keeps them");
    }
    if let Some(sample) = winner.sample() {
        say_as_is(&format!("sample: {sample}"));
    }
    say_as_is(&format!("settings: {}", winner.show()));
}
