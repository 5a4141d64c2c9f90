//! What a trial tells becomes Parquet files; parquet lives only here.
//!
//! One fixed schema a file kind ([`schemas`]), its version in the file's metadata, zstd, names in snake_case with their unit,
//! 32- and 64-bit signed integers, UTF-8 text, times as `Timestamp(µs, UTC)`. What was not measured or overflowed is null,
//! never NaN: [`Column`]s of numbers refuse it when they are filled. Files are written whole through
//! [`crate::durable`], under temporary names that no `*.parquet` pattern matches, so every file a reader finds is complete.
//!
//! [`ParquetRecorder`] receives a trial's rows while it trains, [`ScoresAgain`] when only its weights are scored again;
//! [`write_plan`] and [`write_trials`] write the two tables of the whole experiment, [`states_as_parquet`] what the second adds to
//! the first; [`copy_scores`] gives the scores of a trial to
//! one that is the same.

mod alias;
mod hashed;
mod parquet_recorder;
mod rows;
mod schema;
mod scores_again;
mod steps;
mod table;
mod trials;

pub use alias::copy_scores;
pub use parquet_recorder::ParquetRecorder;
pub use schema::{Column, Schema, Type, VERSION, schemas};
pub use scores_again::ScoresAgain;
pub use trials::{Planned, TrialState, plan_schema, states_as_parquet, swept_column, trials_schema, write_plan, write_trials};

#[cfg(test)]
pub(crate) use trials::tests;
