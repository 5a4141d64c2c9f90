//! NVIDIA's driver, its compiler of kernels and its matrix products, through functions that are looked up at run time.
//!
//! The program is built without any of NVIDIA's software and starts on every machine: [`gpus`] asks what there is, [`ready`]
//! whether one could be used, and [`Gpu::open`] takes it. What is missing is told with the command that brings it.
//!
//! A [`Gpu`] has one context (the device's primary one) and one stream, on which everything happens in order. It stays on
//! the thread that opened it.

mod compile;
mod context;
mod cublaslt;
mod driver;
mod graph;
mod launch;
mod libraries;
mod memory;
mod nvml;
mod products;
mod shape;
mod sight;

use std::rc::Rc;

pub use compile::Operand;
pub use context::Counts;
pub use graph::Graph;
pub use launch::{Argument, Kernel, Kernels};
pub(super) use memory::allocated;
pub use memory::{Address, Array, Pinned};
pub use nvml::{Process, Usage, usage};
pub(super) use products::WORKSPACE_BYTES;
pub use products::{Algorithm, Product};
pub use shape::{Shape, Type};
pub use sight::{Facts, Listed, Search, gpus, ready, user_cache};

use crate::error::Result;

use self::compile::Compiler;
use self::context::Context;
use self::products::Multiplier;
use self::sight::Seen;

use super::kernels::{SOURCES, Source, TILED, tiled};

/// One GPU: its context, one stream, a handle for products with a workspace of its own.
pub struct Gpu {
    context: Rc<Context>,
    compiler: Compiler,
    multiplier: Rc<Multiplier>,
    facts: Facts,
}

impl Gpu {
    /// Opens the GPU of this number.
    pub fn open(search: &Search, number: u32) -> Result<Self> {
        let Seen { driver, device, capability, files } = Seen::new(search, number)?;
        let compiler = Compiler::new(files.compiler, capability, &search.cache)?;
        let context = Rc::new(Context::open(driver, device)?);
        let multiplier = Rc::new(Multiplier::open(&context, &files.products)?);
        let driver = &context.driver;
        let facts = Facts {
            name: driver.name(device)?,
            uuid: driver.uuid(device)?,
            multiprocessors: driver.attribute(device, driver::MULTIPROCESSORS)?,
            capability,
            memory: driver.memory(device)?,
            driver: driver.version(),
            products: multiplier.version(),
            compiler: compiler.identity().to_owned(),
        };
        Ok(Self { context, compiler, multiplier, facts })
    }

    /// What this GPU and its libraries are.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Bytes of the GPU's memory that no process has taken.
    pub fn free_memory(&self) -> Result<u64> {
        Ok(self.context.memory()?.0)
    }

    /// The most bytes of the GPU's memory that were allocated at once through this, the products' workspace included; context and
    /// kernels are beside it.
    pub fn most_allocated(&self) -> u64 {
        self.context.most_allocated()
    }

    /// All kernels for this type of operands, with attention in tiles for heads of the given width: from the cache, or compiled.
    pub fn kernels(&self, operand: Operand, tiled_heads: Option<usize>) -> Result<Kernels> {
        let text = tiled_heads.map(tiled);
        let more = text.as_ref().map(|text| Source { name: TILED, text });
        let sources: Vec<Source<'_>> = SOURCES.iter().copied().chain(more).collect();
        self.compile(&sources, operand)
    }

    /// The kernels of these sources, behind the prelude: from the cache, or compiled.
    pub fn compile(&self, sources: &[Source<'_>], operand: Operand) -> Result<Kernels> {
        Kernels::load(&self.context, &self.compiler, sources, operand)
    }

    /// Device memory of its own allocation, all zero. `name` stands in the error where memory runs out.
    pub fn array(&self, name: &str, bytes: u64) -> Result<Array> {
        Array::new(&self.context, name, bytes)
    }

    /// Host memory that the device reaches too: this many words of 32 bits, all zero.
    pub fn pinned(&self, words: usize) -> Result<Pinned> {
        Pinned::new(&self.context, words)
    }

    /// Copies bytes to the device, behind what is on the stream, and waits until they are there.
    pub fn write(&self, to: Address, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let context = &self.context;
        // SAFETY: the source is alive until the wait below is over. That the destination is good is up to who calls.
        let code = unsafe { (context.driver.memory_write)(to.0, bytes.as_ptr().cast(), bytes.len(), context.stream) };
        context.check(code, "cuMemcpyHtoDAsync")?;
        context.wait()
    }

    /// Waits for the stream and copies bytes from the device.
    pub fn read(&self, from: Address, into: &mut [u8]) -> Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        let context = &self.context;
        // SAFETY: the destination is alive and borrowed until the wait below is over.
        let code = unsafe { (context.driver.memory_read)(into.as_mut_ptr().cast(), from.0, into.len(), context.stream) };
        context.check(code, "cuMemcpyDtoHAsync")?;
        context.wait()
    }

    /// Launches a kernel on the stream: `block` threads a block, `shared_bytes` of dynamic shared memory. The number and
    /// kinds of `arguments` are checked against the kernel's text.
    pub fn launch(&self, kernel: &Kernel, grid: [u32; 3], block: u32, shared_bytes: u32, arguments: &[Argument]) -> Result<()> {
        launch::launch(&self.context, kernel, grid, block, shared_bytes, arguments)
    }

    /// Prepares a product: its algorithm is chosen once, as for one member, so that it does not depend on how many there are.
    pub fn product(&self, shape: Shape) -> Result<Product> {
        Multiplier::product(&self.multiplier, shape, None)
    }

    /// Prepares a product with an algorithm that was chosen before, by [`Product::algorithm`].
    pub fn product_with(&self, shape: Shape, algorithm: &Algorithm) -> Result<Product> {
        Multiplier::product(&self.multiplier, shape, Some(algorithm))
    }

    /// Starts a product on the stream. `bias` is there where the shape says so.
    pub fn multiply(&self, product: &Product, a: Address, b: Address, c: Address, bias: Option<Address>) -> Result<()> {
        product.start(a, b, c, bias)
    }

    /// Records what `launches` launches instead of running it. Every kernel and product in it must have run once before:
    /// what loads lazily cannot be recorded.
    pub fn record(&self, launches: impl FnOnce() -> Result<()>) -> Result<Graph> {
        Graph::record(&self.context, launches)
    }

    /// Starts a recorded graph on the stream.
    pub fn replay(&self, graph: &Graph) -> Result<()> {
        graph.replay()
    }

    /// Waits until the stream is done.
    pub fn wait(&self) -> Result<()> {
        self.context.wait()
    }

    /// Whether the stream is done, without waiting. A fault of the GPU comes out here.
    pub fn poll(&self) -> Result<bool> {
        // SAFETY: the stream is open.
        match unsafe { (self.context.driver.stream_query)(self.context.stream) } {
            driver::NOT_READY => Ok(false),
            code => self.context.check(code, "cuStreamQuery").map(|()| true),
        }
    }

    /// How often what was asked for.
    pub fn counts(&self) -> Counts {
        self.context.counts()
    }
}
