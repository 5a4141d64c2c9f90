//! Loss by place in the window, from the trials' files.

use std::collections::BTreeMap;

use super::comparison::Comparison;
use super::frames::{integers, numbers, read, words};
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::{ExperimentFolder, Status, TrialFolder};

/// Loss by place of a configuration, in the unit that losses are drawn in ([`LossScale`](super::loss_scale::LossScale)), over all of its seeds that have it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Positions {
    pub(super) configuration: i64,
    pub(super) bins: Vec<Bin>,
}

/// Places in the window from first to last, from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bin {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) loss: f64,
}

/// Sum of NLL, scaled, and number of tokens, by first and last place.
type Sums = BTreeMap<(i64, i64), (f64, i64)>;

/// Reads those of the configurations that are drawn; files that cannot be read are listed.
pub(super) fn positions(
    folder: &ExperimentFolder,
    comparison: &Comparison,
    drawn: &[i64],
    damaged: &mut Vec<String>,
) -> Vec<Positions> {
    let mut found = Vec::new();
    for &configuration in drawn {
        let mut sums = Sums::new();
        for trial in comparison.trials.iter().filter(|t| t.configuration == configuration && t.status == Status::Completed) {
            let (Some(id), Some(scale)) = (TrialId::parse(&trial.id), trial.loss_scale.held_out()) else { continue };
            if let Err(error) = add(&folder.trial(&id), scale, &mut sums) {
                damaged.push(error.chain());
            }
        }
        let bin = |((first, last), (nll, tokens)): ((i64, i64), (f64, i64))| Bin { first, last, loss: nll / tokens as f64 };
        let bins: Vec<Bin> = sums.into_iter().filter(|(_, (_, tokens))| *tokens > 0).map(bin).collect();
        if bins.len() > 1 {
            found.push(Positions { configuration, bins });
        }
    }
    found
}

/// Adds what a trial's final weights were scored with in windows of its own length, or in common ones where both are the same; the loss
/// is multiplied by `scale`.
fn add(folder: &TrialFolder, scale: f64, sums: &mut Sums) -> Result<()> {
    if !folder.positions().exists() {
        return Ok(());
    }
    let frame = read(&folder.positions(), None)?;
    let (protocol, kind) = (words(&frame, "protocol")?, words(&frame, "checkpoint_kind")?);
    let (first, last) = (integers(&frame, "first_position")?, integers(&frame, "last_position")?);
    let (tokens, nll) = (integers(&frame, "tokens")?, numbers(&frame, "nll_sum")?);
    let is = |row: usize, name: &str| protocol[row].as_deref() == Some(name) && kind[row].as_deref() == Some("final");
    let own = if (0..frame.height()).any(|row| is(row, "native")) { "native" } else { "common" };
    for row in (0..frame.height()).filter(|&row| is(row, own)) {
        if let (Some(first), Some(last), Some(tokens), Some(nll)) = (first[row], last[row], tokens[row], nll[row]) {
            let sum = sums.entry((first, last)).or_default();
            *sum = (sum.0 + scale * nll, sum.1 + tokens);
        }
    }
    Ok(())
}
