//! The process that measures a shape: time and peak memory are those that a worker will have.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::child::{self, Ended};
use super::probe::{How, Measured, Request, Shape};
use crate::error::{Error, Result};
use crate::runs::ExperimentFolder;
use crate::schedule::slurm::{JobEnd, Shared, run_job};
use crate::schedule::this_program;

/// Measures a shape; where `stop` says so first the process is killed, and there is nothing.
pub(super) fn measure(shape: &Shape, how: &How, stop: &dyn Fn() -> bool) -> Result<Option<Measured>> {
    if let Some((shared, memory)) = &how.cluster {
        return measure_as_job(shape, how, (shared, *memory), stop);
    }
    let threads = shape.threads.to_string();
    let mut child = Command::new(this_program()?)
        .arg0("votive")
        .arg("probe")
        .env("RAYON_NUM_THREADS", &threads)
        .env("OMP_NUM_THREADS", &threads)
        // It sees its own GPU alone, as a worker does.
        .envs(how.gpus.first().map(|gpu| ("CUDA_VISIBLE_DEVICES", &gpu.uuid)))
        // Ctrl-C on the terminal reaches the runner alone.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed("no process").caused_by(e))?;
    let request = Request { shape, libraries: how.search.libraries.clone(), kernels: how.search.cache.clone() };
    let mut text = serde_json::to_vec(&request).map_err(|e| failed("no description").caused_by(e))?;
    text.push(b'\n');
    // Held until it has answered: where the pipe ends before, its runner is gone.
    let mut pipe = child.stdin.take();
    if let Some(pipe) = &mut pipe {
        pipe.write_all(&text).map_err(|e| failed("no pipe").caused_by(e))?;
    }
    match child::wait(child, how.patience, stop).map_err(|e| failed("no answer").caused_by(e))? {
        Ended::Stopped => Ok(None),
        Ended::Hung(seconds) => Err(failed(&format!("silent for {seconds} s while probing, and killed"))),
        Ended::Itself { status, answer, .. } if status.success() => {
            serde_json::from_slice(&answer).map(Some).map_err(|e| failed("an answer that cannot be read").caused_by(e))
        }
        Ended::Itself { status, complaint, .. } => {
            let last = complaint.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
            Err(failed(&format!("{status} ({last})")))
        }
    }
}

/// Measures it as a job of a cluster, whose processors are others than this machine's.
fn measure_as_job(
    shape: &Shape,
    how: &How,
    (shared, memory): (&Shared, u64),
    stop: &dyn Fn() -> bool,
) -> Result<Option<Measured>> {
    let request = Request { shape, libraries: how.search.libraries.clone(), kernels: how.search.cache.clone() };
    let text = serde_json::to_vec(&request).map_err(|e| failed("no description").caused_by(e))?;
    let folder = ExperimentFolder::at(Path::new(&shared.folder));
    let threads = u32::try_from(shape.threads).unwrap_or(u32::MAX);
    match run_job(shared, &folder, (threads, memory), &text, stop)? {
        JobEnd::Stopped => Ok(None),
        JobEnd::Itself(Some(0), answer, _) => {
            serde_json::from_slice(&answer).map(Some).map_err(|e| failed("an answer that cannot be read").caused_by(e))
        }
        JobEnd::Itself(code, _, output) => {
            let last = output.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
            let how = code.map_or_else(|| "its job ended".to_owned(), |code| format!("exit code {code}"));
            Err(failed(&format!("{how} ({last})")))
        }
    }
}

fn failed(what: &str) -> Error {
    Error::internal(format!("a shape could not be measured: {what}"))
}
