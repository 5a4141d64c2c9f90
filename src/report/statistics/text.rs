//! How far the held-out text itself leaves the figures open: a bootstrap over blocks of tokens.
//!
//! The held-out text is one sample of such text. Its tokens are cut into blocks, long enough that what one block says about a
//! configuration says little about the next, and the blocks are drawn again with replacement many times; each draw gives every
//! configuration a loss. **All configurations are given the same draws**, so that what a hard page does to all of them alike
//! drops out of their differences. The NLL of a token is averaged over a configuration's seeds first: what is left open by the
//! seeds is the other half of the uncertainty, and the larger of the two decides.
//!
//! Only sums of blocks are kept, so that memory does not depend on the length of the text.

use std::path::Path;

use super::super::frames;
use super::{Interval, Text};
use crate::error::Result;
use crate::random::Stream;

/// Fewest blocks that say anything about their scatter.
const FEWEST_BLOCKS: usize = 30;
/// Blocks beyond which they only get longer.
const MOST_BLOCKS: usize = 200;
/// Times the text is drawn.
const DRAWS: usize = 2_000;
/// Configurations that are looked at: the leader and those nearest to it.
pub(super) const MOST_CONFIGURATIONS: usize = 50;
/// Scored tokens that are read in all, so that a report on a long text stays quick.
pub(super) const MOST_TOKENS: usize = 10_000_000;

/// Which rows of `token_nll.parquet` count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) protocol: &'a str,
    pub(super) kind: &'a str,
    /// Context of the rows, where all have the same.
    pub(super) context: Option<i64>,
}

/// How the text is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Blocks {
    pub(super) tokens: usize,
    pub(super) count: usize,
}

impl Blocks {
    /// Blocks of at least `context` tokens; an error says why there are none.
    pub(super) fn new(tokens: usize, context: usize) -> std::result::Result<Self, String> {
        let count = (tokens / context.max(1)).min(MOST_BLOCKS);
        if count < FEWEST_BLOCKS {
            return Err(format!(
                "The held-out text has {tokens} scored tokens, {count} blocks of the context's {context}: fewer than the \
                 {FEWEST_BLOCKS} that it takes to say how far the text leaves the figures open."
            ));
        }
        Ok(Self { tokens, count })
    }

    /// The block of the n-th scored token, from 0.
    fn of(self, token: usize) -> usize {
        ((token + 1) * self.count - 1) / self.tokens
    }

    /// Tokens in each block.
    fn lengths(self) -> Vec<f64> {
        let mut lengths = vec![0.0; self.count];
        (0..self.tokens).for_each(|token| lengths[self.of(token)] += 1.0);
        lengths
    }
}

/// The sum of the NLL of each block in a trial's file; `None` where it does not hold exactly the scored tokens.
pub(super) fn block_sums(path: &Path, wanted: Wanted<'_>, blocks: Blocks) -> Result<Option<Vec<f64>>> {
    let frame = frames::read(path, Some(&["protocol", "checkpoint_kind", "context", "position", "nll"]))?;
    // Where both contexts, or the best and the final weights, are the same they are written once.
    for (protocol, kind) in
        [(wanted.protocol, wanted.kind), ("common", wanted.kind), (wanted.protocol, "final"), ("common", "final")]
    {
        let context = wanted.context.filter(|_| protocol == "common");
        if let Some(sums) = sums(&frame, protocol, kind, context, blocks).map_err(frames::wrong)? {
            return Ok(Some(sums));
        }
    }
    Ok(None)
}

fn sums(
    frame: &polars::prelude::DataFrame,
    protocol: &str,
    kind: &str,
    context: Option<i64>,
    blocks: Blocks,
) -> polars::prelude::PolarsResult<Option<Vec<f64>>> {
    let (protocols, kinds) = (frame.column("protocol")?.str()?, frame.column("checkpoint_kind")?.str()?);
    let (contexts, positions) = (frame.column("context")?.i64()?, frame.column("position")?.i64()?);
    let nll = frame.column("nll")?.f32()?;
    let (mut sums, mut seen) = (vec![0.0; blocks.count], 0);
    let rows = protocols.iter().zip(kinds.iter()).zip(contexts.iter()).zip(positions.iter()).zip(nll.iter());
    for ((((row_protocol, row_kind), row_context), position), nll) in rows {
        if row_protocol != Some(protocol) || row_kind != Some(kind) || (context.is_some() && row_context != context) {
            continue;
        }
        // The first token of the text is context only: the first that is scored is the second.
        let place = position.and_then(|position| usize::try_from(position - 2).ok()).filter(|&place| place < blocks.tokens);
        let (Some(place), Some(nll)) = (place, nll.filter(|nll| nll.is_finite())) else { return Ok(None) };
        sums[blocks.of(place)] += f64::from(nll);
        seen += 1;
    }
    Ok((seen == blocks.tokens).then_some(sums))
}

/// What the draws say about one configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drawn {
    /// Of its loss.
    pub(super) own: Interval,
    /// Of its difference to the leader, all of them at once; `None` for the leader.
    pub(super) difference: Option<Interval>,
}

/// Draws the text again and again. The first configuration is the leader; each is given by its block sums, seeds averaged.
pub(super) fn bootstrap(configurations: &[Vec<f64>], blocks: Blocks) -> (Text, Vec<Drawn>) {
    let lengths = blocks.lengths();
    let counts = resampling(blocks.count);
    let whole: Vec<f64> = configurations.iter().map(|sums| sums.iter().sum::<f64>() / blocks.tokens as f64).collect();
    let lengths: Vec<f64> = counts.iter().map(|drawn| product(drawn, &lengths)).collect();
    let losses = |sums: &Vec<f64>| -> Vec<f64> {
        counts.iter().zip(&lengths).map(|(drawn, length)| product(drawn, sums) / length).collect()
    };
    let losses: Vec<Vec<f64>> = configurations.iter().map(losses).collect();
    let own = losses.iter().map(|draws| {
        let mut draws = draws.clone();
        draws.sort_by(f64::total_cmp);
        Interval { lower: quantile(&draws, 0.025), upper: quantile(&draws, 0.975) }
    });
    let differences: Vec<Vec<f64>> =
        losses.iter().map(|draws| draws.iter().zip(&losses[0]).map(|(own, leader)| own - leader).collect()).collect();
    let deviations: Vec<f64> = differences.iter().map(|draws| deviation(draws)).collect();
    // All at once: how many deviations the farthest of them strays.
    let mut strays: Vec<f64> = (0..DRAWS)
        .map(|draw| {
            let stray = |place: usize| match deviations[place] {
                0.0 => 0.0,
                deviation => ((differences[place][draw] - (whole[place] - whole[0])) / deviation).abs(),
            };
            (1..differences.len()).map(stray).fold(0.0, f64::max)
        })
        .collect();
    strays.sort_by(f64::total_cmp);
    let critical = quantile(&strays, 0.95);
    let drawn = own.enumerate().map(|(place, own)| {
        let (difference, half) = (whole[place] - whole[0], critical * deviations[place]);
        let limits = Interval { lower: difference - half, upper: difference + half };
        Drawn { own, difference: (place > 0).then_some(limits) }
    });
    let text = Text {
        blocks: blocks.count,
        block_tokens: blocks.tokens / blocks.count,
        tokens: blocks.tokens,
        draws: DRAWS,
        configurations: configurations.len(),
    };
    (text, drawn.collect())
}

/// The limits over text of the mean of these differences, one a scored token, in the order of the text; and what they are made of.
pub(in crate::report) fn paired(differences: &[f64], context: usize) -> std::result::Result<(Interval, Text), String> {
    let blocks = Blocks::new(differences.len(), context)?;
    let mut sums = vec![0.0; blocks.count];
    differences.iter().enumerate().for_each(|(token, difference)| sums[blocks.of(token)] += difference);
    let (text, drawn) = bootstrap(&[vec![0.0; blocks.count], sums], blocks);
    let limits = drawn.get(1).and_then(|drawn| drawn.difference);
    limits.map(|limits| (limits, text)).ok_or_else(|| "nothing was drawn".to_owned())
}

/// How often each block is drawn, draw by draw: one matrix for all configurations, the same for every report.
fn resampling(blocks: usize) -> Vec<Vec<f64>> {
    let mut stream = Stream::new(0, "block bootstrap", &[blocks as u64]);
    let draw = |_| {
        let mut counts = vec![0.0; blocks];
        (0..blocks).for_each(|_| counts[stream.below(blocks as u64) as usize] += 1.0);
        counts
    };
    (0..DRAWS).map(draw).collect()
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

/// A quantile of sorted values, between two of them in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ParquetRecorder;
    use crate::runs::ExperimentFolder;
    use crate::train::recorder::{CheckpointKind, Protocol, Recorder, TokenNll};

    #[test]
    fn blocks_hold_every_token_once_and_are_never_shorter_than_the_context() {
        for (tokens, context, count) in [(1_000, 32, 31), (30, 1, 30), (100_000, 64, 200), (12_801, 64, 200)] {
            let blocks = Blocks::new(tokens, context).unwrap();
            assert_eq!(blocks.count, count);
            let lengths = blocks.lengths();
            assert_eq!(lengths.iter().sum::<f64>(), tokens as f64);
            assert!(lengths.iter().all(|&length| length >= context as f64), "{tokens} {context}");
        }
        let reason = Blocks::new(900, 32).unwrap_err();
        assert!(reason.contains("28 blocks of the context's 32"), "{reason}");
    }

    /// Block sums of texts of known scatter: a page's difficulty, shared by all, and what is a configuration's own.
    fn sums(number: u64, blocks: Blocks, means: &[f64], own: f64) -> Vec<Vec<f64>> {
        let mut stream = Stream::new(number, "synthetic text", &[]);
        let pages: Vec<f64> = (0..blocks.count).map(|_| stream.normal()).collect();
        let lengths = blocks.lengths();
        let one = |mean: &f64| -> Vec<f64> {
            pages.iter().zip(&lengths).map(|(page, length)| length * (mean + 0.3 * page + own * stream.normal())).collect()
        };
        means.iter().map(one).collect()
    }

    #[test]
    fn the_limits_hold_about_as_often_as_they_say() {
        let blocks = Blocks::new(6_400, 64).unwrap();
        let (truth, experiments) = ([2.0, 2.01, 2.02, 2.2], 300);
        let (mut own, mut all) = (0, 0);
        for number in 0..experiments {
            let (_, drawn) = bootstrap(&sums(number, blocks, &truth, 0.05), blocks);
            own += usize::from(drawn[0].own.lower <= truth[0] && truth[0] <= drawn[0].own.upper);
            let holds = |(drawn, mean): (&Drawn, &f64)| {
                drawn.difference.is_none_or(|d| d.lower <= mean - truth[0] && mean - truth[0] <= d.upper)
            };
            all += usize::from(drawn.iter().zip(&truth).all(holds));
        }
        println!("100 blocks: own loss covered {own}, all differences at once {all} of {experiments}");
        assert!((270..=297).contains(&own) && (270..=297).contains(&all), "{own} {all}");
    }

    #[test]
    fn what_a_page_does_to_all_alike_drops_out_of_differences() {
        let blocks = Blocks::new(6_400, 64).unwrap();
        let (text, drawn) = bootstrap(&sums(1, blocks, &[2.0, 2.1], 0.0), blocks);
        let difference = drawn[1].difference.unwrap();
        assert!((difference.upper - difference.lower) < 1e-9 && (difference.lower - 0.1).abs() < 1e-9);
        assert!(drawn[1].own.upper - drawn[1].own.lower > 0.05);
        assert_eq!((text.blocks, text.block_tokens, text.configurations), (100, 64, 2));
    }

    #[test]
    fn the_same_blocks_give_the_same_limits() {
        let blocks = Blocks::new(6_400, 64).unwrap();
        let sums = sums(1, blocks, &[2.0, 2.1], 0.1);
        assert_eq!(bootstrap(&sums, blocks), bootstrap(&sums, blocks));
    }

    #[test]
    fn block_sums_are_those_of_the_rows_that_count() {
        let dir = tempfile::tempdir().unwrap();
        let plan = crate::record::tests::plan(&[32], &[crate::experiment::settings::ClipNorm::Off], &[1]);
        let folder = ExperimentFolder::at(dir.path()).trial(&plan.trials[0].id);
        std::fs::create_dir_all(folder.path()).unwrap();
        let mut recorder = ParquetRecorder::open(&folder, &plan.trials[0].id).unwrap();
        let tokens = 90;
        for (protocol, kind, nll) in [
            (Protocol::Common, CheckpointKind::Final, 1.0),
            (Protocol::Native, CheckpointKind::Final, 2.0),
            (Protocol::Common, CheckpointKind::Best, 3.0),
        ] {
            let context = if protocol == Protocol::Common { 2 } else { 4 };
            let scores = TokenNll {
                protocol,
                context,
                stride: 1,
                kind,
                positions: (2..2 + tokens).collect(),
                tokens: vec![7; tokens as usize],
                nll: vec![nll; tokens as usize],
            };
            recorder.token_nll(&scores).unwrap();
        }
        recorder.finish().unwrap();
        let blocks = Blocks::new(tokens as usize, 3).unwrap();
        let read = |protocol, kind, context| {
            block_sums(&folder.token_nll(), Wanted { protocol, kind, context }, blocks).unwrap().map(|sums| sums[29])
        };
        assert_eq!(read("common", "final", Some(2)), Some(3.0));
        assert_eq!(read("native", "final", Some(2)), Some(6.0));
        assert_eq!(read("common", "best", None), Some(9.0));
        assert_eq!(read("native", "best", None), Some(9.0), "the native context is not there twice");
        assert_eq!(read("common", "final", Some(16)), None, "scored at another context");
        let more = Blocks::new(91, 3).unwrap();
        let wanted = Wanted { protocol: "common", kind: "final", context: None };
        assert_eq!(block_sums(&folder.token_nll(), wanted, more).unwrap(), None, "other tokens were scored");
    }
}
