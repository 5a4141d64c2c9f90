//! The commands: the only place that knows everything.
//!
//! Data goes to standard output, everything else to standard error.

mod alias;
mod args;
mod check;
mod compare;
pub mod exit_code;
pub mod explain;
mod explain_command;
mod figures;
mod find;
mod git;
mod plan;
mod probe;
pub mod progress;
mod report;
mod rescore;
mod run;
mod sample;
mod session;
mod show;
pub mod status;
mod status_command;
mod worker;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, Result};
use crate::experiment::{Problems, Style};
use args::{Command, Votive};
use exit_code::Code;

/// Why a command ends early: problems of a file are drawn with their lines, everything else is a sentence.
#[derive(Debug)]
enum Failure {
    File(Problems),
    Other(Error),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::File(problems)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Runs the command that the command line asks for.
pub fn main() -> ExitCode {
    let votive = Votive::parse();
    let result = match votive.command {
        Command::Run(arguments) => run::execute(&arguments),
        Command::Plan(arguments) => plan::execute(&arguments),
        Command::Check(arguments) => check::execute(&arguments),
        Command::Explain(arguments) => explain_command::execute(&arguments),
        Command::Show(arguments) => show::execute(&arguments),
        Command::Status(arguments) => status_command::execute(&arguments),
        Command::Report(arguments) => report::execute(&arguments),
        Command::Compare(arguments) => compare::execute(&arguments),
        Command::Sample(arguments) => sample::execute(&arguments),
        Command::Completions { shell } => args::completions(shell),
        Command::Man => args::man_page(),
        Command::Worker(arguments) => worker::execute(&arguments),
        Command::Probe => probe::execute(),
    };
    match result {
        Ok(code) => code.into(),
        Err(Failure::File(problems)) => {
            say(problems.render(style()).trim_end());
            Code::Usage.into()
        }
        Err(Failure::Other(error)) => {
            say(&format!("error: {}", error.chain()));
            if let Some(help) = error.help_text() {
                say(&format!("hint: {help}"));
            }
            Code::of(error.kind()).into()
        }
    }
}

/// How problems are drawn on this terminal.
fn style() -> Style {
    let terminal = std::io::stderr().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    Style { colour: terminal && !no_colour, unicode: terminal, width: if terminal { terminal_width() } else { 100 } }
}

/// Columns of the terminal: `COLUMNS`, or what the terminal says, at most 160.
fn terminal_width() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|c| c.parse::<usize>().ok());
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(100, |size| usize::from(size.ws_col));
    set.unwrap_or(columns).clamp(40, 160)
}

/// A line on standard error. Where that is closed there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Text on standard output, as it is. A reader that left early (`| head`) is no failure.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::io("write to", std::path::Path::new("standard output"), e)),
    }
}
