//! One device with the members that are trained on it.

mod scoring;
mod state;
mod steps;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::arena::Arrays;
use super::arena_bytes::CONTEXT;
use super::checks::{self, ProductCheck};
use super::cuda::{Array, Gpu, Graph, Kernels, Operand, Pinned, Search, Type};
use super::forward::Model;
use super::launch::{Launcher, Products};
use super::layout::Layout;
use super::members::Member;
use super::product_shapes::{Arithmetic, Shapes};
use super::ring::{Slot, Writer, result_words};
use super::sizes::Sizes;
use super::stamp::Stamp;
use crate::error::{Error, Result};
use crate::experiment::settings::{Family, Precision};
use crate::model::{Config, Sequences, cpu};

/// Slots of the ring, at most, where a step has not more units: they lie in memory that the system cannot move.
const SLOTS: usize = 32;

/// What an engine is made for.
#[derive(Debug, Clone)]
pub struct Options {
    /// What products are made in.
    pub precision: Precision,
    /// Tokens of a window in training.
    pub length: usize,
    /// Tokens of the longest window that is scored.
    pub longest: usize,
    /// Windows of a step, at most.
    pub batch: usize,
    /// The trainings that go together.
    pub members: Vec<Member>,
    /// Steps that may be submitted before a result is taken; an engine has fewer where a step has many units.
    pub depth: usize,
    /// Every launch by itself and no graphs, for debugging: the bits are the same.
    pub immediate: bool,
    /// Windows of a unit, for tests; by default the sizes decide.
    pub unit: Option<usize>,
    /// Rows whose logits exist at once, for tests; by default the sizes decide.
    pub chunk: Option<usize>,
}

/// A step that was submitted: of each member the targets, where it takes part.
struct Flight {
    targets: Vec<Option<usize>>,
    began: Instant,
}

/// Graphs of a step that has one unit, or of the units and the update of one that has more.
#[derive(Default)]
struct Graphs {
    /// The first unit; with the update where it is the only one.
    first: Option<Graph>,
    /// Every other unit.
    next: Option<Graph>,
    /// The update behind them.
    update: Option<Graph>,
    /// Windows of a length that are scored.
    scoring: HashMap<usize, Graph>,
}

/// The engine: the members' weights and moments on a device, and the launches that train them.
pub struct Engine {
    graphs: Graphs,
    products: Products,
    arrays: Arrays<Array>,
    slots: Pinned,
    results: Pinned,
    kernels: Kernels,
    gpu: Gpu,
    config: Config,
    options: Options,
    layout: Layout,
    sizes: Sizes,
    slot: Slot,
    writer: Writer,
    stamp: Stamp,
    /// Updates of each member that are known to have been made.
    updates: Vec<u64>,
    /// Members that forget that something was not finite, with their next step.
    revive: Vec<bool>,
    submitted: u64,
    taken: u64,
    flights: VecDeque<Flight>,
    /// How long the last step took whose result was taken, and when that was.
    step_took: Duration,
    step_over: Instant,
    /// Lengths of windows that have been scored launch by launch.
    scored: Vec<usize>,
}

/// What stands in the way of a model or a unit, before anything is allocated.
fn check(config: &Config, options: &Options) -> Result<()> {
    let Options { precision, length, longest, batch, depth, ref members, unit, chunk, .. } = *options;
    let positions = config.family == Family::Gpt2 && length.max(longest) > config.context;
    if length == 0
        || longest == 0
        || batch == 0
        || depth == 0
        || members.is_empty()
        || [unit, chunk].contains(&Some(0))
        || positions
    {
        let sizes = format!("{batch} windows of {length} tokens, {longest} scored, {} members", members.len());
        return Err(Error::internal(format!("the engine cannot take {sizes}")));
    }
    if precision == Precision::Bf16 && !(config.width.is_multiple_of(8) && config.head().is_multiple_of(8)) {
        let (width, head) = (config.width, config.head());
        return Err(Error::usage(format!(
            "`train.precision: bf16` on a GPU needs a width and heads that are multiples of 8 wide, and they are {width} and {head}"
        ))
        .help("choose `model.width` and `model.heads` so that `width / heads` is a multiple of 8, or `train.precision: f32`"));
    }
    Ok(())
}

fn arithmetic(precision: Precision) -> Arithmetic {
    match precision {
        Precision::F32 => Arithmetic { operand: Type::F32, tf32: false },
        Precision::Tf32 => Arithmetic { operand: Type::F32, tf32: true },
        Precision::Bf16 => Arithmetic { operand: Type::Bf16, tf32: false },
    }
}

impl Engine {
    /// An engine on the GPU of this number, with libraries and kernels from where `search` says. All parameters and moments
    /// are 0 until [`Engine::write_state`].
    ///
    /// # Errors
    /// What is missing or too old on this machine, a model that does not fit into the device, sizes that a GPU cannot take.
    pub fn new(config: &Config, mut options: Options, search: &Search, number: u32) -> Result<Self> {
        check(config, &options)?;
        let layout = Layout::new(config)?;
        let dropout = options.members.iter().any(|member| member.dropout > 0.0);
        let counts = [options.length, options.longest, options.batch, options.members.len()];
        let sizes = Sizes::new(config, &layout, options.precision, counts, dropout);
        let mut sizes = match options.unit {
            Some(windows) => sizes.with_unit(windows),
            None => sizes,
        };
        sizes.chunk = options.chunk.unwrap_or(sizes.chunk);
        sizes.check()?;
        options.depth = options.depth.min((SLOTS / sizes.units).max(1));
        let gpu = Gpu::open(search, number)?;
        let operand = match arithmetic(options.precision).operand {
            Type::F32 => Operand::F32,
            Type::Bf16 => Operand::Bf16,
        };
        let kernels = gpu.kernels(operand, sizes.tiled().then_some(sizes.head))?;
        let arrays = Arrays::new(&sizes, &mut |name, bytes| gpu.array(name, bytes))?;
        let slot = Slot::new(&sizes);
        let slots = gpu.pinned(options.depth * sizes.units * slot.words)?;
        let results = gpu.pinned(options.depth * result_words(sizes.members))?;
        let facts = gpu.facts();
        let stamp = Stamp {
            gpu: facts.name.clone(),
            multiprocessors: facts.multiprocessors,
            kernels: kernels.hash().to_owned(),
            products: facts.products,
            algorithms: String::new(),
        };
        let members = sizes.members;
        let mut engine = Self {
            graphs: Graphs::default(),
            products: Products::default(),
            arrays,
            slots,
            results,
            kernels,
            gpu,
            config: config.clone(),
            options,
            layout,
            writer: Writer::new(&sizes),
            sizes,
            slot,
            stamp,
            updates: vec![0; members],
            revive: vec![false; members],
            submitted: 0,
            taken: 0,
            flights: VecDeque::new(),
            step_took: Duration::ZERO,
            step_over: Instant::now(),
            scored: Vec::new(),
        };
        engine.write_tables()?;
        engine.choose_algorithms()?;
        Ok(engine)
    }

    /// What does not change from step to step.
    fn write_tables(&self) -> Result<()> {
        let Self { gpu, arrays, layout, sizes, .. } = self;
        let ints = |values: &mut dyn Iterator<Item = usize>| values.flat_map(|value| (value as i32).to_ne_bytes()).collect();
        let places: Vec<u8> = ints(&mut layout.columns.iter().copied());
        gpu.write(arrays.back.places.at(0), &places)?;
        let decays = layout.spans.iter().flat_map(|span| span.range.clone().step_by(64).map(|_| usize::from(span.decays)));
        let decays: Vec<u8> = ints(&mut { decays });
        gpu.write(arrays.update.decays.at(0), &decays)?;
        if let Some(angles) = &arrays.angles {
            let table = cpu::rotary::table(sizes.longest, sizes.head, self.config.rope_theta);
            gpu.write(angles.at(0), bytemuck::cast_slice(&table))?;
        }
        Ok(())
    }

    /// Prepares every product of a step, in its order.
    fn choose_algorithms(&mut self) -> Result<()> {
        let mut model = self.model();
        model.launcher.prepare = true;
        self.unit(model, true)?;
        if self.sizes.units > 1 {
            self.unit(model, false)?;
        }
        let mut hasher = blake3::Hasher::new();
        self.products.algorithms().iter().for_each(|algorithm| {
            hasher.update(algorithm);
        });
        self.stamp.algorithms = hasher.finalize().to_hex().to_string();
        Ok(())
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the engine was made for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What all of it is computed by.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The GPU that it computes on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The most bytes of the device's memory that were taken so far: what was allocated, counted, and about what context and
    /// kernels take.
    pub fn peak_memory_bytes(&self) -> u64 {
        CONTEXT + self.gpu.most_allocated()
    }

    /// Computes every product of a step on made-up numbers, on the device and on the processor.
    pub fn check_products(&self) -> Result<Vec<ProductCheck>> {
        checks::products(&self.gpu, &self.products)
    }

    /// Units of a step: each is started by itself.
    pub fn units(&self) -> usize {
        self.sizes.units
    }

    /// Steps that were submitted and whose results were not taken.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Updates of a member that are known to have been made: those whose results were taken.
    pub fn updates(&self, member: usize) -> u64 {
        self.updates[member]
    }

    fn model(&self) -> Model<'_> {
        let Self { config, sizes, layout, slot, arrays, gpu, kernels, products, .. } = self;
        Model {
            config,
            sizes,
            layout,
            slot,
            arrays,
            shapes: Shapes { sizes, arithmetic: arithmetic(self.options.precision) },
            launcher: Launcher { gpu, kernels, products, prepare: false },
        }
    }

    /// Refuses what would read beyond a table, and windows whose targets are not their inputs moved on by one: only the last
    /// target of a window goes to the device.
    fn check_tokens(&self, Sequences { inputs, targets, length }: Sequences<'_>) -> Result<()> {
        if inputs.len() != targets.len() || !inputs.len().is_multiple_of(length) {
            let (inputs, targets) = (inputs.len(), targets.len());
            return Err(Error::internal(format!("{inputs} inputs and {targets} targets in windows of {length}")));
        }
        if inputs.chunks(length).zip(targets.chunks(length)).any(|(inputs, targets)| inputs[1..] != targets[..length - 1]) {
            return Err(Error::internal("targets are not the inputs moved on by one"));
        }
        let vocabulary = self.sizes.vocabulary;
        match inputs.iter().chain(targets).find(|&&token| token as usize >= vocabulary) {
            Some(token) => Err(Error::data(format!("token {token} is outside the vocabulary of {vocabulary}"))),
            None => Ok(()),
        }
    }
}
