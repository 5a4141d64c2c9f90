//! The last lines that a worker said.

use std::collections::VecDeque;
use std::io::Read;

/// How many lines are kept.
const LINES: usize = 20;
/// How many bytes of a line are kept.
const BYTES: usize = 2_000;

/// The last lines of a stream, in bounded memory whatever comes.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    /// The line that has no end yet.
    open: Vec<u8>,
}

impl Tail {
    /// Takes what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for (i, piece) in bytes.split(|b| *b == b'\n').enumerate() {
            if i > 0 {
                self.close();
            }
            let room = BYTES - self.open.len();
            self.open.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    fn close(&mut self) {
        let line = String::from_utf8_lossy(&self.open);
        // Of a line that was drawn over (`\r`), what stood there last.
        let line = line.trim_end().rsplit('\r').next().unwrap_or_default().to_owned();
        self.open.clear();
        if !line.is_empty() {
            self.lines.push_back(line);
        }
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    /// The last lines, oldest first, the unfinished one included; empty lines are passed over.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.close();
        self.lines.drain(..).collect()
    }
}

/// Reads a stream to its end, each piece into `take`.
pub(super) fn read_to_end(mut stream: impl Read, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0u8; 8192];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => take(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            // A broken pipe is an end too: what was said so far is what there is.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&[u8]]) -> Vec<String> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.push(piece);
        }
        tail.take()
    }

    #[test]
    fn lines_are_put_together_whatever_the_pieces() {
        for (pieces, expected) in [
            (&[b"a\nb\n" as &[u8]] as &[&[u8]], &["a", "b"] as &[&str]),
            (&[b"a", b"b\nc"], &["ab", "c"]),
            (&[b"a\n", b"\n", b"\r\n", b"b"], &["a", "b"]),
            (&[b"10 %\r20 %\r30 %\n"], &["30 %"]),
            (&[b"\xffx\n"], &["\u{fffd}x"]),
            (&[], &[]),
        ] {
            assert_eq!(tail(pieces), expected);
        }
    }

    #[test]
    fn only_the_last_twenty_lines_stay() {
        let text: String = (0..1000).map(|i| format!("line {i}\n")).collect();
        let lines = tail(&[text.as_bytes()]);
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 980", "line 999"));
    }

    #[test]
    fn a_line_without_an_end_needs_no_memory_without_an_end() {
        let piece = vec![b'x'; 100_000];
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.push(&piece);
        }
        assert!(tail.open.capacity() < 100_000);
        assert_eq!(tail.take()[0].len(), BYTES);
    }

    #[test]
    fn a_stream_is_read_to_its_end() {
        let text = "a\n".repeat(10_000);
        let mut bytes = 0;
        read_to_end(text.as_bytes(), |piece| bytes += piece.len());
        assert_eq!(bytes, text.len());
    }
}
