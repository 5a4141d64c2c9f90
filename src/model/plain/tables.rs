//! What depends on positions alone, made once for a model and kept on its device: the causal mask and the rotary angles. They
//! are made again where longer windows come.

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::model::Config;

/// The tables of one model.
#[derive(Debug)]
pub(super) struct Tables {
    head: usize,
    theta: f64,
    device: Device,
    /// [n, n] for the longest window so far: 0 where a token may look (itself and before), −∞ after it.
    mask: Mutex<Option<Tensor>>,
    /// Cosine and sine of the angles, [n, D / 2] each.
    angles: Mutex<Option<[Tensor; 2]>>,
}

impl Tables {
    pub(super) fn new(config: &Config, device: &Device) -> Self {
        let (head, theta, device) = (config.head(), config.rope_theta, device.clone());
        Self { head, theta, device, mask: Mutex::default(), angles: Mutex::default() }
    }

    /// [T, P + T], to be added to scores: what T = `tokens` queries may see of `all` keys, the last T of which are their own.
    /// None for a single query: it sees all.
    pub(super) fn mask(&self, tokens: usize, all: usize) -> Result<Option<Tensor>> {
        if tokens == 1 {
            return Ok(None);
        }
        let mut kept = self.mask.lock().unwrap_or_else(PoisonError::into_inner);
        let square = match kept.take() {
            Some(square) if square.dim(0)? >= all => square,
            _ => causal(all, &self.device)?,
        };
        let part = square.narrow(0, all - tokens, tokens)?.narrow(1, 0, all)?;
        *kept = Some(square);
        Ok(Some(part))
    }

    /// Cosine and sine [T, D / 2] of the angles at the positions from `first` on.
    pub(super) fn rotary(&self, first: usize, tokens: usize) -> Result<[Tensor; 2]> {
        let mut kept = self.angles.lock().unwrap_or_else(PoisonError::into_inner);
        let [cos, sin] = match kept.take() {
            Some(tables) if tables[0].dim(0)? >= first + tokens => tables,
            // A text grows by a token at a time.
            _ => angles((first + tokens).next_power_of_two(), self.head, self.theta, &self.device)?,
        };
        let part = [cos.narrow(0, first, tokens)?, sin.narrow(0, first, tokens)?];
        *kept = Some([cos, sin]);
        Ok(part)
    }
}

fn causal(positions: usize, device: &Device) -> Result<Tensor> {
    let row = |i: usize| (0..positions).map(move |j| if j <= i { 0.0 } else { f32::NEG_INFINITY });
    let mask: Vec<f32> = (0..positions).flat_map(row).collect();
    Ok(Tensor::from_vec(mask, (positions, positions), device)?)
}

fn angles(positions: usize, head: usize, theta: f64, device: &Device) -> Result<[Tensor; 2]> {
    let half = head / 2;
    let angle = |place: usize, j: usize| place as f32 * (1.0 / theta.powf(2.0 * j as f64 / head as f64)) as f32;
    let table = |f: fn(f32) -> f32| -> Result<Tensor> {
        let values: Vec<f32> = (0..positions).flat_map(|place| (0..half).map(move |j| f(angle(place, j)))).collect();
        Ok(Tensor::from_vec(values, (positions, half), device)?)
    };
    Ok([table(f32::cos)?, table(f32::sin)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::{Family, Model};

    fn tables() -> Tables {
        let model = Model { family: Family::Llama, layers: 1, heads: 2, width: 8, ..Model::default() };
        Tables::new(&Config::new(&model, 5, 64).unwrap(), &Device::Cpu)
    }

    #[test]
    fn whatever_was_asked_before_the_parts_are_those_of_tables_made_for_them() {
        let tables = tables();
        for (tokens, all) in [(3, 3), (2, 7), (7, 7), (2, 2), (3, 6)] {
            let mask = tables.mask(tokens, all).unwrap().unwrap().to_vec2::<f32>().unwrap();
            let expected = causal(all, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(mask, expected[all - tokens..]);

            let (first, fresh) = (all - tokens, angles(all, 4, 10_000.0, &Device::Cpu).unwrap());
            for (part, whole) in tables.rotary(first, tokens).unwrap().iter().zip(fresh) {
                assert_eq!(part.to_vec2::<f32>().unwrap(), whole.to_vec2::<f32>().unwrap()[first..]);
            }
        }
    }

    #[test]
    fn tables_are_made_once_for_the_longest_window() {
        let tables = tables();
        let kept = || tables.mask.lock().unwrap().clone().unwrap();
        tables.mask(9, 9).unwrap();
        let first = kept();
        assert_eq!(first.dims(), [9, 9]);
        tables.mask(4, 4).unwrap();
        assert_eq!(kept().id(), first.id());
        assert!(tables.mask(1, 40).unwrap().is_none(), "one query sees all");
        assert_eq!(kept().id(), first.id(), "and needs no larger mask");
    }
}
