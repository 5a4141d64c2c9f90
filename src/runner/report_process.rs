//! The process that writes a report: whatever memory and time that takes, and whatever goes wrong in it, the run goes on meanwhile.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::runs::ExperimentFolder;
use crate::schedule::this_program;

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Added to its `oom_score_adj`: where memory runs out, the kernel takes it before a worker.
const OOM_SCORE: &str = "800";

/// A process of this program that writes the report of an experiment.
pub(super) struct ReportProcess {
    child: Child,
    /// It leaves when this ends: also when the runner dies.
    _pipe: Option<ChildStdin>,
    /// What it says on standard error.
    stderr: Option<JoinHandle<String>>,
}

impl ReportProcess {
    /// Starts it; with `show` it shows the report on this process's standard output too.
    pub(super) fn start(folder: &ExperimentFolder, show: bool) -> Result<Self> {
        let mut command = Command::new(this_program()?);
        command.arg0("votive").arg("write-report");
        if show {
            command.arg("--show");
        } else {
            // Ctrl-C on the terminal is the runner's, which trains on meanwhile.
            command.process_group(0);
        }
        // A folder's name may begin with a dash.
        command.arg("--").arg(folder.path());
        command.stdout(if show { Stdio::inherit() } else { Stdio::null() });
        Self::of(command)
    }

    fn of(mut command: Command) -> Result<Self> {
        let failed = |e| Error::internal("no process can be started for it").caused_by(e);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        // Only a wish, and only Linux has it.
        let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE);
        let (pipe, stderr) = (child.stdin.take(), child.stderr.take());
        let read = move || {
            let mut bytes = Vec::new();
            if let Some(mut stderr) = stderr {
                // What can be read is what there is to say.
                let _ = stderr.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        };
        match thread::Builder::new().name("report".to_owned()).spawn(read) {
            Ok(reader) => Ok(Self { child, _pipe: pipe, stderr: Some(reader) }),
            Err(error) => {
                // Without somebody who reads what it says it would wait for ever.
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(error))
            }
        }
    }

    /// What it said when it has ended well, or why it has not; `None` while it works, which is waited for at most so long.
    pub(super) fn wait(&mut self, at_most: Duration) -> Option<Result<String>> {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if began.elapsed() < at_most => thread::sleep(LOOK.min(at_most)),
                Ok(None) => return None,
                Err(error) => return Some(Err(Error::internal("its process cannot be waited for").caused_by(error))),
            }
        };
        let stderr = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Some(if status.success() { Ok(stderr) } else { Err(Error::internal(reason(&stderr, status))) })
    }

    /// Ends it at once: what it has not finished writing is not there.
    pub(super) fn kill(&mut self) {
        // It fails only where it has ended.
        let _ = self.child.kill();
    }
}

impl Drop for ReportProcess {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Why it ended so, by what it said.
fn reason(stderr: &str, status: ExitStatus) -> String {
    let error = stderr.lines().find_map(|line| line.strip_prefix("error: "));
    let last = || stderr.lines().rev().find(|line| !line.trim().is_empty());
    match error.or_else(last) {
        Some(line) => line.to_owned(),
        None => format!("its process ended with {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ReportProcess {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::null());
        ReportProcess::of(command).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_it_says_is_handed_on_and_an_error_is_its_first_line() {
        assert_eq!(shell("echo report: here >&2").wait(LONG).unwrap().unwrap(), "report: here\n");
        let why = |script: &str| shell(script).wait(LONG).unwrap().unwrap_err().to_string();
        assert_eq!(why("echo note: a file is damaged >&2; echo error: no room >&2; echo hint: make some >&2; exit 1"), "no room");
        assert_eq!(why("echo thread panicked >&2; echo >&2; exit 101"), "thread panicked");
        assert_eq!(why("exit 7"), "its process ended with exit status: 7");
        assert_eq!(why("kill -9 $$"), "its process ended with signal: 9 (SIGKILL)");
    }

    #[test]
    fn it_is_waited_for_only_so_long_and_can_be_given_up() {
        let mut report = shell("exec sleep 60");
        let began = Instant::now();
        assert!(report.wait(Duration::ZERO).is_none());
        assert!(report.wait(Duration::from_millis(20)).is_none());
        report.kill();
        assert!(report.wait(LONG).unwrap().is_err());
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn its_standard_input_ends_when_nobody_waits_for_it_any_more() {
        let mut report = shell("cat; echo alone >&2");
        assert!(report.wait(Duration::from_millis(20)).is_none());
        drop(report._pipe.take());
        assert_eq!(report.wait(LONG).unwrap().unwrap(), "alone\n");
    }
}
