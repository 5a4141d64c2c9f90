//! Standard output for data, standard error for everything else.

use std::io::Write;

use super::stderr;
use crate::error::{Error, Result};
use crate::experiment::Style;
use crate::terminal::{Look, wrapped};

/// How wide problems are drawn where there is no terminal.
const OFF_TERMINAL: usize = 100;

/// How problems are drawn on this terminal.
pub(super) fn style() -> Style {
    let look = Look::of(std::io::stderr());
    // Lines of a file are easier to read where they are not drawn over a whole wide screen.
    let width = look.width.map_or(OFF_TERMINAL, |width| width.clamp(40, 160));
    Style { colour: look.colour, unicode: look.width.is_some(), width }
}

/// Prose on standard error, broken at words where that is a narrow terminal. Where it is closed there is nobody to tell.
pub(super) fn say(text: &str) {
    say_as_is(&wrapped(text, Look::of(std::io::stderr()).width));
}

/// An error, with what to do about it.
pub(super) fn say_error(error: &Error) {
    say(&format!("error: {}", error.chain()));
    if let Some(help) = error.help_text() {
        say(&format!("hint: {help}"));
    }
}

/// Lines on standard error that stay as they are: commands and paths to be copied, drawings.
pub(super) fn say_as_is(text: &str) {
    stderr::write(&format!("{text}\n"));
}

/// Text on standard output, as it is. A reader that left early (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::io("write to", std::path::Path::new("standard output"), e)),
    }
}
