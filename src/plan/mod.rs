//! An experiment becomes a [`Plan`] of trials. Pure: no clock, no processes, no files.

mod trial;

pub use trial::{Excluded, Facts, Plan, Trial, TrialId};
