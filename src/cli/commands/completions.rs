//! `votive completions` and `votive man`: what is made from the command line's own description.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Votive;
use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::error::Error;
use crate::runner::Failure;

pub(super) fn execute(shell: Shell) -> Result<Code, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Votive::command(), "votive", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(Code::Ok)
}

pub(super) fn man_page() -> Result<Code, Failure> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(Votive::command());
    page.render(&mut text).map_err(|e| Error::internal("the man page cannot be made").caused_by(e))?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(Code::Ok)
}
