//! The engine that trains on NVIDIA GPUs: a training step is one CUDA graph.
//!
//! * [`cuda`] reaches the driver, the compiler of kernels and the products: nothing else calls those libraries.
//! * [`kernels`] lists the kernels' sources and what each kernel takes.
//! * [`arena`] lists every array on the device, [`layout`] the place of each parameter in them, [`sizes`] how a step is cut.
//! * [`forward`] and [`backward`] are the launches of a unit in order; they read like `plain/gpt2.rs` and `plain/llama.rs`.
//! * [`ring`] is what goes to the device and what comes back.
//!
//! # How a step goes
//!
//! A step is cut into *units* of whole windows, a number that follows from the configuration, the length, the batch and the
//! precision alone. A unit is a fixed list of launches: windows that are missing are padded, and their losses and gradients
//! selected to zero. All numbers that change from step to step come through a slot in memory that the device reads itself, so
//! the launches are recorded once and started together; where a step is one unit, it is one graph, with the update in it.
//! The host does not wait in a step: it submits some of them ahead, and takes each result as it arrives.
//!
//! # What is promised
//!
//! On one kind of GPU with the same libraries, the same parameters, tokens and seed give the same bits: whatever the steps
//! in flight, the interruptions, and the number of *members*, trainings of one shape that go through the engine together.
//! From the first step of a member whose loss or norm is not finite, none of its weights is touched.

mod arena;
mod arena_bytes;
mod attention_backward;
mod backward;
mod by_token;
mod checks;
pub mod cuda;
mod engine;
mod forward;
pub mod kernels;
mod launch;
mod layout;
mod members;
mod product_shapes;
mod ring;
mod sizes;
mod stamp;

pub use arena_bytes::{AROUND, bytes, unit};
pub use checks::ProductCheck;
pub use engine::{Engine, Options};
pub use members::{Member, Outcome, State};
pub use stamp::Stamp;
