//! What a shape takes: two steps (on a GPU twenty, after it has warmed up) and one evaluation batch.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::memory::peak_memory_bytes;
use crate::error::{Error, Result};
use crate::model::gpu::cuda::Search;
use crate::model::{Sequences, initial_values, shape};
use crate::pulse::{self, NEVER};
use crate::random::Stream;
use crate::runner::probe::{Measured, Request};
use crate::train::backend::{self, Backend, Hardware, State, Step, make_step};

/// Steps before those that are timed on a GPU, and times that windows are scored.
const WARM_UP: u64 = 3;
/// Steps that are timed on a GPU.
const IN_A_ROW: u64 = 20;

/// Between two looks whether the work goes on.
const LOOK: Duration = Duration::from_millis(250);

/// Measures a shape in this process, which does nothing else. Until it is done, an empty line on standard output says now and then that
/// the work goes on.
///
/// # Errors
/// Where the shape cannot be computed here: its trials cannot either.
pub fn probe(request: Request) -> Result<Measured> {
    let (over, ends) = channel::<()>();
    let signs = thread::Builder::new().name("heart".to_owned()).spawn(move || give_signs(&ends));
    let signs = signs.map_err(|e| Error::internal("no thread can be started").caused_by(e))?;
    let measured = measure(request);
    drop(over);
    // No sign within the answer. That it panicked would be no reason to measure nothing.
    let _ = signs.join();
    measured
}

/// Says that the work goes on, where it does.
fn give_signs(ends: &Receiver<()>) {
    let mut before = pulse::beats();
    while ends.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let now = pulse::beats();
        if now != std::mem::replace(&mut before, now) {
            // Where nobody listens nobody needs it.
            let _ = std::io::stdout().write_all(b"\n").and_then(|()| std::io::stdout().flush());
        }
    }
}

fn measure(request: Request) -> Result<Measured> {
    let started = Instant::now();
    let Request { shape, libraries, kernels } = request;
    let config = &shape.config;
    let search = Search { libraries, cache: kernels };
    let hardware = Hardware { device: shape.device, engine: shape.engine, threads: shape.threads, search };
    let values = config.parameters().iter().map(|p| initial_values(p, 1)).collect();
    let mut backend = backend::open(config, &shape.train, (1, shape.batch), &hardware, &State::untrained(values))?;
    let start_seconds = started.elapsed().as_secs_f64();

    let length = shape.train.sequence_length;
    let own = hardware.is_own_gpu();
    // A step of very many micro-batches takes as long as they do together; the engine on a GPU has steps of one size.
    let cut = if shape.device.is_cpu() { shape::micro_batch } else { shape::plain_unit };
    let micro = shape.train.micro_batch.unwrap_or_else(|| cut(config, length, shape.batch));
    let windows = if own { shape.batch } else { shape.batch.min(2 * micro) };
    let mut stream = Stream::new(1, "probe", &[]);
    let tokens: Vec<u32> = (0..=windows * length).map(|_| stream.below(config.vocabulary as u64) as u32).collect();
    let batch = Sequences { inputs: &tokens[..windows * length], targets: &tokens[1..], length };
    let step = |number| Step { sequences: batch, number, learning_rate: 1e-4 };
    let a_step = if own { seconds_in_a_row(&mut *backend, &step)? } else { seconds_alone(&mut *backend, &step)? };
    let step_seconds = a_step * shape.batch as f64 / windows as f64;
    let mut score = |context: usize| -> Result<f64> {
        let windows = (2_048 / context).clamp(1, 64);
        let tokens: Vec<u32> = (0..=windows * context).map(|i| tokens[i % tokens.len()]).collect();
        let scored = Sequences { inputs: &tokens[..windows * context], targets: &tokens[1..], length: context };
        let mut seconds = 0.0;
        for _ in 0..if own { WARM_UP } else { 1 } {
            let started = Instant::now();
            backend.nll(&scored, &NEVER)?;
            seconds = started.elapsed().as_secs_f64();
            pulse::beat();
        }
        Ok(seconds / (windows * context) as f64)
    };
    let common_seconds = score(shape.common_context)?;
    let native_seconds = if length == shape.common_context { common_seconds } else { score(length)? };
    Ok(Measured {
        step_seconds,
        common_seconds,
        native_seconds,
        start_seconds,
        peak_memory_bytes: peak_memory_bytes(),
        peak_device_memory_bytes: backend.peak_device_memory_bytes().map(|bytes| bytes as i64),
    })
}

/// Seconds of the second of two steps, each waited for.
fn seconds_alone<'a>(backend: &mut dyn Backend, step: &dyn Fn(u64) -> Step<'a>) -> Result<f64> {
    make_step(backend, step(0))?;
    let started = Instant::now();
    make_step(backend, step(1))?;
    Ok(started.elapsed().as_secs_f64())
}

/// Seconds of one of the steps that follow each other on a device, after those in which it loads and records what it needs.
fn seconds_in_a_row<'a>(backend: &mut dyn Backend, step: &dyn Fn(u64) -> Step<'a>) -> Result<f64> {
    for number in 0..WARM_UP {
        make_step(backend, step(number))?;
    }
    let (started, mut in_flight) = (Instant::now(), 0);
    for number in WARM_UP..WARM_UP + IN_A_ROW {
        if in_flight == backend.depth() {
            backend.result()?;
            pulse::beat();
            in_flight -= 1;
        }
        backend.submit(step(number), &NEVER)?;
        in_flight += 1;
    }
    for _ in 0..in_flight {
        backend.result()?;
    }
    Ok(started.elapsed().as_secs_f64() / IN_A_ROW as f64)
}
