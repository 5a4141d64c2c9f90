//! `dropout.cu`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use votive::model::gpu::cuda::Operand;

use super::bench::{Kind, Member, check_one, int, random_word};

/// Whether each of so many elements of the next row of a stream is kept: as `model/dropout.rs` says it.
fn row(stream: &mut ChaCha8Rng, elements: usize, threshold: u32) -> Vec<bool> {
    let mut kept = Vec::new();
    for _ in 0..elements.div_ceil(4) {
        let bits = stream.next_u64();
        kept.extend((0..4).map(|i| (bits >> (16 * i)) as u16 >= threshold as u16));
    }
    kept.truncate(elements);
    kept
}

#[test]
fn masks_are_those_of_the_streams_on_a_cpu() {
    check_one(Operand::F32, |case| {
        let shapes = [(1, 1), (3usize, 5usize), (5, 20), (7, 64), (65, 128), (9, 130), (2, 16_500), (40, 513)];
        let squares = [(1, 1), (3, 3), (65, 65), (130, 130), (257, 257), (3, 16_500)];
        let both = shapes.map(|shape| (shape, false)).into_iter().chain(squares.map(|shape| (shape, true)));
        for (((rows, width), causal), (sites, each)) in both.flat_map(|shape| [(shape, (1, 1)), (shape, (2, 3))]) {
            // Streams are ordered [site, member, window]; here an array of each member holds its own.
            let words = width.div_ceil(32);
            let threshold = |member: u64| [0, 6_554, 65_535][member as usize % 3];
            let key = |member: u64, site: usize, stream: usize| {
                [0, 1, 2, 3, 4, 5, 6, 7].map(|i| random_word(member, site as u64, 8 * stream + i))
            };
            let members = case.table(|m| Member { dropout_threshold: threshold(m), ..Member::NONE });
            let streams = || {
                let of_site = |site| case.members.iter().flat_map(move |&m| (0..each).map(move |stream| (m, site, stream)));
                (0..sites).flat_map(of_site)
            };
            let numbers: Vec<f64> = streams().flat_map(|(m, site, stream)| key(m, site, stream)).map(f64::from).collect();
            let keys = case.common(Kind::Word, &numbers);
            let all = streams().count();
            let bits = case.common(Kind::Word, &vec![4_294_967_295.0; all * rows * words]);
            let tiles = if words <= 512 { rows.div_ceil(512 / words) } else { rows * words.div_ceil(512) };
            let arguments = [
                keys.pointer(),
                members.pointer(),
                bits.pointer(),
                int(each),
                int(case.count()),
                int(rows),
                int(width),
                int(usize::from(causal)),
            ];
            case.launch("dropout_bits", [all, tiles, 1], 128, 0, &arguments);
            let mut expected = Vec::new();
            for (member, site, stream) in streams() {
                let bytes: Vec<u8> = key(member, site, stream).iter().flat_map(|word| word.to_le_bytes()).collect();
                let mut stream = ChaCha8Rng::from_seed(bytes.try_into().unwrap());
                for i in 0..rows {
                    let kept = row(&mut stream, if causal { i + 1 } else { width }, threshold(member));
                    let word = |from: usize| {
                        (from..kept.len().min(from + 32)).filter(|&i| kept[i]).map(|i| 1u32 << (i - from)).sum::<u32>()
                    };
                    expected.extend((0..words).map(|w| f64::from(word(32 * w))));
                }
            }
            case.expect_common("bits", &bits, &expected);
        }
    });
}
