//! The engine on an NVIDIA GPU, for one trial.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

use super::common::copy_all;
use super::interface::{Backend, Hardware, Lent, State, Step, StepResult};
use crate::error::{Error, Result};
use crate::experiment::settings::{ClipNorm, Train};
use crate::model::gpu::{self, Engine, Member, Options, Stamp};
use crate::model::{Config, Parameter, Sequences};
use crate::pulse;

/// Steps that the device has before it at most: enough for the host to write rows and notes meanwhile.
const DEPTH: usize = 16;

/// The GPU engine with one member. Steps are made while others are submitted.
pub struct GpuEngine {
    engine: Engine,
    parameters: Vec<Parameter>,
    clip: ClipNorm,
}

impl GpuEngine {
    /// An engine on the GPU of this number, for steps of at most `batch` windows, that goes on from this state.
    pub fn new<V>(
        config: &Config,
        train: &Train,
        (seed, batch): (u64, usize),
        number: u32,
        hardware: &Hardware,
        state: &State<V>,
    ) -> Result<Self>
    where
        V: AsRef<[f32]>,
    {
        let &Train { beta1, beta2, epsilon, weight_decay, clip_norm, precision, sequence_length, .. } = train;
        let clip = match clip_norm {
            ClipNorm::Off => None,
            ClipNorm::At(limit) => Some(limit),
        };
        let member = Member { seed, dropout: config.dropout, beta1, beta2, epsilon, weight_decay, clip };
        let options = Options {
            precision,
            length: sequence_length,
            longest: sequence_length,
            batch,
            members: vec![member],
            depth: DEPTH,
            immediate: false,
            unit: None,
            chunk: None,
        };
        let engine = Engine::new(config, options, &hardware.search, number)?;
        let mut gpu = Self { engine, parameters: config.parameters(), clip: clip_norm };
        if state.first.is_empty() {
            gpu.put(0, &state.values, None)?;
        } else {
            gpu.put(state.steps, &state.values, Some([&state.first, &state.second]))?;
        }
        Ok(gpu)
    }

    /// Values that belong to parameters, one after another.
    fn join<V: AsRef<[f32]>>(&self, values: &[V]) -> Result<Vec<f32>> {
        let mut all = vec![0.0; self.parameters.iter().map(Parameter::len).sum()];
        copy_all(&mut all, &self.parameters, values)?;
        Ok(all)
    }

    /// One array of all parameters, cut into one for each.
    fn cut(&self, all: &[f32]) -> Vec<Vec<f32>> {
        let mut rest = all;
        let take = |parameter: &Parameter| {
            let (values, after) = rest.split_at(parameter.len());
            rest = after;
            values.to_vec()
        };
        self.parameters.iter().map(take).collect()
    }

    /// Puts weights and moments on the device; moments of 0 where there are none.
    fn put<V: AsRef<[f32]>>(&mut self, updates: u64, values: &[V], moments: Option<[&[V]; 2]>) -> Result<()> {
        let values = self.join(values)?;
        let [first, second] = match moments {
            Some([first, second]) => [self.join(first)?, self.join(second)?],
            None => [vec![0.0; values.len()], vec![0.0; values.len()]],
        };
        self.engine.write_state(0, &gpu::State { updates, values, first, second })
    }
}

impl Backend for GpuEngine {
    fn depth(&self) -> usize {
        self.engine.options().depth
    }

    fn submit(&mut self, step: Step<'_>, stop: &AtomicBool) -> Result<bool> {
        self.engine.submit_unless(&[Some(step)], stop)
    }

    fn result(&mut self) -> Result<StepResult> {
        let outcome = self.engine.result()?.into_iter().next().flatten();
        let outcome = outcome.ok_or_else(|| Error::internal("a step of the GPU was made without the trial"))?;
        let gpu::Outcome { loss, norm, .. } = outcome;
        Ok(StepResult { loss, norm, clip_coefficient: self.clip.coefficient(norm) })
    }

    fn drain(&mut self) -> Result<()> {
        self.engine.drain().map(drop)
    }

    fn gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        Ok(self.cut(&self.engine.gradients(0)?))
    }

    fn nll(&mut self, sequences: &Sequences<'_>, stop: &AtomicBool) -> Result<Option<Vec<f32>>> {
        if pulse::is_asked(stop) {
            return Ok(None);
        }
        Ok(Some(self.engine.nll(&[*sequences])?.concat()))
    }

    /// How a product is cut, and so how it is rounded, depends on its size.
    fn rows_are_prefixes(&self) -> bool {
        false
    }

    fn set_values(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.put(0, values, None)
    }

    fn values(&self) -> Result<Vec<Lent<'_>>> {
        Ok(self.state()?.values)
    }

    fn state(&self) -> Result<State<Lent<'_>>> {
        let gpu::State { updates, values, first, second } = self.engine.read_state(0)?;
        let [values, first, second] = [values, first, second].map(|all| self.cut(&all).into_iter().map(Cow::Owned).collect());
        Ok(State { steps: updates, values, first, second })
    }

    fn made_by(&self) -> Option<&Stamp> {
        Some(self.engine.stamp())
    }

    fn peak_device_memory_bytes(&self) -> Option<u64> {
        Some(self.engine.peak_memory_bytes())
    }
}
