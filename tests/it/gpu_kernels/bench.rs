//! Arrays with known contents on a GPU, launches, and comparisons.

use std::cell::RefCell;

use votive::model::gpu::cuda::{Address, Argument, Array, Gpu, Kernels, Operand, Pinned, Search};
use votive::model::gpu::kernels::{SOURCES, Source};

use crate::host_gpu;

/// One kernel under test with certain members.
pub(super) struct Case<'a> {
    gpu: &'a Gpu,
    kernels: &'a Kernels,
    pub(super) operand: Kind,
    /// Who trains: a member's numbers follow from its name, not from its place.
    pub(super) members: &'a [u64],
    /// The bytes of each result, for each member.
    results: RefCell<Vec<Vec<Vec<u8>>>>,
}

/// What an array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Float,
    Bf16,
    Int,
    Word,
    Long,
    Double,
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::Float | Self::Int | Self::Word => 4,
            Self::Long | Self::Double => 8,
        }
    }

    fn encode(self, value: f64) -> Vec<u8> {
        match self {
            Self::Float => (value as f32).to_le_bytes().to_vec(),
            Self::Bf16 => to_bf16(value as f32).to_le_bytes().to_vec(),
            Self::Int => (value as i32).to_le_bytes().to_vec(),
            Self::Word => (value as u32).to_le_bytes().to_vec(),
            Self::Long => (value as i64).to_le_bytes().to_vec(),
            Self::Double => value.to_le_bytes().to_vec(),
        }
    }

    fn decode(self, bytes: &[u8]) -> f64 {
        match self {
            Self::Float => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
            Self::Bf16 => of_bf16(u16::from_le_bytes(bytes.try_into().unwrap())),
            Self::Int => f64::from(i32::from_le_bytes(bytes.try_into().unwrap())),
            Self::Word => f64::from(u32::from_le_bytes(bytes.try_into().unwrap())),
            Self::Long => i64::from_le_bytes(bytes.try_into().unwrap()) as f64,
            Self::Double => f64::from_le_bytes(bytes.try_into().unwrap()),
        }
    }
}

/// An array of all members: `before` elements, then each member's `each`, `stride` apart; the rest is filled with 0xFF.
pub(super) struct Values {
    array: Array,
    kind: Kind,
    each: usize,
    stride: usize,
    before: usize,
    start: Vec<u8>,
    /// What the kernel reads, each member after the other: rounded to the array's kind.
    pub(super) seen: Vec<f64>,
}

impl Values {
    /// The first element of the first member.
    pub(super) fn pointer(&self) -> Argument {
        Argument::Pointer(self.at(0))
    }

    /// An element of the first member.
    pub(super) fn at(&self, element: usize) -> Address {
        self.array.at(((self.before + element) * self.kind.size()) as u64)
    }

    /// Elements from one member to the next.
    pub(super) fn stride(&self) -> Argument {
        Argument::Long(self.stride as i64)
    }

    /// What the kernel reads of the member at this place.
    pub(super) fn of(&self, k: usize) -> &[f64] {
        &self.seen[k * self.each..(k + 1) * self.each]
    }

    fn place(&self, k: usize) -> usize {
        (self.before + k * self.stride) * self.kind.size()
    }
}

/// Runs a case for both kinds of operands, with three members and with one of them alone; its results must not differ.
pub(super) fn check(case: impl Fn(&Case<'_>)) {
    for operand in [Operand::F32, Operand::Bf16] {
        check_one(operand, &case);
    }
}

/// [`check`] for kernels that read no operands.
pub(super) fn check_one(operand: Operand, case: impl Fn(&Case<'_>)) {
    check_of(SOURCES, operand, case);
}

/// The same for the kernels of these sources.
pub(super) fn check_of(sources: &[Source<'_>], operand: Operand, case: impl Fn(&Case<'_>)) {
    let libraries = host_gpu::strict_libraries();
    let search = Search { cache: libraries.join("cache"), libraries: Some(libraries) };
    let gpu = Gpu::open(&search, 0).unwrap();
    let kernels = gpu.compile(sources, operand).unwrap();
    let run = |members: &[u64]| {
        let kind = if operand == Operand::F32 { Kind::Float } else { Kind::Bf16 };
        let context = Case { gpu: &gpu, kernels: &kernels, operand: kind, members, results: RefCell::default() };
        case(&context);
        context.results.into_inner()
    };
    let (together, alone) = (run(&[10, 11, 12]), run(&[11]));
    assert_eq!(together.len(), alone.len());
    for (i, (together, alone)) in together.iter().zip(&alone).enumerate() {
        assert!(together[1] == alone[0], "result {i} of {operand:?}: a member alone has other bits than beside two others");
    }
}

impl Case<'_> {
    /// Number of members (K).
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    /// An array with these numbers for each member, given its name and the place of the element.
    pub(super) fn values(&self, kind: Kind, each: usize, number: impl Fn(u64, usize) -> f64) -> Values {
        self.spread(kind, each, each, 0, number)
    }

    /// Random numbers between −1.5 and 1.5 in 32 bits.
    pub(super) fn floats(&self, seed: u64, each: usize) -> Values {
        self.values(Kind::Float, each, |member, i| random(member, seed, i))
    }

    /// Random numbers between −1.5 and 1.5 as operands.
    pub(super) fn operands(&self, seed: u64, each: usize) -> Values {
        self.values(self.operand, each, |member, i| random(member, seed, i))
    }

    /// Random words.
    pub(super) fn words(&self, seed: u64, each: usize) -> Values {
        self.values(Kind::Word, each, |member, i| f64::from(random_word(member, seed, i)))
    }

    /// A parameter among others: each member's values lie farther apart than there are of them.
    pub(super) fn parameter(&self, seed: u64, each: usize) -> Values {
        self.parameter_beside(seed, each, each)
    }

    /// The same, as far apart as for one of so many values.
    pub(super) fn parameter_beside(&self, seed: u64, each: usize, largest: usize) -> Values {
        self.spread(Kind::Float, each, largest.next_multiple_of(64) + 128, 64, |member, i| random(member, seed, i))
    }

    /// An array that nothing was written to.
    pub(super) fn unwritten(&self, kind: Kind, each: usize) -> Values {
        let mut values = self.values(kind, each, |_, _| 0.0);
        values.start.fill(0xff);
        self.gpu.write(values.array.at(0), &values.start).unwrap();
        values
    }

    /// What all members share.
    pub(super) fn common(&self, kind: Kind, numbers: &[f64]) -> Values {
        let one = Case { members: &self.members[..1], results: RefCell::default(), ..*self };
        one.values(kind, numbers.len(), |_, i| numbers[i])
    }

    /// Words of the host's memory, all zero.
    pub(super) fn pinned(&self, words: usize) -> Pinned {
        self.gpu.pinned(words).unwrap()
    }

    /// The member table.
    pub(super) fn table(&self, member: impl Fn(u64) -> Member) -> Values {
        self.values(Kind::Word, 16, |name, i| f64::from(member(name).words()[i]))
    }

    fn spread(&self, kind: Kind, each: usize, stride: usize, before: usize, number: impl Fn(u64, usize) -> f64) -> Values {
        let elements = before + stride * self.count();
        let array = self.gpu.array("values under test", (elements * kind.size()) as u64).unwrap();
        let mut values =
            Values { array, kind, each, stride, before, start: vec![0xff; elements * kind.size()], seen: Vec::new() };
        for (k, &member) in self.members.iter().enumerate() {
            for i in 0..each {
                let bytes = kind.encode(number(member, i));
                let place = values.place(k) + i * kind.size();
                values.start[place..place + kind.size()].copy_from_slice(&bytes);
                values.seen.push(kind.decode(&bytes));
            }
        }
        self.gpu.write(values.array.at(0), &values.start).unwrap();
        values
    }

    /// Launches a kernel.
    pub(super) fn launch(&self, name: &str, grid: [usize; 3], block: u32, shared_bytes: usize, arguments: &[Argument]) {
        let kernel = self.kernels.get(name).unwrap();
        self.gpu.launch(kernel, grid.map(|n| n as u32), block, shared_bytes as u32, arguments).unwrap();
    }

    /// What an array holds now, as bytes.
    fn bytes(&self, values: &Values) -> Vec<u8> {
        let mut bytes = vec![0; values.start.len()];
        self.gpu.read(values.array.at(0), &mut bytes).unwrap();
        bytes
    }

    /// What each member has in an array now, one after another.
    pub(super) fn read(&self, values: &Values) -> Vec<f64> {
        let (bytes, size) = (self.bytes(values), values.kind.size());
        let member = |k| bytes[values.place(k)..][..values.each * size].chunks(size).map(|b| values.kind.decode(b));
        (0..values.start.len() / size / values.stride.max(1)).take(self.count()).flat_map(member).collect()
    }

    /// Compares an array with what it should hold (each member's after the other), to this share of each value and of the
    /// largest; nothing else of it may have changed. Operands in bfloat16 may be rounded besides.
    pub(super) fn expect(&self, what: &str, values: &Values, expected: &[f64], tolerance: f64) {
        let (bytes, size) = (self.bytes(values), values.kind.size());
        assert_eq!(expected.len(), values.each * self.count(), "{what}");
        let scale = expected.iter().filter(|e| e.is_finite()).fold(0.0f64, |a, e| a.max(e.abs()));
        let rounding = if values.kind == Kind::Bf16 { 1.0 / 256.0 } else { 0.0 };
        let mut rest = bytes.clone();
        let mut results = Vec::new();
        for k in 0..self.count() {
            let place = values.place(k);
            let end = place + values.each * size;
            for (i, got) in bytes[place..end].chunks(size).map(|b| values.kind.decode(b)).enumerate() {
                let want = expected[k * values.each + i];
                let near = (got - want).abs() <= tolerance * scale + (tolerance + rounding) * want.abs();
                assert!(
                    near || got == want || got.is_nan() && want.is_nan(),
                    "{what}, member {k}, element {i}: {got}, should be {want}"
                );
            }
            results.push(bytes[place..end].to_vec());
            rest[place..end].copy_from_slice(&values.start[place..end]);
        }
        assert!(rest == values.start, "{what}: written beside what is meant");
        self.results.borrow_mut().push(results);
    }

    /// Compares what all members share.
    pub(super) fn expect_common(&self, what: &str, values: &Values, expected: &[f64]) {
        let got = self.read(values);
        let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
        assert!(got.len() == expected.len() && differs.is_none(), "{what}: element {differs:?}");
    }

    /// Nothing of an array may have changed.
    pub(super) fn untouched(&self, what: &str, values: &Values) {
        assert!(self.bytes(values) == values.start, "{what} was written");
    }
}

/// A member's numbers of a step, as `prelude.cu` has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) decay: f32,
    pub(super) beta1: f32,
    pub(super) rest1: f32,
    pub(super) beta2: f32,
    pub(super) rest2: f32,
    pub(super) root: f32,
    pub(super) rate: f32,
    pub(super) epsilon: f32,
    pub(super) clip: f64,
    pub(super) loss_scale: f32,
    pub(super) windows: usize,
    pub(super) dropout_threshold: u32,
    pub(super) dropout_factor: f32,
    pub(super) revive: bool,
}

impl Member {
    /// All are NaN, so that a kernel which reads another field than it should is seen.
    pub(super) const NONE: Self = Self {
        decay: f32::NAN,
        beta1: f32::NAN,
        rest1: f32::NAN,
        beta2: f32::NAN,
        rest2: f32::NAN,
        root: f32::NAN,
        rate: f32::NAN,
        epsilon: f32::NAN,
        clip: f64::NAN,
        loss_scale: f32::NAN,
        windows: 0x7fff_ffff,
        dropout_threshold: u32::MAX,
        dropout_factor: f32::NAN,
        revive: false,
    };

    fn words(&self) -> [u32; 16] {
        let floats = [self.decay, self.beta1, self.rest1, self.beta2, self.rest2, self.root, self.rate, self.epsilon];
        let mut words = [0; 16];
        words[..8].copy_from_slice(&floats.map(f32::to_bits));
        words[8] = self.clip.to_bits() as u32;
        words[9] = (self.clip.to_bits() >> 32) as u32;
        words[10] = self.loss_scale.to_bits();
        words[11] = self.windows as u32;
        words[12] = self.dropout_threshold;
        words[13] = self.dropout_factor.to_bits();
        words[14] = u32::from(self.revive);
        words
    }
}

/// The nearest bfloat16, ties to even.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { 0x7fff } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}

fn of_bf16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// The nearest number that bfloat16 has.
pub(super) fn rounded(value: f64) -> f64 {
    of_bf16(to_bf16(value as f32))
}

/// An `int`.
pub(super) fn int(value: usize) -> Argument {
    Argument::Int(value as i32)
}

/// A `long long`.
pub(super) fn long(value: usize) -> Argument {
    Argument::Long(value as i64)
}

/// No array.
pub(super) const NULL: Argument = Argument::Pointer(Address::NULL);

/// An array, or none.
pub(super) fn pointer(values: Option<&Values>) -> Argument {
    values.map_or(NULL, Values::pointer)
}

/// Whether a mask's bit for this column of a row is set, where rows have so many columns.
pub(super) fn bit(words: &[f64], row: usize, columns: usize, column: usize) -> bool {
    words[row * columns.div_ceil(32) + column / 32] as u32 >> (column % 32) & 1 == 1
}

/// What an element is multiplied by: 1 without a mask.
pub(super) fn masked(words: Option<&[f64]>, row: usize, columns: usize, column: usize, factor: f64) -> f64 {
    words.map_or(1.0, |words| if bit(words, row, columns, column) { factor } else { 0.0 })
}

/// The slope of `f` along each number of x, by differences.
pub(super) fn slopes(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let moved = |i: usize, by: f64| {
        let mut x = x.to_vec();
        x[i] += by;
        f(&x)
    };
    (0..x.len()).map(|i| (moved(i, step) - moved(i, -step)) / (2.0 * step)).collect()
}

/// Between −1.5 and 1.5: the same for a member, an array and a place.
pub(super) fn random(member: u64, seed: u64, i: usize) -> f64 {
    f64::from(random_word(member, seed, i)) / f64::from(u32::MAX) * 3.0 - 1.5
}

/// 32 bits, mixed as splitmix64 does (Steele et al. 2014).
pub(super) fn random_word(member: u64, seed: u64, i: usize) -> u32 {
    let mut z = (member << 48 ^ seed << 32 ^ i as u64).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 16) as u32
}
