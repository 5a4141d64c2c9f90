//! A model with its optimizer: what the step loop drives, whatever computes it.
//!
//! On the CPU that is the engine ([`crate::model::cpu`]); on a GPU, and wherever [`Learner::plain`] asks for it, candle's own
//! operations and autograd ([`crate::model::plain`]), which is what the engine is tested against.

use std::borrow::Cow;

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::experiment::settings::{ClipNorm, Precision, Train};
use crate::model::cpu::{Engine, MicroBatch, shard_size};
use crate::model::plain::{DropoutSource, PlainModel, Windows};
use crate::model::{Config, Parameter, shape};
use crate::optimize::flat::FlatAdamW;
use crate::optimize::{AdamW, AdamWState, clip_coefficient, global_norm};

/// Weights and moments outside of any device, in the order of [`Config::parameters`]: arrays of its own, or a learner's
/// ([`Lent`]).
#[derive(Debug, Clone, PartialEq)]
pub struct LearnerState<V = Vec<f32>> {
    /// Updates made.
    pub steps: u64,
    /// The weights.
    pub values: Vec<V>,
    /// AdamW's first moments; empty where only the weights were kept.
    pub first: Vec<V>,
    /// AdamW's second moments; empty where only the weights were kept.
    pub second: Vec<V>,
}

/// Values that a learner on the CPU lends, so that no copy of a model is made to save it; brought from a device otherwise.
pub type Lent<'a> = Cow<'a, [f32]>;

/// A model that learns.
pub struct Learner {
    path: Path,
    parameters: Vec<Parameter>,
    config: Config,
    clip: ClipNorm,
    micro_batch: Option<usize>,
    seed: u64,
}

/// What computes.
enum Path {
    Engine { engine: Box<Engine>, optimizer: FlatAdamW },
    Plain { model: PlainModel, optimizer: AdamW },
}

/// Copies the values of these parameters, each checked, one after another into an array of all.
fn copy_all<V: AsRef<[f32]>>(into: &mut [f32], parameters: &[Parameter], values: &[V]) -> Result<()> {
    if values.len() != parameters.len() {
        return Err(Error::data(format!("{} parameters were given, and the model has {}", values.len(), parameters.len())));
    }
    let mut rest = into;
    for (parameter, values) in parameters.iter().zip(values.iter().map(AsRef::as_ref)) {
        let place = rest.split_off_mut(..parameter.len()).filter(|place| place.len() == values.len());
        let Some(place) = place else {
            let message = format!("`{}` has {} values, and {:?} are needed", parameter.name, values.len(), parameter.shape);
            return Err(Error::data(message));
        };
        place.copy_from_slice(values);
    }
    Ok(())
}

impl Learner {
    /// A learner on `device` that goes on from this state: by the engine on the CPU, on candle's threads
    /// (`RAYON_NUM_THREADS`), else by candle's operations.
    pub fn new<V>(config: &Config, train: &Train, seed: u64, device: &Device, state: &LearnerState<V>) -> Result<Self>
    where
        V: AsRef<[f32]>,
    {
        if !device.is_cpu() {
            return Self::plain(config, train, seed, device, state);
        }
        refuse_bf16(train)?;
        let parameters = config.parameters();
        let mut engine = Engine::new(config, seed, candle_core::utils::get_num_threads(), config.context)?;
        copy_all(engine.values_mut(), &parameters, &state.values)?;
        let mut optimizer = FlatAdamW::new(config, train);
        if !state.first.is_empty() {
            let [first, second] = optimizer.restore(state.steps);
            copy_all(first, &parameters, &state.first)?;
            copy_all(second, &parameters, &state.second)?;
        }
        Ok(Self::with(Path::Engine { engine: Box::new(engine), optimizer }, config, train, seed))
    }

    /// A learner made from candle's own operations and autograd, on any device.
    pub fn plain<V>(config: &Config, train: &Train, seed: u64, device: &Device, state: &LearnerState<V>) -> Result<Self>
    where
        V: AsRef<[f32]>,
    {
        if device.is_cpu() {
            refuse_bf16(train)?;
        }
        let model = PlainModel::new(config, train.precision, device, &state.values)?;
        let optimizer = if state.first.is_empty() {
            AdamW::new(train, model.weights())?
        } else {
            let tensors = |moments: &[V]| {
                let shaped = moments.iter().zip(model.parameters());
                shaped.map(|(m, p)| Ok(Tensor::from_slice(m.as_ref(), p.shape.as_slice(), device)?)).collect::<Result<Vec<_>>>()
            };
            let (first, second) = (tensors(&state.first)?, tensors(&state.second)?);
            AdamW::with_state(train, AdamWState { steps: state.steps, first, second })
        };
        Ok(Self::with(Path::Plain { model, optimizer }, config, train, seed))
    }

    fn with(path: Path, config: &Config, train: &Train, seed: u64) -> Self {
        let (clip, micro_batch) = (train.clip_norm, train.micro_batch);
        Self { path, parameters: config.parameters(), config: config.clone(), clip, micro_batch, seed }
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Windows that go through the model at once, of a step of `count`. The engine takes whole shards, so that the result is
    /// the same to the bit whatever this is.
    fn micro_batch(&self, length: usize, count: usize) -> usize {
        match self.path {
            Path::Plain { .. } => {
                self.micro_batch.unwrap_or_else(|| shape::micro_batch(&self.config, length, count)).clamp(1, count.max(1))
            }
            // The engine's memory does not depend on it.
            Path::Engine { .. } => {
                let (wished, shard) = (self.micro_batch.unwrap_or(count), shard_size(count, length));
                (wished / shard).max(1) * shard
            }
        }
    }

    /// Gathers the gradients of the mean NLL over all targets of a step, micro-batch after micro-batch, each weighted by its
    /// tokens. Returns the mean (nats per token) and the global norm of the gradients before clipping.
    pub fn gradients(&mut self, windows: &Windows<'_>, step: u64) -> Result<(f64, f64)> {
        let (length, count) = (windows.length, windows.sequences());
        let micro = self.micro_batch(length, count);
        let targets = windows.targets.len() as f64;
        let mut sum = 0.0;
        if let Path::Plain { model, .. } = &mut self.path {
            model.zero_gradients();
        }
        for first in (0..count).step_by(micro) {
            let tokens = first * length..(first + micro).min(count) * length;
            let (inputs, follow) = (&windows.inputs[tokens.clone()], &windows.targets[tokens]);
            match &mut self.path {
                Path::Engine { engine, .. } => {
                    let scale = (1.0 / targets) as f32;
                    engine.train(MicroBatch { inputs, targets: follow, length, batch: count, first, step, scale }, &mut sum)?;
                }
                Path::Plain { model, .. } => {
                    let part = Windows { inputs, targets: follow, length };
                    sum += model.train(&part, DropoutSource { seed: self.seed, step, first }, 1.0 / targets)?;
                }
            }
        }
        let norm = match &self.path {
            Path::Engine { engine, optimizer } => optimizer.norm(engine.pool(), engine.gradients()),
            Path::Plain { model, .. } => global_norm(model.gradients().iter().flatten())?,
        };
        Ok((sum / targets, norm))
    }

    /// The gradients gathered last, parameter by parameter; empty where none arrived.
    pub fn gradient_values(&self) -> Result<Vec<Vec<f32>>> {
        match &self.path {
            Path::Engine { engine, .. } => Ok(cut(engine, engine.gradients()).map(<[f32]>::to_vec).collect()),
            Path::Plain { model, .. } => {
                let values = |g: &Option<Tensor>| match g {
                    Some(gradient) => Ok(gradient.flatten_all()?.to_vec1()?),
                    None => Ok(Vec::new()),
                };
                model.gradients().iter().map(values).collect()
            }
        }
    }

    /// Clips and makes one update of the weights. Returns what the gradients were multiplied with.
    pub fn update(&mut self, norm: f64, learning_rate: f64) -> Result<f64> {
        let clip = clip_coefficient(norm, self.clip);
        match &mut self.path {
            Path::Engine { engine, optimizer } => {
                let (pool, values, gradients) = engine.for_update();
                optimizer.update(pool, values, gradients, learning_rate, clip);
            }
            Path::Plain { model, optimizer } => {
                optimizer.step(model.parameters(), model.weights(), model.gradients(), learning_rate, clip)?;
                model.zero_gradients();
            }
        }
        Ok(clip)
    }

    /// The NLL of each target in nats. Changes nothing but buffers.
    pub fn nll(&mut self, windows: &Windows<'_>) -> Result<Vec<f32>> {
        let &Windows { inputs, targets, length } = windows;
        match &mut self.path {
            Path::Engine { engine, .. } => {
                let mut all = vec![0.0; targets.len()];
                engine.nll(inputs, targets, length, &mut all)?;
                Ok(all)
            }
            Path::Plain { model, .. } => {
                let micro = shape::micro_batch(&self.config, length, windows.sequences().max(1)) * length;
                let mut all = Vec::with_capacity(targets.len());
                for (inputs, targets) in inputs.chunks(micro).zip(targets.chunks(micro)) {
                    all.extend(model.nll(&Windows { inputs, targets, length })?);
                }
                Ok(all)
            }
        }
    }

    /// Takes these weights in place of its own, to score them where a second model would need as much memory again. The moments
    /// are still those of the others: it learns no more.
    pub fn set_values(&mut self, values: &[Vec<f32>]) -> Result<()> {
        match &mut self.path {
            Path::Engine { engine, .. } => copy_all(engine.values_mut(), &self.parameters, values)?,
            Path::Plain { model, .. } => *model = model.with_values(values)?,
        }
        Ok(())
    }

    /// The weights alone.
    pub fn values(&self) -> Result<Vec<Lent<'_>>> {
        match &self.path {
            Path::Engine { engine, .. } => Ok(cut(engine, engine.values()).map(Cow::Borrowed).collect()),
            Path::Plain { model, .. } => (0..self.parameters.len()).map(|place| model.values(place).map(Cow::Owned)).collect(),
        }
    }

    /// Weights and moments.
    pub fn state(&self) -> Result<LearnerState<Lent<'_>>> {
        let values = self.values()?;
        match &self.path {
            Path::Engine { engine, optimizer } => {
                let [first, second] = optimizer.moments().map(|all| cut(engine, all).map(Cow::Borrowed).collect());
                Ok(LearnerState { steps: optimizer.steps(), values, first, second })
            }
            Path::Plain { optimizer, .. } => {
                let flat = |tensors: &[Tensor]| {
                    tensors.iter().map(|t| Ok(Cow::Owned(t.flatten_all()?.to_vec1()?))).collect::<Result<Vec<_>>>()
                };
                let state = optimizer.state();
                Ok(LearnerState { steps: state.steps, values, first: flat(&state.first)?, second: flat(&state.second)? })
            }
        }
    }
}

/// One array of all parameters, cut into one for each.
fn cut<'a>(engine: &'a Engine, all: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
    engine.ranges().iter().map(|range| &all[range.clone()])
}

fn refuse_bf16(train: &Train) -> Result<()> {
    if train.precision == Precision::Bf16 {
        return Err(Error::usage("`train.precision: bf16` needs a GPU").help("leave it at `f32` on the CPU"));
    }
    Ok(())
}
