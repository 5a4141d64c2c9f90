//! Standard error, which may not stop a run: a terminal takes nothing after Ctrl-S or while somebody copies from it, nor does a pipe that
//! nobody reads or a connection that is half open.
//!
//! While a run is at work ([`stop_for_nothing`]) a thread writes what it says. What finds no place in its queue is dropped, which is said
//! once the queue is empty. Else whoever says something writes it.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// Texts that wait to be written, at most: some minutes of bars that are drawn.
const QUEUE: usize = 4_096;
/// How long the end of a run waits until its last words are written.
const LAST_WORDS: Duration = Duration::from_secs(1);

static WRITER: Mutex<Option<Writer>> = Mutex::new(None);

fn writer() -> MutexGuard<'static, Option<Writer>> {
    WRITER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on nobody waits for standard error, until [`last_words`].
pub(super) fn stop_for_nothing() -> Result<()> {
    let failed = |e: io::Error| Error::internal("standard error cannot be written by a thread of its own").caused_by(e);
    // Its own handle: whoever panics writes to the other one, and would wait for its lock.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?);
    // Whatever of a drawing was dropped, the rest begins on a line of its own.
    let begins = if out.is_terminal() { "\r\x1b[J" } else { "" };
    *writer() = Some(Writer::on(out, begins).map_err(failed)?);
    Ok(())
}

/// Text on standard error, as it is. Where it is closed there is nobody to tell.
pub(super) fn write(text: &str) {
    let taken = writer().as_ref().map(|writer| writer.write(text));
    if taken.is_none() {
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Waits until everything is written, for a moment. From here on whoever says something writes it again.
pub(super) fn last_words() {
    let taken = writer().take();
    if let Some(writer) = taken {
        writer.finish(LAST_WORDS);
    }
}

/// [`write()`], for whoever needs something to write to.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A thread that writes, and its queue.
struct Writer {
    queue: SyncSender<String>,
    dropped: Arc<AtomicU64>,
    /// Ends with the thread; nothing is ever sent.
    ends: Receiver<()>,
}

impl Writer {
    /// One that writes there; `begins` stands before what it says itself.
    fn on(mut out: impl Write + Send + 'static, begins: &'static str) -> io::Result<Self> {
        let (queue, texts) = sync_channel::<String>(QUEUE);
        let (over, ends) = channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        let work = move || {
            let _over: std::sync::mpsc::Sender<()> = over;
            loop {
                let text = match texts.try_recv() {
                    Ok(text) => text,
                    Err(none) => {
                        let lost = lost.swap(0, Ordering::AcqRel);
                        if lost > 0 {
                            let _ = out.write_all(format!("{begins}{}\n", was_dropped(lost)).as_bytes());
                        }
                        let next = if none == TryRecvError::Empty { texts.recv().ok() } else { None };
                        let Some(next) = next else { break };
                        next
                    }
                };
                let _ = out.write_all(text.as_bytes());
            }
        };
        thread::Builder::new().name("says".to_owned()).spawn(work)?;
        Ok(Self { queue, dropped, ends })
    }

    fn write(&self, text: &str) {
        if self.queue.try_send(text.to_owned()).is_err() {
            self.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Waits until its queue is written, for so long at most.
    fn finish(self, patience: Duration) {
        drop(self.queue);
        let _ = self.ends.recv_timeout(patience);
    }
}

fn was_dropped(texts: u64) -> String {
    let (s, were) = if texts == 1 { ("", "was") } else { ("s", "were") };
    format!("{:<11} {texts} message{s} {were} not shown: standard error took nothing for too long", "note")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    #[test]
    fn whoever_says_something_waits_for_nobody_and_what_was_dropped_is_counted() {
        const LINES: usize = 20_000;
        let (mut reader, out) = io::pipe().unwrap();
        let writer = Writer::on(out, "> ").unwrap();
        let began = Instant::now();
        for line in 0..LINES {
            writer.write(&format!("line {line} {}\n", "x".repeat(100)));
        }
        assert!(began.elapsed() < Duration::from_secs(30));
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        writer.finish(Duration::from_secs(60));
        let text = reading.join().unwrap().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let (last, shown) = lines.split_last().unwrap();
        assert!(shown.len() >= QUEUE && shown.len() < LINES, "{}", shown.len());
        assert_eq!(*last, format!("> {}", was_dropped((LINES - shown.len()) as u64)));
        let numbers: Vec<usize> = shown.iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted());
    }

    #[test]
    fn what_was_said_is_written_in_order_and_nothing_besides_also_where_the_reader_is_gone() {
        let (mut reader, out) = io::pipe().unwrap();
        let writer = Writer::on(out, "").unwrap();
        ["one\n", "two", " three\n"].iter().for_each(|text| writer.write(text));
        writer.finish(Duration::from_secs(60));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo three\n");

        let (reader, out) = io::pipe().unwrap();
        drop(reader);
        let writer = Writer::on(out, "").unwrap();
        writer.write("nobody");
        let began = Instant::now();
        writer.finish(Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_end_waits_for_a_moment_only() {
        let (_reader, out) = io::pipe().unwrap();
        let writer = Writer::on(out, "").unwrap();
        writer.write(&"x".repeat(1 << 21));
        writer.finish(Duration::from_millis(20));
    }
}
