//! What the engine takes of a device's memory: the arrays of [`super::arena`], counted instead of allocated, and what is beside them.

use super::arena::{Arrays, extent, layer};
use super::cuda::{WORKSPACE_BYTES, allocated};
use super::layout::Layout;
use super::sizes::Sizes;
use crate::error::Result;
use crate::experiment::settings::Precision;
use crate::model::Config;

impl Sizes {
    /// Bytes that one member's unit of so many windows keeps for its way back.
    pub(super) fn kept_bytes(&self, windows: usize) -> u64 {
        let one = Self { members: 1, ..self.clone() };
        let mut bytes = 0;
        let counted = layer(&one, extent(&one, windows), &mut |_, size| {
            bytes += size;
            Ok(())
        });
        debug_assert!(counted.is_ok(), "counting cannot fail");
        self.layers as u64 * bytes
    }

    /// Bytes of all arrays, as the device allocates them.
    fn bytes(&self) -> u64 {
        let mut bytes = 0;
        let counted = Arrays::new(self, &mut |_, size| {
            bytes += allocated(size);
            Ok(())
        });
        debug_assert!(counted.is_ok(), "counting cannot fail");
        bytes
    }
}

/// Bytes of the device that all arrays take which train `members` models of one shape on windows of `length` tokens, `batch`
/// of them a step, and score windows of up to `longest` tokens. The device itself, the products' workspace and the kernels
/// are beside it ([`AROUND`]).
pub fn bytes(config: &Config, precision: Precision, length: usize, longest: usize, batch: usize, members: usize) -> Result<u64> {
    let layout = Layout::new(config)?;
    Ok(Sizes::new(config, &layout, precision, [length, longest, batch, members], config.dropout > 0.0).bytes())
}

/// Windows that go through the device at once, of a step of `batch` windows of `length` tokens.
pub fn unit(config: &Config, precision: Precision, length: usize, batch: usize) -> Result<usize> {
    let layout = Layout::new(config)?;
    Ok(Sizes::new(config, &layout, precision, [length, length, batch, 1], config.dropout > 0.0).unit().windows)
}

/// Bytes of the device that the context and the kernels take, about: no driver says them.
pub(super) const CONTEXT: u64 = 600_000_000;

/// Bytes of the device beside the arrays: context and kernels, and the products' workspace.
pub const AROUND: u64 = CONTEXT + WORKSPACE_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Model;

    /// nanoGPT's small configuration, its `shakespeare_char`, and GPT-2's size, as (configuration, L, batch).
    fn known() -> [(Config, usize, usize); 3] {
        let config = |layers, heads, width, vocabulary, length| {
            let model = Model { layers, heads, width, bias: Some(false), ..Model::default() };
            Config::new(&model, vocabulary, length).unwrap()
        };
        [
            (config(4, 4, 128, 65, 64), 64, 12),
            (config(6, 6, 384, 65, 256), 256, 64),
            (config(12, 12, 768, 50_304, 1_024), 1_024, 12),
        ]
    }

    fn sizes(config: &Config, precision: Precision, length: usize, batch: usize, members: usize) -> Sizes {
        let layout = Layout::new(config).unwrap();
        Sizes::new(config, &layout, precision, [length, length, batch, members], config.dropout > 0.0)
    }

    fn sum(sizes: &Sizes, wanted: &str) -> u64 {
        let mut bytes = 0;
        Arrays::new(sizes, &mut |name, size| {
            bytes += if name == wanted { size } else { 0 };
            Ok(())
        })
        .unwrap();
        bytes
    }

    #[test]
    fn units_are_whole_windows_of_at_most_16384_tokens_and_8_gib() {
        let [s, m, g] = known();
        let cut = |(config, length, batch): &(Config, usize, usize), precision| {
            let sizes = sizes(config, precision, *length, *batch, 1);
            (sizes.windows, sizes.units)
        };
        assert_eq!([&s, &m].map(|size| cut(size, Precision::F32)), [(12, 1), (64, 1)]);
        assert_eq!([cut(&g, Precision::F32), cut(&g, Precision::Bf16)], [(6, 2), (12, 1)]);
        let (config, ..) = &g;
        assert_eq!(cut(&(config.clone(), 1_024, 1_000), Precision::Bf16), (16, 63));
        let longer = Config { context: 65_536, ..config.clone() };
        assert_eq!(cut(&(longer, 65_536, 3), Precision::Bf16), (1, 3));
    }

    #[test]
    fn arrays_have_the_sizes_that_their_shapes_say() {
        let [(config, length, batch), ..] = known();
        let sizes = sizes(&config, Precision::F32, length, batch, 1);
        let (rows, c, layers) = (12 * 64, 128, 4);
        let scored = 4 * rows;
        // 65 rows of the embedding are padded to 72; every other parameter is a multiple of 64 values.
        let parameters = 804_096 + 7 * 128;
        assert_eq!(sum(&sizes, "parameters"), 4 * parameters);
        assert_eq!(sum(&sizes, "second moments"), 4 * parameters);
        // Training keeps what scoring overwrites from layer to layer.
        assert_eq!(sum(&sizes, "residual stream"), (2 * layers + 1) * 4 * rows * c + 3 * 4 * scored * c);
        assert_eq!(sum(&sizes, "attention weights"), (layers * rows + scored) * 4 * 4 * 64);
        assert_eq!(sum(&sizes, "hidden layer"), (layers * rows + scored) * 4 * 4 * c);
        assert_eq!(sum(&sizes, "logits"), (rows + scored) * 4 * 72);
        assert_eq!(sum(&sizes, "gradient of what was added"), 0, "it is that of the residual stream");
        assert_eq!(sum(&sizes, "masks"), 0);
    }

    #[test]
    fn memory_of_known_configurations_is_what_it_was() {
        let megabytes = known().map(|(config, length, batch)| {
            [Precision::F32, Precision::Bf16].map(|p| bytes(&config, p, length, length, batch, 1).unwrap() / 1_000_000)
        });
        assert_eq!(megabytes, [[86, 52], [4_030, 1_905], [13_019, 8_064]]);
    }

    #[test]
    fn more_of_anything_takes_more_memory() {
        for (config, length, batch) in known() {
            let of = |config: &Config, longest: usize, batch: usize, members: usize| {
                bytes(config, Precision::F32, length, longest, batch, members).unwrap()
            };
            let least = of(&config, length, batch, 1);
            assert!(of(&Config { layers: config.layers + 1, ..config.clone() }, length, batch, 1) > least);
            assert!(of(&Config { dropout: 0.1, ..config.clone() }, length, batch, 1) > least);
            assert!(of(&Config { vocabulary: 2 * config.vocabulary, ..config.clone() }, length, batch, 1) > least);
            assert!(of(&config, 32_768, batch, 1) > least);
            let four = of(&config, length, batch, 4);
            assert!(four > 39 * least / 10 && four <= 4 * least, "{four} and {least}");
        }
    }

    #[test]
    fn sizes_beyond_32_bits_are_counted() {
        let model = Model { layers: 80, heads: 64, width: 8_192, ..Model::default() };
        let config = Config::new(&model, 128_000, 8_192).unwrap();
        let bytes = bytes(&config, Precision::Bf16, 8_192, 8_192, 64, 8).unwrap();
        assert!(bytes > 8 * 18 * 64_000_000_000, "{bytes}");
        let refused = sizes(&config, Precision::Bf16, 8_192, 64, 8).check().unwrap_err();
        assert!(refused.to_string().contains("too large"), "{refused}");
    }
}
