//! The loop that joins the queue, which decides, to an executor, which does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::clock::{Clock, QueueClock};
use super::held::Held;
use super::lookout::{Finding, Lookout, Patience};
use super::{
    Cause, Deadline, Event, Executor, Exit, Failure, Finished, Kill, Observer, Overview, Queue, Standing, Start, Stop, Summary,
};
use crate::error::Kind;
use crate::plan::TrialId;
use crate::runs::Progress;

/// Value of the stop flag: running workers drop what is unfinished, save and leave.
pub const STOP_AFTER_STEP: u8 = 1;
/// Value of the stop flag: running workers are killed.
pub const STOP_NOW: u8 = 2;

/// How often the loop looks around, and how long at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Between two looks at the progress of running trials and at the stop flag. A worker that ends is seen at once.
    pub look: Duration,
    /// Between two overviews, and two looks at trials that others hold.
    pub overview: Duration,
    /// How long what is waited for.
    pub patience: Patience,
    /// When everything must have ended; without one that of the queue's policy counts.
    pub deadline: Deadline,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(200),
            overview: Duration::from_secs(1),
            patience: Patience::default(),
            deadline: Deadline::default(),
        }
    }
}

/// Runs the queue to its end: starts what it says, tells it what happened, and tells every observer each event. `stop` is set by a
/// signal handler: 0, [`STOP_AFTER_STEP`] or [`STOP_NOW`].
pub fn drive(
    mut queue: Queue,
    executor: &mut dyn Executor,
    clock: &dyn Clock,
    observers: &mut [&mut dyn Observer],
    stop: &AtomicU8,
    pace: Pace,
) -> Summary {
    let begun = queue.begin();
    let clock = QueueClock::start(clock);
    let lookout = Lookout::new(pace.patience, micros_of(pace.look));
    let mut drive = Drive {
        queue: &mut queue,
        executor,
        observers,
        pace,
        clock,
        lookout,
        held: Held::default(),
        ends_utc: None,
        pending: HashMap::new(),
    };
    begun.iter().for_each(|event| drive.observe(event));
    drive.until_over(stop);
    let (events, summary) = drive.queue.finish();
    events.iter().for_each(|event| drive.observe(event));
    summary
}

struct Drive<'a, 'o> {
    queue: &'a mut Queue,
    executor: &'a mut dyn Executor,
    observers: &'a mut [&'o mut dyn Observer],
    pace: Pace,
    clock: QueueClock<'a>,
    /// What is known of the running workers.
    lookout: Lookout,
    /// What is known of the workers that others have started.
    held: Held,
    /// When the run was last expected to end, by the clock on the wall.
    ends_utc: Option<i64>,
    /// What waits for its turn in a cluster's queue, as it was started, with the number of its attempt.
    pending: HashMap<TrialId, (Start, u32)>,
}

impl Drive<'_, '_> {
    fn until_over(&mut self, stop: &AtomicU8) {
        let (look, overview) = (micros_of(self.pace.look), micros_of(self.pace.overview));
        let mut overview_at = self.clock.now();
        let mut look_at = overview_at + look;
        loop {
            let now = self.clock.now();
            self.obey(stop.load(Ordering::Acquire), now);
            self.look_at_disk(now);
            self.record_aliases(stop);
            let started = self.start_all(now);
            if self.queue.is_over(now) {
                return;
            }
            if self.clock.now() >= overview_at {
                self.look_at_held();
                self.estimate_end(now);
                self.tell_overview();
                overview_at = self.clock.now() + overview;
            } else if started {
                self.tell_overview();
            }
            let until_look = u64::try_from(look_at - self.clock.now()).unwrap_or(0);
            for finished in self.executor.wait(Duration::from_micros(until_look)) {
                self.on_finished(finished);
            }
            if self.clock.now() >= look_at {
                self.look_at_progress();
                look_at = self.clock.now() + look;
            }
        }
    }

    /// When the run ends, by the clock on the wall, which may have been set. It takes a look at every trial: not at each start.
    fn estimate_end(&mut self, now: i64) {
        let ends = self.queue.overview(now).ends_utc;
        self.ends_utc = ends.map(|ends| ends.saturating_sub(now).saturating_add(self.clock.moment().utc));
    }

    /// How the whole run stands.
    fn tell_overview(&mut self) {
        let overview = Overview { ends_utc: self.ends_utc, ..self.queue.overview_without_end() };
        self.observe(&Event::Overview(overview));
    }

    /// Follows the stop flag and the deadline.
    fn obey(&mut self, flag: u8, now: i64) {
        if let Some(left) = self.pace.deadline.left(self.clock.moment()) {
            self.queue.move_deadline(now.saturating_add(left));
        }
        let mut events = if flag >= STOP_AFTER_STEP { self.queue.stop(Stop::Asked) } else { Vec::new() };
        events.extend(self.queue.tick(now));
        self.tell(&events);
        if !self.queue.stops_running() {
            return;
        }
        for trial in self.queue.running() {
            if self.lookout.is_to_ask(trial, now) {
                self.executor.ask_to_stop(trial);
            }
            if flag >= STOP_NOW && self.lookout.is_to_kill(trial, now) {
                self.executor.kill(trial, &Kill::Asked);
            }
        }
    }

    /// Looks whether a full disk has room again, when it is time.
    fn look_at_disk(&mut self, now: i64) {
        if let Some(trial) = self.queue.disk_to_look_at(now).cloned() {
            let has_room = self.executor.has_room(&trial);
            let events = self.queue.on_disk(has_room, now);
            self.tell(&events);
        }
    }

    /// Has those trials recorded that are the same as one that was trained.
    fn record_aliases(&mut self, stop: &AtomicU8) {
        while let Some((trial, source)) = self.queue.next_alias() {
            // There may be many of them, and each takes a while. After a first request to stop they are still recorded: what ended in
            // time is complete with them.
            let (flag, now) = (stop.load(Ordering::Acquire), self.clock.now());
            self.obey(flag, now);
            if flag >= STOP_NOW || self.queue.is_late(now) {
                return self.queue.leave_aliases();
            }
            let events = match self.executor.alias(&trial, &source) {
                Ok(outcome) => self.queue.on_alias(&trial, Some(outcome)),
                Err(error) if error.kind() == Kind::DiskFull => self.queue.on_alias_without_room(&trial, now),
                // The trial is trained like any other: only time is lost.
                Err(_) => self.queue.on_alias(&trial, None),
            };
            self.tell(&events);
        }
    }

    /// Starts workers while the queue has some; whether any was started.
    fn start_all(&mut self, now: i64) -> bool {
        let mut any = false;
        while let Some(start) = self.queue.next(now) {
            let trial = start.trial.clone();
            match self.executor.start(&start) {
                Ok(attempt) => {
                    any = true;
                    self.lookout.started(&trial);
                    if self.executor.is_pending(&trial) {
                        self.observe(&Event::Submitted { trial: trial.clone(), attempt });
                        self.pending.insert(trial, (start, attempt));
                    } else {
                        self.observe(&started_event(start, attempt));
                    }
                }
                Err(error) => {
                    // A want of memory or a fault of a device is not the trial's, which has not begun.
                    let cause = match Cause::of(error.kind()) {
                        cause @ (Cause::Refused | Cause::BadData | Cause::Disk) => cause,
                        _ => Cause::NotStarted,
                    };
                    let failure = Failure { cause, reason: error.chain(), last_lines: Vec::new() };
                    self.on_finished(Finished { trial, exit: Exit::Failed(failure), progress: None });
                }
            }
        }
        any
    }

    fn on_finished(&mut self, finished: Finished) {
        let Finished { trial, exit, progress } = finished;
        let now = self.clock.now();
        // What waited until it ended has had no time.
        if self.pending.remove(&trial).is_some() && progress.is_none() {
            self.queue.on_pending(&trial, now);
        }
        self.tell_start_over(&trial, progress.as_ref());
        self.lookout.ended(&trial);
        let events = self.queue.on_exit(&trial, exit, now);
        self.tell(&events);
    }

    /// Has the end of a trial written that no worker wrote.
    fn write_end(&mut self, event: &Event) {
        if let Event::Ended { trial, end, reason, outcome: None, .. } = event {
            let reason = reason.as_deref().unwrap_or("failed");
            // Where not even that can be written the trial is found without an outcome, and is tried again next time.
            let _ = self.executor.give_up(trial, *end, reason);
        }
    }

    fn look_at_held(&mut self) {
        let held: Vec<TrialId> = self.queue.held_elsewhere().cloned().collect();
        self.held.pass(self.clock.now(), micros_of(self.pace.overview));
        for trial in held {
            let standing = self.executor.standing(&trial);
            let mut events = self.queue.on_standing(&trial, standing);
            if standing == Standing::HeldElsewhere {
                let said = self.executor.said_last(&trial);
                if self.held.is_silent_for_too_long(&trial, said, self.pace.patience.timeout) {
                    events.extend(self.queue.leave_held(&trial));
                }
            }
            self.tell(&events);
        }
    }

    /// Hears the running workers, and does what follows where one has been silent, or there, for too long.
    fn look_at_progress(&mut self) {
        let now = self.clock.now();
        self.lookout.pass(now);
        let running: Vec<TrialId> = self.queue.running().cloned().collect();
        for trial in running {
            if self.is_pending(&trial, now) {
                continue;
            }
            let progress = self.executor.progress(&trial);
            self.tell_start_over(&trial, progress.as_ref());
            let Some(progress) = progress.filter(|progress| self.lookout.hears(&trial, progress)) else { continue };
            if progress.knows_how_far() {
                self.queue.on_progress(&trial, progress.fraction, now);
            }
            self.observe(&Event::Progressed { trial, progress });
        }
        for (trial, finding) in self.lookout.findings(now) {
            match finding {
                Finding::Kill(why) => self.executor.kill(&trial, &why),
                Finding::StillThere => {
                    let events = self.queue.on_still_there(&trial);
                    self.tell(&events);
                }
                Finding::Silent(seconds, phase) => self.observe(&Event::Silent { trial, seconds, phase }),
            }
        }
    }

    /// Whether a trial waits for its turn in a cluster's queue, which is no time of its own and no silence. Tells when it begins.
    fn is_pending(&mut self, trial: &TrialId, now: i64) -> bool {
        if self.executor.is_pending(trial) {
            self.queue.on_pending(trial, now);
            self.lookout.waits(trial);
            return true;
        }
        // Also one that was requeued, which has started long ago.
        self.queue.on_begun(trial);
        if let Some((start, attempt)) = self.pending.remove(trial) {
            self.observe(&started_event(start, attempt));
        }
        false
    }

    /// Tells that a trial starts over, once for each worker that says so.
    fn tell_start_over(&mut self, trial: &TrialId, progress: Option<&Progress>) {
        if let Some(why) = progress.and_then(|progress| progress.starts_over.as_ref())
            && self.lookout.starts_over(trial)
        {
            self.observe(&Event::StartsOver { trial: trial.clone(), why: why.clone() });
        }
    }

    fn tell(&mut self, events: &[Event]) {
        for event in events {
            self.write_end(event);
            self.observe(event);
        }
    }

    fn observe(&mut self, event: &Event) {
        let now_utc = self.clock.moment().utc;
        for observer in &mut *self.observers {
            observer.observe(event, now_utc);
        }
    }
}

fn started_event(start: Start, attempt: u32) -> Event {
    let Start { trial, slot, threads, gpu, .. } = start;
    Event::Started { trial, attempt, slot, threads, gpu }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
