//! How far the held-out text itself leaves a difference open: a bootstrap over blocks of the per-token differences.

use polars::prelude::DataFrame;

use super::Pair;
use crate::error::Result;
use crate::plan::TrialId;
use crate::report::frames::{integers, numbers, read, words};
use crate::report::statistics::{Interval, paired};
use crate::runs::ExperimentFolder;

/// The interval over text, and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct OverText {
    pub(super) interval: Interval,
    /// Scored tokens.
    pub(super) tokens: usize,
    /// Blocks that were drawn from.
    pub(super) blocks: usize,
}

/// The NLL of each scored token of a trial.
struct Scored {
    positions: Vec<i64>,
    tokens: Vec<i64>,
    nll: Vec<f64>,
}

/// The interval over text of a pair, or why there is none. Files that cannot be read are listed.
pub(super) fn over_text(pair: &Pair, damaged: &mut Vec<String>) -> Result<OverText, String> {
    if pair.by_bytes {
        return Err("the two have different tokens, which cannot be paired".to_owned());
    }
    let (first, second) = (&pair.first, &pair.second);
    let (a, b): (Vec<_>, Vec<_>) = (first.subjects.iter().collect(), second.subjects.iter().collect());
    let mut positions: Option<(Vec<i64>, Vec<i64>)> = None;
    let (mut sums, mut count) = (Vec::<f64>::new(), 0.0);
    for (x, y) in super::pairs(&a, &b) {
        let one = scored(&first.folder, &x.id, first.score, damaged);
        let other = scored(&second.folder, &y.id, second.score, damaged);
        let (Some(one), Some(other)) = (one, other) else { continue };
        if one.positions != other.positions || one.tokens != other.tokens {
            return Err("the two were scored on different tokens".to_owned());
        }
        let here = (one.positions, one.tokens);
        match &positions {
            None => (sums, positions) = (vec![0.0; one.nll.len()], Some(here)),
            Some(known) if *known != here => return Err("its trials were scored on different tokens".to_owned()),
            Some(_) => {}
        }
        for ((sum, x), y) in sums.iter_mut().zip(&one.nll).zip(&other.nll) {
            *sum += x - y;
        }
        count += 1.0;
    }
    if positions.is_none() {
        return Err("no pair of trials has its NLL token by token".to_owned());
    }
    sums.iter_mut().for_each(|sum| *sum /= count);
    let context = a.iter().chain(&b).filter_map(|s| s.common_context).max().unwrap_or(1);
    resampled(&sums, usize::try_from(context).unwrap_or(1))
}

/// The scored tokens of a trial by this score; `None` where it has none.
fn scored(folder: &ExperimentFolder, id: &str, score: &str, damaged: &mut Vec<String>) -> Option<Scored> {
    let path = folder.trial(&TrialId::parse(id)?).token_nll();
    if !path.exists() {
        return None;
    }
    let columns = ["protocol", "checkpoint_kind", "position", "token", "nll"];
    let found = read(&path, Some(&columns)).and_then(|frame| of_score(&frame, score));
    found.unwrap_or_else(|error| {
        damaged.push(error.chain());
        None
    })
}

fn of_score(frame: &DataFrame, score: &str) -> Result<Option<Scored>> {
    let (protocol, kind) = (words(frame, "protocol")?, words(frame, "checkpoint_kind")?);
    let (position, token, nll) = (integers(frame, "position")?, integers(frame, "token")?, numbers(frame, "nll")?);
    let (kinds, protocols): (&[&str], &[&str]) = match score {
        // What is the same is scored once: the best weights may be the final ones, the own context the common one.
        "best_native" => (&["best", "final"], &["native", "common"]),
        "best_common" => (&["best", "final"], &["common"]),
        "native" => (&["final"], &["native", "common"]),
        _ => (&["final"], &["common"]),
    };
    for wanted_kind in kinds {
        for wanted in protocols {
            let mut rows: Vec<usize> = (0..frame.height())
                .filter(|&row| kind[row].as_deref() == Some(wanted_kind) && protocol[row].as_deref() == Some(wanted))
                .collect();
            if rows.is_empty() {
                continue;
            }
            rows.sort_by_key(|&row| position[row]);
            let mut scored = Scored { positions: Vec::new(), tokens: Vec::new(), nll: Vec::new() };
            for row in rows {
                let (Some(position), Some(token), Some(nll)) = (position[row], token[row], nll[row]) else { return Ok(None) };
                scored.positions.push(position);
                scored.tokens.push(token);
                scored.nll.push(nll);
            }
            return Ok(Some(scored));
        }
    }
    Ok(None)
}

/// The 95 % limits of the mean difference over texts put together from blocks of at least a context.
fn resampled(differences: &[f64], context: usize) -> Result<OverText, String> {
    let (interval, text) = paired(differences, context).map_err(|why| clause(&why))?;
    Ok(OverText { interval, tokens: text.tokens, blocks: text.blocks })
}

/// A sentence as a part of another one.
fn clause(sentence: &str) -> String {
    let mut letters = sentence.trim_end_matches('.').chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn the_interval_over_text_is_that_of_independent_blocks() {
        let mut stream = Stream::new(7, "test", &[]);
        let differences: Vec<f64> = (0..64_000).map(|_| 0.1 + stream.normal()).collect();
        let found = resampled(&differences, 32).unwrap();
        let (half, expected) = ((found.interval.upper - found.interval.lower) / 2.0, 1.96 / (64_000f64).sqrt());
        assert!((half / expected - 1.0).abs() < 0.15, "{half} {expected}");
        let mean = differences.iter().sum::<f64>() / 64_000.0;
        assert!(found.interval.lower < mean && mean < found.interval.upper);
        assert_eq!((found.tokens, found.blocks), (64_000, 200));
    }

    #[test]
    fn tokens_that_go_together_make_the_interval_wider() {
        let mut stream = Stream::new(7, "test", &[]);
        // Runs of 50 equal differences: a text has as many independent pieces as it has runs.
        let differences: Vec<f64> = (0..1_000).flat_map(|_| vec![stream.normal(); 50]).collect();
        let found = resampled(&differences, 64).unwrap();
        let half = (found.interval.upper - found.interval.lower) / 2.0;
        assert!(half > 0.7 * 1.96 / (1_000f64).sqrt(), "{half}");
    }

    #[test]
    fn under_thirty_blocks_none_is_given() {
        let why = resampled(&vec![0.0; 29 * 64 + 63], 64).unwrap_err();
        assert!(why.starts_with("the held-out text has 1919 scored tokens, 29 blocks") && !why.ends_with('.'), "{why}");
        assert!(resampled(&vec![0.0; 30 * 64], 64).is_ok());
    }
}
