//! What the figures say about each other.

use serde::Serialize;

use super::judge::Judge;
use super::text::Text;
use crate::report::comparison::Configuration;
use crate::report::inference::effects::{Effect, Interaction, Interval, Over};
use crate::report::inference::pairs::Difference;
use crate::report::inference::reach::Reach;

/// What the figures say about each other.
#[derive(Debug, Clone, Serialize)]
pub(in crate::report) struct Statistics {
    /// Whether the response is bits per byte; else it is loss in nats per token.
    pub(in crate::report) by_bytes: bool,
    /// Differences under this are not worth a choice, in the response: `report.margin`.
    pub(in crate::report) margin: f64,
    /// How much results scatter from seed to seed; `None` where nothing says.
    pub(in crate::report) scatter: Option<Scatter>,
    /// Why there is no set of those that may be the best, in a sentence; `None` where there is one.
    pub(in crate::report) no_set: Option<String>,
    /// The first of the ranking.
    pub(in crate::report) leader: i64,
    /// Whether a seed of the leader diverged: it excludes no other then, and is no winner.
    pub(in crate::report) diverged: bool,
    /// The leader, where it alone may be the best.
    pub(in crate::report) sole_winner: Option<i64>,
    /// What fresh seeds would probably give for the leader, which was chosen for being lowest.
    pub(in crate::report) fresh: Option<f64>,
    /// A line for each ranked configuration, best first.
    pub(in crate::report) against: Vec<Against>,
    /// The noise of the held-out text.
    pub(in crate::report) text: Option<Text>,
    /// Why nothing is said about the text, in a sentence; `None` where something is.
    pub(in crate::report) no_text: Option<String>,
    /// Main effect of each swept axis that has at least two values, in file order.
    pub(in crate::report) effects: Vec<Effect>,
    /// Every pair of such axes.
    pub(in crate::report) interactions: Vec<Interaction>,
    /// How small a lead this experiment could see; `None` where there is no set.
    pub(in crate::report) reach: Option<Reach>,
    #[serde(skip)]
    pub(super) judge: Judge,
}

/// The scatter of results once configurations and seeds are accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(in crate::report) struct Scatter {
    /// Standard deviation of one trial's response, pooled over all.
    pub(in crate::report) deviation: f64,
    /// Its degrees of freedom.
    pub(in crate::report) degrees: usize,
    /// Whether seeds were taken as blocks: what a seed does to every configuration alike is then not part of it.
    pub(in crate::report) blocks: bool,
    /// Seeds of all.
    pub(in crate::report) seeds: usize,
    /// Different configurations that are compared, all tried values of tuned settings among them.
    pub(in crate::report) compared: usize,
}

/// How a configuration stands to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::report) enum Relation {
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
pub(in crate::report) struct Against {
    /// Number of the configuration that is held against the leader.
    pub(in crate::report) configuration: i64,
    /// Mean response over all seeds, by least squares where some are missing.
    pub(in crate::report) mean: f64,
    /// Trials behind it.
    pub(in crate::report) seeds: usize,
    /// Its mean less that of the leader.
    pub(in crate::report) difference: f64,
    /// What one standard error of that difference is, of seeds and text together.
    pub(in crate::report) standard_error: Option<f64>,
    /// The limits of the difference by which the leader beats it, or not: the lower one is above 0 where it does.
    pub(in crate::report) limits: Option<Interval>,
    pub(in crate::report) relation: Option<Relation>,
    /// Whether it may be the best; `None` where there is no set. Of a tuned combination: whether any of its tried values may.
    pub(in crate::report) in_best_set: Option<bool>,
    /// The one that beats it by most.
    pub(in crate::report) beaten_by: Option<i64>,
}

impl Over {
    /// Whether a configuration with a result is one of them.
    pub(in crate::report) fn includes(self, configuration: &Configuration) -> bool {
        configuration.place.is_some() || (self == Self::All && configuration.tuned.is_some())
    }
}

impl Statistics {
    /// A response as people read it: perplexity, or bits per byte as it is.
    pub(in crate::report) fn shown(&self, response: f64) -> f64 {
        if self.by_bytes { response } else { response.exp() }
    }

    /// A difference of responses as people read it: perplexity higher by this share (0.01 is 1 %), or bits per byte as they are.
    pub(in crate::report) fn difference_shown(&self, difference: f64) -> f64 {
        if self.by_bytes { difference } else { difference.exp_m1() }
    }

    /// The line of a configuration.
    pub(in crate::report) fn of(&self, configuration: i64) -> Option<&Against> {
        self.against.iter().find(|line| line.configuration == configuration)
    }

    /// The configurations that are statistically tied with the best, the leader among them; `None` where there is no set.
    pub(in crate::report) fn best_set(&self) -> Option<Vec<i64>> {
        let members = self.against.iter().map(|line| Some((line.configuration, line.in_best_set?)));
        let members: Option<Vec<(i64, bool)>> = members.collect();
        Some(members?.into_iter().filter(|&(_, member)| member).map(|(number, _)| number).collect())
    }

    /// The difference of two configurations, unadjusted for how many are compared; `None` where nothing says how sure it is.
    pub(in crate::report) fn difference(&self, a: i64, b: i64) -> Option<Difference> {
        self.judge.difference(a, b)
    }
}
