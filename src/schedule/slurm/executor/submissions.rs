//! How started trials become submissions, and what becomes of these.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, Instant};

use super::state::{Job, LEAST, Open, Sent};
use super::{Needed, SlurmExecutor};
use crate::durable;
use crate::error::Kind;
use crate::plan::TrialId;
use crate::runs::{Submission, Task};
use crate::schedule::slurm::command::Fault;
use crate::schedule::slurm::listing::Listed;
use crate::schedule::slurm::script::{Asked, script, text_of};
use crate::schedule::{Cause, Exit, Failure, Finished, Start};

/// Before `sbatch` is tried again, or `scancel`.
const AGAIN: Duration = Duration::from_secs(10);

impl SlurmExecutor<'_> {
    /// Makes arrays of what was started since the last time: trials that ask for the same are one.
    pub(super) fn write_submissions(&mut self) {
        let mut groups: BTreeMap<Asked, Vec<(Start, Task)>> = BTreeMap::new();
        for (start, task) in std::mem::take(&mut self.collected) {
            let Needed { memory, seconds } = (self.settings.needed)(&start.trial);
            let asked = Asked::of(&self.settings.shared.slurm, start.threads, memory, seconds, start.ample);
            groups.entry(asked).or_default().push((start, task));
        }
        for (asked, started) in groups {
            let (starts, tasks): (Vec<Start>, Vec<Task>) = started.into_iter().unzip();
            let submission = Submission { scores_again: self.scores_again(), ..Submission::new(&self.experiment, tasks) };
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

    pub(super) fn end_unstarted(&mut self, trial: TrialId, cause: Cause, reason: String) {
        let exit = Exit::Failed(Failure { cause, reason, last_lines: Vec::new() });
        self.finished.push(Finished { trial, exit, progress: None });
    }

    /// Gives the next submission to `sbatch`.
    pub(super) fn submit(&mut self) {
        if self.clerk.is_submitting() {
            return;
        }
        let now = Instant::now();
        let due = |open: &&mut Open| matches!(open.stands, Sent::No { not_before } if not_before <= now);
        if let Some(open) = self.open.values_mut().find(due) {
            open.stands = Sent::Now;
            let script = text_of(&open.submission.script(&self.experiment));
            self.clerk.submit(&open.submission.name, script);
        }
    }

    pub(super) fn on_submitted(&mut self, name: &str, result: Result<String, Fault>) {
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
    pub(super) fn trials_of(&self, name: &str) -> Vec<TrialId> {
        self.jobs.iter().filter(|(_, job)| job.name == name).map(|(trial, _)| trial.clone()).collect()
    }

    /// The submission is over.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(open) = self.open.remove(name) {
            // What stays is found by the next runner, which sees that its trials are over.
            let _ = open.submission.remove(&self.experiment);
            self.found.retain(|_, job| job.name != name);
        }
    }

    /// What became of submissions of which nobody knows whether Slurm has them.
    pub(super) fn find_submissions(&mut self, asked: Instant, listed: &HashMap<(&str, Option<usize>), &Listed>) {
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
    pub(super) fn submit_anew(&mut self, name: &str) {
        let Some(open) = self.open.remove(name) else { return };
        let script = fs::read_to_string(open.submission.script(&self.experiment)).unwrap_or_default();
        let _ = open.submission.remove(&self.experiment);
        self.found.retain(|_, job| job.name != name);
        let trials = self.trials_of(name);
        if trials.is_empty() {
            return;
        }
        let Submission { tasks, scores_again, .. } = open.submission;
        let next = Submission { scores_again, ..Submission::new(&self.experiment, tasks) };
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

    pub(super) fn task_is_over(&mut self, name: &str, task: usize) {
        let Some(open) = self.open.get_mut(name) else { return };
        open.left.remove(&task);
        if open.left.is_empty() {
            self.remove(name);
        }
    }
}
