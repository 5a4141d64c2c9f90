//! What the trials of a configuration come to, before they are trained.

use super::{Circumstances, Facts, Known, Length, footprint};
use crate::corpus::{Epoch, Prepared, Windows};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::experiment::settings::{Part, Settings};
use crate::model::{Config, shape};
use crate::words::{bytes, thousands};

/// What a trial comes to. Fails where its text is too short for a window, or its model too large for the memory.
pub(super) fn facts_of(
    settings: &Settings,
    known: &Known,
    common_context: usize,
    circumstances: Circumstances<'_>,
) -> Result<Facts> {
    let train = &settings.train;
    let (length, prepared) = (train.sequence_length, &known.prepared);
    let windows = windows_of(settings, prepared);
    has_windows(settings, prepared, &windows)?;
    let config = Config::of(&settings.model, known.from.as_ref(), prepared.vocabulary, length)?;
    let epoch = Epoch::new(windows.count(), train.batch_size);
    let bytes_per_token = prepared.train.bytes as f64 / prepared.train.tokens as f64;
    let trained = Length::of(epoch, length as u64, train.budget, bytes_per_token)?;
    let (steps, tokens) = trained.map_or((0, 0), |t| (t.steps, t.tokens));
    // One part after the other.
    let scored_tokens = prepared.scored_tokens.max(prepared.scored_test_tokens);
    let memory_bytes = footprint::memory(&config, settings, epoch.full_batch() as usize, scored_tokens, circumstances)?;
    fits_memory(memory_bytes, &config, length, circumstances)?;
    let distinct = trained.map_or(windows.distinct_targets(), |t| distinct_targets(&windows, t.windows));
    let whole = Windows::new(prepared.text_tokens, length, train.stride());
    let flops = tokens as f64 * shape::training_flops_per_token(&config, length);
    debug_assert!(common_context <= length, "the common context is one that every configuration has");
    Ok(Facts {
        text_hash: prepared.text_hash.clone(),
        validation_hash: prepared.validation_hash.clone(),
        tokenizer_hash: prepared.tokenizer_hash.clone(),
        vocabulary: prepared.vocabulary as u64,
        text_tokens: prepared.text_tokens,
        text_windows: whole.count(),
        train_tokens: prepared.train.tokens,
        train_bytes: prepared.train.bytes,
        validation_tokens: prepared.scored_tokens,
        validation_words: prepared.scored_words,
        test_tokens: prepared.scored_test_tokens,
        unknown_share: prepared.unknown_share,
        windows: windows.count(),
        steps_per_epoch: epoch.steps(),
        partial_batch: epoch.partial(),
        steps,
        tokens_per_step: epoch.full_batch() * length as u64,
        target_tokens: tokens,
        distinct_targets: distinct,
        views: tokens as f64 / distinct.max(1) as f64,
        epochs: trained.map_or(0.0, |t| t.windows as f64 / windows.count() as f64),
        parameters: shape::parameter_count(&config),
        flops,
        memory_bytes,
        disk_bytes: footprint::disk(&config, settings, prepared.scored_tokens, steps, common_context),
    })
}

/// Whether the training part and what is scored of each held-out part have a window each.
fn has_windows(settings: &Settings, prepared: &Prepared, windows: &Windows) -> Result<()> {
    let length = settings.train.sequence_length;
    let needed = Windows::smallest_text(length);
    if windows.count() == 0 {
        // A held-out part must hold a window as well: the smaller of the two shares decides.
        let whole = prepared.text_tokens.max(1) as f64;
        let mut share = prepared.train.tokens as f64 / whole;
        let mut why = "";
        if let Part::Fraction(held_out) = settings.corpus.validation
            && held_out < share
        {
            share = held_out;
            why = ", so that what is held out has a window too";
        }
        let whole = (needed as f64 / share.max(1e-9)).ceil();
        return Err(Error::usage(format!(
            "the training part has {} tokens, and one window of {} needs {}: {1} inputs and the target after the last",
            thousands(prepared.train.tokens),
            thousands(length),
            thousands(needed)
        ))
        .help(format!(
            "take a text of about {} tokens or more{why}, or a shorter `train.sequence_length`",
            thousands(whole as u64)
        )));
    }
    for (name, part, scored) in
        [("validation", &prepared.validation, prepared.scored_tokens), ("test", &prepared.test, prepared.scored_test_tokens)]
    {
        if let Some(part) = part
            && scored < needed
        {
            return Err(Error::usage(format!(
                "the scored {name} part has {} tokens (of {}), and one window of {} needs {}",
                thousands(scored),
                thousands(part.tokens),
                thousands(length),
                thousands(needed)
            ))
            .help(format!("hold out more with `corpus.{name}`, or score more with `evaluate.max_bytes`")));
        }
    }
    Ok(())
}

/// Whether a model that takes so much fits into the memory that there is.
fn fits_memory(memory_bytes: u64, config: &Config, length: usize, circumstances: Circumstances<'_>) -> Result<()> {
    if let Some(memory) = circumstances.memory_bytes
        && memory_bytes > memory
    {
        let (memory_of, instead) = match circumstances.device {
            Device::Cpu => ("memory", "fewer `run.threads`"),
            _ => ("the device's memory", "train on the processor (`--device cpu`)"),
        };
        return Err(Error::usage(format!(
            "about {} of {memory_of} are needed ({} parameters, windows of {} tokens), and there are {}",
            bytes(memory_bytes),
            thousands(shape::parameter_count(config)),
            thousands(length),
            bytes(memory)
        ))
        .help(format!("take a smaller model, a shorter `train.sequence_length` or {instead}")));
    }
    Ok(())
}

pub(super) fn windows_of(settings: &Settings, prepared: &Prepared) -> Windows {
    Windows::new(prepared.train.tokens, settings.train.sequence_length, settings.train.stride())
}

/// Different targets among `seen` windows. From one epoch on these are all; in a part of an epoch each target that lies in k
/// windows is missed with probability (1 − share)^k, so this is what is to be expected of a shuffled order.
fn distinct_targets(windows: &Windows, seen: u64) -> u64 {
    let count = windows.count();
    if seen >= count {
        return windows.distinct_targets();
    }
    let share = seen as f64 / count as f64;
    let views = windows.length as f64 / windows.stride as f64;
    let met = 1.0 - (1.0 - share).powf(views.max(1.0));
    (windows.distinct_targets() as f64 * met).round() as u64
}
