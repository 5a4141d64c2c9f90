//! What an experiment asks of the world outside of its file while it is expanded.

use super::settings::{Model, Settings};
use crate::device::Device;

/// What is known outside of the file. Where something is not known, what depends on it is not decided here.
pub trait Surroundings {
    /// What trials run on.
    fn device(&self) -> Device;

    /// The number of training windows of a configuration, for expressions that speak of `full`.
    fn windows(&mut self, settings: &Settings) -> Option<u64>;

    /// What the folder that this model starts from (`model.from`) says of it.
    fn folder(&mut self, model: &Model) -> Option<Folder>;
}

/// What a folder says of the model that starts from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// The model, with what the experiment sets beside it.
    pub model: Model,
    /// The longest window that it takes, in tokens, where it has learned positions.
    pub longest: Option<usize>,
}
