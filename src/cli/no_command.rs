//! What is said where there is no such command.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use super::args::Votive;
use crate::error::Error;

/// What other programs call a command, and what somebody may expect it to be called.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("train", "run"),
    ("start", "run"),
    ("resume", "run"),
    ("continue", "run"),
    ("results", "report"),
    ("result", "report"),
    ("table", "report"),
    ("leaderboard", "report"),
    ("init", "new"),
    ("create", "new"),
    ("validate", "check"),
    ("lint", "check"),
    ("list", "status"),
    ("ls", "status"),
    ("watch", "status"),
    ("diff", "compare"),
    ("generate", "sample"),
    ("export", "show"),
    ("docs", "guide"),
    ("config", "settings"),
];

/// What to say of a command line whose command there is not; `None` where it is wrong in another way.
pub(super) fn instead_of(error: &clap::Error) -> Option<Error> {
    match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => Some(no_command(word)),
        _ => None,
    }
}

/// That there is no such command, with the one that is meant, or all of them.
pub(super) fn no_command(word: &str) -> Error {
    let votive = Votive::command();
    let names: Vec<&str> = votive.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name).collect();
    let known = names.iter().map(|name| (*name, *name)).chain(OTHER_WORDS.iter().copied());
    let near = known.map(|(called, name)| (strsim::damerau_levenshtein(&word.to_lowercase(), called), called, name));
    let help = match near.filter(|(distance, called, _)| 3 * distance <= called.len()).min() {
        Some((_, _, name)) => format!("did you mean `votive {name}`?"),
        None => {
            let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("there are {}; `votive --help` says what each does", crate::words::listed(&all))
        }
    };
    Error::usage(format!("votive has no command `{word}`")).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_is_meant_is_named_or_all_of_them() {
        for (word, name) in [("trian", "run"), ("train", "run"), ("results", "report"), ("Plan", "plan"), ("stauts", "status")] {
            assert_eq!(no_command(word).help_text(), Some(&*format!("did you mean `votive {name}`?")), "{word}");
        }
        let all = no_command("zzzzzz").help_text().unwrap().to_owned();
        assert!(all.starts_with("there are `new`, `check`, `plan`") && !all.contains("worker"), "{all}");
        let votive = Votive::command();
        let is_command =
            |name: &str| votive.get_subcommands().any(|command| command.get_name() == name && !command.is_hide_set());
        assert!(OTHER_WORDS.iter().all(|(word, name)| is_command(name) && !is_command(word)));
    }
}
