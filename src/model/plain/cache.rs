//! Keys and values of tokens that were already read: one more token then costs one position, and not all of them.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::model::Config;

/// Tokens that the smallest cache has room for.
const LEAST: usize = 64;

/// What a model keeps of one text that it reads: for each layer the keys (already turned by their positions where those are
/// rotary) and the values, each [1, KV, room, D] in 32 bits, of which the first [`Cache::length`] positions hold something.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<[Tensor; 2]>,
    length: usize,
    room: usize,
    heads: usize,
    head: usize,
    context: usize,
    device: Device,
}

impl Cache {
    /// An empty one; room is taken as tokens arrive, up to the model's context.
    pub(super) fn new(config: &Config, device: &Device) -> Result<Self> {
        let (heads, head, context) = (config.kv_heads, config.head(), config.context);
        let mut cache =
            Self { layers: Vec::new(), length: 0, room: LEAST.min(context), heads, head, context, device: device.clone() };
        cache.layers = (0..config.layers).map(|_| Ok([cache.empty()?, cache.empty()?])).collect::<Result<_>>()?;
        Ok(cache)
    }

    /// Tokens read so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Tokens that still fit: the model has no position after them.
    pub fn left(&self) -> usize {
        self.context - self.length
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    fn empty(&self) -> Result<Tensor> {
        Ok(Tensor::zeros((1, self.heads, self.room, self.head), DType::F32, &self.device)?)
    }

    /// Makes room for so many more tokens.
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<()> {
        if tokens > self.left() {
            return Err(Error::internal(format!("{tokens} tokens do not fit after {} of {}", self.length, self.context)));
        }
        let needed = self.length + tokens;
        if needed <= self.room {
            return Ok(());
        }
        self.room = needed.next_power_of_two().min(self.context);
        for layer in 0..self.layers.len() {
            for kind in 0..2 {
                let wider = self.empty()?;
                if self.length > 0 {
                    wider.slice_set(&self.layers[layer][kind].narrow(2, 0, self.length)?.contiguous()?, 2, 0)?;
                }
                self.layers[layer][kind] = wider;
            }
        }
        Ok(())
    }

    /// Puts a layer's keys and values [1, KV, T, D] of the next T tokens after those before, and returns all of them.
    pub(super) fn extend(&self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let all = |kind: usize, new: &Tensor| -> Result<Tensor> {
            self.layers[layer][kind].slice_set(&new.contiguous()?, 2, self.length)?;
            Ok(self.layers[layer][kind].narrow(2, 0, self.length + new.dim(2)?)?)
        };
        Ok((all(0, keys)?, all(1, values)?))
    }

    /// Counts so many tokens as read, once every layer has them.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}
