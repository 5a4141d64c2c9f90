//! Numbers, times and lists as people read them: in messages, on the terminal, in reports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A whole number with commas: `12,345`.
pub fn thousands(number: impl Display) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let mut grouped = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The values of a column of a table for people: numbers of many digits with as many as tell them apart, and at least three. Others
/// stay as they are.
pub fn told_apart<'a>(values: impl Iterator<Item = &'a str>) -> HashMap<&'a str, String> {
    const LEAST: usize = 3;
    let numbers: BTreeMap<&str, f64> =
        values.filter_map(|value| Some((value, value.parse().ok().filter(|n: &f64| n.is_finite())?))).collect();
    let rounded = |number: f64, digits: usize| format!("{number:.*e}", digits - 1);
    let different = |digits| numbers.values().map(|&number| rounded(number, digits)).collect::<BTreeSet<_>>().len();
    // With 17 digits each is itself.
    let all = different(17);
    let digits = (LEAST..17).find(|&digits| different(digits) == all).unwrap_or(17);
    let shortened = numbers.iter().map(|(&value, &number)| {
        let near: f64 = rounded(number, digits).parse().unwrap_or(number);
        let shown = if value.contains('e') { format!("{near:e}") } else { near.to_string() };
        (value, if near.to_bits() != number.to_bits() && shown.len() < value.len() { shown } else { value.to_owned() })
    });
    shortened.collect()
}

/// `no`, `one`, `two`, `three`; digits beyond ten.
pub fn small_number(n: usize) -> String {
    const WORDS: [&str; 11] = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    WORDS.get(n).map_or_else(|| thousands(n), |&word| word.to_owned())
}

/// Three figures and a letter: 804 k, 10.7 M, 1.23 G.
pub fn short(n: f64) -> String {
    let (value, unit) = match n {
        n if n >= 1e15 => (n / 1e15, " P"),
        n if n >= 1e12 => (n / 1e12, " T"),
        n if n >= 1e9 => (n / 1e9, " G"),
        n if n >= 1e6 => (n / 1e6, " M"),
        n if n >= 1e4 => (n / 1e3, " k"),
        n => return thousands(n.round() as u64),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// 804 kB, 10.7 MB, 512 B.
pub fn bytes(n: u64) -> String {
    let text = short(n as f64);
    if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text} B") } else { format!("{text}B") }
}

/// `0.4 s`, `41 s`, `3 min 20 s`, `2 h 05 min`, `1 day 3 h`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{:.1} s", seconds.max(0.0)),
        0..120 => format!("{whole} s"),
        120..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        _ => {
            let days = whole / 86_400;
            format!("{days} day{} {} h", plural(days), whole / 3600 % 24)
        }
    }
}

/// `s` but for one.
pub fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// `1 trial`, `10,000 trials`.
pub fn counted(number: impl Display, what: &str) -> String {
    let number = thousands(number);
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `a`, `a and b`, `a, b and c`.
pub fn listed(list: &[impl AsRef<str>]) -> String {
    let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    match list.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// With its first letter in upper case, as a sentence begins.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The first of several labels: `width 8; width 16; and 3 more`.
pub fn first_few(labels: &[impl AsRef<str>]) -> String {
    const NAMED: usize = 8;
    let named: Vec<&str> = labels.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = labels.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", named.join("; "))
}

/// A moment as the clock on the wall shows it: `02:14`, beyond a day `Wed 02:14`, beyond six `2026-11-23`.
pub fn clock(utc: i64, now: i64, zone: &TimeZone) -> String {
    const DAY: i64 = 86_400_000_000;
    let pattern = match utc.saturating_sub(now) {
        ..DAY => "%H:%M",
        DAY..518_400_000_000 => "%a %H:%M",
        _ => "%Y-%m-%d",
    };
    match Timestamp::from_microsecond(utc) {
        Ok(time) => time.to_zoned_datetime(zone.clone()).strftime(pattern).to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// A worker's line with what could move a terminal's cursor taken out.
pub fn harmless(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_of_a_column_have_as_many_digits_as_tell_them_apart() {
        let shown = |values: &[&str]| {
            let apart = told_apart(values.iter().copied());
            values.iter().map(|value| apart.get(value).cloned().unwrap_or_else(|| (*value).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&["0.0007071067811865476", "0.001", "off"]), ["0.000707", "0.001", "off"]);
        assert_eq!(shown(&["0.70710678", "0.70720001"]), ["0.7071", "0.7072"]);
        assert_eq!(shown(&["7.071067811865476e-5", "1e-4"]), ["7.07e-5", "1e-4"]);
        assert_eq!(shown(&["1234567", "1.0", "0.1"]), ["1234567", "1.0", "0.1"]);
    }

    #[test]
    fn thousands_have_commas() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
            (-1_000, "-1,000"),
            (-999, "-999"),
        ] {
            assert_eq!(thousands(n), text);
        }
    }

    #[test]
    fn numbers_have_three_figures() {
        for (n, text) in
            [(0.0, "0"), (999.0, "999"), (9_999.0, "9,999"), (804_096.0, "804 k"), (10_745_088.0, "10.7 M"), (7.9e12, "7.90 T")]
        {
            assert_eq!(short(n), text);
        }
        assert_eq!([bytes(512), bytes(1_500_000)], ["512 B", "1.50 MB"]);
    }

    #[test]
    fn durations_are_as_coarse_as_they_are_long() {
        for (seconds, text) in [
            (-3.0, "0.0 s"),
            (0.04, "0.0 s"),
            (0.42, "0.4 s"),
            (9.96, "10 s"),
            (41.4, "41 s"),
            (119.4, "119 s"),
            (119.6, "2 min 00 s"),
            (200.0, "3 min 20 s"),
            (3599.0, "59 min 59 s"),
            (7500.0, "2 h 05 min"),
            (97_200.0, "1 day 3 h"),
            (180_000.0, "2 days 2 h"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_moment_of_tonight_is_a_time_and_a_later_one_has_its_day() {
        const HOUR: i64 = 3_600_000_000;
        // 2026-11-23 20:00 UTC, a Monday.
        let now = 1_795_464_000_000_000;
        for (ahead, text) in [(0, "20:00"), (6 * HOUR, "02:00"), (30 * HOUR, "Wed 02:00"), (200 * HOUR, "2026-12-02")] {
            assert_eq!(clock(now + ahead, now, &TimeZone::UTC), text);
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\tb\u{1b}[2Jc"), "a\tb\u{fffd}[2Jc");
    }

    #[test]
    fn lists_and_counts_are_written_as_people_do() {
        for (list, text) in [(&[][..], ""), (&["a"], "a"), (&["a", "b"], "a and b"), (&["a", "b", "c"], "a, b and c")] {
            assert_eq!(listed(list), text);
        }
        assert_eq!(
            [counted(1, "trial"), counted(0, "trial"), counted(10_000u64, "trial")],
            ["1 trial", "0 trials", "10,000 trials"]
        );
        assert_eq!([small_number(3), small_number(1_200)], ["three", "1,200"]);
    }
}
