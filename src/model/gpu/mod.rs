//! The engine that trains on NVIDIA GPUs: a training step is one CUDA graph.
//!
//! * [`cuda`] reaches the driver, the compiler of kernels and the products: nothing else calls those libraries.
//! * [`kernels`] lists the kernels' sources and what each kernel takes.

pub mod cuda;
pub mod kernels;
