//! 16-bit floating point numbers as 32-bit ones. Both conversions are exact.

/// IEEE 754's binary16.
pub(super) fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits & 0x3ff));
    match exponent {
        // Zero and subnormal numbers: so many times 2^-24.
        0 => {
            let size = fraction as f32 / 16_777_216.0;
            if sign == 0 { size } else { -size }
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// bfloat16: the upper half of a 32-bit number.
pub(super) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn every_16_bit_number_is_converted_as_candle_does_it() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for (kind, convert) in [(DType::F16, from_f16 as fn(u16) -> f32), (DType::BF16, from_bf16)] {
            let tensor = Tensor::from_raw_buffer(&bytes, kind, &[1 << 16], &Device::Cpu).unwrap();
            let expected: Vec<f32> = tensor.to_dtype(DType::F32).unwrap().to_vec1().unwrap();
            for (bits, expected) in (0..=u16::MAX).zip(expected) {
                let found = convert(bits);
                assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{kind:?} {bits:#x}");
            }
        }
    }
}
