//! A checkpoint is a folder that is complete or absent: weights in Hugging Face's layout, optimizer, position, manifest.
//!
//! ```text
//! step-00000400/  model.safetensors config.json tokenizer.json tokenizer_config.json
//!                 optimizer.safetensors state.json manifest.json
//! ```
//!
//! `manifest.json` names every other file with its size and BLAKE3. A folder whose manifest does not hold, or that a newer program
//! wrote, is not a checkpoint: the one before it is taken. One that cannot be read just now says nothing: the attempt fails. Of a trial
//! that is complete, the optimizer's file is gone again ([`keep_weights_only`]).

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Job;
use super::backend::{Lent, State};
use super::export;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::model::gpu::Stamp;
use crate::model::{Config, Parameter};
use crate::plan::TrialId;
use crate::pulse::Beating;
use crate::rows::{ARITHMETIC, CheckpointKind, Recorder};
use crate::runs::{WEIGHTS, checkpoint_name, list_checkpoints};
use crate::words;

/// Version of `state.json` and of `manifest.json` that this program writes, and the newest that it reads.
const VERSION: u32 = 1;
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
/// What is beside tensors and tokenizer takes less, bytes.
const DESCRIPTION: u64 = 256 << 10;

/// Why a checkpoint was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was due, it is the best so far, or it is the last: it has a row.
    Kept(CheckpointKind),
    /// The worker was asked to stop; it has no row.
    Interrupted,
}

/// The best validation loss so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The step it was measured at.
    pub step: u64,
    /// Nats per token.
    pub loss: f64,
}

/// `state.json`: the position, and what the step loop remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Version of this file.
    pub version: u32,
    /// Version of the arithmetic.
    pub arithmetic: u32,
    /// What it was computed with, on a device where that decides the bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<Stamp>,
    /// The program that wrote it.
    pub program: String,
    /// The trial it belongs to.
    pub trial: String,
    /// Why it was written.
    pub reason: Reason,
    /// Steps done.
    pub step: u64,
    /// Target tokens trained on.
    pub tokens_seen: u64,
    /// Seconds inside steps.
    pub training_seconds: f64,
    /// The best validation loss so far.
    pub best: Option<Best>,
    /// Validation loss at this step, where one was measured.
    pub validation_loss: Option<f64>,
    /// Training losses of the last steps, oldest first.
    pub recent_losses: Vec<f64>,
    /// Checkpoints that have a row and were on disk when this one was written, without this one.
    pub kept: Vec<u64>,
    /// Evaluations on the way that were recorded up to here; an earlier version did not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<i64>,
    /// Seconds of the last step, where what is due after it (an evaluation, a checkpoint) was not done: it is when the trial goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_after: Option<f64>,
    /// Microseconds since 1970 (UTC).
    pub time_utc: i64,
}

impl Position {
    /// Whether everything is recorded that was when this was written: a worker that had lost the trial may have put older rows in its place.
    fn is_led_up_to_by(&self, recorder: &dyn Recorder) -> bool {
        recorder.recorded(self.step as i64).is_none_or(|recorded| {
            recorded.steps >= self.step as i64 && self.evaluations.is_none_or(|evaluations| recorded.evaluations >= evaluations)
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestFile {
    name: String,
    bytes: u64,
    blake3: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Bytes of weights, optimizer and what describes them.
    pub bytes: u64,
    /// BLAKE3 of the weights.
    pub blake3: String,
    /// Seconds it took.
    pub seconds: f64,
}

/// A checkpoint read back.
#[derive(Debug)]
pub struct Loaded {
    /// How far the training had come.
    pub position: Position,
    /// Weights and moments; without moments where only the weights were kept.
    pub state: State,
    /// Size and hash, as when it was written (seconds are unknown: 0).
    pub written: Written,
}

fn hash_file(path: &Path) -> Result<(u64, String)> {
    let file = fs::File::open(path).map_err(|e| Error::io("open", path, e))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(Beating(file)).map_err(|e| Error::io("read", path, e))?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

fn manifest_of(folder: &Path, names: &[&str]) -> Result<Manifest> {
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        let (bytes, blake3) = hash_file(&folder.join(name))?;
        files.push(ManifestFile { name: (*name).to_owned(), bytes, blake3 });
    }
    Ok(Manifest { version: VERSION, files })
}

/// Size and hash as the row of a checkpoint has them: of what training decides, so that a trial that was killed on its way ends
/// with the same rows. `state.json` holds times, and the manifest its hash.
fn measure(manifest: &Manifest) -> Written {
    let bytes = manifest.files.iter().filter(|f| f.name != STATE).map(|f| f.bytes).sum();
    let weights = manifest.files.iter().find(|f| f.name == WEIGHTS);
    Written { bytes, blake3: weights.map_or_else(String::new, |f| f.blake3.clone()), seconds: 0.0 }
}

/// The room that a checkpoint takes at most, bytes: values and two moments of 4 bytes each, and what describes them.
pub fn room(config: &Config, tokenizer: &Path) -> u64 {
    let values: usize = config.parameters().iter().map(Parameter::len).sum();
    12 * values as u64 + fs::metadata(tokenizer).map_or(0, |found| found.len()) + DESCRIPTION
}

/// Writes a checkpoint whole or not at all.
///
/// # Errors
/// Of kind [`Kind::DiskFull`] also where it is known not to fit: then nothing is written.
pub fn save(
    checkpoints: &Path,
    job: &Job,
    config: &Config,
    tokenizer: &Path,
    position: &Position,
    state: &State<Lent<'_>>,
) -> Result<Written> {
    let started = Instant::now();
    durable::create_folder(checkpoints)?;
    let target = checkpoints.join(checkpoint_name(position.step));
    let bytes = room(config, tokenizer);
    // One that cannot be finished would take from others what room there is.
    if !durable::has_room(checkpoints, bytes) {
        let message = format!("there is no room for {}, which takes {}", target.display(), words::bytes(bytes));
        return Err(Error::new(Kind::DiskFull, message));
    }
    let parameters = config.parameters();
    durable::folder_with(&target, |folder| {
        export::write_weights(&folder.join(WEIGHTS), config, &parameters, &state.values)?;
        export::write_moments(&folder.join(OPTIMIZER), &parameters, &state.first, &state.second)?;
        export::write_description(folder, config, &job.corpus, tokenizer)?;
        durable::fill_json(&folder.join(STATE), position)?;
        let names = [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", OPTIMIZER, STATE];
        durable::fill_json(&folder.join(MANIFEST), &manifest_of(folder, &names)?)
    })?;
    let written = measure(&read_manifest(&target)?);
    Ok(Written { seconds: started.elapsed().as_secs_f64(), ..written })
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let found: Option<Manifest> = durable::read_json(&folder.join(MANIFEST))?;
    let manifest = found.ok_or_else(|| Error::data(format!("{} has no manifest", folder.display())))?;
    readable(&folder.join(MANIFEST), manifest.version)?;
    Ok(manifest)
}

/// Whether this program knows what a file of this version says.
fn readable(file: &Path, version: u32) -> Result<()> {
    if version <= VERSION {
        return Ok(());
    }
    let message = format!("{} has version {version}, and this program reads up to {VERSION}", file.display());
    Err(Error::data(message).help("use the program that wrote it, or a newer one"))
}

/// Holds files of a checkpoint against its manifest.
fn check(folder: &Path, manifest: &Manifest, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for file in manifest.files.iter().filter(|file| wanted(&file.name)) {
        let path = folder.join(&file.name);
        if !path.try_exists().map_err(|e| Error::io("look at", &path, e))? {
            return Err(Error::data(format!("{} is missing", path.display())));
        }
        let (bytes, blake3) = hash_file(&path)?;
        if bytes != file.bytes || blake3 != file.blake3 {
            return Err(Error::data(format!("{} is not what its manifest says", path.display())));
        }
    }
    Ok(())
}

/// Whether what a model is read from is as it was written: all files but the optimizer's.
///
/// # Errors
/// Where a file is missing or is not what the manifest says.
pub fn verify(folder: &Path) -> Result<()> {
    check(folder, &read_manifest(folder)?, |name| name != OPTIMIZER)
}

/// What a checkpoint says of itself; the file alone is read.
pub fn position(folder: &Path) -> Result<Position> {
    let found: Option<Position> = durable::read_json(&folder.join(STATE))?;
    let position = found.ok_or_else(|| Error::data(format!("{} has no state", folder.display())))?;
    readable(&folder.join(STATE), position.version)?;
    Ok(position)
}

/// Reads a checkpoint, every file held against the manifest.
pub fn load(folder: &Path, config: &Config) -> Result<Loaded> {
    let manifest = read_manifest(folder)?;
    check(folder, &manifest, |_| true)?;
    let position = position(folder)?;
    let parameters = config.parameters();
    let values = export::read_tensors(&folder.join(WEIGHTS), &parameters, "")?;
    let moments = folder.join(OPTIMIZER);
    let (first, second) = if manifest.files.iter().any(|f| f.name == OPTIMIZER) {
        (export::read_tensors(&moments, &parameters, "first.")?, export::read_tensors(&moments, &parameters, "second.")?)
    } else {
        (Vec::new(), Vec::new())
    };
    let written = measure(&manifest);
    Ok(Loaded { state: State { steps: position.step, values, first, second }, position, written })
}

/// The position and the weights of a checkpoint, held against the manifest; its optimizer is not read.
pub fn load_weights(folder: &Path, config: &Config) -> Result<(Position, Vec<Vec<f32>>)> {
    verify(folder)?;
    let values = export::read_tensors(&folder.join(WEIGHTS), &config.parameters(), "")?;
    Ok((position(folder)?, values))
}

/// The newest checkpoint that holds and belongs to this trial and this arithmetic; what does not hold, or was written by a newer
/// program, is passed over with a warning. So is one that needs what is not there: rows that lead up to it, the best weights so far. Where
/// the weights alone were kept, it serves only where it is the final one: all was scored then, and the best weights may be gone.
///
/// # Errors
/// Where one cannot be read just now (a server that is away, too many open files): it may be whole, and those before it are older.
pub fn newest(checkpoints: &Path, job: &Job, config: &Config, recorder: &dyn Recorder) -> Result<Option<Loaded>> {
    for (step, folder) in list_checkpoints(checkpoints)?.into_iter().rev() {
        match load(&folder, config) {
            Ok(loaded) if loaded.position.trial != job.id.as_str() => {
                tracing::warn!(step, "a checkpoint of another trial is passed over");
            }
            Ok(loaded) if loaded.position.arithmetic != ARITHMETIC => {
                tracing::warn!(step, "a checkpoint of another version of the arithmetic is passed over");
            }
            Ok(loaded) if loaded.state.first.is_empty() && loaded.position.reason != Reason::Kept(CheckpointKind::Final) => {
                tracing::warn!(step, "a checkpoint without its optimizer is passed over");
            }
            Ok(loaded) if !loaded.position.is_led_up_to_by(recorder) => {
                tracing::warn!(step, "a checkpoint is passed over that has more behind it than is recorded");
            }
            Ok(loaded) if lacks_best(checkpoints, &loaded)? => {
                tracing::warn!(step, "a checkpoint is passed over, since that of the best weights is gone or damaged");
            }
            Ok(loaded) => return Ok(Some(loaded)),
            Err(error) if error.kind() == Kind::Data => {
                tracing::warn!(step, error = error.chain(), "a checkpoint that cannot be read is passed over");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether the best weights so far are needed, to be scored at the end, and are gone or damaged.
fn lacks_best(checkpoints: &Path, loaded: &Loaded) -> Result<bool> {
    let is_scored = loaded.state.first.is_empty();
    let best = loaded.position.best.filter(|best| !is_scored && best.step != loaded.position.step);
    let Some(best) = best else { return Ok(false) };
    match verify(&checkpoints.join(checkpoint_name(best.step))) {
        Err(error) if error.kind() == Kind::Data => Ok(true),
        verified => verified.map(|()| false),
    }
}

/// The step that a finished trial ended at: that of its newest checkpoint which says that it is the final one.
///
/// # Errors
/// Where one cannot be read; where none is the final one, and one is damaged or was written by a newer program.
pub fn final_step(checkpoints: &Path, trial: &TrialId) -> Result<Option<u64>> {
    let mut unknown = None;
    for (step, folder) in list_checkpoints(checkpoints)?.into_iter().rev() {
        match position(&folder) {
            Ok(found) if found.trial == trial.as_str() && found.reason == Reason::Kept(CheckpointKind::Final) => {
                return Ok(Some(step));
            }
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Data => drop(unknown.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    unknown.map_or(Ok(None), Err)
}

/// Drops the optimizer's state of a checkpoint whose weights stay: the manifest first, so that it holds at every moment.
pub fn keep_weights_only(folder: &Path) -> Result<()> {
    let mut manifest = read_manifest(folder)?;
    manifest.files.retain(|f| f.name != OPTIMIZER);
    durable::write_json(&folder.join(MANIFEST), &manifest)?;
    durable::remove_file(&folder.join(OPTIMIZER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse;

    #[test]
    fn a_large_file_gives_signs_of_life_while_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
        let before = pulse::beats();
        assert_eq!(hash_file(&path).unwrap().0, 64 << 20);
        let hashed = pulse::beats();
        assert!(hashed - before >= 4, "{}", hashed - before);
        assert!(export::read_tensors(&path, &[], "").is_err(), "it is no file of tensors");
        assert!(pulse::beats() - hashed >= 4, "{}", pulse::beats() - hashed);
    }
}
