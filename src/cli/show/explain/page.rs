//! The page that a walk is written on.

use super::numbers::Numbers;
use crate::experiment::settings::BatchSize;
use crate::words::thousands;

/// Columns at most, and at least.
pub(crate) const WIDTH: usize = 79;
const NARROWEST: usize = 40;
pub(super) const INDENT: usize = 12;

/// The page as it grows: words on the left, what they mean here beside them.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) width: usize,
}

impl Page {
    /// A page of so many columns; see [`WIDTH`].
    pub(super) fn new(width: usize) -> Self {
        Self { text: String::new(), width: width.clamp(NARROWEST, WIDTH) }
    }

    pub(super) fn title(&mut self, numbers: &Numbers) {
        let batch = match numbers.batch_size {
            BatchSize::Windows(size) => format!("batches of {}", n(size)),
            BatchSize::Full => "full batches".to_owned(),
        };
        let title = format!(
            "{}, sequence length {}, stride {}, {batch}",
            many(numbers.train_tokens.unwrap_or(numbers.text_tokens), "token"),
            n(numbers.sequence_length),
            n(numbers.stride)
        );
        let lines = wrap(&title, self.width);
        let longest = lines.iter().map(|line| width(line)).max().unwrap_or(0);
        self.text.push_str(&format!("{}\n{}\n", lines.join("\n"), "─".repeat(longest)));
    }

    pub(super) fn entry(&mut self, word: &str, told: &str) {
        let mut label = word;
        for line in wrap(told, self.width - INDENT) {
            self.text.push_str(&format!("{label:<INDENT$}{line}\n"));
            label = "";
        }
    }

    pub(super) fn paragraph(&mut self, told: &str) {
        self.entry("", told);
    }

    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(&format!("{}{line}\n", " ".repeat(INDENT)));
    }

    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }
}

fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if used > 0 && used + 1 + width(word) > columns {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += width(word);
        }
    }
    lines
}

pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// A whole number with a comma between thousands.
pub(super) fn n<T: TryInto<u64>>(number: T) -> String {
    number.try_into().map_or_else(|_| "?".to_owned(), thousands)
}

pub(super) fn many(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", n(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(n(number as u64), expected);
        }
    }
}
