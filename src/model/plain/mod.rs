//! The plain model: candle's operations and autograd, nothing else. It runs on `cpu`, `cuda` and `metal` alike, and it is
//! the version to read.
//!
//! Several of candle's ready-made layers (`layer_norm` with bias, `rms_norm`, `softmax_last_dim`, `rope`, `sdpa`) have no
//! backward pass and cut the gradient without a word, so the layers in [`layers`] are made from elementary operations.
//!
//! A text is made token by token with a [`Cache`]: the same forward pass, over the new tokens only.

mod cache;
mod gpt2;
mod joined;
mod layers;
mod llama;
mod pass;
mod tables;

use candle_core::{DType, Device, Tensor, Var};

use super::config::Config;
use super::parameters::Parameter;
use super::sequences::Sequences;
use super::shape;
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::{Family, Precision};
pub use cache::Cache;
use joined::wide;
pub use joined::{cut, join, square_sum};
pub use pass::DropoutSource;
use pass::{Dropout, Pass, Weights};
use tables::Tables;

/// A model with its weights and their gradients on one device.
pub struct PlainModel {
    config: Config,
    precision: Precision,
    device: Device,
    parameters: Vec<Parameter>,
    weights: Vec<Var>,
    gathered: Option<Gathered>,
    tables: Tables,
}

/// What a step gathers on the model's device before its update.
pub struct Gathered {
    /// Sum of the NLL of all targets in nats, in 64 bits (in 32 on Metal, which has no others): a scalar.
    pub nll: Tensor,
    /// Sums of the gradients, [`join`]ed.
    pub gradients: Tensor,
}

/// An error of candle's, which says by its text alone that memory ran out.
impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        let text = source.to_string();
        let memory = text.contains("out of memory") || text.contains("OUT_OF_MEMORY");
        let kind = if memory { Kind::OutOfMemory } else { Kind::Internal };
        Self::new(kind, "a tensor operation failed").caused_by(text)
    }
}

impl PlainModel {
    /// A model on `device` whose parameters have these values, in the order of [`Config::parameters`].
    pub fn new(config: &Config, precision: Precision, device: &Device, values: &[impl AsRef<[f32]>]) -> Result<Self> {
        let parameters = config.parameters();
        if values.len() != parameters.len() {
            return Err(Error::data(format!("{} parameters were given, and the model has {}", values.len(), parameters.len())));
        }
        let mut weights = Vec::with_capacity(values.len());
        for (parameter, value) in parameters.iter().zip(values.iter().map(AsRef::as_ref)) {
            if value.len() != parameter.len() {
                let message = format!("`{}` has {} values, and {:?} are needed", parameter.name, value.len(), parameter.shape);
                return Err(Error::data(message));
            }
            weights.push(Var::from_slice(value, parameter.shape.as_slice(), device)?);
        }
        if device.is_cuda() {
            // A switch of candle's for the whole process, which has one model that is trained.
            candle_core::cuda::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
        }
        let (config, device, tables) = (config.clone(), device.clone(), Tables::new(config, device));
        Ok(Self { config, precision, device, parameters, weights, gathered: None, tables })
    }

    /// As [`PlainModel::new`], on the processor and in 32 bits.
    pub fn on_processor(config: &Config, values: &[impl AsRef<[f32]>]) -> Result<Self> {
        Self::new(config, Precision::F32, &Device::Cpu, values)
    }

    /// The same model with other weights.
    pub fn with_values(&self, values: &[impl AsRef<[f32]>]) -> Result<Self> {
        Self::new(&self.config, self.precision, &self.device, values)
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Windows of this length that go through at once, of `count`, where no setting says otherwise. On a GPU the configuration
    /// alone decides, since bits depend on it.
    pub fn micro_batch(&self, length: usize, count: usize) -> usize {
        let cut = if self.device.is_cpu() { shape::micro_batch } else { shape::plain_unit };
        cut(&self.config, length, count)
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

    /// What was gathered since [`Self::forget`].
    ///
    /// # Errors
    /// Nothing was.
    pub fn gathered(&self) -> Result<&Gathered> {
        self.gathered.as_ref().ok_or_else(|| Error::internal("no gradients were gathered"))
    }

    /// Forgets what was gathered.
    pub fn forget(&mut self) {
        self.gathered = None;
    }

    /// Adds the sum of the windows' NLL, and the gradients of `scale` × that sum, to what is gathered. The device is not waited for.
    ///
    /// # Errors
    /// Parameters that autograd left without a gradient, all of them: candle has operations that cut the gradient without a word,
    /// and a parameter that learns nothing must not pass unseen. One of zeros is a gradient: dropout may leave nothing else.
    pub fn train(&mut self, sequences: &Sequences<'_>, dropout: DropoutSource, scale: f64) -> Result<()> {
        let dropout = Dropout { rate: self.config.dropout, source: Some(dropout), device: &self.device };
        let nll = self.token_nll(sequences, &dropout)?;
        let loss = (nll.sum_all()? * scale)?;
        let mut arrived = loss.backward()?;
        let arrived = self.weights.iter().map(|weight| arrived.remove(weight.as_tensor())).collect();
        let gradients = join(reached(&self.parameters, arrived)?)?;
        let nll = wide(&nll.detach())?.sum_all()?;
        self.gathered = Some(match self.gathered.take() {
            Some(sum) => Gathered { nll: (sum.nll + nll)?, gradients: (sum.gradients + gradients)? },
            None => Gathered { nll, gradients },
        });
        Ok(())
    }

    /// The NLL of each target in nats, in their order. No dropout, no gradients, no change of any state.
    pub fn nll(&self, sequences: &Sequences<'_>) -> Result<Vec<f32>> {
        let nll = self.token_nll(sequences, &self.no_dropout())?;
        Ok(nll.to_vec1()?)
    }

    /// The logits of every position [sequences, length, vocabulary].
    pub fn logits(&self, inputs: &[u32], length: usize) -> Result<Tensor> {
        let logits = self.forward(inputs, length, &self.no_dropout())?;
        Ok(logits.reshape((inputs.len() / length, length, self.config.vocabulary))?)
    }

    /// NLL of each target [sequences × length], in 32 bits.
    fn token_nll(&self, sequences: &Sequences<'_>, dropout: &Dropout<'_>) -> Result<Tensor> {
        let logits = self.forward(sequences.inputs, sequences.length, dropout)?;
        let targets = Tensor::from_slice(sequences.targets, (sequences.targets.len(), 1), &self.device)?;
        let log_probabilities = candle_nn::ops::log_softmax(&logits, 1)?;
        Ok(log_probabilities.gather(&targets, 1)?.squeeze(1)?.neg()?)
    }

    /// An empty cache for [`Self::read`].
    pub fn cache(&self) -> Result<Cache> {
        Cache::new(&self.config, &self.device)
    }

    /// Reads these tokens after those in the cache and puts them there too: the logits (`[vocabulary]`) of the token that follows.
    /// No dropout, no gradients. They agree with [`Self::logits`] of all these tokens up to rounding.
    ///
    /// # Errors
    /// Where there are no tokens, or more than [`Cache::left`].
    pub fn read(&self, tokens: &[u32], cache: &mut Cache) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::internal("there is no token to read"));
        }
        cache.reserve(tokens.len())?;
        // Without their history of operations: what is kept of a token would else keep all that was computed for it.
        let values: Vec<Tensor> = self.weights.iter().map(Var::as_detached_tensor).collect();
        let mut weights = self.weights_of(values.iter().collect());
        let pass = self.pass(tokens.len(), self.no_dropout(), Some(cache));
        let x = self.hidden(&mut weights, tokens, &pass)?.narrow(0, tokens.len() - 1, 1)?;
        let logits = self.head(&mut weights, &x)?.squeeze(0)?.to_vec1()?;
        cache.advance(tokens.len());
        Ok(logits)
    }

    fn pass<'a>(&'a self, length: usize, dropout: Dropout<'a>, cache: Option<&'a Cache>) -> Pass<'a> {
        Pass { length, dropout, compute: self.compute(), tables: &self.tables, cache }
    }

    fn no_dropout(&self) -> Dropout<'_> {
        Dropout { rate: 0.0, source: None, device: &self.device }
    }

    fn compute(&self) -> DType {
        match self.precision {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        }
    }

    fn weights_of<'a>(&'a self, values: Vec<&'a Tensor>) -> Weights<'a> {
        Weights { config: &self.config, parameters: &self.parameters, values, next: 0 }
    }

    /// Logits [sequences × length, vocabulary], in 32 bits.
    fn forward(&self, inputs: &[u32], length: usize, dropout: &Dropout<'_>) -> Result<Tensor> {
        if length == 0 || length > self.config.context || !inputs.len().is_multiple_of(length) {
            let message = format!("{} tokens do not make windows of {length} (at most {})", inputs.len(), self.config.context);
            return Err(Error::internal(message));
        }
        let mut weights = self.weights_of(self.weights.iter().map(Var::as_tensor).collect());
        let pass = self.pass(length, *dropout, None);
        let x = self.hidden(&mut weights, inputs, &pass)?;
        self.head(&mut weights, &x)
    }

    /// Hidden states after the last norm [sequences × length, C].
    fn hidden(&self, weights: &mut Weights<'_>, inputs: &[u32], pass: &Pass<'_>) -> Result<Tensor> {
        let ids = Tensor::from_slice(inputs, inputs.len(), &self.device)?;
        match self.config.family {
            Family::Gpt2 => gpt2::forward(&self.config, weights, &ids, pass),
            Family::Llama => llama::forward(&self.config, weights, &ids, pass),
        }
    }

    /// Logits [N, vocabulary] of hidden states [N, C].
    fn head(&self, weights: &mut Weights<'_>, x: &Tensor) -> Result<Tensor> {
        let head = if self.config.tied { weights.embedding() } else { weights.take("lm_head.weight")? };
        layers::linear_out_in(x, head, None, self.compute())
    }
}

/// The gradients of all parameters, each of which must have one.
fn reached(parameters: &[Parameter], gradients: Vec<Option<Tensor>>) -> Result<Vec<Tensor>> {
    let without = parameters.iter().zip(&gradients).filter(|(_, gradient)| gradient.is_none());
    let names: Vec<&str> = without.map(|(parameter, _)| parameter.name.as_str()).collect();
    if !names.is_empty() {
        return Err(Error::internal(format!("no gradient reached `{}`", names.join("`, `"))));
    }
    Ok(gradients.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Group, Start};

    #[test]
    fn parameters_without_a_gradient_are_all_named_and_one_of_zeros_is_a_gradient() {
        let parameter =
            |name: &str| Parameter { name: name.to_owned(), shape: vec![2], group: Group::NoDecay, start: Start::Constant(1.0) };
        let parameters = [parameter("a"), parameter("b"), parameter("c")];
        let zeros = || Some(Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap());
        let error = reached(&parameters, vec![zeros(), None, None]).unwrap_err();
        assert_eq!(error.to_string(), "no gradient reached `b`, `c`");
        assert_eq!(reached(&parameters, vec![zeros(), zeros(), zeros()]).unwrap().len(), 3);
    }
}
