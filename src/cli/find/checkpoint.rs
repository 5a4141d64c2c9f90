//! A trial's checkpoint by its name: `final`, `best`, or a step.

use std::path::PathBuf;

use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::rows::CheckpointKind;
use crate::runs::{Outcome, Status, TrialFolder, list_checkpoints, state_of};
use crate::train::checkpoint::{self, Position, Reason};
use crate::words::thousands;

/// The checkpoint of a trial that is asked for, and what it is in words.
///
/// # Errors
/// Where there is none yet, or not that one, with those that there are.
pub(in crate::cli) fn checkpoint_of(trial: &TrialFolder, which: &str) -> Result<(PathBuf, String)> {
    let (trial, alias) = &trained(trial)?;
    let all = list_checkpoints(&trial.checkpoints())?;
    let name = trial.path().display();
    let Some((last, folder)) = all.last() else {
        let status = state_of(trial).status;
        let error = Error::new(Kind::Nothing, format!("the trial {name} has no checkpoint, and is {}", status.words()));
        return Err(match status {
            Status::Running => error.help("wait for the first one: `votive status` says how far it is"),
            Status::Waiting | Status::Interrupted | Status::Failed => {
                error.help("train it: `votive run` of its experiment goes on with it")
            }
            _ => error,
        });
    };
    let position = checkpoint::position(folder)?;
    let step = match which {
        "final" => *last,
        "best" => position.best.map(|best| best.step).ok_or_else(|| {
            Error::new(Kind::Nothing, format!("the trial {name} has no validation loss to be best at"))
                .help("leave out `--checkpoint` to take the last weights")
        })?,
        step => step.replace([',', '_'], "").parse().map_err(|_| {
            Error::usage(format!("`{which}` is not a checkpoint")).help("`--checkpoint` takes `final`, `best`, or a step")
        })?,
    };
    let Some((_, folder)) = all.iter().find(|(there, _)| *there == step) else {
        let steps: Vec<String> = all.iter().map(|(step, _)| step.to_string()).collect();
        let error = Error::usage(format!("the trial {name} has no checkpoint of step {step}"));
        let which = if which == "best" { "the best weights were not kept; there are" } else { "there are" };
        return Err(error.help(format!("{which} checkpoints of step {}", steps.join(", "))));
    };
    Ok((folder.clone(), described(&checkpoint::position(folder)?, &position) + alias))
}

/// The trial that was trained: itself, or the one that an alias is the same as, with words for that.
///
/// # Errors
/// Where the one that was trained is gone.
fn trained(trial: &TrialFolder) -> Result<(TrialFolder, String)> {
    // An outcome that cannot be read takes no checkpoint away.
    let outcome = durable::read_json::<Outcome>(&trial.outcome()).ok().flatten();
    let Some(source) = outcome.and_then(|outcome| outcome.alias_of) else {
        return Ok((trial.clone(), String::new()));
    };
    let path = trial.path().canonicalize().map_err(|e| Error::io("open", trial.path(), e))?;
    let (alias, folder) = (TrialFolder::at(&path), trial.beside(&source));
    let folder = if folder.path().is_dir() { folder } else { alias.beside(&source) };
    if !folder.path().is_dir() {
        let message = format!("the trial {} is the same as {source}, which is gone", trial.path().display());
        return Err(Error::new(Kind::Nothing, message).help("train it: `votive run` of its experiment opens it again"));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((folder, format!("; of trial {source}, which {name} is the same as")))
}

/// `final, step 40`; `best, step 20, validation loss 2.31`; `step 30, the last so far`.
fn described(position: &Position, last: &Position) -> String {
    let step = at_step(position.step);
    let mut words = match position.reason {
        Reason::Kept(CheckpointKind::Final) => format!("final, {step}"),
        _ if last.best.is_some_and(|best| best.step == position.step) => format!("best so far, {step}"),
        _ => step,
    };
    if let Some(loss) = position.validation_loss {
        words += &format!(", validation loss {loss:.3}");
    }
    if last.reason != Reason::Kept(CheckpointKind::Final) {
        words += "; the trial is not complete";
    }
    words
}

/// `step 1,200`.
pub(in crate::cli) fn at_step(step: u64) -> String {
    format!("step {}", thousands(step))
}
