//! Standard error as bars are drawn on it.
//!
//! indicatif fills every line up with spaces to the width of the terminal, so that the next one begins where the terminal wraps. To a
//! terminal that is one long line, which it lays out anew when its size changes; then there are fewer lines than are taken away, and
//! lines above the bars go with them. Here a line ends with a line break.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

use crate::cli::stderr;
use crate::terminal;

/// Where the terminal does not say how large it is.
const UNKNOWN: (u16, u16) = (80, 24);

#[derive(Debug, Default)]
pub(super) struct Screen(Mutex<Drawing>);

/// What is drawn until it is shown.
#[derive(Debug, Default)]
struct Drawing {
    text: String,
    /// Whether what is written next fills up the line before it.
    fills: bool,
    /// Whether a line is complete, so that another one needs a line break first.
    is_complete: bool,
}

impl Drawing {
    fn write(&mut self, text: &str) {
        if self.fills {
            // At the very end of a line this would take its last character.
            self.text.push_str(if text.is_empty() { "" } else { "\x1b[K" });
            (self.fills, self.is_complete) = (false, true);
            return;
        }
        if std::mem::take(&mut self.is_complete) {
            self.text.push_str("\r\n");
        }
        self.text.push_str(text);
        self.fills = true;
    }

    fn control(&mut self, sequence: &str) {
        (self.fills, self.is_complete) = (false, false);
        self.text.push_str(sequence);
    }

    /// Moves the cursor so far in this direction.
    fn go(&mut self, n: usize, direction: char) {
        self.control(&if n == 0 { String::new() } else { format!("\x1b[{n}{direction}") });
    }
}

impl Screen {
    fn drawing(&self) -> MutexGuard<'_, Drawing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size() -> (u16, u16) {
    terminal::size_of(io::stderr()).unwrap_or(UNKNOWN)
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.drawing().go(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.drawing().go(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.drawing().go(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.drawing().go(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.drawing().control(&format!("{text}\r\n"));
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        match text {
            "\r" => self.drawing().control(text),
            text => self.drawing().write(text),
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.drawing().control("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut self.drawing().text);
        stderr::write(&text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_a_line_break_and_the_last_one_with_none() {
        let screen = Screen::default();
        // As indicatif does it: a line, then spaces up to the edge.
        for line in ["one", "", "as wide as it is"] {
            screen.write_str(line).unwrap();
            screen.write_str(if line.starts_with("as") { "" } else { "     " }).unwrap();
        }
        assert_eq!(screen.drawing().text, "one\x1b[K\r\n\x1b[K\r\nas wide as it is");
        screen.drawing().text.clear();
        screen.move_cursor_up(2).unwrap();
        screen.clear_line().unwrap();
        screen.move_cursor_up(0).unwrap();
        screen.write_str("two").unwrap();
        screen.write_str("  ").unwrap();
        assert_eq!(screen.drawing().text, "\x1b[2A\r\x1b[2Ktwo\x1b[K", "no line break where the cursor was moved to");
    }
}
