//! Which jobs are over, and how they ended.

use std::fs;
use std::time::Instant;

use super::state::{HURRY, Job, Sent};
use super::{LOOK, SlurmExecutor};
use crate::durable;
use crate::plan::TrialId;
use crate::rows::now_utc;
use crate::runs::{Attempt, Outcome, attempts, hear_progress, list_checkpoints};
use crate::schedule::ends::Note;
use crate::schedule::executor::Work;
use crate::schedule::slurm::job_end::{Known, verdict};
use crate::schedule::slurm::shared_files::look_again;
use crate::schedule::tail::Tail;
use crate::schedule::{Exit, Finished};

impl SlurmExecutor<'_> {
    /// Which jobs are over, by their files and what is known of them.
    pub(super) fn look(&mut self) {
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
        // Those that nobody waits for: the trial was over, or is planned no more. What is to be scored again has an outcome from the start.
        let is_done = |trial: &TrialId, job: &Job| {
            let scored_later = self.scores_again() && self.is_of_this_work(job);
            !scored_later && self.experiment.trial(trial).outcome().exists()
        };
        let over: Vec<(TrialId, String, usize)> = self
            .found
            .iter()
            .filter(|(trial, job)| (job.is_over() && job.is_quiet()) || is_done(trial, job))
            .map(|(trial, job)| (trial.clone(), job.name.clone(), job.task))
            .collect();
        for (trial, name, task) in over {
            self.found.remove(&trial);
            self.task_is_over(&name, task);
        }
    }

    /// How the job of a trial ended, once it has.
    pub(super) fn end_of(&mut self, trial: &TrialId) -> Option<Exit> {
        let folder = self.experiment.trial(trial);
        let train = self.settings.work == Work::Train;
        let job = self.jobs.get_mut(trial)?;
        let open = self.open.get(&job.name)?;
        if job.is_over() {
            [self.experiment.slurm(), folder.path().to_owned()].iter().for_each(|folder| look_again(folder));
        }
        let written = fs::read_to_string(open.submission.exit(&self.experiment, job.task)).ok();
        let code = written.and_then(|text| text.trim().parse::<i32>().ok()).or(job.code);
        let decides = train || code == Some(0);
        let outcome = if decides { durable::read_json::<Outcome>(&folder.outcome()) } else { Ok(None) };
        let is_done = matches!(outcome, Ok(Some(_)));
        if let Some(said) = hear_progress(&folder).filter(|said| job.is_said_by(said)).map(|said| said.time_utc)
            && job.heard.1 != Some(said)
        {
            job.heard = (Instant::now(), Some(said));
        }
        if code.is_some() && job.has_begun() && !job.is_over() {
            // It may be requeued: Slurm says whether it is over. What one left that waits again is of before.
            self.pace.ask = self.pace.ask.min(Instant::now() + HURRY);
        }
        let unsent = matches!(open.stands, Sent::No { .. }) && (job.asked || job.killed.is_some());
        // What has ended well has left an outcome, which may not be seen yet.
        let is_missed = code == Some(0) && matches!(outcome, Ok(None));
        if !is_done && !unsent && !(job.is_over() && ((code.is_some() && !is_missed) || job.is_quiet())) {
            return None;
        }
        if unsent && !is_done {
            return Some(job.killed.as_ref().map_or(Exit::Interrupted, |kill| kill.exit(Vec::new())));
        }
        let newest = list_checkpoints(&folder.checkpoints()).unwrap_or_default().last().map_or(0, |(step, _)| *step);
        Some(verdict(Known {
            code,
            ending: job.ending(),
            outcome,
            asked: job.asked,
            killed: job.killed.clone(),
            further: newest > job.from_step,
            last_lines: last_lines(&fs::read(open.submission.log(&self.experiment, job.task)).unwrap_or_default()),
        }))
    }

    /// The job of a trial ended so.
    pub(super) fn finish(&mut self, trial: TrialId, exit: Exit) {
        let Some(job) = self.jobs.remove(&trial) else { return };
        let folder = self.experiment.trial(&trial);
        let progress = hear_progress(&folder).filter(|progress| progress.attempt >= job.attempt);
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
    pub(super) fn attempt(&self, job: &Job, number: u32) -> Attempt {
        Attempt {
            attempt: number,
            pid: 0,
            host: String::new(),
            boot: None,
            token: None,
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
}

/// The last lines of what a job said.
fn last_lines(said: &[u8]) -> Vec<String> {
    let mut tail = Tail::default();
    tail.push(said);
    tail.take()
}
