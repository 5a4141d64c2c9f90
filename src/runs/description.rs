//! What `experiment.json` says of an experiment, for whoever does not plan it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::ExperimentFolder;
use crate::device::Device;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::plan::{Numbers, TrialId};

/// An experiment as it was run last.
#[derive(Debug, Deserialize)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// The context in which its trials are compared; an early version wrote none.
    #[serde(default)]
    pub common_context: Option<usize>,
    /// What its trials ran on last: of an earlier version its kind.
    #[serde(default)]
    pub device: Option<Device>,
    /// The kinds of GPU that its trials were run on so far; an earlier version wrote none.
    #[serde(default)]
    pub gpus: Option<BTreeSet<String>>,
    /// The numbers of all configurations that were ever planned.
    #[serde(default)]
    pub numbers: Numbers,
    /// The hash of its text and its split, of the first where there are several; an early version wrote none.
    #[serde(default)]
    pub text_hash: Option<String>,
    /// Its planned trials.
    pub trials: Vec<DescribedTrial>,
}

/// One trial there.
#[derive(Debug, Deserialize)]
pub struct DescribedTrial {
    /// Its id.
    pub id: TrialId,
    /// Number of its configuration, from 1.
    pub configuration: usize,
    /// Its seed.
    pub seed: u64,
    /// What people call its configuration.
    pub label: String,
}

impl Description {
    /// Reads it.
    ///
    /// # Errors
    /// Of kind [`Kind::Nothing`] where the folder holds no experiment.
    pub fn read(folder: &ExperimentFolder) -> Result<Self> {
        durable::read_json(&folder.experiment_json())?.ok_or_else(|| {
            Error::new(Kind::Nothing, format!("there is no experiment in {}", folder.path().display()))
                .help("name a folder such as `runs/quickstart`")
        })
    }
}
