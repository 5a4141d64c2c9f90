//! The attempts of a trial: one file an execution, numbered from 1.
//!
//! The number is apart from the trial's identity: a retried or resumed trial has the same id and one attempt more. The file is
//! created when the attempt begins, so a worker that is killed at once still leaves a trace.
//!
//! It is also the worker's claim on the trial. A lock may lie where a file system is shared; that a file is created only once holds there
//! too. So the newest number has the trial, and a worker gives way as soon as there is a newer one ([`durable::give_way`]).

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::{Attempt, AttemptEnd, TrialFolder, boot, host};
use crate::device::{Device, Gpu};
use crate::durable;
use crate::error::{Error, Result};
use crate::rows::now_utc;

impl Attempt {
    /// The attempt of this number that this process begins now, in a slot with so many threads, on a device: where it is an NVIDIA GPU,
    /// on the one that its runner calls so.
    pub fn beginning(number: u32, pid: u32, (slot, threads): (u32, u32), (device, gpu): (Device, Option<Gpu>)) -> Self {
        Self {
            attempt: number,
            pid,
            host: host(),
            boot: boot(),
            token: Some(token()),
            slot,
            threads,
            device: gpu.as_ref().map_or(device, Gpu::device),
            gpu,
            program: crate::program(),
            from_step: 0,
            started_utc: now_utc(),
            ended_utc: None,
            ended: None,
            last_lines: Vec::new(),
        }
    }
}

/// 64 random bits, as text: the system gives the keys of a hash table's hasher.
fn token() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Numbers of the attempts that have a file, ascending. A file that cannot be read counts.
fn numbers(folder: &TrialFolder) -> Result<Vec<u32>> {
    let path = folder.attempts();
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", &path, e)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::io("list", &path, e))?.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number of the next attempt.
pub fn next_attempt(folder: &TrialFolder) -> Result<u32> {
    Ok(numbers(folder)?.last().map_or(1, |last| last.saturating_add(1)))
}

/// All attempts, oldest first. An error where one is damaged.
pub fn attempts(folder: &TrialFolder) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for number in numbers(folder)? {
        // One that vanished between listing and reading is no attempt.
        attempts.extend(durable::read_json::<Attempt>(&folder.attempt(number))?);
    }
    Ok(attempts)
}

/// Claims the trial for an attempt: on disk when this returns. False where another worker has claimed it under this number.
pub fn claim_attempt(folder: &TrialFolder, attempt: &Attempt) -> Result<bool> {
    durable::create_folder(&folder.attempts())?;
    durable::create_json(&folder.attempt(attempt.attempt), attempt)
}

/// Writes what an attempt says of itself: on disk when this returns. Only by who claimed it.
pub fn begin_attempt(folder: &TrialFolder, attempt: &Attempt) -> Result<()> {
    durable::create_folder(&folder.attempts())?;
    durable::write_json(&folder.attempt(attempt.attempt), attempt)
}

/// Writes how an attempt ended, now unless `known` says when. `known` is what the caller knows of it: what the worker wrote at its
/// start stands, `known` fills in where it wrote nothing readable. The attempt of another process that was quicker with this number stays
/// as it is.
pub fn end_attempt(folder: &TrialFolder, known: &Attempt, ended: AttemptEnd, last_lines: &[String]) -> Result<()> {
    let written = durable::read_json::<Attempt>(&folder.attempt(known.attempt)).ok().flatten();
    let mut attempt = written.unwrap_or_else(|| known.clone());
    // Of the worker of a cluster's job the runner does not know the process.
    if known.pid != 0 && (attempt.pid, &attempt.host) != (known.pid, &known.host) {
        return Ok(());
    }
    attempt.ended_utc = Some(known.ended_utc.unwrap_or_else(now_utc));
    attempt.ended = Some(ended);
    attempt.last_lines = last_lines.to_vec();
    begin_attempt(folder, &attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    fn attempt(number: u32) -> Attempt {
        Attempt {
            attempt: number,
            pid: 7,
            host: "rack".to_owned(),
            boot: None,
            token: None,
            slot: 1,
            threads: 2,
            device: Device::Cpu,
            gpu: None,
            program: "votive 0.1.0".to_owned(),
            from_step: 0,
            started_utc: 5,
            ended_utc: None,
            ended: None,
            last_lines: Vec::new(),
        }
    }

    fn trial() -> (tempfile::TempDir, TrialFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = TrialFolder::at(&dir.path().join("t"));
        (dir, folder)
    }

    #[test]
    fn attempts_are_numbered_from_one_and_read_back_in_order() {
        let (_dir, folder) = trial();
        assert_eq!(next_attempt(&folder).unwrap(), 1);
        assert!(attempts(&folder).unwrap().is_empty());
        for number in [2, 1, 10] {
            begin_attempt(&folder, &attempt(number)).unwrap();
        }
        assert_eq!(next_attempt(&folder).unwrap(), 11);
        let numbers: Vec<u32> = attempts(&folder).unwrap().iter().map(|a| a.attempt).collect();
        assert_eq!(numbers, [1, 2, 10]);
    }

    #[test]
    fn the_end_keeps_what_the_worker_wrote_at_its_start() {
        let (_dir, folder) = trial();
        begin_attempt(&folder, &Attempt { from_step: 40, ..attempt(1) }).unwrap();
        end_attempt(&folder, &attempt(1), AttemptEnd::Badly("crashed: signal 11".to_owned()), &["boom".to_owned()]).unwrap();
        let read = attempts(&folder).unwrap().remove(0);
        assert_eq!((read.from_step, read.ended), (40, Some(AttemptEnd::Badly("crashed: signal 11".to_owned()))));
        assert!(read.ended_utc.unwrap() > read.started_utc);
        assert_eq!(read.last_lines, ["boom"]);
    }

    #[test]
    fn the_end_of_an_attempt_that_never_wrote_anything_is_still_recorded() {
        for damaged in [false, true] {
            let (_dir, folder) = trial();
            if damaged {
                begin_attempt(&folder, &attempt(1)).unwrap();
                fs::write(folder.attempt(1), "{").unwrap();
            }
            end_attempt(&folder, &attempt(1), AttemptEnd::Badly("crashed: exit code 2".to_owned()), &[]).unwrap();
            assert_eq!(attempts(&folder).unwrap()[0].ended, Some(AttemptEnd::Badly("crashed: exit code 2".to_owned())));
        }
    }

    #[test]
    fn of_several_workers_one_claims_a_number() {
        let (_dir, folder) = trial();
        let beginning = |number| Attempt::beginning(number, 7, (1, 1), (Device::Cpu, None));
        for number in [1, 2] {
            let (first, second) = (beginning(number), beginning(number));
            assert_ne!(first.token, second.token);
            assert!(claim_attempt(&folder, &first).unwrap());
            assert!(!claim_attempt(&folder, &second).unwrap());
            assert!(claim_attempt(&folder, &first).unwrap(), "the answer to the first try may have been lost");
            assert_eq!(attempts(&folder).unwrap().last(), Some(&first));
        }
        assert_eq!(fs::read_dir(folder.attempts()).unwrap().count(), 2);
    }

    #[test]
    fn the_end_of_one_attempt_is_not_written_into_that_of_a_quicker_process() {
        let (_dir, folder) = trial();
        let quicker = Attempt { pid: 8, ..attempt(1) };
        assert!(claim_attempt(&folder, &quicker).unwrap());
        end_attempt(&folder, &attempt(1), AttemptEnd::Badly("crashed: signal 9".to_owned()), &[]).unwrap();
        assert_eq!(attempts(&folder).unwrap(), std::slice::from_ref(&quicker));
        // Who waits for the job of a cluster does not know its process.
        end_attempt(&folder, &Attempt { pid: 0, ..attempt(1) }, AttemptEnd::Interrupted, &[]).unwrap();
        assert_eq!(attempts(&folder).unwrap()[0].ended, Some(AttemptEnd::Interrupted));
    }

    #[test]
    fn a_damaged_attempt_is_an_error_but_still_counts_as_a_number() {
        let (_dir, folder) = trial();
        begin_attempt(&folder, &attempt(3)).unwrap();
        fs::write(folder.attempt(3), "nonsense").unwrap();
        assert_eq!(next_attempt(&folder).unwrap(), 4);
        assert!(attempts(&folder).unwrap_err().to_string().ends_with("0003.json is damaged"));
    }

    #[test]
    fn files_that_are_no_attempts_are_passed_over() {
        let (_dir, folder) = trial();
        begin_attempt(&folder, &attempt(1)).unwrap();
        for name in [".tmp-1-0002.json.part", "notes.txt", "x.json"] {
            fs::write(folder.attempts().join(name), "").unwrap();
        }
        assert_eq!(next_attempt(&folder).unwrap(), 2);
        assert_eq!(attempts(&folder).unwrap().len(), 1);
    }
}
