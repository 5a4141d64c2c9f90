//! Starts trials as jobs of a cluster, and says how they ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use super::clerk::{Answer, Cancel, Clerk, cancel};
use super::command::{Fault, run};
use super::listing::{Ending, Listed, Stands, waits_for_ever};
use super::script::{Asked, Shared, script};
use super::verdict::{Known, verdict};
use crate::device::Device;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::plan::TrialId;
use crate::rows::now_utc;
use crate::runs::{
    Attempt, End, ExperimentFolder, Outcome, Progress, Submission, Task, attempts, list_checkpoints, next_attempt, read_progress,
    state_of, submissions, sweep_submissions,
};
use crate::schedule::ends::{Note, Notes, give_up, has_room};
use crate::schedule::local::{MakeAlias, Prepare, Work};
use crate::schedule::tail::Tail;
use crate::schedule::{Cause, Executor, Exit, Failure, Finished, Kill, Standing, Start};

/// Between two looks at the files of jobs.
const LOOK: Duration = Duration::from_millis(500);
/// Between two calls of `squeue`: so many times as long as the last one took, which keeps it a small part of the controller's work.
const TIMES: u32 = 50;
/// And at least, and at most.
const LEAST: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_secs(30);
/// Where somebody waits for the end of a job.
const HURRY: Duration = Duration::from_secs(1);
/// Before `sbatch` is tried again, or `scancel`.
const AGAIN: Duration = Duration::from_secs(10);
/// A job that is listed no more, and of which nobody knows anything, is alive while its worker gives a sign of life in so long. Also how
/// long files may take to be seen on another machine.
const SIGN_OF_LIFE: Duration = Duration::from_secs(90);
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
    pace: Pace,
    /// Whether anybody was asked to stop, so that nothing is to be left behind.
    stops: bool,
    /// What was told last, of each sort of trouble.
    told: HashMap<&'static str, String>,
    /// Reasons to wait that were told.
    told_reasons: HashSet<String>,
}

/// A submission.
struct Open {
    submission: Submission,
    stands: Sent,
    /// Tasks of it that are not over.
    left: HashSet<usize>,
}

/// How far a submission is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It waits until `sbatch` is free, or may be tried again.
    No { not_before: Instant },
    /// `sbatch` is at it.
    Now,
    /// Nobody knows: the queue is asked, from then on.
    Unclear { since: Instant },
    /// Slurm has it.
    Yes { since: Instant },
}

/// One job.
#[derive(Debug)]
struct Job {
    name: String,
    task: usize,
    attempt: u32,
    from_step: u64,
    slot: u32,
    threads: u32,
    /// Whether its worker has given a sign of life, or Slurm says that it runs.
    begun: bool,
    asked: bool,
    killed: Option<Kill>,
    /// Whether Slurm has been told so.
    told_asked: bool,
    told_killed: bool,
    /// What Slurm says of its end.
    ending: Option<Ending>,
    /// Its exit code, where Slurm has it on record.
    code: Option<i32>,
    /// Since when it is listed no more.
    gone: Option<Instant>,
    /// Whether it was looked up in the accounts since.
    looked_up: bool,
    /// When its worker's last sign of life was seen, and what that was.
    heard: (Instant, Option<i64>),
}

/// When what is due.
struct Pace {
    look: Instant,
    ask: Instant,
    cancel: Instant,
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

    /// Makes arrays of what was started since the last time: trials that ask for the same are one.
    fn write_submissions(&mut self) {
        let mut groups: BTreeMap<Asked, Vec<(Start, Task)>> = BTreeMap::new();
        for (start, task) in std::mem::take(&mut self.collected) {
            let Needed { memory, seconds } = (self.settings.needed)(&start.trial);
            let asked = Asked::of(&self.settings.shared.slurm, start.threads, memory, seconds, start.ample);
            groups.entry(asked).or_default().push((start, task));
        }
        for (asked, started) in groups {
            let (starts, tasks): (Vec<Start>, Vec<Task>) = started.into_iter().unzip();
            let submission = Submission::new(&self.experiment, tasks);
            let slots: Vec<u32> = starts.iter().map(|start| start.slot).collect();
            let text = script(&self.settings.shared, &submission, asked, &slots);
            // The script first: what is found on disk can be submitted.
            let written = durable::create_folder(&self.experiment.slurm())
                .and_then(|()| durable::write(&submission.script(&self.experiment), text.as_bytes()))
                .and_then(|()| submission.write(&self.experiment));
            if let Err(error) = written {
                let cause = if error.kind() == Kind::DiskFull { Cause::Disk } else { Cause::NotStarted };
                for start in starts {
                    self.jobs.remove(&start.trial);
                    self.end_unstarted(start.trial, cause, error.chain());
                }
                continue;
            }
            for (number, (start, task)) in starts.iter().zip(&submission.tasks).enumerate() {
                let job = Job::of(&submission.name, number, task, start.slot, start.threads);
                let before = self.jobs.insert(start.trial.clone(), job);
                let asked_before = before.is_some_and(|job| job.asked);
                if let Some(job) = self.jobs.get_mut(&start.trial) {
                    job.asked = asked_before;
                }
            }
            let left = (0..submission.tasks.len()).collect();
            let stands = Sent::No { not_before: Instant::now() };
            self.open.insert(submission.name.clone(), Open { submission, stands, left });
        }
    }

    fn end_unstarted(&mut self, trial: TrialId, cause: Cause, reason: String) {
        let exit = Exit::Failed(Failure { cause, reason, last_lines: Vec::new() });
        self.finished.push(Finished { trial, exit, progress: None });
    }

    /// Gives the next submission to `sbatch`.
    fn submit(&mut self) {
        if self.clerk.is_submitting() {
            return;
        }
        let now = Instant::now();
        let due = |open: &&mut Open| matches!(open.stands, Sent::No { not_before } if not_before <= now);
        if let Some(open) = self.open.values_mut().find(due) {
            open.stands = Sent::Now;
            let script = super::script::text_of(&open.submission.script(&self.experiment));
            self.clerk.submit(&open.submission.name, script);
        }
    }

    fn on_submitted(&mut self, name: &str, result: Result<String, Fault>) {
        let now = Instant::now();
        let Some(open) = self.open.get_mut(name) else { return };
        match result {
            Ok(job) => {
                open.stands = Sent::Yes { since: now };
                open.submission.job = Some(job);
                // Without it the jobs are found by their name.
                let _ = open.submission.write(&self.experiment);
                self.pace.ask = self.pace.ask.min(now + LEAST);
                self.tell_over("sbatch", "Slurm takes jobs again");
            }
            Err(fault) if fault.passes() => {
                open.stands = Sent::Unclear { since: now };
                self.pace.ask = self.pace.ask.min(now + LEAST);
                self.tell_once("sbatch", format!("Slurm takes no job now: {}; it is tried again", fault.words()));
            }
            Err(fault) => {
                let words = format!("Slurm refuses the job: {}", fault.words());
                for trial in self.trials_of(name) {
                    self.jobs.remove(&trial);
                    self.end_unstarted(trial, Cause::NotStarted, words.clone());
                }
                self.remove(name);
            }
        }
    }

    /// The trials whose jobs are of this submission, and are not over.
    fn trials_of(&self, name: &str) -> Vec<TrialId> {
        self.jobs.iter().filter(|(_, job)| job.name == name).map(|(trial, _)| trial.clone()).collect()
    }

    /// The submission is over.
    fn remove(&mut self, name: &str) {
        if let Some(open) = self.open.remove(name) {
            // What stays is found by the next runner, which sees that its trials are over.
            let _ = open.submission.remove(&self.experiment);
            self.found.retain(|_, job| job.name != name);
        }
    }

    fn ask(&mut self) {
        let names: Vec<String> =
            self.open.values().filter(|open| open.is_known_to_slurm()).map(|o| o.submission.name.clone()).collect();
        if !self.clerk.is_asking() && Instant::now() >= self.pace.ask && !names.is_empty() {
            self.clerk.ask(&names);
        }
    }

    fn on_queue(&mut self, asked: Instant, jobs: Result<Vec<Listed>, Fault>) {
        let took = asked.elapsed();
        let waits = self.jobs.values().any(|job| job.asked || job.killed.is_some());
        self.pace.ask = Instant::now() + if waits { HURRY } else { (took * TIMES).clamp(LEAST, MOST) };
        let jobs = match jobs {
            Ok(jobs) => jobs,
            Err(fault) => {
                return self.tell_once("squeue", format!("Slurm does not answer: {}; running jobs go on", fault.words()));
            }
        };
        self.tell_over("squeue", "Slurm answers again");
        // A submission that was given up and comes again has the same name: what is alive counts.
        let mut listed: HashMap<(&str, usize), &Listed> = HashMap::new();
        for job in &jobs {
            let known = listed.entry((job.name.as_str(), job.task)).or_insert(job);
            if matches!(known.stands, Stands::Ended(_)) {
                *known = job;
            }
        }
        self.find_submissions(asked, &listed);
        let mut reasons = Vec::new();
        for job in self.jobs.values_mut().chain(self.found.values_mut()) {
            let Some(open) = self.open.get(&job.name) else { continue };
            // What was submitted after it was asked cannot be listed.
            if !matches!(open.stands, Sent::Yes { since } if since <= asked) {
                continue;
            }
            match listed.get(&(job.name.as_str(), job.task)).copied() {
                Some(listed) => {
                    job.is_listed(&listed.stands);
                    let help = (listed.stands == Stands::Waits).then(|| waits_for_ever(&listed.reason)).flatten();
                    reasons.extend(help.map(|help| (listed.job.clone(), job.task, listed.reason.clone(), help)));
                }
                None => drop(job.gone.get_or_insert_with(Instant::now)),
            }
        }
        for (job, task, reason, help) in reasons {
            if self.told_reasons.insert(reason.clone()) {
                (self.settings.tell)(&format!("job {job}_{task} waits, and will not start as it is ({reason}): {help}"));
            }
        }
    }

    /// What became of submissions of which nobody knows whether Slurm has them.
    fn find_submissions(&mut self, asked: Instant, listed: &HashMap<(&str, usize), &Listed>) {
        let (mut there, mut given_up) = (Vec::new(), Vec::new());
        for (name, open) in &mut self.open {
            if !matches!(open.stands, Sent::Unclear { since } if since <= asked) {
                continue;
            }
            let job = listed.iter().find(|((of, _), _)| of == name).map(|(_, job)| job.job.clone());
            match job {
                Some(job) => {
                    open.stands = Sent::Yes { since: asked };
                    open.submission.job = Some(job);
                    // Without it they are found by their name again.
                    let _ = open.submission.write(&self.experiment);
                    there.push(name.clone());
                }
                None => given_up.push(name.clone()),
            }
        }
        // What Slurm was told of them before may have come too early.
        for job in self.jobs.values_mut().filter(|job| there.contains(&job.name)) {
            (job.told_asked, job.told_killed) = (false, false);
        }
        for name in given_up {
            self.submit_anew(&name);
        }
    }

    /// A submission has not reached Slurm. Should it after all, its jobs find that it is given up: its trials are submitted under
    /// another name.
    fn submit_anew(&mut self, name: &str) {
        let Some(open) = self.open.remove(name) else { return };
        let script = fs::read_to_string(open.submission.script(&self.experiment)).unwrap_or_default();
        let _ = open.submission.remove(&self.experiment);
        self.found.retain(|_, job| job.name != name);
        let trials = self.trials_of(name);
        if trials.is_empty() {
            return;
        }
        let next = Submission::new(&self.experiment, open.submission.tasks.clone());
        // What it asks for stays; only the name is another.
        let written = durable::write(&next.script(&self.experiment), script.replace(name, &next.name).as_bytes())
            .and_then(|()| next.write(&self.experiment));
        if let Err(error) = written {
            for trial in trials {
                self.jobs.remove(&trial);
                self.end_unstarted(trial, Cause::NotStarted, error.chain());
            }
            return;
        }
        for trial in trials {
            if let Some(job) = self.jobs.get_mut(&trial) {
                job.name.clone_from(&next.name);
            }
        }
        let stands = Sent::No { not_before: Instant::now() + AGAIN };
        self.open.insert(next.name.clone(), Open { submission: next, stands, left: open.left });
    }

    /// Looks up jobs that are listed no more and left nothing.
    fn look_up(&mut self) {
        if self.clerk.is_looking_up() {
            return;
        }
        let lost = |job: &Job| job.gone.is_some() && !job.looked_up && job.ending.is_none();
        let names: HashSet<String> =
            self.jobs.values().chain(self.found.values()).filter(|job| lost(job)).map(|job| job.name.clone()).collect();
        let since = names.iter().filter_map(|name| Some(self.open.get(name)?.submission.submitted_utc)).min();
        if let Some(since) = since {
            let seconds = u64::try_from((now_utc() - since) / 1_000_000).unwrap_or(0);
            self.clerk.look_up(&names.into_iter().collect::<Vec<_>>(), seconds);
        }
    }

    fn on_accounts(&mut self, accounts: Result<Vec<(Listed, Option<i32>)>, Fault>) {
        // A site without accounts says so each time.
        let known = accounts.unwrap_or_default();
        for job in self.jobs.values_mut().chain(self.found.values_mut()).filter(|job| job.gone.is_some()) {
            job.looked_up = true;
            let of = |(listed, _): &&(Listed, Option<i32>)| listed.name == job.name && listed.task == job.task;
            if let Some((Listed { stands: Stands::Ended(ending), .. }, code)) = known.iter().find(of) {
                (job.ending, job.code) = (Some(*ending), *code);
            }
        }
    }

    /// Has Slurm told of jobs that are to stop, or to end.
    fn cancel(&mut self) {
        let now = Instant::now();
        if self.clerk.is_cancelling() || now < self.pace.cancel {
            return;
        }
        for (how, due) in [(Cancel::Kill, Job::is_to_be_killed as fn(&Job) -> bool), (Cancel::Ask, Job::is_to_be_asked)] {
            let mut names = Vec::new();
            for job in self.jobs.values_mut().filter(|job| due(job)) {
                let Some(open) = self.open.get(&job.name) else { continue };
                let Some(named) = open.named(job.task) else { continue };
                names.push(named);
                match how {
                    Cancel::Kill => job.told_killed = true,
                    Cancel::Ask => job.told_asked = true,
                }
            }
            names.sort_unstable();
            names.dedup();
            if !names.is_empty() {
                return self.clerk.cancel(names, how);
            }
        }
    }

    fn on_cancelled(&mut self, result: Result<(), Fault>) {
        let now = Instant::now();
        self.pace.ask = self.pace.ask.min(now + HURRY);
        match result {
            Ok(()) => self.tell_over("scancel", "Slurm has been told which jobs are to end"),
            Err(fault) => {
                self.pace.cancel = now + HURRY;
                for job in self.jobs.values_mut() {
                    (job.told_asked, job.told_killed) = (false, false);
                }
                self.tell_once(
                    "scancel",
                    format!("Slurm cannot be told which jobs are to end: {}; it is tried again", fault.words()),
                );
            }
        }
    }

    fn on_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Submitted(name, result) => self.on_submitted(&name, result),
            Answer::Queue { asked, jobs } => self.on_queue(asked, jobs),
            Answer::Accounts(accounts) => self.on_accounts(accounts),
            Answer::Cancelled(result) => self.on_cancelled(result),
        }
        self.pace.look = Instant::now();
    }

    /// Which jobs are over, by their files and what is known of them.
    fn look(&mut self) {
        let now = Instant::now();
        if now < self.pace.look {
            return;
        }
        self.pace.look = now + LOOK;
        let trials: Vec<TrialId> = self.jobs.keys().cloned().collect();
        for trial in trials {
            if let Some(exit) = self.end_of(&trial) {
                self.finish(trial, exit);
            }
        }
        // Those that nobody waits for: the trial was over, or is planned no more.
        let over: Vec<(TrialId, String, usize)> = self
            .found
            .iter()
            .filter(|(trial, job)| (job.is_over() && job.is_quiet()) || self.experiment.trial(trial).outcome().exists())
            .map(|(trial, job)| (trial.clone(), job.name.clone(), job.task))
            .collect();
        for (trial, name, task) in over {
            self.found.remove(&trial);
            self.task_is_over(&name, task);
        }
    }

    /// How the job of a trial ended, once it has.
    fn end_of(&mut self, trial: &TrialId) -> Option<Exit> {
        let folder = self.experiment.trial(trial);
        let train = self.settings.work == Work::Train;
        let job = self.jobs.get_mut(trial)?;
        let open = self.open.get(&job.name)?;
        let written = fs::read_to_string(open.submission.exit(&self.experiment, job.task)).ok();
        let code = written.and_then(|text| text.trim().parse::<i32>().ok()).or(job.code);
        let decides = train || code == Some(0);
        let outcome = if decides { durable::read_json::<Outcome>(&folder.outcome()) } else { Ok(None) };
        let is_done = matches!(outcome, Ok(Some(_)));
        if let Some(said) = read_progress(&folder).filter(|said| said.attempt >= job.attempt).map(|said| said.time_utc)
            && job.heard.1 != Some(said)
        {
            job.heard = (Instant::now(), Some(said));
        }
        if code.is_some() && !job.is_over() {
            // It may be requeued: Slurm says whether it is over.
            self.pace.ask = self.pace.ask.min(Instant::now() + HURRY);
        }
        let unsent = matches!(open.stands, Sent::No { .. }) && (job.asked || job.killed.is_some());
        if !is_done && !unsent && !(job.is_over() && (code.is_some() || job.is_quiet())) {
            return None;
        }
        if unsent && !is_done {
            return Some(job.killed.as_ref().map_or(Exit::Interrupted, |kill| kill.exit(Vec::new())));
        }
        let newest = list_checkpoints(&folder.checkpoints()).unwrap_or_default().last().map_or(0, |(step, _)| *step);
        Some(verdict(Known {
            code,
            ending: job.ending,
            outcome,
            asked: job.asked,
            killed: job.killed.clone(),
            further: newest > job.from_step,
            last_lines: last_lines(&fs::read(open.submission.log(&self.experiment, job.task)).unwrap_or_default()),
        }))
    }

    /// The job of a trial ended so.
    fn finish(&mut self, trial: TrialId, exit: Exit) {
        let Some(job) = self.jobs.remove(&trial) else { return };
        let folder = self.experiment.trial(&trial);
        let progress = read_progress(&folder).filter(|progress| progress.attempt >= job.attempt);
        let words = match &exit {
            _ if self.settings.work == Work::ScoreAgain => None,
            Exit::Failed(failure) => Some((failure.sentence(), failure.last_lines.clone())),
            Exit::Displaced(why) => Some((format!("interrupted: {why}"), Vec::new())),
            Exit::Interrupted => job.killed.as_ref().map(|kill| (kill.to_string(), Vec::new())),
            _ => None,
        };
        if let Some((words, last_lines)) = words {
            let last = attempts(&folder).unwrap_or_default().last().map_or(0, |attempt| attempt.attempt);
            let attempt = self.attempt(&job, last.max(job.attempt));
            self.notes.add(Note { folder, attempt, words, last_lines });
        }
        self.notes.write();
        self.task_is_over(&job.name, job.task);
        self.finished.push(Finished { trial, exit, progress });
    }

    /// What is known here of an attempt whose worker wrote nothing.
    fn attempt(&self, job: &Job, number: u32) -> Attempt {
        Attempt {
            attempt: number,
            pid: 0,
            host: String::new(),
            slot: job.slot,
            threads: job.threads,
            device: self.settings.device,
            gpu: None,
            program: self.settings.version.clone(),
            from_step: 0,
            started_utc: now_utc(),
            ended_utc: Some(now_utc()),
            ended: None,
            last_lines: Vec::new(),
        }
    }

    fn task_is_over(&mut self, name: &str, task: usize) {
        let Some(open) = self.open.get_mut(name) else { return };
        open.left.remove(&task);
        if open.left.is_empty() {
            self.remove(name);
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

impl Open {
    fn is_known_to_slurm(&self) -> bool {
        matches!(self.stands, Sent::Unclear { .. } | Sent::Yes { .. })
    }

    /// How `scancel` is told of a task; `None` where Slurm does not have it.
    fn named(&self, task: usize) -> Option<String> {
        match (self.stands, &self.submission.job) {
            (Sent::No { .. } | Sent::Now, _) => None,
            (_, Some(job)) => Some(format!("{job}_{task}")),
            (_, None) => Some(format!("--name={}", self.submission.name)),
        }
    }
}

impl Job {
    fn of(name: &str, number: usize, task: &Task, slot: u32, threads: u32) -> Self {
        Self {
            name: name.to_owned(),
            task: number,
            attempt: task.attempt,
            from_step: task.from_step,
            slot,
            threads,
            begun: false,
            asked: false,
            killed: None,
            told_asked: false,
            told_killed: false,
            ending: None,
            code: None,
            gone: None,
            looked_up: false,
            heard: (Instant::now(), None),
        }
    }

    fn is_listed(&mut self, stands: &Stands) {
        (self.gone, self.looked_up) = (None, false);
        self.ending = match stands {
            Stands::Ended(ending) => Some(*ending),
            Stands::Waits | Stands::Runs => None,
        };
        // One that is requeued waits again.
        self.begun = match stands {
            Stands::Waits => false,
            Stands::Runs | Stands::Ended(_) => true,
        };
    }

    /// Whether it is over, as far as Slurm is to be believed: it says so, or knows nothing of it any more.
    fn is_over(&self) -> bool {
        self.ending.is_some() || (self.gone.is_some() && self.looked_up)
    }

    /// Whether no sign of life was seen lately. What ends may take a while to be seen from another machine.
    fn is_quiet(&self) -> bool {
        let patience = match self.ending {
            // Its script wrote nothing: a kill. Its worker may have written an outcome before.
            Some(_) => Duration::from_secs(3),
            None => SIGN_OF_LIFE,
        };
        self.heard.0.elapsed() >= patience
    }

    fn is_to_be_asked(&self) -> bool {
        self.asked && !self.told_asked
    }

    fn is_to_be_killed(&self) -> bool {
        self.killed.is_some() && !self.told_killed
    }
}

/// The last lines of what a job said.
fn last_lines(said: &[u8]) -> Vec<String> {
    let mut tail = Tail::default();
    tail.push(said);
    tail.take()
}

impl Executor for SlurmExecutor<'_> {
    fn start(&mut self, start: &Start) -> Result<u32> {
        self.notes.write();
        if let Some(job) = self.found.remove(&start.trial) {
            let attempt = job.attempt;
            self.jobs.insert(start.trial.clone(), Job { slot: start.slot, threads: start.threads, ..job });
            return Ok(attempt);
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
        let Some(job) = self.jobs.get_mut(trial) else { return false };
        // A worker may be seen before Slurm is asked again.
        job.begun = job.begun || job.heard.1.is_some();
        !job.begun
    }

    fn progress(&mut self, trial: &TrialId) -> Option<Progress> {
        let job = self.jobs.get(trial)?;
        read_progress(&self.experiment.trial(trial)).filter(|progress| progress.attempt >= job.attempt)
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
        (&state_of(&self.experiment.trial(trial))).into()
    }

    fn alias(&mut self, trial: &TrialId, source: &TrialId) -> Result<Box<Outcome>> {
        (self.make_alias)(trial, source).map(Box::new)
    }

    fn give_up(&mut self, trial: &TrialId, end: End, reason: &str) -> Result<()> {
        match self.settings.work {
            Work::ScoreAgain => Ok(()),
            Work::Train => give_up(&self.experiment.trial(trial), end, reason, &self.settings.version),
        }
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
