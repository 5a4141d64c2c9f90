//! Slurm's commands, each with a time limit.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a command may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Why a command gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no such program here.
    Missing(String),
    /// It was killed after so many seconds: what it was to do may have been done.
    TimedOut(String, u64),
    /// It said this.
    Refused(String),
}

/// What Slurm says when it could not do something now, in small letters; whatever else it says it means.
const PASSING: [&str; 14] = [
    "unable to contact",
    "timed out",
    "temporarily",
    "connection refused",
    "connection reset",
    "connection failure",
    "zero bytes were transmitted",
    "transport endpoint",
    "try again",
    "submit limit",
    "submitjob",
    "submission of additional jobs is disabled",
    "too many",
    "backup controller",
];

impl Fault {
    /// Whether it may go away by itself.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Missing(_) => false,
            Self::TimedOut(..) => true,
            Self::Refused(words) => {
                let words = words.to_lowercase();
                PASSING.iter().any(|passing| words.contains(passing))
            }
        }
    }

    /// What happened, in a line.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Missing(program) => format!("there is no `{program}` on this machine"),
            Self::TimedOut(program, seconds) => format!("`{program}` gave no answer for {seconds} s"),
            Self::Refused(words) => words.clone(),
        }
    }
}

/// What a command writes to standard output, where it ends well within the limit.
pub(super) fn run(program: &str, arguments: &[String], limit: Duration) -> Result<String, Fault> {
    let child = Command::new(program)
        .args(arguments)
        // Ctrl-C on the terminal reaches the runner alone.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Fault::Missing(program.to_owned())),
        Err(e) => return Err(Fault::Refused(format!("`{program}` cannot be started: {e}"))),
    };
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let until = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                end(&mut child);
                return Err(Fault::TimedOut(program.to_owned(), limit.as_secs()));
            }
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() { Ok(out) } else { Err(Fault::Refused(said(program, &err, &status.to_string()))) }
}

/// What a command complained of, in a line, without its own name before each.
fn said(program: &str, complaint: &str, status: &str) -> String {
    let name = program.rsplit('/').next().unwrap_or(program);
    let own = [format!("{name}: error: "), format!("{name}: "), "error: ".to_owned()];
    let line = |line: &str| {
        let line = line.trim();
        own.iter().find_map(|prefix| line.strip_prefix(prefix.as_str())).unwrap_or(line).to_owned()
    };
    let lines: Vec<String> = complaint.lines().map(line).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { format!("`{name}` failed ({status}) and did not say why") } else { lines.join(": ") }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is.
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn end(child: &mut Child) {
    // It fails only where nothing of the group is left.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<String, Fault> {
        run("sh", &["-c".to_owned(), script.to_owned()], limit)
    }

    #[test]
    fn an_answer_a_complaint_a_missing_program_and_a_silence() {
        assert_eq!(sh("echo 12", LIMIT), Ok("12\n".to_owned()));
        let refused = Fault::Refused("invalid partition specified: nope: Batch job submission failed".to_owned());
        let complaint =
            "echo 'sh: error: invalid partition specified: nope' >&2; echo 'sh: Batch job submission failed' >&2; exit 1";
        assert_eq!(sh(complaint, LIMIT), Err(refused));
        assert!(matches!(sh("exit 3", LIMIT), Err(Fault::Refused(words)) if words.contains("exit status: 3")));
        assert_eq!(run("no-such-sbatch", &[], LIMIT), Err(Fault::Missing("no-such-sbatch".to_owned())));
        let silent = sh("sleep 60", Duration::from_millis(50));
        assert!(matches!(silent, Err(Fault::TimedOut(..))), "{silent:?}");
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (words, passes) in [
            ("Batch job submission failed: Unable to contact slurm controller (connect failure)", true),
            ("Batch job submission failed: Socket timed out on send/recv operation", true),
            ("Slurm temporarily unable to accept job, sleeping and retrying", true),
            ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", true),
            ("QOSMaxSubmitJobPerUserLimit", true),
            ("Batch job submission failed: Invalid partition name specified", false),
            ("Batch job submission failed: Invalid account or account/partition combination specified", false),
            ("Batch job submission failed: Requested node configuration is not available", false),
            ("unrecognized option '--nicer'", false),
        ] {
            assert_eq!(Fault::Refused(words.to_owned()).passes(), passes, "{words}");
        }
        assert!(Fault::TimedOut("squeue".to_owned(), 60).passes() && !Fault::Missing("squeue".to_owned()).passes());
    }
}
