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
    /// The device; of several the first.
    pub device: Device,
    /// NVIDIA GPUs that can be used, of which `device` is the first: all, or the one that is named.
    pub gpus: Vec<Listed>,
    /// Why GPUs that are there are not used, a line each, with what to do.
    pub notices: Vec<String>,
}

impl Found {
    fn one(device: Device) -> Self {
        Self { device, gpus: Vec::new(), notices: Vec::new() }
    }
}

/// The device that these settings come to, which this program on this machine can use. No context is opened on it.
///
/// NVIDIA's libraries are looked for in the folder `libraries` first. `auto` is the kind of the device `kept`, where trials were run
/// before, else the NVIDIA GPUs that can be used, an Apple GPU where this build knows it, or the processor.
///
/// # Errors
/// One that this program cannot use, or that is not there.
pub fn find(choice: DeviceChoice, kept: Option<Device>, engine: Engine, libraries: Option<&Path>) -> Result<Found> {
    // Nothing is compiled here.
    let search = &Search { libraries: libraries.map(Path::to_owned), cache: PathBuf::new() };
    match (choice, kept) {
        (DeviceChoice::Cuda, _) | (DeviceChoice::Auto, Some(Device::Cuda(_))) => every_nvidia(engine, search),
        (DeviceChoice::This(Device::Cuda(number)), _) => {
            Ok(Found { gpus: vec![nvidia(number, engine, search)?], ..Found::one(Device::Cuda(number)) })
        }
        (DeviceChoice::This(Device::Metal), _) | (DeviceChoice::Auto, Some(Device::Metal)) => {
            open(Device::Metal).map(|_| Found::one(Device::Metal))
        }
        (DeviceChoice::This(Device::Cpu), _) | (DeviceChoice::Auto, Some(Device::Cpu)) => Ok(Found::one(Device::Cpu)),
        (DeviceChoice::Auto, None) => {
            let processor = without_nvidia();
            let found = match cuda::gpus(search) {
                Ok(none) if none.is_empty() => return Ok(Found::one(processor)),
                Ok(_) => every_nvidia(engine, search),
                Err(error) => Err(error),
            };
            Ok(found.unwrap_or_else(|error| {
                let notice = format!("a GPU is there and cannot be used: {}; training on `{processor}`", with_help(&error));
                Found { notices: vec![notice], ..Found::one(processor) }
            }))
        }
    }
}

/// What trials run on by themselves where no NVIDIA GPU is used: an Apple GPU where this build knows it, or the processor.
pub fn without_nvidia() -> Device {
    if candle_core::utils::metal_is_available() { Device::Metal } else { Device::Cpu }
}

/// An error and what to do about it, in a line.
fn with_help(error: &Error) -> String {
    let help = error.help_text().map_or_else(String::new, |help| format!(": {help}"));
    format!("{}{help}", error.chain())
}

/// Every NVIDIA GPU that can be used.
///
/// # Errors
/// Where there is none: why the first one cannot be.
fn every_nvidia(engine: Engine, search: &Search) -> Result<Found> {
    let (mut gpus, mut refused) = (Vec::new(), Vec::new());
    for gpu in cuda::gpus(search)? {
        match nvidia(gpu.number, engine, search) {
            Ok(gpu) => gpus.push(gpu),
            Err(error) => refused.push((gpu, error)),
        }
    }
    let Some(first) = gpus.first() else {
        return Err(match refused.into_iter().next() {
            Some((_, error)) => error,
            // It says what is missing.
            None => nvidia(0, engine, search).err().unwrap_or_else(|| Error::new(Kind::Device, "there is no NVIDIA GPU")),
        });
    };
    let notice = |(gpu, error): &(Listed, Error)| format!("cuda:{} is left alone: {}", gpu.number, with_help(error));
    Ok(Found { device: Device::Cuda(first.number), notices: refused.iter().map(notice).collect(), gpus })
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

/// candle asks how many threads to use at every product. Where no variable says it, it reads `/proc/cpuinfo` for that each time,
/// which takes longer than a small model's products do. To be called before there is another thread.
pub fn settle_threads() {
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        let threads = candle_core::utils::get_num_threads().to_string();
        // SAFETY: nothing has started another thread yet, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, threads) };
    }
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
        let processor = Found::one(Device::Cpu);
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
