//! Who and when: what locks, attempts and events are stamped with.

use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::rows::now_utc;

/// A time (microseconds since 1970, UTC) as people and other programs read it: RFC 3339, `2026-11-23T07:12:00.25Z`.
pub fn rfc3339(micros: i64) -> String {
    // Beyond the years of the calendar there is only the number.
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

/// Times in JSON as [`rfc3339`] writes them; read back also as the bare number that older programs wrote.
pub(super) mod text {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::runs) fn serialize<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::rfc3339(*micros))
    }

    pub(in crate::runs) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(micros) => Ok(micros),
            Written::Text(text) => text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(D::Error::custom),
        }
    }
}

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The boot of this machine's system, which no other machine and no earlier boot has; `None` where the system does not say.
pub fn boot() -> Option<String> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned());
    BOOT.get_or_init(read).clone()
}

/// Who holds a lock: written into the lock file for people. The lock itself is what counts; a pid in a file is never killed
/// and never asked after, since it may belong to another process by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Name of the machine.
    pub host: String,
    /// Process id on that machine.
    pub pid: u32,
    /// Microseconds since 1970 (UTC).
    pub started_utc: i64,
}

impl Holder {
    /// This process, now.
    pub fn this_process() -> Self {
        Self { host: host(), pid: std::process::id(), started_utc: now_utc() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        match Timestamp::from_microsecond(self.started_utc) {
            Ok(time) => write!(f, " since {}", time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M")),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_names_process_host_and_time() {
        let holder = Holder { host: "rack".to_owned(), pid: 17, started_utc: 1_700_000_000_000_000 };
        let text = holder.to_string();
        assert!(text.starts_with("process 17 on rack since 2023-11-1"), "{text}");
    }

    #[test]
    fn a_time_is_written_as_text_in_utc() {
        assert_eq!(rfc3339(1_700_000_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(1_700_000_000_250_000), "2023-11-14T22:13:20.25Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn this_process_is_here_and_now() {
        let holder = Holder::this_process();
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.host.is_empty());
        assert!(holder.started_utc > 1_700_000_000_000_000);
    }
}
