//! `loss.cu`.

use votive::model::gpu::cuda::Operand;

use super::bench::{Case, Kind, Member, Values, check, check_one, int, random, random_word};

/// Sizes of a test: rows `first` to `first + chunk` of `windows` · `length`.
#[derive(Clone, Copy)]
struct Sizes {
    windows: usize,
    length: usize,
    first: usize,
    chunk: usize,
    vocabulary: usize,
}

const SIZES: [Sizes; 6] = [
    Sizes { windows: 1, length: 1, first: 0, chunk: 1, vocabulary: 2 },
    Sizes { windows: 3, length: 3, first: 0, chunk: 9, vocabulary: 7 },
    Sizes { windows: 2, length: 65, first: 60, chunk: 70, vocabulary: 65 },
    Sizes { windows: 4, length: 2, first: 1, chunk: 6, vocabulary: 300 },
    Sizes { windows: 2, length: 2, first: 0, chunk: 4, vocabulary: 1_024 },
    Sizes { windows: 1, length: 3, first: 0, chunk: 2, vocabulary: 5_003 },
];

impl Sizes {
    fn rows(self) -> usize {
        self.windows * self.length
    }

    fn padded(self) -> usize {
        self.vocabulary.next_multiple_of(if self.vocabulary < 1_024 { 8 } else { 64 })
    }

    fn block(self) -> u32 {
        match self.vocabulary {
            0..=256 => 32,
            257..=4_096 => 128,
            _ => 512,
        }
    }

    /// A loss near 0 is the logarithm of a sum near 1, in 32 bits.
    fn tolerance(self) -> f64 {
        if self.vocabulary == 2 { 1e-4 } else { 1e-6 }
    }

    fn tokens(self, case: &Case<'_>) -> Values {
        case.values(Kind::Int, self.windows * (self.length + 1), |member, i| {
            f64::from(random_word(member, 9, i) % self.vocabulary as u32)
        })
    }

    fn target(self, tokens: &[f64], n: usize) -> usize {
        tokens[n / self.length * (self.length + 1) + n % self.length + 1] as usize
    }

    /// Logits of the chunk. Padded columns, and rows from `windows` on, hold what is not a number.
    fn logits(self, case: &Case<'_>, windows: impl Fn(u64) -> usize) -> Values {
        let padded = self.padded();
        case.values(case.operand, self.chunk * padded, |member, i| {
            let there = (self.first + i / padded) / self.length < windows(member) && i % padded < self.vocabulary;
            match i % padded + 1 {
                _ if !there => f64::NAN,
                // One that no other exponential is seen beside, in every second row.
                last if last == self.vocabulary && (i / padded).is_multiple_of(2) => 200.0,
                _ => 6.0 * random(member, 1, i),
            }
        })
    }
}

/// log Σ e^logit − the target's logit.
fn loss(logits: &[f64], target: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::MIN, f64::max);
    logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest - logits[target]
}

#[test]
fn losses_and_gradients_are_their_definitions_and_missing_windows_give_nothing() {
    check(|case| {
        for sizes in SIZES {
            // Each member has other numbers of windows and targets.
            let windows = |member: u64| (sizes.windows - member as usize % 2 * usize::from(sizes.windows > 1)).max(1);
            let scale = |member: u64| 1.0 / member as f32;
            let (tokens, logits) = (sizes.tokens(case), sizes.logits(case, windows));
            let members = case.table(|m| Member { windows: windows(m), loss_scale: scale(m), ..Member::NONE });
            let nll = case.unwritten(Kind::Float, sizes.rows());
            let arguments = [
                logits.pointer(),
                tokens.pointer(),
                members.pointer(),
                nll.pointer(),
                int(sizes.first),
                int(sizes.rows()),
                int(sizes.length),
                int(sizes.vocabulary),
                int(sizes.padded()),
            ];
            case.launch("cross_entropy", [sizes.chunk, case.count(), 1], sizes.block(), 0, &arguments);
            let mut losses = vec![f64::NAN; sizes.rows() * case.count()];
            let mut gradient = vec![0.0; logits.seen.len()];
            for (k, &member) in case.members.iter().enumerate() {
                for row in 0..sizes.chunk {
                    let n = sizes.first + row;
                    if n / sizes.length >= windows(member) {
                        losses[k * sizes.rows() + n] = 0.0;
                        continue;
                    }
                    let numbers = &logits.of(k)[row * sizes.padded()..][..sizes.vocabulary];
                    let target = sizes.target(tokens.of(k), n);
                    losses[k * sizes.rows() + n] = loss(numbers, target);
                    let together = loss(numbers, target) + numbers[target];
                    for c in 0..sizes.vocabulary {
                        let slope = (numbers[c] - together).exp() - f64::from(u8::from(c == target));
                        gradient[(k * sizes.chunk + row) * sizes.padded() + c] = slope * f64::from(scale(member));
                    }
                }
            }
            case.expect("nll", &nll, &losses, sizes.tolerance());
            case.expect("gradient", &logits, &gradient, 2.0 * sizes.tolerance());
        }
    });
}

#[test]
fn scores_are_the_same_losses_and_leave_logits_alone() {
    check(|case| {
        for sizes in SIZES {
            let (tokens, logits) = (sizes.tokens(case), sizes.logits(case, |_| sizes.windows));
            let nll = case.unwritten(Kind::Float, sizes.rows());
            let arguments = [
                logits.pointer(),
                tokens.pointer(),
                nll.pointer(),
                int(sizes.first),
                int(sizes.rows()),
                int(sizes.length),
                int(sizes.vocabulary),
                int(sizes.padded()),
            ];
            case.launch("nll_only", [sizes.chunk, case.count(), 1], sizes.block(), 0, &arguments);
            let mut losses = vec![f64::NAN; sizes.rows() * case.count()];
            for (k, row) in (0..case.count()).flat_map(|k| (0..sizes.chunk).map(move |row| (k, row))) {
                let n = sizes.first + row;
                let numbers = &logits.of(k)[row * sizes.padded()..][..sizes.vocabulary];
                losses[k * sizes.rows() + n] = loss(numbers, sizes.target(tokens.of(k), n));
            }
            case.expect("nll", &nll, &losses, sizes.tolerance());
            case.untouched("logits", &logits);
        }
    });
}

#[test]
fn losses_are_summed_in_64_bits_and_the_unit_is_counted() {
    check_one(Operand::F32, |case| {
        for (rows, accumulate) in [(1, false), (65, true), (1_023, true), (3_000, false)] {
            let nll = case.values(Kind::Float, rows, |member, i| 1.6 + random(member, 1, i));
            let sum = case.values(Kind::Double, 1, |member, _| member as f64 * 1e6);
            let units = case.common(Kind::Long, &[41.0]);
            let arguments = [nll.pointer(), sum.pointer(), units.pointer(), int(rows), int(usize::from(accumulate))];
            case.launch("loss_sum", [case.count(), 1, 1], 1_024, 0, &arguments);
            let before = |k: usize| if accumulate { sum.of(k)[0] } else { 0.0 };
            let expected: Vec<f64> = (0..case.count()).map(|k| before(k) + nll.of(k).iter().sum::<f64>()).collect();
            case.expect("sum", &sum, &expected, 1e-14);
            assert_eq!(case.read(&units), [42.0]);
        }
    });
}
