//! `activation.cu`.

use std::f64::consts::{PI, SQRT_2};

use statrs::function::erf::erf;
use votive::model::gpu::cuda::Argument;

use super::bench::{Kind, NULL, check, int, long, slopes};

fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + erf(x / SQRT_2))
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

type Named = (&'static str, fn(f64) -> f64);

const BOTH: [Named; 2] = [("gelu", gelu), ("gelu_tanh", gelu_tanh)];

fn swiglu(gate: f64, up: f64) -> f64 {
    gate / (1.0 + (-gate).exp()) * up
}

/// Numbers from −6 to 6.
fn wide(x: f64) -> f64 {
    4.0 * x
}

#[test]
fn both_forms_of_gelu_are_their_definitions() {
    check(|case| {
        for ((name, definition), each) in BOTH.into_iter().flat_map(|both| [1, 5, 1_023, 1_100].map(|each| (both, each))) {
            let x = case.values(case.operand, each, |member, i| wide(super::bench::random(member, 1, i)));
            let y = case.unwritten(case.operand, each);
            let count = each * case.count();
            case.launch(name, [count.div_ceil(1_024), 1, 1], 256, 0, &[x.pointer(), y.pointer(), long(count)]);
            let expected: Vec<f64> = x.seen.iter().map(|&x| definition(x)).collect();
            case.expect(name, &y, &expected, 2e-6);
        }
    });
}

#[test]
fn gelu_has_the_slope_that_differences_show_and_its_columns_are_summed() {
    check(|case| {
        for ((name, definition), sums) in BOTH.into_iter().flat_map(|both| [(both, true), (both, false)]) {
            for (rows, width, group_rows) in [(1, 1, 8), (3, 20, 8), (21, 5, 8), (13, 300, 5)] {
                let x = case.values(case.operand, rows * width, |member, i| wide(super::bench::random(member, 1, i)));
                let dy = case.operands(2, rows * width);
                let (groups, columns) = (rows.div_ceil(group_rows), width + 3);
                let matrix = case.unwritten(Kind::Float, groups * columns);
                let part = if sums { Argument::Pointer(matrix.at(2)) } else { NULL };
                let arguments = [x.pointer(), dy.pointer(), part, long(columns), int(rows), int(width), int(group_rows)];
                let columns_of_block = if width % 4 == 0 { 256 } else { 64 };
                let grid = [width.div_ceil(columns_of_block), groups, case.count()];
                case.launch(&format!("{name}_backward"), grid, 64, 0, &arguments);
                let along = |x: f64| slopes(&[x], |x| definition(x[0]))[0];
                let expected: Vec<f64> = x.seen.iter().zip(&dy.seen).map(|(&x, dy)| dy * along(x)).collect();
                let mut summed = vec![f64::NAN; groups * columns * case.count()];
                for (i, slope) in expected.iter().enumerate() {
                    let (k, row, c) = (i / (rows * width), i / width % rows, i % width);
                    let place = &mut summed[(k * groups + row / group_rows) * columns + 2 + c];
                    if sums {
                        *place = if place.is_nan() { *slope } else { *place + slope };
                    }
                }
                case.expect("dx", &dy, &expected, 2e-6);
                case.expect("sums", &matrix, &summed, 5e-6);
            }
        }
    });
}

#[test]
fn swiglu_and_its_slopes_are_their_definitions() {
    check(|case| {
        for (rows, width) in [(1, 1), (3, 20), (2, 5), (5, 130)] {
            let x = case.values(case.operand, rows * 2 * width, |member, i| wide(super::bench::random(member, 1, i)));
            let dy = case.operands(2, rows * width);
            let (y, dx) = (case.unwritten(case.operand, rows * width), case.unwritten(case.operand, rows * 2 * width));
            let grid = [rows * case.count(), 1, 1];
            case.launch("swiglu", grid, 128, 0, &[x.pointer(), y.pointer(), int(width)]);
            case.launch("swiglu_backward", grid, 128, 0, &[x.pointer(), dy.pointer(), dx.pointer(), int(width)]);
            let (mut forward, mut backward) = (Vec::new(), Vec::new());
            for (row, dy) in x.seen.chunks(2 * width).zip(dy.seen.chunks(width)) {
                let sum = |row: &[f64]| (0..width).map(|c| dy[c] * swiglu(row[c], row[width + c])).sum();
                forward.extend((0..width).map(|c| swiglu(row[c], row[width + c])));
                backward.extend(slopes(row, sum));
            }
            case.expect("y", &y, &forward, 2e-6);
            case.expect("dx", &dx, &backward, 2e-6);
        }
    });
}
