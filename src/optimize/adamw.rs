//! AdamW with decay groups (Loshchilov and Hutter 2019, as torch computes it), on candle's tensors.
//!
//! candle's own AdamW hides its moments, so that it cannot be saved, and decays every parameter. Here all parameters are joined in
//! one array ([`crate::model::plain::join`]), so that an update is some fifteen operations and a copy for each parameter.

use candle_core::{DType, Device, Tensor, Var};

use crate::error::Result;
use crate::experiment::settings::Train;
use crate::model::plain::{cut, join};
use crate::model::{Group, Parameter};

/// The optimizer with both moments of each parameter.
pub struct AdamW {
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    parameters: Vec<Parameter>,
    steps: u64,
    /// 1 where a value decays, else 0; joined, as are the following.
    decays: Tensor,
    /// The weights: what the model has.
    values: Tensor,
    first: Tensor,
    second: Tensor,
}

/// What must be saved to go on: steps done and the moments, in the order of the parameters.
pub struct AdamWState {
    /// Updates made.
    pub steps: u64,
    /// Running means of the gradients.
    pub first: Vec<Tensor>,
    /// Running means of their squares.
    pub second: Vec<Tensor>,
}

impl AdamW {
    /// An optimizer for these weights that has made no step.
    pub fn new(train: &Train, parameters: &[Parameter], weights: &[Var]) -> Result<Self> {
        let zeros = || weights.iter().map(|w| w.zeros_like()).collect::<Result<Vec<_>, _>>();
        Self::with_state(train, parameters, weights, AdamWState { steps: 0, first: zeros()?, second: zeros()? })
    }

    /// An optimizer for these weights that goes on from a saved state.
    pub fn with_state(train: &Train, parameters: &[Parameter], weights: &[Var], state: AdamWState) -> Result<Self> {
        let device = weights.first().map_or(&Device::Cpu, |weight| weight.device());
        let decays = parameters.iter().map(|parameter| match parameter.group {
            Group::Decay => Tensor::ones(parameter.len(), DType::F32, device),
            Group::NoDecay => Tensor::zeros(parameter.len(), DType::F32, device),
        });
        Ok(Self {
            weight_decay: train.weight_decay,
            beta1: train.beta1,
            beta2: train.beta2,
            epsilon: train.epsilon,
            parameters: parameters.to_vec(),
            steps: state.steps,
            decays: join(decays.collect::<Result<Vec<_>, _>>()?)?,
            values: join(weights.iter().map(Var::as_detached_tensor))?,
            first: join(state.first)?,
            second: join(state.second)?,
        })
    }

    /// What must be saved to go on.
    pub fn state(&self) -> Result<AdamWState> {
        let part = |joined| cut(joined, &self.parameters);
        Ok(AdamWState { steps: self.steps, first: part(&self.first)?, second: part(&self.second)? })
    }

    /// One update of the weights that it was made for, given their gradients joined. Each gradient is multiplied with `clip`
    /// first. In torch's order: θ ← θ (1 − η λ) for decaying parameters; m and v; θ ← θ − η m̂ / (√v̂ + ε), ε outside the root.
    pub fn step(&mut self, weights: &[Var], gradients: &Tensor, learning_rate: f64, clip: f64) -> Result<()> {
        self.steps += 1;
        let correction1 = 1.0 - self.beta1.powf(self.steps as f64);
        let correction2 = 1.0 - self.beta2.powf(self.steps as f64);
        let gradients = if clip == 1.0 { gradients.clone() } else { (gradients * clip)? };
        self.first = ((&self.first * self.beta1)? + (&gradients * (1.0 - self.beta1))?)?;
        self.second = ((&self.second * self.beta2)? + (gradients.sqr()? * (1.0 - self.beta2))?)?;
        let denominator = ((self.second.sqrt()? / correction2.sqrt())? + self.epsilon)?;
        let update = ((&self.first / &denominator)? * (learning_rate / correction1))?;
        let decay = self.decays.affine(-learning_rate * self.weight_decay, 1.0)?;
        self.values = ((&self.values * decay)? - update)?;
        for (weight, values) in weights.iter().zip(cut(&self.values, &self.parameters)?) {
            weight.set(&values)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Start;

    /// The rule, value by value in 64 bits.
    fn by_hand(train: &Train, decays: bool, start: f64, gradients: &[f64], rate: f64, clip: f64) -> f64 {
        let (mut value, mut m, mut v) = (start, 0.0, 0.0);
        for (step, gradient) in gradients.iter().enumerate() {
            let (g, t) = (gradient * clip, step as i32 + 1);
            value *= if decays { 1.0 - rate * train.weight_decay } else { 1.0 };
            m = train.beta1 * m + (1.0 - train.beta1) * g;
            v = train.beta2 * v + (1.0 - train.beta2) * g * g;
            let (m, v) = (m / (1.0 - train.beta1.powi(t)), v / (1.0 - train.beta2.powi(t)));
            value -= rate * m / (v.sqrt() + train.epsilon);
        }
        value
    }

    #[test]
    fn each_value_follows_the_rule_of_its_group_and_goes_on_from_a_saved_state() {
        let parameter =
            |shape: &[usize], group| Parameter { name: String::new(), shape: shape.to_vec(), group, start: Start::Constant(1.0) };
        let parameters = [parameter(&[3], Group::NoDecay), parameter(&[2, 2], Group::Decay), parameter(&[1], Group::NoDecay)];
        let train = Train { weight_decay: 0.3, ..Train::default() };
        let (rate, clip) = (0.05, 0.5);
        let start = |i: usize| 0.5 + i as f64;
        let gradient = |i: usize, step: usize| ((i * 7 + step * 3) % 5) as f64 - 1.5;
        let tensors = |of: &dyn Fn(usize) -> f64| -> Vec<Tensor> {
            let mut next = (0..8).map(|i| of(i) as f32);
            parameters
                .iter()
                .map(|p| Tensor::from_iter(next.by_ref().take(p.len()), &Device::Cpu).unwrap().reshape(&p.shape[..]).unwrap())
                .collect()
        };
        let weights: Vec<Var> = tensors(&start).iter().map(|t| Var::from_tensor(t).unwrap()).collect();
        let mut optimizer = AdamW::new(&train, &parameters, &weights).unwrap();
        for step in 0..4 {
            if step == 2 {
                optimizer = AdamW::with_state(&train, &parameters, &weights, optimizer.state().unwrap()).unwrap();
            }
            let gradients = join(tensors(&|i| gradient(i, step))).unwrap();
            optimizer.step(&weights, &gradients, rate, clip).unwrap();
        }
        assert_eq!(optimizer.state().unwrap().steps, 4);
        let values: Vec<f32> = weights.iter().flat_map(|w| w.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect();
        for (i, value) in values.into_iter().enumerate() {
            let gradients: Vec<f64> = (0..4).map(|step| gradient(i, step)).collect();
            let expected = by_hand(&train, (3..7).contains(&i), start(i), &gradients, rate, clip);
            assert!((f64::from(value) - expected).abs() < 1e-6, "{i}: {value} {expected}");
        }
    }
}
