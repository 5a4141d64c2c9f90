//! Starts trials as jobs of a cluster, and says how they ended.

mod asking;
mod over;
mod state;
mod submissions;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use self::state::{Job, Open, Pace, Sent};
use super::command::{Fault, run};
use super::command_threads::{Cancel, Clerk, cancel};
use super::script::{Asked, Shared, script};
use crate::device::Device;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::plan::TrialId;
use crate::runs::{
    End, ExperimentFolder, Outcome, Progress, Submission, Task, hear_progress, list_checkpoints, next_attempt, submissions,
    sweep_submissions,
};
use crate::schedule::ends::{Notes, give_up, has_room};
use crate::schedule::executor::{MakeAlias, Prepare, Work};
use crate::schedule::leases::Leases;
use crate::schedule::{Executor, Finished, Kill, Standing, Start};

/// Between two looks at the files of jobs.
const LOOK: Duration = Duration::from_millis(500);
/// How long jobs are cancelled at the end.
const AT_THE_END: Duration = Duration::from_secs(15);

/// What jobs are to do.
pub struct SlurmSettings<'a> {
    /// What their scripts have in common.
    pub shared: Shared,
    /// What workers compute on.
    pub device: Device,
    /// The program's version and build, for attempts and outcomes that the runner writes.
    pub version: String,
    /// What workers do.
    pub work: Work,
    /// What a trial needs, as far as is known.
    pub needed: Box<dyn Fn(&TrialId) -> Needed + 'a>,
    /// Tells people what there is to know of the cluster, a sentence each.
    pub tell: Box<dyn Fn(&str) + 'a>,
}

/// What a trial needs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Needed {
    /// Memory, bytes.
    pub memory: u64,
    /// Seconds of work that are left of it, where they are known.
    pub seconds: Option<f64>,
}

/// Starts a job a trial.
pub struct SlurmExecutor<'a> {
    settings: SlurmSettings<'a>,
    experiment: ExperimentFolder,
    prepare: Prepare<'a>,
    make_alias: MakeAlias<'a>,
    clerk: Clerk,
    /// Started since the last array was submitted.
    collected: Vec<(Start, Task)>,
    /// What is on disk, by name.
    open: BTreeMap<String, Open>,
    /// Jobs of trials that were started.
    jobs: HashMap<TrialId, Job>,
    /// Jobs of an earlier runner, by trial, until it is started.
    found: HashMap<TrialId, Job>,
    finished: Vec<Finished>,
    notes: Notes,
    leases: Leases,
    pace: Pace,
    /// Whether anybody was asked to stop, so that nothing is to be left behind.
    stops: bool,
    /// What was told last, of each sort of trouble.
    told: HashMap<&'static str, String>,
    /// Reasons to wait that were told.
    told_reasons: HashSet<String>,
}

impl<'a> SlurmExecutor<'a> {
    /// An executor for the trials of this experiment, which takes up the jobs of an earlier runner. `prepare` is called before each
    /// start (the job file must be there).
    ///
    /// # Errors
    /// Where the experiment's folder cannot be read.
    pub fn new(
        settings: SlurmSettings<'a>,
        experiment: ExperimentFolder,
        prepare: Prepare<'a>,
        make_alias: MakeAlias<'a>,
    ) -> Result<Self> {
        let now = Instant::now();
        sweep_submissions(&experiment);
        let (mut open, mut found) = (BTreeMap::new(), HashMap::new());
        for submission in submissions(&experiment)? {
            let stands = if submission.job.is_some() { Sent::Yes { since: now } } else { Sent::Unclear { since: now } };
            for (number, task) in submission.tasks.iter().enumerate() {
                found.insert(task.trial.clone(), Job::of(&submission.name, number, task, 0, 0));
            }
            let left = (0..submission.tasks.len()).collect();
            open.insert(submission.name.clone(), Open { submission, stands, left });
        }
        Ok(Self {
            settings,
            experiment,
            prepare,
            make_alias,
            clerk: Clerk::new(),
            collected: Vec::new(),
            open,
            jobs: HashMap::new(),
            found,
            finished: Vec::new(),
            notes: Notes::default(),
            leases: Leases::default(),
            pace: Pace { look: now, ask: now, cancel: now },
            stops: false,
            told: HashMap::new(),
            told_reasons: HashSet::new(),
        })
    }

    /// Has `sbatch` look at what would be submitted, so that a wrong partition is found before anything else is done.
    ///
    /// # Errors
    /// What `sbatch` says against it; where there is no Slurm here, or it does not answer.
    pub fn check(settings: &Shared, experiment: &ExperimentFolder, threads: u32) -> Result<()> {
        let task = Task { trial: TrialId::of("check"), attempt: 1, from_step: 0 };
        let submission = Submission::new(experiment, vec![task]);
        let text = script(settings, &submission, Asked::of(&settings.slurm, threads, 0, None, false), &[1]);
        let path = submission.script(experiment);
        durable::create_folder(&experiment.slurm())?;
        durable::write(&path, text.as_bytes())?;
        let said = run("sbatch", &["--test-only".to_owned(), super::script::text_of(&path)], super::command::LIMIT);
        let removed = submission.remove(experiment);
        match said {
            Ok(_) => removed,
            Err(fault @ Fault::Missing(_)) => Err(Error::usage(fault.words())
                .help("start it on a login node of the cluster, or leave `run.on` at `local`")
                .about("run.on")),
            Err(fault) if fault.passes() => {
                Err(Error::new(Kind::Io, format!("Slurm does not answer: {}", fault.words())).help("try again when `sinfo` does"))
            }
            Err(fault) => Err(Error::usage(format!("Slurm refuses such jobs: {}", fault.words()))
                .help("change what `run.slurm` asks for; `--dry-run` prints the script")
                .about("run.on")),
        }
    }

    /// Whether what is submitted now scores finished trials again.
    fn scores_again(&self) -> bool {
        self.settings.work == Work::ScoreAgain
    }

    /// Whether a job of an earlier runner does what is to be done now.
    fn is_of_this_work(&self, job: &Job) -> bool {
        self.open.get(&job.name).is_some_and(|open| open.submission.scores_again == self.scores_again())
    }

    fn tell_once(&mut self, sort: &'static str, words: String) {
        if self.told.get(sort) != Some(&words) {
            (self.settings.tell)(&words);
            self.told.insert(sort, words);
        }
    }

    fn tell_over(&mut self, sort: &'static str, words: &str) {
        if self.told.remove(sort).is_some() {
            (self.settings.tell)(words);
        }
    }

    /// Nothing is left behind: jobs that are not over are taken out of Slurm's queue.
    fn leave_nothing(&mut self) {
        let left: HashSet<&str> = self.jobs.values().chain(self.found.values()).map(|job| job.name.as_str()).collect();
        let left: Vec<&Open> = self.open.values().filter(|o| left.contains(o.submission.name.as_str())).collect();
        let names: Vec<String> = left.iter().map(|open| format!("--name={}", open.submission.name)).collect();
        if names.is_empty() {
            return;
        }
        match cancel(&names, Cancel::Kill, AT_THE_END) {
            Ok(()) => {
                for open in left {
                    // One that reaches Slurm only now does nothing.
                    let _ = open.submission.remove(&self.experiment);
                }
            }
            Err(fault) => (self.settings.tell)(&format!(
                "jobs are left in Slurm's queue, which cannot be told: {} (`scancel {}` ends them; the same run takes them up)",
                fault.words(),
                names.join(" ")
            )),
        }
    }
}

impl Executor for SlurmExecutor<'_> {
    fn start(&mut self, start: &Start) -> Result<u32> {
        self.notes.write();
        if let Some(job) = self.found.remove(&start.trial) {
            if self.is_of_this_work(&job) {
                let attempt = job.attempt;
                self.jobs.insert(start.trial.clone(), Job { slot: start.slot, threads: start.threads, ..job });
                return Ok(attempt);
            }
            // One that trained says nothing of scores, and the other way round.
            self.task_is_over(&job.name, job.task);
        }
        (self.prepare)(&start.trial)?;
        let folder = self.experiment.trial(&start.trial);
        let attempt = next_attempt(&folder)?;
        let from_step = list_checkpoints(&folder.checkpoints())?.last().map_or(0, |(step, _)| *step);
        let task = Task { trial: start.trial.clone(), attempt, from_step };
        // It has no submission until the others that start now are known.
        self.jobs.insert(start.trial.clone(), Job::of("", 0, &task, start.slot, start.threads));
        self.collected.push((start.clone(), task));
        Ok(attempt)
    }

    fn wait(&mut self, at_most: Duration) -> Vec<Finished> {
        let until = Instant::now() + at_most;
        self.write_submissions();
        loop {
            self.submit();
            self.ask();
            self.look_up();
            self.cancel();
            self.look();
            let left = until.saturating_duration_since(Instant::now());
            if !self.finished.is_empty() || left.is_zero() {
                return std::mem::take(&mut self.finished);
            }
            if let Some(answer) = self.clerk.answer(left.min(LOOK)) {
                self.on_answer(answer);
            }
        }
    }

    fn is_pending(&mut self, trial: &TrialId) -> bool {
        self.jobs.get(trial).is_some_and(|job| !job.has_begun())
    }

    fn progress(&mut self, trial: &TrialId) -> Option<Progress> {
        let job = self.jobs.get(trial)?;
        hear_progress(&self.experiment.trial(trial)).filter(|progress| job.is_said_by(progress))
    }

    fn said_last(&mut self, trial: &TrialId) -> Option<i64> {
        hear_progress(&self.experiment.trial(trial)).map(|progress| progress.time_utc)
    }

    fn ask_to_stop(&mut self, trial: &TrialId) {
        self.stops = true;
        if let Some(job) = self.jobs.get_mut(trial) {
            job.asked = true;
        }
    }

    fn kill(&mut self, trial: &TrialId, why: &Kill) {
        if let Some(job) = self.jobs.get_mut(trial) {
            job.killed.get_or_insert_with(|| why.clone());
        }
    }

    fn standing(&mut self, trial: &TrialId) -> Standing {
        self.leases.standing(trial, &self.experiment.trial(trial))
    }

    fn alias(&mut self, trial: &TrialId, source: &TrialId) -> Result<Box<Outcome>> {
        (self.make_alias)(trial, source).map(Box::new)
    }

    fn give_up(&mut self, trial: &TrialId, end: End, reason: &str) -> Result<()> {
        give_up(&self.experiment.trial(trial), self.settings.work, end, reason, &self.settings.version)
    }

    fn has_room(&mut self, trial: &TrialId) -> bool {
        has_room(&self.experiment.trial(trial))
    }
}

impl Drop for SlurmExecutor<'_> {
    fn drop(&mut self) {
        self.notes.write();
        if self.stops {
            self.leave_nothing();
        }
    }
}

#[cfg(test)]
mod tests;
