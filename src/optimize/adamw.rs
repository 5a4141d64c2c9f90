//! AdamW with decay groups (Loshchilov and Hutter 2019, as torch computes it), on candle's tensors.
//!
//! candle's own AdamW hides its moments, so that it cannot be saved, and decays every parameter.

use candle_core::{Tensor, Var};

use crate::error::{Error, Result};
use crate::experiment::settings::Train;
use crate::model::{Group, Parameter};

/// The optimizer with both moments of each parameter.
pub struct AdamW {
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    state: AdamWState,
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
    pub fn new(train: &Train, weights: &[Var]) -> Result<Self> {
        let zeros = || weights.iter().map(|w| w.zeros_like()).collect::<Result<Vec<_>, _>>();
        Ok(Self::with_state(train, AdamWState { steps: 0, first: zeros()?, second: zeros()? }))
    }

    /// An optimizer that goes on from a saved state.
    pub fn with_state(train: &Train, state: AdamWState) -> Self {
        Self { weight_decay: train.weight_decay, beta1: train.beta1, beta2: train.beta2, epsilon: train.epsilon, state }
    }

    /// What must be saved to go on.
    pub fn state(&self) -> &AdamWState {
        &self.state
    }

    /// One update. Each gradient is multiplied with `clip` first. In torch's order: θ ← θ (1 − η λ) for decaying parameters;
    /// m and v; θ ← θ − η m̂ / (√v̂ + ε), ε outside the root.
    ///
    /// # Errors
    /// Parameters that autograd left without a gradient, all of them, before any is touched: candle has operations that cut the
    /// gradient without a word, and a parameter that learns nothing must not pass unseen. One of zeros is a gradient: dropout may
    /// leave nothing else in a step.
    pub fn step(
        &mut self,
        parameters: &[Parameter],
        weights: &[Var],
        gradients: &[Option<Tensor>],
        learning_rate: f64,
        clip: f64,
    ) -> Result<()> {
        let gradients = reached(parameters, gradients)?;
        self.state.steps += 1;
        let correction1 = 1.0 - self.beta1.powf(self.state.steps as f64);
        let correction2 = 1.0 - self.beta2.powf(self.state.steps as f64);
        for (place, (weight, gradient)) in weights.iter().zip(gradients).enumerate() {
            let gradient = if clip == 1.0 { gradient.clone() } else { (gradient * clip)? };
            let first = ((&self.state.first[place] * self.beta1)? + (&gradient * (1.0 - self.beta1))?)?;
            let second = ((&self.state.second[place] * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
            let denominator = ((second.sqrt()? / correction2.sqrt())? + self.epsilon)?;
            let decay = match parameters[place].group {
                Group::Decay => 1.0 - learning_rate * self.weight_decay,
                Group::NoDecay => 1.0,
            };
            let update = ((&first / &denominator)? * (learning_rate / correction1))?;
            weight.set(&((weight.as_tensor() * decay)? - update)?)?;
            (self.state.first[place], self.state.second[place]) = (first, second);
        }
        Ok(())
    }
}

/// The gradients of all parameters, each of which must have one.
fn reached<'a>(parameters: &[Parameter], gradients: &'a [Option<Tensor>]) -> Result<Vec<&'a Tensor>> {
    let without = parameters.iter().zip(gradients).filter(|(_, gradient)| gradient.is_none());
    let names: Vec<&str> = without.map(|(parameter, _)| parameter.name.as_str()).collect();
    if !names.is_empty() {
        return Err(Error::internal(format!("no gradient reached `{}`", names.join("`, `"))));
    }
    Ok(gradients.iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::Start;

    #[test]
    fn parameters_without_a_gradient_are_all_named_and_one_of_zeros_is_a_gradient() {
        let parameter =
            |name: &str| Parameter { name: name.to_owned(), shape: vec![2], group: Group::NoDecay, start: Start::Constant(1.0) };
        let parameters = [parameter("a"), parameter("b"), parameter("c")];
        let ones = || Var::ones(2, DType::F32, &Device::Cpu).unwrap();
        let weights = [ones(), ones(), ones()];
        let zeros = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
        let mut optimizer = AdamW::new(&Train::default(), &weights).unwrap();
        let cut = [Some(zeros.clone()), None, None];
        let error = optimizer.step(&parameters, &weights, &cut, 0.1, 1.0).unwrap_err();
        assert_eq!(error.to_string(), "no gradient reached `b`, `c`");
        assert_eq!(optimizer.state().steps, 0, "nothing was touched");
        let whole = [Some(zeros.clone()), Some(zeros.clone()), Some(zeros)];
        optimizer.step(&parameters, &weights, &whole, 0.1, 1.0).unwrap();
        assert_eq!(weights[1].to_vec1::<f32>().unwrap(), [1.0, 1.0]);
    }
}
