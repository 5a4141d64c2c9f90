//! The command line.

mod file;
mod internal;
mod results;
mod values;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

pub(super) use file::{Explain, File, New, Plan, Run};
pub(super) use internal::{CheckGpu, Probe, Sizes, Worker, WriteReport};
pub(super) use results::{Compare, Report, Sample, Show, Status};
pub(super) use values::environment;

const EXIT_CODES: &str = "\
Exit codes:
    0  everything is done (run: all trials completed)
    1  an error of the system or of votive
    2  the command line or the experiment file is wrong
    3  some trials failed, diverged or did not fit
    4  nothing to report
    5  trials are left: deadline, full disk, nothing can start, or another worker has them
   75  another runner holds this experiment
  130, 143  interrupted by Ctrl-C or SIGTERM; the same command goes on where it stopped

More: `votive guide`, `votive COMMAND --help`, `votive man COMMAND`";

/// What is said where nothing is asked for.
pub(super) const OVERVIEW: &str = "\
Votive trains a family of language models from one YAML file, and says which configuration predicts the text best.

  votive new notes.txt      write a commented experiment file about a text
  votive plan notes.yaml    show its trials; nothing is started
  votive run notes.yaml     train what is missing and report; given again, it goes on where it stopped

  votive guide              how sweeps are written, results compared, nights spent
  votive --help             all commands";

const RUN: &str = "\
Examples:
    votive run experiments/quickstart.yaml
    votive run overnight.yaml --until 07:00
    votive run quickstart.yaml --only 'sequence_length == 64' --set train.budget.tokens=20000";
const EXPLAIN: &str = "\
Examples:
    votive explain quickstart.yaml --configuration 3
    votive explain --tokens 20000 --sequence-length 512 --stride 256 --batch-size 8";
const COMPARE: &str = "\
Examples:
    votive compare quickstart#3 quickstart#7
    votive compare stride batch-size";
const SAMPLE: &str = "\
Example:
    votive sample quickstart --prompt 'The keeper' --tokens 100";
const COMPLETIONS: &str = "\
Examples:
    votive completions bash > ~/.local/share/bash-completion/completions/votive
    votive completions zsh > ~/.zfunc/_votive      (with ~/.zfunc in $fpath)
    votive completions fish > ~/.config/fish/completions/votive.fish";
const SCHEMA: &str = "\
Write it beside the experiment files, and name it in their first line:
    votive schema > votive.schema.json
    # yaml-language-server: $schema=votive.schema.json";

/// Trains a family of language models from one YAML file, unattended, and says which configuration predicts the text best.
#[derive(Debug, Parser)]
#[command(name = "votive", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Votive {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a commented experiment file to begin with
    New(New),
    /// Say whether an experiment file is right; its texts are looked for, and not read
    Check(File),
    /// Show the trials and what each comes to; nothing is started
    Plan(Plan),
    /// Explain one configuration: its tokens, windows, stride, batches, steps and epochs
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
    /// Train what is missing and report; given again, it goes on where it stopped
    #[command(after_help = RUN)]
    Run(Run),
    /// Show what is done, running, waiting or failed, and why; changes nothing
    Status(Status),
    /// Print the table of results and write the report again; of several experiments, one table
    Report(Report),
    /// Compare two configurations or trials: what differs, by how much, and how sure that is
    #[command(after_help = COMPARE)]
    Compare(Compare),
    /// Let a trained model go on with a text
    #[command(after_help = SAMPLE)]
    Sample(Sample),
    /// Print one configuration as an experiment file of its own
    Show(Show),
    /// Show the guide: its pages, or one of them
    Guide {
        /// The page, or a word for it (`sweeps`, `gpu`, `systemd`); without one, all pages are listed
        #[arg(value_name = "TOPIC")]
        topic: Option<String>,
    },
    /// Show what an experiment file may say: every setting, or one in full
    Settings {
        /// A setting (`train.stride`), a part of its name (`stride`), a section (`train`), or another program's word (`grad_clip`)
        #[arg(value_name = "KEY")]
        key: Option<String>,
    },
    /// Print the JSON Schema of an experiment file, by which editors complete and check it
    #[command(after_help = SCHEMA)]
    Schema,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Show the man page of votive, or of one of its commands
    Man {
        /// The command: `votive man run`
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
        /// Write all pages into this folder, such as ~/.local/share/man/man1
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        into: Option<PathBuf>,
    },
    /// Train one trial: started by `run`
    #[command(hide = true)]
    Worker(Worker),
    /// Write the report beside a run: started by `run`
    #[command(hide = true)]
    WriteReport(WriteReport),
    /// Measure one shape: started by `run`
    #[command(hide = true)]
    Probe(Probe),
    /// Try the engine on a GPU: products, gradients and bits, a line of JSON each
    #[command(hide = true)]
    CheckGpu(CheckGpu),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Votive::command().debug_assert();
    }
}
