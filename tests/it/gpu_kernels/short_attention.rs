//! `short_attention.cu`.

use votive::model::gpu::cuda::Argument;

use super::bench::{Case, Kind, Member, NULL, Values, check, int, long, masked, pointer};

pub(super) const FACTOR: f32 = 2.0;
/// Groups of the matrix of sums, more than windows.
const GROUPS: usize = 5;

/// Sizes of a test.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) windows: usize,
    pub(super) length: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_width: usize,
    pub(super) rotary: bool,
    pub(super) dropout: bool,
}

const SIZES: [Sizes; 7] = [
    Sizes { windows: 1, length: 1, heads: 1, kv_heads: 1, head_width: 1, rotary: false, dropout: false },
    Sizes { windows: 2, length: 3, heads: 2, kv_heads: 2, head_width: 5, rotary: false, dropout: true },
    Sizes { windows: 2, length: 8, heads: 4, kv_heads: 2, head_width: 6, rotary: true, dropout: false },
    Sizes { windows: 1, length: 33, heads: 3, kv_heads: 1, head_width: 20, rotary: true, dropout: true },
    Sizes { windows: 1, length: 64, heads: 2, kv_heads: 2, head_width: 32, rotary: false, dropout: true },
    Sizes { windows: 1, length: 64, heads: 1, kv_heads: 1, head_width: 64, rotary: true, dropout: false },
    Sizes { windows: 3, length: 36, heads: 2, kv_heads: 1, head_width: 34, rotary: false, dropout: false },
];

/// What one window of one member has, in 64 bits.
pub(super) struct Window {
    /// [H, L, D], and [KV, L, D] twice, all before they are turned.
    pub(super) parts: [Vec<f64>; 3],
    /// For each head, query and key: what the weight is multiplied by.
    kept: Vec<f64>,
}

impl Sizes {
    pub(super) fn scale(self) -> f64 {
        1.0 / (self.head_width as f64).sqrt()
    }

    pub(super) fn rows(self) -> usize {
        self.windows * self.length
    }

    pub(super) fn all(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_width
    }

    fn part_heads(self) -> [usize; 3] {
        [self.heads, self.kv_heads, self.kv_heads]
    }

    /// First column of q, k and v.
    pub(super) fn first_columns(self) -> [usize; 3] {
        [0, self.heads * self.head_width, (self.heads + self.kv_heads) * self.head_width]
    }

    fn angles(self, case: &Case<'_>) -> Option<Values> {
        let half = self.head_width / 2;
        let angle = |t: usize, i: usize| t as f64 / 10f64.powf(i as f64 / half as f64) + 0.3;
        let row = |t: usize| (0..half).map(move |i| angle(t, i).cos()).chain((0..half).map(move |i| angle(t, i).sin()));
        self.rotary.then(|| case.common(Kind::Float, &(0..self.length).flat_map(row).collect::<Vec<_>>()))
    }

    /// A head's rows [L, D] turned by their places, or back.
    fn turned(self, rows: &[f64], angles: &[f64], direction: f64) -> Vec<f64> {
        if !self.rotary {
            return rows.to_vec();
        }
        let half = self.head_width / 2;
        let one = |(t, row): (usize, &[f64])| {
            let (cos, sin) = angles[t % self.length * self.head_width..][..self.head_width].split_at(half);
            let first = (0..half).map(|i| row[i] * cos[i] - direction * row[i + half] * sin[i]).collect::<Vec<_>>();
            let second = (0..half).map(|i| row[i + half] * cos[i] + direction * row[i] * sin[i]).collect::<Vec<_>>();
            [first, second].concat()
        };
        rows.chunks(self.head_width).enumerate().flat_map(one).collect()
    }

    /// What a window of rows [L, (H + 2 KV) · D] holds.
    pub(super) fn window(self, rows: &[f64], bits: Option<&[f64]>, window: usize) -> Window {
        let part = |part: usize| {
            let column = |head: usize| self.first_columns()[part] + head * self.head_width;
            let row = |head: usize, t: usize| rows[t * self.all() + column(head)..][..self.head_width].to_vec();
            (0..self.part_heads()[part]).flat_map(|head| (0..self.length).flat_map(move |t| row(head, t))).collect()
        };
        let squares = 0..self.heads * self.length;
        let kept = squares.flat_map(|row| {
            let row = window * self.heads * self.length + row;
            (0..self.length).map(move |j| masked(bits, row, self.length, j, f64::from(FACTOR)))
        });
        Window { kept: kept.collect(), parts: [part(0), part(1), part(2)] }
    }

    /// Turned q and k, v; p; and what is mixed [L, C].
    pub(super) fn attend(self, window: &Window, angles: &[f64]) -> ([Vec<f64>; 3], Vec<f64>, Vec<f64>) {
        let [q, k, v] = &window.parts;
        let (q, k) = (self.turned(q, angles, 1.0), self.turned(k, angles, 1.0));
        let (l, d) = (self.length, self.head_width);
        let (mut p, mut mixed) = (vec![0.0; self.heads * l * l], vec![0.0; l * self.heads * d]);
        for (head, t) in (0..self.heads).flat_map(|head| (0..l).map(move |t| (head, t))) {
            let kv = head / (self.heads / self.kv_heads);
            let score =
                |j: usize| self.scale() * (0..d).map(|i| q[(head * l + t) * d + i] * k[(kv * l + j) * d + i]).sum::<f64>();
            let exponentials: Vec<f64> = (0..=t).map(|j| score(j).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            for (j, exponential) in exponentials.iter().enumerate() {
                let place = (head * l + t) * l + j;
                p[place] = exponential / sum;
                for i in 0..d {
                    mixed[t * self.heads * d + head * d + i] += p[place] * window.kept[place] * v[(kv * l + j) * d + i];
                }
            }
        }
        ([q, k, v.clone()], p, mixed)
    }
}

fn shared_bytes(sizes: Sizes) -> usize {
    4 * (4_096 + 2 * sizes.length * (sizes.head_width | 1))
}

fn numbers(sizes: Sizes) -> [Argument; 5] {
    let [length, heads, kv_heads, head_width] = [sizes.length, sizes.heads, sizes.kv_heads, sizes.head_width].map(int);
    [length, heads, kv_heads, head_width, Argument::Float(sizes.scale() as f32)]
}

#[test]
fn attention_of_short_windows_is_its_definition() {
    check(|case| {
        for sizes in SIZES {
            let (rows, l) = (sizes.rows(), sizes.length);
            let qkv = case.operands(1, rows * sizes.all());
            let angles = sizes.angles(case);
            let bits = sizes.dropout.then(|| case.words(2, sizes.heads * rows * l.div_ceil(32)));
            let members = case.table(|_| Member { dropout_factor: FACTOR, ..Member::NONE });
            let p = case.unwritten(case.operand, sizes.heads * rows * l);
            let merged = case.unwritten(case.operand, rows * sizes.heads * sizes.head_width);
            let arguments = [
                qkv.pointer(),
                pointer(angles.as_ref()),
                pointer(bits.as_ref()),
                members.pointer(),
                p.pointer(),
                merged.pointer(),
            ];
            let arguments = [&arguments[..], &numbers(sizes)].concat();
            let grid = [sizes.windows * sizes.heads, case.count(), 1];
            case.launch("short_attention", grid, 512, shared_bytes(sizes), &arguments);
            let mut expected = [const { Vec::new() }; 2];
            for k in 0..case.count() {
                for (w, rows) in qkv.of(k).chunks(l * sizes.all()).enumerate() {
                    let window = sizes.window(rows, bits.as_ref().map(|b| b.of(k)), w);
                    let (_, p, mixed) = sizes.attend(&window, angles.as_ref().map_or(&[], |a| &a.seen));
                    expected.iter_mut().zip([p, mixed]).for_each(|(all, part)| all.extend(part));
                }
            }
            // Turned queries and keys, and p, are rounded before they are multiplied.
            let tolerance = if case.operand == Kind::Bf16 { 1e-2 } else { 5e-6 };
            case.expect("p", &p, &expected[0], tolerance);
            case.expect("merged", &merged, &expected[1], tolerance);
        }
    });
}

#[test]
fn attention_of_short_windows_has_the_slopes_that_differences_show() {
    check(|case| {
        for (sizes, with_sums) in SIZES.into_iter().flat_map(|sizes| [(sizes, true), (sizes, false)]) {
            let (rows, l, d) = (sizes.rows(), sizes.length, sizes.head_width);
            let qkv = case.operands(1, rows * sizes.all());
            let angles = sizes.angles(case);
            let turns = angles.as_ref().map_or(&[][..], |a| &a.seen);
            let bits = sizes.dropout.then(|| case.words(2, sizes.heads * rows * l.div_ceil(32)));
            let members = case.table(|_| Member { dropout_factor: FACTOR, ..Member::NONE });
            let dmerged = case.operands(3, rows * sizes.heads * d);
            let windows: Vec<Window> = (0..case.count())
                .flat_map(|k| {
                    let words = bits.as_ref().map(|b| b.of(k));
                    let rows = qkv.of(k).chunks(l * sizes.all());
                    rows.enumerate().map(move |(w, rows)| sizes.window(rows, words, w)).collect::<Vec<_>>()
                })
                .collect();
            let weights: Vec<f64> = windows.iter().flat_map(|window| sizes.attend(window, turns).1).collect();
            let each = sizes.heads * rows * l;
            let place = |member: u64| case.members.iter().position(|&m| m == member).unwrap();
            let p = case.values(case.operand, each, |member, i| weights[place(member) * each + i]);
            let dqkv = case.unwritten(case.operand, rows * sizes.all());
            let columns = sizes.all() + 3;
            let matrix = case.unwritten(Kind::Float, GROUPS * columns);
            let arguments = [
                qkv.pointer(),
                pointer(angles.as_ref()),
                p.pointer(),
                pointer(bits.as_ref()),
                members.pointer(),
                dmerged.pointer(),
                dqkv.pointer(),
                if with_sums { Argument::Pointer(matrix.at(1)) } else { NULL },
                long(columns),
                int(GROUPS),
            ];
            let arguments = [&arguments[..], &numbers(sizes)].concat();
            let grid = [sizes.windows * sizes.kv_heads, case.count(), 1];
            case.launch("short_attention_backward", grid, 512, shared_bytes(sizes) + 4 * l * (l | 1), &arguments);

            let mut expected = vec![0.0; rows * sizes.all() * case.count()];
            for (i, (window, slope)) in windows.iter().zip(dmerged.seen.chunks(l * sizes.heads * d)).enumerate() {
                let back = sizes.gradients(window, turns, slope);
                for (part, first) in sizes.first_columns().into_iter().enumerate() {
                    for (place, slope) in back[part].iter().enumerate() {
                        let (head, t, d_) = (place / d / l, place / d % l, place % d);
                        expected[(i * l + t) * sizes.all() + first + head * d + d_] = *slope;
                    }
                }
            }
            let mut summed = vec![f64::NAN; GROUPS * columns * case.count()];
            for (n, row) in expected.chunks(sizes.all()).enumerate().filter(|_| with_sums) {
                let group = n / rows * GROUPS + n % rows / l;
                for (c, slope) in row.iter().enumerate() {
                    let place = &mut summed[group * columns + 1 + c];
                    *place = if place.is_nan() { *slope } else { *place + slope };
                }
            }
            // p, and turned queries and keys, are rounded before they are multiplied; so are gradients before they are summed.
            let tolerance = if case.operand == Kind::Bf16 { 1e-2 } else { 5e-6 };
            case.expect("dqkv", &dqkv, &expected, tolerance);
            case.expect("sums", &matrix, &summed, tolerance);
        }
    });
}

impl Sizes {
    /// Gradients of q, k and v before they are turned, given that of what is mixed: by differences where the window is small.
    pub(super) fn gradients(self, window: &Window, angles: &[f64], slope: &[f64]) -> [Vec<f64>; 3] {
        if self.length * self.all() < 400 {
            return [0, 1, 2].map(|part| {
                super::bench::slopes(&window.parts[part], |numbers| {
                    let mut parts = window.parts.clone();
                    parts[part] = numbers.to_vec();
                    let (_, _, mixed) = self.attend(&Window { parts, kept: window.kept.clone() }, angles);
                    mixed.iter().zip(slope).map(|(m, s)| m * s).sum()
                })
            });
        }
        let ([q, k, v], p, _) = self.attend(window, angles);
        let (l, d) = (self.length, self.head_width);
        let [mut dq, mut dk, mut dv] = [&q, &k, &v].map(|part| vec![0.0; part.len()]);
        for (head, t) in (0..self.heads).flat_map(|head| (0..l).map(move |t| (head, t))) {
            let kv = head / (self.heads / self.kv_heads);
            let dmixed = &slope[(t * self.heads + head) * d..][..d];
            let row = (head * l + t) * l;
            let dp = |j: usize| window.kept[row + j] * (0..d).map(|i| dmixed[i] * v[(kv * l + j) * d + i]).sum::<f64>();
            let mean: f64 = (0..=t).map(|j| p[row + j] * dp(j)).sum();
            for j in 0..=t {
                let ds = self.scale() * p[row + j] * (dp(j) - mean);
                for i in 0..d {
                    dq[(head * l + t) * d + i] += ds * k[(kv * l + j) * d + i];
                    dk[(kv * l + j) * d + i] += ds * q[(head * l + t) * d + i];
                    dv[(kv * l + j) * d + i] += p[row + j] * window.kept[row + j] * dmixed[i];
                }
            }
        }
        [self.turned(&dq, angles, -1.0), self.turned(&dk, angles, -1.0), dv]
    }
}
