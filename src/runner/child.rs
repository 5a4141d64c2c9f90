//! A process that answers once: it is waited for, output, and killed where it is to stop or has been silent for too long.
//!
//! What it writes is its answer; white space before that is a sign of life, and so is anything else.

use std::io::{self, Read};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::schedule::{Clock, Patience, Silence, SystemClock, longest};

/// Between two looks whether a process has ended, was output, or is to be stopped.
const LOOK: Duration = Duration::from_millis(5);
/// How long the last words of a process that has ended are waited for, where another one holds its streams.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What became of it.
#[derive(Debug)]
pub(super) enum Ended {
    /// It ended, and said this.
    Itself {
        /// How.
        status: ExitStatus,
        /// On standard output.
        answer: Vec<u8>,
        /// On standard error.
        complaint: String,
    },
    /// It was killed because it was to stop.
    Stopped,
    /// It was killed because it had been silent for so many seconds.
    Hung(u64),
}

/// Waits for a process in a process group of its own, whose standard output and standard error are pipes.
pub(super) fn wait(mut child: Child, patience: Patience, stop: &dyn Fn() -> bool) -> io::Result<Ended> {
    let (sender, receiver) = channel();
    let reads = [(true, child.stdout.take().map(boxed)), (false, child.stderr.take().map(boxed))];
    for (is_answer, stream) in reads.into_iter().filter_map(|(is_answer, stream)| Some((is_answer, stream?))) {
        let sender = sender.clone();
        thread::Builder::new().name("listens".to_owned()).spawn(move || listen(stream, is_answer, &sender))?;
    }
    drop(sender);
    let (clock, mut silence, mut known, mut output) = (SystemClock, Silence::default(), None::<f64>, Output::default());
    let mut looked = clock.steady();
    loop {
        if let Some(status) = child.try_wait()? {
            let until = Instant::now() + LAST_WORDS;
            while let Ok(words) = receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                output.take(words);
            }
            let complaint = String::from_utf8_lossy(&output.complaint).into_owned();
            return Ok(Ended::Itself { status, answer: output.answer, complaint });
        }
        if stop() {
            kill(child, patience);
            return Ok(Ended::Stopped);
        }
        let now = clock.steady();
        silence.grows(now - std::mem::replace(&mut looked, now), LOOK.as_micros() as i64);
        if output.take_all(&receiver) {
            known = Some(known.unwrap_or(0.0).max(silence.ends()));
        } else if longest(patience.timeout, known).is_some_and(|longest| silence.seconds() >= longest) {
            kill(child, patience);
            return Ok(Ended::Hung(silence.seconds() as u64));
        }
        thread::sleep(LOOK);
    }
}

/// Kills it, and waits until it is gone, but not for ever.
fn kill(mut child: Child, patience: Patience) {
    // It fails only where nothing of the group is left to kill.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let until = Instant::now() + Duration::from_secs_f64(patience.killed);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        thread::sleep(LOOK);
    }
}

/// What a process has written so far.
#[derive(Debug, Default)]
struct Output {
    answer: Vec<u8>,
    complaint: Vec<u8>,
}

impl Output {
    fn take(&mut self, (is_answer, words): (bool, Vec<u8>)) {
        if is_answer { self.answer.extend(words) } else { self.complaint.extend(words) }
    }

    /// Takes what was said since; whether anything was.
    fn take_all(&mut self, receiver: &Receiver<(bool, Vec<u8>)>) -> bool {
        receiver.try_iter().map(|words| self.take(words)).count() > 0
    }
}

fn boxed(stream: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(stream)
}

/// Passes on what is read until the stream ends. What cannot be read is missed by who needs it.
fn listen(mut stream: Box<dyn Read + Send>, is_answer: bool, sender: &Sender<(bool, Vec<u8>)>) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) if sender.send((is_answer, buffer[..read].to_vec())).is_err() => return,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::experiment::settings::Timeout;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).spawn().unwrap()
    }

    fn within(seconds: u64) -> Patience {
        Patience { timeout: Timeout::After(seconds), ..Patience::default() }
    }

    #[test]
    fn a_process_is_waited_for_to_its_end_or_killed_where_time_is_over() {
        let ended = wait(shell("echo; echo 7; echo no >&2; exit 3"), Patience::default(), &|| false).unwrap();
        let Ended::Itself { status, answer, complaint } = ended else { panic!("{ended:?}") };
        assert_eq!((status.code(), &*answer, &*complaint), (Some(3), &b"\n7\n"[..], "no\n"));
        let began = Instant::now();
        let stop = || began.elapsed() > Duration::from_millis(50);
        let stopped = wait(shell("sleep 60 & kill -STOP $$"), Patience::default(), &stop).unwrap();
        assert!(matches!(stopped, Ended::Stopped) && began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_process_that_is_silent_for_too_long_is_killed_and_one_that_is_not_is_not() {
        let began = Instant::now();
        let hung = wait(shell("kill -STOP $$"), within(1), &|| false).unwrap();
        assert!(matches!(hung, Ended::Hung(1)) && began.elapsed() < Duration::from_secs(30), "{hung:?}");
        let alive = wait(shell("for i in 1 2 3 4 5 6 7; do echo; sleep 0.5; done; echo 7"), within(3), &|| false).unwrap();
        assert!(matches!(alive, Ended::Itself { .. }), "{alive:?}");
    }
}
