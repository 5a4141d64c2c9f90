//! What an experiment asks of the world outside of its file while it is expanded.

use super::problem::Severity;
use super::settings::{Model, Settings};

/// What is known outside of the file. Where something is not known, what depends on it is not decided here.
pub trait Surroundings {
    /// What of a configuration the device that trials run on does not take.
    fn unfit(&mut self, settings: &Settings) -> Vec<Unfit>;

    /// The number of training windows of a configuration, for expressions that speak of `full`.
    fn windows(&mut self, settings: &Settings) -> Option<u64>;

    /// What the folder that this model starts from (`model.from`) says of it.
    fn folder(&mut self, model: &Model) -> Option<Folder>;
}

/// Settings that a device does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The settings concerned, the first of them above all.
    pub keys: &'static [&'static str],
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// An error, or a warning where another device may yet be meant.
    pub severity: Severity,
}

/// What a folder says of the model that starts from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// The model, with what the experiment sets beside it.
    pub model: Model,
    /// The longest window that it takes, in tokens, where it has learned positions.
    pub longest: Option<usize>,
}
