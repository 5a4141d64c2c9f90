//! The engine on the processor.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

use super::common::{Pending, copy_all, only_f32};
use super::interface::{Backend, Lent, State, Step, StepResult};
use crate::error::Result;
use crate::experiment::settings::{ClipNorm, Train};
use crate::model::cpu::{Engine, MicroBatch, shard_size};
use crate::model::{Config, Parameter, Sequences};
use crate::optimize::flat::FlatAdamW;

/// The CPU engine with its optimizer. A step is made while it is submitted.
pub struct CpuEngine {
    engine: Engine,
    optimizer: FlatAdamW,
    parameters: Vec<Parameter>,
    clip: ClipNorm,
    micro_batch: Option<usize>,
    pending: Pending,
}

impl CpuEngine {
    /// An engine on so many threads that goes on from this state.
    pub fn new<V>(config: &Config, train: &Train, seed: u64, threads: usize, state: &State<V>) -> Result<Self>
    where
        V: AsRef<[f32]>,
    {
        only_f32(train)?;
        let parameters = config.parameters();
        // Nothing is trained or scored in longer windows, whatever a folder to start from says that its model could take.
        let longest = train.sequence_length.min(config.context);
        let mut engine = Engine::new(config, seed, threads, longest)?;
        copy_all(engine.values_mut(), &parameters, &state.values)?;
        let mut optimizer = FlatAdamW::new(config, train);
        if !state.first.is_empty() {
            let [first, second] = optimizer.restore(state.steps);
            copy_all(first, &parameters, &state.first)?;
            copy_all(second, &parameters, &state.second)?;
        }
        let (clip, micro_batch) = (train.clip_norm, train.micro_batch);
        Ok(Self { engine, optimizer, parameters, clip, micro_batch, pending: Pending::default() })
    }

    /// Gathers the gradients of the mean NLL over all targets, whole shards at a time, so that they are the same to the bit
    /// whatever the micro-batch is. Returns the mean and the norm; nothing where `stop` said so.
    fn gather(&mut self, all: &Sequences<'_>, step: u64, stop: &AtomicBool) -> Result<Option<(f64, f64)>> {
        let (length, batch) = (all.length, all.count());
        let shard = shard_size(batch, length);
        let micro = (self.micro_batch.unwrap_or(batch) / shard).max(1) * shard;
        let targets = all.targets.len() as f64;
        let scale = (1.0 / targets) as f32;
        let mut sum = 0.0;
        for first in (0..batch).step_by(micro) {
            let tokens = first * length..(first + micro).min(batch) * length;
            let sequences = Sequences { inputs: &all.inputs[tokens.clone()], targets: &all.targets[tokens], length };
            if !self.engine.train(MicroBatch { sequences, batch, first, step, scale }, &mut sum, stop)? {
                return Ok(None);
            }
        }
        Ok(Some((sum / targets, self.optimizer.norm(self.engine.pool(), self.engine.gradients()))))
    }

    /// One array of all parameters, cut into one for each.
    fn cut<'a>(&'a self, all: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        self.engine.ranges().iter().map(|range| &all[range.clone()])
    }
}

impl Backend for CpuEngine {
    fn depth(&self) -> usize {
        1
    }

    fn submit(&mut self, step: Step<'_>, stop: &AtomicBool) -> Result<bool> {
        let Some((loss, norm)) = self.gather(&step.sequences, step.number, stop)? else { return Ok(false) };
        let result = StepResult { loss, norm, clip_coefficient: self.clip.coefficient(norm) };
        if result.is_finite() {
            let (pool, values, gradients) = self.engine.for_update();
            self.optimizer.update(pool, values, gradients, step.learning_rate, result.clip_coefficient);
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
        Ok(self.cut(self.engine.gradients()).map(<[f32]>::to_vec).collect())
    }

    fn nll(&mut self, sequences: &Sequences<'_>, stop: &AtomicBool) -> Result<Option<Vec<f32>>> {
        let mut all = vec![0.0; sequences.targets.len()];
        let whole = self.engine.nll(*sequences, &mut all, stop)?;
        Ok(whole.then_some(all))
    }

    /// No number of a token depends on those after it, nor on how many there are.
    fn rows_are_prefixes(&self) -> bool {
        true
    }

    fn set_values(&mut self, values: &[Vec<f32>]) -> Result<()> {
        copy_all(self.engine.values_mut(), &self.parameters, values)
    }

    fn values(&self) -> Result<Vec<Lent<'_>>> {
        Ok(self.cut(self.engine.values()).map(Cow::Borrowed).collect())
    }

    fn state(&self) -> Result<State<Lent<'_>>> {
        let [first, second] = self.optimizer.moments().map(|all| self.cut(all).map(Cow::Borrowed).collect());
        Ok(State { steps: self.optimizer.steps(), values: self.values()?, first, second })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::{Family, Model};
    use crate::pulse::NEVER;

    #[test]
    fn a_model_of_a_long_context_is_made_for_the_windows_that_it_is_trained_on() {
        let model = Model { family: Family::Llama, layers: 1, heads: 2, width: 16, ..Model::default() };
        let config = Config::new(&model, 20, 100_000).unwrap();
        let values = config.parameters().iter().map(|parameter| vec![0.0; parameter.len()]).collect();
        let train = Train { sequence_length: 16, ..Train::default() };
        let mut engine = CpuEngine::new(&config, &train, 1, 1, &State::untrained(values)).unwrap();
        let tokens = [1; 32];
        let mut score = |length| engine.nll(&Sequences { inputs: &tokens, targets: &tokens, length }, &NEVER);
        assert!(score(16).unwrap().is_some());
        let error = score(32).unwrap_err();
        assert!(error.to_string().contains("in sequences of 32 (at most 16)"), "{error}");
    }
}
