//! How a finished trial was scored otherwise than a plan compares.

use crate::plan::Trial;
use crate::rows::{CheckpointKind, PROTOCOL, Protocol, ScoredPart};
use crate::runs::{End, Outcome};
use crate::train::evaluate::WindowLayout;

/// What differs. Only the first of these is said of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// How many tokens of a held-out part are scored.
    Tokens {
        /// When it was scored.
        was: i64,
        /// Now.
        is: i64,
    },
    /// The common context.
    Context {
        /// When it was scored.
        was: i64,
        /// Now.
        is: i64,
    },
    /// It has no score in the common context at all.
    NotScored,
    /// The version of the protocol.
    Protocol {
        /// When it was scored.
        was: u32,
        /// Now.
        is: u32,
    },
    /// How far the windows move.
    Stride {
        /// When it was scored.
        was: i64,
        /// Now.
        is: i64,
    },
}

impl Difference {
    /// What differs between how a complete trial was scored and how it would be now; `None` where nothing does.
    pub(super) fn of(trial: &Trial, context: usize, outcome: &Outcome) -> Option<Self> {
        let scored = [(ScoredPart::Validation, trial.facts.validation_tokens), (ScoredPart::Test, trial.facts.test_tokens)];
        // The first token of a part is context only.
        let mut scored = scored.into_iter().filter(|(_, tokens)| *tokens > 1).peekable();
        if outcome.end != End::Completed || scored.peek().is_none() {
            return None;
        }
        let is_other = outcome.protocol != PROTOCOL;
        let protocol = is_other.then_some(Self::Protocol { was: outcome.protocol, is: PROTOCOL });
        scored.find_map(|(part, tokens)| Self::of_part(part, tokens, context, outcome)).or(protocol)
    }

    /// The same of one part, of which so many tokens are to be scored.
    fn of_part(part: ScoredPart, tokens: u64, context: usize, outcome: &Outcome) -> Option<Self> {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX) - 1;
        let layout = WindowLayout::overlapping(context);
        let (context, stride) = (layout.context as i64, layout.stride as i64);
        match outcome.score(part, Protocol::Common, CheckpointKind::Final) {
            None => Some(Self::NotScored),
            Some(row) if row.context != context => Some(Self::Context { was: row.context, is: context }),
            Some(row) if row.stride != stride => Some(Self::Stride { was: row.stride, is: stride }),
            Some(row) if row.scored_tokens != tokens => Some(Self::Tokens { was: row.scored_tokens, is: tokens }),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::plan::Plan;
    use crate::record::tests::{completed, plan};
    use crate::rows::EvaluationRow;

    #[test]
    fn a_trial_is_stale_where_context_tokens_or_protocol_have_changed() {
        let mut plan = plan(&[32], &[ClipNorm::Off], &[1]);
        plan.trials[0].facts.validation_tokens = 1_001;
        let outcome = completed(2.0, None).outcome.unwrap();
        let row = outcome.scores[0].clone();
        let why = |plan: &Plan, context: usize, outcome: &Outcome| Difference::of(&plan.trials[0], context, outcome);
        assert_eq!(why(&plan, row.context as usize, &outcome), None);
        assert_eq!(why(&plan, 16, &outcome), Some(Difference::Context { was: row.context, is: 16 }));
        let other = Outcome { protocol: PROTOCOL + 1, ..outcome.clone() };
        assert_eq!(why(&plan, 32, &other), Some(Difference::Protocol { was: PROTOCOL + 1, is: PROTOCOL }));
        let none = Outcome { scores: Vec::new(), ..outcome.clone() };
        assert_eq!(why(&plan, 32, &none), Some(Difference::NotScored));
        let diverged = Outcome { end: End::Diverged, ..none };
        assert_eq!(why(&plan, 32, &diverged), None);
        plan.trials[0].facts.validation_tokens = 2_001;
        assert_eq!(why(&plan, 32, &outcome), Some(Difference::Tokens { was: 1_000, is: 2_000 }));
        plan.trials[0].facts.validation_tokens = 1_001;
        let mut tested = outcome;
        tested.scores.push(EvaluationRow { part: ScoredPart::Test, scored_tokens: 500, ..row });
        for (tokens, expected) in [(0, None), (501, None), (401, Some(Difference::Tokens { was: 500, is: 400 }))] {
            plan.trials[0].facts.test_tokens = tokens;
            assert_eq!(why(&plan, 32, &tested), expected, "{tokens} test tokens");
        }
        plan.trials[0].facts.validation_tokens = 0;
        assert_eq!(why(&plan, 32, &tested), Some(Difference::Tokens { was: 500, is: 400 }), "nothing else is held out");
    }
}
