//! Counts: parameters, floating-point operations and bytes, without a tensor.

use super::config::Config;
use super::cpu;
use crate::experiment::settings::Family;

/// Number of parameters, tied ones once. By formula and not by listing them: a plan asks for thousands of models.
pub fn parameter_count(config: &Config) -> u64 {
    let (c, h, bias) = (config.width as u64, config.hidden as u64, u64::from(config.bias));
    let kv = (config.kv_heads * config.head()) as u64;
    let (block, outside) = match config.family {
        Family::Gpt2 => {
            let (norms, attention, mlp) = (2 * c * (1 + bias), 4 * c * c + bias * 4 * c, 2 * c * h + bias * (h + c));
            (norms + attention + mlp, config.context as u64 * c + c * (1 + bias))
        }
        Family::Llama => {
            let (norms, attention, mlp) = (2 * c, 2 * c * c + 2 * kv * c + bias * (2 * c + 2 * kv), 3 * c * h);
            (norms + attention + mlp, c)
        }
    };
    let embeddings = config.vocabulary as u64 * c * if config.tied { 1 } else { 2 };
    embeddings + outside + config.layers as u64 * block
}

/// Floating-point operations that training on one target token takes, forward and backward: 6 N + 12 · layers · width · L
/// (Kaplan et al. 2020, with attention as in PaLM's appendix B), N without learned positions, which take no product.
pub fn training_flops_per_token(config: &Config, length: usize) -> f64 {
    let positions = match config.family {
        Family::Gpt2 => (config.context * config.width) as u64,
        Family::Llama => 0,
    };
    let products = parameter_count(config) - positions;
    6.0 * products as f64 + 12.0 * (config.layers * config.width * length) as f64
}

/// Floating-point operations that scoring one token takes: a third of training's, since nothing goes backward.
pub fn scoring_flops_per_token(config: &Config, length: usize) -> f64 {
    training_flops_per_token(config, length) / 3.0
}

/// Bytes of everything that does not depend on the batch on the plain path: in 32 bits the weights, what the optimizer keeps (the
/// weights again, two moments, what decays), the gradients, and five arrays as long that an update makes on its way.
pub fn state_bytes(config: &Config) -> u64 {
    4 * 11 * parameter_count(config)
}

/// Bytes that one window of `length` tokens holds on its way through the model and back: what autograd keeps of each block
/// (about 40 values of the width, 12 of the hidden layer, 5 of each attention weight) and of the logits (5 values each).
pub fn window_bytes(config: &Config, length: usize) -> u64 {
    let (t, c) = (length as u64, config.width as u64);
    let block = t * (40 * c + 12 * config.hidden as u64) + 5 * config.heads as u64 * t * t;
    4 * (config.layers as u64 * block + 5 * t * config.vocabulary as u64)
}

/// Bytes that the CPU engine holds in a step of `batch` windows on so many threads: weights, their copies in panels, two
/// moments, the gradients' arrays, and what each thread keeps of the shard that it takes through the model. It does not depend
/// on how many windows go through at once.
pub fn engine_bytes(config: &Config, length: usize, batch: usize, threads: usize) -> u64 {
    let parameters = parameter_count(config);
    let size = cpu::shard_size(batch, length);
    let lanes = cpu::lanes(batch, length, parameters as usize);
    let arrays = cpu::arrays(batch, length, parameters as usize, threads) as u64;
    let rows = (size * length) as u64;
    let (c, h, v) = (config.width as u64, config.hidden as u64, config.vocabulary as u64);
    let row = c + 2 * (config.kv_heads * config.head()) as u64;
    let gates = if config.family == Family::Llama { 2 } else { 1 };
    let exponentials = (size * cpu::exponentials(config, length)) as u64;
    // Of each block two norms, the attention's row and output, the hidden layer before and after, two places of the stream.
    let kept = config.layers as u64 * (rows * (5 * c + row + (gates + 1) * h) + exponentials) + rows * 2 * c;
    let logits = cpu::head_rows(config.vocabulary, rows as usize) as u64 * v;
    let scratch = rows * (h.max(c) + 2 * c) + logits;
    let attention = length as u64 * (8 * config.head() as u64 + 2 * 64);
    let copies = 2 * (parameters + if config.tied { 0 } else { c * v });
    // Where there is one array, another for what is no block's: the embeddings and positions.
    let aside = if arrays == 1 { 2 * c * v + config.context as u64 * c } else { 0 };
    4 * ((3 + arrays) * parameters + aside + copies + threads.min(lanes) as u64 * (kept + scratch + attention))
}

/// Windows that go through the model at once on a GPU: a function of what is trained only, never of the memory that is free, since
/// the cut of a step is part of its arithmetic. At most 16,384 tokens, halved until what is kept on the way (`bytes` of so many
/// windows) is at most 8 GiB; at least one window, at most the batch.
pub fn unit(length: usize, batch: usize, bytes: impl Fn(usize) -> u64) -> usize {
    const TOKENS: usize = 16_384;
    const BYTES: u64 = 8 << 30;
    let mut windows = (TOKENS / length.max(1)).clamp(1, batch.max(1));
    while windows > 1 && bytes(windows) > BYTES {
        windows = windows.div_ceil(2);
    }
    windows
}

/// Windows that go through the model at once on the plain path on a GPU.
pub fn plain_unit(config: &Config, length: usize, batch: usize) -> usize {
    unit(length, batch, |windows| windows as u64 * window_bytes(config, length))
}

/// Windows that go through the model at once on the plain path on a processor: as many as stay below 512 MiB, at least one, at
/// most the batch.
pub fn micro_batch(config: &Config, length: usize, batch: usize) -> usize {
    const TARGET: u64 = 512 << 20;
    usize::try_from(TARGET / window_bytes(config, length).max(1)).unwrap_or(usize::MAX).clamp(1, batch.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Model;

    fn config(layers: usize, heads: usize, width: usize, vocabulary: usize, context: usize) -> Config {
        let model = Model { layers, heads, width, bias: Some(false), ..Model::default() };
        Config::new(&model, vocabulary, context).unwrap()
    }

    #[test]
    fn parameter_counts_are_nanogpts() {
        assert_eq!(parameter_count(&config(4, 4, 128, 65, 64)), 804_096);
        assert_eq!(parameter_count(&config(6, 6, 384, 65, 256)), 10_745_088);
    }

    #[test]
    fn with_biases_and_an_untied_head_gpt2_small_has_its_published_size() {
        let model = Model { layers: 12, heads: 12, width: 768, ..Model::default() };
        assert_eq!(parameter_count(&Config::new(&model, 50_257, 1024).unwrap()), 124_439_808);
        let untied = Model { tied: false, ..model };
        assert_eq!(parameter_count(&Config::new(&untied, 50_257, 1024).unwrap()), 124_439_808 + 50_257 * 768);
    }

    #[test]
    fn llama_with_grouped_heads_counts_each_matrix_once() {
        let model = Model { family: Family::Llama, layers: 2, heads: 4, width: 64, kv_heads: Some(2), ..Model::default() };
        let config = Config::new(&model, 100, 32).unwrap();
        assert_eq!(config.hidden, 192);
        let block = 2 * 64 + 64 * 64 * 2 + 2 * 32 * 64 + 3 * 192 * 64;
        assert_eq!(parameter_count(&config), 100 * 64 + 2 * block + 64);
    }

    #[test]
    fn the_formulas_agree_with_the_list_of_parameters() {
        for family in [Family::Gpt2, Family::Llama] {
            for (layers, heads, kv_heads, width) in [(1, 1, 1, 2), (2, 4, 2, 16), (3, 4, 4, 64), (12, 12, 3, 768)] {
                for (bias, tied) in [(true, true), (true, false), (false, true), (false, false)] {
                    let kv_heads = Some(if family == Family::Gpt2 { heads } else { kv_heads });
                    let model = Model { family, layers, heads, width, kv_heads, bias: Some(bias), tied, ..Model::default() };
                    for (vocabulary, context) in [(2, 4_096), (65, 64), (50_257, 8)] {
                        let config = Config::new(&model, vocabulary, context).unwrap();
                        let values: u64 = config.parameters().iter().map(|p| p.len() as u64).sum();
                        assert_eq!(parameter_count(&config), values, "{config:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn flops_follow_the_formula() {
        let config = config(4, 4, 128, 65, 64);
        assert_eq!(training_flops_per_token(&config, 64), 6.0 * (804_096.0 - 8_192.0) + 12.0 * (4 * 128 * 64) as f64);
    }

    #[test]
    fn the_exponentials_of_short_windows_are_counted_and_longer_ones_keep_none() {
        let bytes = |dropout, length| {
            let config = Config { dropout, ..config(4, 4, 128, 65, 256) };
            engine_bytes(&config, length, 12, 1)
        };
        // With dropout none are kept. A shard is 3 windows, each with 4 layers of 4 heads.
        assert_eq!(bytes(0.0, 64) - bytes(0.1, 64), 4 * 3 * 4 * 4 * 64 * 64);
        assert_eq!(bytes(0.0, 50) - bytes(0.1, 50), 4 * 3 * 4 * 4 * 64 * 64);
        assert_eq!(bytes(0.0, 65), bytes(0.1, 65));
    }

    #[test]
    fn a_micro_batch_is_at_least_one_window_and_at_most_the_batch() {
        let small = config(2, 2, 32, 65, 64);
        assert_eq!(micro_batch(&small, 64, 8), 8);
        let large = config(12, 12, 768, 50_000, 2048);
        assert_eq!(micro_batch(&large, 2048, 8), 1);
    }

    #[test]
    fn a_unit_is_at_most_16_384_tokens_halved_until_it_takes_at_most_8_gib() {
        let of = |length, batch, megabytes: u64| unit(length, batch, |windows| (windows as u64 * megabytes) << 20);
        assert_eq!(of(64, 12, 1), 12, "at most the batch");
        assert_eq!(of(64, 1000, 1), 256);
        assert_eq!(of(256, 64, 128), 64, "8 GiB exactly");
        assert_eq!(of(256, 64, 129), 32);
        assert_eq!(of(100, 1000, 128), 41, "163, halved twice");
        assert_eq!(of(20_000, 8, 1), 1);
        assert_eq!(of(64, 8, 100_000), 1, "at least one");
    }

    #[test]
    fn on_a_gpu_nanogpts_small_models_take_one_or_two_units() {
        assert_eq!(plain_unit(&config(4, 4, 128, 65, 64), 64, 12), 12);
        assert_eq!(plain_unit(&config(6, 6, 384, 65, 256), 256, 64), 32);
    }
}
