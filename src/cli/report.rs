//! `votive report`: writes the report again from the Parquet files, and prints the table.

use std::io::IsTerminal;

use super::args::Report as Arguments;
use super::exit_code::Code;
use super::{Failure, print, say, session, terminal_width};
use crate::error::{Error, Kind, Result};
use crate::report::Report;
use crate::runs::ExperimentFolder;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let folder = ExperimentFolder::at(&arguments.folder);
    if !folder.experiment_json().exists() {
        let error = Error::new(Kind::Nothing, format!("there is no experiment in {}", arguments.folder.display()));
        return Err(error.help("name a folder such as `runs/quickstart`").into());
    }
    session::Summary::read(&folder)?;
    let empty = write_and_print(&folder)?;
    Ok(if empty { Code::Nothing } else { Code::Ok })
}

/// Writes the report, prints the table to standard output and where the report lies to standard error. Returns whether there
/// is nothing in it yet.
pub(super) fn write_and_print(folder: &ExperimentFolder) -> Result<bool> {
    let report = Report::read(folder)?;
    report.write(&folder.report())?;
    let terminal = std::io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let width = terminal.then(|| u16::try_from(terminal_width()).unwrap_or(160));
    print(&format!("{}\n{}\n", report.table(width, terminal && !no_colour).trim_end(), report.verdict().trim_end()))?;
    for damaged in report.damaged() {
        say(&format!("damaged and left out: {damaged}"));
    }
    say(&format!("report: {}", folder.report().join("index.html").display()));
    Ok(report.is_empty())
}
