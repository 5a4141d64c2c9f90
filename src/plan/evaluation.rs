//! When a trial is scored on the way, and on how much, so that all of it costs no more than its share of the training.

use serde::{Deserialize, Serialize};

/// The plan of a trial's evaluations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationPlan {
    /// Context of the common protocol (Lc), tokens.
    pub common_context: usize,
    /// Validation tokens that are scored in full at the end (the first one is context only).
    pub scored_tokens: u64,
    /// Validation tokens of the cheap evaluations on the way; 0 where none fit into their share.
    pub periodic_tokens: u64,
    /// Between cheap evaluations, as a fraction of the budget; each is made at the first step that reaches a multiple.
    pub every: f64,
    /// Share of the training's floating-point operations that the cheap evaluations take.
    pub share: f64,
}

/// What the cost of evaluation follows from.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// Floating-point operations of the whole training.
    pub training: f64,
    /// Floating-point operations of scoring one token in the common context.
    pub scoring_a_token: f64,
    /// Largest share that the cheap evaluations may take.
    pub at_most: f64,
    /// Wished distance, as a fraction of the budget.
    pub every: f64,
}

/// The fewest tokens that a cheap evaluation is made on: fewer say nothing.
const FEWEST: u64 = 1_024;

impl EvaluationPlan {
    /// Plans the cheap evaluations: at the wished distance on as many tokens as their share allows; where that would be
    /// fewer than 1,024 (or all, where there are fewer), rarer; where even one is too dear, none.
    pub fn new(common_context: usize, scored_tokens: u64, costs: Costs) -> Self {
        let allowed = costs.training * costs.at_most / costs.scoring_a_token;
        let needed = FEWEST.min(scored_tokens) as f64;
        let wished = (1.0 / costs.every).ceil().max(1.0);
        let points = wished.min((allowed / needed).floor());
        if points < 1.0 || scored_tokens < 2 {
            return Self { common_context, scored_tokens, periodic_tokens: 0, every: 1.0, share: 0.0 };
        }
        let every = if points < wished { 1.0 / points } else { costs.every };
        let periodic_tokens = scored_tokens.min((allowed / points) as u64);
        let share = points * periodic_tokens as f64 * costs.scoring_a_token / costs.training;
        Self { common_context, scored_tokens, periodic_tokens, every, share }
    }
}

/// Whether a thing due at every multiple of `every` of the budget, and at its end, is due after step `done` of `steps`.
pub fn is_due(done: u64, steps: u64, every: f64) -> bool {
    let multiples = |step: u64| (step as f64 / steps as f64 / every + 1e-9).floor();
    done >= steps || multiples(done) > multiples(done - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_evaluations_at_a_tenth_even_where_the_steps_do_not_divide() {
        for steps in [10, 40, 99, 100, 1_237] {
            assert_eq!((1..=steps).filter(|&s| is_due(s, steps, 0.1)).count(), 10, "{steps}");
        }
        assert_eq!((1..=3).filter(|&s| is_due(s, 3, 0.1)).count(), 3);
        assert_eq!((1..=10).filter(|&s| is_due(s, 10, 0.4)).collect::<Vec<_>>(), [4, 8, 10]);
    }

    #[test]
    fn cheap_evaluations_stay_within_their_share() {
        for training in [1e6, 1e8, 1e9, 1e12] {
            let costs = Costs { training, scoring_a_token: 1e3, at_most: 0.05, every: 0.1 };
            let plan = EvaluationPlan::new(64, 50_000, costs);
            assert!(plan.share <= 0.05, "{plan:?}");
            assert!(plan.periodic_tokens == 0 || plan.periodic_tokens >= 1_024, "{plan:?}");
        }
    }

    #[test]
    fn a_long_training_scores_everything_each_time_and_a_tiny_one_nothing() {
        let costs = |training| Costs { training, scoring_a_token: 1.0, at_most: 0.05, every: 0.1 };
        assert_eq!(EvaluationPlan::new(64, 5_000, costs(1e9)).periodic_tokens, 5_000);
        assert_eq!(EvaluationPlan::new(64, 5_000, costs(1e3)).periodic_tokens, 0);
    }
}
