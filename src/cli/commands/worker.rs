//! The hidden command that trains one trial, or scores it again.

use crate::cli::args::Worker as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::say_error;
use crate::runner::Failure;
use crate::runs::TrialFolder;
use crate::worker::{Assignment, Leaves, work};

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let ended = work(&Assignment {
        folder: TrialFolder::at(&arguments.folder),
        score_again: arguments.score_again,
        attempt: arguments.attempt,
        slot: arguments.slot,
        threads: arguments.threads,
        device: arguments.device,
        gpu: arguments.gpu.clone(),
        cuda_libraries: arguments.cuda_libraries.clone(),
    });
    Ok(match ended {
        Ok(Leaves::Done) => Code::Ok,
        Ok(Leaves::Interrupted) => Code::Interrupted,
        Err(error) => {
            say_error(&error);
            Code::of_worker(error.kind())
        }
    })
}
