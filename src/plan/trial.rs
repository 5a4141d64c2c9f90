//! The plan as plain data.

use serde::{Deserialize, Serialize};

use super::{Numbers, TrialId};
use crate::experiment::settings::Settings;
use crate::model::Pretrained;

/// All trials of an experiment, in the order of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The experiment's name.
    pub experiment: String,
    /// Keys that differ between configurations, in file order (axes, then derived ones).
    pub swept: Vec<String>,
    /// Combinations of the axes, points included, before anything was excluded.
    pub combinations: u64,
    /// What was excluded, a row a rule.
    pub excluded: Vec<Excluded>,
    /// Combinations that were equal to an earlier one.
    pub merged: u64,
    /// Number of configurations (without seeds).
    pub configurations: usize,
    /// What every configuration is trained with, a trial each.
    pub seeds: Vec<u64>,
    /// The context of the common protocol (Lc), tokens.
    pub common_context: usize,
    /// The trials: configurations in file order, and within each its seeds.
    pub trials: Vec<Trial>,
    /// The numbers of these configurations, and of those that were planned before.
    #[serde(skip)]
    pub numbers: Numbers,
}

/// What one `exclude` rule took out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    /// The rule's expression.
    pub when: String,
    /// The rule's reason.
    pub why: Option<String>,
    /// How many combinations it took out (those that no earlier rule had).
    pub count: u64,
}

/// One training job: a configuration with a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Hash of what makes it what it is, and the name of its folder.
    pub id: TrialId,
    /// The number of its configuration, which it keeps whatever else is planned.
    pub configuration: usize,
    /// What its first weights, its order of windows and its dropout are drawn from.
    pub seed: u64,
    /// The value of each swept key, as a person writes it, in the order of [`Plan::swept`].
    pub values: Vec<String>,
    /// All its settings.
    pub settings: Settings,
    /// What follows from them.
    pub facts: Facts,
    /// The folder whose weights it starts from; without one they are drawn at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Pretrained>,
}

/// What is known of a trial before it starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Content of all text and its split.
    #[serde(default)]
    pub text_hash: String,
    /// Content of what is scored to rank; `None` where nothing is held out.
    #[serde(default)]
    pub validation_hash: Option<String>,
    /// Content of the tokenizer, whatever it is called.
    #[serde(default)]
    pub tokenizer_hash: String,
    /// Number of tokens in the vocabulary.
    pub vocabulary: u64,
    /// Tokens of the whole text.
    pub text_tokens: u64,
    /// Windows that the whole text would give.
    pub text_windows: u64,
    /// Tokens of the training part.
    pub train_tokens: u64,
    /// Bytes of the training part.
    pub train_bytes: u64,
    /// Tokens of the scored validation part.
    pub validation_tokens: u64,
    /// Words of the scored text, as white space parts them.
    #[serde(default)]
    pub validation_words: u64,
    /// Tokens of the scored test part.
    #[serde(default)]
    pub test_tokens: u64,
    /// Share of the held-out tokens that stand for something the vocabulary does not have.
    #[serde(default)]
    pub unknown_share: f64,
    /// Windows of the training part, an epoch.
    pub windows: u64,
    /// Optimizer steps an epoch, the partial one included.
    pub steps_per_epoch: u64,
    /// Windows in the last step of an epoch where it is partial, else 0.
    pub partial_batch: u64,
    /// Optimizer steps of the whole trial; 0 where the budget is in minutes.
    pub steps: u64,
    /// Target tokens of a full step.
    pub tokens_per_step: u64,
    /// Target tokens of the whole trial.
    pub target_tokens: u64,
    /// Different target positions that are trained on at all.
    pub distinct_targets: u64,
    /// How often each of them is seen on average.
    pub views: f64,
    /// Passes over all windows.
    pub epochs: f64,
    /// Parameters, tied ones once.
    pub parameters: u64,
    /// Floating-point operations of the training (6 N + 12 · layers · width · L a token).
    pub flops: f64,
    /// Expected peak memory of the worker, bytes.
    pub memory_bytes: u64,
    /// Most bytes that stay in its folder when the trial is complete.
    pub disk_bytes: u64,
}

impl Facts {
    /// Optimizer steps of the whole trial; `None` where the budget is in minutes.
    pub fn counted_steps(&self) -> Option<u64> {
        (self.steps > 0).then_some(self.steps)
    }
}
