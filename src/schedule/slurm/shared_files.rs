//! When what another machine wrote is seen here.
//!
//! A network file system keeps what it knows of a folder for a while, also that a file was not there: NFS up to a minute (`acdirmax`),
//! and the files of a job are looked for all the time. Listing the folder makes most of them look again.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long a file may take to be seen on another machine.
pub(super) const SEEN_ELSEWHERE: Duration = Duration::from_secs(90);
/// How long what was killed is waited for, which leaves no file where it could not write one before.
pub(super) const KILLED: Duration = Duration::from_secs(3);

/// Has the file system look what is in a folder now.
pub(super) fn look_again(folder: &Path) {
    // Where it cannot be listed its files cannot be read either.
    let _ = fs::read_dir(folder).map(Iterator::count);
}
