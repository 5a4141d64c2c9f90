//! The windows over the text, and what is predicted in them.

use super::numbers::Numbers;
use super::page::{Page, WIDTH, many, n};
use crate::corpus::Windows;

/// Columns of the picture of the windows, where there is room for all of it.
const PICTURE: usize = 38;

pub(super) fn window(page: &mut Page, numbers: &Numbers, windows: &Windows) {
    let (length, stride) = (windows.length, windows.stride);
    let moved = match stride.cmp(&length) {
        std::cmp::Ordering::Less => format!("so that neighbours share {}", n(length - stride)),
        std::cmp::Ordering::Equal => "as much as a window is long: windows lie side by side".to_owned(),
        std::cmp::Ordering::Greater => {
            format!("more than a window is long: {} between two are skipped", many((stride - length) as u64, "token"))
        }
    };
    page.entry(
        "window",
        &format!(
            "One training sequence: the model looks at {} at once (the sequence length, or context) and learns to predict, \
             for each, the one that follows. The next window starts {} further on (the stride), {moved}.",
            many(length as u64, "token"),
            n(stride)
        ),
    );
    page.blank();
    for line in picture(windows, PICTURE.saturating_sub(WIDTH - page.width).max(4)) {
        page.line(&line);
    }
    if stride < length && windows.count() > 1 {
        match page.width {
            WIDTH => page.line("█ new   ░ also in the window before   · in no window"),
            _ => page.paragraph("█ new, ░ also in the window before, · in no window"),
        }
    }
    page.blank();
    page.line(&format!(
        "floor(({} − {} − 1) / {}) + 1 = {}",
        n(windows.tokens),
        n(length),
        n(stride),
        many(windows.count(), "window")
    ));
    if windows.unused_at_the_end() > 0 {
        page.paragraph(&format!(
            "{} at the end {} too few for one more.",
            many(windows.unused_at_the_end(), "token"),
            if windows.unused_at_the_end() == 1 { "is" } else { "are" }
        ));
    }
    if numbers.train_tokens.is_none() && windows.count() > 1 {
        // The off-by-one that people meet: a text that is a whole number of strides long loses its last window.
        page.paragraph(&format!("(The 1 is the target of the last token: {} tokens give no window.)", n(length)));
    }
}

/// The first windows and the last, as bars: dark where a token is new, light where the window before had it too.
fn picture(windows: &Windows, columns: usize) -> Vec<String> {
    let count = windows.count();
    let (length, stride) = (windows.length as u64, windows.stride as u64);
    let few = count <= 4;
    let shown: Vec<u64> = if few { (0..count).collect() } else { vec![0, 1, 2, count - 1] };
    // Tokens that the picture is wide: all of them, or three windows with some room after them.
    let span = if few { windows.tokens } else { (2 * stride + length + stride.min(length) / 2).min(windows.tokens) };
    let column = |token: u64, from: u64| ((token - from) as f64 / span as f64 * columns as f64).round() as usize;
    let range = |i: u64| (n(windows.start(i) + 1), n(windows.start(i) + length));
    let left = shown.iter().map(|&i| range(i).0.len()).max().unwrap_or(0);
    let right = shown.iter().map(|&i| range(i).1.len()).max().unwrap_or(0);
    let number = shown.iter().map(|&i| n(i + 1).len()).max().unwrap_or(0).max("window".len());

    let mut lines = vec![format!("{:>number$}   {:>w$}", "window", "looks at tokens", w = (left + right + 1).max(15))];
    for &i in &shown {
        let last = !few && i == count - 1;
        if last {
            lines.push(format!("{:>number$}", "⋮"));
        }
        let from = if last { windows.tokens - span } else { 0 };
        let start = windows.start(i);
        let seen = if i == 0 { start } else { (start - stride + length).clamp(start, start + length) };
        let (a, b, c) = (column(start, from), column(seen, from), column(start + length, from));
        let c = c.max(a + 1).min(columns.max(a + 1));
        let b = b.clamp(a, c);
        // The last one shows what is left of the text after it.
        let tail = if i == count - 1 { column(windows.tokens, from).saturating_sub(c) } else { 0 };
        let bar = format!("{}{}{}{}", " ".repeat(a), "░".repeat(b - a), "█".repeat(c - b), "·".repeat(tail));
        let (first, end) = range(i);
        let tokens = format!("{first:>left$}–{end:<right$}");
        lines.push(format!("{:>number$}   {tokens:>15}   {bar}", n(i + 1)).trim_end().to_owned());
    }
    lines
}

pub(super) fn targets(page: &mut Page, windows: &Windows) {
    let (length, stride) = (windows.length as u64, windows.stride as u64);
    let (most, least) = (windows.most_views(), length / stride);
    let distinct = windows.distinct_targets();
    let how_often = if stride == length {
        "each of them once an epoch".to_owned()
    } else if stride > length {
        format!("each of them once an epoch; {} are skipped", n(windows.tokens - distinct))
    } else if windows.count() == 1 {
        "each of them once an epoch, since there is one window".to_owned()
    } else {
        let inside = if most == least { many(most, "time") } else { format!("{} or {} times", n(least), n(most)) };
        let between = if windows.count() >= most { inside } else { format!("up to {}", many(windows.count(), "time")) };
        format!(
            "{between} an epoch, {} at both ends once",
            if stride == 1 { "the one".to_owned() } else { format!("the {}", n(stride)) }
        )
    };
    page.entry(
        "target",
        &format!(
            "A token to be predicted. {} of {} are one, {how_often}: {} × {} = {} predictions an epoch, {:.2} for each on average.",
            n(distinct),
            many(windows.tokens, "token"),
            n(windows.count()),
            n(length),
            n(windows.targets()),
            windows.views(),
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_first_and_last_windows_and_what_they_share() {
        let lines = picture(&Windows::new(20_000, 512, 256), PICTURE);
        assert_eq!(lines.len(), 6, "a heading, three windows, a gap, the last");
        assert!(lines[1].contains("1–512") && !lines[1].contains('░'));
        assert!(lines[2].contains("257–768") && lines[2].contains("░█"));
        assert!(lines[5].contains("19,457–19,968"), "{}", lines[5]);
        let bars = |line: &str, bar: char| line.chars().filter(|&c| c == bar).count() as i64;
        assert!((bars(&lines[2], '░') - bars(&lines[2], '█')).abs() <= 1, "half is shared");
        let apart = picture(&Windows::new(2_000, 100, 200), PICTURE);
        assert!(apart.iter().all(|line| !line.contains('░')));
        assert_eq!(picture(&Windows::new(101, 100, 50), PICTURE).len(), 2);
    }
}
