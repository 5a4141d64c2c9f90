//! One trial on one device: step loop, evaluation, checkpoint. Knows no YAML, no Parquet, no sweep.
//!
//! A trial is a pure function of its [`Job`]: what it draws at random comes from streams named by seed, step and window, so
//! that nothing but weights, moments and the step must be saved to go on bit for bit.

pub mod backend;
pub mod checkpoint;
pub mod device;
mod divergence;
pub mod evaluate;
pub mod export;
mod folders;
mod job;
pub mod pretrained;
mod retention;
pub mod sample;
mod scoring;
mod trainer;

pub use folders::Folders;
pub use job::Job;
pub use scoring::rescore;
pub use trainer::{Ended, Trained, run};
