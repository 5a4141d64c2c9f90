//! Which device the settings come to, and candle's own of it.

use std::path::{Path, PathBuf};

use candle_core::Device as CandleDevice;

use super::backend::Hardware;
use crate::device::Device;
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::{DeviceChoice, Engine};
use crate::model::cpu;
use crate::model::gpu::cuda::{self, Listed, Search};

/// The device that settings come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The device.
    pub device: Device,
    /// What the driver says of it, where it is an NVIDIA GPU.
    pub gpu: Option<Listed>,
    /// Why a GPU that is there is not used, in a line, with what to do.
    pub notice: Option<String>,
}

/// The device that these settings come to, which this program on this machine can use. No context is opened on it.
///
/// NVIDIA's libraries are looked for in the folder `libraries` first. `auto` is the device `kept`, where trials were run before, else an NVIDIA GPU that can be used, an Apple GPU where this
/// build knows it, or the processor.
///
/// # Errors
/// One that this program cannot use, or that is not there.
pub fn find(choice: DeviceChoice, kept: Option<Device>, engine: Engine, libraries: Option<&Path>) -> Result<Found> {
    let found = |device| Found { device, gpu: None, notice: None };
    // Nothing is compiled here.
    let search = &Search { libraries: libraries.map(Path::to_owned), cache: PathBuf::new() };
    match (choice, kept) {
        (DeviceChoice::This(device), _) | (DeviceChoice::Auto, Some(device)) => match device {
            Device::Cpu => Ok(found(device)),
            Device::Cuda(number) => {
                let gpu = nvidia(number, engine, search)?;
                Ok(Found { gpu: Some(gpu), ..found(device) })
            }
            Device::Metal => open(device).map(|_| found(device)),
        },
        (DeviceChoice::Auto, None) => {
            let processor = if candle_core::utils::metal_is_available() { Device::Metal } else { Device::Cpu };
            let told = |error: Error| {
                let help = error.help_text().map_or_else(String::new, |help| format!(": {help}"));
                format!("a GPU is there and cannot be used: {}{help}; training on `{processor}`", error.chain())
            };
            Ok(match cuda::gpus(search) {
                Ok(none) if none.is_empty() => found(processor),
                Ok(_) => match nvidia(0, engine, search) {
                    Ok(gpu) => Found { gpu: Some(gpu), ..found(Device::Cuda(0)) },
                    Err(error) => Found { notice: Some(told(error)), ..found(processor) },
                },
                Err(error) => Found { notice: Some(told(error)), ..found(processor) },
            })
        }
    }
}

/// The NVIDIA GPU of this number, which can be used.
fn nvidia(number: u32, engine: Engine, search: &Search) -> Result<Listed> {
    match engine {
        Engine::Own => cuda::ready(search, number)?,
        Engine::Candle if !candle_core::utils::cuda_is_available() => {
            return Err(Error::new(Kind::Device, "this build has no operations of candle for NVIDIA GPUs")
                .help("leave `run.engine` at `own`, or build with `--features cuda`"));
        }
        Engine::Candle => {}
    }
    let missing = || {
        Error::new(Kind::Device, format!("there is no NVIDIA GPU {number}"))
            .help("see `nvidia-smi -L`; the numbers count what `CUDA_VISIBLE_DEVICES` leaves")
    };
    cuda::gpus(search)?.into_iter().find(|gpu| gpu.number == number).ok_or_else(missing)
}

/// The kind of processor or GPU that computes, as far as it matters to bits; `None` where nobody tells it.
pub fn processor(hardware: &Hardware) -> Option<String> {
    match hardware.device {
        Device::Cpu => Some(cpu::processor()),
        Device::Cuda(number) => {
            let gpus = cuda::gpus(&hardware.search).ok()?;
            gpus.into_iter().find(|gpu| gpu.number == number).map(|gpu| gpu.name)
        }
        Device::Metal => None,
    }
}

/// The device that candle's operations run on where none is named: a GPU that this build knows and that is there, else the
/// processor.
pub fn of_candle() -> Device {
    if candle_core::utils::metal_is_available() {
        return Device::Metal;
    }
    let gpu = Device::Cuda(0);
    if candle_core::utils::cuda_is_available() && open(gpu).is_ok() { gpu } else { Device::Cpu }
}

/// Opens a device for candle.
pub fn open(device: Device) -> Result<CandleDevice> {
    let opened = match device {
        Device::Cpu => Ok(CandleDevice::Cpu),
        Device::Cuda(number) => open_nvidia(number),
        Device::Metal => CandleDevice::new_metal(0),
    };
    opened.map_err(|source| {
        let kind = device.kind();
        let built = match device {
            Device::Cpu => true,
            Device::Cuda(_) => candle_core::utils::cuda_is_available(),
            Device::Metal => candle_core::utils::metal_is_available(),
        };
        if !built {
            return Error::new(Kind::Device, format!("this build cannot use the device `{kind}`"))
                .help(format!("build with `--features {kind}`, or set `run.device: cpu`"));
        }
        Error::new(Kind::Device, format!("the device `{device}` cannot be used"))
            .help(format!("build with `--features {kind}` on a machine that has one, or set `run.device: cpu`"))
            .caused_by(source.to_string())
    })
}

/// Opens an NVIDIA GPU for candle, with a stream of its own.
fn open_nvidia(number: u32) -> candle_core::Result<CandleDevice> {
    let device = CandleDevice::new_cuda_with_stream(number as usize)?;
    #[cfg(feature = "cuda")]
    if let CandleDevice::Cuda(device) = &device {
        // SAFETY: events order what several streams do with the same memory. All that candle does with memory of this device is
        // on the one stream made above, whichever thread asks for it.
        unsafe { device.disable_event_tracking() };
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(choice: DeviceChoice, kept: Option<Device>) -> Result<Found> {
        find(choice, kept, Engine::Own, None)
    }

    #[test]
    fn the_processor_is_always_there_and_is_kept_where_trials_ran_on_it() {
        assert!(open(Device::Cpu).unwrap().is_cpu());
        let processor = Found { device: Device::Cpu, gpu: None, notice: None };
        assert_eq!(found(DeviceChoice::This(Device::Cpu), None).unwrap(), processor);
        assert_eq!(found(DeviceChoice::This(Device::Cpu), Some(Device::Cuda(0))).unwrap(), processor);
        assert_eq!(found(DeviceChoice::Auto, Some(Device::Cpu)).unwrap(), processor);
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn a_device_that_this_build_does_not_know_says_what_to_do() {
        for error in [open(Device::Metal).unwrap_err(), found(DeviceChoice::Auto, Some(Device::Metal)).unwrap_err()] {
            assert_eq!(error.kind(), Kind::Device);
            assert_eq!(error.to_string(), "this build cannot use the device `metal`");
            assert!(error.help_text().unwrap().contains("--features metal"));
        }
        let error = find(DeviceChoice::This(Device::Cuda(0)), None, Engine::Candle, None).unwrap_err();
        assert_eq!(error.to_string(), "this build has no operations of candle for NVIDIA GPUs");
    }

    #[test]
    fn a_gpu_beyond_all_is_not_there() {
        let error = found(DeviceChoice::This(Device::Cuda(1_000)), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.help_text().is_some(), "{}", error.chain());
    }
}
