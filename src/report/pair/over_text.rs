//! The noise of the held-out text in a difference: from the scatter of blocks of the per-token differences.

use polars::prelude::DataFrame;

use super::side::{Side, pairs};
use crate::error::Result;
use crate::plan::TrialId;
use crate::report::frames::{integers, numbers, read, words};
use crate::report::statistics::{Text, paired};
use crate::runs::ExperimentFolder;

/// The noise of this one stretch of text in a difference, and what it was found from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OverText {
    /// Variance of the mean difference over the scored tokens.
    pub(super) variance: f64,
    pub(super) text: Text,
}

impl OverText {
    /// From the difference of each scored token, in the order of the text.
    fn new(differences: &[f64]) -> Result<Self, String> {
        let (variance, text) = paired(differences).map_err(|why| clause(&why))?;
        Ok(Self { variance, text })
    }
}

/// The NLL of each scored token of a trial.
struct Scored {
    positions: Vec<i64>,
    tokens: Vec<i64>,
    nll: Vec<f64>,
}

/// The noise of the text in the difference of two sides that have the same tokenizer, or why it is not known. Files that cannot be read
/// are listed.
pub(super) fn over_text(first: &Side, second: &Side, damaged: &mut Vec<String>) -> Result<OverText, String> {
    let (a, b): (Vec<_>, Vec<_>) = (first.subjects.iter().collect(), second.subjects.iter().collect());
    let mut positions: Option<(Vec<i64>, Vec<i64>)> = None;
    let (mut sums, mut count) = (Vec::<f64>::new(), 0.0);
    for (x, y) in pairs(&a, &b) {
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
    OverText::new(&sums)
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

/// A sentence as a part of another one.
pub(super) fn clause(sentence: &str) -> String {
    let mut letters = sentence.trim_end_matches('.').chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn the_noise_is_that_of_independent_tokens() {
        let mut stream = Stream::new(7, "test", &[]);
        let differences: Vec<f64> = (0..64_000).map(|_| 0.1 + stream.normal()).collect();
        let found = OverText::new(&differences).unwrap();
        let (error, expected) = (found.variance.sqrt(), 1.0 / (64_000f64).sqrt());
        assert!((error / expected - 1.0).abs() < 0.05, "{error} {expected}");
        assert_eq!(found.text.tokens, 64_000);
    }

    #[test]
    fn tokens_that_go_together_make_it_larger() {
        let mut stream = Stream::new(7, "test", &[]);
        // Runs of 50 equal differences: a text has as many independent pieces as it has runs.
        let differences: Vec<f64> = (0..1_000).flat_map(|_| vec![stream.normal(); 50]).collect();
        let (error, expected) = (OverText::new(&differences).unwrap().variance.sqrt(), 1.0 / (1_000f64).sqrt());
        assert!((error / expected - 1.0).abs() < 0.15, "{error} {expected}");
    }

    #[test]
    fn of_a_text_that_is_too_short_none_is_given_and_why_is_part_of_a_sentence() {
        let why = OverText::new(&[0.0; 29]).unwrap_err();
        assert!(why.starts_with("the held-out text is too short for its noise to be known: its 29 scored tokens make"), "{why}");
        assert!(!why.ends_with('.'), "{why}");
        assert!(OverText::new(&[0.0; 30]).is_ok());
    }
}
