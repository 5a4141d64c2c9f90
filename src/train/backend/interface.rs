//! The trait that the step loop drives, and what goes in and out of it.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::experiment::settings::Engine;
use crate::model::Sequences;
use crate::model::gpu::Stamp;
use crate::model::gpu::cuda::Search;
use crate::pulse::NEVER;

pub use crate::model::Step;

/// What a trial may use of the machine.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// What computes.
    pub device: Device,
    /// What computes on it, where it is an NVIDIA GPU.
    pub engine: Engine,
    /// Threads of the processor.
    pub threads: usize,
    /// Where NVIDIA's libraries are looked for, and compiled kernels kept.
    pub search: Search,
}

impl Hardware {
    /// Whether this program's engine computes on an NVIDIA GPU.
    pub fn is_own_gpu(&self) -> bool {
        matches!((self.device, self.engine), (Device::Cuda(_), Engine::Own))
    }
}

/// Weights and moments outside of any device, in the order of [`Config::parameters`](crate::model::Config::parameters): arrays of
/// its own, or a backend's ([`Lent`]).
#[derive(Debug, Clone, PartialEq)]
pub struct State<V = Vec<f32>> {
    /// Updates made.
    pub steps: u64,
    /// The weights.
    pub values: Vec<V>,
    /// AdamW's first moments; empty where only the weights were kept.
    pub first: Vec<V>,
    /// AdamW's second moments; empty where only the weights were kept.
    pub second: Vec<V>,
}

impl<V> State<V> {
    /// Weights that nothing has been learned with.
    pub fn untrained(values: Vec<V>) -> Self {
        Self { steps: 0, values, first: Vec::new(), second: Vec::new() }
    }
}

/// Values that a backend on the CPU lends, so that no copy of a model is made to save it; brought from a device otherwise.
pub type Lent<'a> = Cow<'a, [f32]>;

/// What a step gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// The mean NLL over all its targets, nats per token.
    pub loss: f64,
    /// The global L2 norm of its gradients before clipping.
    pub norm: f64,
    /// What its gradients were multiplied with.
    pub clip_coefficient: f64,
}

impl StepResult {
    /// Whether the weights were updated: what is not finite would be in every one of them after it.
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.norm.is_finite()
    }
}

/// A model that learns. Results of steps come in the order in which they were submitted, some steps later where
/// [`Backend::depth`] is above 1; whatever else is asked of it is asked when none is left.
pub trait Backend {
    /// Most steps that may be submitted before the result of the oldest is taken.
    fn depth(&self) -> usize;

    /// Begins a step: gradients, and the update unless loss or norm are not finite. From a step on whose loss or norm are not
    /// finite no weight is touched.
    ///
    /// `stop` is heeded after each piece of it. False where it said so before the step was whole: it is dropped, no weight was
    /// touched, and it has no result.
    fn submit(&mut self, step: Step<'_>, stop: &AtomicBool) -> Result<bool>;

    /// The result of the oldest step that was submitted and not taken, once it is there.
    ///
    /// # Errors
    /// Where no step was submitted, or the device failed since.
    fn result(&mut self) -> Result<StepResult>;

    /// Throws away the results that were not taken, once nothing is computed any more.
    fn drain(&mut self) -> Result<()>;

    /// The gradients of the last step, before clipping, parameter by parameter.
    fn gradients(&mut self) -> Result<Vec<Vec<f32>>>;

    /// The NLL of each target in nats, without dropout; `None` where `stop` said so before all were scored. Changes nothing but
    /// buffers.
    fn nll(&mut self, sequences: &Sequences<'_>, stop: &AtomicBool) -> Result<Option<Vec<f32>>>;

    /// Whether the NLLs of a window are to the bit the first ones of a longer window that begins there.
    fn rows_are_prefixes(&self) -> bool;

    /// Takes these weights in place of its own, to score them where a second model would need as much memory again. The moments
    /// are still those of the others: it learns no more.
    fn set_values(&mut self, values: &[Vec<f32>]) -> Result<()>;

    /// The weights alone.
    fn values(&self) -> Result<Vec<Lent<'_>>>;

    /// Weights and moments.
    fn state(&self) -> Result<State<Lent<'_>>>;

    /// What it computes with, where that decides the bits beside the program and the kind of device: a state goes on bit for bit
    /// where it is the same.
    fn made_by(&self) -> Option<&Stamp> {
        None
    }

    /// The most bytes that were taken so far of a device with memory of its own; `None` where there is none, or nobody counts
    /// them.
    fn peak_device_memory_bytes(&self) -> Option<u64> {
        None
    }
}

/// One step, waited for.
pub fn make_step(backend: &mut dyn Backend, step: Step<'_>) -> Result<StepResult> {
    if !backend.submit(step, &NEVER)? {
        return Err(Error::internal("a step was stopped that nobody asked to stop"));
    }
    backend.result()
}
