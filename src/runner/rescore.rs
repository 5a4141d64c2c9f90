//! Finished trials whose scores were made otherwise than this plan compares: they are scored again from their final and best
//! weights. Nothing is trained again.

use std::collections::{BTreeSet, HashSet};

use super::cluster;
use super::context::Context;
use super::difference::Difference;
use super::memory::Memory;
use super::notice::Notice;
use super::probe::shapes;
use super::reports::Reports;
use super::workers::work_off;
use crate::device::Device;
use crate::error::Result;
use crate::plan::{Plan, Trial, TrialId};
use crate::runs::{State, Status, state_of};
use crate::schedule::slurm::Needed;
use crate::schedule::{Candidate, Needs, Policy, Queue, Standing, Summary, Work};

/// A finished trial that cannot be compared as it is scored, and why.
pub(super) struct Stale<'a> {
    trial: &'a Trial,
    why: Difference,
}

/// Those among the trials of a plan; `standing` is in its order. An alias takes the scores of its source when that
/// has them; where the source is not in the plan it is scored from the weights that lie there.
pub(super) fn stale<'a>(plan: &'a Plan, standing: &[State]) -> Vec<Stale<'a>> {
    let finished = plan.trials.iter().zip(standing).filter_map(|(trial, state)| Some((trial, state.outcome.as_ref()?)));
    let planned: HashSet<&TrialId> = plan.trials.iter().map(|trial| &trial.id).collect();
    finished
        .filter(|(_, outcome)| outcome.alias_of.as_ref().is_none_or(|source| !planned.contains(source)))
        .filter_map(|(trial, outcome)| Some(Stale { trial, why: Difference::of(trial, plan.common_context, outcome)? }))
        .collect()
}

/// The most memory that one of them may need: what its training needed.
pub(super) fn memory(stale: &[Stale<'_>], on: Device) -> Memory {
    Memory::largest_planned(stale.iter().map(|stale| stale.trial), on)
}

/// The distinct reasons.
pub(super) fn reasons<'a>(stale: &'a [Stale<'_>]) -> BTreeSet<&'a Difference> {
    stale.iter().map(|stale| &stale.why).collect()
}

/// Scores them again, as many at a time as the policy says. What could not be scored keeps the scores that it had.
pub(super) fn score_again(
    context: Context<'_>,
    stale: &[Stale<'_>],
    policy: Policy,
    reports: &mut Reports<'_>,
) -> Result<Summary> {
    let Context { session, listener, .. } = context;
    if stale.is_empty() {
        listener.notice(&Notice::NothingToScore);
        return Ok(Summary::default());
    }
    listener.notice(&Notice::ScoringAgain { trials: stale.len(), why: reasons(stale) });
    let trials: Vec<&Trial> = stale.iter().map(|stale| stale.trial).collect();
    let shapes = shapes(&session.plan, &trials, session.device)?;
    let candidate = |stale: &Stale<'_>| Candidate {
        id: stale.trial.id.clone(),
        round: 0,
        shape: shapes[&stale.trial.id],
        clip_norm: stale.trial.settings.train.clip_norm,
        kin: None,
        twins: None,
        // Whatever kind of GPU scores it.
        needs: Needs { memory: Memory::planned(stale.trial, session.device).device.unwrap_or(0), kind: None },
        expected_seconds: None,
        standing: Standing::Waiting,
    };
    let needed = |stale: &Stale<'_>| {
        let memory = cluster::memory(stale.trial, session.device);
        (stale.trial.id.clone(), Needed { memory, seconds: None })
    };
    let needed = stale.iter().map(needed).collect();
    let queue = Queue::new(stale.iter().map(candidate).collect(), policy);
    let summary = work_off(context, queue, Work::ScoreAgain, needed, reports)?;
    let again: Vec<State> = stale.iter().map(|s| state_of(&session.folder.trial(&s.trial.id))).collect();
    let left = stale.iter().zip(&again).filter(|(stale, state)| {
        let outcome = state.outcome.as_ref().filter(|_| state.status == Status::Completed);
        outcome.is_none_or(|outcome| Difference::of(stale.trial, session.plan.common_context, outcome).is_some())
    });
    let left = left.count();
    if left > 0 {
        listener.notice(&Notice::NotScored { left, all: stale.len() });
    }
    Ok(summary)
}
