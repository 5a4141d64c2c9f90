//! What is saved of a member, in the order of the model's parameters: without the padding that the device has.

use super::Engine;
use crate::error::{Error, Result};
use crate::model::gpu::cuda::Array;
use crate::model::gpu::members::State;

impl Engine {
    /// Puts a member's parameters, moments and number of updates in place of what is there. It begins anew: nothing that was
    /// not finite before is remembered.
    pub fn write_state(&mut self, member: usize, state: &State) -> Result<()> {
        self.check_idle()?;
        for (array, values) in
            [(&self.arrays.values, &state.values), (&self.arrays.first, &state.first), (&self.arrays.second, &state.second)]
        {
            let padded = self.padded(values)?;
            self.gpu.write(array.at(self.member_offset(member)), bytemuck::cast_slice(&padded))?;
        }
        self.model().round_weights()?;
        self.updates[member] = state.updates;
        self.revive[member] = true;
        Ok(())
    }

    /// A member's parameters, moments and number of updates.
    pub fn read_state(&self, member: usize) -> Result<State> {
        self.check_idle()?;
        Ok(State {
            updates: self.updates[member],
            values: self.read_parameters(&self.arrays.values, member)?,
            first: self.read_parameters(&self.arrays.first, member)?,
            second: self.read_parameters(&self.arrays.second, member)?,
        })
    }

    /// The gradients of a member's last step, before clipping, in the order of the parameters.
    pub fn gradients(&self, member: usize) -> Result<Vec<f32>> {
        self.check_idle()?;
        self.read_parameters(&self.arrays.gradients, member)
    }

    fn member_offset(&self, member: usize) -> u64 {
        4 * (member * self.sizes.parameters) as u64
    }

    /// Values in the order of the parameters, as they lie on the device.
    fn padded(&self, values: &[f32]) -> Result<Vec<f32>> {
        let (ranges, mut padded) = (&self.layout.ranges, vec![0.0; self.sizes.parameters]);
        let needed: usize = ranges.iter().map(|range| range.len()).sum();
        if values.len() != needed {
            return Err(Error::data(format!("the model has {needed} values, and {} were given", values.len())));
        }
        let mut rest = values;
        for range in ranges {
            let (values, after) = rest.split_at(range.len());
            padded[range.clone()].copy_from_slice(values);
            rest = after;
        }
        Ok(padded)
    }

    fn read_parameters(&self, array: &Array, member: usize) -> Result<Vec<f32>> {
        let mut padded = vec![0f32; self.sizes.parameters];
        self.gpu.read(array.at(self.member_offset(member)), bytemuck::cast_slice_mut(&mut padded))?;
        Ok(self.layout.ranges.iter().flat_map(|range| &padded[range.clone()]).copied().collect())
    }

    fn check_idle(&self) -> Result<()> {
        if self.in_flight() > 0 {
            return Err(Error::internal(format!("{} steps are still in flight", self.in_flight())));
        }
        Ok(())
    }
}
