//! What trials learned from and were scored on, by content. Names and paths decide nothing: the same label may stand for other
//! vocabularies (`char` over two texts), and two labels for one.

use polars::prelude::{Column, DataFrame};
use serde_json::Value;

use super::frames::{words, wrong};
use crate::durable;
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::ExperimentFolder;

/// Columns of the table of trials that hold the hashes.
const COLUMNS: [&str; 3] = ["text_hash", "validation_hash", "tokenizer_hash"];
/// Digits of a hash that people are shown.
const SHOWN: usize = 12;

/// Hashes of what a trial read; `None` where they are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Content {
    /// All text and its split.
    pub(super) text: Option<String>,
    /// What is scored to rank.
    pub(super) validation: Option<String>,
    /// The tokenizer's file.
    pub(super) tokenizer: Option<String>,
}

/// Whether two hashes are known and differ.
pub(super) fn differ(one: Option<&String>, other: Option<&String>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// The beginning of a hash, which is enough for people.
pub(super) fn beginning(hash: &str) -> String {
    hash.chars().take(SHOWN).collect()
}

/// The table with a column for each hash. What it does not say is taken from the `trial.json` of the trial, where there is one: that
/// of an earlier version has no hash of the held-out part alone, and the one of all text and its split stands for it.
pub(super) fn with_contents(mut frame: DataFrame, folder: &ExperimentFolder) -> Result<DataFrame> {
    let ids = words(&frame, "trial_id")?;
    let mut columns = COLUMNS.map(|name| words(&frame, name).unwrap_or_else(|_| vec![None; ids.len()]));
    for (row, id) in ids.iter().enumerate() {
        if columns[0][row].is_some() && columns[2][row].is_some() {
            continue;
        }
        let Some(id) = id.as_deref().and_then(TrialId::parse) else { continue };
        // One that cannot be read leaves the hashes unknown; what needs it otherwise tells of it.
        let Some(job) = durable::read_json::<Value>(&folder.trial(&id).job()).ok().flatten() else { continue };
        let hash = |key: &str| job["corpus"][key].as_str().map(str::to_owned);
        columns[0][row] = hash("text_hash");
        columns[1][row] = hash("validation_hash").or_else(|| hash("text_hash"));
        columns[2][row] = hash("tokenizer_hash");
    }
    for (name, values) in COLUMNS.into_iter().zip(columns) {
        frame.with_column(Column::new(name.into(), values)).map_err(wrong)?;
    }
    Ok(frame)
}

/// The contents of each trial of a table; nothing is known where it has no such columns.
pub(super) fn contents(frame: &DataFrame) -> Vec<Content> {
    let [text, validation, tokenizer] = COLUMNS.map(|name| words(frame, name).unwrap_or_else(|_| vec![None; frame.height()]));
    let rows = text.into_iter().zip(validation).zip(tokenizer);
    rows.map(|((text, validation), tokenizer)| Content { text, validation, tokenizer }).collect()
}
