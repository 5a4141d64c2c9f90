//! Initial values of a parameter: a pure function of the trial's seed and the parameter's name.

use super::parameters::{Parameter, Start};
use crate::random::Stream;

/// The values a parameter starts from, row by row. Configurations in which a parameter has the same shape start from
/// the same values; where only the number of rows differs (positions, vocabulary), from the same first rows.
pub fn initial_values(parameter: &Parameter, seed: u64) -> Vec<f32> {
    match parameter.start {
        Start::Constant(value) => vec![value; parameter.len()],
        Start::Normal(deviation) => {
            let mut stream = Stream::new(seed, &format!("init {}", parameter.name), &[]);
            (0..parameter.len()).map(|_| (stream.normal() * deviation) as f32).collect()
        }
    }
}
