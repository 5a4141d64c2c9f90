//! The settings of one configuration: what they are called, their types and their defaults.
//!
//! Each field is a key of the experiment file. The types say what a setting can be; the text of the file is turned
//! into them by `text` (each setting parses its own words: `off`, `full`, `1e-4`, `20_000`).

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::text::{self, Scalar, Wrapped};
use crate::device::Device;

/// All settings of one configuration. `Default` gives the documented defaults; `train.budget` and `corpus.text` have
/// none and must be set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// What the report says of the results. Not part of a trial's id, cannot be swept.
    pub report: Report,
}

/// `corpus`: the text and its split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Corpus {
    /// Files, globs, or `builtin:keeper`; relative to the experiment file.
    #[serde(deserialize_with = "text::texts")]
    pub text: Vec<String>,
    /// For `.jsonl` files: the field that holds the text.
    #[serde(deserialize_with = "text::maybe_words")]
    pub field: Option<String>,
    /// What stands between documents.
    pub join: Join,
    /// What is held out to rank configurations.
    pub validation: Part,
    /// What is scored once at the end.
    pub test: Part,
    /// Only the first bytes of the text.
    #[serde(deserialize_with = "text::maybe_positive")]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Tokenizer {
    /// One token a character of the training part.
    #[default]
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

impl Tokenizer {
    /// What people call it: `char`, `bpe-512`, a file's path.
    pub fn label(&self) -> String {
        match self {
            Self::Char => "char".to_owned(),
            Self::Byte => "byte".to_owned(),
            Self::Word => "word".to_owned(),
            Self::Bpe { vocab_size } => format!("bpe-{vocab_size}"),
            Self::File { path } => path.clone(),
        }
    }
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
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// `gpt2` or `llama`.
    pub family: Family,
    /// Number of blocks.
    #[serde(deserialize_with = "text::few")]
    pub layers: usize,
    /// Attention heads a block.
    #[serde(deserialize_with = "text::few")]
    pub heads: usize,
    /// Width of the residual stream; a multiple of `heads`.
    #[serde(deserialize_with = "text::size")]
    pub width: usize,
    /// Key and value heads (llama); the default is `heads`.
    #[serde(deserialize_with = "text::maybe_few")]
    pub kv_heads: Option<usize>,
    /// Dropout rate in [0, 1).
    #[serde(deserialize_with = "text::below_one")]
    pub dropout: f64,
    /// Biases in linear layers and layer norms; the default is true for gpt2 and false for llama.
    #[serde(deserialize_with = "text::maybe_flag")]
    pub bias: Option<bool>,
    /// Whether the output layer shares the embedding's weights.
    #[serde(deserialize_with = "text::flag")]
    pub tied: bool,
    /// The MLP's activation (gpt2).
    pub activation: Activation,
    /// A local Hugging Face folder to start from.
    #[serde(deserialize_with = "text::maybe_words")]
    pub from: Option<String>,
}

/// `train.batch_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchSize {
    /// This many windows a step.
    Windows(usize),
    /// All windows of the epoch in one step.
    Full,
}

/// `train.clip_norm`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipNorm {
    /// Measure the norm only.
    Off,
    /// Scale all gradients together so that their global L2 norm is at most this.
    At(f64),
}

/// `train.budget`: how long a trial trains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
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

/// What products are made in. Weights, moments, norms, softmax and loss are in 32 bits whatever it is, and so are sums inside
/// of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 32-bit floating point whose last 13 bits the GPU's matrix units leave out.
    Tf32,
    /// bfloat16: half the memory, 8 significant bits.
    Bf16,
}

/// `train`: how the model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Tokens in a window (L).
    #[serde(deserialize_with = "text::size")]
    pub sequence_length: usize,
    /// How far the window moves (S); the default is `sequence_length`.
    #[serde(deserialize_with = "text::maybe_size")]
    pub stride: Option<usize>,
    /// Windows in an optimizer step.
    pub batch_size: BatchSize,
    /// A new order of windows each epoch.
    #[serde(deserialize_with = "text::flag")]
    pub shuffle: bool,
    /// Largest global gradient norm.
    pub clip_norm: ClipNorm,
    /// How long to train.
    pub budget: Budget,
    /// Peak learning rate.
    #[serde(deserialize_with = "text::above_zero")]
    pub learning_rate: f64,
    /// Shape after warm-up.
    pub schedule: Schedule,
    /// Warm-up as a fraction of the steps.
    #[serde(deserialize_with = "text::fraction")]
    pub warmup: f64,
    /// Learning rate at the end as a fraction of the peak.
    #[serde(deserialize_with = "text::fraction")]
    pub final_learning_rate: f64,
    /// AdamW's decoupled weight decay, on matrices and embeddings.
    #[serde(deserialize_with = "text::not_negative")]
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    #[serde(deserialize_with = "text::below_one")]
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    #[serde(deserialize_with = "text::below_one")]
    pub beta2: f64,
    /// AdamW's epsilon, outside the root.
    #[serde(deserialize_with = "text::above_zero")]
    pub epsilon: f64,
    /// What products are made in; on the CPU `f32` only.
    pub precision: Precision,
    /// Windows through the model at once; memory only, never part of the result.
    #[serde(deserialize_with = "text::maybe_size")]
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
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Between evaluations, as a fraction of the steps.
    #[serde(deserialize_with = "text::share")]
    pub every: f64,
    /// Largest share of the training work that periodic evaluation may cost.
    #[serde(deserialize_with = "text::fraction")]
    pub at_most: f64,
    /// How much of the validation part is scored.
    #[serde(deserialize_with = "text::positive")]
    pub max_bytes: u64,
    /// The common context; the default is the smallest sequence length of the planned trials.
    #[serde(deserialize_with = "text::maybe_size")]
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
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Between checkpoints, as a fraction of the steps.
    #[serde(deserialize_with = "text::share")]
    pub every: f64,
    /// How many periodic checkpoints stay.
    #[serde(deserialize_with = "text::size")]
    pub keep_last: usize,
    /// What stays of a complete trial.
    pub when_done: WhenDone,
}

/// Which device trials run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The one that the experiment has been run on; at first a GPU where this machine has one that can be used, else the CPU.
    Auto,
    /// This one: `cpu`, `cuda` (the first NVIDIA GPU), `cuda:1` …, `metal` (needs a build with the feature `metal`).
    This(Device),
}

/// What computes on an NVIDIA GPU. The processor has one engine, and an Apple GPU candle's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// This program's engine: a step is one CUDA graph.
    Own,
    /// candle's operations and autograd (needs a build with the feature `cuda`).
    Candle,
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

/// `run`: where and when. It says nothing of a result, so a record of another version may have keys here that are not read;
/// those of an experiment file are known by name before they come here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// `auto`, `cpu`, `cuda`, `cuda:1` …, `metal`.
    pub device: DeviceChoice,
    /// `own` or `candle`; part of the id of a trial on an NVIDIA GPU.
    pub engine: Engine,
    /// The folder in which NVIDIA's libraries are looked for first; relative to the experiment file.
    #[serde(deserialize_with = "text::maybe_words")]
    pub cuda_libraries: Option<String>,
    /// Trials at a time; `None` is `auto`.
    #[serde(deserialize_with = "text::maybe_few")]
    pub slots: Option<usize>,
    /// CPU threads a slot; `None` is `auto`.
    #[serde(deserialize_with = "text::maybe_few")]
    pub threads: Option<usize>,
    /// `local` or `slurm`.
    pub on: On,
    /// A clock time to end at, `07:00`.
    #[serde(deserialize_with = "text::maybe_clock")]
    pub until: Option<String>,
    /// A duration to end after, `8h`.
    #[serde(deserialize_with = "text::maybe_duration")]
    pub time: Option<String>,
    /// How often a crashed trial is started again.
    #[serde(deserialize_with = "text::count")]
    pub retries: u32,
}

/// `report`: what is said of the results. As with [`Run`], a record of another version may have keys here that are not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Differences under this share of the perplexity (of the bits per byte, where those rank) are not worth a choice.
    #[serde(deserialize_with = "text::margin")]
    pub margin: f64,
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
            device: DeviceChoice::Auto,
            engine: Engine::Own,
            cuda_libraries: None,
            slots: None,
            threads: None,
            on: On::Local,
            until: None,
            time: None,
            retries: 2,
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self { margin: 0.002 }
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

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::This(device) => device.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Scalar::deserialize(deserializer)?;
        if value.is("auto") {
            return Ok(Self::Auto);
        }
        let device = match &value {
            Scalar::Text(name) => name.parse().ok(),
            _ => None,
        };
        device.map_or_else(|| value.refuse("`auto`, `cpu`, `cuda`, `cuda:1` or `metal`"), |device| Ok(Self::This(device)))
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Wrapped::deserialize(deserializer)?;
        match value.name.as_deref() {
            None if value.is("none") => return Ok(Self::None),
            None | Some("fraction") => {
                if let Some(fraction) = value.number() {
                    return match fraction > 0.0 && fraction < 1.0 {
                        true => Ok(Self::Fraction(fraction)),
                        false => value.refuse("a fraction between 0 and 1, a path or `none`"),
                    };
                }
            }
            Some("path") => {}
            Some(other) => return Err(D::Error::custom(format!("takes a fraction, a path or `none`, not `{other}`"))),
        }
        match value.text() {
            Some(path) if !path.is_empty() => Ok(Self::Path(path)),
            _ => Err(D::Error::custom("should be a fraction, a path or `none`")),
        }
    }
}

impl<'de> Deserialize<'de> for BatchSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Wrapped::deserialize(deserializer)?;
        value.only("windows")?;
        if value.is("full") {
            return Ok(Self::Full);
        }
        match value.size() {
            Ok(windows) => Ok(Self::Windows(windows)),
            Err(expected) => value.refuse(&format!("{expected}, or `full`")),
        }
    }
}

impl<'de> Deserialize<'de> for ClipNorm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Wrapped::deserialize(deserializer)?;
        value.only("at")?;
        if value.is("off") {
            return Ok(Self::Off);
        }
        // Norms are compared in 64 bits: one that no gradient reaches is as good as another.
        match value.number() {
            Some(norm) if norm > 0.0 => Ok(Self::At(norm)),
            _ => value.refuse_helping("a number above 0, or `off`", "write `off` to measure the norm without clipping"),
        }
    }
}

/// Most tokens of a budget, and most bytes.
const MOST_TOKENS: u64 = 1_000_000_000_000_000;
/// Most steps of a budget.
const MOST_STEPS: u64 = 1_000_000_000_000;
/// Most epochs of a budget, and most minutes.
const MOST_EPOCHS: f64 = 1e9;

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const HELP: &str = "write one of `tokens`, `bytes`, `steps`, `epochs`, `minutes` with an amount: `{tokens: 1_000_000}`";
        let value = Wrapped::deserialize(deserializer)?;
        // 0 is read, and refused later: settings without a budget of their own have it as a placeholder.
        let whole = |most| match value.whole(1, most) {
            Ok(amount) => Ok(amount),
            Err(_) if value.number() == Some(0.0) => Ok(0),
            Err(expected) => value.refuse(&expected),
        };
        let number = || match value.number() {
            Some(amount) if (0.0..=MOST_EPOCHS).contains(&amount) => Ok(amount),
            Some(amount) if amount > 0.0 => value.refuse("a number up to 1,000,000,000"),
            _ => value.refuse("a number above 0"),
        };
        match value.name.as_deref() {
            Some("tokens") => whole(MOST_TOKENS).map(Self::Tokens),
            Some("bytes") => whole(MOST_TOKENS).map(Self::Bytes),
            Some("steps") => whole(MOST_STEPS).map(Self::Steps),
            Some("epochs") => number().map(Self::Epochs),
            Some("minutes") => number().map(Self::Minutes),
            Some(other) => Err(D::Error::custom(format!("does not count in `{other}`\n{HELP}"))),
            None => Err(D::Error::custom(format!("needs a unit\n{HELP}"))),
        }
    }
}

/// The tokenizer as the file spells it, before it is known which keys its kind has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerKeys {
    kind: Option<String>,
    #[serde(default, deserialize_with = "text::maybe_size")]
    vocab_size: Option<usize>,
    #[serde(default, deserialize_with = "text::maybe_words")]
    path: Option<String>,
}

impl<'de> Deserialize<'de> for Tokenizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KINDS: &[&str] = &["char", "byte", "word", "bpe", "file"];
        let TokenizerKeys { kind, vocab_size, path } = TokenizerKeys::deserialize(deserializer)?;
        let Some(kind) = kind else {
            return Err(D::Error::custom(
                "needs a `kind`\nwrite `{kind: bpe, vocab_size: 512}`, or another of char, byte, word, file",
            ));
        };
        if vocab_size.is_some() && kind != "bpe" {
            return Err(D::Error::custom(format!("takes a `vocab_size` only with `kind: bpe`, not with `{kind}`")));
        }
        if path.is_some() && kind != "file" {
            return Err(D::Error::custom(format!("takes a `path` only with `kind: file`, not with `{kind}`")));
        }
        match kind.as_str() {
            "char" => Ok(Self::Char),
            "byte" => Ok(Self::Byte),
            "word" => Ok(Self::Word),
            "bpe" => match vocab_size {
                Some(vocab_size) => Ok(Self::Bpe { vocab_size }),
                None => Err(D::Error::custom("needs a `vocab_size` with `kind: bpe`\nwrite `{kind: bpe, vocab_size: 512}`")),
            },
            "file" => match path {
                Some(path) => Ok(Self::File { path }),
                None => Err(D::Error::custom("needs a `path` with `kind: file`\nwrite `{kind: file, path: tokenizer.json}`")),
            },
            other => Err(D::Error::unknown_variant(other, KINDS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_json_reads_back_the_same() {
        let corpus = Corpus {
            text: vec!["a.txt".to_owned(), "b*.txt".to_owned()],
            field: Some("body".to_owned()),
            join: Join::None,
            validation: Part::Path("0.1".to_owned()),
            test: Part::Fraction(0.05),
            max_bytes: Some(10),
        };
        let mut settings = Settings { corpus, ..Settings::default() };
        settings.model.kv_heads = Some(2);
        settings.model.bias = Some(false);
        settings.train.batch_size = BatchSize::Full;
        settings.train.clip_norm = ClipNorm::Off;
        settings.train.learning_rate = 0.1 + 0.2;
        settings.run.device = DeviceChoice::This(Device::Cuda(1));
        settings.run.engine = Engine::Candle;
        settings.run.cuda_libraries = Some("libraries".to_owned());
        settings.run.until = Some("07:00".to_owned());
        settings.run.time = Some("1h30m".to_owned());
        settings.report.margin = 0.01;
        for tokenizer in [Tokenizer::Char, Tokenizer::Bpe { vocab_size: 300 }, Tokenizer::File { path: "t.json".to_owned() }] {
            for budget in [Budget::Tokens(5), Budget::Bytes(6), Budget::Steps(7), Budget::Epochs(0.5), Budget::Minutes(2.5)] {
                settings.tokenizer = tokenizer.clone();
                settings.train.budget = budget;
                let json = serde_json::to_string(&settings).unwrap();
                assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings, "{json}");
            }
        }
        let json = serde_json::to_string(&Settings::default()).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_key_in_json_is_refused_where_it_could_change_a_result() {
        assert!(serde_json::from_str::<Settings>(r#"{"train":{"strides":1}}"#).is_err());
        assert_eq!(serde_json::from_str::<Settings>(r#"{"report":{"words":1}}"#).unwrap(), Settings::default());
        let earlier = r#"{"run":{"slots":2,"per_device":1,"timeout":null,"notify":null}}"#;
        assert_eq!(serde_json::from_str::<Settings>(earlier).unwrap().run.slots, Some(2));
        for (earlier, device) in [("auto", DeviceChoice::Auto), ("cuda", DeviceChoice::This(Device::Cuda(0)))] {
            let run = format!(r#"{{"run":{{"device":"{earlier}"}}}}"#);
            assert_eq!(serde_json::from_str::<Settings>(&run).unwrap().run.device, device);
        }
    }
}
