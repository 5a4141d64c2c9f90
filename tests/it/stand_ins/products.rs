//! Products through the stand-in of cublasLt.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use super::{Gpu, Handle};
use crate::host_gpu::{libraries, strict_libraries};

/// A column-major product through cublasLt, as `cublasLt.h` names its parts.
struct Product {
    sizes: [u64; 3],
    transposed: [bool; 2],
    leading: [i64; 3],
    batch: i32,
    strides: [i64; 3],
    types: [c_int; 3],
    factors: [f32; 2],
    bias: Option<(u64, i64)>,
    compute: c_int,
}

const F32: c_int = 0;
const BF16: c_int = 14;

impl Product {
    fn of(m: u64, n: u64, k: u64, transposed: [bool; 2]) -> Self {
        let (a, b) = (if transposed[0] { k } else { m }, if transposed[1] { n } else { k });
        Self {
            sizes: [m, n, k],
            transposed,
            leading: [a, b, m].map(|x| i64::try_from(x).unwrap()),
            batch: 1,
            strides: [m * k, k * n, m * n].map(|x| i64::try_from(x).unwrap()),
            types: [F32; 3],
            factors: [1.0, 0.0],
            bias: None,
            compute: 68,
        }
    }

    /// Multiplies, with the algorithm that was chosen for one member.
    fn run(&self, gpu: &Gpu, a: u64, b: u64, c: u64) -> Result<(), String> {
        let lt = &gpu.products;
        let done = |code: c_int| if code == 0 { Ok(()) } else { Err(format!("cublasLt answered {code}")) };
        let [m, n, k] = self.sizes;
        let [ta, tb] = self.transposed;
        let (mut handle, mut description, mut preference): (Handle, Handle, Handle) = (null_mut(), null_mut(), null_mut());
        done(call!(lt, b"cublasLtCreate\0", &raw mut handle => *mut Handle))?;
        done(call!(lt, b"cublasLtMatmulDescCreate\0", &raw mut description => *mut Handle, self.compute => c_int, F32 => c_int))?;
        let attribute = |number: c_int, value: *const c_void, bytes: usize| {
            done(
                call!(lt, b"cublasLtMatmulDescSetAttribute\0", description => Handle, number => c_int, value => *const c_void, bytes => usize),
            )
        };
        for (number, transposed) in [(3, ta), (4, tb)] {
            attribute(number, (&raw const *if transposed { &1i32 } else { &0i32 }).cast(), 4)?;
        }
        if let Some((address, stride)) = self.bias {
            let with_bias = 4u32;
            attribute(7, (&raw const with_bias).cast(), 4)?;
            attribute(8, (&raw const address).cast(), 8)?;
            attribute(10, (&raw const stride).cast(), 8)?;
        }
        let shapes = [if ta { (k, m) } else { (m, k) }, if tb { (n, k) } else { (k, n) }, (m, n)];
        let layouts = |batch: i32| -> Vec<Handle> {
            (0..3)
                .map(|i| {
                    let mut layout: Handle = null_mut();
                    call!(lt, b"cublasLtMatrixLayoutCreate\0", &raw mut layout => *mut Handle, self.types[i] => c_int,
                        shapes[i].0 => u64, shapes[i].1 => u64, self.leading[i] => i64);
                    call!(lt, b"cublasLtMatrixLayoutSetAttribute\0", layout => Handle, 5 => c_int, &raw const batch => *const i32, 4 => usize);
                    call!(lt, b"cublasLtMatrixLayoutSetAttribute\0", layout => Handle, 6 => c_int, &raw const self.strides[i] => *const i64, 8 => usize);
                    layout
                })
                .collect()
        };
        done(call!(lt, b"cublasLtMatmulPreferenceCreate\0", &raw mut preference => *mut Handle))?;
        let workspace_bytes = 1u64 << 16;
        for (number, value, bytes) in [(1, workspace_bytes, 8), (5, 4, 4), (6, 4, 4), (7, 4, 4), (8, 4, 4)] {
            done(
                call!(lt, b"cublasLtMatmulPreferenceSetAttribute\0", preference => Handle, number => c_int, &raw const value => *const u64, bytes => usize),
            )?;
        }
        let (one, mut result, mut count) = (layouts(1), [0u64; 12], 0);
        done(
            call!(lt, b"cublasLtMatmulAlgoGetHeuristic\0", handle => Handle, description => Handle, one[0] => Handle, one[1] => Handle,
            one[2] => Handle, one[2] => Handle, preference => Handle, 1 => c_int, &raw mut result => *mut [u64; 12], &raw mut count => *mut c_int),
        )?;
        assert_eq!(count, 1);
        let (all, algorithm) = (layouts(self.batch), result);
        done(
            call!(lt, b"cublasLtMatmulAlgoCheck\0", handle => Handle, description => Handle, all[0] => Handle, all[1] => Handle,
            all[2] => Handle, all[2] => Handle, &raw const algorithm => *const [u64; 12], &raw mut result => *mut [u64; 12]),
        )?;
        let workspace = gpu.array(usize::try_from(workspace_bytes).unwrap())?;
        done(call!(lt, b"cublasLtMatmul\0", handle => Handle, description => Handle, &raw const self.factors[0] => *const f32,
            a => u64, all[0] => Handle, b => u64, all[1] => Handle, &raw const self.factors[1] => *const f32, c => u64, all[2] => Handle,
            c => u64, all[2] => Handle, &raw const algorithm => *const [u64; 12], workspace => u64,
            usize::try_from(workspace_bytes).unwrap() => usize, gpu.stream => Handle))?;
        gpu.wait()
    }
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// The nearest bfloat16, ties to even.
fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[test]
fn products_of_all_shapes_and_types_are_right() {
    let gpu = Gpu::open(&strict_libraries());
    for (case, transposed) in [[false, false], [true, false], [false, true], [true, true]].into_iter().enumerate() {
        for narrow in [false, true] {
            let (m, n, k, batch) = (37, 21, 50, 3);
            let mut product = Product::of(m, n, k, transposed);
            product.batch = batch;
            product.factors = [0.5, if case % 2 == 0 { 1.0 } else { 0.0 }];
            let [m, n, k] = product.sizes.map(|x| usize::try_from(x).unwrap());
            let (a, b, c, bias) = (numbers(3 * m * k, 1), numbers(3 * k * n, 2), numbers(3 * m * n, 3), numbers(3 * m, 4));
            let round = |v: f32| if narrow { widened(bf16(v)) } else { v };
            let put = |v: &[f32]| if narrow { gpu.put(&v.iter().map(|&x| bf16(x)).collect::<Vec<_>>()) } else { gpu.put(v) };
            if narrow {
                product.types = [BF16; 3];
            }
            product.bias = Some((put(&bias), i64::try_from(m).unwrap()));
            let at = put(&c);
            product.run(&gpu, put(&a), put(&b), at).unwrap();
            let result: Vec<f32> = if narrow {
                gpu.get::<u16>(at, c.len()).unwrap().into_iter().map(widened).collect()
            } else {
                gpu.get(at, c.len()).unwrap()
            };
            for member in 0..3 {
                for (row, column) in (0..m).flat_map(|r| (0..n).map(move |c| (r, c))) {
                    let left = |p: usize| a[member * m * k + if transposed[0] { row * k + p } else { p * m + row }];
                    let right = |p: usize| b[member * k * n + if transposed[1] { p * n + column } else { column * k + p }];
                    let sum: f64 = (0..k).map(|p| f64::from(round(left(p))) * f64::from(round(right(p)))).sum();
                    let place = member * m * n + column * m + row;
                    let old = f64::from(product.factors[1]) * f64::from(round(c[place]));
                    let expected = 0.5 * sum + old + f64::from(round(bias[member * m + row]));
                    let tolerance = if narrow { 0.005 * expected.abs() + 1e-5 } else { 1e-5 };
                    assert!((f64::from(result[place]) - expected).abs() <= tolerance, "{} for {expected}", result[place]);
                }
            }
        }
    }
}

#[test]
fn a_members_product_has_the_same_bits_for_any_number_of_members() {
    let gpu = Gpu::open(&strict_libraries());
    let (a, b) = (gpu.put(&numbers(4 * 40 * 33, 1)), gpu.put(&numbers(4 * 33 * 19, 2)));
    let mut product = Product::of(40, 19, 33, [false, false]);
    let of = |product: &Product, count: usize| {
        let c = gpu.array(count * 40 * 19 * 4).unwrap();
        product.run(&gpu, a, b, c).unwrap();
        gpu.get::<f32>(c, 40 * 19).unwrap()
    };
    let one = of(&product, 1);
    product.batch = 4;
    assert_eq!(one, of(&product, 4));
    // TF32 rounds the operands: another result, by less than two of its last places.
    product.compute = 77;
    let rounded = of(&product, 4);
    assert_ne!(one, rounded);
    assert!(one.iter().zip(&rounded).all(|(x, y)| (x - y).abs() < 33.0 / 1024.0));
}

#[test]
fn a_product_that_reaches_beyond_an_array_or_that_does_not_fit_is_refused() {
    let gpu = Gpu::open(libraries());
    let [a, b, c] = [40 * 33, 33 * 19, 40 * 19].map(|count| gpu.put(&numbers(count, 1)));
    let product = Product::of(40, 19, 33, [false, false]);
    product.run(&gpu, a, b, c).unwrap();
    assert!(product.run(&gpu, a + 4, b, c).is_err());
    assert!(product.run(&gpu, a, b, c + 4).is_err());
    assert!(product.run(&gpu, a, b, a).is_err());
    assert!(Product { leading: [40, 34, 40], ..Product::of(40, 19, 33, [false, false]) }.run(&gpu, a, b, c).is_err());
    assert!(Product { types: [F32, BF16, F32], ..Product::of(40, 19, 33, [false, false]) }.run(&gpu, a, b, c).is_err());
    product.run(&gpu, a, b, c).unwrap();
}
