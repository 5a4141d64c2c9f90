//! What `squeue` and `sacct` print, read. Pure.

/// What `squeue` is asked to print of a job: its submission's name, its place in the array, its number, state and reason.
pub(super) const QUEUE_FORMAT: &str = "%j|%K|%F|%T|%r";
/// And `sacct`.
pub(super) const ACCOUNT_FORMAT: &str = "JobName,JobID,State,ExitCode";

/// A job as Slurm lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// The name of its submission.
    pub(super) name: String,
    /// Its place in the array; `None` where the line is of all those at once that had ended before they began.
    pub(super) task: Option<usize>,
    /// The array's number.
    pub(super) job: String,
    /// How it stands.
    pub(super) stands: Stands,
    /// Why it waits, in Slurm's word.
    pub(super) reason: String,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    /// It waits for its turn, also after it ran.
    Waits,
    /// It is on a node.
    Runs,
    /// It is over.
    Ended(Ending),
}

/// How a job ended, by Slurm's word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its script ended with 0.
    Completed,
    /// It did not.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// Its time limit was reached.
    TimeOut,
    /// A more urgent job took its place.
    Preempted,
    /// Its node failed.
    NodeFailed,
    /// It took more memory than it asked for.
    OutOfMemory,
    /// It could not end before its deadline.
    Deadline,
}

impl Stands {
    /// Slurm's words for it: `COMPLETED`, `CANCELLED by 0`, `CANCELLED+`. What is not known is taken for running: its end will be seen
    /// otherwise.
    fn of(words: &str) -> Self {
        let word = words.split_whitespace().next().unwrap_or_default().trim_end_matches('+');
        match word {
            "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD"
            | "POWER_UP_NODE" => Self::Waits,
            "COMPLETED" => Self::Ended(Ending::Completed),
            "FAILED" => Self::Ended(Ending::Failed),
            "CANCELLED" | "REVOKED" => Self::Ended(Ending::Cancelled),
            "TIMEOUT" => Self::Ended(Ending::TimeOut),
            "PREEMPTED" => Self::Ended(Ending::Preempted),
            "NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => Self::Ended(Ending::NodeFailed),
            "OUT_OF_MEMORY" => Self::Ended(Ending::OutOfMemory),
            "DEADLINE" => Self::Ended(Ending::Deadline),
            // RUNNING, COMPLETING, SUSPENDED, STOPPED, SIGNALING, STAGE_OUT, RESIZING …
            _ => Self::Runs,
        }
    }
}

impl Ending {
    /// Whether its script was ended, rather than coming to its own end.
    pub(super) fn is_a_kill(self) -> bool {
        !matches!(self, Self::Completed | Self::Failed)
    }

    /// Slurm's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimeOut => "TIMEOUT",
            Self::Preempted => "PREEMPTED",
            Self::NodeFailed => "NODE_FAIL",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::Deadline => "DEADLINE",
        }
    }
}

/// The place in an array that is written so. Jobs that were cancelled before they began are one line together, without a place or with all
/// of theirs. The outer one is `None` where the line is of no job of an array.
fn place(task: &str, stands: &Stands) -> Option<Option<usize>> {
    let task = task.parse().ok();
    (task.is_some() || matches!(stands, Stands::Ended(_))).then_some(task)
}

/// The jobs that `squeue` lists in [`QUEUE_FORMAT`], an array's one by one. Lines that are none are passed over.
pub(super) fn read_queue(text: &str) -> Vec<Listed> {
    let job = |line: &str| {
        let mut parts = line.trim().splitn(5, '|');
        let (name, task, job, state) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let reason = parts.next().unwrap_or_default().to_owned();
        let stands = Stands::of(state);
        Some(Listed { name: name.to_owned(), task: place(task, &stands)?, job: job.to_owned(), stands, reason })
    };
    text.lines().filter_map(job).collect()
}

/// The jobs that `sacct` lists in [`ACCOUNT_FORMAT`] with `--parsable2`, and the exit code of each script, where it was no signal.
pub(super) fn read_accounts(text: &str) -> Vec<(Listed, Option<i32>)> {
    let job = |line: &str| {
        let mut parts = line.trim().split('|');
        let (name, id, state) = (parts.next()?, parts.next()?, parts.next()?);
        let (job, task) = id.split_once('_')?;
        let code = parts.next().and_then(|code| code.split_once(':')).filter(|(_, signal)| *signal == "0");
        let code = code.and_then(|(code, _)| code.parse().ok());
        let stands = Stands::of(state);
        let listed =
            Listed { name: name.to_owned(), task: place(task, &stands)?, job: job.to_owned(), stands, reason: String::new() };
        Some((listed, code))
    };
    text.lines().filter_map(job).collect()
}

/// Reasons that waiting does not take away, and what does.
pub(super) fn waits_for_ever(reason: &str) -> Option<&'static str> {
    let found = [
        ("PartitionTimeLimit", "set a shorter `run.slurm.time`: a trial that takes longer goes on in another job"),
        ("QOSMaxWallDurationPerJobLimit", "set a shorter `run.slurm.time`: a trial that takes longer goes on in another job"),
        ("AssocMaxWallDurationPerJobLimit", "set a shorter `run.slurm.time`: a trial that takes longer goes on in another job"),
        ("QOSMaxMemoryPerJob", "set a smaller `run.slurm.memory`"),
        ("QOSMaxCpuPerJobLimit", "set fewer `run.slurm.cpus`"),
        ("PartitionNodeLimit", "choose another `run.slurm.partition`"),
        ("PartitionDown", "choose another `run.slurm.partition`, or wait until it is up"),
        ("PartitionInactive", "choose another `run.slurm.partition`, or wait until it is up"),
        ("BadConstraints", "no node has these features: change `run.slurm.constraint`"),
        ("JobHeldAdmin", "an administrator holds it"),
        ("JobHeldUser", "`scontrol release` lets it go on"),
        ("launch failed requeued held", "its node could not start it; `scontrol release` lets it go on"),
    ];
    found.into_iter().find(|(word, _)| reason.contains(word)).map(|(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Slurm 22.05 on one node, but for the states that one node cannot produce.
    const QUEUE: &str = "\
votive-0a|0|1|COMPLETED|None
votive-0a|2|1|FAILED|NonZeroExitCode
votive-0a|1|1|RUNNING|None
votive-0b|0|7|PENDING|Resources
votive-0b|1|7|PENDING|launch failed requeued held
other|N/A|9|RUNNING|None
votive-0c|0|8|COMPLETING|None
votive-0c|1|8|TIMEOUT|TimeLimit
votive-0c|2|8|PREEMPTED|None
votive-0c|3|8|NODE_FAIL|NodeDown
votive-0c|4|8|OUT_OF_MEMORY|OutOfMemory
votive-0c|5|8|CANCELLED|None
votive-0c|6|8|NEW_STATE|None
votive-0d|1|10|CANCELLED|None
votive-0d|N/A|10|CANCELLED|Resources
";

    #[test]
    fn a_listing_of_the_queue_is_read() {
        let listed = read_queue(QUEUE);
        assert_eq!(listed.len(), 14, "what runs and is no task of an array is passed over");
        let stands: Vec<(&str, Option<usize>, &Stands)> = listed.iter().map(|job| (&*job.name, job.task, &job.stands)).collect();
        let ended = Stands::Ended;
        assert_eq!(
            stands,
            [
                ("votive-0a", Some(0), &ended(Ending::Completed)),
                ("votive-0a", Some(2), &ended(Ending::Failed)),
                ("votive-0a", Some(1), &Stands::Runs),
                ("votive-0b", Some(0), &Stands::Waits),
                ("votive-0b", Some(1), &Stands::Waits),
                ("votive-0c", Some(0), &Stands::Runs),
                ("votive-0c", Some(1), &ended(Ending::TimeOut)),
                ("votive-0c", Some(2), &ended(Ending::Preempted)),
                ("votive-0c", Some(3), &ended(Ending::NodeFailed)),
                ("votive-0c", Some(4), &ended(Ending::OutOfMemory)),
                ("votive-0c", Some(5), &ended(Ending::Cancelled)),
                ("votive-0c", Some(6), &Stands::Runs),
                ("votive-0d", Some(1), &ended(Ending::Cancelled)),
                ("votive-0d", None, &ended(Ending::Cancelled)),
            ]
        );
        assert_eq!((listed[3].job.as_str(), listed[4].reason.as_str()), ("7", "launch failed requeued held"));
        assert!(waits_for_ever(&listed[4].reason).is_some() && waits_for_ever("Resources").is_none());
        assert!(read_queue("slurm_load_jobs error: Unable to contact slurm controller\n").is_empty());
    }

    #[test]
    fn a_listing_of_the_accounts_is_read() {
        let text = "votive-0a|12_0|COMPLETED|0:0\nvotive-0a|12_1|CANCELLED by 1000|0:15\nvotive-0a|12_2|FAILED|101:0\n\
                    votive-0a|12_3|OUT_OF_MEMORY|0:125\nbash|13|COMPLETED|0:0\nvotive-0a|12_[4-9]|PENDING|0:0\n\
                    votive-0b|14_[0-9]|CANCELLED by 0|0:0\n";
        let read: Vec<_> = read_accounts(text).into_iter().map(|(job, code)| (job.task, job.stands, code)).collect();
        assert_eq!(
            read,
            [
                (Some(0), Stands::Ended(Ending::Completed), Some(0)),
                (Some(1), Stands::Ended(Ending::Cancelled), None),
                (Some(2), Stands::Ended(Ending::Failed), Some(101)),
                (Some(3), Stands::Ended(Ending::OutOfMemory), None),
                (None, Stands::Ended(Ending::Cancelled), Some(0)),
            ]
        );
    }

    #[test]
    fn every_ending_is_told_by_the_word_that_it_is_read_from() {
        for ending in [
            Ending::Completed,
            Ending::Failed,
            Ending::Cancelled,
            Ending::TimeOut,
            Ending::Preempted,
            Ending::NodeFailed,
            Ending::OutOfMemory,
            Ending::Deadline,
        ] {
            assert_eq!(Stands::of(ending.word()), Stands::Ended(ending));
        }
    }
}
