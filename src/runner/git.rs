//! The commit that a run was started at, for the report's provenance; it decides nothing.

use std::process::{Command, Stdio};

use crate::runs::Commit;

/// Commit of the folder that the program was started in, and whether tracked files differ from it; `None` outside a repository
/// or where there is no git.
pub(super) fn commit() -> Option<Commit> {
    let output_of = |arguments: &[&str]| {
        let mut command = Command::new("git");
        // It reads only: no lock of somebody's repository is taken for a report.
        command.args(arguments).env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let commit = output_of(&["rev-parse", "HEAD"])?.trim().to_owned();
    let changed = output_of(&["status", "--porcelain", "--untracked-files=no"]);
    Some(Commit { commit, dirty: changed.map(|changed| !changed.trim().is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_a_hash_and_no_repository_is_nothing() {
        let git = commit();
        assert!(git.as_ref().is_none_or(|git| git.commit.len() >= 40), "{git:?}");
    }
}
