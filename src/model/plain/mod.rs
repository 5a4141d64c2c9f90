//! The plain model: candle's operations and autograd, nothing else. It runs on `cpu`, `cuda` and `metal` alike, and it is
//! the version to read.
//!
//! Several of candle's ready-made layers (`layer_norm` with bias, `rms_norm`, `softmax_last_dim`, `rope`, `sdpa`) have no
//! backward pass and cut the gradient without a word, so the layers in [`layers`] are made from elementary operations.

mod gpt2;
mod layers;
mod llama;

use candle_core::{DType, Device, Tensor, Var};

use super::config::Config;
use super::parameters::Parameter;
use crate::error::{Error, Result};
use crate::experiment::settings::{Family, Precision};
use layers::Dropout;

/// A model with its weights and their gradients on one device.
pub struct PlainModel {
    config: Config,
    precision: Precision,
    device: Device,
    parameters: Vec<Parameter>,
    weights: Vec<Var>,
    gradients: Vec<Option<Tensor>>,
}

/// Windows that go through the model at once.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'a> {
    /// Input tokens, `sequences × length`, row by row.
    pub inputs: &'a [u32],
    /// Target tokens: the inputs moved on by one.
    pub targets: &'a [u32],
    /// Tokens in a window.
    pub length: usize,
}

impl Windows<'_> {
    /// Number of windows.
    pub fn sequences(&self) -> usize {
        self.inputs.len() / self.length.max(1)
    }
}

/// Where the dropout of a training step comes from.
#[derive(Debug, Clone, Copy)]
pub struct DropoutSource {
    /// The trial's seed.
    pub seed: u64,
    /// The step, from 0.
    pub step: u64,
    /// Index of the first window within the step: a window's mask does not depend on how the step is cut.
    pub first: usize,
}

/// Weights by place in [`Config::parameters`], taken one after another as a forward pass needs them.
struct Weights<'a> {
    model: &'a PlainModel,
    next: usize,
}

impl<'a> Weights<'a> {
    /// The next weight. The order of use is the order of the list, and the name is checked.
    fn take(&mut self, end: &str) -> Result<&'a Tensor> {
        let place = self.next;
        self.next += 1;
        match self.model.parameters.get(place) {
            Some(parameter) if parameter.name.ends_with(end) => Ok(self.model.weights[place].as_tensor()),
            other => Err(Error::internal(format!("parameter {place} should be `…{end}` and is {:?}", other.map(|p| &p.name)))),
        }
    }

    /// The next weight where the model has biases, else nothing.
    fn bias(&mut self, end: &str) -> Result<Option<&'a Tensor>> {
        if self.model.config.bias { self.take(end).map(Some) } else { Ok(None) }
    }

    /// The first weight of the list: the token embedding.
    fn embedding(&self) -> &'a Tensor {
        self.model.weights[0].as_tensor()
    }
}

impl PlainModel {
    /// A model on `device` whose parameters have these values, in the order of [`Config::parameters`].
    pub fn new(config: &Config, precision: Precision, device: &Device, values: &[Vec<f32>]) -> Result<Self> {
        let parameters = config.parameters();
        if values.len() != parameters.len() {
            return Err(Error::data(format!("{} parameters were given, and the model has {}", values.len(), parameters.len())));
        }
        let mut weights = Vec::with_capacity(values.len());
        for (parameter, value) in parameters.iter().zip(values) {
            if value.len() != parameter.len() {
                let message = format!("`{}` has {} values, and {:?} are needed", parameter.name, value.len(), parameter.shape);
                return Err(Error::data(message));
            }
            weights.push(Var::from_slice(value, parameter.shape.as_slice(), device)?);
        }
        let gradients = vec![None; weights.len()];
        Ok(Self { config: config.clone(), precision, device: device.clone(), parameters, weights, gradients })
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The weights, in the same order.
    pub fn weights(&self) -> &[Var] {
        &self.weights
    }

    /// The values of one parameter.
    pub fn values(&self, place: usize) -> Result<Vec<f32>> {
        Ok(self.weights[place].flatten_all()?.to_vec1()?)
    }

    /// The gradients gathered since [`Self::zero_gradients`], in the same order; `None` where none arrived.
    pub fn gradients(&self) -> &[Option<Tensor>] {
        &self.gradients
    }

    /// Forgets the gradients.
    pub fn zero_gradients(&mut self) {
        self.gradients.fill(None);
    }

    /// Adds the gradients of `scale` × (sum of the windows' NLL) and returns that sum in nats (not scaled).
    pub fn train(&mut self, windows: &Windows<'_>, dropout: DropoutSource, scale: f64) -> Result<f64> {
        let dropout = Dropout { rate: self.config.dropout, source: Some(dropout), device: &self.device };
        let nll = self.token_nll(windows, &dropout)?;
        let loss = (nll.sum_all()? * scale)?;
        let mut arrived = loss.backward()?;
        for (weight, sum) in self.weights.iter().zip(&mut self.gradients) {
            if let Some(gradient) = arrived.remove(weight.as_tensor()) {
                *sum = Some(match sum.take() {
                    Some(sum) => (sum + gradient)?,
                    None => gradient,
                });
            }
        }
        Ok(nll.to_vec1::<f32>()?.into_iter().map(f64::from).sum())
    }

    /// The NLL of each target in nats, in the order of `windows`. No dropout, no gradients, no change of any state.
    pub fn nll(&self, windows: &Windows<'_>) -> Result<Vec<f32>> {
        let nll = self.token_nll(windows, &Dropout { rate: 0.0, source: None, device: &self.device })?;
        Ok(nll.to_vec1()?)
    }

    /// The logits of every position [sequences, length, vocabulary].
    pub fn logits(&self, inputs: &[u32], length: usize) -> Result<Tensor> {
        let dropout = Dropout { rate: 0.0, source: None, device: &self.device };
        let logits = self.forward(inputs, length, &dropout)?;
        Ok(logits.reshape((inputs.len() / length, length, self.config.vocabulary))?)
    }

    /// NLL of each target [sequences × length], in 32 bits.
    fn token_nll(&self, windows: &Windows<'_>, dropout: &Dropout<'_>) -> Result<Tensor> {
        let logits = self.forward(windows.inputs, windows.length, dropout)?;
        let targets = Tensor::from_slice(windows.targets, (windows.targets.len(), 1), &self.device)?;
        let log_probabilities = candle_nn::ops::log_softmax(&logits, 1)?;
        Ok(log_probabilities.gather(&targets, 1)?.squeeze(1)?.neg()?)
    }

    /// Logits [sequences × length, vocabulary], in 32 bits.
    fn forward(&self, inputs: &[u32], length: usize, dropout: &Dropout<'_>) -> Result<Tensor> {
        if length == 0 || length > self.config.context || !inputs.len().is_multiple_of(length) {
            let message = format!("{} tokens do not make windows of {length} (at most {})", inputs.len(), self.config.context);
            return Err(Error::internal(message));
        }
        let ids = Tensor::from_slice(inputs, inputs.len(), &self.device)?;
        let mut weights = Weights { model: self, next: 0 };
        let compute = match self.precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        };
        let x = match self.config.family {
            Family::Gpt2 => gpt2::forward(&self.config, &mut weights, &ids, length, dropout, compute)?,
            Family::Llama => llama::forward(&self.config, &mut weights, &ids, length, dropout, compute)?,
        };
        let head = if self.config.tied { weights.embedding() } else { weights.take("lm_head.weight")? };
        layers::linear_out_in(&x, head, None, compute)
    }
}
