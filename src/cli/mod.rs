//! The commands: the only place that knows everything.
//!
//! Data goes to standard output, everything else to standard error.

mod alias;
mod args;
mod check;
mod check_gpu;
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
mod tables;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, Result};
use crate::experiment::{Problems, Style};
use crate::terminal::{Look, wrapped};
use args::{Command, Votive};
use exit_code::Code;

/// How wide problems are drawn where there is no terminal.
const OFF_TERMINAL: usize = 100;

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
        Command::CheckGpu(arguments) => check_gpu::execute(&arguments),
    };
    match result {
        Ok(code) => code.into(),
        Err(Failure::File(problems)) => {
            say_as_is(problems.render(style()).trim_end());
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
    let look = Look::of(std::io::stderr());
    // Lines of a file are easier to read where they are not drawn over a whole wide screen.
    let width = look.width.map_or(OFF_TERMINAL, |width| width.clamp(40, 160));
    Style { colour: look.colour, unicode: look.width.is_some(), width }
}

/// Prose on standard error, broken at words where that is a narrow terminal. Where it is closed there is nobody to tell.
fn say(text: &str) {
    say_as_is(&wrapped(text, Look::of(std::io::stderr()).width));
}

/// Lines on standard error that stay as they are: commands and paths to be copied, drawings.
fn say_as_is(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Text on standard output, as it is. A reader that left early (`| head`) is no failure.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::io("write to", std::path::Path::new("standard output"), e)),
    }
}
