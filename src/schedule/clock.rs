//! Which clock counts what: a clock time is that of the clock on the wall, which anybody may set; a length of time also counts while
//! the machine is suspended; pauses and silences are counted by a clock that nobody sets and that stands still meanwhile.

use std::fs;
use std::sync::LazyLock;
use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::error::{Error, Result};
use crate::rows::now_utc;

/// A moment by two clocks, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the clock on the wall: since 1970 (UTC).
    pub utc: i64,
    /// By a clock that nobody sets and that goes on while the machine is suspended; what it counts from has no meaning.
    pub elapsed: i64,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self { utc: now_utc(), elapsed: elapsed() }
    }

    /// What the clock on the wall shows, with its zone.
    ///
    /// # Errors
    /// A moment that no calendar has.
    pub fn on_the_wall(self) -> Result<ZonedDateTime> {
        let failed = |e| Error::internal("the time cannot be told").caused_by(e);
        Ok(Timestamp::from_microsecond(self.utc).map_err(failed)?.to_zoned_datetime(TimeZone::system()))
    }
}

/// Where the time comes from.
pub trait Clock {
    /// The clocks that deadlines go by.
    fn moment(&self) -> Moment;

    /// The clock that pauses and silences go by, microseconds: nobody sets it, and it stands still while the machine is suspended. What
    /// it counts from has no meaning.
    fn steady(&self) -> i64;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn moment(&self) -> Moment {
        Moment::now()
    }

    fn steady(&self) -> i64 {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        i64::try_from(BEGAN.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// `CLOCK_BOOTTIME`, which `/proc/uptime` shows in hundredths of a second; elsewhere what the program has run.
fn elapsed() -> i64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let up = fs::read_to_string("/proc/uptime").ok();
    let seconds = up.and_then(|text| text.split_ascii_whitespace().next()?.parse::<f64>().ok());
    seconds.map_or_else(|| BEGAN.elapsed().as_micros() as i64, |seconds| (seconds * 1e6) as i64)
}

/// When everything must have ended, if ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadline {
    /// When the clock on the wall shows this: [`Moment::utc`].
    pub until_utc: Option<i64>,
    /// When so much time has passed: [`Moment::elapsed`].
    pub until_elapsed: Option<i64>,
}

impl Deadline {
    /// Microseconds that are left, none or fewer when it has come; `None` where there is no deadline.
    pub fn left(&self, now: Moment) -> Option<i64> {
        let by_wall = self.until_utc.map(|until| until.saturating_sub(now.utc));
        let by_length = self.until_elapsed.map(|until| until.saturating_sub(now.elapsed));
        by_wall.into_iter().chain(by_length).min()
    }

    /// Whether it has come.
    pub fn has_come(&self, now: Moment) -> bool {
        self.left(now).is_some_and(|left| left <= 0)
    }

    /// What the clock on the wall will show then, if nobody sets it: microseconds since 1970, UTC.
    pub fn utc(&self, now: Moment) -> Option<i64> {
        self.left(now).map(|left| now.utc.saturating_add(left))
    }
}

/// Time as a queue counts it: it begins with what the clock on the wall shows, and then nobody sets it.
#[derive(Clone, Copy)]
pub(super) struct QueueClock<'a> {
    clock: &'a dyn Clock,
    began_utc: i64,
    began: i64,
}

impl<'a> QueueClock<'a> {
    pub(super) fn start(clock: &'a dyn Clock) -> Self {
        Self { clock, began_utc: clock.moment().utc, began: clock.steady() }
    }

    /// Microseconds.
    pub(super) fn now(&self) -> i64 {
        self.began_utc.saturating_add(self.clock.steady().saturating_sub(self.began))
    }

    /// The clocks that deadlines go by.
    pub(super) fn moment(&self) -> Moment {
        self.clock.moment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const HOUR: i64 = 60 * MINUTE;

    fn at(utc: i64, elapsed: i64) -> Moment {
        Moment { utc, elapsed }
    }

    #[test]
    fn what_comes_first_counts() {
        let both = Deadline { until_utc: Some(100 * HOUR), until_elapsed: Some(8 * HOUR) };
        assert_eq!(both.left(at(90 * HOUR, 0)), Some(8 * HOUR));
        assert_eq!(both.left(at(95 * HOUR, 0)), Some(5 * HOUR));
        assert_eq!(both.utc(at(90 * HOUR, 0)), Some(98 * HOUR));
        assert!(both.has_come(at(100 * HOUR, 0)) && both.has_come(at(0, 8 * HOUR)) && !both.has_come(at(0, 0)));
        assert_eq!((Deadline::default().left(at(0, 0)), Deadline::default().has_come(at(i64::MAX, i64::MAX))), (None, false));
    }

    #[test]
    fn a_clock_that_is_set_moves_a_clock_time_and_no_length_of_time() {
        let (until, time) = (
            Deadline { until_utc: Some(7 * HOUR), ..Deadline::default() },
            Deadline { until_elapsed: Some(2 * HOUR), ..Deadline::default() },
        );
        let set_back = at(5 * HOUR - HOUR, HOUR);
        assert_eq!(until.left(set_back), Some(3 * HOUR), "it is 04:00 by the clock on the wall");
        assert_eq!(time.left(set_back), Some(HOUR), "one of the two hours has passed");
    }

    #[test]
    fn both_go_on_while_the_machine_is_suspended() {
        let suspended_for_an_hour = at(6 * HOUR, HOUR);
        assert_eq!(Deadline { until_utc: Some(7 * HOUR), until_elapsed: None }.left(suspended_for_an_hour), Some(HOUR));
        assert_eq!(Deadline { until_utc: None, until_elapsed: Some(2 * HOUR) }.left(suspended_for_an_hour), Some(HOUR));
    }

    #[test]
    fn a_queues_clock_begins_with_the_wall_and_goes_on() {
        let clock = QueueClock::start(&SystemClock);
        let first = clock.now();
        assert!((first - now_utc()).abs() < MINUTE);
        assert!(clock.now() >= first);
        let (one, two) = (Moment::now(), Moment::now());
        assert!(two.elapsed >= one.elapsed);
    }
}
