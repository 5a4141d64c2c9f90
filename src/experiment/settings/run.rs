//! `run`: where and when trials run.

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::Slurm;
use crate::device::Device;
use crate::experiment::text::{Scalar, fields};

/// `run`: where and when. It says nothing of a result, so a record of another version may have keys here that are not read;
/// those of an experiment file are known by name before they come here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// `auto`, `cpu`, `cuda`, `cuda:1` …, `metal`.
    pub device: DeviceChoice,
    /// `own` or `candle`; part of the id of a trial on an NVIDIA GPU.
    pub engine: Engine,
    /// The folder in which NVIDIA's libraries are looked for first; relative to the experiment file.
    #[serde(deserialize_with = "fields::maybe_words")]
    pub cuda_libraries: Option<String>,
    /// Trials at a time on each GPU.
    #[serde(deserialize_with = "fields::few")]
    pub per_device: usize,
    /// A GPU of whose memory others use more bytes than this when a run starts is left alone.
    #[serde(deserialize_with = "fields::positive")]
    pub gpu_busy: u64,
    /// Whether trials may run on several kinds of GPU.
    #[serde(deserialize_with = "fields::flag")]
    pub mixed: bool,
    /// Trials at a time on the processor; `None` is `auto`.
    #[serde(deserialize_with = "fields::maybe_few")]
    pub slots: Option<usize>,
    /// CPU threads a slot; `None` is `auto`.
    #[serde(deserialize_with = "fields::maybe_few")]
    pub threads: Option<usize>,
    /// `local` or `slurm`.
    pub on: On,
    /// What is asked of a Slurm cluster for each trial.
    pub slurm: Slurm,
    /// A clock time to end at, `07:00`.
    #[serde(deserialize_with = "fields::maybe_clock")]
    pub until: Option<String>,
    /// A duration to end after, `8h`.
    #[serde(deserialize_with = "fields::maybe_duration")]
    pub time: Option<String>,
    /// How often a crashed trial is started again.
    #[serde(deserialize_with = "fields::count")]
    pub retries: u32,
    /// How long a trial's process may be silent before it is killed as hung: `auto`, `never`, or a length of time.
    pub timeout: Timeout,
    /// Seconds from Ctrl-C or the deadline until processes are killed that have not stopped.
    #[serde(deserialize_with = "fields::seconds")]
    pub patience: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Auto,
            engine: Engine::Own,
            cuda_libraries: None,
            per_device: 1,
            gpu_busy: 1_000_000_000,
            mixed: false,
            slots: None,
            threads: None,
            on: On::Local,
            slurm: Slurm::default(),
            until: None,
            time: None,
            retries: 2,
            timeout: Timeout::Auto,
            patience: 30,
        }
    }
}

/// How long a trial's process may be silent before it is killed as hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timeout {
    /// By how long it was silent before: 20 times the longest silence of what it is doing, at least 2 minutes; 10 minutes while none is
    /// known.
    #[default]
    Auto,
    /// So many seconds.
    After(u64),
    /// It is waited for as long as it takes.
    Never,
}

impl Serialize for Timeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::After(seconds) => serializer.serialize_u64(*seconds),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Scalar::deserialize(deserializer)?;
        match &value {
            // A version that did not have it wrote nothing there.
            Scalar::Nothing => Ok(Self::Auto),
            value if value.is("auto") => Ok(Self::Auto),
            value if value.is("never") => Ok(Self::Never),
            value => match value.seconds() {
                Some(seconds) => Ok(Self::After(seconds)),
                None => value.refuse_helping(
                    "`auto`, `never`, or a length of time such as `130`, `130s` or `5m`",
                    "`auto` goes by how long a trial was silent before; `never` waits for ever",
                ),
            },
        }
    }
}

/// Which device trials run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The one that the experiment has been run on; at first every NVIDIA GPU that can be used, else the CPU.
    Auto,
    /// Every NVIDIA GPU that can be used: `cuda`.
    Cuda,
    /// This one: `cpu`, `cuda:1` …, `metal` (needs a build with the feature `metal`).
    This(Device),
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Cuda => serializer.serialize_str("cuda"),
            Self::This(device) => device.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Scalar::deserialize(deserializer)?;
        if value.is("auto") {
            return Ok(Self::Auto);
        }
        if value.is("cuda") {
            return Ok(Self::Cuda);
        }
        let device = match &value {
            Scalar::Text(name) => name.parse().ok(),
            _ => None,
        };
        device.map_or_else(|| value.refuse("`auto`, `cpu`, `cuda`, `cuda:1` or `metal`"), |device| Ok(Self::This(device)))
    }
}

/// What computes on an NVIDIA GPU. The processor has one engine, and an Apple GPU candle's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// This program's engine: a step is one CUDA graph.
    Own,
    /// candle's operations and autograd (needs a build with the feature `cuda`).
    Candle,
}

/// Where trials are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// On this machine.
    Local,
    /// On a Slurm cluster.
    Slurm,
}
