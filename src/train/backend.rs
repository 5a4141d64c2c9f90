//! What computes a trial: steps, scores and state behind one trait, which the step loop drives.
//!
//! On the CPU and on NVIDIA GPUs these are the engines ([`CpuEngine`], [`GpuEngine`]); elsewhere, and where the settings ask for
//! it, candle's own operations and autograd ([`Candle`]), which run everywhere and are what the engines are tested against.

mod candle;
mod common;
mod cpu;
mod gpu;
mod interface;

pub use self::candle::Candle;
pub use self::cpu::CpuEngine;
pub use self::gpu::GpuEngine;
pub use self::interface::{Backend, Hardware, Lent, State, Step, StepResult, make_step};
use crate::device::Device;
use crate::error::Result;
use crate::experiment::settings::{Engine, Train};
use crate::model::Config;

/// What computes this model on this hardware, in steps of at most `batch` windows, going on from this state.
pub fn open<V>(
    config: &Config,
    train: &Train,
    (seed, batch): (u64, usize),
    hardware: &Hardware,
    state: &State<V>,
) -> Result<Box<dyn Backend>>
where
    V: AsRef<[f32]>,
{
    Ok(match (hardware.device, hardware.engine) {
        (Device::Cpu, _) => Box::new(CpuEngine::new(config, train, seed, hardware.threads, state)?),
        (Device::Cuda(number), Engine::Own) => Box::new(GpuEngine::new(config, train, (seed, batch), number, hardware, state)?),
        (device, _) => Box::new(Candle::new(config, train, seed, device, state)?),
    })
}
