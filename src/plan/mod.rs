//! An experiment becomes a [`Plan`] of trials. Pure: no clock, no processes, no files.

mod budget;
mod build;
mod circumstances;
mod evaluation;
mod facts;
mod footprint;
mod identity;
mod label;
mod numbers;
mod on_device;
mod same_tokenizers;
mod trial;
mod trial_id;
mod warning;

pub use budget::Length;
pub use build::build;
pub use circumstances::{Circumstances, Known};
pub use evaluation::{Costs, EvaluationPlan, is_due};
pub use footprint::memory_beside_steps;
pub use identity::kinship;
pub use label::label_name;
pub use numbers::{Numbers, choice};
pub use on_device::unfit;
pub use trial::{Excluded, Facts, Plan, Trial};
pub use trial_id::TrialId;
pub use warning::{Refusal, Warning};
