//! What a plan is made for and from, beside the experiment.

use super::Numbers;
use crate::corpus::Prepared;
use crate::device::Device;
use crate::model::Pretrained;

/// What is known of a text and its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The text, split and tokenized.
    pub prepared: Prepared,
    /// What `model.from` leads to.
    pub from: Option<Pretrained>,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// What trials run on; its kind is part of each trial's id.
    pub device: Device,
    /// Bytes that one trial may use; `None` where unknown.
    pub memory_bytes: Option<u64>,
    /// Threads that one trial may have.
    pub threads: usize,
    /// Most trials that are planned.
    pub limit: u64,
    /// The common context that an earlier run of this experiment fixed.
    pub common_context: Option<usize>,
    /// The numbers that configurations of this experiment have so far.
    pub numbers: &'a Numbers,
}
