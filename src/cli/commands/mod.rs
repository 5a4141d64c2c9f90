//! A file a command: what the command line asks for is done by the modules above, and shown.

mod check;
mod check_gpu;
mod compare;
mod completions;
mod explain;
mod guide;
mod new;
mod plan;
mod probe;
mod report;
mod run;
mod sample;
mod settings;
mod show;
mod status;
mod worker;
mod write_report;

use super::args::Command;
use super::exit_code::Code;
use crate::runner::Failure;

/// Does what the command line asks for.
pub(super) fn execute(command: Command) -> Result<Code, Failure> {
    match command {
        Command::Run(arguments) => run::execute(&arguments),
        Command::Plan(arguments) => plan::execute(&arguments),
        Command::Check(arguments) => check::execute(&arguments),
        Command::Explain(arguments) => explain::execute(&arguments),
        Command::Show(arguments) => show::execute(&arguments),
        Command::Status(arguments) => status::execute(&arguments),
        Command::Report(arguments) => report::execute(&arguments),
        Command::Compare(arguments) => compare::execute(&arguments),
        Command::Sample(arguments) => sample::execute(&arguments),
        Command::New(arguments) => new::execute(&arguments),
        Command::Settings { key } => settings::execute(key.as_deref()),
        Command::Schema => settings::schema(),
        Command::Guide { topic } => guide::execute(topic.as_deref()),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { command, into } => completions::man_pages(command.as_deref(), into.as_deref()),
        Command::Worker(arguments) => worker::execute(&arguments),
        Command::WriteReport(arguments) => write_report::execute(&arguments),
        Command::Probe(arguments) => probe::execute(&arguments),
        Command::CheckGpu(arguments) => check_gpu::execute(&arguments),
    }
}
