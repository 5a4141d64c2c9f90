//! Where tensors live.

use candle_core::Device;

use crate::error::{Error, Kind, Result};
use crate::experiment::settings;

/// The kind of device that these settings come to on this machine with this build: `cpu`, `cuda` or `metal`. It is part of
/// a trial's id, since the arithmetic differs.
pub fn kind(setting: settings::Device) -> &'static str {
    match setting {
        settings::Device::Cpu => "cpu",
        settings::Device::Cuda => "cuda",
        settings::Device::Metal => "metal",
        settings::Device::Auto if candle_core::utils::cuda_is_available() && Device::new_cuda(0).is_ok() => "cuda",
        settings::Device::Auto if candle_core::utils::metal_is_available() => "metal",
        settings::Device::Auto => "cpu",
    }
}

/// The kind of device that these settings come to, which this program on this machine can use.
///
/// # Errors
/// One that this build cannot use, or that is not there.
pub fn usable(setting: settings::Device) -> Result<&'static str> {
    let kind = kind(setting);
    let built = match kind {
        "cuda" => candle_core::utils::cuda_is_available(),
        "metal" => candle_core::utils::metal_is_available(),
        _ => true,
    };
    if !built {
        return Err(Error::new(Kind::Device, format!("this build cannot use the device `{kind}`"))
            .help(format!("build with `--features {kind}`, or set `run.device: cpu`")));
    }
    open(kind)?;
    Ok(kind)
}

/// Opens the device called `cpu`, `cuda`, `cuda:1`, `metal` …
pub fn open(name: &str) -> Result<Device> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    let number: usize = number.parse().map_err(|_| Error::usage(format!("`{name}` is not a device")))?;
    let missing = |build: &str, source: candle_core::Error| {
        Error::new(Kind::Device, format!("the device `{name}` cannot be used"))
            .help(format!("build with `--features {build}` on a machine that has one, or set `run.device: cpu`"))
            .caused_by(source.to_string())
    };
    match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Device::new_cuda(number).map_err(|e| missing("cuda", e)),
        "metal" => Device::new_metal(number).map_err(|e| missing("metal", e)),
        _ => Err(Error::usage(format!("`{name}` is not a device")).help("use `cpu`, `cuda` or `metal`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_a_missing_device_says_what_to_do() {
        assert!(open("cpu").unwrap().is_cpu());
        assert_eq!(open("tpu").unwrap_err().to_string(), "`tpu` is not a device");
        #[cfg(not(feature = "metal"))]
        {
            let error = open("metal").unwrap_err();
            assert_eq!(error.kind(), Kind::Device);
            assert!(error.help_text().unwrap().contains("--features metal"));
            let error = usable(settings::Device::Metal).unwrap_err();
            assert_eq!(error.to_string(), "this build cannot use the device `metal`");
        }
    }
}
