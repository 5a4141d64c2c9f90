//! `votive settings` and `votive schema`: what an experiment file may say.

use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::cli::show::settings::{one, table};
use crate::error::Error;
use crate::experiment::reference::{self, Entry, TABLE};
use crate::runner::Failure;
use crate::terminal::Look;

pub(super) fn execute(key: Option<&str>) -> Result<Code, Failure> {
    let look = Look::of(std::io::stdout());
    let entries: Vec<&Entry> = match key {
        None => TABLE.iter().collect(),
        Some(word) => reference::find(word).map_err(|near| {
            let help = match near {
                Some(name) => format!("did you mean `{name}`?"),
                None => "`votive settings` lists all of them".to_owned(),
            };
            Error::usage(format!("there is no setting called `{word}`, and none with this in its name")).help(help)
        })?,
    };
    print(&match entries.as_slice() {
        [entry] => one(entry, look),
        several => table(several, look),
    })?;
    Ok(Code::Ok)
}

pub(super) fn schema() -> Result<Code, Failure> {
    print(&format!("{:#}\n", reference::schema()))?;
    Ok(Code::Ok)
}
