//! Scoring: the losses of windows, without dropout and without a way back.

use super::Engine;
use crate::error::{Error, Result};
use crate::model::Sequences;
use crate::model::gpu::forward::Pass;
use crate::pulse;

impl Engine {
    /// The NLL of each target of each member's windows in nats, without dropout; all are of one length. A window's losses depend on nothing but its
    /// tokens, its length and the weights: windows go through in groups of a fixed number, the last filled up.
    pub fn nll(&mut self, windows: &[Sequences<'_>]) -> Result<Vec<Vec<f32>>> {
        let length = windows.first().map_or(0, |first| first.length);
        self.check_windows(length, windows)?;
        let rows = self.sizes.scored(length);
        let (group, all) = (rows.all(), windows.iter().map(|of_member| of_member.inputs.len()).max().unwrap_or(0));
        let mut losses: Vec<Vec<f32>> = windows.iter().map(|of_member| Vec::with_capacity(of_member.inputs.len())).collect();
        for first in (0..all).step_by(group) {
            let mut tokens = vec![0u32; windows.len() * rows.windows * (length + 1)];
            for (tokens, Sequences { inputs, targets, .. }) in tokens.chunks_mut(rows.windows * (length + 1)).zip(windows) {
                let [inputs, targets] = [inputs, targets].map(|all| all.get(first..).unwrap_or(&[]).chunks(length));
                for ((into, inputs), targets) in tokens.chunks_mut(length + 1).zip(inputs).zip(targets) {
                    into[..length].copy_from_slice(inputs);
                    into[length] = targets[length - 1];
                }
            }
            self.gpu.write(self.arrays.scored.at(0), bytemuck::cast_slice(&tokens))?;
            self.start_scoring(length)?;
            let mut nll = vec![0f32; windows.len() * group];
            self.gpu.read(self.arrays.scoring.nll.at(0), bytemuck::cast_slice_mut(&mut nll))?;
            for ((losses, nll), of_member) in losses.iter_mut().zip(nll.chunks(group)).zip(windows) {
                losses.extend(&nll[..of_member.inputs.len().saturating_sub(first).min(group)]);
            }
            pulse::beat();
        }
        Ok(losses)
    }

    fn start_scoring(&mut self, length: usize) -> Result<()> {
        let score = || {
            let (passage, tokens, rows) = (&self.arrays.scoring, self.arrays.scored.at(0), self.sizes.scored(length));
            let (model, pass) = (self.model(), Pass { passage, rows, tokens, masks: None });
            model.forward(pass)?;
            model.score(pass)
        };
        if let Some(graph) = self.graphs.scoring.get(&length) {
            return self.gpu.replay(graph);
        }
        if self.options.immediate || !self.scored.contains(&length) {
            score()?;
            self.scored.push(length);
            return Ok(());
        }
        let graph = self.gpu.record(score)?;
        self.gpu.replay(&graph)?;
        self.graphs.scoring.insert(length, graph);
        Ok(())
    }

    fn check_windows(&self, length: usize, windows: &[Sequences<'_>]) -> Result<()> {
        let unequal = windows.iter().any(|of_member| of_member.length != length);
        if length == 0 || length > self.sizes.longest || windows.len() != self.sizes.members || unequal {
            let (longest, given, members) = (self.sizes.longest, windows.len(), self.sizes.members);
            let sizes = format!("{length} tokens (at most {longest}) for {given} of {members} members");
            return Err(Error::internal(format!("windows of {sizes} cannot be scored")));
        }
        windows.iter().try_for_each(|&of_member| self.check_tokens(of_member))
    }
}
