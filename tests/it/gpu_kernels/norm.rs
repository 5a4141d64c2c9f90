//! `norm.cu` and `columns.cu`.

use votive::model::gpu::cuda::{Argument, Operand};

use super::bench::{Case, Kind, Member, NULL, Values, check, check_one, int, long, masked, pointer, slopes};

const EPSILON: f64 = 1e-5;
const FACTOR: f32 = 1.25;
/// Rows and columns.
const SHAPES: [[usize; 2]; 7] = [[1, 1], [1, 20], [3, 5], [65, 7], [9, 128], [5, 130], [2, 1_028]];

/// Mean (0 where it is RMS norm) and 1 / √(variance + ε) of a row.
fn statistics(x: &[f64], centred: bool) -> [f64; 2] {
    let n = x.len() as f64;
    let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    [mean, 1.0 / (variance + EPSILON).sqrt()]
}

fn normed(x: &[f64], weight: &[f64], bias: Option<&[f64]>, centred: bool) -> Vec<f64> {
    let [mean, over] = statistics(x, centred);
    x.iter().enumerate().map(|(c, x)| (x - mean) * over * weight[c] + bias.map_or(0.0, |bias| bias[c])).collect()
}

fn table(case: &Case<'_>) -> Values {
    case.table(|_| Member { dropout_factor: FACTOR, ..Member::NONE })
}

/// What is asked of a forward norm.
#[derive(Clone, Copy)]
struct Forward {
    centred: bool,
    delta: bool,
    dropout: bool,
    bias: bool,
    in_place: bool,
}

fn forward(case: &Case<'_>, [rows, width]: [usize; 2], asked: Forward) {
    let Forward { centred, delta, dropout, bias, in_place } = asked;
    let x = case.floats(1, rows * width);
    let delta = delta.then(|| case.operands(2, rows * width));
    let bits = dropout.then(|| case.words(3, rows * width.div_ceil(32)));
    let weight = case.parameter(4, width);
    let bias = (bias && centred).then(|| case.parameter(5, width));
    let members = table(case);
    let own = case.unwritten(Kind::Float, rows * width);
    let x_out = if in_place { &x } else { &own };
    let y = case.unwritten(case.operand, rows * width);
    let [mean, rstd] = [0, 1].map(|_| case.unwritten(Kind::Float, rows));
    let grid = [rows.div_ceil(4), case.count(), 1];
    let mut arguments = vec![x.pointer(), pointer(delta.as_ref()), pointer(bits.as_ref()), members.pointer(), weight.pointer()];
    if centred {
        arguments.push(pointer(bias.as_ref()));
    }
    arguments.extend([weight.stride(), if delta.is_some() { x_out.pointer() } else { NULL }, y.pointer()]);
    if centred {
        arguments.push(mean.pointer());
    }
    arguments.extend([rstd.pointer(), int(rows), int(width), Argument::Float(EPSILON as f32)]);
    case.launch(if centred { "layer_norm" } else { "rms_norm" }, grid, 128, 0, &arguments);

    let [mut sums, mut all, mut means, mut overs] = [const { Vec::new() }; 4];
    for k in 0..case.count() {
        for row in 0..rows {
            let sum: Vec<f64> = (0..width)
                .map(|c| {
                    let more = delta.as_ref().map_or(0.0, |delta| delta.of(k)[row * width + c]);
                    x.of(k)[row * width + c] + more * masked(bits.as_ref().map(|b| b.of(k)), row, width, c, f64::from(FACTOR))
                })
                .collect();
            let [mean, over] = statistics(&sum, centred);
            all.extend(normed(&sum, weight.of(k), bias.as_ref().map(|b| b.of(k)), centred));
            sums.extend(sum);
            means.push(mean);
            overs.push(over);
        }
    }
    // A row of one column is its own mean: what is left of it is rounding, made large.
    let tolerance = if width == 1 && centred { 1e-4 } else { 2e-5 };
    case.expect("normed", &y, &all, tolerance);
    case.expect("rstd", &rstd, &overs, tolerance);
    if centred {
        case.expect("mean", &mean, &means, 1e-6);
    }
    if delta.is_some() {
        case.expect("x_out", x_out, &sums, 1e-6);
    }
    if !in_place || delta.is_none() {
        case.untouched("x", &x);
    }
}

#[test]
fn layer_norm_and_rms_norm_are_their_definitions() {
    let plain = Forward { centred: true, delta: false, dropout: false, bias: true, in_place: false };
    check(|case| {
        for shape in SHAPES {
            forward(case, shape, plain);
            forward(case, shape, Forward { centred: false, ..plain });
        }
        forward(case, [9, 20], Forward { bias: false, ..plain });
    });
}

#[test]
fn norms_add_what_a_layer_adds_to_the_residual_stream() {
    check(|case| {
        for (shape, centred) in SHAPES.into_iter().flat_map(|shape| [(shape, true), (shape, false)]) {
            for (dropout, in_place) in [(false, false), (true, false), (true, true)] {
                forward(case, shape, Forward { centred, delta: true, dropout, bias: true, in_place });
            }
        }
    });
}

/// What is asked of a norm's way back.
#[derive(Clone, Copy)]
struct Backward {
    centred: bool,
    dropout: bool,
    dy: bool,
    sums: bool,
    accumulate: bool,
}

fn backward(case: &Case<'_>, [rows, width]: [usize; 2], group_rows: usize, asked: Backward) {
    let Backward { centred, dropout, dy, sums, accumulate } = asked;
    let dnormed = case.operands(1, rows * width);
    let x = case.floats(2, rows * width);
    let row_of = |x: &[f64], row: usize| x[row * width..(row + 1) * width].to_vec();
    let statistic = |which: usize| {
        let numbers: Vec<f64> = x.seen.chunks(width).map(|row| statistics(row, centred)[which]).collect();
        let place = |member: u64| case.members.iter().position(|&m| m == member).unwrap();
        case.values(Kind::Float, rows, |member, i| numbers[place(member) * rows + i])
    };
    let (mean, rstd) = (statistic(0), statistic(1));
    let weight = case.parameter(3, width);
    let bits = dropout.then(|| case.words(4, rows * width.div_ceil(32)));
    let members = table(case);
    let dx = if accumulate { case.floats(5, rows * width) } else { case.unwritten(Kind::Float, rows * width) };
    let dy = dy.then(|| case.unwritten(case.operand, rows * width));
    // The sums of this norm lie among those of others: a matrix of three parts and a column beside each.
    let (groups, columns) = (rows.div_ceil(group_rows), 3 * (width + 1));
    let matrix = case.unwritten(Kind::Float, groups * columns);
    let part = |i: usize| Argument::Pointer(matrix.at(i * (width + 1)));
    let arguments = [
        dnormed.pointer(),
        x.pointer(),
        if centred { mean.pointer() } else { NULL },
        rstd.pointer(),
        weight.pointer(),
        weight.stride(),
        pointer(bits.as_ref()),
        members.pointer(),
        dx.pointer(),
        pointer(dy.as_ref()),
        part(0),
        if sums { part(1) } else { NULL },
        if sums { part(2) } else { NULL },
        long(columns),
        int(rows),
        int(width),
        int(group_rows),
        int(usize::from(accumulate)),
    ];
    let grid = [groups, case.count(), 1];
    if width.is_multiple_of(128) {
        let name = if width <= 512 { "norm_backward_rows" } else { "norm_backward_wide_rows" };
        case.launch(name, grid, 128, 16 * width, &arguments);
    } else {
        // Rows side by side, one after another, and in several passes.
        let block = [32, 384][width % 3 / 2];
        case.launch("norm_backward", grid, block as u32, 8 * group_rows + 48 * block, &arguments);
    }

    let (mut all, mut masks) = (Vec::new(), Vec::new());
    let mut expected = vec![f64::NAN; groups * columns * case.count()];
    for k in 0..case.count() {
        for row in 0..rows {
            let (x, slope) = (row_of(x.of(k), row), row_of(dnormed.of(k), row));
            let back = slopes(&x, |x| normed(x, weight.of(k), None, centred).iter().zip(&slope).map(|(y, d)| y * d).sum());
            let [mean, over] = statistics(&x, centred);
            let into = &mut expected[(k * groups + row / group_rows) * columns..][..columns];
            for c in 0..width {
                let before = if accumulate { dx.of(k)[row * width + c] } else { 0.0 };
                let sum = before + back[c];
                let kept = sum * masked(bits.as_ref().map(|b| b.of(k)), row, width, c, f64::from(FACTOR));
                for (part, more) in [slope[c] * (x[c] - mean) * over, slope[c], kept].into_iter().enumerate() {
                    let place = &mut into[part * (width + 1) + c];
                    if part == 0 || sums {
                        *place = if place.is_nan() { more } else { *place + more };
                    }
                }
                all.push(sum);
                masks.push(kept);
            }
        }
    }
    case.expect("dx", &dx, &all, 2e-5);
    case.expect("sums", &matrix, &expected, 2e-5);
    if let Some(dy) = &dy {
        case.expect("dy", dy, &masks, 2e-5);
    }
}

#[test]
fn norms_have_the_slopes_that_differences_show() {
    check(|case| {
        for (shape, centred) in [[1, 20], [3, 5], [21, 7], [9, 128], [5, 130], [2, 400], [6, 384], [2, 768]]
            .into_iter()
            .flat_map(|s| [(s, true), (s, false)])
        {
            for (group_rows, accumulate, dropout) in [(8, true, true), (3, false, false), (5, true, false)] {
                backward(case, shape, group_rows, Backward { centred, dropout, dy: dropout, sums: accumulate, accumulate });
            }
        }
    });
}

#[test]
fn columns_are_added_group_by_group_at_their_places() {
    check_one(Operand::F32, |case| {
        for (groups, columns, accumulate) in [(1, 1, true), (8, 31, false), (9, 33, true), (130, 70, false), (23, 64, true)] {
            let sums = case.floats(1, groups * columns);
            let gradients = case.parameter(2, 3 * columns);
            // Every third place of the gradients, backwards.
            let there = |column: usize| 3 * (columns - 1 - column) + 1;
            let places: Vec<f64> = (0..columns).map(|column| there(column) as f64).collect();
            let places = case.common(Kind::Int, &places);
            let arguments = [
                sums.pointer(),
                places.pointer(),
                gradients.pointer(),
                gradients.stride(),
                int(groups),
                int(columns),
                int(usize::from(accumulate)),
            ];
            case.launch("column_sums", [columns.div_ceil(32), case.count(), 1], 256, 0, &arguments);
            let mut expected = gradients.seen.clone();
            for k in 0..case.count() {
                for column in 0..columns {
                    let place = &mut expected[k * 3 * columns + there(column)];
                    let sum: f64 = (0..groups).map(|group| sums.of(k)[group * columns + column]).sum();
                    *place = if accumulate { *place + sum } else { sum };
                }
            }
            case.expect("gradients", &gradients, &expected, 1e-6);
        }
    });
}

#[test]
fn columns_are_summed_over_groups_of_rows() {
    check(|case| {
        for (rows, width, group_rows) in [(1, 1, 8), (21, 130, 8), (64, 256, 64), (40, 33, 13)] {
            let (groups, columns) = (usize::div_ceil(rows, group_rows), width + 3);
            let x = case.operands(1, rows * width);
            let sums = case.unwritten(Kind::Float, groups * columns);
            let arguments = [x.pointer(), Argument::Pointer(sums.at(2)), long(columns), int(rows), int(width), int(group_rows)];
            case.launch("group_sums", [width.div_ceil(128), groups, case.count()], 128, 0, &arguments);
            let mut expected = vec![f64::NAN; groups * columns * case.count()];
            for (n, row) in x.seen.chunks(width).enumerate() {
                let group = n / rows * groups + n % rows / group_rows;
                for (c, value) in row.iter().enumerate() {
                    let place = &mut expected[group * columns + 2 + c];
                    *place = if place.is_nan() { *value } else { *place + value };
                }
            }
            case.expect("sums", &sums, &expected, 1e-6);
        }
    });
}
