//! Which differences are real: what the figures of an experiment say about each other, and how sure they are of it.
//!
//! **Scale.** Everything is computed on what ranks: mean loss in nats per token, or bits per byte where tokenizers differ. A
//! difference in loss is a ratio of perplexities; [`Statistics::shown`] and [`Statistics::difference_shown`] turn both into what
//! people read.

mod autocovariance;
mod best;
mod block_length;
mod critical;
mod effects;
mod gather;
mod residual;
mod resolution;
mod text;
mod text_files;

pub(super) use effects::size;
pub(super) use text::{Text, paired};

use serde::Serialize;

use super::comparison::{Comparison, Configuration};
use super::protocol::Protocol;
use crate::runs::ExperimentFolder;

/// Lower and upper limit, at 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Interval {
    pub(super) lower: f64,
    pub(super) upper: f64,
}

/// What the figures say about each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Statistics {
    /// Whether the response is bits per byte; else it is loss in nats per token.
    pub(super) by_bytes: bool,
    /// How much results scatter from seed to seed, and how that is known.
    pub(super) residual: Option<Residual>,
    /// Why there are no limits over seeds, in a sentence; `None` where there are some.
    pub(super) no_limits: Option<String>,
    /// Number of the configuration with the lowest response, over the seeds that are compared.
    pub(super) leader: i64,
    /// A line for each ranked configuration, best first.
    pub(super) against: Vec<Against>,
    /// How the noise of this one stretch of text was found.
    pub(super) text: Option<Text>,
    /// Why nothing is said about the text, in a sentence; `None` where something is.
    pub(super) no_text: Option<String>,
    /// Main effect of each swept axis that has at least two values, in file order.
    pub(super) effects: Vec<Effect>,
    /// Every pair of such axes.
    pub(super) interactions: Vec<Interaction>,
    /// What this experiment could have seen; `None` where there is no residual.
    pub(super) detectable: Option<Detectable>,
}

/// The pooled scatter of results once configurations (and seeds) are accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Residual {
    /// Standard deviation of one trial's response.
    pub(super) deviation: f64,
    /// Its degrees of freedom.
    pub(super) degrees: usize,
    /// Whether seeds were taken as blocks: what a seed does to every configuration alike is then not part of it.
    pub(super) blocks: bool,
    /// The configuration that more than half of the scatter comes from, where one does: the limits of all are as wide as its own.
    pub(super) dominated_by: Option<i64>,
}

/// A configuration against the best of all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Against {
    /// Its number.
    pub(super) configuration: i64,
    /// Mean response over the seeds; where seeds are missing, what the additive model says it would be over all.
    pub(super) mean: f64,
    /// Trials behind it.
    pub(super) seeds: usize,
    /// 95 % limits of its own mean response if it were trained with other seeds.
    pub(super) own: Option<Interval>,
    /// Its mean less the lowest of all others: negative for the leader only.
    pub(super) difference: f64,
    /// Simultaneous 95 % limits of that difference (Hsu's multiple comparisons with the best), over seeds. The lower limit is
    /// never above 0 and the upper never below: 0 as lower limit says "not the best", 0 as upper limit "the best".
    pub(super) limits: Option<Interval>,
    /// 95 % limits of its difference to the leader by the noise of this one stretch of text; `None` for the leader.
    pub(super) text_difference: Option<Interval>,
    /// Whether it cannot be told from the best, by seeds or by text; `None` where there are no limits over seeds.
    pub(super) in_best_set: Option<bool>,
}

/// Which configurations a mean is taken over, where settings are tuned. Both kinds are never mixed in one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Over {
    /// Those with the value of the tuned settings that suits them best; all where nothing is tuned.
    Chosen,
    /// Every value of the tuned settings: what a tuned setting itself does.
    All,
}

impl Over {
    /// Whether a configuration with a result is one of them.
    pub(super) fn includes(self, configuration: &Configuration) -> bool {
        configuration.place.is_some() || (self == Self::All && configuration.tuned.is_some())
    }
}

/// The main effect of an axis: mean over the cells of each value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Effect {
    /// Its keys: several where settings move together.
    pub(super) keys: Vec<String>,
    /// Which configurations it is of.
    pub(super) over: Over,
    /// In the order a person expects.
    pub(super) levels: Vec<Level>,
    /// Combinations of the other axes that the means are taken over: those in which every value has a result.
    pub(super) cells: usize,
    /// Combinations of the other axes that there are.
    pub(super) all_cells: usize,
    /// What is missing, in a sentence.
    pub(super) note: Option<String>,
}

/// One value of an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Level {
    /// As written; several joined by ` · ` where settings move together.
    pub(super) value: String,
    /// Mean response of its cells, `None` where it cannot be compared with the other values.
    pub(super) mean: Option<f64>,
    /// 95 % limits of that mean from the residual.
    pub(super) limits: Option<Interval>,
}

/// The cell means of two axes, over the combinations of all others in which each of these cells has a result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Interaction {
    /// Keys of the rows.
    pub(super) rows: Vec<String>,
    /// Keys of the columns.
    pub(super) columns: Vec<String>,
    /// Which configurations it is of.
    pub(super) over: Over,
    /// Values of the rows.
    pub(super) row_values: Vec<String>,
    /// Values of the columns.
    pub(super) column_values: Vec<String>,
    /// Mean response by row and column; `None` where there is none.
    pub(super) means: Vec<Vec<Option<f64>>>,
    /// What is missing, in a sentence.
    pub(super) note: Option<String>,
}

/// How small a difference the experiment could see.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Detectable {
    /// The lead (in the response) that would be found four times in five.
    pub(super) difference: f64,
    /// Seeds a configuration that it is reckoned with.
    pub(super) seeds: usize,
    /// Configurations that are compared.
    pub(super) configurations: usize,
    /// Seeds at which the lead that was found over the next one would be seen four times in five; `None` beyond
    /// [`MOST_SEEDS`], or where there is no next one.
    pub(super) seeds_to_separate: Option<usize>,
}

/// Most seeds that are proposed to anybody.
pub(super) const MOST_SEEDS: usize = 50;

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

    /// The configurations that cannot be told from the best, the leader among them; `None` where nothing says.
    pub(super) fn best_set(&self) -> Option<Vec<i64>> {
        let members = self.against.iter().map(|line| Some((line.configuration, line.in_best_set?)));
        let members: Option<Vec<(i64, bool)>> = members.collect();
        Some(members?.into_iter().filter(|&(_, member)| member).map(|(number, _)| number).collect())
    }
}

/// The statistics of a comparison; `None` where no configuration is ranked. Files of single tokens that cannot be read are
/// listed.
pub(super) fn statistics(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    protocol: &Protocol,
    damaged: &mut Vec<String>,
) -> Option<Statistics> {
    gather::gather(folder, comparison, protocol, damaged)
}
