//! What Slurm is asked and told, and what it answers.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::SlurmExecutor;
use super::state::{HURRY, Job, LEAST, MOST, Sent, TIMES};
use crate::rows::now_utc;
use crate::schedule::slurm::command::Fault;
use crate::schedule::slurm::command_threads::{Answer, Cancel};
use crate::schedule::slurm::listing::{Listed, Stands, waits_for_ever};

impl SlurmExecutor<'_> {
    pub(super) fn ask(&mut self) {
        let names: Vec<String> =
            self.open.values().filter(|open| open.is_known_to_slurm()).map(|o| o.submission.name.clone()).collect();
        if !self.clerk.is_asking() && Instant::now() >= self.pace.ask && !names.is_empty() {
            self.clerk.ask(&names);
        }
    }

    pub(super) fn on_queue(&mut self, asked: Instant, jobs: Result<Vec<Listed>, Fault>) {
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
        let mut listed: HashMap<(&str, Option<usize>), &Listed> = HashMap::new();
        for job in &jobs {
            let known = listed.entry((job.name.as_str(), job.task)).or_insert(job);
            if matches!(known.stands, Stands::Ended(_)) {
                *known = job;
            }
        }
        self.find_submissions(asked, &listed);
        let (mut reasons, mut requeued) = (Vec::new(), Vec::new());
        for job in self.jobs.values_mut().chain(self.found.values_mut()) {
            let Some(open) = self.open.get(&job.name) else { continue };
            // What was submitted after it was asked cannot be listed.
            if !matches!(open.stands, Sent::Yes { since } if since <= asked) {
                continue;
            }
            let of = |task| listed.get(&(job.name.as_str(), task)).copied();
            match of(Some(job.task)).or_else(|| of(None)) {
                Some(listed) => {
                    if job.is_listed(&listed.stands) {
                        requeued.push(format!("{}_{}", listed.job, job.task));
                    }
                    let help = (listed.stands == Stands::Waits).then(|| waits_for_ever(&listed.reason)).flatten();
                    reasons.extend(help.map(|help| (listed.job.clone(), job.task, listed.reason.clone(), help)));
                }
                None => drop(job.gone.get_or_insert_with(Instant::now)),
            }
        }
        for job in requeued {
            (self.settings.tell)(&format!("job {job} was requeued, and waits again"));
        }
        for (job, task, reason, help) in reasons {
            if self.told_reasons.insert(reason.clone()) {
                (self.settings.tell)(&format!("job {job}_{task} waits, and will not start as it is ({reason}): {help}"));
            }
        }
    }

    /// Looks up jobs that are listed no more and left nothing.
    pub(super) fn look_up(&mut self) {
        if self.clerk.is_looking_up() {
            return;
        }
        let lost = |job: &Job| job.gone.is_some() && !job.looked_up && job.ended.is_none();
        let names: HashSet<String> =
            self.jobs.values().chain(self.found.values()).filter(|job| lost(job)).map(|job| job.name.clone()).collect();
        let since = names.iter().filter_map(|name| Some(self.open.get(name)?.submission.submitted_utc)).min();
        if let Some(since) = since {
            let seconds = u64::try_from((now_utc() - since) / 1_000_000).unwrap_or(0);
            self.clerk.look_up(&names.into_iter().collect::<Vec<_>>(), seconds);
        }
    }

    pub(super) fn on_accounts(&mut self, accounts: Result<Vec<(Listed, Option<i32>)>, Fault>) {
        // A site without accounts says so each time.
        let known = accounts.unwrap_or_default();
        for job in self.jobs.values_mut().chain(self.found.values_mut()).filter(|job| job.gone.is_some()) {
            job.looked_up = true;
            let of = |task: Option<usize>| known.iter().find(|(listed, _)| listed.name == job.name && listed.task == task);
            if let Some((Listed { stands: Stands::Ended(ending), .. }, code)) = of(Some(job.task)).or_else(|| of(None)) {
                job.ends(*ending);
                job.code = *code;
            }
        }
    }

    /// Has Slurm told of jobs that are to stop, or to end.
    pub(super) fn cancel(&mut self) {
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

    pub(super) fn on_cancelled(&mut self, result: Result<(), Fault>) {
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

    pub(super) fn on_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Submitted(name, result) => self.on_submitted(&name, result),
            Answer::Queue { asked, jobs } => self.on_queue(asked, jobs),
            Answer::Accounts(accounts) => self.on_accounts(accounts),
            Answer::Cancelled(result) => self.on_cancelled(result),
        }
        self.pace.look = Instant::now();
    }
}
