//! The hidden command that measures one shape: it reads it from standard input, and prints what it measured.

use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::error::Error;
use crate::runner::Failure;
use crate::worker::probe;

pub(super) fn execute() -> Result<Code, Failure> {
    let request =
        serde_json::from_reader(std::io::stdin()).map_err(|e| Error::usage("standard input holds no shape").caused_by(e))?;
    let measured = probe(request)?;
    print(&serde_json::to_string(&measured).map_err(|e| Error::internal("no JSON").caused_by(e))?)?;
    Ok(Code::Ok)
}
