//! The settings of one configuration: what they are called, their types and their defaults.
//!
//! Each field is a key of the experiment file. The types say what a setting can be; the text of the file is turned
//! into them by `text` (each setting parses its own words: `off`, `full`, `1e-4`, `20_000`).

use serde::{Deserialize, Serialize};

/// All settings of one configuration. `Default` gives the documented defaults; `train.budget` and `corpus.text` have
/// none and must be set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// What is read.
    pub corpus: Corpus,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
    /// What is trained.
    pub model: Model,
    /// How it is trained.
    pub train: Train,
    /// How it is scored. Not part of a trial's id, cannot be swept.
    pub evaluate: Evaluate,
    /// What is kept. Not part of a trial's id, cannot be swept.
    pub checkpoint: Checkpoint,
    /// Where and when it runs. Not part of a trial's id, cannot be swept.
    pub run: Run,
}

/// `corpus`: the text and its split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corpus {
    /// Files, globs, or `builtin:keeper`; relative to the experiment file.
    pub text: Vec<String>,
    /// For `.jsonl` files: the field that holds the text.
    pub field: Option<String>,
    /// What stands between documents.
    pub join: Join,
    /// What is held out to rank configurations.
    pub validation: Part,
    /// What is scored once at the end.
    pub test: Part,
    /// Only the first bytes of the text.
    pub max_bytes: Option<u64>,
}

/// What stands between the documents of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The tokenizer's end-of-text token, where it has one.
    EndOfText,
    /// Nothing.
    None,
}

/// A held-out part of the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// This fraction of the bytes, from the end of each file.
    Fraction(f64),
    /// A file of its own.
    Path(String),
    /// No such part.
    None,
}

/// `tokenizer`: how text becomes tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Tokenizer {
    /// One token a character of the training part.
    Char,
    /// One token a byte.
    Byte,
    /// One token a word or punctuation mark of the training part.
    Word,
    /// Byte-level byte-pair encoding, trained on the training part.
    Bpe {
        /// Number of tokens, the 256 bytes included.
        vocab_size: usize,
    },
    /// Any Hugging Face `tokenizer.json`.
    File {
        /// Where it lies, relative to the experiment file.
        path: String,
    },
}

/// The model's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Learned positions, layer norm, GELU.
    Gpt2,
    /// Rotary positions, RMS norm, SwiGLU, grouped-query attention.
    Llama,
}

/// The activation of a GPT-2 block's MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact, by the error function (`nn.GELU()`).
    Gelu,
    /// The tanh form (Hugging Face's `gelu_new`).
    GeluTanh,
}

/// `model`: what is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// `gpt2` or `llama`.
    pub family: Family,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Width of the residual stream; a multiple of `heads`.
    pub width: usize,
    /// Key and value heads (llama); the default is `heads`.
    pub kv_heads: Option<usize>,
    /// Dropout rate in [0, 1).
    pub dropout: f64,
    /// Biases in linear layers and layer norms; the default is true for gpt2 and false for llama.
    pub bias: Option<bool>,
    /// Whether the output layer shares the embedding's weights.
    pub tied: bool,
    /// The MLP's activation (gpt2).
    pub activation: Activation,
    /// A local Hugging Face folder to start from.
    pub from: Option<String>,
}

/// `train.batch_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchSize {
    /// This many windows a step.
    Windows(usize),
    /// All windows of the epoch in one step.
    Full,
}

/// `train.clip_norm`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipNorm {
    /// Measure the norm only.
    Off,
    /// Scale all gradients together so that their global L2 norm is at most this.
    At(f64),
}

/// `train.budget`: how long a trial trains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Target tokens; ends with the first step that reaches it.
    Tokens(u64),
    /// Bytes of text.
    Bytes(u64),
    /// Optimizer steps.
    Steps(u64),
    /// Passes over all windows.
    Epochs(f64),
    /// Minutes inside finished steps; not reproducible to the bit.
    Minutes(f64),
}

/// The shape of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine down to `final_learning_rate`.
    Cosine,
    /// A straight line down to `final_learning_rate`.
    Linear,
    /// No change after warm-up.
    Constant,
}

/// Number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// bfloat16 activations with 32-bit weights.
    Bf16,
}

/// `train`: how the model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// Tokens in a window (L).
    pub sequence_length: usize,
    /// How far the window moves (S); the default is `sequence_length`.
    pub stride: Option<usize>,
    /// Windows in an optimizer step.
    pub batch_size: BatchSize,
    /// A new order of windows each epoch.
    pub shuffle: bool,
    /// Largest global gradient norm.
    pub clip_norm: ClipNorm,
    /// How long to train.
    pub budget: Budget,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Shape after warm-up.
    pub schedule: Schedule,
    /// Warm-up as a fraction of the steps.
    pub warmup: f64,
    /// Learning rate at the end as a fraction of the peak.
    pub final_learning_rate: f64,
    /// AdamW's decoupled weight decay, on matrices and embeddings.
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    pub beta2: f64,
    /// AdamW's epsilon, outside the root.
    pub epsilon: f64,
    /// Number format.
    pub precision: Precision,
    /// Windows through the model at once; memory only, never part of the result.
    pub micro_batch: Option<usize>,
}

/// Which context ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankBy {
    /// The context that every configuration has.
    Common,
    /// Each configuration's own.
    Native,
}

/// Which weights rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankAt {
    /// Those at the end of the budget.
    Final,
    /// Those with the lowest validation loss on the way (chosen on validation).
    Best,
}

/// `evaluate`: how a trial is scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluate {
    /// Between evaluations, as a fraction of the steps.
    pub every: f64,
    /// Largest share of the training work that periodic evaluation may cost.
    pub at_most: f64,
    /// How much of the validation part is scored.
    pub max_bytes: u64,
    /// The common context; the default is the smallest sequence length of the planned trials.
    pub context: Option<usize>,
    /// `common` or `native`.
    pub rank_by: RankBy,
    /// `final` or `best`.
    pub rank_at: RankAt,
}

/// What stays of a complete trial's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenDone {
    /// Weights of final and best; optimizer state goes.
    Weights,
    /// Everything.
    All,
    /// Weights of the final checkpoint only.
    Final,
}

/// `checkpoint`: what is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Between checkpoints, as a fraction of the steps.
    pub every: f64,
    /// How many periodic checkpoints stay.
    pub keep_last: usize,
    /// What stays of a complete trial.
    pub when_done: WhenDone,
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// A GPU where this build and this machine have one, else the CPU.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU (needs a build with the feature `cuda`).
    Cuda,
    /// An Apple GPU (needs a build with the feature `metal`).
    Metal,
}

/// Where trials are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// On this machine.
    Local,
    /// On a Slurm cluster.
    Slurm,
}

/// `run`: where and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `auto`, `cpu`, `cuda`, `metal`.
    pub device: Device,
    /// Trials at a time; `None` is `auto`.
    pub slots: Option<usize>,
    /// Trials at a time on one GPU.
    pub per_device: usize,
    /// CPU threads a slot; `None` is `auto`.
    pub threads: Option<usize>,
    /// `local` or `slurm`.
    pub on: On,
    /// A clock time to end at, `07:00`.
    pub until: Option<String>,
    /// A duration to end after, `8h`.
    pub time: Option<String>,
    /// How often a crashed trial is started again.
    pub retries: u32,
    /// Longest silence of a worker, a duration; `None` is `auto`.
    pub timeout: Option<String>,
    /// A command told of the end and of the first failure.
    pub notify: Option<String>,
}

impl Default for Corpus {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            field: None,
            join: Join::EndOfText,
            validation: Part::Fraction(0.1),
            test: Part::None,
            max_bytes: None,
        }
    }
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::Char
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            family: Family::Gpt2,
            layers: 4,
            heads: 4,
            width: 128,
            kv_heads: None,
            dropout: 0.0,
            bias: None,
            tied: true,
            activation: Activation::Gelu,
            from: None,
        }
    }
}

impl Default for Train {
    fn default() -> Self {
        Self {
            sequence_length: 128,
            stride: None,
            batch_size: BatchSize::Windows(16),
            shuffle: true,
            clip_norm: ClipNorm::At(1.0),
            budget: Budget::Tokens(0),
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            warmup: 0.05,
            final_learning_rate: 0.1,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            precision: Precision::F32,
            micro_batch: None,
        }
    }
}

impl Default for Evaluate {
    fn default() -> Self {
        Self { every: 0.1, at_most: 0.05, max_bytes: 1_000_000, context: None, rank_by: RankBy::Common, rank_at: RankAt::Final }
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { every: 0.1, keep_last: 1, when_done: WhenDone::Weights }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            device: Device::Auto,
            slots: None,
            per_device: 1,
            threads: None,
            on: On::Local,
            until: None,
            time: None,
            retries: 2,
            timeout: None,
            notify: None,
        }
    }
}

impl Train {
    /// How far the window moves: `stride`, or the sequence length where it is not set.
    pub fn stride(&self) -> usize {
        self.stride.unwrap_or(self.sequence_length)
    }
}

impl Model {
    /// Key and value heads: `kv_heads`, or `heads` where it is not set.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    /// Whether linear layers and norms have biases: `bias`, or the family's habit where it is not set.
    pub fn bias(&self) -> bool {
        self.bias.unwrap_or(self.family == Family::Gpt2)
    }
}
