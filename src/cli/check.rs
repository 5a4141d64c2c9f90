//! `votive check`: only whether the file is right.

use super::args::File;
use super::exit_code::Code;
use super::session::counted;
use super::{Failure, say, style};
use crate::experiment::load;

pub(super) fn execute(arguments: &File) -> Result<Code, Failure> {
    let (experiment, warnings) = load(&arguments.file, &arguments.overrides())?;
    let mut all = warnings;
    // Conditions on `full` are left open: without the text the number of windows is not known.
    let expansion = experiment.expand(u64::MAX, &mut |_| None)?;
    all.extend(expansion.warnings);
    for warning in &all {
        say(&warning.render(style()));
    }
    let configurations = expansion.configurations.len();
    let trials = configurations * experiment.seeds.len();
    let counts = [counted(configurations as u64, "configuration"), counted(trials as u64, "trial")].join(", ");
    say(&format!("{} is right: {counts}", arguments.file.display()));
    Ok(Code::Ok)
}
