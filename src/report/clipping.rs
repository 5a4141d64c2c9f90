//! What the clip norms did: which never bound, and which clipped most steps.

use std::collections::BTreeMap;

use polars::prelude::DataFrame;

use super::frames::{numbers, words};
use super::words::count;

/// From this share of clipped steps on a clip norm is more than a guard against a few large gradients.
const MOSTLY: f64 = 0.5;

/// The trials of one clip norm.
#[derive(Debug, Default)]
struct Limit {
    trials: usize,
    never: usize,
    share: f64,
}

/// Notes on the clip norms of these trials; none where the table does not say how often they were clipped.
pub(super) fn notes(frame: &DataFrame) -> Vec<String> {
    let (Ok(limits), Ok(shares)) = (numbers(frame, "train_clip_norm"), numbers(frame, "clipped_share")) else {
        return Vec::new();
    };
    // By their bits: for numbers above 0 that is their order. `off` is null, and measures only.
    let mut by_limit: BTreeMap<Option<u64>, Limit> = BTreeMap::new();
    for (limit, share) in limits.iter().zip(&shares) {
        let Some(share) = share else { continue };
        let entry = by_limit.entry(limit.map(f64::to_bits)).or_default();
        entry.trials += 1;
        entry.never += usize::from(*share == 0.0);
        entry.share += share;
    }
    let off = by_limit.remove(&None).is_some();
    let named = |bits: &Option<u64>| bits.map(|bits| f64::from_bits(bits).to_string()).unwrap_or_default();
    let never: Vec<String> = by_limit.iter().filter(|(_, l)| l.never == l.trials).map(|(limit, _)| named(limit)).collect();
    let mut notes: Vec<String> = not_binding(&never, off).into_iter().collect();
    for (limit, Limit { trials, share, .. }) in &by_limit {
        let share = share / *trials as f64;
        if share > MOSTLY {
            notes.push(format!(
                "Clip norm {} clipped {:.0} % of the steps (mean over its trials): there it acts as a lower learning rate, as far as \
                 AdamW does not scale it away, rather than as a guard against a few large gradients.",
                named(limit),
                100.0 * share
            ));
        }
    }
    notes.extend(aliases(frame));
    notes
}

/// Of clip norms that changed nothing.
fn not_binding(never: &[String], off: bool) -> Option<String> {
    let list = match never {
        [] => return None,
        [only] => format!("Clip norm {only}"),
        [first @ .., last] => format!("Clip norms {} and {last}", first.join(", ")),
    };
    let trials = if never.len() == 1 { "all its trials" } else { "all their trials" };
    Some(match (off, never.len()) {
        (true, _) => format!("{list} never bound: {trials} are those of `off`."),
        (false, 1) => format!("{list} never bound: not binding, no step was clipped."),
        (false, _) => format!("{list} never bound: no step was clipped, and their trials are the same."),
    })
}

/// Trials that were not trained since one with another clip norm is the same.
fn aliases(frame: &DataFrame) -> Option<String> {
    let (ids, sources) = (words(frame, "trial_id").ok()?, words(frame, "alias_of").ok()?);
    let limits = numbers(frame, "train_clip_norm").ok()?;
    let limit_of: BTreeMap<&String, Option<f64>> =
        ids.iter().zip(&limits).filter_map(|(id, limit)| Some((id.as_ref()?, *limit))).collect();
    // A source that is not planned any more had another one: with an equal tokenizer it would have been planned again.
    let other = |(source, own): (&Option<String>, &Option<f64>)| source.as_ref().is_some_and(|s| limit_of.get(s) != Some(own));
    let aliases = sources.iter().zip(&limits).filter(|&both| other(both)).count();
    let (was, it) = if aliases == 1 { ("was", "it is") } else { ("were", "each is") };
    (aliases > 0).then(|| {
        format!(
            "{} {was} not trained again: {it} the same, to the bit, as a trial with another clip norm, and counts as a seed of its \
             configuration.",
            count(aliases, "trial")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::record::tests::{completed, plan, waiting};
    use crate::record::{TrialState, write_trials};
    use crate::report::frames;
    use crate::runs::Clipping;

    /// The notes on trials of these clip norms, of which so many of a hundred steps were clipped; `None` waits.
    fn noted(limits: &[ClipNorm], clipped: &[Option<usize>], aliases: &[usize]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.parquet");
        let plan = plan(&[32], limits, &(1..=(clipped.len() / limits.len()) as u64).collect::<Vec<_>>());
        let state = |(n, clipped): (usize, &Option<usize>)| -> TrialState {
            let Some(clipped) = clipped else { return waiting() };
            let mut state = completed(2.0, None);
            let outcome = state.outcome.as_mut().unwrap();
            outcome.clipping = Clipping::of(vec![1.0; 100], *clipped);
            outcome.alias_of = aliases.contains(&n).then(|| plan.trials[0].id.clone());
            state
        };
        let states: Vec<TrialState> = clipped.iter().enumerate().map(state).collect();
        write_trials(&path, &plan, &states).unwrap();
        notes(&frames::read(&path, None).unwrap())
    }

    #[test]
    fn a_clip_norm_that_never_bound_is_told() {
        let (off, one, ten) = (ClipNorm::Off, ClipNorm::At(1.0), ClipNorm::At(10.0));
        assert_eq!(noted(&[off, one], &[Some(0), Some(0)], &[]), ["Clip norm 1 never bound: all its trials are those of `off`."]);
        assert_eq!(
            noted(&[ten, one], &[Some(0), Some(0)], &[]),
            ["Clip norms 1 and 10 never bound: no step was clipped, and their trials are the same."]
        );
        assert_eq!(noted(&[one], &[Some(0), None], &[]), ["Clip norm 1 never bound: not binding, no step was clipped."]);
        assert_eq!(
            noted(&[off, ten, one], &[Some(0), Some(0), Some(0), Some(0), Some(0), Some(1)], &[2]),
            [
                "Clip norm 10 never bound: all its trials are those of `off`.",
                "1 trial was not trained again: it is the same, to the bit, as a trial with another clip norm, and counts as a seed of \
                 its configuration.",
            ]
        );
    }

    #[test]
    fn one_that_clips_most_steps_is_told_and_others_are_not() {
        let (off, tenth) = (ClipNorm::Off, ClipNorm::At(0.1));
        assert!(noted(&[off, tenth], &[Some(0), Some(0), Some(30), Some(70)], &[]).is_empty(), "half of the steps");
        let notes = noted(&[off, tenth], &[Some(0), Some(0), Some(90), Some(96)], &[]);
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].starts_with(
                "Clip norm 0.1 clipped 93 % of the steps (mean over its trials): there it acts as a lower learning rate"
            ),
            "{notes:?}"
        );
        assert!(noted(&[off], &[Some(0), None], &[]).is_empty());
        assert!(noted(&[off, tenth], &[None, None], &[]).is_empty());
    }

    #[test]
    fn an_older_table_without_these_columns_has_no_notes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.parquet");
        crate::record::write_plan(&path, &plan(&[32], &[ClipNorm::At(1.0)], &[1])).unwrap();
        assert!(notes(&frames::read(&path, None).unwrap()).is_empty());
    }
}
