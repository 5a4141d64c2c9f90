//! The terminal hears what happens: notices as lines, trials as bars or lines, all of it on standard error.

use std::cell::RefCell;
use std::collections::HashMap;

use super::notice::{Line, lines_of};
use super::reporter::{Look, Reporter};
use crate::cli::output::{say, say_as_is, style};
use crate::plan::TrialId;
use crate::runner::{Listener, Notice};
use crate::schedule::Event;

/// Shows a notice where there are no bars.
pub(crate) fn tell(notice: &Notice<'_>) {
    for line in lines_of(notice, style()) {
        match line {
            Line::Prose(text) => say(&text),
            Line::AsIs(text) => say_as_is(&text),
        }
    }
}

/// Shows what a run tells.
#[derive(Default)]
pub(crate) struct Terminal {
    /// While trials run.
    reporter: RefCell<Option<Reporter>>,
}

impl Listener for Terminal {
    fn notice(&self, notice: &Notice<'_>) {
        match &mut *self.reporter.borrow_mut() {
            // Above the bars.
            Some(reporter) => {
                for Line::Prose(text) | Line::AsIs(text) in lines_of(notice, style()) {
                    reporter.say(&text);
                }
            }
            None => tell(notice),
        }
    }

    fn begin(&self, labels: HashMap<TrialId, String>) {
        self.reporter.replace(Some(Reporter::new(labels, Look::of_stderr())));
    }

    fn event(&self, event: &Event, now_utc: i64) {
        if let Some(reporter) = &mut *self.reporter.borrow_mut() {
            reporter.tell(event, now_utc);
        }
    }

    fn end(&self) {
        if let Some(mut reporter) = self.reporter.take() {
            reporter.finish();
        }
    }
}
