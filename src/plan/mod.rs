//! An experiment becomes a [`Plan`] of trials. Pure: no clock, no processes, no files.

mod budget;
mod build;
mod evaluation;
mod trial;

pub use budget::{EpochShape, Length};
pub use build::{Circumstances, Known, Refusal, Warning, build, label_name, without_clipping};
pub use evaluation::{Costs, EvaluationPlan, is_due};
pub use trial::{Excluded, Facts, Plan, Trial, TrialId};
