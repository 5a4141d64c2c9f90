//! Training a trial: an attempt, from its beginning to the outcome.

use std::sync::atomic::AtomicBool;

use super::assignment::{Assignment, Leaves};
use super::heartbeat::Heart;
use super::memory::peak_memory_bytes;
use super::note::Noting;
use crate::durable;
use crate::error::{Kind, Result};
use crate::plan::TrialId;
use crate::record::ParquetRecorder;
use crate::rows::{ARITHMETIC, PROTOCOL, Recorder, now_utc};
use crate::runs::{Attempt, AttemptEnd, End, Outcome, TrialFolder, end_attempt, write_outcome};
use crate::train::{self, Ended, Folders, device};

/// The room that a short file is waited for with, bytes.
const ROOM: u64 = 64 << 10;

/// Trains as far as it is let. An attempt that ends badly is the runner's to note.
pub(super) fn train(assignment: &Assignment, attempt: &Attempt, heart: Heart, stop: &AtomicBool) -> Result<Leaves> {
    let folder = &assignment.folder;
    let Some(outcome) = to_the_end(assignment, attempt, &heart, stop)? else {
        end_attempt(folder, attempt, AttemptEnd::Interrupted, &[])?;
        return Ok(Leaves::Interrupted);
    };
    let has_ended = || end_attempt(folder, attempt, AttemptEnd::Outcome(outcome.end), &[]);
    durable::patiently(folder.path(), ROOM, Some(stop), has_ended)?;
    // No note is half written when the last file is there: nobody sweeps the folder of a trial that is over.
    drop(heart);
    write_outcome(folder, &outcome)?;
    Ok(Leaves::Done)
}

/// Trains to the end (an outcome) or to a stop (none).
fn to_the_end(assignment: &Assignment, attempt: &Attempt, heart: &Heart, stop: &AtomicBool) -> Result<Option<Outcome>> {
    let (folder, job) = (&assignment.folder, assignment.job()?);
    tracing::info!(trial = job.id.as_str(), attempt = attempt.attempt, threads = attempt.threads, "begins");
    let hardware = assignment.hardware(&job)?;
    let (record, starts_over) = open_record(folder, &job.id)?;
    let mut recorder = Noting::new(record, (heart, stop), folder, &job, attempt);
    if let Some(why) = starts_over {
        recorder.starts_over(&why);
    }
    let experiment = assignment.experiment()?;
    let checkpoints = folder.checkpoints();
    let folders = Folders { experiment, checkpoints: &checkpoints, name: "checkpoints" };
    let ended = train::run(&job, folders, &hardware, attempt.attempt, &mut recorder, stop);
    let outcome = |end, reason, summary: train::Trained| Outcome {
        end,
        reason,
        steps: summary.steps as i64,
        tokens_seen: summary.tokens_seen as i64,
        training_seconds: summary.training_seconds,
        peak_memory_bytes: peak_memory_bytes(),
        peak_device_memory_bytes: summary.peak_device_memory_bytes.map(|bytes| bytes as i64),
        scores: summary.scores,
        protocol: PROTOCOL,
        finished_utc: now_utc(),
        program: crate::program(),
        arithmetic: Some(ARITHMETIC),
        processor: device::processor(&hardware),
        gpu: attempt.gpu.clone(),
        clipping: None,
        alias_of: None,
        files: Vec::new(),
    };
    let outcome = match ended {
        Ok(Ended::Completed(summary)) => {
            // One that could not be made costs nothing; one that cannot be written is made again, as everything else.
            if let Some(sample) = &summary.sample {
                durable::patiently(folder.path(), ROOM, Some(stop), || durable::write_json(&folder.sample(), sample))?;
            }
            outcome(End::Completed, None, summary)
        }
        Ok(Ended::Diverged { reason, summary }) => outcome(End::Diverged, Some(reason), summary),
        Ok(Ended::Interrupted { step }) => {
            tracing::info!(step, "saved and leaves");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let record = recorder.into_record();
    // From the rows, which are those of all attempts.
    let clipping = record.clipping()?;
    let files = record.finish()?;
    tracing::info!(end = ?outcome.end, "ends");
    Ok(Some(Outcome { clipping, files, ..outcome }))
}

/// Opens the trial's record. Where a file of it is damaged, rows that the checkpoints rely on are lost: the trial starts over, and why is
/// told.
fn open_record(folder: &TrialFolder, id: &TrialId) -> Result<(ParquetRecorder, Option<String>)> {
    match ParquetRecorder::open(folder, id) {
        Err(error) if error.kind() == Kind::Data => {
            tracing::warn!(error = error.chain(), "the record is damaged: the trial starts over");
            durable::remove_folder(&folder.checkpoints())?;
            durable::remove_folder(&folder.steps_parts())?;
            let tables = [folder.steps(), folder.evaluations(), folder.checkpoints_parquet(), folder.token_nll()];
            for path in tables.into_iter().chain([folder.positions()]) {
                durable::remove_file(&path)?;
            }
            let why = format!("its record is damaged: {}", error.chain());
            Ok((ParquetRecorder::open(folder, id)?, Some(why)))
        }
        result => Ok((result?, None)),
    }
}
