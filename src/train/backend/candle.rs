//! Candle's own operations and autograd, on any device.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

use candle_core::Tensor;

use super::common::{Pending, only_f32};
use super::interface::{Backend, Lent, State, Step, StepResult};
use crate::device::Device;
use crate::error::Result;
use crate::experiment::settings::{ClipNorm, Train};
use crate::model::plain::{self, DropoutSource, PlainModel};
use crate::model::{Config, Sequences};
use crate::optimize::{AdamW, AdamWState, loss_and_norm};
use crate::pulse;
use crate::train::device;

/// The plain model with its optimizer. A step is made while it is submitted.
pub struct Candle {
    model: PlainModel,
    optimizer: AdamW,
    clip: ClipNorm,
    micro_batch: Option<usize>,
    seed: u64,
    pending: Pending,
}

impl Candle {
    /// A plain model on a device that goes on from this state; on the processor, with candle's own threads.
    pub fn new<V>(config: &Config, train: &Train, seed: u64, device: Device, state: &State<V>) -> Result<Self>
    where
        V: AsRef<[f32]>,
    {
        if device.is_cpu() {
            only_f32(train)?;
        }
        let device = device::open(device)?;
        let model = PlainModel::new(config, train.precision, &device, &state.values)?;
        let optimizer = if state.first.is_empty() {
            AdamW::new(train, model.parameters(), model.weights())?
        } else {
            let tensors = |moments: &[V]| {
                let shaped = moments.iter().zip(model.parameters());
                shaped.map(|(m, p)| Ok(Tensor::from_slice(m.as_ref(), p.shape.as_slice(), &device)?)).collect::<Result<Vec<_>>>()
            };
            let (first, second) = (tensors(&state.first)?, tensors(&state.second)?);
            let state = AdamWState { steps: state.steps, first, second };
            AdamW::with_state(train, model.parameters(), model.weights(), state)?
        };
        let (clip, micro_batch, pending) = (train.clip_norm, train.micro_batch, Pending::default());
        Ok(Self { model, optimizer, clip, micro_batch, seed, pending })
    }

    /// Gathers the gradients of the mean NLL over all targets, micro-batch after micro-batch, each weighted by its tokens.
    /// Returns the mean and the norm; nothing where `stop` said so.
    fn gather(&mut self, all: &Sequences<'_>, step: u64, stop: &AtomicBool) -> Result<Option<(f64, f64)>> {
        let (length, count) = (all.length, all.count());
        let micro = self.micro_batch.unwrap_or_else(|| self.model.micro_batch(length, count)).clamp(1, count.max(1));
        let targets = all.targets.len() as f64;
        self.model.forget();
        for first in (0..count).step_by(micro) {
            let tokens = first * length..(first + micro).min(count) * length;
            let part = Sequences { inputs: &all.inputs[tokens.clone()], targets: &all.targets[tokens], length };
            self.model.train(&part, DropoutSource { seed: self.seed, step, first }, 1.0 / targets)?;
            pulse::beat();
            if pulse::is_asked(stop) {
                return Ok(None);
            }
        }
        let (sum, norm) = loss_and_norm(self.model.gathered()?)?;
        Ok(Some((sum / targets, norm)))
    }
}

impl Backend for Candle {
    fn depth(&self) -> usize {
        1
    }

    fn submit(&mut self, step: Step<'_>, stop: &AtomicBool) -> Result<bool> {
        let Some((loss, norm)) = self.gather(&step.sequences, step.number, stop)? else { return Ok(false) };
        let result = StepResult { loss, norm, clip_coefficient: self.clip.coefficient(norm) };
        if result.is_finite() {
            let gradients = &self.model.gathered()?.gradients;
            self.optimizer.step(self.model.weights(), gradients, step.learning_rate, result.clip_coefficient)?;
        }
        self.pending.put(result).map(|()| true)
    }

    fn result(&mut self) -> Result<StepResult> {
        self.pending.take()
    }

    fn drain(&mut self) -> Result<()> {
        self.pending = Pending::default();
        Ok(())
    }

    fn gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        let parts = plain::cut(&self.model.gathered()?.gradients, self.model.parameters())?;
        parts.iter().map(|part| Ok(part.flatten_all()?.to_vec1()?)).collect()
    }

    fn nll(&mut self, sequences: &Sequences<'_>, stop: &AtomicBool) -> Result<Option<Vec<f32>>> {
        let &Sequences { inputs, targets, length } = sequences;
        let micro = self.model.micro_batch(length, sequences.count().max(1)) * length;
        let mut all = Vec::with_capacity(targets.len());
        for (inputs, targets) in inputs.chunks(micro).zip(targets.chunks(micro)) {
            if pulse::is_asked(stop) {
                return Ok(None);
            }
            all.extend(self.model.nll(&Sequences { inputs, targets, length })?);
            pulse::beat();
        }
        Ok(Some(all))
    }

    /// How a product is cut, and so how it is rounded, depends on its size.
    fn rows_are_prefixes(&self) -> bool {
        false
    }

    fn set_values(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.model = self.model.with_values(values)?;
        Ok(())
    }

    fn values(&self) -> Result<Vec<Lent<'_>>> {
        (0..self.model.parameters().len()).map(|place| self.model.values(place).map(Cow::Owned)).collect()
    }

    fn state(&self) -> Result<State<Lent<'_>>> {
        let flat =
            |tensors: &[Tensor]| tensors.iter().map(|t| Ok(Cow::Owned(t.flatten_all()?.to_vec1()?))).collect::<Result<Vec<_>>>();
        let state = self.optimizer.state()?;
        Ok(State { steps: state.steps, values: self.values()?, first: flat(&state.first)?, second: flat(&state.second)? })
    }
}
