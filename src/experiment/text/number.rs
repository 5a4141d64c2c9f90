//! Numbers as a person writes them: `1e-4`, `20_000_000`, `007`.

use crate::words::thousands;

/// Largest whole number a setting takes: tables hold signed 64-bit numbers.
pub(in crate::experiment) const LARGEST: u64 = i64::MAX as u64;

/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// A number as a person writes it; `None` where it is none. Never infinite, never NaN.
pub(in crate::experiment) fn number(text: &str) -> Option<f64> {
    let digits = plain_digits(text)?;
    digits.parse::<f64>().ok().filter(|n| n.is_finite())
}

/// A whole number as a person writes it: `20_000_000`, `007`, `2e6`, but not `1.5`. At most [`LARGEST`].
pub(in crate::experiment) fn whole_number(text: &str) -> Option<u64> {
    let digits = plain_digits(text)?;
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    let value = match digits.parse::<u64>() {
        Ok(value) => value,
        Err(_) => whole(digits.parse().ok()?)?,
    };
    (value <= LARGEST).then_some(value)
}

/// A number that is whole and not negative, as one; beyond 2^53 numbers are no longer exact.
pub(in crate::experiment) fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

/// A whole number within bounds; else what it should be, to stand after "should be".
pub(in crate::experiment) fn whole_within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let found = whole_number(text).filter(|n| (least..=most).contains(n));
    found.ok_or_else(|| whole_words(least, most, exceeds(text, most)))
}

/// What such a number is called. Its upper bound is told only where it matters.
pub(super) fn whole_words(least: u64, most: u64, too_large: bool) -> String {
    if too_large { format!("a whole number up to {}", thousands(most)) } else { format!("a whole number from {least} up") }
}

/// Whether a text is a number above a bound, also one that no type of number holds.
fn exceeds(text: &str, most: u64) -> bool {
    plain_digits(text).and_then(|digits| digits.parse::<f64>().ok()).is_some_and(|number| number > most as f64)
        || plain_digits(text).and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|number| number > most)
}

/// A value as a message shows it: on one line, and not endlessly long.
pub(in crate::experiment) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN));
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
            shown.push('…');
            break;
        }
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// How a number is written here that somebody wrote as `200k`, `1.5M`, `10%` or `200,000`.
pub(super) fn rewritten(text: &str) -> Option<String> {
    let grouped = text.split(',').skip(1).all(|group| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit()));
    if text.contains(',') && grouped {
        let plain = text.replace(',', "_");
        return number(&plain).map(|_| format!("write `{plain}`"));
    }
    let last = text.chars().last()?;
    let digits = text[..text.len() - last.len_utf8()].trim_end();
    let value = number(digits)?;
    let exponent = match last.to_ascii_lowercase() {
        '%' => return Some(format!("write `{}`", write_number(value / 100.0))),
        'k' => 3,
        'm' => 6,
        'g' | 'b' => 9,
        't' => 12,
        _ => return None,
    };
    (!digits.contains(['e', 'E'])).then(|| format!("write `{digits}e{exponent}`"))
}

/// Takes out `_` between digits, and refuses what Rust would read and a person would not (`inf`, `nan`, `1_`).
fn plain_digits(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let mut plain = String::with_capacity(text.len());
    let mut has_digit = false;
    for (i, &byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                has_digit = true;
                plain.push(char::from(byte));
            }
            b'_' if digit(i.checked_sub(1)) && digit(Some(i + 1)) => {}
            b'.' | b'e' | b'E' | b'+' | b'-' => plain.push(char::from(byte)),
            _ => return None,
        }
    }
    has_digit.then_some(plain)
}

/// A number as a person writes it, the shortest text that reads back as the same.
pub(in crate::experiment) fn write_number(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if (1e-4..1e15).contains(&size) => number.to_string(),
        _ => format!("{number:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_a_person_means_them() {
        for (text, expected) in [
            ("1e-4", Some(1e-4)),
            ("20_000_000", Some(2e7)),
            ("007", Some(7.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-1", Some(-1.0)),
            ("+1", Some(1.0)),
            ("1E3", Some(1e3)),
            ("1e999", None),
            ("inf", None),
            ("nan", None),
            ("1_", None),
            ("_1", None),
            ("1__0", None),
            ("0x10", None),
            ("1.2.3", None),
            ("e", None),
            ("", None),
            ("1 000", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers_refuse_a_fraction_and_take_an_exponent() {
        for (text, expected) in [
            ("64", Some(64)),
            ("007", Some(7)),
            ("2e6", Some(2_000_000)),
            ("1.0", Some(1)),
            ("1.5", None),
            ("1.5e1", Some(15)),
            ("-1", None),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("1e30", None),
            ("off", None),
        ] {
            assert_eq!(whole_number(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_so_that_they_read_back() {
        for (value, text) in
            [(64.0, "64"), (0.1, "0.1"), (1e-8, "1e-8"), (0.001, "0.001"), (2e7, "20000000"), (1e20, "1e20"), (0.0, "0")]
        {
            assert_eq!(write_number(value), text);
            assert_eq!(number(text), Some(value));
        }
    }

    #[test]
    fn a_value_is_shown_on_one_line_and_not_endlessly() {
        assert_eq!(shown("5\n\u{1b}é"), "5\\n\\u{1b}é");
        assert_eq!(shown(&"x".repeat(1_000)).chars().count(), 61);
    }

    #[test]
    fn numbers_of_other_ways_of_writing_are_written_anew() {
        for (text, expected) in [
            ("200k", Some("write `200e3`")),
            ("1.5M", Some("write `1.5e6`")),
            ("2 B", Some("write `2e9`")),
            ("10%", Some("write `0.1`")),
            ("200,000", Some("write `200_000`")),
            ("1,5", None),
            ("many", None),
            ("1e3k", None),
            ("", None),
        ] {
            assert_eq!(rewritten(text).as_deref(), expected, "{text}");
        }
    }
}
