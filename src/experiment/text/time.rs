//! Points and lengths of time as a person writes them: `07:00`, `1h30m`.

use std::time::Duration;

/// Longest time that is waited for: a hundred years.
pub(in crate::experiment) const LONGEST_SECONDS: u64 = 36_525 * 86_400;

/// A point of time in a day, `07:00`, as hour and minute.
pub fn clock_time(text: &str) -> Option<(u8, u8)> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute) =
        (two(hour).then(|| hour.parse().ok())??, (two(minute) && minute.len() == 2).then(|| minute.parse().ok())??);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// A length of time: `8h`, `1h30m`, `90m`, `45s`, `2d`; at most a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..end].parse().ok()?;
        let unit = match rest.as_bytes()[end] {
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        if unit >= last {
            return None;
        }
        last = unit;
        seconds = seconds.checked_add(amount.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    (1..=LONGEST_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_times_and_durations() {
        for (text, expected) in [
            ("07:00", Some((7, 0))),
            ("7:05", Some((7, 5))),
            ("23:59", Some((23, 59))),
            ("24:00", None),
            ("7:5", None),
            ("7", None),
            ("07:60", None),
            ("+7:00", None),
            ("07:00:00", None),
        ] {
            assert_eq!(clock_time(text), expected, "{text}");
        }
        for (text, expected) in [
            ("8h", Some(28_800)),
            ("1h30m", Some(5_400)),
            ("90m", Some(5_400)),
            ("45s", Some(45)),
            ("2d1h", Some(176_400)),
            ("30m1h", None),
            ("1h1h", None),
            ("8", None),
            ("h", None),
            ("0s", None),
            ("", None),
            ("8 h", None),
            ("99999999999999999999h", None),
            ("9999999999999999999d", None),
            ("36525d", Some(36_525 * 86_400)),
            ("36526d", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_secs()), expected, "{text}");
        }
    }
}
