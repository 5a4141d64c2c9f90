//! `tiled_attention.cu`.

use votive::model::gpu::cuda::{Argument, Operand};
use votive::model::gpu::kernels::{Source, TILED, tiled};

use super::bench::{Case, Kind, Member, Values, check_of, int, pointer};
use super::short_attention::{FACTOR, Sizes, Window};

const SIZES: [Sizes; 9] = [
    Sizes { windows: 1, length: 1, heads: 1, kv_heads: 1, head_width: 16, rotary: false, dropout: false },
    Sizes { windows: 2, length: 5, heads: 2, kv_heads: 2, head_width: 16, rotary: false, dropout: true },
    Sizes { windows: 2, length: 64, heads: 2, kv_heads: 1, head_width: 32, rotary: false, dropout: true },
    Sizes { windows: 1, length: 65, heads: 4, kv_heads: 2, head_width: 32, rotary: false, dropout: false },
    Sizes { windows: 1, length: 130, heads: 1, kv_heads: 1, head_width: 64, rotary: false, dropout: true },
    Sizes { windows: 2, length: 97, heads: 3, kv_heads: 3, head_width: 48, rotary: false, dropout: true },
    Sizes { windows: 1, length: 200, heads: 2, kv_heads: 1, head_width: 16, rotary: false, dropout: true },
    Sizes { windows: 1, length: 100, heads: 1, kv_heads: 1, head_width: 96, rotary: false, dropout: false },
    Sizes { windows: 1, length: 70, heads: 2, kv_heads: 1, head_width: 128, rotary: false, dropout: true },
];

/// As `tiled_attention.cu` has them.
const TILE: usize = 64;

fn tiles(sizes: Sizes, heads: usize) -> usize {
    sizes.length.div_ceil(TILE) * sizes.windows * heads
}

/// log2 e / √D.
fn scale(sizes: Sizes) -> f64 {
    sizes.scale() * std::f64::consts::LOG2_E
}

fn numbers(sizes: Sizes) -> [Argument; 5] {
    let [windows, length, heads, kv_heads] = [sizes.windows, sizes.length, sizes.heads, sizes.kv_heads].map(int);
    [windows, length, heads, kv_heads, Argument::Float(scale(sizes) as f32)]
}

/// Everything of a test, all windows' parts and what falls out.
struct Setup {
    qkv: Values,
    bits: Option<Values>,
    members: Values,
    mixed: Values,
    logs: Values,
    windows: Vec<Window>,
}

/// Launches the way forward.
fn forward(case: &Case<'_>, sizes: Sizes) -> Setup {
    let (rows, l) = (sizes.rows(), sizes.length);
    let qkv = case.operands(1, rows * sizes.all());
    let bits = sizes.dropout.then(|| case.words(2, sizes.heads * rows * l.div_ceil(32)));
    let members = case.table(|_| Member { dropout_factor: FACTOR, ..Member::NONE });
    let mixed = case.unwritten(case.operand, rows * sizes.heads * sizes.head_width);
    let logs = case.unwritten(Kind::Float, sizes.heads * rows);
    let arguments = [qkv.pointer(), pointer(bits.as_ref()), members.pointer(), mixed.pointer(), logs.pointer()];
    let grid = [tiles(sizes, sizes.heads), case.count(), 1];
    let shared = 4 * TILE * (sizes.head_width + 8) * 2;
    case.launch("tiled_attention", grid, 128, shared, &[&arguments[..], &numbers(sizes)].concat());
    let windows = (0..case.count()).flat_map(|k| {
        let words = bits.as_ref().map(|b| b.of(k));
        let rows = qkv.of(k).chunks(l * sizes.all());
        rows.enumerate().map(move |(w, rows)| sizes.window(rows, words, w)).collect::<Vec<_>>()
    });
    Setup { windows: windows.collect(), qkv, bits, members, mixed, logs }
}

fn check(case: impl Fn(&Case<'_>, Sizes)) {
    for sizes in SIZES {
        let text = tiled(sizes.head_width);
        check_of(&[Source { name: TILED, text: &text }], Operand::Bf16, |one| case(one, sizes));
    }
}

/// log2 of each query's sum of exponentials.
fn expected_logs(sizes: Sizes, window: &Window) -> Vec<f64> {
    let [q, k, _] = &window.parts;
    let (l, d) = (sizes.length, sizes.head_width);
    let row = |(head, t): (usize, usize)| {
        let kv = head / (sizes.heads / sizes.kv_heads);
        let score = |j: usize| scale(sizes) * (0..d).map(|i| q[(head * l + t) * d + i] * k[(kv * l + j) * d + i]).sum::<f64>();
        (0..=t).map(|j| score(j).exp2()).sum::<f64>().log2()
    };
    (0..sizes.heads).flat_map(|head| (0..l).map(move |t| (head, t))).map(row).collect()
}

#[test]
fn attention_in_tiles_is_its_definition() {
    check(|case, sizes| {
        let setup = forward(case, sizes);
        let mixed: Vec<f64> = setup.windows.iter().flat_map(|window| sizes.attend(window, &[]).2).collect();
        let logs: Vec<f64> = setup.windows.iter().flat_map(|window| expected_logs(sizes, window)).collect();
        case.expect("logarithms", &setup.logs, &logs, 1e-5);
        // Weights are rounded before they are multiplied.
        case.expect("mixed", &setup.mixed, &mixed, 5e-3);
    });
}

#[test]
fn attention_in_tiles_has_the_slopes_that_differences_show() {
    check(|case, sizes| {
        let Setup { qkv, bits, members, mixed, logs, windows } = forward(case, sizes);
        let (rows, l, d) = (sizes.rows(), sizes.length, sizes.head_width);
        let dmixed = case.operands(3, rows * sizes.heads * d);
        let dots = case.unwritten(Kind::Float, sizes.heads * rows);
        let dqkv = case.unwritten(case.operand, rows * sizes.all());
        let before = [qkv.pointer(), pointer(bits.as_ref()), members.pointer()];
        let after = [dmixed.pointer(), logs.pointer(), dots.pointer(), dqkv.pointer()];
        let row = 2 * (d + 8);
        let arguments = [&before[..], &[mixed.pointer()], &after, &numbers(sizes)].concat();
        case.launch("tiled_attention_queries", [tiles(sizes, sizes.heads), case.count(), 1], 128, 4 * TILE * row, &arguments);
        let arguments = [&before[..], &after, &numbers(sizes)].concat();
        let queries = if d <= 64 { 64 } else { 32 };
        let shared = (2 * TILE + 4 * queries) * row + 4 * 4 * queries;
        case.launch("tiled_attention_keys", [tiles(sizes, sizes.kv_heads), case.count(), 1], 128, shared, &arguments);

        let mut expected = vec![0.0; rows * sizes.all() * case.count()];
        for (i, (window, slope)) in windows.iter().zip(dmixed.seen.chunks(l * sizes.heads * d)).enumerate() {
            let back = sizes.gradients(window, &[], slope);
            for (part, first) in sizes.first_columns().into_iter().enumerate() {
                for (place, slope) in back[part].iter().enumerate() {
                    let (head, t, d_) = (place / d / l, place / d % l, place % d);
                    expected[(i * l + t) * sizes.all() + first + head * d + d_] = *slope;
                }
            }
        }
        // Weights and their gradients are rounded before they are multiplied.
        case.expect("dqkv", &dqkv, &expected, 1e-2);
    });
}
