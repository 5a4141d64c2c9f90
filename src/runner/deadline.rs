//! When everything must have ended.

use jiff::{ToSpan, ZonedDateTime};

use crate::error::{Error, Result};
use crate::experiment::{clock_time, duration};

/// The next time after `now` that the clock shows `until`, or `time` after it, whichever comes first: microseconds since 1970, UTC.
pub(super) fn deadline(until: Option<&str>, time: Option<&str>, now: &ZonedDateTime) -> Result<Option<i64>> {
    let mut ends = Vec::new();
    if let Some(text) = until {
        let (hour, minute) =
            clock_time(text).ok_or_else(|| Error::usage(format!("`{text}` is not a clock time")).help("write it as `07:00`"))?;
        let failed = |e| Error::internal("the deadline cannot be computed").caused_by(e);
        let today = now.with().time(jiff::civil::time(hour as i8, minute as i8, 0, 0)).build().map_err(failed)?;
        let next = if today > *now { today } else { today.checked_add(1.day()).map_err(failed)? };
        ends.push(next.timestamp().as_microsecond());
    }
    if let Some(text) = time {
        let length = duration(text)
            .ok_or_else(|| Error::usage(format!("`{text}` is not a duration")).help("write it as `8h` or `1h30m`"))?;
        ends.push(now.timestamp().as_microsecond().saturating_add(length.as_micros() as i64));
    }
    Ok(ends.into_iter().min())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// Seconds from 14:51:45 until the deadline.
    fn seconds(until: Option<&str>, time: Option<&str>) -> Result<Option<i64>> {
        let now = jiff::civil::date(2026, 11, 23).at(14, 51, 45, 0).to_zoned_datetime(TimeZone::UTC).unwrap();
        Ok(deadline(until, time, &now)?.map(|utc| (utc - now.timestamp().as_microsecond()) / 1_000_000))
    }

    #[test]
    fn a_clock_time_is_the_next_one_and_what_comes_first_counts() {
        const DAY: i64 = 86_400;
        for (until, time, at) in [
            (None, None, None),
            (Some("14:52"), None, Some(15)),
            (Some("14:51"), None, Some(DAY - 45)),
            (None, Some("1h30m"), Some(5400)),
            (Some("14:52"), Some("1h"), Some(15)),
            (Some("07:00"), Some("8h"), Some(8 * 3600)),
        ] {
            assert_eq!(seconds(until, time).unwrap(), at, "{until:?} {time:?}");
        }
        assert!(seconds(Some("25:00"), None).is_err() && seconds(None, Some("soon")).is_err());
    }
}
