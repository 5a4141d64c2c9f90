//! A configuration: one point of the grid, and what its seeds came to.

use std::collections::BTreeMap;

use crate::report::content::Content;
use crate::report::wording;
use crate::runs::Status;

/// Mean and spread over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct Figure {
    pub(in crate::report) mean: f64,
    /// Sample standard deviation over the seeds; `None` for one seed.
    pub(in crate::report) spread: Option<f64>,
}

impl Figure {
    /// `5.812 ± 0.041`, without a spread for one seed; with as many decimals as the smallest figure of its column.
    pub(in crate::report) fn shown(self, smallest: f64) -> String {
        let spread = self.spread.map(|spread| format!(" ± {}", wording::beside(spread, smallest)));
        format!("{}{}", wording::beside(self.mean, smallest), spread.unwrap_or_default())
    }
}

/// One point of the grid and what its seeds came to.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Configuration {
    /// The number by which commands call it.
    pub(in crate::report) number: i64,
    /// Place in the file, from 0.
    pub(in crate::report) order: usize,
    /// The values of the swept keys.
    pub(in crate::report) values: Vec<String>,
    /// Place in the ranking, from 1; `None` where it is not ranked.
    pub(in crate::report) place: Option<usize>,
    /// Seeds that count.
    pub(in crate::report) seeds: usize,
    /// Trials of each status.
    pub(in crate::report) status: BTreeMap<Status, usize>,
    pub(in crate::report) loss: Option<f64>,
    /// Mean response (loss, or bits per byte where those rank) over all seeds of the experiment, by least squares; `None` where no
    /// seed is missing anywhere, so that it is the plain mean.
    pub(in crate::report) adjusted: Option<f64>,
    /// By the protocol that ranks.
    pub(in crate::report) perplexity: Option<Figure>,
    /// By the other context.
    pub(in crate::report) other_perplexity: Option<Figure>,
    /// `None` where tokenizers differ and its own is not known to give every text back.
    pub(in crate::report) bits_per_byte: Option<Figure>,
    /// On the test part, which ranks nothing: at the common context, by the weights that rank. `None` where a seed that counts has no
    /// score there.
    pub(in crate::report) test_perplexity: Option<Figure>,
    pub(in crate::report) test_bits_per_byte: Option<Figure>,
    pub(in crate::report) tokens_per_second: Option<f64>,
    pub(in crate::report) training_seconds: Option<f64>,
    /// What the plan and the probe expected of a trial: of the machine on the processor, of the device elsewhere.
    pub(in crate::report) planned_memory_bytes: Option<i64>,
    pub(in crate::report) probed_memory_bytes: Option<i64>,
    pub(in crate::report) peak_memory_bytes: Option<f64>,
    /// Of a GPU; `None` where none was used.
    pub(in crate::report) peak_device_memory_bytes: Option<f64>,
    pub(in crate::report) parameters: Option<i64>,
    pub(in crate::report) vocabulary: Option<i64>,
    /// What its tokenizer is called: `char`, `bpe-512` …
    pub(in crate::report) tokenizer: String,
    /// What it learned from and was scored on.
    pub(in crate::report) content: Content,
    /// Whether it was scored on another held-out text than those that are ranked: its figures compare with none of theirs.
    pub(in crate::report) is_apart: bool,
    /// Whether its perplexity was lower at an earlier step than at the end.
    pub(in crate::report) got_worse: bool,
    /// How it stands to those that differ in tuned settings only; `None` where nothing is tuned or there is no figure.
    pub(in crate::report) tuned: Option<Tuned>,
}

/// How a configuration stands to those that differ from it in tuned settings only.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Tuned {
    /// Which combination of the other settings it is of: the same number for all tried values of one.
    pub(in crate::report) combination: usize,
    /// Whether it has the lowest figure of them.
    pub(in crate::report) chosen: bool,
    /// The tuned keys whose chosen value is the smallest or largest that was planned here.
    pub(in crate::report) at_edge: Vec<String>,
}

impl Configuration {
    /// Itself, where its figures may stand beside those of the others.
    pub(in crate::report) fn comparable(&self) -> Option<&Self> {
        (!self.is_apart).then_some(self)
    }

    /// Whether it has a result on the text that the others were scored on, whether or not that can be ranked.
    pub(in crate::report) fn has_result(&self) -> bool {
        self.comparable().is_some_and(|own| own.perplexity.is_some())
    }

    /// The figure that ranks; none where it would compare with no other: on another text, or of a tokenizer that loses text beside
    /// other tokenizers.
    pub(in crate::report) fn figure(&self, by_bytes: bool) -> Option<Figure> {
        let own = self.comparable()?;
        let plain = if by_bytes { own.bits_per_byte } else { own.perplexity };
        let adjusted = own.adjusted.map(|mean| if by_bytes { mean } else { mean.exp() });
        plain.map(|figure| Figure { mean: adjusted.unwrap_or(figure.mean), ..figure })
    }

    /// [`adjusted`](Self::adjusted) in nats per token, whether or not its experiment ranks by bits per byte.
    pub(in crate::report) fn adjusted_loss(&self, by_bytes: bool) -> Option<f64> {
        // A byte has as many tokens in each of its trials.
        let unit = if by_bytes { self.loss? / self.bits_per_byte?.mean } else { 1.0 };
        self.adjusted.map(|mean| unit * mean).filter(|loss| loss.is_finite())
    }

    /// Whether a seed of it diverged.
    pub(in crate::report) fn has_diverged(&self) -> bool {
        self.status.contains_key(&Status::Diverged)
    }

    /// Whether all of its seeds finished with a result.
    pub(in crate::report) fn is_complete(&self) -> bool {
        self.status.keys().all(|status| *status == Status::Completed)
    }

    /// Trials that ended without a result.
    pub(in crate::report) fn lost(&self) -> usize {
        self.status.iter().filter(|(status, _)| status.is_lost()).map(|(_, count)| count).sum()
    }

    /// The figure of the test part, in the unit that ranks.
    pub(in crate::report) fn test_figure(&self, by_bytes: bool) -> Option<Figure> {
        let own = self.comparable()?;
        if by_bytes { own.test_bits_per_byte } else { own.test_perplexity }
    }
}
