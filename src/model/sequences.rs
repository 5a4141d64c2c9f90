//! Tokens on their way into a model, the same for every engine.

/// Sequences that go through a model at once, one after another, all of one length.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// Input tokens, `count × length`.
    pub inputs: &'a [u32],
    /// The token that follows each.
    pub targets: &'a [u32],
    /// Tokens of a sequence.
    pub length: usize,
}

impl Sequences<'_> {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.inputs.len() / self.length.max(1)
    }
}

/// What an optimizer step is made from.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Its batch.
    pub sequences: Sequences<'a>,
    /// Its number, from 0: what its dropout depends on.
    pub number: u64,
    /// The learning rate of its update.
    pub learning_rate: f64,
}
