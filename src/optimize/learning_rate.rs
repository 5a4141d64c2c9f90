//! The learning rate as a pure function of the position in the budget.

use crate::experiment::settings::{Schedule, Train};

/// Peak, shape, warm-up and end of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    peak: f64,
    shape: Schedule,
    warmup: f64,
    end: f64,
}

impl LearningRate {
    /// The schedule that these settings describe.
    pub fn new(train: &Train) -> Self {
        Self { peak: train.learning_rate, shape: train.schedule, warmup: train.warmup, end: train.final_learning_rate }
    }

    /// Steps of warm-up in a training of `steps`.
    pub fn warmup_steps(&self, steps: u64) -> u64 {
        (self.warmup * steps as f64).round() as u64
    }

    /// The learning rate of step `step` (from 0) of `steps`: (step + 1) / (warm-up steps + 1) of the peak at first, as in
    /// nanoGPT, then from the peak down to `final_learning_rate` of it, which the step after the last would have.
    pub fn at_step(&self, step: u64, steps: u64) -> f64 {
        let warmup = self.warmup_steps(steps);
        if step < warmup {
            return self.peak * (step + 1) as f64 / (warmup + 1) as f64;
        }
        self.after_warmup((step - warmup) as f64 / (steps - warmup).max(1) as f64)
    }

    /// The learning rate where this fraction of a budget in minutes is spent. It never starts at 0: the first hundredth of
    /// the warm-up is its floor.
    pub fn at_fraction(&self, fraction: f64) -> f64 {
        if fraction < self.warmup {
            return self.peak * (fraction / self.warmup).max(0.01);
        }
        self.after_warmup(((fraction - self.warmup) / (1.0 - self.warmup)).min(1.0))
    }

    fn after_warmup(&self, done: f64) -> f64 {
        let left = match self.shape {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Schedule::Linear => 1.0 - done,
            Schedule::Constant => 1.0,
        };
        self.peak * (self.end + (1.0 - self.end) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Schedule, warmup: f64, end: f64) -> LearningRate {
        LearningRate { peak: 1e-3, shape, warmup, end }
    }

    #[test]
    fn corners_of_a_cosine_are_nanogpts() {
        // nanoGPT's get_lr with learning_rate 1e-3, min_lr 1e-4, warmup_iters 100, lr_decay_iters 2000.
        let cosine = schedule(Schedule::Cosine, 0.05, 0.1);
        let close = |step, expected: f64| {
            let got = cosine.at_step(step, 2000);
            assert!((got / expected - 1.0).abs() < 1e-12, "step {step}: {got} instead of {expected}");
        };
        close(0, 1e-3 / 101.0);
        close(99, 1e-3 * 100.0 / 101.0);
        close(100, 1e-3);
        close(1050, 1e-4 + 0.5 * 9e-4);
        close(2000, 1e-4);
    }

    #[test]
    fn a_line_falls_evenly_and_a_constant_stays() {
        let line = schedule(Schedule::Linear, 0.0, 0.0);
        assert_eq!([line.at_step(0, 4), line.at_step(1, 4), line.at_step(3, 4)], [1e-3, 0.75e-3, 0.25e-3]);
        let constant = schedule(Schedule::Constant, 0.0, 0.1);
        assert_eq!(constant.at_step(3, 4), 1e-3);
    }

    #[test]
    fn a_training_of_one_step_has_a_learning_rate() {
        for warmup in [0.0, 0.05, 0.5, 0.9] {
            assert!(schedule(Schedule::Cosine, warmup, 0.1).at_step(0, 1) > 0.0);
        }
    }

    #[test]
    fn a_budget_in_minutes_follows_the_same_shape() {
        let cosine = schedule(Schedule::Cosine, 0.1, 0.1);
        assert!((cosine.at_fraction(0.0) - 1e-5).abs() < 1e-18);
        assert!((cosine.at_fraction(0.05) - 5e-4).abs() < 1e-15);
        assert!((cosine.at_fraction(1.0) - 1e-4).abs() < 1e-15);
    }
}
