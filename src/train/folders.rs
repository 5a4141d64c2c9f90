//! The folders of a trial.

use std::path::Path;

/// Where what a trial reads and writes lies.
#[derive(Debug, Clone, Copy)]
pub struct Folders<'a> {
    /// The experiment's folder: the job's files are relative to it.
    pub experiment: &'a Path,
    /// The folder of the trial's checkpoints.
    pub checkpoints: &'a Path,
    /// The checkpoints' folder as the rows name it, relative to the trial's folder.
    pub name: &'a str,
}
