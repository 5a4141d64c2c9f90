//! Where a trial is computed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What computes a trial, as commands and files name it: `cpu`, `cuda:0`, `cuda:1` …, `metal`. `cuda` is `cuda:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of this number, of those that the process may see.
    Cuda(u32),
    /// An Apple GPU.
    Metal,
}

impl Device {
    /// Its kind, `cpu`, `cuda` or `metal`: part of a trial's id, since the arithmetic differs.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
            Self::Metal => "metal",
        }
    }

    /// Whether it is the processor, so that a trial needs memory of the machine and not of a device.
    pub fn is_cpu(self) -> bool {
        self == Self::Cpu
    }

    /// Whether the same trial gives the same bits on every device of this kind that an experiment may meet.
    pub fn repeats(self) -> bool {
        self.is_cpu()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            _ => f.write_str(self.kind()),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let device = match name {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            "metal" => Some(Self::Metal),
            _ => name.strip_prefix("cuda:").and_then(|number| number.parse().ok()).map(Self::Cuda),
        };
        device.ok_or_else(|| Error::usage(format!("`{name}` is not a device")).help("use `cpu`, `cuda`, `cuda:1` or `metal`"))
    }
}

impl TryFrom<String> for Device {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// An NVIDIA GPU, as records and messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gpu {
    /// Its number, of those that the runner may see: that of `cuda:1` is 1.
    pub number: u32,
    /// Its name, such as `NVIDIA H200`: which kind of GPU it is.
    pub name: String,
    /// Its identity, as `nvidia-smi -L` shows it (`GPU-…`, `MIG-…`).
    pub uuid: String,
}

impl Gpu {
    /// Its name among the devices.
    pub fn device(&self) -> Device {
        Device::Cuda(self.number)
    }
}

/// `cuda:1 (NVIDIA H200)`.
impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.device(), self.name)
    }
}

#[cfg(test)]
impl Gpu {
    /// The GPU of this number and name: what tests begin with.
    pub(crate) fn example(number: u32, name: &str) -> Self {
        Self { number, name: name.to_owned(), uuid: format!("GPU-{number}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for name in ["cpu", "cuda:0", "cuda:7", "metal"] {
            let device: Device = name.parse().unwrap();
            assert_eq!(device.to_string(), name);
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Device>(&json).unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for name in ["tpu", "cuda:", "cuda:-1", "cpu:1", "auto", ""] {
            assert_eq!(name.parse::<Device>().unwrap_err().to_string(), format!("`{name}` is not a device"));
        }
    }

    #[test]
    fn a_gpu_is_named_by_its_number_and_its_kind() {
        assert_eq!(Gpu::example(1, "NVIDIA H200").to_string(), "cuda:1 (NVIDIA H200)");
    }

    #[test]
    fn the_number_of_a_gpu_is_no_part_of_its_kind() {
        assert_eq!(Device::Cuda(0).kind(), Device::Cuda(1).kind());
        assert!(Device::Cpu.repeats() && !Device::Cuda(0).repeats());
    }
}
