//! Who hears what happens while a queue is worked off: the person who watches, and the log.

use std::collections::HashMap;

use super::notice::{Listener, Notice};
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::{EventLog, ExperimentFolder};
use crate::schedule::{Event, Observer};

/// Shows events to a listener, from the beginning of a queue to its end.
pub(super) struct ToListener<'a>(&'a dyn Listener);

impl<'a> ToListener<'a> {
    /// A queue begins; `labels` are what people call its trials.
    pub(super) fn begin(listener: &'a dyn Listener, labels: HashMap<TrialId, String>) -> Self {
        listener.begin(labels);
        Self(listener)
    }
}

impl Observer for ToListener<'_> {
    fn observe(&mut self, event: &Event, now_utc: i64) {
        self.0.event(event, now_utc);
    }
}

impl Drop for ToListener<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Writes events down.
pub(super) struct Log<'a> {
    log: EventLog,
    listener: &'a dyn Listener,
}

impl<'a> Log<'a> {
    /// Goes on with the log of an experiment. The listener hears what cannot be written.
    pub(super) fn open(folder: &ExperimentFolder, listener: &'a dyn Listener) -> Result<Self> {
        Ok(Self { log: EventLog::open(&folder.events())?, listener })
    }
}

impl Observer for Log<'_> {
    fn observe(&mut self, event: &Event, now_utc: i64) {
        if let Some(entry) = event.entry(now_utc)
            && let Err(error) = self.log.append(&entry)
        {
            self.listener.notice(&Notice::NotLogged(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::runs::read_events;
    use crate::schedule::{Overview, Stop};

    #[derive(Default)]
    struct Heard(RefCell<Vec<String>>);

    impl Listener for Heard {
        fn notice(&self, notice: &Notice<'_>) {
            self.0.borrow_mut().push(format!("{notice:?}"));
        }

        fn begin(&self, labels: HashMap<TrialId, String>) {
            self.0.borrow_mut().push(format!("begins with {}", labels.len()));
        }

        fn event(&self, event: &Event, now_utc: i64) {
            self.0.borrow_mut().push(format!("{event:?} at {now_utc}"));
        }

        fn end(&self) {
            self.0.borrow_mut().push("ends".to_owned());
        }
    }

    #[test]
    fn what_is_shown_begins_and_ends_once() {
        let heard = Heard::default();
        let mut shown = ToListener::begin(&heard, HashMap::from([(TrialId::of("a"), "L=64".to_owned())]));
        shown.observe(&Event::DiskFull, 7);
        drop(shown);
        assert_eq!(*heard.0.borrow(), ["begins with 1", "DiskFull at 7", "ends"]);
    }

    #[test]
    fn what_happens_is_written_down_with_its_time_and_what_happens_all_the_time_is_not() {
        let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
        let folder = ExperimentFolder::at(folder.path());
        let mut log = Log::open(&folder, &heard).unwrap();
        log.observe(&Event::Overview(Overview::default()), 1);
        log.observe(&Event::Stopping { why: Stop::Asked }, 2);
        let lines = read_events(&folder.events()).unwrap();
        assert_eq!(lines.iter().map(|line| (line.time_utc, line.kind.as_str())).collect::<Vec<_>>(), [(2, "stopping")]);
        assert!(heard.0.borrow().is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_cannot_be_written_is_told_and_no_reason_to_stop() {
        let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
        let folder = ExperimentFolder::at(folder.path());
        std::os::unix::fs::symlink("/dev/full", folder.events()).unwrap();
        let mut log = Log::open(&folder, &heard).unwrap();
        log.observe(&Event::DiskFull, 1);
        assert!(matches!(&heard.0.borrow()[..], [notice] if notice.starts_with("NotLogged")));
    }
}
