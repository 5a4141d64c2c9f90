//! GPT-2 and Llama: the plain model (candle's operations and autograd), parameters by name, and shapes.
//!
//! * [`Config`] is what a model is; [`Config::parameters`] lists its parameters in Hugging Face's names and shapes.
//! * [`Sequences`] are the tokens that every engine takes, and [`Step`] what a step is made from.
//! * [`Pretrained`] is a folder of somebody's weights that training starts from.
//! * [`shape`] counts parameters, FLOPs and bytes without a tensor; nothing else in the program does.
//! * [`cpu`] is the engine that trains on a processor, by hand and without autograd.
//! * [`gpu`] is the engine that trains on NVIDIA GPUs.
//! * [`plain`] is the reading version of both families, made from candle's own operations: it runs on every device.
//! * [`Continuation`] makes a text with it token by token, and [`Sampler`] draws each of them.

mod config;
pub mod cpu;
mod dropout;
mod generate;
pub mod gpu;
mod initial;
mod parameters;
pub mod plain;
mod pretrained;
mod sampler;
mod sequences;
pub mod shape;

pub use config::Config;
pub use generate::Continuation;
pub use initial::initial_values;
pub use parameters::{Group, Parameter, Start};
pub use pretrained::Pretrained;
pub use sampler::Sampler;
pub use sequences::{Sequences, Step};
