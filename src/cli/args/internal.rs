//! What the program says to itself: flags of commands that no list of commands shows.

use std::path::PathBuf;

use clap::Args;

use super::values::gpu;
use crate::device::{Device, Gpu};

#[derive(Debug, Args)]
pub(in crate::cli) struct WriteReport {
    /// The experiment's folder
    #[arg(value_name = "DIR")]
    pub(in crate::cli) folder: PathBuf,
    /// Show it on standard output
    #[arg(long)]
    pub(in crate::cli) show: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Probe {
    /// The file that holds the shape; without it, the first line of standard input
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) request: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Worker {
    /// The trial's folder, which may lie below one whose name begins with a dash
    #[arg(allow_hyphen_values = true)]
    pub(in crate::cli) folder: PathBuf,
    /// Score a finished trial again, and train nothing
    #[arg(long)]
    pub(in crate::cli) score_again: bool,
    /// The number of the attempt; without it, the next one
    #[arg(long)]
    pub(in crate::cli) attempt: Option<u32>,
    #[arg(long)]
    pub(in crate::cli) slot: u32,
    #[arg(long)]
    pub(in crate::cli) threads: u32,
    #[arg(long)]
    pub(in crate::cli) device: Device,
    /// Which GPU that is, as JSON
    #[arg(long, value_parser = gpu)]
    pub(in crate::cli) gpu: Option<Gpu>,
    /// The folder in which NVIDIA's libraries are looked for first
    #[arg(long)]
    pub(in crate::cli) cuda_libraries: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckGpu {
    /// The GPU's number
    #[arg(long, default_value_t = 0)]
    pub(in crate::cli) gpu: u32,
    /// The folder in which NVIDIA's libraries are looked for first
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) libraries: Option<PathBuf>,
    /// The folder that keeps compiled kernels
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cache: Option<PathBuf>,
    /// Up to which sizes
    #[arg(long, value_enum, default_value_t = Sizes::Usual)]
    pub(in crate::cli) sizes: Sizes,
}

/// Sizes of the models that a GPU is tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(in crate::cli) enum Sizes {
    /// Models that a processor computes in a moment
    Small,
    /// nanoGPT's small one for a processor, too
    Usual,
    /// Those that take a whole GPU, too
    Large,
}
