//! The hidden command that measures one shape: it reads it from a file or the first line of standard input, and prints what it measured. Where
//! standard input ends before that its runner is gone, and it leaves.

use std::io::{self, BufRead};
use std::thread;

use crate::cli::args::Probe;
use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::durable;
use crate::error::Error;
use crate::runner::Failure;
use crate::runner::probe::Request;
use crate::worker::probe;

pub(super) fn execute(arguments: &Probe) -> Result<Code, Failure> {
    if let Some(path) = &arguments.request {
        let request = durable::read_json(path)?;
        return answer(request.ok_or_else(|| Error::usage(format!("{} is missing", path.display())))?);
    }
    let no_shape = || Error::usage("standard input holds no shape");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|e| no_shape().caused_by(e))?;
    let request = serde_json::from_str(&line).map_err(|e| no_shape().caused_by(e))?;
    thread::Builder::new()
        .name("runner".to_owned())
        .spawn(leave_with_the_runner)
        .map_err(|e| Error::internal("no thread can be started").caused_by(e))?;
    answer(request)
}

fn answer(request: Request) -> Result<Code, Failure> {
    let measured = probe(request)?;
    print(&serde_json::to_string(&measured).map_err(|e| Error::internal("no JSON").caused_by(e))?)?;
    Ok(Code::Ok)
}

/// What is measured is of no use where nobody waits for it.
fn leave_with_the_runner() {
    let mut rest = String::new();
    while io::stdin().lock().read_line(&mut rest).is_ok_and(|read| read > 0) {
        rest.clear();
    }
    std::process::exit(i32::from(Code::Interrupted.number()));
}
