//! The integration tests: one binary, since each one links candle and polars.

mod alias;
mod arithmetic;
mod bad_input;
mod circles;
mod cli;
mod clock;
mod compare;
mod damaged;
mod deadline;
mod devices;
mod environment;
mod experiments;
mod golden;
mod gpu_check;
mod gpu_driver;
mod gpu_engine;
mod gpu_kernels;
mod gpu_program;
mod gradients;
mod hang;
#[path = "../host_gpu/mod.rs"]
mod host_gpu;
mod layering;
mod memory;
mod names;
mod parquet;
mod protocol;
mod rerun;
mod rescore;
mod resume;
mod sample;
mod stand_ins;
mod start;
mod statistics;
mod support;
mod transformers;
