//! Products of the device beside the same on the processor: what a GPU shows before it is trusted with a training.

use serde::Serialize;

use super::cuda::{Array, Gpu, Product, Shape, Type};
use super::launch::Products;
use crate::error::Result;

/// Elements of a product that are computed on the processor, at most; the corners are always among them.
const ELEMENTS: usize = 512;

/// A product of the device beside the same in 64 bits.
#[derive(Debug, Clone, Serialize)]
pub struct ProductCheck {
    /// What is multiplied, as in `[64, 128]ᵀ · [64, 96]`, and how.
    pub product: String,
    /// The largest difference, as a part of what rounding allows: right up to 1. Not a number where a result is none.
    pub off: f64,
}

/// Computes every product that was prepared on made-up numbers.
pub(super) fn products(gpu: &Gpu, products: &Products) -> Result<Vec<ProductCheck>> {
    let mut checks = Vec::new();
    products.each(&mut |product| {
        checks.push(check(gpu, product)?);
        Ok(())
    })?;
    Ok(checks)
}

/// A number in [-1, 1] that every type of a product holds exactly, so that only sums and the result are rounded.
fn number(matrix: u32, place: usize) -> f32 {
    let mixed = (place as u32 ^ matrix << 28).wrapping_mul(0x9e37_79b1);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca77);
    ((mixed >> 16) % 129) as f32 / 64.0 - 1.0
}

/// An array of such numbers.
fn made_up(gpu: &Gpu, kind: Type, matrix: u32, count: usize) -> Result<Array> {
    let array = gpu.array("a matrix to check products with", (count * kind.bytes()) as u64)?;
    let numbers = (0..count).map(|place| number(matrix, place));
    let bytes: Vec<u8> = match kind {
        Type::F32 => numbers.flat_map(f32::to_ne_bytes).collect(),
        // The upper half of the bits, as the lower half is 0.
        Type::Bf16 => numbers.flat_map(|number| ((number.to_bits() >> 16) as u16).to_ne_bytes()).collect(),
    };
    gpu.write(array.at(0), &bytes)?;
    Ok(array)
}

fn check(gpu: &Gpu, product: &Product) -> Result<ProductCheck> {
    let shape = *product.shape();
    let Shape { m, n, k, ta, tb, lda, ldb, ldc, batch, .. } = shape;
    let extent = |rows: usize, leading: usize, stride: i64| rows * leading + (batch - 1) * stride as usize;
    let on_a = made_up(gpu, shape.a, 1, extent(if ta { k } else { m }, lda, shape.stride_a))?;
    let on_b = made_up(gpu, shape.b, 2, extent(if tb { n } else { k }, ldb, shape.stride_b))?;
    let on_c = made_up(gpu, shape.c, 3, extent(m, ldc, shape.stride_c))?;
    let on_bias = made_up(gpu, shape.c, 4, n + (batch - 1) * shape.bias_stride as usize)?;
    gpu.multiply(product, on_a.at(0), on_b.at(0), on_c.at(0), shape.bias.then(|| on_bias.at(0)))?;
    let mut bytes = vec![0; on_c.bytes() as usize];
    gpu.read(on_c.at(0), &mut bytes)?;
    let result = |place: usize| match shape.c {
        Type::F32 => f32::from_ne_bytes(std::array::from_fn(|i| bytes[4 * place + i])),
        Type::Bf16 => f32::from_bits(u32::from(u16::from_ne_bytes(std::array::from_fn(|i| bytes[2 * place + i]))) << 16),
    };

    let all = batch * m * n;
    let step = all.div_ceil(ELEMENTS).max(1);
    let mut worst = 0f64;
    for element in (0..all).step_by(step).chain([all - 1]) {
        let (which, i, j) = (element / (m * n), element / n % m, element % n);
        let at = |stride: i64| which * stride as usize;
        let (mut sum, mut size) = (0f64, 0f64);
        for l in 0..k {
            let x = number(1, at(shape.stride_a) + if ta { l * lda + i } else { i * lda + l });
            let y = number(2, at(shape.stride_b) + if tb { j * ldb + l } else { l * ldb + j });
            sum += f64::from(x) * f64::from(y);
            size += f64::from(x * y).abs();
        }
        let place = at(shape.stride_c) + i * ldc + j;
        let bias = if shape.bias { number(4, at(shape.bias_stride) + j) } else { 0.0 };
        let expected = f64::from(shape.alpha) * sum + f64::from(shape.beta * number(3, place)) + f64::from(bias);
        let rounding = if shape.c == Type::Bf16 { expected.abs() / 256.0 } else { 0.0 };
        let allowed = rounding + (size + 2.0) * 1e-6;
        let off = (f64::from(result(place)) - expected).abs() / allowed;
        worst = if off > worst || off.is_nan() { off } else { worst };
    }
    Ok(ProductCheck { product: words(&shape), off: worst })
}

/// A shape in words.
fn words(shape: &Shape) -> String {
    let Shape { m, n, k, ta, tb, batch, .. } = *shape;
    let matrix = |rows: usize, columns: usize, transposed: bool| {
        if transposed { format!("[{columns}, {rows}]ᵀ") } else { format!("[{rows}, {columns}]") }
    };
    let kind = |kind: Type| if kind == Type::F32 { "f32" } else { "bf16" };
    let mut text = format!("{} · {}", matrix(m, k, ta), matrix(k, n, tb));
    if shape.bias {
        text.push_str(" + bias");
    }
    if shape.beta != 0.0 {
        text.push_str(" + C");
    }
    let tf32 = if shape.tf32 { ", tf32" } else { "" };
    format!("{batch} × {text}, {} to {}{tf32}", kind(shape.a), kind(shape.c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_every_type_and_differ_from_place_to_place() {
        let numbers: Vec<f32> = (0..1000).map(|place| number(1, place)).collect();
        assert!(numbers.iter().all(|n| n.to_bits() & 0xffff == 0 && n.abs() <= 1.0));
        let mean = numbers.iter().sum::<f32>() / 1000.0;
        assert!(mean.abs() < 0.1, "{mean}");
        let mut different: Vec<u32> = numbers.iter().map(|n| n.to_bits()).collect();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 100, "{}", different.len());
    }

    #[test]
    fn a_shape_is_said_in_words() {
        let shape = Shape { ta: true, lda: 4, batch: 2, bias: true, c: Type::Bf16, ..Shape::new(4, 6, 8) };
        assert_eq!(words(&shape), "2 × [8, 4]ᵀ · [8, 6] + bias, f32 to bf16");
    }
}
