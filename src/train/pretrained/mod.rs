//! Weights to start from: a local folder in Hugging Face's layout, of the GPT-2 or the Llama family.
//!
//! ```text
//! config.json         what the model is
//! tokenizer.json      what its tokens are
//! model.safetensors   its weights; or model.safetensors.index.json, and the files that it names
//! ```
//!
//! Nothing of such a folder is trusted. Sizes, names and shapes are checked from the headers of the files, against each other
//! and against the sizes of the files, before anything is allocated; pickles, which can run code, are not read.

mod config;
mod folder;
mod half;
mod tensors;

#[cfg(test)]
mod tests;

pub use folder::{look, model, read, start};
