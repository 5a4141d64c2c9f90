//! One device with the members that are trained on it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::arena::Arrays;
use super::checks::{self, ProductCheck};
use super::cuda::{Array, Gpu, Graph, Kernels, Operand, Pinned, Search, Type};
use super::forward::{Model, Pass};
use super::launch::{Launcher, Products};
use super::layout::Layout;
use super::members::{Member, Outcome, State, Step, Windows};
use super::products::{Arithmetic, Shapes};
use super::ring::{Slot, Turn, Writer, published, result_words};
use super::sizes::Sizes;
use crate::error::{Error, Result};
use crate::experiment::settings::{Family, Precision};
use crate::model::{Config, cpu};

/// How long a result is slept for at a time: a sixteenth of the time that it has been waited for, within these.
const NAPS: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// How often the device is asked for faults while it is waited for.
const ASKED_EVERY: Duration = Duration::from_millis(100);

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
    /// Steps that may be submitted before a result is taken.
    pub depth: usize,
    /// Every launch by itself and no graphs, for debugging: the bits are the same.
    pub immediate: bool,
    /// Windows of a unit, for tests; by default the sizes decide.
    pub unit: Option<usize>,
    /// Rows whose logits exist at once, for tests; by default the sizes decide.
    pub chunk: Option<usize>,
}

/// What a training was computed by: where all of it is equal, it goes on bit for bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The GPU's name.
    pub gpu: String,
    /// Its streaming multiprocessors: products are cut for them.
    pub multiprocessors: u32,
    /// Hash of the kernels, their options and compiler.
    pub kernels: String,
    /// Version of cublasLt.
    pub products: u64,
    /// Hash of the algorithms that were chosen for a step's products.
    pub algorithms: String,
}

/// A step that was submitted: of each member the targets, where it takes part.
struct Flight(Vec<Option<usize>>);

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
    pub fn new(config: &Config, options: Options, search: &Search, number: u32) -> Result<Self> {
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
        let gpu = Gpu::open(search, number)?;
        let operand = match arithmetic(options.precision).operand {
            Type::F32 => Operand::F32,
            Type::Bf16 => Operand::Bf16,
        };
        let kernels = gpu.kernels(operand)?;
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

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
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

    fn unit(&self, model: Model<'_>, first: bool) -> Result<()> {
        model.train(self.slots.at(0), self.options.depth * self.sizes.units, first)?;
        if self.sizes.units == 1 { self.update(model) } else { Ok(()) }
    }

    fn update(&self, model: Model<'_>) -> Result<()> {
        model.update(self.results.at(0), self.options.depth)
    }

    /// Starts a step of every member, and waits for nothing. A member with `None` has no more steps to make: its weights stay.
    ///
    /// # Errors
    /// Tokens outside the vocabulary, windows that are not whole or too many, more steps in flight than [`Options::depth`];
    /// a fault of the device.
    pub fn submit(&mut self, steps: &[Option<Step<'_>>]) -> Result<()> {
        self.check_steps(steps)?;
        let pending = |member: usize| self.flights.iter().filter(|flight| flight.0[member].is_some()).count() as u64;
        let turns: Vec<Turn<'_>> = (self.options.members.iter().zip(steps).enumerate())
            .map(|(k, (&member, &step))| {
                let updates = self.updates[k] + pending(k) + 1;
                Turn { member, step, updates, revive: self.revive[k] }
            })
            .collect();
        let words = self.slot.words;
        for unit in 0..self.sizes.units {
            let place = (self.submitted as usize % self.options.depth) * self.sizes.units + unit;
            self.writer.write(&self.sizes, unit, &turns, &self.slots.words()[place * words..][..words]);
            self.start_unit(unit == 0)?;
        }
        if self.sizes.units > 1 {
            self.start_update()?;
        }
        self.revive.fill(false);
        self.submitted += 1;
        self.flights.push_back(Flight(steps.iter().map(|step| step.map(|step| step.targets.len())).collect()));
        Ok(())
    }

    /// Whether launches go to the device one by one: what loads lazily cannot be recorded, so the first step does.
    fn one_by_one(&self) -> bool {
        self.options.immediate || self.submitted == 0
    }

    fn start_unit(&mut self, first: bool) -> Result<()> {
        if self.one_by_one() {
            return self.unit(self.model(), first);
        }
        let known = if first { &self.graphs.first } else { &self.graphs.next };
        if known.is_none() {
            let graph = self.gpu.record(|| self.unit(self.model(), first))?;
            *(if first { &mut self.graphs.first } else { &mut self.graphs.next }) = Some(graph);
        }
        let known = if first { &self.graphs.first } else { &self.graphs.next };
        known.as_ref().map_or(Ok(()), |graph| self.gpu.replay(graph))
    }

    fn start_update(&mut self) -> Result<()> {
        if self.one_by_one() {
            return self.update(self.model());
        }
        if self.graphs.update.is_none() {
            self.graphs.update = Some(self.gpu.record(|| self.update(self.model()))?);
        }
        self.graphs.update.as_ref().map_or(Ok(()), |graph| self.gpu.replay(graph))
    }

    /// Waits for the oldest step in flight: what came of it for each member that took part.
    ///
    /// # Errors
    /// Where no step is in flight, and what the device failed with.
    pub fn result(&mut self) -> Result<Vec<Option<Outcome>>> {
        let Some(flight) = self.flights.pop_front() else {
            return Err(Error::internal("there is no step whose result could come"));
        };
        self.taken += 1;
        let of_members = self.wait_for(self.taken)?;
        let outcomes = flight.0.iter().zip(of_members).enumerate().map(|(k, (targets, of_member))| {
            targets.map(|targets| {
                let updated = !of_member.dead;
                self.updates[k] += u64::from(updated);
                Outcome { loss: of_member.loss / targets as f64, norm: of_member.norm, updated }
            })
        });
        Ok(outcomes.collect())
    }

    /// The results of a step, in short naps: another process may need the processor.
    fn wait_for(&self, step: u64) -> Result<Vec<super::ring::Published>> {
        let words = result_words(self.sizes.members);
        let place = ((step - 1) % self.options.depth as u64) as usize * words;
        let slot = &self.results.words()[place..place + words];
        let began = Instant::now();
        let mut asked = began;
        loop {
            if let Some(results) = published(slot, step) {
                return Ok(results);
            }
            if asked.elapsed() >= ASKED_EVERY {
                // All done and still nothing there: it has to have been published before the question.
                if self.gpu.poll()? {
                    return published(slot, step)
                        .ok_or_else(|| Error::internal("the GPU is done with a step and has not said what came of it"));
                }
                asked = Instant::now();
            }
            std::thread::sleep((began.elapsed() / 16).clamp(NAPS[0], NAPS[1]));
        }
    }

    /// Takes the results of all steps in flight, oldest first.
    pub fn drain(&mut self) -> Result<Vec<Vec<Option<Outcome>>>> {
        (0..self.in_flight()).map(|_| self.result()).collect()
    }

    /// The NLL of each target of each member's windows in nats, without dropout. A window's losses depend on nothing but its
    /// tokens, its length and the weights: windows go through in groups of a fixed number, the last filled up.
    pub fn nll(&mut self, length: usize, windows: &[Windows<'_>]) -> Result<Vec<Vec<f32>>> {
        self.check_windows(length, windows)?;
        let rows = self.sizes.scored(length);
        let (group, all) = (rows.all(), windows.iter().map(|of_member| of_member.inputs.len()).max().unwrap_or(0));
        let mut losses: Vec<Vec<f32>> = windows.iter().map(|of_member| Vec::with_capacity(of_member.inputs.len())).collect();
        for first in (0..all).step_by(group) {
            let mut tokens = vec![0u32; windows.len() * rows.windows * (length + 1)];
            for (tokens, Windows { inputs, targets }) in tokens.chunks_mut(rows.windows * (length + 1)).zip(windows) {
                let [inputs, targets] = [inputs, targets].map(|all| all.get(first..).unwrap_or(&[]).chunks(length));
                for ((into, inputs), targets) in tokens.chunks_mut(length + 1).zip(inputs).zip(targets) {
                    into[..length].copy_from_slice(inputs);
                    into[length] = targets[length - 1];
                }
            }
            self.gpu.write(self.arrays.scored.at(0), bytemuck::cast_slice(&tokens))?;
            self.start_scoring(length)?;
            let mut nll = vec![0f32; windows.len() * group];
            self.gpu.read(self.arrays.scoring.nll.at(0), bytemuck::cast_slice_mut(&mut nll))?;
            for ((losses, nll), of_member) in losses.iter_mut().zip(nll.chunks(group)).zip(windows) {
                losses.extend(&nll[..of_member.inputs.len().saturating_sub(first).min(group)]);
            }
        }
        Ok(losses)
    }

    fn start_scoring(&mut self, length: usize) -> Result<()> {
        let score = || {
            let (passage, tokens, rows) = (&self.arrays.scoring, self.arrays.scored.at(0), self.sizes.scored(length));
            let (model, pass) = (self.model(), Pass { passage, rows, tokens, masks: None });
            model.forward(pass)?;
            model.score(pass)
        };
        if let Some(graph) = self.graphs.scoring.get(&length) {
            return self.gpu.replay(graph);
        }
        if self.options.immediate || !self.scored.contains(&length) {
            score()?;
            self.scored.push(length);
            return Ok(());
        }
        let graph = self.gpu.record(score)?;
        self.gpu.replay(&graph)?;
        self.graphs.scoring.insert(length, graph);
        Ok(())
    }

    /// Puts a member's parameters, moments and number of updates in place of what is there. It begins anew: nothing that was
    /// not finite before is remembered.
    pub fn write_state(&mut self, member: usize, state: &State) -> Result<()> {
        self.check_idle()?;
        for (array, values) in
            [(&self.arrays.values, &state.values), (&self.arrays.first, &state.first), (&self.arrays.second, &state.second)]
        {
            let padded = self.padded(values)?;
            self.gpu.write(array.at(self.member_offset(member)), bytemuck::cast_slice(&padded))?;
        }
        self.model().round_weights()?;
        self.updates[member] = state.updates;
        self.revive[member] = true;
        Ok(())
    }

    /// A member's parameters, moments and number of updates.
    pub fn read_state(&self, member: usize) -> Result<State> {
        self.check_idle()?;
        Ok(State {
            updates: self.updates[member],
            values: self.read_parameters(&self.arrays.values, member)?,
            first: self.read_parameters(&self.arrays.first, member)?,
            second: self.read_parameters(&self.arrays.second, member)?,
        })
    }

    /// The gradients of a member's last step, before clipping, in the order of the parameters.
    pub fn gradients(&self, member: usize) -> Result<Vec<f32>> {
        self.check_idle()?;
        self.read_parameters(&self.arrays.gradients, member)
    }

    fn member_offset(&self, member: usize) -> u64 {
        4 * (member * self.sizes.parameters) as u64
    }

    /// Values in the order of the parameters, as they lie on the device.
    fn padded(&self, values: &[f32]) -> Result<Vec<f32>> {
        let (ranges, mut padded) = (&self.layout.ranges, vec![0.0; self.sizes.parameters]);
        let needed: usize = ranges.iter().map(|range| range.len()).sum();
        if values.len() != needed {
            return Err(Error::data(format!("the model has {needed} values, and {} were given", values.len())));
        }
        let mut rest = values;
        for range in ranges {
            let (values, after) = rest.split_at(range.len());
            padded[range.clone()].copy_from_slice(values);
            rest = after;
        }
        Ok(padded)
    }

    fn read_parameters(&self, array: &Array, member: usize) -> Result<Vec<f32>> {
        let mut padded = vec![0f32; self.sizes.parameters];
        self.gpu.read(array.at(self.member_offset(member)), bytemuck::cast_slice_mut(&mut padded))?;
        Ok(self.layout.ranges.iter().flat_map(|range| &padded[range.clone()]).copied().collect())
    }

    fn check_idle(&self) -> Result<()> {
        if self.in_flight() > 0 {
            return Err(Error::internal(format!("{} steps are still in flight", self.in_flight())));
        }
        Ok(())
    }

    fn check_steps(&self, steps: &[Option<Step<'_>>]) -> Result<()> {
        let Sizes { length, batch, members, .. } = self.sizes;
        if steps.len() != members || self.in_flight() >= self.options.depth {
            let (given, flying, depth) = (steps.len(), self.in_flight(), self.options.depth);
            let message = format!("{given} steps for {members} members, and {flying} of {depth} steps in flight");
            return Err(Error::internal(message));
        }
        for Step { inputs, targets, .. } in steps.iter().flatten() {
            if inputs.is_empty() || inputs.len() > batch * length {
                return Err(Error::internal(format!("{} tokens for {batch} windows of {length}", inputs.len())));
            }
            self.check_tokens(length, inputs, targets)?;
        }
        Ok(())
    }

    fn check_windows(&self, length: usize, windows: &[Windows<'_>]) -> Result<()> {
        if length == 0 || length > self.sizes.longest || windows.len() != self.sizes.members {
            let (longest, given, members) = (self.sizes.longest, windows.len(), self.sizes.members);
            let sizes = format!("{length} tokens (at most {longest}) for {given} of {members} members");
            return Err(Error::internal(format!("windows of {sizes} cannot be scored")));
        }
        windows.iter().try_for_each(|of_member| self.check_tokens(length, of_member.inputs, of_member.targets))
    }

    /// Refuses what would read beyond a table, and windows whose targets are not their inputs moved on by one: only the last
    /// target of a window goes to the device.
    fn check_tokens(&self, length: usize, inputs: &[u32], targets: &[u32]) -> Result<()> {
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
