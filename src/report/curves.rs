//! Curves of loss and gradient norm: read from a trial's files, smoothed on all points, then thinned so that a page can hold them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::comparison::{Comparison, TrialLine};
use super::frames::{integers, numbers, read, truths, words};
use super::loss_scale::LossScale;
use crate::error::{Error, Result};
use crate::plan::TrialId;
use crate::rows::ScoredPart;
use crate::runs::{Clipping, ExperimentFolder, TrialFolder};

/// A trial's loss curve; losses in the unit that is drawn ([`LossScale`]).
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Curve {
    pub(super) trial_id: String,
    pub(super) configuration: i64,
    pub(super) seed: Option<i64>,
    pub(super) steps: Vec<i64>,
    pub(super) tokens: Vec<i64>,
    pub(super) hours: Vec<f64>,
    /// Smoothed training loss; not a number where it is not drawn.
    pub(super) loss: Vec<f64>,
    /// Training loss of the very batch.
    pub(super) raw: Vec<f64>,
    /// Smoothed gradient norm before clipping.
    pub(super) norm: Vec<f64>,
    /// Gradient norm of the very batch.
    pub(super) raw_norm: Vec<f64>,
    /// What clipping met, over all steps.
    pub(super) clipping: Option<Clipping>,
    /// Held-out loss on the way.
    pub(super) validation: Vec<Validation>,
}

/// One evaluation on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Validation {
    pub(super) step: i64,
    pub(super) tokens: i64,
    pub(super) hours: f64,
    pub(super) loss: f64,
}

/// Points of all curves together: what a page holds in two megabytes.
const POINTS: usize = 24_000;
/// Trials whose curves are drawn: some seeds of each of these configurations.
const DRAWN_TRIALS: usize = 300;
/// Half of the smoothing's weight lies on the last hundredth of the trial.
const HALF_LIFE: f64 = 0.01;

/// The curves of the configurations that are drawn, of an alias that of its source; files that cannot be read are listed.
pub(super) fn curves(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    drawn: &[i64],
    aliases: &BTreeMap<String, String>,
    damaged: &mut Vec<String>,
) -> Vec<Curve> {
    let most = (DRAWN_TRIALS / drawn.len().max(1)).max(1);
    let mut seeds: BTreeMap<i64, usize> = drawn.iter().map(|&number| (number, 0)).collect();
    let few = |trial: &&TrialLine| {
        seeds.get_mut(&trial.configuration).is_some_and(|seen| {
            *seen += 1;
            *seen <= most
        })
    };
    let trials: Vec<_> = comparison.trials.iter().filter(few).collect();
    let points = (POINTS / trials.len().max(1)).clamp(60, 600);
    let mut curves = Vec::new();
    for trial in trials {
        let Some(id) = TrialId::parse(aliases.get(&trial.id).unwrap_or(&trial.id)) else { continue };
        match curve(&folder.trial(&id), comparison.common_context, points, trial.loss_scale) {
            Ok(Some(read)) => {
                curves.push(Curve { trial_id: trial.id.clone(), configuration: trial.configuration, seed: trial.seed, ..read })
            }
            Ok(None) => {}
            Err(error) => damaged.push(error.chain()),
        }
    }
    curves
}

/// What the losses of the curves are, where that is not what was recorded.
pub(super) fn caption(comparison: &Comparison) -> Option<String> {
    let unit = "Losses are in bits per byte, since tokenizers differ; that of a batch by how many bytes a token of the training part has \
                on average.";
    let left_out = match comparison.trials.iter().any(|trial| trial.loss_scale == LossScale::NotDrawn) {
        true => " Those whose tokenizer is not known to give every text back are not drawn: what it loses would cost no bits.",
        false => "",
    };
    comparison.by_bytes.then(|| format!("{unit}{left_out}"))
}

/// Reads a trial's curve with at most about `points` points of the training loss. `None` where it has made no step.
fn curve(folder: &TrialFolder, context: Option<i64>, points: usize, scale: LossScale) -> Result<Option<Curve>> {
    let mut steps = Steps::default();
    for file in step_files(folder)? {
        steps.read(&file)?;
    }
    if steps.step.is_empty() {
        return Ok(None);
    }
    let half_life = HALF_LIFE * steps.loss.len() as f64;
    let (loss, norm) = (smooth(&steps.loss, half_life), smooth(&steps.norm, half_life));
    let (raw, raw_norm) = (gaps(&steps.loss), gaps(&steps.norm));
    // Most of what is kept are the extremes of single batches: the smoothed curves need few points beside them.
    let kept = together(&[(&loss, points / 6), (&raw, points / 3), (&norm, points / 6), (&raw_norm, points / 3)]);
    let training = scale.training().unwrap_or(f64::NAN);
    let mut curve = Curve { clipping: steps.clipping(), ..Curve::default() };
    for &place in &kept {
        curve.steps.push(steps.step[place]);
        curve.tokens.push(steps.tokens[place]);
        curve.hours.push(steps.hours[place]);
        curve.loss.push(training * loss[place]);
        curve.raw.push(training * raw[place]);
        curve.norm.push(norm[place]);
        curve.raw_norm.push(raw_norm[place]);
    }
    if folder.evaluations().exists() {
        curve.validation = validation(folder, context, &steps, scale)?;
    }
    Ok(Some(curve))
}

#[derive(Default)]
struct Steps {
    step: Vec<i64>,
    tokens: Vec<i64>,
    hours: Vec<f64>,
    loss: Vec<Option<f64>>,
    norm: Vec<Option<f64>>,
    clipped: Vec<bool>,
}

impl Steps {
    fn read(&mut self, path: &std::path::Path) -> Result<()> {
        let frame = read(path, Some(&["step", "tokens_seen", "loss", "step_seconds", "grad_norm", "clipped"]))?;
        let (step, tokens) = (integers(&frame, "step")?, integers(&frame, "tokens_seen")?);
        let (loss, seconds) = (numbers(&frame, "loss")?, numbers(&frame, "step_seconds")?);
        let (norm, clipped) = (numbers(&frame, "grad_norm")?, truths(&frame, "clipped")?);
        for row in 0..frame.height() {
            let (Some(step), Some(tokens)) = (step[row], tokens[row]) else { continue };
            // A file that begins before the last one ended holds the same rows again: the later file counts.
            while self.step.last().is_some_and(|&last| last >= step) {
                self.step.pop();
                self.tokens.pop();
                self.hours.pop();
                self.loss.pop();
                self.norm.pop();
                self.clipped.pop();
            }
            self.hours.push(self.hours.last().unwrap_or(&0.0) + seconds[row].unwrap_or(0.0) / 3600.0);
            self.step.push(step);
            self.tokens.push(tokens);
            self.loss.push(loss[row]);
            self.norm.push(norm[row]);
            self.clipped.push(clipped[row].unwrap_or(false));
        }
        Ok(())
    }

    fn clipping(&self) -> Option<Clipping> {
        Clipping::of(self.norm.iter().flatten().copied().collect(), self.clipped.iter().filter(|clipped| **clipped).count())
    }
}

/// The files that hold a trial's steps, in order: complete parts of a long trial that still runs, then `steps.parquet`.
fn step_files(folder: &TrialFolder) -> Result<Vec<PathBuf>> {
    let parts = folder.steps_parts();
    let mut files = Vec::new();
    if parts.exists() {
        let entries = std::fs::read_dir(&parts).map_err(|e| Error::io("list", &parts, e))?;
        for entry in entries {
            let path = entry.map_err(|e| Error::io("list", &parts, e))?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if name.starts_with("part-") && name.ends_with(".parquet") {
                files.push(path);
            }
        }
        files.sort();
    }
    files.extend(Some(folder.steps()).filter(|path| path.exists()));
    Ok(files)
}

fn validation(folder: &TrialFolder, context: Option<i64>, steps: &Steps, scale: LossScale) -> Result<Vec<Validation>> {
    let columns = ["step", "tokens_seen", "protocol", "kind", "part", "context", "loss", "scored_tokens", "scored_bytes"];
    let frame = read(&folder.evaluations(), Some(&columns))?;
    let (step, tokens) = (integers(&frame, "step")?, integers(&frame, "tokens_seen")?);
    let (protocol, kind, part) = (words(&frame, "protocol")?, words(&frame, "kind")?, words(&frame, "part")?);
    let (contexts, loss) = (integers(&frame, "context")?, numbers(&frame, "loss")?);
    let (scored_tokens, scored_bytes) = (integers(&frame, "scored_tokens")?, integers(&frame, "scored_bytes")?);
    let mut points: Vec<Validation> = (0..frame.height())
        .filter(|&row| {
            protocol[row].as_deref() == Some("common")
                // Those in full are measured with another stride and would not lie on the same curve.
                && kind[row].as_deref() == Some("periodic")
                && part[row].as_deref() == Some(ScoredPart::Validation.name())
                && (context.is_none() || contexts[row] == context)
        })
        .filter_map(|row| {
            let (step, tokens) = (step[row]?, tokens[row]?);
            let loss = loss[row]? * scale.scored(scored_tokens[row], scored_bytes[row])?;
            let place = steps.step.partition_point(|&s| s <= step);
            let hours = place.checked_sub(1).map_or(0.0, |place| steps.hours[place]);
            Some(Validation { step, tokens, hours, loss })
        })
        .collect();
    points.sort_by_key(|point| point.step);
    Ok(points)
}

/// An exponential mean over all points with this half-life in points, without the start's bias towards zero. A gap takes
/// the value before it.
fn smooth(loss: &[Option<f64>], half_life: f64) -> Vec<f64> {
    let keep = if half_life < 0.5 { 0.0 } else { 0.5f64.powf(1.0 / half_life) };
    let (mut sum, mut weight) = (0.0, 0.0);
    loss.iter()
        .map(|value| {
            if let Some(value) = value {
                sum = keep * sum + (1.0 - keep) * value;
                weight = keep * weight + (1.0 - keep);
            }
            if weight > 0.0 { sum / weight } else { f64::NAN }
        })
        .collect()
}

/// The values, with NaN for what was not measured.
fn gaps(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}

/// The points that any of these series needs, each thinned to its own number.
fn together(series: &[(&[f64], usize)]) -> Vec<usize> {
    let mut kept: Vec<usize> = series.iter().flat_map(|(values, points)| thin(values, *points)).collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Which points to keep so that no spike is lost: of each stretch its lowest and highest, and the first and last of all.
/// Points that are not numbers are dropped.
fn thin(values: &[f64], points: usize) -> Vec<usize> {
    let there: Vec<usize> = (0..values.len()).filter(|&place| values[place].is_finite()).collect();
    if there.len() <= points.max(4) {
        return there;
    }
    let stretches = (points.max(4) - 2) / 2;
    let mut kept = vec![there[0]];
    for stretch in 0..stretches {
        let (from, to) = (stretch * there.len() / stretches, (stretch + 1) * there.len() / stretches);
        let by_value = |a: &&usize, b: &&usize| values[**a].total_cmp(&values[**b]);
        let part = &there[from..to];
        kept.extend(part.iter().min_by(by_value));
        kept.extend(part.iter().max_by(by_value));
    }
    kept.extend(there.last());
    kept.sort_unstable();
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_starts_at_the_first_value_and_keeps_a_constant() {
        assert!(smooth(&[Some(3.0); 50], 5.0).iter().all(|v| (v - 3.0).abs() < 1e-12));
        let fall = smooth(&[Some(4.0), Some(2.0)], 1.0);
        assert_eq!(fall[0], 4.0);
        assert!((fall[1] - (0.25 * 4.0 + 0.5 * 2.0) / 0.75).abs() < 1e-12);
        assert_eq!(smooth(&[Some(1.0), Some(9.0)], 0.01), [1.0, 9.0], "short trials are shown as they are");
    }

    #[test]
    fn a_gap_takes_the_value_before_it_and_a_gap_at_the_start_is_none() {
        let smoothed = smooth(&[None, Some(2.0), None], 1.0);
        assert!(smoothed[0].is_nan());
        assert_eq!(smoothed[1..], [2.0, 2.0]);
        assert_eq!(thin(&smoothed, 100), [1, 2]);
    }

    #[test]
    fn what_one_series_needs_is_kept_of_all() {
        let flat = vec![1.0; 1_000];
        let mut spiky = flat.clone();
        spiky[333] = 7.0;
        let kept = together(&[(&flat, 10), (&spiky, 10), (&[f64::NAN; 1_000], 10)]);
        assert!(kept.contains(&333) && kept.contains(&0) && kept.contains(&999) && kept.len() <= 20);
    }

    #[test]
    fn clipping_is_told_by_the_norms_of_all_steps() {
        let norm = (1..=100).map(|n| Some(f64::from(n))).collect();
        let steps = Steps { norm, clipped: (0..100).map(|n| n < 25).collect(), ..Steps::default() };
        let clipping = steps.clipping().unwrap();
        assert_eq!((clipping.grad_norm_p50, clipping.grad_norm_p90), (50.0, 90.0), "as the table of trials has them");
        assert_eq!((clipping.grad_norm_p99, clipping.grad_norm_max, clipping.clipped_share()), (99.0, 100.0, 0.25));
        assert_eq!(Steps::default().clipping(), None);
    }

    #[test]
    fn thinning_keeps_ends_and_spikes_within_the_number_asked_for() {
        let mut values: Vec<f64> = (0..10_000).map(|i| 4.0 - f64::from(i) * 1e-4).collect();
        values[5_003] = 9.0;
        values[7_001] = 0.1;
        for points in [10, 200, 501] {
            let kept = thin(&values, points);
            assert!(kept.len() <= points, "{} of {points}", kept.len());
            for place in [0, 5_003, 7_001, 9_999] {
                assert!(kept.contains(&place), "{place} of {points}");
            }
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert_eq!(thin(&[1.0, 2.0], 500), [0, 1]);
        assert!(thin(&[], 500).is_empty());
    }
}
