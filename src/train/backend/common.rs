//! What several of the backends do alike.

use super::interface::StepResult;
use crate::error::{Error, Result};
use crate::experiment::settings::{Precision, Train};
use crate::model::Parameter;

/// The one result of a backend that computes a step while it is submitted.
#[derive(Debug, Default)]
pub(super) struct Pending(Option<StepResult>);

impl Pending {
    pub(super) fn put(&mut self, result: StepResult) -> Result<()> {
        match self.0.replace(result) {
            Some(_) => Err(Error::internal("a step was submitted before the result of the last one was taken")),
            None => Ok(()),
        }
    }

    pub(super) fn take(&mut self) -> Result<StepResult> {
        self.0.take().ok_or_else(|| Error::internal("a result was asked for of no step"))
    }
}

/// Copies the values of these parameters, each checked, one after another into an array of all.
pub(super) fn copy_all<V: AsRef<[f32]>>(into: &mut [f32], parameters: &[Parameter], values: &[V]) -> Result<()> {
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

/// Refuses what only a GPU multiplies.
pub(super) fn only_f32(train: &Train) -> Result<()> {
    if train.precision != Precision::F32 {
        return Err(Error::usage("any `train.precision` but `f32` needs a GPU").help("leave it at `f32` on the CPU"));
    }
    Ok(())
}
