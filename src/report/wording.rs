//! How a report writes figures, differences, names of settings, and text of others.

use crate::plan::label_name;
use crate::words::thousands;

/// A perplexity with the digits that mean something: 5.812, 25.31, 312.4, 12,345.
pub(super) fn perplexity(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.3}"),
        v if v < 100.0 => format!("{v:.2}"),
        v if v < 1000.0 => format!("{v:.1}"),
        v if v < 1e9 => thousands(v.round() as i64),
        v => format!("{v:.2e}"),
    }
}

/// A figure of a column, with as many decimals as the smallest figure there: so that the decimal points stand in line.
pub(super) fn beside(value: f64, smallest: f64) -> String {
    if value < 1000.0 { spread(smallest, value) } else { perplexity(value) }
}

/// A spread with as many decimals as the value it belongs to.
pub(super) fn spread(value: f64, spread: f64) -> String {
    match value {
        v if v < 10.0 => format!("{spread:.3}"),
        v if v < 100.0 => format!("{spread:.2}"),
        v if v < 1000.0 => format!("{spread:.1}"),
        _ => perplexity(spread),
    }
}

/// Decimals that are added at most where a number would be shown as nothing: what is smaller is rounding of the arithmetic.
const MORE_DECIMALS: usize = 6;

/// So many decimals, and more where a number that is not zero would be shown as 0.00.
pub(super) fn decimals(value: f64, least: usize) -> usize {
    let shows =
        |decimals: &usize| format!("{:.decimals$}", value.abs(), decimals = *decimals).contains(|c| ('1'..='9').contains(&c));
    (least..=least + MORE_DECIMALS).find(shows).unwrap_or(least)
}

/// A number with its sign, and none for zero: `+3.2 %`, `-0.004 %`, `0.00 %`, `+14,679.2 %`.
pub(super) fn signed(value: f64, least: usize, unit: &str) -> String {
    let decimals = decimals(value, least);
    let text = format!("{:.decimals$}", value.abs());
    let sign = match text.contains(|c| ('1'..='9').contains(&c)) {
        false => "",
        true if value < 0.0 => "-",
        true => "+",
    };
    let (whole, part) = text.split_once('.').map_or((text.as_str(), String::new()), |(whole, part)| (whole, format!(".{part}")));
    format!("{sign}{}{part}{unit}", thousands(whole))
}

/// A difference: of perplexity by its share (0.032 is `+3.2 %`), or of bits per byte as it is (`+0.0123`).
pub(super) fn difference(value: f64, by_bytes: bool) -> String {
    if by_bytes { signed(value, 4, "") } else { signed(100.0 * value, if value.abs() < 0.01 { 2 } else { 1 }, " %") }
}

/// As [`difference`], of two figures of which one may be the other under another name.
pub(super) fn difference_or_same(value: f64, by_bytes: bool) -> String {
    if value == 0.0 { SAME.to_owned() } else { difference(value, by_bytes) }
}

/// What stands for the difference of what is the same.
pub(super) const SAME: &str = "the same";

/// `2026-11-23 07:12 UTC`.
pub(super) fn time(microseconds: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(microseconds);
    time.map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// 134 MB.
pub(super) fn bytes(bytes: i64) -> String {
    match bytes as f64 {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// `train.sequence_length` as `sequence length`.
pub(super) fn key(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace('_', " ")
}

/// The last names of these keys, the whole key where two have the same last name.
pub(super) fn keys(keys: &[String]) -> Vec<String> {
    apart(keys, key)
}

/// These keys by a short name each, the whole key where two would have the same.
pub(super) fn apart(keys: &[String], name: impl Fn(&str) -> String) -> Vec<String> {
    let short: Vec<String> = keys.iter().map(|k| name(k)).collect();
    let twice = |name: &String| short.iter().filter(|other| *other == name).count() > 1;
    short.iter().zip(keys).map(|(name, full)| if twice(name) { full.clone() } else { name.clone() }).collect()
}

/// `length 128 · stride 64`, as a run's lines have it; whole keys where two would be called the same.
pub(super) fn named(keys: &[String], values: &[String]) -> String {
    let pairs = apart(keys, label_name).into_iter().zip(values).map(|(key, value)| format!("{key} {}", plain(value)));
    pairs.collect::<Vec<_>>().join(" · ")
}

/// Configurations that are written out by their numbers.
const NUMBERS: usize = 8;

/// `#1`, `#1 and #3`, `#1, #2, #3 and 9 more`.
pub(super) fn numbers(numbers: &[i64]) -> String {
    let shown: Vec<String> = numbers.iter().take(NUMBERS).map(|number| format!("#{number}")).collect();
    match (numbers.len().saturating_sub(NUMBERS), shown.as_slice()) {
        (0, [first @ .., last]) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        (0, shown) => shown.join(", "),
        (more, shown) => format!("{} and {} more", shown.join(", "), thousands(more as i64)),
    }
}

/// Text of others without control characters, which could move a terminal's cursor; line breaks become spaces.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text of a model as [`plain`], but with its lines and tabs.
pub(super) fn lines(text: &str) -> String {
    let line = |c: char| c == '\n' || c == '\t';
    text.replace("\r\n", "\n").chars().map(|c| if c.is_control() && !line(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexities_have_the_digits_that_mean_something() {
        for (value, expected) in
            [(5.8123, "5.812"), (25.314, "25.31"), (312.44, "312.4"), (12_345.4, "12,345"), (1e12, "1.00e12"), (1.0, "1.000")]
        {
            assert_eq!(perplexity(value), expected);
        }
        assert_eq!([beside(10.612, 9.98), beside(10.612, 10.2), beside(12_345.4, 9.98)], ["10.612", "10.61", "12,345"]);
        assert_eq!(spread(5.8, 0.0412), "0.041");
        assert_eq!(spread(25.3, 0.0412), "0.04");
        assert_eq!(spread(5000.0, 12.345), "12.35");
    }

    #[test]
    fn differences_have_a_sign_unless_they_are_nothing() {
        for (value, decimals, expected) in [(3.24, 1, "+3.2 %"), (-3.24, 1, "-3.2 %"), (0.0, 1, "0.0 %"), (-0.0, 2, "0.00 %")] {
            assert_eq!(signed(value, decimals, " %"), expected);
        }
        assert_eq!(signed(0.01234, 4, ""), "+0.0123");
        assert_eq!([signed(14_679.24, 1, " %"), signed(-1_000.0, 0, "")], ["+14,679.2 %", "-1,000"]);
        assert_eq!(
            [difference(0.0324, false), difference(-0.00123, false), difference(0.01, true)],
            ["+3.2 %", "-0.12 %", "+0.0100"]
        );
    }

    #[test]
    fn a_difference_that_would_round_to_nothing_is_shown_with_more_digits() {
        for (value, expected) in
            [(0.004, "+0.004 %"), (-0.004, "-0.004 %"), (0.0051, "+0.01 %"), (0.000_032, "+0.00003 %"), (3e-12, "0.00 %")]
        {
            assert_eq!(signed(value, 2, " %"), expected);
        }
        assert_eq!([difference_or_same(0.00004, false), difference_or_same(0.0, false)], ["+0.004 %", "the same"]);
        assert_eq!(difference_or_same(-0.00002, true), "-0.00002");
    }

    #[test]
    fn sizes_are_short() {
        for (size, expected) in [(134_000_000, "134 MB"), (2_500_000_000, "2.5 GB"), (12_000, "12 kB")] {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(time(1_700_000_000_000_000), "2023-11-14 22:13 UTC");
    }

    #[test]
    fn keys_are_short_unless_that_is_ambiguous() {
        let list = |keys: &[&str]| keys.iter().map(|&k| k.to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&list(&["train.sequence_length", "model.width"])), ["sequence length", "width"]);
        assert_eq!(keys(&list(&["tokenizer.kind", "other.kind"])), ["tokenizer.kind", "other.kind"]);
    }

    #[test]
    fn control_characters_of_others_are_not_printed() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(lines("a\u{1b}[2Jb\r\nc\td\re"), "a [2Jb\nc\td e");
        assert_eq!([numbers(&[]), numbers(&[4]), numbers(&[1, 3])], ["", "#4", "#1 and #3"]);
        assert_eq!(numbers(&(1..=10).collect::<Vec<_>>()), "#1, #2, #3, #4, #5, #6, #7, #8 and 2 more");
    }
}
