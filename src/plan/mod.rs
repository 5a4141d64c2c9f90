//! An experiment becomes a [`Plan`] of trials. Pure: no clock, no processes, no files.

mod budget;
mod build;
mod evaluation;
mod footprint;
mod numbers;
mod on_device;
mod same_tokenizers;
mod trial;

pub use budget::{EpochShape, Length};
pub use build::{Circumstances, Known, Refusal, Warning, build, kinship, label_name};
pub use evaluation::{Costs, EvaluationPlan, is_due};
pub use numbers::{Numbers, choice};
pub use on_device::unfit;
pub use trial::{Excluded, Facts, Plan, Trial, TrialId};
