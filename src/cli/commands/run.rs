//! `votive run`: plan, probe, train what is missing, report.

use crate::cli::args::Run as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::{print, say, say_as_is};
use crate::cli::show::notice;
use crate::cli::show::terminal::{Terminal, tell};
use crate::cli::stderr;
use crate::error::{Error, Result};
use crate::runner::{Ended, Failure, Request, Signals, ThisMachine, detach, dry_run, run};
use crate::schedule::Summary;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let mut asked = arguments.planning.asked()?;
    asked.overrides.set.extend(arguments.on.as_ref().map(|on| format!("run.on={on}")));
    let request = Request {
        asked,
        until: arguments.until.clone(),
        slots: arguments.slots,
        probe: !arguments.no_probe,
        rescore: arguments.rescore,
        retry: arguments.retry.clone(),
        alias: !arguments.no_alias,
    };
    if arguments.dry_run {
        print(&dry_run(&request, &Terminal::default())?)?;
        return Ok(Code::Ok);
    }
    if arguments.detach {
        say(&detach(&request, &without_detach()?)?);
        return Ok(Code::Ok);
    }
    stderr::stop_for_nothing()?;
    let signals = Signals::new(tell);
    signals.watch()?;
    let ended = run(&request, &signals, &Terminal::default(), &ThisMachine)?;
    show(&ended);
    if let Some(line) = notice::aliases(ended.aliases, ended.trials, ended.equal_tokenizers) {
        say(&line);
    }
    if let Some(line) = ended.trained.as_ref().and_then(notice::left) {
        say(&line);
    }
    Ok(code(ended.trained.as_ref(), &ended.scored, ended.terminated, ended.report.is_ok()))
}

/// The arguments of this command, for a run that nobody detaches again.
fn without_detach() -> Result<Vec<String>> {
    let word = |word: std::ffi::OsString| {
        word.into_string().map_err(|word| Error::usage(format!("`{}` is not UTF-8", word.display())).help("rename the file"))
    };
    let words = std::env::args_os().skip(1).map(word).collect::<Result<Vec<String>>>()?;
    Ok(words.into_iter().filter(|word| word != "--detach").collect())
}

/// Says what there is to say of the report, whose table was shown by who wrote it, or why there is none.
fn show(ended: &Ended) {
    match &ended.report {
        Ok(said) => said.lines().for_each(say_as_is),
        Err(error) => {
            say(&format!("error: the report cannot be written: {}", error.chain()));
            say(&format!("hint: `votive report {}` writes it again", ended.folder.path().display()));
        }
    }
}

/// What a run exits with. Scores that could not be made again are no success, nor is a report that could not be written; what
/// became of the trials comes first.
fn code(trained: Option<&Summary>, scored: &Summary, terminated: bool, reported: bool) -> Code {
    let of_trials = match trained {
        None => Code::of_run(scored, terminated),
        Some(trained) => match Code::of_run(trained, terminated) {
            Code::Ok if !scored.all_completed() => Code::SomeFailed,
            code => code,
        },
    };
    if of_trials == Code::Ok && !reported { Code::Internal } else { of_trials }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Stop;

    #[test]
    fn what_became_of_the_trials_comes_before_scores_and_scores_before_the_report() {
        let run = |completed, stopped| Summary { trials: 3, completed, left: 3 - completed, stopped, ..Summary::default() };
        let (all, none) = (run(3, None), Summary::default());
        for (trained, scored, reported, expected) in [
            (Some(&all), &none, true, Code::Ok),
            (Some(&all), &none, false, Code::Internal),
            (Some(&all), &run(2, None), true, Code::SomeFailed),
            (Some(&all), &run(2, None), false, Code::SomeFailed),
            (Some(&run(1, Some(Stop::Deadline))), &none, false, Code::Stopped),
            (Some(&run(1, Some(Stop::Asked))), &all, false, Code::Interrupted),
            (None, &run(1, Some(Stop::Asked)), true, Code::Interrupted),
        ] {
            assert_eq!(code(trained, scored, false, reported), expected, "{trained:?} {scored:?} {reported}");
        }
        assert_eq!(code(Some(&run(1, Some(Stop::Asked))), &none, true, true), Code::Terminated);
    }
}
