//! `votive report`: writes the report again from the Parquet files, and prints the table.

use std::io::IsTerminal;
use std::path::Path;

use super::args::Report as Arguments;
use super::exit_code::Code;
use super::{Failure, print, say, terminal_width};
use crate::error::{Error, Kind, Result};
use crate::report::{Report, Several};
use crate::runs::ExperimentFolder;
use crate::train::checkpoint;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let folders: Vec<ExperimentFolder> = arguments.folders.iter().map(|path| ExperimentFolder::at(path)).collect();
    for folder in &folders {
        if !folder.experiment_json().exists() {
            let error = Error::new(Kind::Nothing, format!("there is no experiment in {}", folder.path().display()));
            return Err(error.help("name a folder such as `runs/quickstart`").into());
        }
    }
    let empty = match folders.as_slice() {
        [folder] => {
            let into = arguments.into.clone().unwrap_or_else(|| folder.report());
            write_and_print_into(folder, &into)?
        }
        several => report_several(several, arguments.into.as_deref())?,
    };
    Ok(if empty { Code::Nothing } else { Code::Ok })
}

/// Writes the report, prints the table to standard output and where the report lies to standard error. Returns whether there
/// is nothing in it yet.
pub(super) fn write_and_print(folder: &ExperimentFolder) -> Result<bool> {
    write_and_print_into(folder, &folder.report())
}

fn write_and_print_into(folder: &ExperimentFolder, into: &Path) -> Result<bool> {
    let report = Report::read(folder)?;
    report.write(into)?;
    let (width, colour) = look();
    print(&format!("{}\n{}\n", report.table(width, colour).trim_end(), report.verdict().trim_end()))?;
    tell_damaged(report.damaged());
    say(&format!("report: {}", into.join("index.html").display()));
    tell_winner(folder, &report);
    Ok(report.is_empty())
}

/// Several experiments in one table; written only where somebody says into which folder.
fn report_several(folders: &[ExperimentFolder], into: Option<&Path>) -> Result<bool> {
    let several = Several::read(folders)?;
    let (width, colour) = look();
    print(&format!("{}\n", several.table(width, colour).trim_end()))?;
    tell_damaged(several.damaged());
    match into {
        Some(into) => {
            several.write(into)?;
            say(&format!("report: {}", into.join("index.html").display()));
        }
        None => say("nothing is written: `--into DIR` writes the report of all of them there"),
    }
    Ok(several.is_empty())
}

/// Width of the terminal, and whether it shows colours.
fn look() -> (Option<u16>, bool) {
    let terminal = std::io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    (terminal.then(|| u16::try_from(terminal_width()).unwrap_or(160)), terminal && !no_colour)
}

fn tell_damaged(files: &[String]) {
    for damaged in files {
        say(&format!("damaged and left out: {damaged}"));
    }
}

/// What to do with the best configuration: where its weights lie, text from them, its settings as a file.
fn tell_winner(folder: &ExperimentFolder, report: &Report) {
    let Some((configuration, trials)) = report.winner() else { return };
    let newest = |id| checkpoint::list(&folder.trial(id).checkpoints()).ok()?.pop().map(|(_, path)| (id, path));
    if let Some((id, weights)) = trials.iter().find_map(newest) {
        say(&format!("weights: {}", weights.display()));
        say(&format!("sample: votive sample {} --prompt 'Once'", quoted(folder.trial(id).path())));
    }
    say(&format!("settings: votive show {} {configuration}", quoted(folder.path())));
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,:=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted(Path::new("runs/a-1.b")), "runs/a-1.b");
        assert_eq!(quoted(Path::new("my runs/it's")), r"'my runs/it'\''s'");
    }
}
