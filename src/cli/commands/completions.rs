//! `votive completions` and `votive man`: what is made from the command line's own description.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::args::Votive;
use crate::cli::exit_code::Code;
use crate::cli::no_command::no_command;
use crate::cli::output::{print, say};
use crate::error::{Error, Result};
use crate::runner::Failure;

pub(super) fn completions(shell: Shell) -> Result<Code, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Votive::command(), "votive", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(Code::Ok)
}

/// The man page of votive or of one of its commands; with a folder, all of them as files.
pub(super) fn man_pages(command: Option<&str>, into: Option<&Path>) -> Result<Code, Failure> {
    let votive = described();
    let shown = || votive.get_subcommands().filter(|command| !command.is_hide_set());
    if let Some(folder) = into {
        fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        let pages = [(String::from("votive"), &votive)].into_iter();
        for (name, command) in pages.chain(shown().map(|command| (format!("votive-{}", command.get_name()), command))) {
            let path = folder.join(format!("{name}.1"));
            fs::write(&path, page(command)?).map_err(|error| Error::io("write", &path, error))?;
        }
        say(&format!("wrote {} pages into {}", shown().count() + 1, folder.display()));
        return Ok(Code::Ok);
    }
    let wanted = match command {
        None => &votive,
        Some(name) => shown().find(|command| command.get_name() == name).ok_or_else(|| no_command(name))?,
    };
    let text = page(wanted)?;
    if !std::io::stdout().is_terminal() || !read_by_man(&text) {
        print(&String::from_utf8_lossy(&text))?;
    }
    Ok(Code::Ok)
}

/// The command line with the full names of its commands in their usage. There is no page of `help`.
fn described() -> Command {
    let mut votive = Votive::command().disable_help_subcommand(true);
    votive.build();
    votive
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone()).source(crate::program());
    page.render(&mut text).map_err(|error| Error::internal("the man page cannot be made").caused_by(error))?;
    Ok(text)
}

/// Shows a page by `man` on this terminal; false where there is no `man`, or one that reads no page from its input.
fn read_by_man(text: &[u8]) -> bool {
    let Ok(mut man) = Process::new("man").args(["-l", "-"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    // Who leaves the page before its end has read what they wanted.
    let _ = man.stdin.take().map(|mut input| input.write_all(text));
    man.wait().is_ok_and(|status| status.success())
}
