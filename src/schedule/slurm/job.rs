//! One job that is waited for: a measurement.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::command::{Fault, LIMIT, run};
use super::command_threads::{Cancel, cancel};
use super::listing::{QUEUE_FORMAT, Stands, read_queue};
use super::script::{Asked, Head, Shared, for_shell, head, text_of};
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
/// Where Slurm refuses it, or the experiment's folder cannot be written.
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
    loop {
        if stop() {
            // Its request is gone: it does nothing where it cannot be cancelled.
            let _ = cancel(&[name], Cancel::Kill, LIMIT);
            return Ok(JobEnd::Stopped);
        }
        let code = fs::read_to_string(submission.exit(experiment, 0)).ok();
        let mut over = code.is_some();
        if !over && Instant::now() >= ask {
            let arguments = ["--noheader", "--array", "--states=all", "--format", QUEUE_FORMAT].map(str::to_owned);
            // While Slurm does not answer the job goes on.
            if let Ok(listed) = run("squeue", &[&arguments[..], std::slice::from_ref(&name)].concat(), LIMIT) {
                over = read_queue(&listed).iter().all(|job| matches!(job.stands, Stands::Ended(_)));
            }
            ask = Instant::now() + ASK;
        }
        if over {
            let said = fs::read_to_string(submission.log(experiment, 0)).unwrap_or_default();
            let code = fs::read_to_string(submission.exit(experiment, 0)).ok().or(code);
            let code = code.and_then(|text| text.trim().parse().ok());
            return Ok(JobEnd::Itself(code, fs::read(answer).unwrap_or_default(), said));
        }
        thread::sleep(LOOK);
    }
}

fn refused(what: &str, fault: &Fault) -> Error {
    let kind = if fault.passes() { Kind::Io } else { Kind::Usage };
    Error::new(kind, format!("{what}: {}", fault.words()))
}
