//! What the clip norms did: which never bound, and which clipped most steps.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Settings;
use super::trial_row::TrialRow;
use crate::words::{capital, counted, listed, thousands};

/// Clip norms that clipped a larger share of the steps are told.
const MOSTLY: f64 = 0.5;

/// The trials of one clip norm.
#[derive(Debug, Default)]
struct Limit<'a> {
    /// Other settings and seed of each.
    beside: BTreeSet<(Vec<&'a str>, Option<i64>)>,
    trials: usize,
    never: usize,
    share: f64,
    /// The median gradient norm of each trial as a multiple of the limit, where it is known.
    medians: Vec<f64>,
}

/// Notes on the clip norms of these trials with these settings; none where the table does not say how often they were clipped.
pub(super) fn notes(trials: &[TrialRow], settings: &Settings) -> Vec<String> {
    // By their bits: for numbers above 0 that is their order. `off` is null, and measures only.
    let mut by_limit: BTreeMap<Option<u64>, Limit<'_>> = BTreeMap::new();
    for trial in trials {
        let (limit, Some(share)) = (trial.clip_norm, trial.clipped_share) else { continue };
        let entry = by_limit.entry(limit.map(f64::to_bits)).or_default();
        let beside = trial.configuration.and_then(|number| settings.beside(number, "train_clip_norm"));
        entry.beside.insert((beside.unwrap_or_default(), trial.seed));
        entry.trials += 1;
        entry.never += usize::from(share == 0.0);
        entry.share += share;
        entry.medians.extend(trial.median_gradient_norm.zip(limit).map(|(median, limit)| median / limit));
    }
    let off = by_limit.remove(&None);
    let named = |bits: &Option<u64>| bits.map(|bits| f64::from_bits(bits).to_string()).unwrap_or_default();
    let never = by_limit.iter().filter(|(_, l)| l.never == l.trials).map(|(limit, own)| (named(limit), own));
    let mut notes: Vec<String> = not_binding(&never.collect::<Vec<_>>(), off.as_ref()).into_iter().collect();
    notes.extend(binding(by_limit.iter().map(|(bits, limit)| (named(bits), limit))));
    notes.extend(aliases(trials));
    notes
}

/// Of clip norms that clipped most steps: what is seen, and that it is no smaller step.
fn binding<'a>(limits: impl Iterator<Item = (String, &'a Limit<'a>)>) -> Option<String> {
    let mostly = limits.filter(|(_, limit)| limit.share / limit.trials as f64 > MOSTLY);
    let told = |(name, limit): (String, &Limit<'_>)| {
        let median = limit.medians.iter().sum::<f64>() / limit.medians.len() as f64;
        let by = match median {
            // None of its trials has one.
            m if m.is_nan() => String::new(),
            m if m < 10.0 => format!(" (median gradient norm {m:.1} times the limit)"),
            m => format!(" (median gradient norm {} times the limit)", thousands(m.round() as i64)),
        };
        format!("clip norm {name} clipped {:.0} % of the steps{by}", 100.0 * limit.share / limit.trials as f64)
    };
    let list: Vec<String> = mostly.map(told).collect();
    (!list.is_empty()).then(|| {
        format!(
            "{}; means over trials. This is no smaller learning rate: AdamW divides by the gradients' own size, so what is cut from all \
             steps alike has no effect.",
            capital(&listed(&list))
        )
    })
}

/// Of clip norms that changed nothing. Their trials are those of `off`, or the same, where each has one there with its other settings and
/// its seed.
fn not_binding(never: &[(String, &Limit<'_>)], off: Option<&Limit<'_>>) -> Option<String> {
    let names: Vec<&str> = never.iter().map(|(name, _)| name.as_str()).collect();
    let list = match names.as_slice() {
        [] => return None,
        [only] => format!("Clip norm {only}"),
        [first @ .., last] => format!("Clip norms {} and {last}", first.join(", ")),
    };
    let trials = if never.len() == 1 { "all its trials" } else { "all their trials" };
    let are_those_of = |other: &Limit<'_>| never.iter().all(|(_, own)| own.beside.is_subset(&other.beside));
    let are_the_same = never.iter().all(|(_, own)| are_those_of(own));
    Some(match (off, never.len()) {
        (Some(off), _) if are_those_of(off) => format!("{list} never bound: {trials} are those of `off`."),
        (None, 1) => format!("{list} never bound: not binding, no step was clipped."),
        (None, _) if are_the_same => format!("{list} never bound: no step was clipped, and their trials are the same."),
        _ => format!("{list} never bound: no step was clipped."),
    })
}

/// Trials that were not trained since one with another clip norm is the same.
fn aliases(trials: &[TrialRow]) -> Option<String> {
    let limit_of: BTreeMap<&String, Option<f64>> = trials.iter().map(|trial| (&trial.id, trial.clip_norm)).collect();
    // A source that is not planned any more had another one: with an equal tokenizer it would have been planned again.
    let has_another =
        |trial: &&TrialRow| trial.alias_of.as_ref().is_some_and(|source| limit_of.get(source) != Some(&trial.clip_norm));
    let aliases = trials.iter().filter(has_another).count();
    let (was, it) = if aliases == 1 { ("was", "it is") } else { ("were", "each is") };
    (aliases > 0).then(|| {
        format!(
            "{} {was} not trained again: {it} the same, to the bit, as a trial with another clip norm, and counts as a seed of its \
             configuration.",
            counted(aliases, "trial")
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
    use crate::report::trials::Trials;
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
        read(frames::read(&path, None).unwrap())
    }

    fn read(frame: polars::prelude::DataFrame) -> Vec<String> {
        let trials = Trials::of(frame).unwrap();
        notes(trials.rows(), &Settings::read(&trials).unwrap())
    }

    #[test]
    fn trials_with_other_settings_than_those_of_off_are_not_called_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.parquet");
        let told = |lengths: &[usize], limits: &[ClipNorm], kept: &[(usize, ClipNorm)]| {
            let mut plan = plan(lengths, limits, &[1]);
            plan.trials.retain(|trial| kept.contains(&(trial.settings.train.sequence_length, trial.settings.train.clip_norm)));
            let mut state = completed(2.0, None);
            state.outcome.as_mut().unwrap().clipping = Clipping::of(vec![1.0; 100], 0);
            write_trials(&path, &plan, &vec![state; plan.trials.len()]).unwrap();
            read(frames::read(&path, None).unwrap())
        };
        let (off, one, ten) = (ClipNorm::Off, ClipNorm::At(1.0), ClipNorm::At(10.0));
        assert_eq!(told(&[32, 64], &[off, one], &[(32, off), (64, one)]), ["Clip norm 1 never bound: no step was clipped."]);
        assert_eq!(
            told(&[32, 64], &[one, ten], &[(32, one), (64, ten)]),
            ["Clip norms 1 and 10 never bound: no step was clipped."]
        );
        assert_eq!(
            told(&[32, 64], &[off, one], &[(32, off), (64, off), (64, one)]),
            ["Clip norm 1 never bound: all its trials are those of `off`."]
        );
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
        let not_a_lower_rate = "This is no smaller learning rate: AdamW divides by the gradients' own size, so what is cut from all steps \
                                alike has no effect.";
        assert_eq!(
            notes,
            [format!(
                "Clip norm 0.1 clipped 93 % of the steps (median gradient norm 10 times the limit); means over trials. {not_a_lower_rate}"
            )]
        );
        assert_eq!(
            noted(&[ClipNorm::At(0.5), tenth], &[Some(60), Some(100)], &[]),
            [format!(
                "Clip norm 0.1 clipped 100 % of the steps (median gradient norm 10 times the limit) and clip norm 0.5 clipped 60 % of the \
                 steps (median gradient norm 2.0 times the limit); means over trials. {not_a_lower_rate}"
            )]
        );
        assert!(noted(&[off], &[Some(0), None], &[]).is_empty());
        assert!(noted(&[off, tenth], &[None, None], &[]).is_empty());
    }

    #[test]
    fn an_older_table_without_these_columns_has_no_notes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.parquet");
        let mut state = completed(2.0, None);
        state.outcome.as_mut().unwrap().clipping = Clipping::of(vec![1.0; 100], 0);
        write_trials(&path, &plan(&[32], &[ClipNorm::At(1.0)], &[1]), &[state]).unwrap();
        let frame = frames::read(&path, None).unwrap();
        assert_eq!(read(frame.clone()).len(), 1);
        assert!(read(frame.drop_many(["clipped_share", "grad_norm_p50", "alias_of"])).is_empty());
    }
}
