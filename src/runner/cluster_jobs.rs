//! What the scripts of an experiment's jobs on a cluster have in common.

use super::device::cuda_libraries;
use super::session::Session;
use crate::error::{Error, Result};
use crate::runs::ExperimentFolder;
use crate::schedule::Work;
use crate::schedule::slurm::Shared;

/// The program, where it lies for every machine that has the same file system: not `/proc/self/exe`.
///
/// # Errors
/// Where it is gone from there: it was built anew while it ran.
pub(super) fn program() -> Result<String> {
    let path = std::env::current_exe().map_err(|e| Error::internal("this program does not know its own path").caused_by(e))?;
    if !path.exists() {
        let message = format!("{} is gone: jobs of a cluster could not start it", path.display());
        return Err(Error::usage(message).help("run it again with the program that is there now"));
    }
    Ok(path.to_string_lossy().into_owned())
}

/// What the scripts of the jobs of this experiment have in common.
pub(super) fn shared(session: &Session, work: Work) -> Result<Shared> {
    let run = &session.experiment.base.run;
    let mut words = vec![program()?, "worker".to_owned()];
    if work == Work::ScoreAgain {
        words.push("--score-again".to_owned());
    }
    let mut arguments = vec!["--device".to_owned(), session.device.to_string()];
    if let Some(libraries) = cuda_libraries(&session.experiment) {
        arguments.extend(["--cuda-libraries".to_owned(), libraries.to_string_lossy().into_owned()]);
    }
    let folder = absolute(&session.folder)?;
    let train = work == Work::Train;
    Ok(Shared { slurm: run.slurm.clone(), patience: run.patience, program: words, arguments, train, folder })
}

/// What the script of a job that measures a shape begins with.
pub(super) fn prober(session: &Session) -> Result<Shared> {
    let words = vec![program()?, "probe".to_owned(), "--request".to_owned()];
    Ok(Shared { program: words, ..shared(session, Work::Train)? })
}

/// The folder as every machine finds it that has the same file system.
pub(super) fn absolute(folder: &ExperimentFolder) -> Result<String> {
    let path = std::path::absolute(folder.path()).map_err(|e| Error::io("find", folder.path(), e))?;
    Ok(path.to_string_lossy().into_owned())
}
