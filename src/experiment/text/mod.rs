//! Each setting reads its own words: `1e-4`, `20_000_000`, `off`, `007` mean what a person means, for the setting they
//! are for. What is said here as text (the file, `--set`) may also come as JSON (a trial's folder).
//!
//! Errors complete the sentence "`train.stride` …"; what stands after a line break is what to do about it.

pub(super) mod fields;
mod number;
mod scalar;
mod time;

pub(super) use fields::LARGEST_FEW;
pub(super) use number::{LARGEST, number, shown, whole, whole_within, write_number};
pub(super) use scalar::{LARGEST_SIZE, Scalar, Wrapped};
pub(super) use time::LONGEST_SECONDS;
pub use time::{clock_time, duration};
