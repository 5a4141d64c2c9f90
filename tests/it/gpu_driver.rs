//! What calls NVIDIA's libraries, through their stand-ins on this machine's processor.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use votive::error::Kind;
use votive::model::gpu::cuda::{Address, Argument, Gpu, Kernels, Operand, Search, Shape, Type, Usage, gpus, ready, usage};
use votive::model::gpu::kernels::Source;

use crate::host_gpu;

const SOURCE: Source<'static> = Source {
    name: "few.cu",
    text: r#"
// x[i] = x[i] * factor + add
extern "C" __global__ void scale(float* x, long long count, float factor, int add) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) x[i] = x[i] * factor + (float)add;
}

// The sum of a block's `count` values, through dynamic shared memory.
extern "C" __global__ void total(const float* x, float* sum, int count) {
    DYNAMIC_SHARED(float, values);
    for (int i = threadIdx.x; i < count; i += blockDim.x) values[i] = x[i];
    __syncthreads();
    if (threadIdx.x == 0) {
        float s = 0.0f;
        for (int i = 0; i < count; i++) s += values[i];
        sum[0] = s;
    }
}

// Doubles a word of pinned memory.
extern "C" __global__ void twice(unsigned* word) { word[0] = 2 * word[0]; }
"#,
};

/// The stand-ins with a cache of their own.
struct Machine {
    libraries: PathBuf,
    cache: TempDir,
    /// Where the libraries have settings of their own: what keeps their folder.
    _copy: Option<TempDir>,
}

impl Machine {
    fn new() -> Self {
        Self::of(host_gpu::libraries().to_owned(), None)
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let copy = host_gpu::libraries_with(settings);
        Self::of(copy.path().to_owned(), Some(copy))
    }

    fn of(libraries: PathBuf, copy: Option<TempDir>) -> Self {
        Self { libraries, cache: tempfile::tempdir().unwrap(), _copy: copy }
    }

    fn search(&self) -> Search {
        Search { libraries: Some(self.libraries.clone()), cache: self.cache.path().to_owned() }
    }

    fn open(&self) -> Gpu {
        Gpu::open(&self.search(), 0).unwrap()
    }

    fn entries(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.cache.path()).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn kernels(gpu: &Gpu) -> Kernels {
    gpu.compile(&[SOURCE], Operand::F32).unwrap()
}

fn write(gpu: &Gpu, to: Address, values: &[f32]) {
    gpu.write(to, bytemuck::cast_slice(values)).unwrap();
}

fn read(gpu: &Gpu, from: Address, count: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; count];
    gpu.read(from, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

/// `scale` over `count` values.
fn scale(gpu: &Gpu, kernels: &Kernels, x: Address, count: usize, factor: f32, add: i32) -> votive::error::Result<()> {
    let arguments = [Argument::Pointer(x), Argument::Long(count as i64), Argument::Float(factor), Argument::Int(add)];
    gpu.launch(kernels.get("scale")?, [count.div_ceil(64) as u32, 1, 1], 64, 0, &arguments)
}

#[test]
fn a_gpu_is_opened_and_says_what_it_is() {
    let machine = Machine::with(&[("NAME", "A made-up GPU"), ("DEVICES", "2"), ("MEMORY", "1000000000")]);
    let listed = gpus(&machine.search()).unwrap();
    assert_eq!(
        listed.iter().map(|g| (g.number, g.name.as_str(), g.memory)).collect::<Vec<_>>(),
        [(0, "A made-up GPU", 1_000_000_000), (1, "A made-up GPU", 1_000_000_000)]
    );
    assert_ne!(listed[0].uuid, listed[1].uuid);
    ready(&machine.search(), 1).unwrap();
    let gpu = Gpu::open(&machine.search(), 1).unwrap();
    let facts = gpu.facts();
    assert_eq!((facts.name.as_str(), facts.uuid.as_str()), ("A made-up GPU", listed[1].uuid.as_str()));
    assert_eq!((facts.capability, facts.driver, facts.memory), ((9, 0), (13, 0), 1_000_000_000));
    assert!(facts.multiprocessors > 0 && facts.products >= 130_000, "{facts:?}");
    assert!(facts.compiler.starts_with("libnvrtc.so.13 of ") && facts.compiler.contains("builtins.so.13.0"), "{facts:?}");
    assert!(gpu.free_memory().unwrap() < 1_000_000_000);
}

#[test]
fn memory_is_zero_and_holds_what_is_written() {
    // Libraries of its own: no other test takes memory meanwhile.
    let machine = Machine::with(&[]);
    let gpu = machine.open();
    let before = gpu.free_memory().unwrap();
    let array = gpu.array("some values", 4096).unwrap();
    assert_eq!(read(&gpu, array.at(0), 1024), vec![0.0; 1024]);
    write(&gpu, array.at(400), &[1.5, -2.5]);
    assert_eq!(read(&gpu, array.at(396), 4), [0.0, 1.5, -2.5, 0.0]);
    drop(array);
    assert_eq!(gpu.free_memory().unwrap(), before);

    let pinned = gpu.pinned(8).unwrap();
    assert!(pinned.words().iter().all(|w| w.load(Ordering::Relaxed) == 0));
    pinned.words()[5].store(21, Ordering::Release);
    let loaded = kernels(&gpu);
    gpu.launch(loaded.get("twice").unwrap(), [1, 1, 1], 1, 0, &[Argument::Pointer(pinned.at(5))]).unwrap();
    gpu.wait().unwrap();
    assert_eq!(pinned.words()[5].load(Ordering::Acquire), 42);
}

#[test]
fn kernels_that_were_compiled_are_kept_and_the_compiler_stays_closed() {
    let machine = Machine::new();
    let first = kernels(&machine.open());
    assert_eq!(machine.entries().len(), 1);
    // The same compiler, which would refuse everything if it were asked.
    let refusing = Machine { cache: machine.cache, ..Machine::with(&[("FAIL_COMPILE", "1")]) };
    let gpu = refusing.open();
    let second = kernels(&gpu);
    assert_eq!(first.hash(), second.hash());
    let array = gpu.array("x", 8).unwrap();
    write(&gpu, array.at(0), &[1.0, 2.0]);
    scale(&gpu, &second, array.at(0), 2, 3.0, 1).unwrap();
    assert_eq!(read(&gpu, array.at(0), 2), [4.0, 7.0]);

    let error = gpu.compile(&[SOURCE], Operand::Bf16).err().unwrap();
    assert_eq!(error.kind(), Kind::Device);
    assert_eq!(error.to_string(), "the kernels of `few.cu` do not compile for sm_90a");
}

#[test]
fn a_damaged_entry_is_compiled_again_and_so_is_one_that_does_not_load() {
    let machine = Machine::new();
    let hash = kernels(&machine.open()).hash().to_owned();
    let [entry] = machine.entries().try_into().unwrap();
    let whole = fs::read(&entry).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let foreign = b"not what a driver loads";
    let unloadable = [blake3::hash(foreign).as_bytes().as_slice(), foreign].concat();
    for damaged in [flipped, whole[..100].to_vec(), Vec::new(), unloadable] {
        fs::write(&entry, &damaged).unwrap();
        let gpu = machine.open();
        let loaded = kernels(&gpu);
        assert_eq!(loaded.hash(), hash);
        assert_eq!(fs::read(&entry).unwrap(), whole);
        assert_eq!(machine.entries().len(), 1);
    }
}

#[test]
fn a_cache_that_cannot_be_written_stops_nothing() {
    let machine = Machine::new();
    let file = machine.cache.path().join("file");
    fs::write(&file, "").unwrap();
    let search = Search { cache: file.join("below"), ..machine.search() };
    kernels(&Gpu::open(&search, 0).unwrap()).get("scale").unwrap();
}

#[test]
fn an_error_in_a_kernel_is_told_with_its_file_and_line() {
    let machine = Machine::new();
    let broken = Source { name: "broken.cu", text: "\nextern \"C\" __global__ void f(int n) {\n    nonsense;\n}\n" };
    let error = machine.open().compile(&[SOURCE, broken], Operand::F32).err().unwrap();
    assert_eq!(error.to_string(), "the kernels of `broken.cu` do not compile for sm_90a");
    assert!(error.chain().contains("broken.cu:3") && error.chain().contains("nonsense"), "{}", error.chain());
}

#[test]
fn a_launch_with_other_arguments_than_the_kernel_takes_is_refused() {
    let machine = Machine::new();
    let gpu = machine.open();
    let loaded = kernels(&gpu);
    let array = gpu.array("x", 64).unwrap();
    let [x, count] = [Argument::Pointer(array.at(0)), Argument::Long(16)];
    let told =
        |arguments: &[Argument]| gpu.launch(loaded.get("scale").unwrap(), [1, 1, 1], 32, 0, arguments).unwrap_err().to_string();
    assert_eq!(told(&[x, count, Argument::Float(1.0)]), "the kernel `scale` takes 4 arguments, and 3 were given");
    let swapped = [x, count, Argument::Int(1), Argument::Float(1.0)];
    assert_eq!(told(&swapped), "the kernel `scale` takes Float as argument 3, not Int(1)");
    assert_eq!(loaded.get("none").err().unwrap().to_string(), "there is no kernel `none`");
    assert_eq!(gpu.counts().launches, 0);
    let error = gpu.launch(loaded.get("scale").unwrap(), [0, 1, 1], 32, 0, &[x, count, Argument::Float(1.0), Argument::Int(0)]);
    assert!(error.unwrap_err().to_string().starts_with("the kernel `scale` was not launched"));
}

#[test]
fn a_kernel_gets_more_shared_memory_than_is_given_unasked() {
    let machine = Machine::new();
    let gpu = machine.open();
    let loaded = kernels(&gpu);
    let count = 20_000;
    let (x, sum) = (gpu.array("x", 4 * count).unwrap(), gpu.array("sum", 4).unwrap());
    write(&gpu, x.at(0), &vec![0.25; count as usize]);
    let arguments = [Argument::Pointer(x.at(0)), Argument::Pointer(sum.at(0)), Argument::Int(count as i32)];
    gpu.launch(loaded.get("total").unwrap(), [1, 1, 1], 64, 4 * count as u32, &arguments).unwrap();
    assert_eq!(read(&gpu, sum.at(0), 1), [5000.0]);
    let error = gpu.launch(loaded.get("total").unwrap(), [1, 1, 1], 64, 1 << 20, &arguments).unwrap_err();
    assert_eq!(error.to_string(), "the kernel `total` gets no 1048576 bytes of shared memory");
}

#[test]
fn a_recorded_graph_does_the_same_again_and_counts() {
    let machine = Machine::of(host_gpu::strict_libraries(), None);
    let gpu = machine.open();
    let loaded = kernels(&gpu);
    let x = gpu.array("x", 400).unwrap();
    scale(&gpu, &loaded, x.at(0), 100, 2.0, 1).unwrap();
    let graph = gpu
        .record(|| {
            scale(&gpu, &loaded, x.at(0), 100, 2.0, 1)?;
            scale(&gpu, &loaded, x.at(0), 50, 1.0, -1)
        })
        .unwrap();
    assert_eq!(graph.nodes(), 2);
    // Recording has run nothing.
    assert_eq!(read(&gpu, x.at(0), 100), vec![1.0; 100]);
    let before = gpu.counts();
    for _ in 0..3 {
        gpu.replay(&graph).unwrap();
    }
    let after = gpu.counts();
    assert_eq!((after.replays - before.replays, after.launches, after.waits), (3, before.launches, before.waits));
    let expected: Vec<f32> = (0..100).map(|i| if i < 50 { 8.0 } else { 15.0 }).collect();
    assert_eq!(read(&gpu, x.at(0), 100), expected);
    assert!(gpu.poll().unwrap());
    // What cannot be recorded ends the recording, and the stream works on.
    gpu.record(|| gpu.wait()).err().unwrap();
    scale(&gpu, &loaded, x.at(0), 100, 0.0, 4).unwrap();
    assert_eq!(read(&gpu, x.at(0), 2), [4.0, 4.0]);
}

#[test]
fn work_that_is_not_done_is_seen_without_waiting() {
    let machine = Machine::with(&[("DELAY_US", "200000")]);
    let gpu = machine.open();
    let loaded = kernels(&gpu);
    let x = gpu.array("x", 4).unwrap();
    scale(&gpu, &loaded, x.at(0), 1, 0.0, 3).unwrap();
    assert!(!gpu.poll().unwrap());
    gpu.wait().unwrap();
    assert!(gpu.poll().unwrap());
}

#[test]
fn memory_that_runs_out_is_told_with_what_did_not_fit() {
    let machine = Machine::with(&[("MEMORY", "100000000"), ("BUSY", "20000000")]);
    let gpu = machine.open();
    let error = gpu.array("activations", 90_000_000).err().unwrap();
    assert_eq!(error.kind(), Kind::OutOfMemory);
    let told = "the GPU's memory ran out: there is no room for activations of 0.09 GB where 0.05 GB of 0.10 GB are free";
    assert_eq!(error.chain(), told);
    assert!(error.help_text().unwrap().contains("`nvidia-smi`"));
    gpu.array("less", 1_000_000).unwrap();
}

#[test]
fn faults_come_out_when_the_stream_is_asked_and_are_told_apart() {
    for (code, told) in [
        (700, "a kernel reached for memory that is not its own"),
        (214, "the GPU found an error in its memory that it could not correct"),
        (719, "a kernel failed"),
        (999, "the GPU was lost"),
        (12_345, "the GPU's driver refused a call"),
    ] {
        let machine = Machine::with(&[("FAIL_LAUNCH", &format!("2:{code}"))]);
        let gpu = machine.open();
        let loaded = kernels(&gpu);
        let x = gpu.array("x", 4).unwrap();
        for _ in 0..2 {
            scale(&gpu, &loaded, x.at(0), 1, 1.0, 1).unwrap();
        }
        let asked = loop {
            match gpu.poll() {
                Ok(false) => std::thread::yield_now(),
                Ok(true) => panic!("{code} was not seen"),
                Err(error) => break error,
            }
        };
        assert_eq!((asked.kind(), asked.to_string().as_str()), (Kind::Device, told));
        assert!(asked.help_text().is_some() && asked.chain().contains(&format!("({code})")), "{}", asked.chain());
        // Every call after it fails in the same way.
        assert_eq!(gpu.wait().unwrap_err().to_string(), told);
        // So does a product, which the stand-in would refuse in other words: it overwrites what it reads.
        let product = gpu.product(Shape::new(1, 1, 1));
        let error = product.and_then(|p| gpu.multiply(&p, x.at(0), x.at(0), x.at(0), None)).unwrap_err();
        assert_eq!(error.to_string(), told);
    }
}

#[test]
fn a_gpu_that_cannot_be_used_is_told_in_one_sentence() {
    let told = |settings: &[(&str, &str)], number| {
        let machine = Machine::with(settings);
        let error = ready(&machine.search(), number).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.help_text().is_some(), "{}", error.chain());
        assert_eq!(Gpu::open(&machine.search(), number).err().unwrap().to_string(), error.to_string());
        (error.chain(), gpus(&machine.search()))
    };
    let (text, listed) = told(&[("FAIL_INIT", "34")], 0);
    assert!(text.contains("libcuda.so.1 is the toolkit's stub to link with, not a driver"), "{text}");
    assert_eq!(listed.unwrap(), []);
    let (text, listed) = told(&[("FAIL_INIT", "100")], 0);
    assert!(text.contains("the driver shows no GPU"), "{text}");
    assert_eq!(listed.unwrap(), []);
    let (text, listed) = told(&[("FAIL_INIT", "803")], 0);
    assert!(text.starts_with("the driver's library and the system's driver are of different versions"), "{text}");
    assert_eq!(listed.unwrap_err().chain(), text);
    let (text, listed) = told(&[("DRIVER_VERSION", "11080")], 0);
    assert_eq!(text, "the NVIDIA driver serves CUDA 11.8, and 12.0 or newer is needed");
    assert_eq!(listed.unwrap().len(), 1);
    let (text, _) = told(&[("CAPABILITY", "75"), ("NAME", "Old")], 0);
    assert_eq!(text, "Old (compute capability 7.5) is too old for the kernels");
    let (text, listed) = told(&[("DEVICES", "2")], 2);
    assert_eq!(text, "there is no GPU 2: the driver shows 2 GPUs, numbered from 0");
    assert_eq!(listed.unwrap().len(), 2);
}

#[test]
fn a_library_that_is_missing_is_told_with_what_brings_it() {
    let machine = Machine::new();
    let everywhere = |folder: &Path, number| ready(&Search { libraries: Some(folder.to_owned()), ..machine.search() }, number);
    for (missing, package) in [("libnvrtc.so.13", "nvidia-cuda-nvrtc"), ("libcublasLt.so.13", "nvidia-cublas")] {
        let folder = host_gpu::libraries_with(&[]);
        fs::remove_file(folder.path().join(missing)).unwrap();
        // A machine may have a toolkit of its own, which is used then.
        if let Err(error) = everywhere(folder.path(), 0) {
            assert_eq!(error.to_string(), format!("the GPU cannot be used: `{missing}` was not found"));
            assert!(error.help_text().unwrap().starts_with(&format!("`pip install {package}`")), "{:?}", error.help_text());
        }
        fs::write(folder.path().join(missing), "no library").unwrap();
        let search = Search { libraries: Some(folder.path().to_owned()), ..machine.search() };
        let told = Gpu::open(&search, 0).and_then(|gpu| gpu.compile(&[SOURCE], Operand::F32).map(|_| ())).unwrap_err();
        assert!(told.to_string().ends_with(&format!("{missing} cannot be opened")), "{told}");
        assert!(told.help_text().unwrap().contains("install it again"));
    }
}

#[test]
fn a_newer_gpu_than_the_compiler_knows_takes_the_drivers_assembly() {
    let machine = Machine::with(&[("CAPABILITY", "131")]);
    let gpu = machine.open();
    assert_eq!(gpu.facts().capability, (13, 1));
    let loaded = kernels(&gpu);
    let x = gpu.array("x", 4).unwrap();
    scale(&gpu, &loaded, x.at(0), 1, 0.0, 3).unwrap();
    assert_eq!(read(&gpu, x.at(0), 1), [3.0]);
}

/// The value that a bfloat16 keeps of this one.
fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// A matrix as the device gets it: bytes, and what they mean.
fn stored(kind: Type, values: &[f32]) -> (Vec<u8>, Vec<f64>) {
    match kind {
        Type::F32 => (bytemuck::cast_slice(values).to_vec(), values.iter().map(|&v| f64::from(v)).collect()),
        Type::Bf16 => {
            let short: Vec<u16> = values.iter().map(|&v| rounded(v)).collect();
            let means = short.iter().map(|&s| f64::from(f32::from_bits(u32::from(s) << 16))).collect();
            (bytemuck::cast_slice(&short).to_vec(), means)
        }
    }
}

/// Numbers that look random, in [-1, 1).
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Computes a product on the device and compares with 64-bit floats; everything around C must stay as it was.
fn check_product(gpu: &Gpu, shape: Shape) {
    let extent = |rows: usize, leading: usize, stride: i64| rows * leading + (shape.batch - 1) * stride as usize;
    let a_rows = if shape.ta { shape.k } else { shape.m };
    let b_rows = if shape.tb { shape.n } else { shape.k };
    let (a_bytes, a) = stored(shape.a, &numbers(extent(a_rows, shape.lda, shape.stride_a), 1));
    let (b_bytes, b) = stored(shape.b, &numbers(extent(b_rows, shape.ldb, shape.stride_b), 2));
    let (c_bytes, c) = stored(shape.c, &numbers(extent(shape.m, shape.ldc, shape.stride_c), 3));
    let (bias_bytes, bias) = stored(shape.c, &numbers(shape.n + (shape.batch - 1) * shape.bias_stride as usize, 4));
    let put = |bytes: &[u8]| {
        let array = gpu.array("a matrix", bytes.len() as u64).unwrap();
        gpu.write(array.at(0), bytes).unwrap();
        array
    };
    let (on_a, on_b, on_c, on_bias) = (put(&a_bytes), put(&b_bytes), put(&c_bytes), put(&bias_bytes));
    let product = gpu.product(shape).unwrap();
    gpu.multiply(&product, on_a.at(0), on_b.at(0), on_c.at(0), shape.bias.then(|| on_bias.at(0))).unwrap();
    let mut bytes = vec![0; c_bytes.len()];
    gpu.read(on_c.at(0), &mut bytes).unwrap();
    let result: Vec<f64> = match shape.c {
        Type::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_ne_bytes(b.try_into().unwrap()))).collect(),
        Type::Bf16 => {
            let short = bytes.chunks_exact(2).map(|b| u32::from(u16::from_ne_bytes(b.try_into().unwrap())));
            short.map(|s| f64::from(f32::from_bits(s << 16))).collect()
        }
    };

    let mut expected = c.clone();
    for batch in 0..shape.batch {
        let at = |stride: i64| batch * stride as usize;
        for i in 0..shape.m {
            for j in 0..shape.n {
                let sum: f64 = (0..shape.k)
                    .map(|l| {
                        let x = a[at(shape.stride_a) + if shape.ta { l * shape.lda + i } else { i * shape.lda + l }];
                        let y = b[at(shape.stride_b) + if shape.tb { j * shape.ldb + l } else { l * shape.ldb + j }];
                        x * y
                    })
                    .sum();
                let place = at(shape.stride_c) + i * shape.ldc + j;
                let bias = if shape.bias { bias[at(shape.bias_stride) + j] } else { 0.0 };
                expected[place] = f64::from(shape.alpha) * sum + f64::from(shape.beta) * c[place] + bias;
            }
        }
    }
    let tolerance = match (shape.c, shape.tf32) {
        (Type::Bf16, _) => 2e-2,
        (_, true) => 1e-2,
        // Long sums gather more rounding.
        (Type::F32, false) => 1e-5 * (shape.k as f64 / 64.0).max(1.0),
    };
    for (place, (result, expected)) in result.iter().zip(&expected).enumerate() {
        let off = (result - expected).abs();
        assert!(off <= tolerance * expected.abs().max(1.0), "{result} at {place}, not {expected}: {shape:?}");
    }
}

#[test]
fn products_are_right_in_all_layouts_and_types() {
    let machine = Machine::new();
    let gpu = machine.open();
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        for (a, b, c) in
            [(Type::F32, Type::F32, Type::F32), (Type::Bf16, Type::Bf16, Type::F32), (Type::Bf16, Type::Bf16, Type::Bf16)]
        {
            for (beta, bias) in [(0.0, false), (1.0, false), (0.0, true)] {
                let (m, n, k) = (5, 9, 7);
                // Rows are longer than what is in them, batches further apart than their rows.
                let (lda, ldb, ldc) = (if ta { m } else { k } + 1, if tb { k } else { n } + 3, n + 2);
                let (stride_a, stride_b, stride_c) = (8 * lda as i64 + 1, 10 * ldb as i64, 6 * ldc as i64 + 5);
                let shape =
                    Shape { ta, tb, lda, ldb, ldc, batch: 6, members: 3, stride_a, stride_b, stride_c, ..Shape::new(m, n, k) };
                let shape = Shape { alpha: 0.5, beta, a, b, c, bias, bias_stride: 11, ..shape };
                check_product(&gpu, shape);
                check_product(&gpu, Shape { batch: 1, members: 1, ..shape });
            }
        }
    }
    check_product(&gpu, Shape { tf32: true, ..Shape::new(16, 24, 32) });
    check_product(&gpu, Shape { alignment: 4, ..Shape::new(1, 1, 1) });
}

#[test]
fn a_products_algorithm_does_not_depend_on_how_many_members_there_are() {
    let machine = Machine::new();
    let gpu = machine.open();
    let shape = |members: usize| Shape {
        batch: 3 * members,
        members,
        stride_a: 64 * 64,
        stride_b: 64 * 64,
        stride_c: 64 * 64,
        ..Shape::new(64, 64, 64)
    };
    let alone = gpu.product(shape(1)).unwrap();
    for members in [2, 4, 64] {
        let together = gpu.product(shape(members)).unwrap();
        assert_eq!(together.algorithm(), alone.algorithm());
    }
    let again = gpu.product_with(shape(4), &alone.algorithm()).unwrap();
    assert_eq!(again.algorithm(), alone.algorithm());
    check_product(&gpu, shape(4));
    let error = gpu.product_with(shape(4), &[0xee; 64]).err().unwrap();
    assert!(error.to_string().starts_with("a product cannot be computed as it was before"), "{error}");
}

#[test]
fn members_whose_split_sums_do_not_fit_together_are_multiplied_in_pieces_by_the_same_algorithm() {
    let machine = Machine::new();
    let gpu = machine.open();
    let (m, n, k) = (3, 4, 1100);
    let [stride_a, stride_b, stride_c] = [m * k, k * n, m * n].map(|count| count as i64);
    let shape = |members: usize| {
        let shape = Shape { batch: members, members, stride_a, stride_b, stride_c, ..Shape::new(m, n, k) };
        Shape { bias: true, bias_stride: 8, ..shape }
    };
    // The stand-in takes a MiB for each, and there are 32.
    let alone = gpu.product(shape(1)).unwrap();
    for (members, pieces) in [(1, 1), (8, 1), (60, 2), (96, 4)] {
        let before = gpu.counts().products;
        assert_eq!(gpu.product(shape(members)).unwrap().algorithm(), alone.algorithm());
        check_product(&gpu, shape(members));
        assert_eq!(gpu.counts().products - before, pieces, "{members} members");
    }
}

#[test]
fn a_product_is_refused_where_bias_or_places_do_not_fit() {
    let machine = Machine::new();
    let gpu = machine.open();
    let array = gpu.array("x", 4096).unwrap();
    let product = gpu.product(Shape { bias: true, ..Shape::new(4, 4, 4) }).unwrap();
    let [a, b, c] = [0, 512, 1024].map(|at| array.at(at));
    let error = gpu.multiply(&product, a, b, c, None).unwrap_err();
    assert!(error.to_string().starts_with("a product is given a bias where it has none, or none where it has one"), "{error}");
    let error = gpu.multiply(&product, a, b.plus(4), c, Some(array.at(2048))).unwrap_err();
    assert!(error.to_string().contains("which are not aligned"), "{error}");
    assert_eq!(gpu.product(Shape::new(0, 4, 4)).err().unwrap().kind(), Kind::Internal);
    gpu.multiply(&product, a, b, c, Some(array.at(2048))).unwrap();
    gpu.wait().unwrap();
    assert_eq!(gpu.counts().products, 1);
}

#[test]
fn products_are_recorded_with_the_kernels_around_them() {
    let machine = Machine::new();
    let gpu = machine.open();
    let loaded = kernels(&gpu);
    let x = gpu.array("x", 3 * 64).unwrap();
    write(&gpu, x.at(0), &[1.0; 16]);
    write(&gpu, x.at(64), &[1.0; 16]);
    let product = gpu.product(Shape::new(4, 4, 4)).unwrap();
    let step = || {
        scale(&gpu, &loaded, x.at(0), 16, 2.0, 0)?;
        gpu.multiply(&product, x.at(0), x.at(64), x.at(128), None)
    };
    step().unwrap();
    let graph = gpu.record(step).unwrap();
    gpu.replay(&graph).unwrap();
    gpu.replay(&graph).unwrap();
    assert_eq!(read(&gpu, x.at(128), 16), vec![32.0; 16]);
}

#[test]
fn what_others_use_of_a_gpu_is_known_as_far_as_the_management_library_tells_it() {
    let others = [("DEVICES", "2"), ("BUSY", "3000000000"), ("PROCESS_1", "4711:python")];
    let told = |more: &[(&'static str, &'static str)]| {
        let machine = Machine::with(&[&others[..], more].concat());
        let listed = gpus(&machine.search()).unwrap();
        let mut uuids: Vec<&str> = listed.iter().map(|gpu| gpu.uuid.as_str()).collect();
        uuids.push("GPU-00000000-0000-0000-0000-000000000000");
        usage(&machine.search(), &uuids)
    };
    let processes = |usage: &Usage| usage.processes.iter().map(|one| (one.pid, one.name.clone())).collect::<Vec<_>>();
    let all = told(&[]);
    assert_eq!(
        all.iter().map(|one| Some(one.as_ref()?.used)).collect::<Vec<_>>(),
        [Some(3_000_000_000), Some(3_000_000_000), None]
    );
    assert_eq!(processes(all[1].as_ref().unwrap()), [(4711, "python".to_owned())]);
    assert!(all[0].as_ref().unwrap().processes.is_empty());
    // The parts of a GPU have identities of their own.
    assert_eq!(told(&[("NAME", "X1 MIG 1g.10gb")]), all);
    for function in ["nvmlInit_v2", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo_v2"] {
        assert_eq!(told(&[("FAIL_NVML", function)]), [None, None, None], "{function}");
    }
    let unseen = told(&[("FAIL_NVML", "nvmlDeviceGetComputeRunningProcesses_v3")]);
    assert!(unseen[1].as_ref().is_some_and(|usage| usage.used == 3_000_000_000 && usage.processes.is_empty()));
    let nameless = told(&[("FAIL_NVML", "nvmlSystemGetProcessName")]);
    assert_eq!(processes(nameless[1].as_ref().unwrap()), [(4711, String::new())]);
    // Without the library nothing is known.
    let machine = Machine::with(&others);
    fs::remove_file(machine.libraries.join("libnvidia-ml.so.1")).unwrap();
    let listed = gpus(&machine.search()).unwrap();
    let nothing = usage(&machine.search(), &[listed[0].uuid.as_str()]);
    assert!(nothing[0].as_ref().is_none_or(|usage| usage.used != 3_000_000_000), "unless this machine has one");
}
