//! Everything one trial needs to know: the contents of `trial.json`.

use serde::{Deserialize, Serialize};

use crate::corpus::{Epoch, Prepared, Windows};
use crate::error::Result;
use crate::experiment::settings::Settings;
use crate::model::{Config, Pretrained};
use crate::plan::{EvaluationPlan, TrialId};

/// A trial as its worker gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Version of this description.
    pub version: u32,
    /// Which trial it is.
    pub id: TrialId,
    /// Number of its configuration, from 1.
    pub configuration: usize,
    /// What its first weights, its order of windows and its dropout are drawn from.
    pub seed: u64,
    /// All its settings.
    pub settings: Settings,
    /// Optimizer steps; 0 where the budget is in minutes.
    pub steps: u64,
    /// The text, its split, its tokens; files are relative to the experiment's folder.
    pub corpus: Prepared,
    /// When it is scored, and on what.
    pub evaluation: EvaluationPlan,
    /// The folder whose weights it starts from; without one they are drawn at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Pretrained>,
}

impl Job {
    /// The version that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// Windows of a full step.
    pub fn batch(&self) -> usize {
        let train = &self.settings.train;
        let windows = Windows::new(self.corpus.train.tokens, train.sequence_length, train.stride()).count();
        Epoch::new(windows, train.batch_size).full_batch() as usize
    }

    /// The model that is trained.
    pub fn model(&self) -> Result<Config> {
        let length = self.settings.train.sequence_length;
        Config::of(&self.settings.model, self.from.as_ref(), self.corpus.vocabulary, length)
    }
}
