//! Which differences are real: what the figures of an experiment say about each other, and how sure they are of it.
//!
//! **Scale.** Everything is computed on what ranks: mean loss in nats per token, or bits per byte where tokenizers differ. A
//! difference in loss is a ratio of perplexities; [`Statistics::shown`] and [`Statistics::difference_shown`] turn both into what
//! people read.
//!
//! **Two sorts of uncertainty** are added up: other seeds would give other figures, and the held-out text is one stretch of text. How a
//! difference is judged by them is in [`inference`](super::inference).

mod autocovariance;
mod block_length;
mod gather;
mod judge;
mod settings;
mod text;
mod text_files;

pub(super) use judge::Judge;
pub(super) use text::{Text, paired};

use serde::Serialize;

use super::comparison::{Comparison, Configuration};
use super::confounding::Confounding;
use super::inference::effects::{Effect, Interaction, Interval, Over};
use super::inference::pairs::Difference;
use super::inference::reach::Reach;
use super::protocol::Protocol;
use crate::runs::ExperimentFolder;

/// What the figures say about each other.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Statistics {
    /// Whether the response is bits per byte; else it is loss in nats per token.
    pub(super) by_bytes: bool,
    /// Differences under this are not worth a choice, in the response: `report.margin`.
    pub(super) margin: f64,
    /// How much results scatter from seed to seed; `None` where nothing says.
    pub(super) scatter: Option<Scatter>,
    /// Why there is no set of those that may be the best, in a sentence; `None` where there is one.
    pub(super) no_set: Option<String>,
    /// The first of the ranking.
    pub(super) leader: i64,
    /// Whether a seed of the leader diverged: it excludes no other then, and is no winner.
    pub(super) diverged: bool,
    /// The leader, where it alone may be the best.
    pub(super) sole_winner: Option<i64>,
    /// What fresh seeds would probably give for the leader, which was chosen for being lowest.
    pub(super) fresh: Option<f64>,
    /// A line for each ranked configuration, best first.
    pub(super) against: Vec<Against>,
    /// The noise of the held-out text.
    pub(super) text: Option<Text>,
    /// Why nothing is said about the text, in a sentence; `None` where something is.
    pub(super) no_text: Option<String>,
    /// Main effect of each swept axis that has at least two values, in file order.
    pub(super) effects: Vec<Effect>,
    /// Every pair of such axes.
    pub(super) interactions: Vec<Interaction>,
    /// How small a lead this experiment could see; `None` where there is no set.
    pub(super) reach: Option<Reach>,
    #[serde(skip)]
    judge: Judge,
}

/// The scatter of results once configurations and seeds are accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Scatter {
    /// Standard deviation of one trial's response, pooled over all.
    pub(super) deviation: f64,
    /// Its degrees of freedom.
    pub(super) degrees: usize,
    /// Whether seeds were taken as blocks: what a seed does to every configuration alike is then not part of it.
    pub(super) blocks: bool,
    /// Seeds of all.
    pub(super) seeds: usize,
    /// Different configurations that are compared, all tried values of tuned settings among them.
    pub(super) compared: usize,
}

/// How a configuration stands to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Relation {
    /// It is the leader.
    Leader,
    /// It has the very same results.
    Same,
    /// Its limits lie beyond the margin: the leader is worth choosing.
    WorthChoosing,
    /// Its limits lie above 0.
    Different,
    /// Its limits lie within the margin on both sides.
    PracticallySame,
    /// Chance may have made the difference.
    Open,
}

/// A configuration against the leader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Against {
    /// Its number.
    pub(super) configuration: i64,
    /// Mean response over all seeds, by least squares where some are missing.
    pub(super) mean: f64,
    /// Trials behind it.
    pub(super) seeds: usize,
    /// Its mean less that of the leader.
    pub(super) difference: f64,
    /// What one standard error of that difference is, of seeds and text together.
    pub(super) standard_error: Option<f64>,
    /// The limits of the difference by which the leader beats it, or not: the lower one is above 0 where it does.
    pub(super) limits: Option<Interval>,
    pub(super) relation: Option<Relation>,
    /// Whether it may be the best; `None` where there is no set. Of a tuned combination: whether any of its tried values may.
    pub(super) in_best_set: Option<bool>,
    /// The one that beats it by most.
    pub(super) beaten_by: Option<i64>,
}

impl Over {
    /// Whether a configuration with a result is one of them.
    pub(super) fn includes(self, configuration: &Configuration) -> bool {
        configuration.place.is_some() || (self == Self::All && configuration.tuned.is_some())
    }
}

impl Statistics {
    /// A response as people read it: perplexity, or bits per byte as it is.
    pub(super) fn shown(&self, response: f64) -> f64 {
        if self.by_bytes { response } else { response.exp() }
    }

    /// A difference of responses as people read it: perplexity higher by this share (0.01 is 1 %), or bits per byte as they are.
    pub(super) fn difference_shown(&self, difference: f64) -> f64 {
        if self.by_bytes { difference } else { difference.exp_m1() }
    }

    /// The line of a configuration.
    pub(super) fn of(&self, configuration: i64) -> Option<&Against> {
        self.against.iter().find(|line| line.configuration == configuration)
    }

    /// The configurations that are statistically tied with the best, the leader among them; `None` where there is no set.
    pub(super) fn best_set(&self) -> Option<Vec<i64>> {
        let members = self.against.iter().map(|line| Some((line.configuration, line.in_best_set?)));
        let members: Option<Vec<(i64, bool)>> = members.collect();
        Some(members?.into_iter().filter(|&(_, member)| member).map(|(number, _)| number).collect())
    }

    /// The difference of two configurations, unadjusted for how many are compared; `None` where nothing says how sure it is.
    pub(super) fn difference(&self, a: i64, b: i64) -> Option<Difference> {
        self.judge.difference(a, b)
    }
}

/// The statistics of a comparison; `None` where no configuration is ranked. Files of single tokens that cannot be read are
/// listed.
pub(super) fn statistics(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    protocol: &Protocol,
    confounding: &Confounding,
    damaged: &mut Vec<String>,
) -> Option<Statistics> {
    gather::gather(folder, comparison, protocol, confounding, damaged)
}
