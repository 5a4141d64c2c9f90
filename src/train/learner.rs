//! A model with its optimizer: what the step loop drives, whatever computes it.

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::experiment::settings::{ClipNorm, Precision, Train};
use crate::model::plain::{DropoutSource, PlainModel, Windows};
use crate::model::{Config, Parameter, shape};
use crate::optimize::{AdamW, AdamWState, clip_coefficient, global_norm};

/// Weights and moments outside of any device, in the order of [`Config::parameters`].
#[derive(Debug, Clone, PartialEq)]
pub struct LearnerState {
    /// Updates made.
    pub steps: u64,
    /// The weights.
    pub values: Vec<Vec<f32>>,
    /// AdamW's first moments; empty where only the weights were kept.
    pub first: Vec<Vec<f32>>,
    /// AdamW's second moments; empty where only the weights were kept.
    pub second: Vec<Vec<f32>>,
}

/// A model that learns.
pub struct Learner {
    model: PlainModel,
    optimizer: AdamW,
    clip: ClipNorm,
    micro_batch: Option<usize>,
    seed: u64,
}

impl Learner {
    /// A learner on `device` that goes on from this state.
    pub fn new(config: &Config, train: &Train, seed: u64, device: &Device, state: &LearnerState) -> Result<Self> {
        if train.precision == Precision::Bf16 && device.is_cpu() {
            return Err(Error::usage("`train.precision: bf16` needs a GPU").help("leave it at `f32` on the CPU"));
        }
        let model = PlainModel::new(config, train.precision, device, &state.values)?;
        let optimizer = if state.first.is_empty() {
            AdamW::new(train, model.weights())?
        } else {
            let tensors = |moments: &[Vec<f32>]| {
                let shaped = moments.iter().zip(model.parameters());
                shaped.map(|(m, p)| Ok(Tensor::from_slice(m, p.shape.as_slice(), device)?)).collect::<Result<Vec<_>>>()
            };
            let (first, second) = (tensors(&state.first)?, tensors(&state.second)?);
            AdamW::with_state(train, AdamWState { steps: state.steps, first, second })
        };
        Ok(Self { model, optimizer, clip: train.clip_norm, micro_batch: train.micro_batch, seed })
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// The parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        self.model.parameters()
    }

    /// Gathers the gradients of the mean NLL over all targets of a step, micro-batch after micro-batch, each weighted by its
    /// tokens. Returns the mean (nats per token) and the global norm of the gradients before clipping.
    pub fn gradients(&mut self, windows: &Windows<'_>, step: u64) -> Result<(f64, f64)> {
        let (length, count) = (windows.length, windows.sequences());
        let micro = self.micro_batch.unwrap_or_else(|| shape::micro_batch(self.config(), length, count)).clamp(1, count);
        let targets = windows.targets.len() as f64;
        self.model.zero_gradients();
        let mut sum = 0.0;
        for first in (0..count).step_by(micro) {
            let tokens = first * length..(first + micro).min(count) * length;
            let part = Windows { inputs: &windows.inputs[tokens.clone()], targets: &windows.targets[tokens], length };
            sum += self.model.train(&part, DropoutSource { seed: self.seed, step, first }, 1.0 / targets)?;
        }
        let norm = global_norm(self.model.gradients().iter().flatten())?;
        Ok((sum / targets, norm))
    }

    /// The names of parameters that no gradient reached since the last call of [`Self::gradients`].
    pub fn unreached(&self) -> Result<Vec<&str>> {
        let mut names = Vec::new();
        for (parameter, gradient) in self.parameters().iter().zip(self.model.gradients()) {
            let reached = match gradient {
                Some(gradient) => gradient.abs()?.sum_all()?.to_scalar::<f32>()? > 0.0,
                None => false,
            };
            if !reached {
                names.push(parameter.name.as_str());
            }
        }
        Ok(names)
    }

    /// The gradients gathered last, parameter by parameter.
    pub fn gradient_values(&self) -> Result<Vec<Vec<f32>>> {
        let gradients = self.model.gradients().iter().flatten();
        gradients.map(|g| Ok(g.flatten_all()?.to_vec1()?)).collect()
    }

    /// Clips and makes one update of the weights. Returns what the gradients were multiplied with.
    pub fn update(&mut self, norm: f64, learning_rate: f64) -> Result<f64> {
        let clip = clip_coefficient(norm, self.clip);
        let (parameters, weights) = (self.model.parameters(), self.model.weights());
        self.optimizer.step(parameters, weights, self.model.gradients(), learning_rate, clip)?;
        self.model.zero_gradients();
        Ok(clip)
    }

    /// The NLL of each target in nats. Changes nothing.
    pub fn nll(&self, windows: &Windows<'_>) -> Result<Vec<f32>> {
        let micro = shape::micro_batch(self.config(), windows.length, windows.sequences().max(1)) * windows.length;
        let mut all = Vec::with_capacity(windows.targets.len());
        for (inputs, targets) in windows.inputs.chunks(micro).zip(windows.targets.chunks(micro)) {
            all.extend(self.model.nll(&Windows { inputs, targets, length: windows.length })?);
        }
        Ok(all)
    }

    /// The weights alone.
    pub fn values(&self) -> Result<Vec<Vec<f32>>> {
        (0..self.parameters().len()).map(|place| self.model.values(place)).collect()
    }

    /// Weights and moments.
    pub fn state(&self) -> Result<LearnerState> {
        let flat =
            |tensors: &[Tensor]| tensors.iter().map(|t| Ok(t.flatten_all()?.to_vec1()?)).collect::<Result<Vec<Vec<f32>>>>();
        let state = self.optimizer.state();
        Ok(LearnerState { steps: state.steps, values: self.values()?, first: flat(&state.first)?, second: flat(&state.second)? })
    }
}
