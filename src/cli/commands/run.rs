//! `votive run`: plan, probe, train what is missing, report.

use super::report::show_report;
use crate::cli::args::Run as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::say;
use crate::cli::show::notice;
use crate::cli::show::terminal::{Terminal, tell};
use crate::error::Result;
use crate::runner::{Ended, Failure, Request, Signals, run};

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let request = Request {
        asked: arguments.planning.asked()?,
        until: arguments.until.clone(),
        slots: arguments.slots,
        probe: !arguments.no_probe,
        rescore: arguments.rescore,
        retry: arguments.retry.clone(),
        alias: !arguments.no_alias,
    };
    let ended = run(&request, &Signals::new(tell), &Terminal::default())?;
    show_report(&ended.report, &ended.folder.report())?;
    if let Some(line) = notice::aliases(ended.aliases, ended.trials, ended.equal_tokenizers) {
        say(&line);
    }
    if let Some(line) = ended.trained.as_ref().and_then(notice::left) {
        say(&line);
    }
    Ok(code(&ended))
}

/// What a run exits with. Scores that could not be made again are no success.
fn code(ended: &Ended) -> Code {
    let Some(trained) = &ended.trained else { return Code::of_run(&ended.scored, ended.terminated) };
    match Code::of_run(trained, ended.terminated) {
        Code::Ok if !ended.scored.all_completed() => Code::SomeFailed,
        code => code,
    }
}
