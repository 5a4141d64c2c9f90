//! The commands and what they show: the only place that prints.
//!
//! Data goes to standard output, everything else to standard error.

mod args;
mod commands;
pub mod exit_code;
mod find;
mod no_command;
mod output;
pub mod show;
mod stderr;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use signal_hook::consts::SIGXFSZ;

use args::{OVERVIEW, Votive};
use exit_code::Code;
use output::{say_as_is, say_error, style};

use crate::runner::Failure;

/// Runs the command that the command line asks for.
pub fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        say_as_is(OVERVIEW);
        return Code::Usage.into();
    }
    let asked = match Votive::try_parse() {
        Ok(asked) => asked,
        Err(error) => match no_command::instead_of(&error) {
            Some(error) => {
                say_error(&error);
                return Code::of(error.kind()).into();
            }
            None => error.exit(),
        },
    };
    // Caught, it is an error that is told, as of a full disk. Where it cannot be caught it ends this process, as it did before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    let code = match commands::execute(asked.command) {
        Ok(code) => code,
        Err(Failure::File(problems)) => {
            say_as_is(problems.render(style()).trim_end());
            Code::Usage
        }
        Err(Failure::Other(error)) => {
            say_error(&error);
            Code::of(error.kind())
        }
    };
    stderr::last_words();
    code.into()
}
