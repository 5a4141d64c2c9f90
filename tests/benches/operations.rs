//! Each operation of the engine alone, forward and backward, over one shard on one thread: `cargo bench --features benchmarks --bench operations`.
//!
//! Three models: nanoGPT's configuration for a CPU, the larger one of six layers, and a Llama. Products and attention also
//! say their floating-point operations a second, as criterion's throughput in elements.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use votive::error::Result;
use votive::experiment::settings::{Family, Model};
use votive::model::Config;
use votive::model::cpu::operations::Operations;

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    let model = |family, layers, heads, width| Model { family, layers, heads, width, bias: Some(false), ..Model::default() };
    for (name, model, batch, length) in [
        ("small", model(Family::Gpt2, 4, 4, 128), 12, 64),
        ("large", model(Family::Gpt2, 6, 6, 384), 8, 256),
        ("llama", Model { kv_heads: Some(2), ..model(Family::Llama, 4, 4, 256) }, 4, 512),
    ] {
        let mut operations = Operations::new(&Config::new(&model, 65, length)?, batch, length)?;
        let mut group = criterion.benchmark_group(name);
        for operation in operations.all() {
            let flops = operations.flops(operation);
            if flops > 0.0 {
                group.throughput(Throughput::Elements(flops as u64));
            }
            group.bench_function(operation.name(), |bencher| {
                bencher.iter_custom(|times| {
                    let mut taken = Duration::ZERO;
                    for _ in 0..times {
                        operations.prepare(operation);
                        let start = Instant::now();
                        operations.run(operation);
                        taken += start.elapsed();
                    }
                    taken
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
