//! One job that is waited for: a measurement.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::command::{Fault, LIMIT, run};
use super::command_threads::{Cancel, cancel};
use super::listing::{Listed, QUEUE_FORMAT, Stands, read_queue, waits_for_ever};
use super::script::{Asked, Head, Shared, for_shell, head, text_of};
use super::shared_files::{KILLED, SEEN_ELSEWHERE, look_again};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::runs::{ExperimentFolder, Submission, Task};

/// Between two looks at its files, and two calls of `squeue`.
const LOOK: Duration = Duration::from_millis(200);
const ASK: Duration = Duration::from_secs(5);
/// Its time limit, minutes.
const MINUTES: u64 = 10;

/// How it ended.
#[derive(Debug)]
pub enum JobEnd {
    /// It was taken out of the queue, since it is not wanted any more.
    Stopped,
    /// It ended with this exit code; `None` where nobody knows it.
    Itself(Option<i32>, Vec<u8>, String),
}

/// Runs `program arguments… FILE`, where the file holds `input`, as a job of its own with so many threads and so much memory (bytes); what
/// it wrote to standard output, and to standard error. Waits for it however long it takes to begin, or until `stop` says so.
///
/// # Errors
/// Where Slurm refuses it, or lists a reason for which it will never begin; where the experiment's folder cannot be written.
pub fn run_job(
    shared: &Shared,
    experiment: &ExperimentFolder,
    (threads, memory): (u32, u64),
    input: &[u8],
    stop: &dyn Fn() -> bool,
) -> Result<JobEnd> {
    // It has no trial, and is found by nobody: what it does not answer is asked again.
    let unique = Task { trial: crate::plan::TrialId::of(&String::from_utf8_lossy(input)), attempt: 0, from_step: 0 };
    let submission = Submission::new(experiment, vec![unique]);
    let file = |end: &str| experiment.slurm().join(format!("{}.{end}", submission.name));
    let (request, answer) = (file("request"), file("answer"));
    durable::create_folder(&experiment.slurm())?;
    durable::write(&request, input)?;
    let mut asked = Asked::of(&shared.slurm, threads, memory, None, false);
    asked.minutes = Some(asked.minutes.map_or(MINUTES, |minutes| minutes.min(MINUTES)));
    let head = head(shared, &Head { name: &submission.name, tasks: 1, asked, ahead: 1 });
    let program: Vec<String> = shared.program.iter().map(|word| for_shell(word)).collect();
    let (exit, part) = (text_of(&submission.exit(experiment, 0)), text_of(&file("part")));
    let text = format!(
        "{head}\n[ -e {request} ] || exit 0\nRAYON_NUM_THREADS={threads} OMP_NUM_THREADS={threads} {} {request} >{answer}\n\
         code=$?\necho \"$code\" >{part} && mv {part} {exit}\nexit \"$code\"\n",
        program.join(" "),
        request = for_shell(&text_of(&request)),
        answer = for_shell(&text_of(&answer)),
        exit = for_shell(&exit),
        part = for_shell(&part),
    );
    let script = submission.script(experiment);
    durable::write(&script, text.as_bytes())?;
    let ended = wait(&submission, experiment, &text_of(&script), &answer, stop);
    let files: [PathBuf; 2] = [request, answer];
    files.iter().for_each(|path| drop(fs::remove_file(path)));
    submission.remove(experiment)?;
    ended
}

fn wait(
    submission: &Submission,
    experiment: &ExperimentFolder,
    script: &str,
    answer: &PathBuf,
    stop: &dyn Fn() -> bool,
) -> Result<JobEnd> {
    run("sbatch", &["--parsable".to_owned(), script.to_owned()], LIMIT)
        .map_err(|fault| refused("Slurm does not take the job that measures", &fault))?;
    let name = format!("--name={}", submission.name);
    let mut ask = Instant::now() + ASK;
    let mut queue = Queue::default();
    loop {
        if stop() {
            // Its request is gone: it does nothing where it cannot be cancelled.
            let _ = cancel(&[name], Cancel::Kill, LIMIT);
            return Ok(JobEnd::Stopped);
        }
        if queue.over.is_some() {
            look_again(&experiment.slurm());
        }
        let code = fs::read_to_string(submission.exit(experiment, 0)).ok();
        if code.is_none() && Instant::now() >= ask {
            let arguments = ["--noheader", "--array", "--states=all", "--format", QUEUE_FORMAT].map(str::to_owned);
            // While Slurm does not answer the job goes on.
            if let Ok(listed) = run("squeue", &[&arguments[..], std::slice::from_ref(&name)].concat(), LIMIT) {
                let listed = read_queue(&listed);
                if let Some(why) = never_starts(&listed) {
                    let _ = cancel(&[name], Cancel::Kill, LIMIT);
                    return Err(Error::usage(format!("a shape could not be measured: {why}")));
                }
                queue.lists(&listed, Instant::now());
            }
            ask = Instant::now() + ASK;
        }
        if code.is_some() || queue.is_given_up(Instant::now()) {
            let said = fs::read_to_string(submission.log(experiment, 0)).unwrap_or_default();
            let code = code.and_then(|text| text.trim().parse().ok());
            return Ok(JobEnd::Itself(code, fs::read(answer).unwrap_or_default(), said));
        }
        thread::sleep(LOOK);
    }
}

/// What Slurm's queue says of the job.
#[derive(Debug, Default)]
struct Queue {
    /// Since when it is over, and how long its files are waited for from then on.
    over: Option<(Instant, Duration)>,
}

impl Queue {
    /// It lists these jobs, which are one, or none that it knows any more.
    fn lists(&mut self, jobs: &[Listed], now: Instant) {
        let ended = |job: &Listed| matches!(job.stands, Stands::Ended(_));
        let killed = |job: &Listed| matches!(job.stands, Stands::Ended(ending) if ending.is_a_kill());
        let patience = if jobs.iter().any(killed) { KILLED } else { SEEN_ELSEWHERE };
        let since = self.over.map_or(now, |(since, _)| since);
        self.over = jobs.iter().all(ended).then_some((since, patience));
    }

    /// Whether it has been over for so long that its files would be seen.
    fn is_given_up(&self, now: Instant) -> bool {
        self.over.is_some_and(|(since, patience)| now.duration_since(since) >= patience)
    }
}

/// Why a job that waits will not start as it is, and what would change that.
fn never_starts(jobs: &[Listed]) -> Option<String> {
    let why = |job: &Listed| {
        let help = waits_for_ever(&job.reason)?;
        Some(format!("its job waits, and will not start as it is ({}): {help}", job.reason))
    };
    jobs.iter().filter(|job| job.stands == Stands::Waits).find_map(why)
}

fn refused(what: &str, fault: &Fault) -> Error {
    let kind = if fault.passes() { Kind::Io } else { Kind::Usage };
    Error::new(kind, format!("{what}: {}", fault.words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `squeue` prints of a job in this state, with this reason.
    fn listed(state: &str, reason: &str) -> Vec<Listed> {
        read_queue(&format!("votive-0a|0|1|{state}|{reason}\n"))
    }

    #[test]
    fn a_job_that_came_to_its_end_is_given_up_when_its_files_would_be_seen_and_one_that_was_killed_at_once() {
        let start = Instant::now();
        let given_up_after = |jobs: &[Listed]| {
            let mut queue = Queue::default();
            queue.lists(jobs, start);
            queue.lists(jobs, start + Duration::from_secs(2));
            (0..200).find(|seconds| queue.is_given_up(start + Duration::from_secs(*seconds)))
        };
        for (jobs, seconds) in [
            (listed("COMPLETED", "None"), Some(90)),
            (listed("FAILED", "NonZeroExitCode"), Some(90)),
            (Vec::new(), Some(90)),
            (listed("CANCELLED", "None"), Some(3)),
            (listed("OUT_OF_MEMORY", "OutOfMemory"), Some(3)),
            (listed("PENDING", "Priority"), None),
            (listed("RUNNING", "None"), None),
        ] {
            assert_eq!(given_up_after(&jobs), seconds, "{jobs:?}");
        }
        let mut requeued = Queue::default();
        requeued.lists(&listed("NODE_FAIL", "NodeDown"), start);
        requeued.lists(&listed("PENDING", "BeginTime"), start + Duration::from_secs(1));
        assert!(!requeued.is_given_up(start + Duration::from_secs(900)), "it comes again");
    }

    #[test]
    fn a_job_that_waits_for_ever_is_told_from_one_that_waits() {
        let why = never_starts(&listed("PENDING", "BadConstraints")).unwrap();
        assert_eq!(
            why,
            "its job waits, and will not start as it is (BadConstraints): no node has these features: change `run.slurm.constraint`"
        );
        for (state, reason) in [("PENDING", "Resources"), ("PENDING", "Priority"), ("RUNNING", "BadConstraints")] {
            assert_eq!(never_starts(&listed(state, reason)), None, "{state} {reason}");
        }
    }
}
