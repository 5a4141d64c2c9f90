//! Which device the settings come to, and candle's own of it.

use candle_core::Device as CandleDevice;

use crate::device::Device;
use crate::error::{Error, Kind, Result};
use crate::experiment::settings;

/// The device that these settings come to on this machine with this build.
pub fn chosen(setting: settings::Device) -> Device {
    match setting {
        settings::Device::Cpu => Device::Cpu,
        settings::Device::Cuda => Device::Cuda(0),
        settings::Device::Metal => Device::Metal,
        settings::Device::Auto if candle_core::utils::cuda_is_available() && CandleDevice::new_cuda(0).is_ok() => Device::Cuda(0),
        settings::Device::Auto if candle_core::utils::metal_is_available() => Device::Metal,
        settings::Device::Auto => Device::Cpu,
    }
}

/// The device that these settings come to, which this program on this machine can use.
///
/// # Errors
/// One that this build cannot use, or that is not there.
pub fn usable(setting: settings::Device) -> Result<Device> {
    let device = chosen(setting);
    let built = match device {
        Device::Cpu => true,
        Device::Cuda(_) => candle_core::utils::cuda_is_available(),
        Device::Metal => candle_core::utils::metal_is_available(),
    };
    if !built {
        let kind = device.kind();
        return Err(Error::new(Kind::Device, format!("this build cannot use the device `{kind}`"))
            .help(format!("build with `--features {kind}`, or set `run.device: cpu`")));
    }
    open(device)?;
    Ok(device)
}

/// Opens a device for candle.
pub fn open(device: Device) -> Result<CandleDevice> {
    let opened = match device {
        Device::Cpu => Ok(CandleDevice::Cpu),
        Device::Cuda(number) => CandleDevice::new_cuda(number as usize),
        Device::Metal => CandleDevice::new_metal(0),
    };
    opened.map_err(|source| {
        let kind = device.kind();
        Error::new(Kind::Device, format!("the device `{device}` cannot be used"))
            .help(format!("build with `--features {kind}` on a machine that has one, or set `run.device: cpu`"))
            .caused_by(source.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_a_missing_device_says_what_to_do() {
        assert!(open(Device::Cpu).unwrap().is_cpu());
        #[cfg(not(feature = "metal"))]
        {
            let error = open(Device::Metal).unwrap_err();
            assert_eq!(error.kind(), Kind::Device);
            assert!(error.help_text().unwrap().contains("--features metal"));
            let error = usable(settings::Device::Metal).unwrap_err();
            assert_eq!(error.to_string(), "this build cannot use the device `metal`");
        }
    }
}
