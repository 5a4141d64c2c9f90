//! The NLL of each scored token, from the files of the trials: what the noise of the text is found from.

use std::path::Path;

use super::super::comparison::{Comparison, TrialLine};
use super::super::design::Design;
use super::super::frames;
use super::text::{self, Noise};
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::ExperimentFolder;

/// Configurations that are looked at: the leader and those nearest to it.
const MOST_CONFIGURATIONS: usize = 50;
/// Scored tokens that are read in all, so that a report on a long text stays quick and small.
const MOST_TOKENS: usize = 10_000_000;

/// The noise of the text in the differences of these configurations: each with its number and its seeds, the leader first and the nearest
/// next. An error says in a sentence why nothing is said. Files that cannot be read are listed.
pub(super) fn noise_of_text(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    design: &Design,
    order: &[(i64, usize)],
    damaged: &mut Vec<String>,
) -> std::result::Result<Noise, String> {
    if order.len() < 2 {
        return Err("One configuration has no difference to another that the text could make noisy.".to_owned());
    }
    if comparison.by_bytes {
        return Err(
            "Tokenizers differ, so that configurations do not predict the same tokens: the noise of the text is not counted."
                .to_owned(),
        );
    }
    let Some(tokens) = comparison.scored_tokens.and_then(|tokens| usize::try_from(tokens).ok()) else {
        return Err("It is not known which tokens were scored: the noise of the text is not counted.".to_owned());
    };
    let wanted = Wanted { protocol: design.rank_by(), kind: design.rank_at(), context: comparison.common_context };
    let mut series = Vec::new();
    for (place, (number, seeds)) in to_read(order, tokens).into_iter().enumerate() {
        match of_configuration(folder, comparison, (number, seeds), wanted, tokens, damaged) {
            Some(own) => series.push((number, own)),
            None if place == 0 => {
                return Err(
                    "The NLL of each token of the leader is not on disk: the noise of the text is not counted.".to_owned()
                );
            }
            None => {}
        }
    }
    text::noise(&series)
}

/// Which of these configurations are read, and how many seeds of each at most: rather fewer seeds than fewer configurations, since fewer
/// seeds make the noise larger, and of what is not read it is not known.
fn to_read(order: &[(i64, usize)], tokens: usize) -> Vec<(i64, usize)> {
    let series = MOST_TOKENS / tokens.max(1);
    let kept = &order[..order.len().min(series.clamp(2, MOST_CONFIGURATIONS))];
    let all = |most: usize| kept.iter().map(|(_, seeds)| *seeds.min(&most)).sum::<usize>();
    let seeds = kept.iter().map(|(_, seeds)| *seeds).max().unwrap_or(0);
    let most = (1..=seeds).rev().find(|most| all(*most) <= series).unwrap_or(1);
    kept.iter().map(|&(number, seeds)| (number, seeds.min(most))).collect()
}

/// The NLL of each scored token of a configuration (by number), averaged over so many of its seeds; `None` where one is missing.
fn of_configuration(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    (number, seeds): (i64, usize),
    wanted: Wanted<'_>,
    tokens: usize,
    damaged: &mut Vec<String>,
) -> Option<Vec<f32>> {
    let trials = comparison.trials.iter().filter(|t| t.configuration == number && t.counts);
    let trials: Vec<&TrialLine> = trials.take(seeds).collect();
    let mut mean = vec![0.0; tokens];
    for trial in &trials {
        // A trial that was not trained itself may have left its tokens with the one that was.
        let ids = std::iter::once(&trial.id).chain(&trial.alias_of).filter_map(|id| TrialId::parse(id));
        let path = ids.map(|id| folder.trial(&id).token_nll()).find(|path| path.exists())?;
        match token_nll(&path, wanted, tokens) {
            Ok(own) => mean.iter_mut().zip(own?).for_each(|(mean, own)| *mean += own / trials.len() as f32),
            Err(error) => {
                damaged.push(error.chain());
                return None;
            }
        }
    }
    (!trials.is_empty()).then_some(mean)
}

/// Which rows of `token_nll.parquet` count.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    protocol: &'a str,
    kind: &'a str,
    /// Context of the rows, where all have the same.
    context: Option<i64>,
}

/// The NLL of each scored token in a trial's file, in the order of the text; `None` where it does not hold exactly these many.
fn token_nll(path: &Path, wanted: Wanted<'_>, tokens: usize) -> Result<Option<Vec<f32>>> {
    let frame = frames::read(path, Some(&["protocol", "checkpoint_kind", "context", "position", "nll"]))?;
    // Where both contexts, or the best and the final weights, are the same they are written once.
    for (protocol, kind) in
        [(wanted.protocol, wanted.kind), ("common", wanted.kind), (wanted.protocol, "final"), ("common", "final")]
    {
        let context = wanted.context.filter(|_| protocol == "common");
        if let Some(found) = rows(&frame, protocol, kind, context, tokens).map_err(frames::wrong)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn rows(
    frame: &polars::prelude::DataFrame,
    protocol: &str,
    kind: &str,
    context: Option<i64>,
    tokens: usize,
) -> polars::prelude::PolarsResult<Option<Vec<f32>>> {
    let (protocols, kinds) = (frame.column("protocol")?.str()?, frame.column("checkpoint_kind")?.str()?);
    let (contexts, positions) = (frame.column("context")?.i64()?, frame.column("position")?.i64()?);
    let nll = frame.column("nll")?.f32()?;
    let mut found = vec![f32::NAN; tokens];
    let rows = protocols.iter().zip(kinds.iter()).zip(contexts.iter()).zip(positions.iter()).zip(nll.iter());
    for ((((row_protocol, row_kind), row_context), position), nll) in rows {
        if row_protocol != Some(protocol) || row_kind != Some(kind) || (context.is_some() && row_context != context) {
            continue;
        }
        // The first token of the text is context only: the first that is scored is the second.
        let place = position.and_then(|position| usize::try_from(position - 2).ok());
        match (place.and_then(|place| found.get_mut(place)), nll) {
            (Some(value), Some(nll)) => *value = nll,
            _ => return Ok(None),
        }
    }
    Ok(found.iter().all(|value| value.is_finite()).then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ParquetRecorder;
    use crate::rows::{CheckpointKind, Protocol, Recorder, TokenNll};

    #[test]
    fn of_a_long_text_fewer_seeds_are_read_before_fewer_configurations() {
        let five = |count: i64| (1..=count).map(|number| (number, 5)).collect::<Vec<_>>();
        assert_eq!(to_read(&five(3), 1_000), five(3));
        assert_eq!(to_read(&five(3), 1_000_000), [(1, 3), (2, 3), (3, 3)]);
        assert_eq!(to_read(&[(1, 1), (2, 8), (3, 1)], 1_000_000), [(1, 1), (2, 8), (3, 1)], "all of it, as far as there is room");
        assert_eq!(to_read(&five(12), 1_000_000), (1..=10).map(|number| (number, 1)).collect::<Vec<_>>());
        assert_eq!(to_read(&five(3), 100_000_000), [(1, 1), (2, 1)], "a difference takes two");
        assert_eq!(to_read(&five(60), 10).len(), MOST_CONFIGURATIONS);
    }

    #[test]
    fn the_nll_of_each_token_is_that_of_the_rows_that_count_in_the_order_of_the_text() {
        let dir = tempfile::tempdir().unwrap();
        let plan = crate::record::tests::plan(&[32], &[crate::experiment::settings::ClipNorm::Off], &[1]);
        let folder = ExperimentFolder::at(dir.path()).trial(&plan.trials[0].id);
        std::fs::create_dir_all(folder.path()).unwrap();
        let mut recorder = ParquetRecorder::open(&folder, &plan.trials[0].id).unwrap();
        let tokens = 90;
        for (protocol, kind, first) in [
            (Protocol::Common, CheckpointKind::Final, 100.0),
            (Protocol::Native, CheckpointKind::Final, 200.0),
            (Protocol::Common, CheckpointKind::Best, 300.0),
        ] {
            let context = if protocol == Protocol::Common { 2 } else { 4 };
            let scores = TokenNll {
                protocol,
                context,
                stride: 1,
                kind,
                // The last token first.
                positions: (2..2 + tokens as i64).rev().collect(),
                tokens: vec![7; tokens],
                nll: (0..tokens).rev().map(|place| first + place as f32).collect(),
            };
            recorder.token_nll(&scores).unwrap();
        }
        recorder.finish().unwrap();
        let read = |protocol, kind, context, tokens| {
            let found = token_nll(&folder.token_nll(), Wanted { protocol, kind, context }, tokens).unwrap();
            found.map(|nll| (nll[0], nll[89]))
        };
        assert_eq!(read("common", "final", Some(2), tokens), Some((100.0, 189.0)));
        assert_eq!(read("native", "final", Some(2), tokens), Some((200.0, 289.0)));
        assert_eq!(read("common", "best", None, tokens), Some((300.0, 389.0)));
        assert_eq!(read("native", "best", None, tokens), Some((300.0, 389.0)), "the native context is not there twice");
        assert_eq!(read("common", "final", Some(16), tokens), None, "scored at another context");
        assert_eq!(read("common", "final", None, tokens + 1), None, "fewer tokens were scored");
        assert_eq!(read("common", "final", None, tokens - 1), None, "more tokens were scored");
    }
}
