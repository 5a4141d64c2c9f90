//! What turns gradients into new weights: the learning-rate schedule, clipping by the global norm, AdamW.

mod adamw;
mod clip;
pub mod flat;
mod learning_rate;

pub use adamw::{AdamW, AdamWState};
pub use clip::loss_and_norm;
pub use learning_rate::LearningRate;
