//! One trial on one device: step loop, evaluation, checkpoint. Knows no YAML, no Parquet, no sweep.

pub mod recorder;
