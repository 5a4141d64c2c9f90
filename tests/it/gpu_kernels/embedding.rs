//! `embedding.cu`.

use votive::model::gpu::cuda::Operand;

use super::bench::{Case, Kind, Member, NULL, Values, check_one, int, masked, pointer, random_word};

const FACTOR: f32 = 1.25;

/// Sizes of a test.
#[derive(Clone, Copy)]
struct Sizes {
    windows: usize,
    length: usize,
    width: usize,
    vocabulary: usize,
    context: usize,
    dropout: bool,
    accumulate: bool,
}

const SIZES: [Sizes; 4] = [
    Sizes { windows: 2, length: 3, width: 20, vocabulary: 7, context: 3, dropout: false, accumulate: false },
    Sizes { windows: 3, length: 65, width: 5, vocabulary: 2, context: 70, dropout: true, accumulate: true },
    Sizes { windows: 1, length: 1, width: 130, vocabulary: 300, context: 4, dropout: true, accumulate: false },
    Sizes { windows: 4, length: 130, width: 33, vocabulary: 3, context: 130, dropout: false, accumulate: true },
];

/// Tokens [W, L + 1] of a member.
fn token(sizes: Sizes, member: u64, i: usize) -> usize {
    // Small ones are many, and the last does not occur.
    let word = random_word(member, 9, i) as usize;
    (word % 97) * (word / 97 % 89) % (sizes.vocabulary - 1)
}

fn tokens(case: &Case<'_>, sizes: Sizes) -> Values {
    case.values(Kind::Int, sizes.windows * (sizes.length + 1), |member, i| token(sizes, member, i) as f64)
}

fn bits(case: &Case<'_>, sizes: Sizes) -> Option<Values> {
    sizes.dropout.then(|| case.words(3, sizes.windows * sizes.length * sizes.width.div_ceil(32)))
}

fn table(case: &Case<'_>) -> Values {
    case.table(|_| Member { dropout_factor: FACTOR, ..Member::NONE })
}

/// The token at row n.
fn at_row(sizes: Sizes, tokens: &[f64], n: usize) -> usize {
    tokens[n / sizes.length * (sizes.length + 1) + n % sizes.length] as usize
}

#[test]
fn tokens_and_positions_are_embedded() {
    check_one(Operand::F32, |case| {
        for (sizes, with_positions) in SIZES.into_iter().flat_map(|sizes| [(sizes, true), (sizes, false)]) {
            let (rows, width) = (sizes.windows * sizes.length, sizes.width);
            let (tokens, bits, members) = (tokens(case, sizes), bits(case, sizes), table(case));
            let largest = sizes.vocabulary.max(sizes.context) * width;
            let wte = case.parameter_beside(1, sizes.vocabulary * width, largest);
            let wpe = case.parameter_beside(2, sizes.context * width, largest);
            let x = case.unwritten(Kind::Float, rows * width);
            let arguments = [
                wte.pointer(),
                if with_positions { wpe.pointer() } else { NULL },
                wte.stride(),
                tokens.pointer(),
                pointer(bits.as_ref()),
                members.pointer(),
                x.pointer(),
                int(rows),
                int(sizes.length),
                int(width),
            ];
            case.launch("embed", [rows, case.count(), 1], 128, 0, &arguments);
            let mut expected = Vec::new();
            for k in 0..case.count() {
                for (n, c) in (0..rows).flat_map(|n| (0..width).map(move |c| (n, c))) {
                    let of_token = wte.of(k)[at_row(sizes, tokens.of(k), n) * width + c];
                    let of_position = if with_positions { wpe.of(k)[n % sizes.length * width + c] } else { 0.0 };
                    let kept = masked(bits.as_ref().map(|b| b.of(k)), n, width, c, f64::from(FACTOR));
                    expected.push((of_token + of_position) * kept);
                }
            }
            case.expect("x", &x, &expected, 1e-6);
        }
    });
}

/// A member's positions sorted by token, of the windows that are there: [order, starts of pieces, first piece of each token].
fn sorted(sizes: Sizes, tokens: &[f64], windows: usize) -> [Vec<usize>; 3] {
    let (mut order, mut starts, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    for token in 0..sizes.vocabulary {
        firsts.push(starts.len());
        let positions: Vec<usize> = (0..windows * sizes.length).filter(|&n| at_row(sizes, tokens, n) == token).collect();
        for piece in positions.chunks(64) {
            starts.push(order.len());
            order.extend(piece);
        }
    }
    firsts.push(starts.len());
    starts.push(order.len());
    [order, starts, firsts]
}

#[test]
fn the_gradient_of_the_token_embedding_is_the_sum_over_its_positions() {
    check_one(Operand::F32, |case| {
        for sizes in SIZES {
            let (rows, width, vocabulary) = (sizes.windows * sizes.length, sizes.width, sizes.vocabulary);
            // One window of some members is missing: what it holds is not a number.
            let windows = |member: u64| if member % 2 == 1 && sizes.windows > 1 { sizes.windows - 1 } else { sizes.windows };
            let (tokens, bits, members) = (tokens(case, sizes), bits(case, sizes), table(case));
            let dx = case.values(Kind::Float, rows * width, |member, i| {
                let there = i / width / sizes.length < windows(member);
                if there { super::bench::random(member, 1, i) } else { f64::NAN }
            });
            let pieces = rows.min(vocabulary + rows / 64);
            let lists: Vec<_> = case.members.iter().enumerate().map(|(k, &m)| sorted(sizes, tokens.of(k), windows(m))).collect();
            let place = |member: u64| case.members.iter().position(|&m| m == member).unwrap();
            let list = |which: usize, each: usize| {
                let at = |member: u64, i: usize| lists[place(member)][which].get(i).map_or(-1.0, |&n| n as f64);
                case.values(Kind::Int, each, at)
            };
            let (order, starts, firsts) = (list(0, rows), list(1, pieces + 1), list(2, vocabulary + 1));
            let sums = case.unwritten(Kind::Float, pieces * width);
            let gradient = case.parameter(2, vocabulary * width);
            let arguments = [
                dx.pointer(),
                pointer(bits.as_ref()),
                members.pointer(),
                order.pointer(),
                starts.pointer(),
                firsts.pointer(),
                sums.pointer(),
                int(rows),
                int(width),
                int(pieces),
                int(vocabulary),
            ];
            case.launch("embedding_gradient_pieces", [pieces, case.count(), 1], 128, 0, &arguments);
            let arguments = [
                sums.pointer(),
                firsts.pointer(),
                gradient.pointer(),
                gradient.stride(),
                int(width),
                int(pieces),
                int(vocabulary),
                int(usize::from(sizes.accumulate)),
            ];
            case.launch("embedding_gradient_sum", [vocabulary, case.count(), 1], 128, 0, &arguments);
            let mut expected = if sizes.accumulate { gradient.seen.clone() } else { vec![0.0; gradient.seen.len()] };
            for (k, &member) in case.members.iter().enumerate() {
                for (n, c) in (0..windows(member) * sizes.length).flat_map(|n| (0..width).map(move |c| (n, c))) {
                    let kept = masked(bits.as_ref().map(|b| b.of(k)), n, width, c, f64::from(FACTOR));
                    expected[(k * vocabulary + at_row(sizes, tokens.of(k), n)) * width + c] += dx.of(k)[n * width + c] * kept;
                }
            }
            case.expect("gradient", &gradient, &expected, 2e-6);
        }
    });
}

#[test]
fn the_gradient_of_the_position_embedding_is_the_sum_over_windows() {
    check_one(Operand::F32, |case| {
        for (sizes, accumulate) in SIZES.into_iter().flat_map(|sizes| [(sizes, true), (sizes, false)]) {
            let (length, width) = (sizes.length, sizes.width);
            let (bits, members) = (bits(case, sizes), table(case));
            let dx = case.floats(1, sizes.windows * length * width);
            let gradient = case.parameter(2, sizes.context * width);
            let arguments = [
                dx.pointer(),
                pointer(bits.as_ref()),
                members.pointer(),
                gradient.pointer(),
                gradient.stride(),
                int(sizes.windows),
                int(length),
                int(width),
                int(sizes.context),
                int(usize::from(accumulate)),
            ];
            case.launch("position_gradient", [(sizes.context * width).div_ceil(256), case.count(), 1], 256, 0, &arguments);
            let mut expected = if accumulate { gradient.seen.clone() } else { vec![0.0; gradient.seen.len()] };
            for k in 0..case.count() {
                for (n, c) in (0..sizes.windows * length).flat_map(|n| (0..width).map(move |c| (n, c))) {
                    let kept = masked(bits.as_ref().map(|b| b.of(k)), n, width, c, f64::from(FACTOR));
                    expected[(k * sizes.context + n % length) * width + c] += dx.of(k)[n * width + c] * kept;
                }
            }
            case.expect("gradient", &gradient, &expected, 2e-6);
        }
    });
}
