//! Where a trial lies.

use std::path::Path;

/// Where a trial lives.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The experiment's folder: the job's files are relative to it.
    pub experiment: &'a Path,
    /// The folder of the trial's checkpoints.
    pub checkpoints: &'a Path,
    /// The checkpoints' folder as the rows name it, relative to the trial's folder.
    pub name: &'a str,
}
