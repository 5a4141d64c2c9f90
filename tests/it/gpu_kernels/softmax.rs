//! `softmax.cu`.

use std::collections::BTreeMap;

use votive::model::gpu::cuda::Argument;

use super::bench::{Case, Member, NULL, Values, check, int, long, masked, pointer, random};

const FACTOR: f32 = 2.0;
const SCALE: f64 = 0.7;
/// Windows times heads, and tokens of a window.
const SHAPES: [[usize; 2]; 6] = [[1, 1], [6, 3], [2, 4], [3, 65], [1, 130], [1, 260]];

fn table(case: &Case<'_>) -> Values {
    case.table(|_| Member { dropout_factor: FACTOR, ..Member::NONE })
}

/// Softmax over the keys up to the query's own place.
fn weights(scores: &[f64]) -> Vec<f64> {
    let exponentials: Vec<f64> = scores.iter().map(|s| (SCALE * s).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

/// An operand array whose places behind the diagonal hold what is not a number.
fn causal(case: &Case<'_>, seed: u64, [squares, length]: [usize; 2], number: impl Fn(f64) -> f64) -> Values {
    case.values(case.operand, squares * length * length, |member, i| {
        if i % length <= i / length % length { number(random(member, seed, i)) } else { f64::NAN }
    })
}

fn numbers(case: &Case<'_>, [squares, length]: [usize; 2]) -> [Argument; 3] {
    [long(squares * length * case.count()), long(squares * length), int(length)]
}

#[test]
fn causal_softmax_and_its_dropout_are_their_definitions() {
    check(|case| {
        for (shape, dropout) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
            let [squares, length] = shape;
            let scores = causal(case, 1, shape, |x| 10.0 * x);
            let bits = dropout.then(|| case.words(2, squares * length * length.div_ceil(32)));
            let dropped = dropout.then(|| case.unwritten(case.operand, squares * length * length));
            let members = table(case);
            let mut arguments = vec![scores.pointer(), pointer(bits.as_ref()), members.pointer(), pointer(dropped.as_ref())];
            arguments.extend(numbers(case, shape));
            arguments.push(Argument::Float(SCALE as f32));
            case.launch("causal_softmax", [(squares * length * case.count()).div_ceil(4), 1, 1], 128, 0, &arguments);
            let (mut all, mut kept) = (Vec::new(), Vec::new());
            for k in 0..case.count() {
                for (row, scores) in scores.of(k).chunks(length).enumerate() {
                    let p = weights(&scores[..=row % length]);
                    let p = |j: usize| p.get(j).copied().unwrap_or(0.0);
                    all.extend((0..length).map(p));
                    let words = bits.as_ref().map(|b| b.of(k));
                    kept.extend((0..length).map(|j| p(j) * masked(words, row, length, j, f64::from(FACTOR))));
                }
            }
            case.expect("p", &scores, &all, 2e-6);
            if let Some(dropped) = &dropped {
                case.expect("dropped", dropped, &kept, 2e-6);
            }
        }
    });
}

#[test]
fn attention_weights_are_dropped_again_for_the_way_back() {
    check(|case| {
        for shape in SHAPES {
            let [squares, length] = shape;
            let p = causal(case, 1, shape, f64::abs);
            let bits = case.words(2, squares * length * length.div_ceil(32));
            let dropped = case.unwritten(case.operand, squares * length * length);
            let members = table(case);
            let mut arguments = vec![p.pointer(), bits.pointer(), members.pointer(), dropped.pointer()];
            arguments.extend(numbers(case, shape));
            case.launch("attention_dropout", [(squares * length * case.count()).div_ceil(4), 1, 1], 128, 0, &arguments);
            let mut expected = Vec::new();
            for k in 0..case.count() {
                for (row, p) in p.of(k).chunks(length).enumerate() {
                    let keep = |j: usize| masked(Some(bits.of(k)), row, length, j, f64::from(FACTOR));
                    expected.extend((0..length).map(|j| if j <= row % length { p[j] * keep(j) } else { 0.0 }));
                }
            }
            case.expect("dropped", &dropped, &expected, 1e-6);
        }
    });
}

#[test]
fn softmax_has_the_slopes_of_its_matrix_of_slopes() {
    check(|case| {
        for (shape, dropout) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
            let [squares, length] = shape;
            // Rows that sum to one, as softmax leaves them.
            let rows = |member: u64| {
                let row = |row: usize| {
                    let mut p =
                        weights(&(0..=row % length).map(|j| 3.0 * random(member, 1, row * length + j)).collect::<Vec<_>>());
                    p.resize(length, 0.0);
                    p
                };
                (0..squares * length).flat_map(row).collect::<Vec<_>>()
            };
            let all: BTreeMap<u64, Vec<f64>> = case.members.iter().map(|&member| (member, rows(member))).collect();
            let p = case.values(case.operand, squares * length * length, |member, i| all[&member][i]);
            let dp = causal(case, 2, shape, |x| x);
            let bits = dropout.then(|| case.words(3, squares * length * length.div_ceil(32)));
            let members = table(case);
            let mut arguments = vec![p.pointer(), pointer(bits.as_ref()), members.pointer(), dp.pointer()];
            arguments.extend(numbers(case, shape));
            arguments.push(Argument::Float(SCALE as f32));
            case.launch("softmax_backward", [(squares * length * case.count()).div_ceil(4), 1, 1], 128, 0, &arguments);
            let mut expected = Vec::new();
            for k in 0..case.count() {
                for (row, (p, dp)) in p.of(k).chunks(length).zip(dp.of(k).chunks(length)).enumerate() {
                    let query = row % length;
                    let keep = |j: usize| masked(bits.as_ref().map(|b| b.of(k)), row, length, j, f64::from(FACTOR));
                    let slope = |j: usize| {
                        let along = |i: usize| p[i] * (f64::from(u8::from(i == j)) - p[j]);
                        SCALE * (0..=query).map(|i| dp[i] * keep(i) * along(i)).sum::<f64>()
                    };
                    expected.extend((0..length).map(|j| if j <= query { slope(j) } else { 0.0 }));
                }
            }
            case.expect("ds", &dp, &expected, 5e-6);
        }
    });
}

#[test]
fn scores_that_are_not_finite_are_not_hidden() {
    check(|case| {
        for bad in [f64::NAN, f64::INFINITY] {
            let scores = case.values(case.operand, 9, |_, i| if i == 3 { bad } else { 1.0 });
            let members = table(case);
            let mut arguments = vec![scores.pointer(), NULL, members.pointer(), NULL];
            arguments.extend(numbers(case, [1, 3]));
            arguments.push(Argument::Float(1.0));
            case.launch("causal_softmax", [(3 * case.count()).div_ceil(4), 1, 1], 128, 0, &arguments);
            let third = 1.0 / 3.0;
            let expected = [1.0, 0.0, 0.0, f64::NAN, f64::NAN, 0.0, third, third, third].repeat(case.count());
            // e^(1 − ∞) is 0, and ∞ − ∞ is not a number: so is the sum, and all of the row.
            case.expect("p", &scores, &expected, 1e-6);
        }
    });
}
