//! The process that measures a shape: time and peak memory are those that a worker will have.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::child::{self, Ended};
use super::probe::{How, Measured, Request, Shape};
use crate::error::{Error, Result};
use crate::schedule::this_program;

/// Measures a shape; where `stop` says so first the process is killed, and there is nothing.
pub(super) fn measure(shape: &Shape, how: &How, stop: &dyn Fn() -> bool) -> Result<Option<Measured>> {
    let failed = |what: &str| Error::internal(format!("a shape could not be measured: {what}"));
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
