//! The kernels' sources, and what each kernel takes.
//!
//! A kernel is CUDA C without headers. Each file is compiled as one program behind [`PRELUDE`]; a kernel's name is unique
//! over all files. What a kernel takes is read from its own text, so that a launch with other arguments is refused before
//! the GPU sees it: a driver takes arguments by address and cannot check them.

use crate::error::{Error, Result};

/// One file of kernels.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file's name, as in the compiler's messages.
    pub name: &'a str,
    /// What stands in it.
    pub text: &'a str,
}

/// What stands before every file: types, wrappers of instructions, sums over a warp and a block.
pub const PRELUDE: &str = include_str!("kernels/prelude.cu");

/// All files of kernels.
pub const SOURCES: &[Source<'static>] = &[
    Source { name: "activation.cu", text: include_str!("kernels/activation.cu") },
    Source { name: "adamw.cu", text: include_str!("kernels/adamw.cu") },
    Source { name: "columns.cu", text: include_str!("kernels/columns.cu") },
    Source { name: "dropout.cu", text: include_str!("kernels/dropout.cu") },
    Source { name: "embedding.cu", text: include_str!("kernels/embedding.cu") },
    Source { name: "fetch.cu", text: include_str!("kernels/fetch.cu") },
    Source { name: "gradient_norm.cu", text: include_str!("kernels/gradient_norm.cu") },
    Source { name: "heads.cu", text: include_str!("kernels/heads.cu") },
    Source { name: "loss.cu", text: include_str!("kernels/loss.cu") },
    Source { name: "norm.cu", text: include_str!("kernels/norm.cu") },
    Source { name: "publish.cu", text: include_str!("kernels/publish.cu") },
    Source { name: "softmax.cu", text: include_str!("kernels/softmax.cu") },
];

/// The kind of a kernel's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any pointer into memory that the GPU reaches.
    Pointer,
    /// `int`.
    Int,
    /// `float`.
    Float,
    /// `long long`.
    Long,
}

/// What a kernel is called and takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The kernel's name.
    pub name: String,
    /// The kind of each argument, in order.
    pub arguments: Vec<Kind>,
}

/// The signatures of all `extern "C" __global__` kernels of a text, in its order.
pub fn signatures(_source: &Source<'_>) -> Result<Vec<Signature>> {
    Err(Error::internal("kernels cannot be read yet"))
}
