//! `heads.cu`.

use votive::model::gpu::cuda::Argument;

use super::bench::{Case, Kind, NULL, Values, check, int, long, pointer};

/// Sizes of a test.
#[derive(Clone, Copy)]
struct Sizes {
    windows: usize,
    length: usize,
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    rotary: bool,
}

const SIZES: [Sizes; 6] = [
    Sizes { windows: 1, length: 1, heads: 1, kv_heads: 1, head_width: 2, rotary: true },
    Sizes { windows: 2, length: 3, heads: 4, kv_heads: 4, head_width: 5, rotary: false },
    Sizes { windows: 3, length: 7, heads: 4, kv_heads: 2, head_width: 6, rotary: true },
    Sizes { windows: 2, length: 65, heads: 3, kv_heads: 1, head_width: 4, rotary: true },
    Sizes { windows: 1, length: 4, heads: 4, kv_heads: 4, head_width: 32, rotary: false },
    Sizes { windows: 1, length: 3, heads: 2, kv_heads: 1, head_width: 130, rotary: true },
];

impl Sizes {
    fn rows(self) -> usize {
        self.windows * self.length
    }

    /// Elements of a row of [q | k | v].
    fn all(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_width
    }

    /// Elements of q, k and v of a member.
    fn each(self) -> [usize; 3] {
        [self.heads, self.kv_heads, self.kv_heads].map(|heads| heads * self.rows() * self.head_width)
    }

    /// Which of q, k and v holds column c of row n, and where there.
    fn there(self, n: usize, c: usize) -> (usize, usize) {
        let (head, i) = (c / self.head_width, c % self.head_width);
        let (part, head, heads) = match head {
            head if head < self.heads => (0, head, self.heads),
            head if head < self.heads + self.kv_heads => (1, head - self.heads, self.kv_heads),
            head => (2, head - self.heads - self.kv_heads, self.kv_heads),
        };
        (part, ((n / self.length * heads + head) * self.length + n % self.length) * self.head_width + i)
    }

    /// Which columns of row n make up column c after turning, and their shares.
    fn shares(self, angles: &[f64], n: usize, c: usize) -> Vec<(usize, f64)> {
        let (i, half) = (c % self.head_width, self.head_width / 2);
        if !self.rotary || c >= (self.heads + self.kv_heads) * self.head_width {
            return vec![(c, 1.0)];
        }
        let row = &angles[n % self.length * self.head_width..][..self.head_width];
        if i < half { vec![(c, row[i]), (c + half, -row[half + i])] } else { vec![(c, row[i - half]), (c - half, row[i])] }
    }

    fn angles(self, case: &Case<'_>) -> Option<Values> {
        let half = self.head_width / 2;
        let angle = |t: usize, i: usize| t as f64 / 100f64.powf(i as f64 / half as f64) + 0.3;
        let row = |t: usize| (0..half).map(move |i| angle(t, i).cos()).chain((0..half).map(move |i| angle(t, i).sin()));
        self.rotary.then(|| case.common(Kind::Float, &(0..self.length).flat_map(row).collect::<Vec<_>>()))
    }
}

#[test]
fn queries_keys_and_values_are_split_into_heads_and_turned() {
    check(|case| {
        for sizes in SIZES {
            let (rows, all) = (sizes.rows(), sizes.all());
            let qkv = case.operands(1, rows * all);
            let angles = sizes.angles(case);
            let parts = sizes.each().map(|each| case.unwritten(case.operand, each));
            let arguments = [
                qkv.pointer(),
                pointer(angles.as_ref()),
                parts[0].pointer(),
                parts[1].pointer(),
                parts[2].pointer(),
                int(rows),
                int(sizes.length),
                int(sizes.heads),
                int(sizes.kv_heads),
                int(sizes.head_width),
            ];
            case.launch("split_heads", [rows, case.count(), 1], 128, 0, &arguments);
            let mut expected = sizes.each().map(|each| vec![0.0; each * case.count()]);
            for k in 0..case.count() {
                for (n, c) in (0..rows).flat_map(|n| (0..all).map(move |c| (n, c))) {
                    let (part, place) = sizes.there(n, c);
                    let shares = sizes.shares(angles.as_ref().map_or(&[], |a| &a.seen), n, c);
                    expected[part][k * sizes.each()[part] + place] =
                        shares.iter().map(|(c, share)| share * qkv.of(k)[n * all + c]).sum();
                }
            }
            for (part, expected) in parts.iter().zip(&expected) {
                case.expect("q, k or v", part, expected, 1e-6);
            }
        }
    });
}

#[test]
fn rows_are_turned_and_turned_back_where_they_lie() {
    check(|case| {
        for (sizes, direction) in SIZES.into_iter().filter(|s| s.rotary).flat_map(|s| [(s, 1.0), (s, -1.0)]) {
            let (rows, all, half) = (sizes.rows(), sizes.all(), sizes.head_width / 2);
            let qkv = case.operands(1, rows * all);
            let angles = sizes.angles(case).unwrap();
            let turned_heads = sizes.heads + sizes.kv_heads;
            let numbers = [rows, sizes.length, all, turned_heads, sizes.head_width].map(int);
            let arguments = [&[qkv.pointer(), angles.pointer()], &numbers[..], &[Argument::Float(direction)]].concat();
            case.launch("turn_rows", [rows, case.count(), 1], 128, 0, &arguments);
            // Turned by −φ where the direction is −1.
            let back: Vec<f64> = angles
                .seen
                .iter()
                .enumerate()
                .map(|(i, angle)| if i % sizes.head_width < half { *angle } else { angle * f64::from(direction) })
                .collect();
            let expected = (0..case.count()).flat_map(|k| {
                let column = |n: usize, c: usize| {
                    let shares = sizes.shares(&back, n, c);
                    shares.iter().map(|(c, share)| share * qkv.of(k)[n * all + c]).sum::<f64>()
                };
                (0..rows).flat_map(|n| (0..all).map(|c| column(n, c)).collect::<Vec<_>>()).collect::<Vec<_>>()
            });
            case.expect("qkv", &qkv, &expected.collect::<Vec<_>>(), 1e-6);
        }
    });
}

#[test]
fn gradients_of_heads_are_turned_back_and_their_columns_summed() {
    check(|case| {
        for (sizes, sums) in SIZES.into_iter().flat_map(|sizes| [(sizes, true), (sizes, false)]) {
            let (rows, all, group_rows) = (sizes.rows(), sizes.all(), 5);
            let parts = [0, 1, 2].map(|part| case.operands(1 + part as u64, sizes.each()[part]));
            let angles = sizes.angles(case);
            let dqkv = case.unwritten(case.operand, rows * all);
            let (groups, columns) = (rows.div_ceil(group_rows), all + 3);
            let matrix = case.unwritten(Kind::Float, groups * columns);
            let arguments = [
                parts[0].pointer(),
                parts[1].pointer(),
                parts[2].pointer(),
                pointer(angles.as_ref()),
                dqkv.pointer(),
                if sums { Argument::Pointer(matrix.at(1)) } else { NULL },
                long(columns),
                int(rows),
                int(sizes.length),
                int(sizes.heads),
                int(sizes.kv_heads),
                int(sizes.head_width),
                int(group_rows),
            ];
            case.launch("split_heads_backward", [all.div_ceil(128), groups, case.count()], 128, 0, &arguments);
            // The transpose: what a column gave to others comes back by the same shares.
            let mut expected = vec![0.0; rows * all * case.count()];
            let mut summed = vec![f64::NAN; groups * columns * case.count()];
            for k in 0..case.count() {
                for (n, c) in (0..rows).flat_map(|n| (0..all).map(move |c| (n, c))) {
                    let (part, place) = sizes.there(n, c);
                    for (from, share) in sizes.shares(angles.as_ref().map_or(&[], |a| &a.seen), n, c) {
                        expected[(k * rows + n) * all + from] += share * parts[part].of(k)[place];
                    }
                }
                for (n, c) in (0..rows).flat_map(|n| (0..all).map(move |c| (n, c))).filter(|_| sums) {
                    let place = &mut summed[(k * groups + n / group_rows) * columns + 1 + c];
                    let slope = expected[(k * rows + n) * all + c];
                    *place = if place.is_nan() { slope } else { *place + slope };
                }
            }
            case.expect("dqkv", &dqkv, &expected, 1e-6);
            case.expect("sums", &matrix, &summed, 2e-6);
        }
    });
}

#[test]
fn heads_are_merged_and_their_gradients_split_again() {
    check(|case| {
        for sizes in SIZES {
            let (rows, width) = (sizes.rows(), sizes.heads * sizes.head_width);
            let (mixed, dmerged) = (case.operands(1, rows * width), case.operands(2, rows * width));
            let [merged, dmixed] = [0, 1].map(|_| case.unwritten(case.operand, rows * width));
            let numbers = [int(rows), int(sizes.length), int(sizes.heads), int(sizes.head_width)];
            let launch = |name: &str, from: &Values, to: &Values| {
                let arguments = [&[from.pointer(), to.pointer()][..], &numbers].concat();
                case.launch(name, [rows, case.count(), 1], 128, 0, &arguments);
            };
            launch("merge_heads", &mixed, &merged);
            launch("merge_heads_backward", &dmerged, &dmixed);
            let mut expected = [vec![0.0; rows * width * case.count()], vec![0.0; rows * width * case.count()]];
            for k in 0..case.count() {
                for (n, c) in (0..rows).flat_map(|n| (0..width).map(move |c| (n, c))) {
                    let (_, place) = sizes.there(n, c);
                    expected[0][(k * rows + n) * width + c] = mixed.of(k)[place];
                    expected[1][k * rows * width + place] = dmerged.of(k)[n * width + c];
                }
            }
            case.expect("merged", &merged, &expected[0], 0.0);
            case.expect("dmixed", &dmixed, &expected[1], 0.0);
        }
    });
}
