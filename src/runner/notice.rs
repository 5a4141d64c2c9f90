//! What there is to tell while an experiment is planned and run: facts, for others to put into words.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::changes::Changes;
use super::difference::Difference;
use super::memory::Memory;
use crate::corpus::Stage;
use crate::device::Gpu;
use crate::error::Error;
use crate::experiment::Problem;
use crate::plan::{Plan, TrialId, Warning};
use crate::runs::Outcome;
use crate::schedule::Event;

/// Who hears what happens.
pub trait Listener {
    /// Something that a person should know.
    fn notice(&self, notice: &Notice<'_>);

    /// A queue of trials is about to be worked off; `labels` are what people call them.
    fn begin(&self, _labels: HashMap<TrialId, String>) {}

    /// Something happened to one of them, at this time (microseconds since 1970, UTC).
    fn event(&self, _event: &Event, _now_utc: i64) {}

    /// The queue is worked off.
    fn end(&self) {}
}

/// Something that a person should know.
#[derive(Debug)]
pub enum Notice<'a> {
    /// The file can be run, and a line of it deserves a look.
    File(&'a Problem),
    /// How far the preparation of the text with this tokenizer is, where it takes more than a moment.
    Preparing {
        /// The tokenizer's label.
        tokenizer: &'a str,
        /// What is done.
        stage: Stage,
    },
    /// A remark on a text, in a sentence.
    Text(&'a str),
    /// Why a GPU that is there is not used, in a sentence.
    Device(&'a str),
    /// What the plan remarks, many of it perhaps alike.
    Warnings(&'a [Warning]),
    /// The plan as a whole.
    Planned(&'a Plan),
    /// `--only` leaves so many trials of all.
    Only {
        /// Those that are left.
        left: usize,
        /// All.
        of: usize,
    },
    /// The file asks for other trials than when it was run last.
    Changed(&'a Changes),
    /// `experiment.json` cannot be read: what it fixes is taken from the trials' folders, and it is written again.
    DescriptionDamaged {
        /// What is wrong with it.
        error: &'a Error,
    },
    /// Complete trials that were named to be tried again, which they are not.
    CompleteNotRetried {
        /// Their labels.
        labels: Vec<String>,
    },
    /// More than one slot was asked for, and trials run on GPUs.
    SlotsOfGpus,
    /// A GPU takes fewer trials at a time than are asked for, since no more fit into its memory.
    FewerOnGpu {
        /// The GPU.
        gpu: &'a Gpu,
        /// How many it takes.
        slots: usize,
        /// How many are asked for.
        asked: usize,
        /// What the largest trial needs, bytes.
        needed: u64,
        /// What there is, bytes.
        memory: u64,
    },
    /// A trial was the same as another one, which is gone: it is open again.
    SourceGone {
        /// The trial's label.
        label: String,
        /// The one that is gone.
        source: &'a TrialId,
    },
    /// A finished trial's files are not those that it ended with: it is open again.
    Overwritten {
        /// The trial's label.
        label: String,
        /// Those files.
        files: &'a [&'a str],
    },
    /// A trial is the same as one that was over before, and is recorded so.
    Aliased {
        /// The trial's label.
        label: String,
        /// The other one's.
        source: String,
        /// How that one ended.
        outcome: &'a Outcome,
    },
    /// So many more trials were recorded as the same as another.
    MoreAliased(usize),
    /// A trial is the same as another one, and that cannot be recorded.
    NotAliased {
        /// The trial's label.
        label: String,
        /// Why not.
        error: &'a Error,
    },
    /// Finished trials that cannot be compared as they are scored.
    Stale {
        /// How many.
        trials: usize,
        /// What differs.
        why: BTreeSet<&'a Difference>,
        /// The experiment file.
        file: &'a Path,
    },
    /// Those are scored again now.
    ScoringAgain {
        /// How many.
        trials: usize,
        /// What differs.
        why: BTreeSet<&'a Difference>,
    },
    /// There are none, although they were to be scored again.
    NothingToScore,
    /// Some could not be scored again.
    NotScored {
        /// How many.
        left: usize,
        /// Of so many.
        all: usize,
    },
    /// Trials that an earlier version stopped as diverged by a rule that this one does not have.
    DivergedBefore(Vec<&'a TrialId>),
    /// All of so many trials are over.
    NothingToTrain {
        /// How many.
        trials: usize,
        /// How many of them diverged or did not fit, which are not tried again by themselves.
        lost: usize,
    },
    /// A shape could not be measured.
    NotProbed(Error),
    /// How far probing is, where it takes long.
    Probing {
        /// Shapes done.
        done: usize,
        /// Of so many.
        all: usize,
    },
    /// Trials that run at a time need more memory than is free.
    LittleMemory {
        /// Trials at a time.
        slots: usize,
        /// What they will take together, bytes.
        needed: u64,
        /// What is free, bytes.
        free: u64,
    },
    /// Shapes were measured.
    Probed {
        /// How many.
        shapes: usize,
        /// Seconds that took.
        seconds: f64,
        /// The most memory that a trial takes.
        largest: Memory,
    },
    /// What is about to be trained.
    Training {
        /// Trials that are missing.
        missing: usize,
        /// All that are asked for.
        trials: usize,
        /// What they run on, in words.
        device: String,
        /// Trials at a time.
        slots: usize,
        /// Threads of each.
        threads: usize,
        /// When that ends; `None` where nothing was measured.
        expected: Option<Expected>,
    },
    /// The times that are told were measured on one kind of GPU of several.
    TimesOfOneKind {
        /// Its name.
        measured: &'a str,
    },
    /// A signal asked to stop.
    Stopping {
        /// Whether trials run, which save and leave.
        trials: bool,
    },
    /// A second one: they are killed.
    Killing,
    /// The report could not be written while trials run.
    NotReported(Error),
    /// What there is to know of the cluster that trials run on, in a sentence.
    Cluster(&'a str),
    /// What happened could not be written down.
    NotLogged(Error),
}

/// When a run is expected to end.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Seconds of all trials together, as many at a time as there are slots.
    pub seconds: f64,
    /// When it is told: microseconds since 1970, UTC, as the others.
    pub now_utc: i64,
    /// When all is done.
    pub ends_utc: i64,
    /// The deadline, where all is not done before.
    pub cut_off_utc: Option<i64>,
    /// The labels of trials that take longer than what is left until the deadline; none without one.
    pub too_long: Vec<String>,
}
