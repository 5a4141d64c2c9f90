//! The hidden command that writes the report of an experiment for its runner, which heeds trials and signals meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT};

use super::report::show_report;
use crate::cli::args::WriteReport as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::say;
use crate::error::{Error, Result};
use crate::report::Report;
use crate::runner::Failure;
use crate::runs::{ExperimentFolder, keep_report_memory};
use crate::schedule::leave_with_runner;
use crate::worker::peak_memory_bytes;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    leave_only_with_the_runner()?;
    let folder = ExperimentFolder::at(&arguments.folder);
    let report = Report::read(&folder)?;
    report.write(&folder.report())?;
    // Without it the next run goes by an estimate.
    let _ = keep_report_memory(&folder, u64::try_from(peak_memory_bytes()).unwrap_or(0));
    if arguments.show
        && let Err(error) = show_report(&report, &folder.report())
    {
        say(&format!("warning: the report is written and cannot be shown: {}", error.chain()));
    }
    Ok(Code::Ok)
}

/// Ctrl-C on the terminal and its end reach this process too, and the runner decides what follows from them.
fn leave_only_with_the_runner() -> Result<()> {
    for signal in [SIGHUP, SIGINT] {
        // The flag is not looked at: what is caught does not kill.
        let caught = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
        caught.map_err(|e| Error::internal("signals cannot be caught").caused_by(e))?;
    }
    leave_with_runner().map_err(|e| Error::internal("the pipe from the runner cannot be watched").caused_by(e))
}
