//! When everything must have ended.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use jiff::{ToSpan, ZonedDateTime};

use super::signals::Asked;
use crate::error::{Error, Kind, Result};
use crate::experiment::{clock_time, duration};
use crate::schedule::slurm::DEADLINE;
use crate::schedule::{Deadline, Moment};

/// Between two looks whether the deadline has come.
const LOOK: Duration = Duration::from_millis(100);
/// What a thread has that does the work of the first one.
const STACK: usize = 8 << 20;

/// The next time after `now` that the clock shows `until`, or `time` after it, whichever comes first; or before that what a cluster's job
/// says of the run that it is ([`DEADLINE`]), which it began earlier. `began` is the same moment as `now`.
pub(super) fn deadline(until: Option<&str>, time: Option<&str>, now: &ZonedDateTime, began: Moment) -> Result<Deadline> {
    next(until, time, std::env::var(DEADLINE).ok().as_deref(), now, began)
}

fn next(until: Option<&str>, time: Option<&str>, fixed: Option<&str>, now: &ZonedDateTime, began: Moment) -> Result<Deadline> {
    let mut deadline = Deadline { until_utc: fixed.map(earliest).transpose()?.flatten(), until_elapsed: None };
    if let Some(text) = until {
        let (hour, minute) =
            clock_time(text).ok_or_else(|| Error::usage(format!("`{text}` is not a clock time")).help("write it as `07:00`"))?;
        let failed = |e| Error::internal("the deadline cannot be computed").caused_by(e);
        let today = now.with().time(jiff::civil::time(hour as i8, minute as i8, 0, 0)).build().map_err(failed)?;
        let next = if today > *now { today } else { today.checked_add(1.day()).map_err(failed)? };
        let next = next.timestamp().as_microsecond();
        deadline.until_utc = Some(deadline.until_utc.map_or(next, |fixed| fixed.min(next)));
    }
    if let Some(text) = time {
        let length = duration(text)
            .ok_or_else(|| Error::usage(format!("`{text}` is not a duration")).help("write it as `8h` or `1h30m`"))?;
        deadline.until_elapsed = Some(began.elapsed.saturating_add(length.as_micros() as i64));
    }
    Ok(deadline)
}

/// The earliest of these moments, seconds since 1970: in microseconds.
fn earliest(moments: &str) -> Result<Option<i64>> {
    let moment = |text: &str| {
        let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000));
        seconds.ok_or_else(|| Error::usage(format!("`{text}` in `{DEADLINE}` is no number of seconds since 1970")))
    };
    let moments: Vec<i64> = moments.split_whitespace().map(moment).collect::<Result<_>>()?;
    Ok(moments.into_iter().min())
}

/// What `work` comes to, which has no part that looks at the time: it is done on a thread of its own. What it says on its way goes to
/// `hear`.
///
/// # Errors
/// Those of the work; of kind [`Kind::Deadline`] where that came first, and that of a signal where one asked to stop. What was begun then
/// is given up with this process, and files are written whole or not at all.
pub(super) fn before<T: Send + 'static, S: Send + 'static>(
    deadline: Deadline,
    asked: &Asked,
    work: impl FnOnce(&dyn Fn(S)) -> Result<T> + Send + 'static,
    hear: &dyn Fn(S),
) -> Result<T> {
    enum Message<S, T> {
        OnTheWay(S),
        Done(Result<T>),
    }
    let failed = |e| Error::internal("no thread can be started").caused_by(e);
    let (sender, receiver) = channel();
    // Where the deadline came first nobody hears the thread any more.
    let on_thread = move || {
        let result = work(&|on_the_way| drop(sender.send(Message::OnTheWay(on_the_way))));
        drop(sender.send(Message::Done(result)));
    };
    thread::Builder::new().name("prepares".to_owned()).stack_size(STACK).spawn(on_thread).map_err(failed)?;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(Message::Done(result)) => return result,
            Ok(Message::OnTheWay(on_the_way)) => hear(on_the_way),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the preparation of a text panicked")),
        }
        if let Some(error) = asked.given_up("the text was prepared: nothing was started") {
            return Err(error.help("the same command goes on with what is prepared"));
        }
        if deadline.has_come(Moment::now()) {
            let error = Error::new(Kind::Deadline, "the deadline has come while the text was prepared: nothing was started");
            return Err(error.help("the same command with a later deadline goes on with what is prepared"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use jiff::tz::TimeZone;

    use super::*;

    /// Seconds from 14:51:45 until the deadline.
    fn seconds(until: Option<&str>, time: Option<&str>) -> Result<Option<i64>> {
        seconds_of(until, time, None)
    }

    fn seconds_of(until: Option<&str>, time: Option<&str>, fixed: Option<&str>) -> Result<Option<i64>> {
        let now = jiff::civil::date(2026, 11, 23).at(14, 51, 45, 0).to_zoned_datetime(TimeZone::UTC).unwrap();
        let began = Moment { utc: now.timestamp().as_microsecond(), elapsed: 77 };
        Ok(next(until, time, fixed, &now, began)?.left(began).map(|left| left / 1_000_000))
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

    #[test]
    fn a_run_that_is_started_again_keeps_the_deadline_of_its_first_start() {
        const NOW: i64 = 1_795_445_505;
        for (until, time, fixed, at) in [
            (None, None, "", None),
            (None, None, &*format!("{}", NOW + 60), Some(60)),
            (None, Some("1h"), &format!("{}\n", NOW + 60), Some(60)),
            (Some("14:52"), Some("1h"), &format!("{} {}", NOW + 90, NOW + 60), Some(15)),
            // It came while this waited in the queue.
            (Some("14:51"), Some("1h"), &format!("{} {}", NOW - 45, NOW + 600), Some(-45)),
        ] {
            assert_eq!(seconds_of(until, time, Some(fixed)).unwrap(), at, "{until:?} {time:?} {fixed}");
        }
        assert!(seconds_of(None, None, Some("soon")).is_err());
    }

    #[test]
    fn work_is_heard_and_given_up_where_the_deadline_comes_first() {
        let heard = RefCell::new(Vec::new());
        let hear = |n: u32| heard.borrow_mut().push(n);
        let work = |say: &dyn Fn(u32)| {
            (1..=3).for_each(say);
            Ok("done")
        };
        let nobody = Asked::default();
        assert_eq!(before(Deadline::default(), &nobody, work, &hear).unwrap(), "done");
        assert_eq!(*heard.borrow(), [1, 2, 3]);
        let past = Deadline { until_utc: Some(0), until_elapsed: None };
        let slow = |_: &dyn Fn(u32)| {
            thread::sleep(Duration::from_secs(60));
            Ok(())
        };
        assert_eq!(before(past, &nobody, slow, &hear).unwrap_err().kind(), Kind::Deadline);
        let fails = |_: &dyn Fn(u32)| Err::<(), _>(Error::data("no text"));
        assert_eq!(before(Deadline::default(), &nobody, fails, &hear).unwrap_err().kind(), Kind::Data);
    }
}
