//! What a trial needs: memory while it runs, room on the disk when it is complete.
//!
//! What the model itself holds is counted in [`shape`]. What a worker holds beside it, and how long the rows of its files are, was
//! measured: peaks of resident memory (`VmHWM`) and sizes of files, of models of 4,000 to 10.8 million parameters, 13,000 to a
//! million scored tokens, and vocabularies of 16 to 2,900 tokens. Where the final weights were the best ones the estimate of memory
//! was 0.9 to 1.2 times the peak; the tests hold it against seven of these.

use super::{Circumstances, Facts};
use crate::device::Device;
use crate::error::Result;
use crate::experiment::settings::{Engine, Settings, WhenDone};
use crate::model::{Config, gpu, shape};

/// A worker before it has a model: the program as far as it is used, its libraries, buffers of what it records. Bytes.
const PROCESS: u64 = 50_000_000;
/// Weights once more where the trial writes its sample, and twice where the best ones are read from their file.
const COPIES_OF_WEIGHTS: u64 = 3;
/// Beside the steps that a probe makes: buffers of what is recorded, pages of the program that only a whole trial needs.
const RECORDS: u64 = 16_000_000;
/// Of each scored token: what each window gave for it, its losses by both protocols, its rows on their way to the file.
const MEMORY_OF_A_SCORE: u64 = 100;
/// Of each target of a step, which is gathered whole: its number and that of the token before it.
const MEMORY_OF_A_TARGET: u64 = 8;
/// Of each token of the vocabulary in a tokenizer that was read: its text, its number, its merges.
const MEMORY_OF_A_TOKEN: u64 = 1_000;

/// A row of `steps.parquet`, bytes.
const STEP_ROW: u64 = 60;
/// A row of `token_nll.parquet`.
const SCORE_ROW: u64 = 6;
/// A token in `tokenizer.json`, its merge included.
const TOKENIZER_ENTRY: u64 = 64;
/// Everything else in a trial's folder: descriptions, evaluations, log, outcome.
const REST: u64 = 32_768;

/// Most memory that a trial takes, bytes: of the machine on the processor, of the device elsewhere.
pub(super) fn memory(
    config: &Config,
    settings: &Settings,
    batch: usize,
    scored_tokens: u64,
    circumstances: Circumstances<'_>,
) -> Result<u64> {
    let (train, length) = (&settings.train, settings.train.sequence_length);
    match (circumstances.device, settings.run.engine) {
        (Device::Cpu, _) => {
            let beside = COPIES_OF_WEIGHTS * weights(config)
                + MEMORY_OF_A_SCORE * scored_tokens
                + MEMORY_OF_A_TARGET * (batch * length) as u64
                + MEMORY_OF_A_TOKEN * config.vocabulary as u64;
            Ok(PROCESS + shape::engine_bytes(config, length, batch, circumstances.threads) + beside)
        }
        (Device::Cuda(_), Engine::Own) => Ok(gpu::AROUND + gpu::bytes(config, train.precision, length, length, batch, 1)?),
        (Device::Cuda(_) | Device::Metal, _) => {
            let micro = train.micro_batch.unwrap_or_else(|| shape::plain_unit(config, length, batch)).min(batch);
            Ok(gpu::AROUND + shape::state_bytes(config) + micro as u64 * shape::window_bytes(config, length))
        }
    }
}

/// What a worker holds of the machine's memory beside what a process holds that only makes its steps, bytes: what it records, the
/// losses of scored tokens, its tokenizer, the tokens of its largest step, of which a probe makes a part, and its weights once more while
/// they are written.
pub fn memory_beside_steps(facts: &Facts) -> u64 {
    let scored = facts.validation_tokens.max(facts.test_tokens);
    let tokens = MEMORY_OF_A_SCORE * scored + MEMORY_OF_A_TOKEN * facts.vocabulary;
    RECORDS + 4 * facts.parameters + tokens + MEMORY_OF_A_TARGET * facts.tokens_per_step
}

/// Most bytes that stay in a trial's folder when it is complete, after so many steps: the best weights are counted as others than
/// the final ones.
pub(super) fn disk(config: &Config, settings: &Settings, scored_tokens: u64, steps: u64, common_context: usize) -> u64 {
    let kept = weights(config) + TOKENIZER_ENTRY * config.vocabulary as u64 + REST / 8;
    let checkpoints = match settings.checkpoint.when_done {
        WhenDone::Final => kept,
        WhenDone::Weights => 2 * kept,
        // The best one and the newest, with both moments of the optimizer each.
        WhenDone::All => (settings.checkpoint.keep_last as u64 + 1) * (kept + 2 * weights(config)),
    };
    let protocols = if settings.train.sequence_length == common_context { 1 } else { 2 };
    // Of the final and of the best weights.
    let scores = 2 * protocols * scored_tokens;
    checkpoints + STEP_ROW * steps + SCORE_ROW * scores + REST
}

/// Bytes of all weights.
fn weights(config: &Config) -> u64 {
    4 * shape::parameter_count(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::{Family, Model, Precision};
    use crate::plan::Numbers;

    /// GPT-2 or Llama of so many layers and heads, and so wide.
    fn config(family: Family, (layers, heads, width): (usize, usize, usize), vocabulary: usize, length: usize) -> Config {
        let bias = (family == Family::Gpt2).then_some(true);
        Config::new(&Model { family, layers, heads, width, bias, ..Model::default() }, vocabulary, length).unwrap()
    }

    fn on_one_thread(numbers: &Numbers) -> Circumstances<'_> {
        Circumstances { device: Device::Cpu, memory_bytes: None, threads: 1, limit: 1, common_context: None, numbers }
    }

    #[test]
    fn memory_is_what_workers_of_small_and_large_models_were_seen_to_hold() {
        use Family::{Gpt2, Llama};
        let numbers = Numbers::default();
        let circumstances = on_one_thread(&numbers);
        // Layers, heads, width; length, batch; vocabulary, scored tokens; the worker's `VmHWM` in MB, with one thread.
        for (family, shape, (length, batch), (vocabulary, scored), peak) in [
            (Gpt2, (1, 2, 16), (32, 8), (69, 13_207), 49.3),
            (Gpt2, (2, 4, 96), (64, 16), (69, 13_207), 64.0),
            (Gpt2, (4, 4, 128), (64, 12), (69, 13_207), 89.2),
            (Gpt2, (4, 4, 128), (512, 8), (69, 13_207), 91.3),
            (Gpt2, (2, 4, 128), (64, 8), (2_889, 3_614), 90.1),
            (Gpt2, (6, 6, 384), (256, 8), (69, 13_207), 421.7),
            (Llama, (6, 8, 256), (256, 8), (69, 13_207), 222.3),
        ] {
            let mut settings = Settings::default();
            settings.train.sequence_length = length;
            let config = config(family, shape, vocabulary, length);
            let estimate = memory(&config, &settings, batch, scored, circumstances).unwrap();
            let ratio = estimate as f64 / (peak * 1e6);
            assert!((0.8..=1.2).contains(&ratio), "{family:?} {shape:?}: {ratio:.2} of {peak} MB");
        }
    }

    #[test]
    fn what_a_probe_measures_and_what_it_does_not_do_come_to_what_a_trial_holds() {
        // Parameters; `VmHWM` in MB of the probe and of the trial, with one thread and 13,207 scored tokens.
        for (parameters, probed, peak) in [
            (8_720, 30.3, 44.8),
            (8_720, 30.5, 50.5),
            (240_480, 40.4, 61.3),
            (240_480, 43.0, 57.5),
            (1_615_872, 90.5, 115.3),
            (1_615_872, 103.7, 121.4),
            (3_600_768, 166.5, 182.7),
            (3_600_768, 174.9, 184.3),
            (10_698_624, 380.4, 415.6),
            (21_345_408, 671.1, 752.5),
        ] {
            let facts = Facts { parameters, validation_tokens: 13_207, vocabulary: 69, ..Facts::default() };
            let expected = probed * 1e6 + memory_beside_steps(&facts) as f64;
            let ratio = expected / (peak * 1e6);
            assert!((0.85..=1.15).contains(&ratio), "{parameters} parameters: {ratio:.2} of {peak} MB");
        }
    }

    #[test]
    fn the_tokens_of_a_step_of_a_million_windows_count() {
        let (numbers, config, settings) = (Numbers::default(), config(Family::Gpt2, (1, 2, 16), 69, 256), Settings::default());
        let circumstances = on_one_thread(&numbers);
        let of = |batch| {
            let mut settings = settings.clone();
            settings.train.sequence_length = 256;
            memory(&config, &settings, batch, 13_207, circumstances).unwrap()
        };
        // What goes through the model at once is bounded, the tokens of the step are not.
        assert_eq!(of(1_000_000) - of(100_000), 900_000 * 256 * 8);
        let of_parts =
            |validation_tokens, test_tokens| memory_beside_steps(&Facts { validation_tokens, test_tokens, ..Facts::default() });
        assert_eq!(of_parts(10, 1_000), of_parts(1_000, 10), "one part after the other");
        let facts = |tokens_per_step| Facts { tokens_per_step, ..Facts::default() };
        let step = memory_beside_steps(&facts(256_000_000)) - memory_beside_steps(&facts(0));
        assert_eq!(step, 2_048_000_000);
    }

    #[test]
    fn on_a_gpu_the_engine_takes_less_than_candle_and_bf16_less_than_f32() {
        let (numbers, config) = (Numbers::default(), config(Family::Gpt2, (6, 6, 384), 65, 256));
        let of = |device, engine, precision| {
            let circumstances =
                Circumstances { device, memory_bytes: None, threads: 1, limit: 1, common_context: None, numbers: &numbers };
            let mut settings = Settings::default();
            (settings.train.sequence_length, settings.train.precision, settings.run.engine) = (256, precision, engine);
            memory(&config, &settings, 64, 13_207, circumstances).unwrap()
        };
        let own = of(Device::Cuda(0), Engine::Own, Precision::F32);
        assert!(own > gpu::AROUND + 4 * 4 * shape::parameter_count(&config), "weights, gradients and moments at least");
        assert!(own < 8 << 30, "{own}");
        assert_eq!(of(Device::Cuda(1), Engine::Own, Precision::Tf32), own);
        assert!(of(Device::Cuda(0), Engine::Own, Precision::Bf16) < own);
        assert!(of(Device::Cuda(0), Engine::Candle, Precision::F32) > own);
    }

    #[test]
    fn no_more_than_a_batch_goes_through_a_model_at_once() {
        let (numbers, config) = (Numbers::default(), config(Family::Gpt2, (1, 2, 16), 69, 32));
        let of = |device, micro_batch| {
            let circumstances = Circumstances { device, ..on_one_thread(&numbers) };
            let mut settings = Settings::default();
            (settings.run.engine, settings.train.micro_batch) = (Engine::Candle, micro_batch);
            memory(&config, &settings, 16, 0, circumstances).unwrap()
        };
        for device in [Device::Cuda(0), Device::Metal] {
            assert_eq!(of(device, Some(1_000)), of(device, Some(16)));
            assert!(of(device, Some(4)) < of(device, Some(16)));
        }
    }

    #[test]
    fn what_stays_on_disk_is_weights_steps_and_the_losses_of_every_token() {
        let config = config(Family::Gpt2, (1, 2, 16), 69, 32);
        let mut settings = Settings::default();
        settings.train.sequence_length = 32;
        let disk = |settings: &Settings, scored, steps, context| disk(&config, settings, scored, steps, context);
        let all = disk(&settings, 1_000_000, 3_000, 32);
        assert_eq!(all - disk(&settings, 1_000_000, 2_000, 32), 1_000 * STEP_ROW);
        assert_eq!(all - disk(&settings, 0, 3_000, 32), 2_000_000 * SCORE_ROW);
        assert_eq!(disk(&settings, 1_000_000, 3_000, 16) - all, 2_000_000 * SCORE_ROW, "by both protocols");
        settings.checkpoint.when_done = WhenDone::Final;
        let one = disk(&settings, 0, 0, 32);
        settings.checkpoint.when_done = WhenDone::All;
        assert!(one < disk(&settings, 0, 0, 32));
        assert!(one > weights(&config));
    }
}
