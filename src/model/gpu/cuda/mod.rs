//! NVIDIA's driver, its compiler of kernels and its matrix products, through functions that are looked up at run time.
//!
//! The program is built without any of NVIDIA's software and starts on every machine: [`gpus`] asks what there is, [`Gpu::open`]
//! takes one of them. What is missing is told with the command that brings it.
//!
//! A [`Gpu`] has one context (the device's primary one) and one stream, on which everything happens in order. It stays on
//! the thread that opened it.

mod memory;
mod products;

use std::path::PathBuf;
use std::rc::Rc;

pub use memory::{Address, Array, Pinned};
pub use products::{Algorithm, Product, Shape, Type};

use crate::error::{Error, Result};

use super::kernels::{Signature, Source};

/// Where libraries are looked for and compiled kernels kept.
#[derive(Debug, Clone)]
pub struct Search {
    /// The folder that is looked into first (setting `run.cuda_libraries`).
    pub libraries: Option<PathBuf>,
    /// The folder that keeps compiled kernels; [`user_cache`] is the usual one.
    pub cache: PathBuf,
}

/// The user's folder for compiled kernels: `votive/kernels` in `XDG_CACHE_HOME` or `~/.cache`; `None` without a home.
pub fn user_cache() -> Option<PathBuf> {
    None
}

/// A GPU as the driver lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, counted after `CUDA_VISIBLE_DEVICES`.
    pub number: u32,
    /// Its name, such as `NVIDIA H200`.
    pub name: String,
    /// Its identity, as `nvidia-smi -L` shows it (`GPU-…`).
    pub uuid: String,
    /// Its memory in bytes.
    pub memory: u64,
}

/// The GPUs that the driver shows to this process (it respects `CUDA_VISIBLE_DEVICES`), without opening a context.
/// Empty where there is no driver or no GPU; an error where a driver is there and does not work.
pub fn gpus(_search: &Search) -> Result<Vec<Listed>> {
    Ok(Vec::new())
}

/// Whether this GPU could be opened: driver, its version, the device, and the libraries' files. The error is one sentence with
/// what to install. No context is opened and no library but the driver loaded.
pub fn ready(_search: &Search, _number: u32) -> Result<()> {
    Err(Error::new(crate::error::Kind::Device, "no NVIDIA driver was found"))
}

/// What a GPU and its libraries are: what decides the bits of a training stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The GPU's name.
    pub name: String,
    /// The GPU's identity (`GPU-…`).
    pub uuid: String,
    /// Number of streaming multiprocessors.
    pub multiprocessors: u32,
    /// Compute capability, such as `(9, 0)`.
    pub capability: (u32, u32),
    /// The GPU's memory in bytes.
    pub memory: u64,
    /// The newest CUDA version that the driver serves, such as `(13, 0)`.
    pub driver: (u32, u32),
    /// The version of cublasLt as its library tells it, such as `130101`.
    pub products: u64,
    /// The compiler of kernels: its files' names and sizes.
    pub compiler: String,
}

/// The type of what products read: activations and the weights beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

/// How often the GPU was asked for something since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels launched, or recorded into a graph.
    pub launches: u64,
    /// Products started, or recorded into a graph.
    pub products: u64,
    /// Times the host waited for the stream.
    pub waits: u64,
    /// Arrays and pinned pieces allocated.
    pub allocations: u64,
    /// Graphs launched.
    pub replays: u64,
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// A place in memory that the GPU reaches.
    Pointer(Address),
    /// `int`.
    Int(i32),
    /// `float`.
    Float(f32),
    /// `long long`.
    Long(i64),
}

/// Kernels that lie on a GPU, ready to be launched.
pub struct Kernels {
    kernels: Vec<Kernel>,
    hash: String,
}

impl Kernels {
    /// The kernel of this name.
    pub fn get(&self, name: &str) -> Result<&Kernel> {
        let found = self.kernels.iter().find(|k| k.signature.name == name);
        found.ok_or_else(|| Error::internal(format!("there is no kernel `{name}`")))
    }

    /// Hash of all that decides the machine code: sources, options, architecture, compiler.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// One kernel on a GPU.
pub struct Kernel {
    signature: Signature,
}

/// Launches that were recorded once and are started together.
pub struct Graph {
    _gpu: Rc<()>,
}

/// One GPU: its context, one stream, a handle for products with a workspace of its own.
pub struct Gpu {
    facts: Facts,
}

impl Gpu {
    /// Opens the GPU of this number.
    pub fn open(search: &Search, number: u32) -> Result<Self> {
        ready(search, number)?;
        Err(later())
    }

    /// What this GPU and its libraries are.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Bytes of memory that no process has taken.
    pub fn free_memory(&self) -> Result<u64> {
        Err(later())
    }

    /// All kernels for this type of operands: from the cache, or compiled.
    pub fn kernels(&self, operand: Operand) -> Result<Kernels> {
        self.compile(super::kernels::SOURCES, operand)
    }

    /// The kernels of these sources, behind the prelude: from the cache, or compiled.
    pub fn compile(&self, _sources: &[Source<'_>], _operand: Operand) -> Result<Kernels> {
        Err(later())
    }

    /// Device memory of its own allocation, all zero. `name` stands in the error where memory runs out.
    pub fn array(&self, _name: &str, _bytes: u64) -> Result<Array> {
        Err(later())
    }

    /// Host memory that the device reaches too, all zero.
    pub fn pinned(&self, _words: usize) -> Result<Pinned> {
        Err(later())
    }

    /// Copies bytes to the device and waits until they are there.
    pub fn write(&self, _to: Address, _bytes: &[u8]) -> Result<()> {
        Err(later())
    }

    /// Waits for the stream and copies bytes from the device.
    pub fn read(&self, _from: Address, _into: &mut [u8]) -> Result<()> {
        Err(later())
    }

    /// Launches a kernel on the stream: `block` threads a block, `shared_bytes` of dynamic shared memory. The number and
    /// kinds of `arguments` are checked against the kernel's text.
    pub fn launch(
        &self,
        _kernel: &Kernel,
        _grid: [u32; 3],
        _block: u32,
        _shared_bytes: u32,
        _arguments: &[Argument],
    ) -> Result<()> {
        Err(later())
    }

    /// Prepares a product: its algorithm is chosen once, as for one member, so that it does not depend on how many there are.
    pub fn product(&self, _shape: Shape) -> Result<Product> {
        Err(later())
    }

    /// Prepares a product with an algorithm that was chosen before, by [`Product::algorithm`].
    pub fn product_with(&self, _shape: Shape, _algorithm: &Algorithm) -> Result<Product> {
        Err(later())
    }

    /// Starts a product on the stream.
    pub fn multiply(&self, _product: &Product, _a: Address, _b: Address, _c: Address, _bias: Option<Address>) -> Result<()> {
        Err(later())
    }

    /// Records what `launches` launches instead of running it. Every kernel and product in it must have run once before:
    /// what loads lazily cannot be recorded.
    pub fn record(&self, _launches: impl FnOnce() -> Result<()>) -> Result<Graph> {
        Err(later())
    }

    /// Starts a recorded graph on the stream.
    pub fn replay(&self, _graph: &Graph) -> Result<()> {
        Err(later())
    }

    /// Waits until the stream is done.
    pub fn wait(&self) -> Result<()> {
        Err(later())
    }

    /// Whether the stream is done, without waiting. A fault of the GPU comes out here.
    pub fn poll(&self) -> Result<bool> {
        Err(later())
    }

    /// How often what was asked for.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}

fn later() -> Error {
    Error::internal("GPUs cannot be used yet")
}
