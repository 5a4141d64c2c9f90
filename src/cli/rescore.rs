//! Finished trials whose scores were made otherwise than this plan compares: `run` tells of them, `run --rescore` scores them
//! again from their final and best weights. Nothing is trained again.

use std::collections::{BTreeSet, HashSet};

use super::commands::run::{Flags, work_off};
use super::output::say;
use super::session::Session;
use super::show::words::{counted, thousands};
use crate::error::Result;
use crate::plan::{Plan, Trial, TrialId};
use crate::runs::{End, Outcome, State, Status, state_of};
use crate::schedule::{Candidate, Policy, Queue, Standing, Summary, Work};
use crate::train::evaluate::{Layout, PROTOCOL};
use crate::train::recorder::{CheckpointKind, Protocol};

/// A finished trial that cannot be compared as it is scored, and why.
pub(super) struct Stale<'a> {
    trial: &'a Trial,
    why: String,
}

/// Those among the trials of a plan; `standing` is in its order. An alias takes the scores of its source when that
/// has them; where the source is not in the plan it is scored from the weights that lie there.
pub(super) fn stale<'a>(plan: &'a Plan, standing: &[State]) -> Vec<Stale<'a>> {
    let finished = plan.trials.iter().zip(standing).filter_map(|(trial, state)| Some((trial, state.outcome.as_ref()?)));
    let planned: HashSet<&TrialId> = plan.trials.iter().map(|trial| &trial.id).collect();
    finished
        .filter(|(_, outcome)| outcome.alias_of.as_ref().is_none_or(|source| !planned.contains(source)))
        .filter_map(|(trial, outcome)| Some(Stale { trial, why: difference(trial, plan.common_context, outcome)? }))
        .collect()
}

/// What differs between how a complete trial was scored and how it would be now; `None` where nothing does.
pub(super) fn difference(trial: &Trial, context: usize, outcome: &Outcome) -> Option<String> {
    let tokens = i64::try_from(trial.facts.validation_tokens).unwrap_or(i64::MAX) - 1;
    if outcome.end != End::Completed || tokens < 1 {
        return None;
    }
    let layout = Layout::overlapping(context);
    match outcome.score("validation", Protocol::Common, CheckpointKind::Final) {
        None => Some("not scored at all".to_owned()),
        Some(row) if row.context != layout.context as i64 => Some(format!("context {} instead of {context}", row.context)),
        Some(row) if row.stride != layout.stride as i64 => Some(format!("stride {} instead of {}", row.stride, layout.stride)),
        Some(row) if row.scored_tokens != tokens => {
            let [was, is] = [row.scored_tokens, tokens].map(|n| thousands(n.max(0) as u64));
            Some(format!("{was} tokens instead of {is}"))
        }
        Some(_) if outcome.protocol != PROTOCOL => Some(format!("protocol {} instead of {PROTOCOL}", outcome.protocol)),
        Some(_) => None,
    }
}

/// The most memory that one of them may need, bytes: what its training needed.
pub(super) fn memory(stale: &[Stale<'_>]) -> u64 {
    stale.iter().map(|stale| stale.trial.facts.memory_bytes).max().unwrap_or(0)
}

/// The distinct reasons, in brackets.
fn reasons(stale: &[Stale<'_>]) -> String {
    let all: BTreeSet<&str> = stale.iter().map(|s| s.why.as_str()).collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}

/// Says that there are some, and what to do.
pub(super) fn tell(stale: &[Stale<'_>], file: &std::path::Path) {
    if stale.is_empty() {
        return;
    }
    let (trials, are) = (counted(stale.len() as u64, "finished trial"), if stale.len() == 1 { "is" } else { "are" });
    say(&format!(
        "note        {trials} {are} scored otherwise than this plan compares ({}), and not ranked: `votive run --rescore {}` scores \
         {} again without training",
        reasons(stale),
        file.display(),
        if stale.len() == 1 { "it" } else { "them" },
    ));
}

/// Scores them again, as many at a time as the policy says. What could not be scored keeps the scores that it had.
pub(super) fn execute(session: &Session, stale: &[Stale<'_>], policy: Policy, flags: &Flags) -> Result<Summary> {
    if stale.is_empty() {
        say("scoring     every finished trial is scored as this plan compares");
        return Ok(Summary::default());
    }
    say(&format!("scoring     {} again ({}): nothing is trained", counted(stale.len() as u64, "finished trial"), reasons(stale)));
    let candidate = |stale: &Stale<'_>| Candidate {
        id: stale.trial.id.clone(),
        round: 0,
        clip_norm: stale.trial.settings.train.clip_norm,
        family: None,
        twins: None,
        expected_seconds: None,
        standing: Standing::Waiting,
    };
    let queue = Queue::new(stale.iter().map(candidate).collect(), policy);
    let summary = work_off(session, queue, Work::ScoreAgain, flags)?;
    let again: Vec<State> = stale.iter().map(|s| state_of(&session.folder.trial(&s.trial.id))).collect();
    let left = stale.iter().zip(&again).filter(|(stale, state)| {
        let outcome = state.outcome.as_ref().filter(|_| state.status == Status::Completed);
        outcome.is_none_or(|outcome| difference(stale.trial, session.plan.common_context, outcome).is_some())
    });
    let (left, all) = (left.count(), stale.len());
    if left > 0 {
        say(&format!("note        {left} of {all} could not be scored again: not ranked"));
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::record::tests::{completed, plan};

    #[test]
    fn a_trial_is_stale_where_context_tokens_or_protocol_have_changed() {
        let mut plan = plan(&[32], &[ClipNorm::Off], &[1]);
        plan.trials[0].facts.validation_tokens = 1_001;
        let outcome = completed(2.0, None).outcome.unwrap();
        let row = outcome.scores[0].clone();
        let why = |plan: &Plan, context: usize, outcome: &Outcome| difference(&plan.trials[0], context, outcome);
        assert_eq!(why(&plan, row.context as usize, &outcome), None);
        assert_eq!(why(&plan, 16, &outcome).unwrap(), format!("context {} instead of 16", row.context));
        let other = Outcome { protocol: PROTOCOL + 1, ..outcome.clone() };
        assert!(why(&plan, 32, &other).unwrap().starts_with("protocol "));
        let none = Outcome { scores: Vec::new(), ..outcome.clone() };
        assert_eq!(why(&plan, 32, &none).unwrap(), "not scored at all");
        let diverged = Outcome { end: End::Diverged, ..none };
        assert_eq!(why(&plan, 32, &diverged), None);
        plan.trials[0].facts.validation_tokens = 2_001;
        assert_eq!(why(&plan, 32, &outcome).unwrap(), "1,000 tokens instead of 2,000");
    }
}
