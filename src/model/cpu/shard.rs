//! A shard: a few sequences that go through the model together on one thread, and the buffers that they do it in.
//!
//! Its buffers keep what backward needs, and backward writes gradients over them.

use super::attention::{self, Shape};
use super::buffer::Buffer;
use super::panels::{WIDTH, room};
use crate::experiment::settings::Family;
use crate::model::Config;

/// What training needs to know beside the tokens.
#[derive(Clone, Copy)]
pub(super) struct Training {
    pub(super) seed: u64,
    pub(super) step: u64,
    /// Index of the shard's first sequence within the step.
    pub(super) first: usize,
    /// What the NLL sum is multiplied by before its gradient is taken.
    pub(super) scale: f32,
}

/// Where a shard's gradients go: one array for all parameters.
pub(super) struct Gradient<'a> {
    /// The sums so far.
    pub(super) all: &'a mut [f32],
    /// Whether there are none yet: what is there is overwritten.
    pub(super) begin: bool,
    /// Another array for what a shard makes in pieces ([`Layout::in_pieces`](super::layout::Layout::in_pieces)): that goes to the sums
    /// when it is whole, so that a shard's gradient is one number in every sum. Where there is none, pieces go to the sums one by one.
    pub(super) aside: Option<&'a mut [f32]>,
}

impl Gradient<'_> {
    /// Where pieces go.
    pub(super) fn pieces(&mut self) -> Gradient<'_> {
        match &mut self.aside {
            Some(aside) => Gradient { all: aside, begin: true, aside: None },
            None => Gradient { all: self.all, begin: self.begin, aside: None },
        }
    }
}

/// One block's values, matrices in panels with a row for each token.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// Input of the attention layer.
    pub(super) normed1: Buffer,
    pub(super) statistics1: Vec<[f32; 2]>,
    /// Queries, keys and values; then their gradient.
    pub(super) qkv: Buffer,
    /// Two numbers of each row's softmax.
    pub(super) sums: Vec<[f32; 2]>,
    /// The softmax's exponentials where they are kept: in training on short sequences without dropout.
    pub(super) exponentials: Buffer,
    /// What attention's heads give.
    pub(super) heads: Buffer,
    /// Input of the MLP.
    pub(super) normed2: Buffer,
    pub(super) statistics2: Vec<[f32; 2]>,
    /// The MLP's hidden layer before its activation; then, in training, the activation's slope there; then, where
    /// that is along gate and up, the gradient.
    pub(super) hidden: Buffer,
    /// And after it.
    pub(super) active: Buffer,
}

/// The buffers of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Blocks.
    pub(super) layers: Vec<Layer>,
    /// The residual stream before each block, within it, and at the end: 2 · layers + 1; then its gradients.
    pub(super) stream: Vec<Buffer>,
    /// Input of the output layer.
    pub(super) normed: Buffer,
    pub(super) statistics: Vec<[f32; 2]>,
}

/// A thread's own buffers.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) wide: Buffer,
    pub(super) narrow: Buffer,
    /// A projection's gradient where dropout makes it another than the residual stream's.
    pub(super) masked: Buffer,
    pub(super) mask: Buffer,
    /// Logits of some rows; then their gradient.
    pub(super) logits: Buffer,
    pub(super) attention: attention::Scratch,
}

fn width_of_hidden(config: &Config) -> usize {
    match config.family {
        Family::Gpt2 => config.hidden,
        Family::Llama => 2 * config.hidden,
    }
}

impl Shard {
    /// Buffers of the right size for so many rows. `kept` blocks: all of them for training, one for scoring.
    pub(super) fn prepare(&mut self, config: &Config, rows: usize, kept: usize, exponentials: usize) {
        let width = config.width;
        let row = (config.heads + 2 * config.kv_heads) * config.head();
        self.layers.resize_with(kept, Layer::default);
        for layer in &mut self.layers {
            set_size(&mut layer.normed1, rows, width);
            layer.statistics1.resize(rows, [0.0; 2]);
            set_size(&mut layer.qkv, rows, row);
            layer.sums.resize(rows * config.heads, [0.0; 2]);
            layer.exponentials.set_len(exponentials);
            set_size(&mut layer.heads, rows, width);
            set_size(&mut layer.normed2, rows, width);
            layer.statistics2.resize(rows, [0.0; 2]);
            set_size(&mut layer.hidden, rows, width_of_hidden(config));
            set_size(&mut layer.active, rows, config.hidden);
        }
        self.stream.resize_with(2 * kept + 1, Buffer::default);
        self.stream.iter_mut().for_each(|x| set_size(x, rows, width));
        set_size(&mut self.normed, rows, width);
        self.statistics.resize(rows, [0.0; 2]);
    }
}

impl Scratch {
    /// Buffers of the right size for so many rows.
    pub(super) fn prepare(&mut self, config: &Config, rows: usize) {
        set_size(&mut self.wide, rows, config.hidden.max(config.width));
        set_size(&mut self.narrow, rows, config.width);
        set_size(&mut self.masked, if config.dropout > 0.0 { rows } else { 0 }, config.width);
        self.mask.set_len(config.width);
        set_size(&mut self.logits, head_rows(config.vocabulary, rows), config.vocabulary);
    }
}

/// Room for a matrix in panels; what fills the last one up is zero.
fn set_size(buffer: &mut Buffer, rows: usize, columns: usize) {
    buffer.set_len(room(rows, columns));
    if !columns.is_multiple_of(WIDTH) {
        buffer.fill(0.0);
    }
}

pub(super) fn dropout(config: &Config) -> bool {
    config.dropout > 0.0 && config.family == Family::Gpt2
}

pub(super) fn shape(config: &Config, length: usize) -> Shape {
    Shape { length, heads: config.heads, kv_heads: config.kv_heads, head: config.head() }
}

/// Values of a sequence's softmax in one block that training keeps for the way back.
pub(in crate::model) fn exponentials(config: &Config, length: usize) -> usize {
    // What dropout leaves of them is another matrix, and backward needs both.
    if dropout(config) { 0 } else { config.heads * shape(config, length).kept() }
}

/// Rows whose logits exist at once: as many as make 4 MiB, and at least 96, so that reading the output layer's weights and
/// adding to their gradient stays small beside the products.
pub(in crate::model) fn head_rows(vocabulary: usize, rows: usize) -> usize {
    ((1 << 20) / vocabulary).max(96).min(rows)
}

/// The streams before a block, within it and behind it: the first three.
pub(super) fn streams_of_block(stream: &mut [Buffer]) -> [&mut [f32]; 3] {
    let (x, rest) = stream.split_at_mut(1);
    let (mid, next) = rest.split_at_mut(1);
    [&mut x[0], &mut mid[0], &mut next[0]]
}
