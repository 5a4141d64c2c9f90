//! One forward pass: what goes through, with which weights, and what falls out on the way.

use candle_core::{DType, Device, Tensor};

use super::cache::Cache;
use super::tables::Tables;
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::model::dropout::{MaskKey, Site, attention_mask, mask};
use crate::model::parameters::Parameter;

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

/// One forward pass: what goes through, and how.
pub(super) struct Pass<'a> {
    /// Tokens in a window.
    pub(super) length: usize,
    pub(super) dropout: Dropout<'a>,
    /// What products are made in.
    pub(super) compute: DType,
    pub(super) tables: &'a Tables,
    /// What is kept of the tokens before these; there is one window then.
    pub(super) cache: Option<&'a Cache>,
}

impl Pass<'_> {
    /// The position of a window's first token.
    pub(super) fn first(&self) -> usize {
        self.cache.map_or(0, Cache::length)
    }

    /// The keys and values that a layer's queries look at [B, KV, P + T, D], given those of this pass [B, KV, T, D].
    pub(super) fn keys_and_values(&self, layer: usize, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        match self.cache {
            Some(cache) => cache.extend(layer, &keys, &values),
            None => Ok((keys, values)),
        }
    }
}

/// Dropout from the program's own streams: a mask is a function of seed, step, window, layer and site only.
#[derive(Clone, Copy)]
pub(super) struct Dropout<'a> {
    pub(super) rate: f64,
    pub(super) source: Option<DropoutSource>,
    pub(super) device: &'a Device,
}

impl Dropout<'_> {
    /// Zeroes each value of `x` ([B·T, C], or [B, H, T, T] for attention weights), which holds this many whole windows one
    /// after another, with probability `rate`, and scales the others by 1 / (1 − rate).
    pub(super) fn apply(&self, x: &Tensor, windows: usize, layer: usize, site: Site) -> Result<Tensor> {
        let Some(source) = self.source.filter(|_| self.rate > 0.0) else { return Ok(x.clone()) };
        let mut values = Vec::with_capacity(x.elem_count());
        for window in 0..windows {
            let place = MaskKey { seed: source.seed, step: source.step, sequence: source.first + window, layer, site };
            values.extend(match site {
                Site::Attention => attention_mask(place, self.rate, x.dim(1)?, x.dim(2)?),
                _ => mask(place, self.rate, x.dim(0)? / windows, x.dim(1)?),
            });
        }
        Ok((x * Tensor::from_vec(values, x.shape(), self.device)?)?)
    }
}

/// Weights by place in [`Config::parameters`], taken one after another as a forward pass needs them.
pub(super) struct Weights<'a> {
    pub(super) config: &'a Config,
    pub(super) parameters: &'a [Parameter],
    pub(super) values: Vec<&'a Tensor>,
    pub(super) next: usize,
}

impl<'a> Weights<'a> {
    /// The next weight. The order of use is the order of the list, and the name is checked.
    pub(super) fn take(&mut self, end: &str) -> Result<&'a Tensor> {
        let place = self.next;
        self.next += 1;
        match self.parameters.get(place) {
            Some(parameter) if parameter.name.ends_with(end) => Ok(self.values[place]),
            other => Err(Error::internal(format!("parameter {place} should be `…{end}` and is {:?}", other.map(|p| &p.name)))),
        }
    }

    /// The next weight where the model has biases, else nothing.
    pub(super) fn bias(&mut self, end: &str) -> Result<Option<&'a Tensor>> {
        if self.config.bias { self.take(end).map(Some) } else { Ok(None) }
    }

    /// The first weight of the list: the token embedding.
    pub(super) fn embedding(&self) -> &'a Tensor {
        self.values[0]
    }
}
