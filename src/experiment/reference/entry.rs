//! One key of an experiment file, as the table has it.

use super::takes::Takes;

/// The sections of settings.
pub(in crate::experiment) const SECTIONS: &[&str] =
    &["corpus", "tokenizer", "model", "train", "evaluate", "checkpoint", "run", "report"];

/// One key of an experiment file.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The full name: `train.stride`; of what stands at the top of the file one word.
    pub key: &'static str,
    /// What it may be: any of these.
    pub takes: &'static [Takes],
    /// What holds where it is not written.
    pub default: Preset,
    /// Whether another value makes another trial.
    pub identity: Identity,
    /// What it is, in a sentence.
    pub says: &'static str,
    /// A value as a person writes it, another than the default. Of a part of a block (`tokenizer.path`) the whole block's.
    pub example: &'static str,
}

/// What holds where a key is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// The value that [`Settings::default`](crate::experiment::settings::Settings::default) has.
    Value,
    /// Nothing does: it must be written.
    Required,
    /// What these words say.
    Follows(&'static str),
}

/// Whether a key is part of a trial's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Another value makes another trial.
    Part,
    /// It is, in the way that these words say.
    Partly(&'static str),
    /// The same trial, whatever the value.
    No,
}

impl Entry {
    /// The part of the file it stands in: the first part of its name, and nothing for what stands at the top.
    pub fn section(&self) -> &'static str {
        if SECTIONS.contains(&self.key) {
            return self.key;
        }
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// Whether it is a setting of a trial, in place of something that says which settings there are.
    pub fn is_setting(&self) -> bool {
        !self.section().is_empty()
    }
}
