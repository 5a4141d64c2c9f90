//! The worker's end of the pipe from its runner.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, fstat};

/// Sets `stop` when the pipe from the runner ends: the runner asks for a stop, or is gone. False where standard input is no
/// pipe (a worker started by hand or by Slurm), which is then not watched. Call it once, in the worker; nothing else reads
/// its standard input.
pub fn watch_runner(stop: Arc<AtomicBool>) -> io::Result<bool> {
    if !is_a_pipe()? {
        return Ok(false);
    }
    std::thread::Builder::new().name("runner".to_owned()).spawn(move || {
        until_the_end(io::stdin().lock());
        stop.store(true, Ordering::Release);
    })?;
    Ok(true)
}

/// Ends this process when the pipe from the runner ends, since nobody waits for what it does any more: for one that may be killed at any
/// moment. Where standard input is no pipe it is not watched, and nothing else reads it either.
pub fn leave_with_runner() -> io::Result<()> {
    if !is_a_pipe()? {
        return Ok(());
    }
    let leave = || {
        until_the_end(io::stdin().lock());
        std::process::exit(1);
    };
    std::thread::Builder::new().name("runner".to_owned()).spawn(leave).map(drop)
}

/// Whether standard input is a pipe, as a runner makes it.
fn is_a_pipe() -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(io::stdin())?.st_mode).is_fifo())
}

/// Returns when the stream has ended or is broken; what comes before is nobody's.
fn until_the_end(mut stream: impl Read) {
    let mut buffer = [0u8; 64];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_end_of_the_pipe_is_seen_and_not_what_comes_before() {
        let (reader, mut writer) = io::pipe().unwrap();
        let watcher = std::thread::spawn(move || until_the_end(reader));
        writer.write_all(b"still here").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(!watcher.is_finished());
        drop(writer);
        let start = Instant::now();
        watcher.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
