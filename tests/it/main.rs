//! The integration tests: one binary, since each one links candle and polars.

mod golden;
mod gradients;
mod layering;
mod resume;
mod support;
