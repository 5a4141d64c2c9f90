//! What a device does not take of a configuration.

use crate::device::Device;
use crate::experiment::settings::{DeviceChoice, Engine, Precision, Settings};
use crate::experiment::{Severity, Unfit};
use crate::model::{Config, gpu};

/// What of these settings this device does not take. `known` tells the model that they come to and the windows of a step, where
/// that is known; it is asked only where it decides.
///
/// Under `run.device: auto` the processor's limits are warnings: the file may be meant for a machine with a GPU. On the
/// processor itself such a configuration is not trained (see [`crate::train`]).
pub fn unfit(device: Device, settings: &Settings, known: &mut dyn FnMut() -> Option<(Config, usize)>) -> Vec<Unfit> {
    let (train, engine) = (&settings.train, settings.run.engine);
    let precision = word(&train.precision);
    let mut found = Vec::new();
    let mut add = |keys, message, help: &str, severity| found.push(Unfit { keys, message, help: help.to_owned(), severity });
    match device {
        Device::Cpu => {
            let severity = if settings.run.device == DeviceChoice::Auto { Severity::Warning } else { Severity::Error };
            if train.precision != Precision::F32 {
                let message = format!("`train.precision: {precision}` needs a GPU, and these trials run on the processor");
                let help = "leave it at `f32`, or set `run.device: cuda` on a machine that has one";
                add(&["train.precision"], message, help, severity);
            }
            if engine == Engine::Candle {
                let message = "`run.engine: candle` is for NVIDIA GPUs: the processor has one engine".to_owned();
                add(&["run.engine"], message, "leave it at `own`", severity);
            }
        }
        Device::Metal if train.precision == Precision::Tf32 => {
            let message = "`train.precision: tf32` needs an NVIDIA GPU".to_owned();
            add(&["train.precision"], message, "leave it at `f32`, or set `bf16`", Severity::Error);
        }
        Device::Cuda(_) if engine == Engine::Own => {
            let half = train.precision == Precision::Bf16;
            let Some((config, batch)) = (half || train.micro_batch.is_some()).then(known).flatten() else { return found };
            let widths = [config.width, config.head(), config.hidden];
            if half && !widths.iter().all(|width| width.is_multiple_of(8)) {
                let [width, head, hidden] = widths;
                let message = format!(
                    "`train.precision: bf16` needs widths that are multiples of 8: the model is {width} wide, a head {head}, the \
                     hidden layer {hidden}"
                );
                let help = "choose other widths or heads, or a `train.precision` of `tf32`";
                add(&["train.precision", "model.width", "model.heads"], message, help, Severity::Error);
            }
            if let Some(micro_batch) = train.micro_batch
                && let Ok(unit) = gpu::unit(&config, train.precision, train.sequence_length, batch)
                && micro_batch < unit
            {
                let message = format!(
                    "`train.micro_batch` {micro_batch} is fewer windows than go through a GPU at once: {unit}, which follows from \
                     the configuration"
                );
                let help = "take it out: what a step needs stands in `votive plan`";
                add(&["train.micro_batch"], message, help, Severity::Error);
            }
        }
        Device::Cuda(_) | Device::Metal => {}
    }
    found
}

/// A setting of one word, as it is written.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Model;

    /// Severities and messages of what is wrong.
    fn of(device: Device, settings: &Settings) -> Vec<(Severity, String)> {
        let mut known = || Some((Config::new(&settings.model, 65, settings.train.sequence_length).ok()?, 12));
        unfit(device, settings, &mut known).into_iter().map(|unfit| (unfit.severity, unfit.message)).collect()
    }

    #[test]
    fn whatever_device_takes_the_defaults() {
        for device in [Device::Cpu, Device::Cuda(1), Device::Metal] {
            assert_eq!(of(device, &Settings::default()), []);
        }
    }

    #[test]
    fn what_only_gpus_have_is_an_error_on_the_processor_and_a_warning_under_auto() {
        for (choice, severity) in [(DeviceChoice::Auto, Severity::Warning), (DeviceChoice::This(Device::Cpu), Severity::Error)] {
            let mut settings = Settings::default();
            settings.run.device = choice;
            for (precision, name) in [(Precision::Tf32, "tf32"), (Precision::Bf16, "bf16")] {
                settings.train.precision = precision;
                let message = format!("`train.precision: {name}` needs a GPU, and these trials run on the processor");
                assert_eq!(of(Device::Cpu, &settings), [(severity, message)]);
                assert_eq!(of(Device::Cuda(0), &settings), []);
            }
            settings.train.precision = Precision::F32;
            settings.run.engine = Engine::Candle;
            let message = "`run.engine: candle` is for NVIDIA GPUs: the processor has one engine".to_owned();
            assert_eq!(of(Device::Cpu, &settings), [(severity, message)]);
            assert_eq!(of(Device::Metal, &settings), []);
        }
    }

    #[test]
    fn an_apple_gpu_has_no_tf32() {
        let mut settings = Settings::default();
        settings.train.precision = Precision::Tf32;
        assert_eq!(of(Device::Metal, &settings), [(Severity::Error, "`train.precision: tf32` needs an NVIDIA GPU".to_owned())]);
    }

    #[test]
    fn half_precision_needs_widths_of_multiples_of_8() {
        let mut settings = Settings::default();
        settings.train.precision = Precision::Bf16;
        settings.model = Model { width: 100, heads: 4, ..Model::default() };
        let found = of(Device::Cuda(0), &settings);
        assert!(found[0].1.ends_with("the model is 100 wide, a head 25, the hidden layer 400"), "{found:?}");
        settings.train.precision = Precision::Tf32;
        assert_eq!(of(Device::Cuda(0), &settings), []);
        settings.train.precision = Precision::Bf16;
        settings.run.engine = Engine::Candle;
        assert_eq!(of(Device::Cuda(0), &settings), [], "candle takes any");
    }

    #[test]
    fn a_micro_batch_smaller_than_the_unit_is_refused_by_the_engine_for_gpus() {
        let mut settings = Settings::default();
        for (micro_batch, right) in [(11, false), (12, true), (100, true)] {
            settings.train.micro_batch = Some(micro_batch);
            assert_eq!(of(Device::Cuda(0), &settings).is_empty(), right, "{micro_batch}");
            assert_eq!(of(Device::Cpu, &settings), []);
        }
        settings.train.micro_batch = Some(1);
        let found = of(Device::Cuda(0), &settings);
        assert!(found[0].1.contains("go through a GPU at once: 12"), "{found:?}");
        settings.run.engine = Engine::Candle;
        assert_eq!(of(Device::Cuda(0), &settings), []);
    }
}
