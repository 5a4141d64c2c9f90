//! `fetch.cu`, `gradient_norm.cu`, `adamw.cu` and `publish.cu`.

use std::sync::atomic::Ordering;

use votive::model::gpu::cuda::{Argument, Operand};

use super::bench::{Kind, Member, NULL, Values, check, check_one, int, long, random, rounded};

const UPDATE: Member = Member {
    decay: 0.999,
    beta1: 0.9,
    rest1: 0.1,
    beta2: 0.95,
    rest2: 0.05,
    root: 1.7,
    rate: 0.01,
    epsilon: 1e-8,
    ..Member::NONE
};

#[test]
fn slots_are_fetched_in_turn() {
    check_one(Operand::F32, |case| {
        for (count, words, units) in [(1, 4, 0), (3, 1_028, 7), (4, 64, 5_000_000_003u64)] {
            let ring = case.pinned(count * words);
            for (i, word) in ring.words().iter().enumerate() {
                word.store(i as u32 * 7 + 1, Ordering::Relaxed);
            }
            let done = case.common(Kind::Long, &[units as f64]);
            let slot = case.common(Kind::Word, &vec![0.0; words]);
            let arguments = [Argument::Pointer(ring.at(0)), done.pointer(), int(count), int(words), slot.pointer()];
            case.launch("fetch_slot", [words.div_ceil(1_024), 1, 1], 256, 0, &arguments);
            let first = (units % count as u64) as usize * words;
            let expected: Vec<f64> = (first..first + words).map(|i| (i * 7 + 1) as f64).collect();
            case.expect_common("slot", &slot, &expected);
            case.untouched("units", &done);
        }
    });
}

#[test]
fn squares_are_summed_in_64_bits_a_piece_at_a_time() {
    check_one(Operand::F32, |case| {
        for stride in [64usize, 4_096, 4_160, 3 * 4_096 + 64] {
            let pieces = stride.div_ceil(4_096);
            // Large and small ones: their sum needs 64 bits.
            let gradients = case.values(Kind::Float, stride, |m, i| random(m, 1, i) * if i % 5 == 0 { 1e4 } else { 1e-3 });
            let squares = case.unwritten(Kind::Double, pieces);
            case.launch(
                "gradient_squares",
                [pieces, case.count(), 1],
                256,
                0,
                &[gradients.pointer(), squares.pointer(), long(stride)],
            );
            let of_member = |k: usize| gradients.of(k).chunks(4_096).map(|piece| piece.iter().map(|g| g * g).sum::<f64>());
            let expected: Vec<f64> = (0..case.count()).flat_map(of_member).collect();
            case.expect("squares", &squares, &expected, 1e-12);
        }
    });
}

/// What `prepare_update` is given for each member, and whether that member is dead after it.
struct Prepared {
    squares: f64,
    loss: f64,
    clip: f64,
    dead: bool,
    revive: bool,
    dies: bool,
}

#[test]
fn norms_clip_and_what_is_not_finite_stays_dead_until_it_is_revived() {
    let given = |squares, loss, clip| Prepared { squares, loss, clip, dead: false, revive: false, dies: false };
    let cases = [
        given(25.0, 1.0, 1.0),
        given(0.25, 1.0, 1.0),
        given(25.0, 1.0, -1.0),
        given(0.0, 1.0, 1e-9),
        Prepared { dies: true, ..given(f64::NAN, 1.0, 1.0) },
        Prepared { dies: true, ..given(f64::INFINITY, 1.0, -1.0) },
        Prepared { dies: true, ..given(1.0, f64::NAN, 1.0) },
        Prepared { dies: true, ..given(1.0, f64::NEG_INFINITY, 1.0) },
        Prepared { dead: true, dies: true, ..given(1.0, 1.0, 1.0) },
        Prepared { dead: true, revive: true, ..given(1.0, 1.0, 1.0) },
        Prepared { dead: true, revive: true, dies: true, ..given(1.0, f64::INFINITY, 1.0) },
    ];
    check_one(Operand::F32, |case| {
        for (i, pieces) in (0..cases.len()).flat_map(|i| [1, 2, 300].map(|pieces| (i, pieces))) {
            let of = |member: u64| &cases[(i + member as usize) % cases.len()];
            let last = |i: usize| i == pieces - 1;
            let squares = case.values(Kind::Double, pieces, |m, i| if last(i) { of(m).squares } else { 0.0 });
            let loss = case.values(Kind::Double, 1, |m, _| of(m).loss);
            let members = case.table(|m| Member { clip: of(m).clip, revive: of(m).revive, ..Member::NONE });
            let (norm, clip) = (case.unwritten(Kind::Double, 1), case.unwritten(Kind::Float, 1));
            let dead = case.values(Kind::Int, 1, |m, _| f64::from(u8::from(of(m).dead)));
            let arguments = [
                squares.pointer(),
                loss.pointer(),
                members.pointer(),
                norm.pointer(),
                clip.pointer(),
                dead.pointer(),
                int(pieces),
            ];
            case.launch("prepare_update", [case.count(), 1, 1], 256, 0, &arguments);
            let each = |f: &dyn Fn(&Prepared) -> f64| case.members.iter().map(|&m| f(of(m))).collect::<Vec<f64>>();
            case.expect("norm", &norm, &each(&|p| p.squares.sqrt()), 1e-15);
            case.expect("dead", &dead, &each(&|p| f64::from(u8::from(p.dies))), 0.0);
            let coefficient = |p: &Prepared| if p.clip < 0.0 { 1.0 } else { (p.clip / (p.squares.sqrt() + 1e-6)).min(1.0) };
            for (k, &member) in case.members.iter().enumerate().filter(|(_, m)| !of(**m).dies) {
                assert_eq!(case.read(&clip)[k] as f32, coefficient(of(member)) as f32);
            }
        }
    });
}

#[test]
fn updates_are_those_of_the_cpu_to_the_bit_and_dead_members_are_left_alone() {
    check(|case| {
        for stride in [64, 1_024, 1_088, 2_112] {
            let gone = |member: u64| member == 12;
            let values = case.floats(1, stride);
            let gradients = case.values(Kind::Float, stride, |m, i| if gone(m) { f64::NAN } else { random(m, 2, i) });
            let first = case.floats(3, stride);
            let second = case.values(Kind::Float, stride, |m, i| random(m, 4, i).abs());
            let weights = (case.operand == Kind::Bf16).then(|| case.values(Kind::Bf16, stride, |_, _| 7.0));
            let members = case.table(|m| Member { rate: 0.01 * m as f32, ..UPDATE });
            let clip = case.values(Kind::Float, 1, |m, _| 1.0 / m as f64);
            let dead = case.values(Kind::Int, 1, |m, _| f64::from(u8::from(gone(m))));
            let decays: Vec<f64> = (0..stride / 64).map(|i| (i % 3 % 2) as f64).collect();
            let decays = case.common(Kind::Int, &decays);
            let arguments = [
                values.pointer(),
                gradients.pointer(),
                first.pointer(),
                second.pointer(),
                weights.as_ref().map_or(NULL, Values::pointer),
                members.pointer(),
                clip.pointer(),
                dead.pointer(),
                decays.pointer(),
                long(stride),
            ];
            case.launch("adamw", [stride.div_ceil(1_024), case.count(), 1], 256, 0, &arguments);
            let mut expected = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
            for (k, &member) in case.members.iter().enumerate() {
                let f = Member { rate: 0.01 * member as f32, ..UPDATE };
                for i in 0..stride {
                    // As `optimize/flat.rs` has it.
                    let [mut value, g, mut m, mut v] = [&values, &gradients, &first, &second].map(|x| x.of(k)[i] as f32);
                    let g = g * clip.of(k)[0] as f32;
                    let decay = if decays.seen[i / 64] == 1.0 { f.decay } else { 1.0 };
                    if !gone(member) {
                        m = g.mul_add(f.rest1, m * f.beta1);
                        v = (g * g).mul_add(f.rest2, v * f.beta2);
                        value = value.mul_add(decay, -f.rate * m / v.sqrt().mul_add(f.root, f.epsilon));
                    }
                    let written = if gone(member) { 7.0 } else { value };
                    expected.iter_mut().zip([value, m, v, written]).for_each(|(e, x)| e.push(f64::from(x)));
                }
            }
            case.expect("values", &values, &expected[0], 0.0);
            case.expect("first", &first, &expected[1], 0.0);
            case.expect("second", &second, &expected[2], 0.0);
            if let Some(weights) = &weights {
                case.expect("weights", weights, &expected[3], 0.0);
            }
        }
    });
}

#[test]
fn weights_are_rounded_to_the_nearest_bfloat16() {
    check_one(Operand::Bf16, |case| {
        for each in [64, 1_088] {
            // Halfway between two, too: then the even one.
            let value = |i: usize| f64::from(f32::from_bits(0x3f80_8000 + ((i as u32 / 3) << 16) - 1 + i as u32 % 3));
            let values = case.values(Kind::Float, each, |_, i| value(i));
            let weights = case.unwritten(Kind::Bf16, each);
            let count = each * case.count();
            case.launch(
                "round_weights",
                [count.div_ceil(1_024), 1, 1],
                256,
                0,
                &[values.pointer(), weights.pointer(), long(count)],
            );
            let expected: Vec<f64> = values.seen.iter().map(|&v| rounded(v)).collect();
            assert_eq!(case.read(&weights), expected);
            case.expect("weights", &weights, &expected, 0.0);
        }
    });
}

#[test]
fn results_are_published_with_their_number_last() {
    check_one(Operand::F32, |case| {
        let (count, members) = (3, case.count());
        let loss = case.values(Kind::Double, 1, |m, _| m as f64 * 1.1);
        let norm = case.values(Kind::Double, 1, |m, _| m as f64 * 2.3);
        let dead = case.values(Kind::Int, 1, |m, _| f64::from(u8::from(m == 11)));
        let steps = case.common(Kind::Long, &[4.0]);
        let words = 2 * (1 + 3 * members);
        let ring = case.pinned(count * words);
        let arguments = [
            loss.pointer(),
            norm.pointer(),
            dead.pointer(),
            steps.pointer(),
            Argument::Pointer(ring.at(0)),
            int(count),
            int(members),
        ];
        for published in [5, 6] {
            case.launch("publish", [1, 1, 1], 128, 0, &arguments);
            assert_eq!(case.read(&steps), [f64::from(published)]);
        }
        let word = |slot: usize, i: usize| {
            let half = |h: usize| u64::from(ring.words()[slot * words + 2 * i + h].load(Ordering::Acquire));
            half(0) | half(1) << 32
        };
        for (slot, number) in [(1, 5), (2, 6), (0, 0)] {
            assert_eq!(word(slot, 0), number);
            for (k, &member) in case.members.iter().enumerate() {
                let expected = [loss.of(k)[0].to_bits(), norm.of(k)[0].to_bits(), u64::from(member == 11)];
                let got = [1, 2, 3].map(|i| word(slot, 3 * k + i));
                assert_eq!(got, if number == 0 { [0; 3] } else { expected });
            }
        }
    });
}
