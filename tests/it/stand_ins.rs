//! The stand-ins of NVIDIA's libraries: they compute what a GPU would, and find the mistakes that a GPU would hide.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::host_gpu::{libraries, libraries_with, strict_libraries};

/// Calls a C function that answers with an `int` by its name.
macro_rules! call {
    ($library:expr, $name:literal, $($argument:expr => $kind:ty),* $(,)?) => {{
        // SAFETY: the stand-ins declare the function with these types; pointers are to values that live through the call.
        unsafe { (*$library.get::<unsafe extern "C" fn($($kind),*) -> c_int>($name).unwrap())($($argument),*) }
    }};
}

mod products;

type Handle = *mut c_void;

/// A kernel's argument.
#[derive(Clone, Copy)]
enum Value {
    Address(u64),
    Int(i32),
}

/// One GPU with a stream, as a program sees it through the driver.
struct Gpu {
    driver: Library,
    compiler: Library,
    products: Library,
    stream: Handle,
}

impl Gpu {
    fn open(folder: &Path) -> Self {
        // SAFETY: opening the stand-ins runs nothing but C++'s own initializers.
        let open = |name| unsafe { Library::open(Some(folder.join(name)), RTLD_NOW | RTLD_LOCAL) }.unwrap();
        let (driver, compiler, products) = (open("libcuda.so.1"), open("libnvrtc.so.13"), open("libcublasLt.so.13"));
        let mut gpu = Self { driver, compiler, products, stream: null_mut() };
        gpu.check(call!(gpu.driver, b"cuInit\0", 0 => u32)).unwrap();
        let mut context: Handle = null_mut();
        gpu.check(call!(gpu.driver, b"cuDevicePrimaryCtxRetain\0", &raw mut context => *mut Handle, 0 => c_int)).unwrap();
        gpu.check(call!(gpu.driver, b"cuCtxSetCurrent\0", context => Handle)).unwrap();
        let mut stream: Handle = null_mut();
        gpu.check(call!(gpu.driver, b"cuStreamCreate\0", &raw mut stream => *mut Handle, 1 => u32)).unwrap();
        gpu.stream = stream;
        gpu
    }

    /// The driver's words for an answer.
    fn check(&self, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        let mut text: *const c_char = null();
        call!(self.driver, b"cuGetErrorString\0", code => c_int, &raw mut text => *mut *const c_char);
        // SAFETY: null or a text that ends with a zero.
        Err(if text.is_null() { code.to_string() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() })
    }

    fn compile(&self, source: &str, options: &[&str]) -> Result<Vec<u8>, String> {
        let source = CString::new(source).unwrap();
        let mut program: Handle = null_mut();
        let headers = null::<*const c_char>();
        call!(self.compiler, b"nvrtcCreateProgram\0", &raw mut program => *mut Handle, source.as_ptr() => *const c_char,
            c"test.cu".as_ptr() => *const c_char, 0 => c_int, headers => *const *const c_char, headers => *const *const c_char);
        let options: Vec<CString> = options.iter().map(|o| CString::new(*o).unwrap()).collect();
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let code = call!(self.compiler, b"nvrtcCompileProgram\0", program => Handle, c_int::try_from(pointers.len()).unwrap() => c_int,
            pointers.as_ptr() => *const *const c_char);
        let mut bytes = 0usize;
        if code != 0 {
            call!(self.compiler, b"nvrtcGetProgramLogSize\0", program => Handle, &raw mut bytes => *mut usize);
            let mut log = vec![0u8; bytes];
            call!(self.compiler, b"nvrtcGetProgramLog\0", program => Handle, log.as_mut_ptr() => *mut u8);
            return Err(String::from_utf8_lossy(&log).into_owned());
        }
        call!(self.compiler, b"nvrtcGetCUBINSize\0", program => Handle, &raw mut bytes => *mut usize);
        let mut image = vec![0u8; bytes];
        call!(self.compiler, b"nvrtcGetCUBIN\0", program => Handle, image.as_mut_ptr() => *mut u8);
        Ok(image)
    }

    fn module(&self, source: &str) -> Handle {
        let image = self.compile(source, &["--gpu-architecture=sm_90a", "-DTHREE=3"]).unwrap();
        let mut module: Handle = null_mut();
        self.check(call!(self.driver, b"cuModuleLoadData\0", &raw mut module => *mut Handle, image.as_ptr() => *const u8))
            .unwrap();
        module
    }

    fn kernel(&self, source: &str, name: &str) -> Handle {
        let (module, name) = (self.module(source), CString::new(name).unwrap());
        let mut function: Handle = null_mut();
        let code = call!(self.driver, b"cuModuleGetFunction\0", &raw mut function => *mut Handle, module => Handle,
            name.as_ptr() => *const c_char);
        self.check(code).unwrap();
        function
    }

    fn array(&self, bytes: usize) -> Result<u64, String> {
        let mut address = 0u64;
        self.check(call!(self.driver, b"cuMemAlloc_v2\0", &raw mut address => *mut u64, bytes => usize)).map(|()| address)
    }

    fn free(&self, address: u64) {
        self.check(call!(self.driver, b"cuMemFree_v2\0", address => u64)).unwrap();
    }

    /// Mapped memory: where the host and where the device see it.
    fn pinned(&self, bytes: usize) -> (*mut u32, u64) {
        let (mut host, mut device): (Handle, u64) = (null_mut(), 0);
        self.check(call!(self.driver, b"cuMemHostAlloc\0", &raw mut host => *mut Handle, bytes => usize, 2 => u32)).unwrap();
        let code = call!(self.driver, b"cuMemHostGetDevicePointer_v2\0", &raw mut device => *mut u64, host => Handle, 0 => u32);
        self.check(code).unwrap();
        (host.cast(), device)
    }

    fn put<T>(&self, values: &[T]) -> u64 {
        let address = self.array(size_of_val(values)).unwrap();
        self.write(address, values);
        address
    }

    fn write<T>(&self, to: u64, values: &[T]) {
        let code = call!(self.driver, b"cuMemcpyHtoDAsync_v2\0", to => u64, values.as_ptr() => *const T,
            size_of_val(values) => usize, self.stream => Handle);
        self.check(code).unwrap();
    }

    fn get<T: Copy + Default>(&self, from: u64, count: usize) -> Result<Vec<T>, String> {
        let mut values = vec![T::default(); count];
        let code = call!(self.driver, b"cuMemcpyDtoHAsync_v2\0", values.as_mut_ptr() => *mut T, from => u64,
            size_of_val(&values[..]) => usize, self.stream => Handle);
        self.check(code).map(|()| values)
    }

    fn launch(&self, kernel: Handle, grid: u32, block: u32, shared: u32, arguments: &[Value]) -> Result<(), String> {
        let mut values: Vec<u64> = arguments
            .iter()
            .map(|a| match *a {
                Value::Address(address) => address,
                Value::Int(int) => u64::from(int.cast_unsigned()),
            })
            .collect();
        let mut pointers: Vec<*mut u64> = values.iter_mut().map(std::ptr::from_mut).collect();
        self.check(
            call!(self.driver, b"cuLaunchKernel\0", kernel => Handle, grid => u32, 1 => u32, 1 => u32, block => u32, 1 => u32,
            1 => u32, shared => u32, self.stream => Handle, pointers.as_mut_ptr() => *mut *mut u64, null_mut() => Handle),
        )
    }

    fn wait(&self) -> Result<(), String> {
        self.check(call!(self.driver, b"cuStreamSynchronize\0", self.stream => Handle))
    }

    /// Compiles the source, runs its kernel `k` over an array of these values and gives the array.
    fn run(&self, source: &str, grid: u32, block: u32, shared: u32, values: &[f32]) -> Result<Vec<f32>, String> {
        let kernel = self.kernel(source, "k");
        let array = self.put(values);
        let count = i32::try_from(values.len()).unwrap();
        self.launch(kernel, grid, block, shared, &[Value::Address(array), Value::Int(count)])?;
        self.wait()?;
        self.get(array, values.len())
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        call!(self.driver, b"cuStreamDestroy_v2\0", self.stream => Handle);
    }
}

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32).collect()
}

/// What the strict stand-in says of a kernel that is wrong.
fn found(source: &str, grid: u32, block: u32, shared: u32, count: usize) -> String {
    let words = Gpu::open(&strict_libraries()).run(source, grid, block, shared, &ramp(count)).unwrap_err();
    assert!(words.contains("kernel `k`"), "{words}");
    words
}

/// Sums 100 elements a block, by shuffles and a barrier.
const SUMS: &str = r#"
__device__ __forceinline__ float warp_sum(float value) {
    for (int other = 16; other > 0; other >>= 1) value += __shfl_xor_sync(0xffffffffu, value, other);
    return value;
}
// Sums of blocks.
extern "C" __global__ void __launch_bounds__(128) k(
    float* x,  // [blocks, count / blocks], the first of each written
    int count  /* of all, in ( brackets, */
) {
    __shared__ float parts[4];
    int each = count / gridDim.x;
    float sum = 0;
    for (int i = threadIdx.x; i < each; i += blockDim.x) sum += x[blockIdx.x * each + i];
    sum = warp_sum(sum);
    if (threadIdx.x % warpSize == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) x[blockIdx.x * each] = (parts[0] + parts[1] + parts[2] + parts[3]) * THREE / 3;
}"#;

#[test]
fn blocks_with_shuffles_and_barriers_compute_what_a_gpu_would() {
    for folder in [libraries().to_owned(), strict_libraries()] {
        let after = Gpu::open(&folder).run(SUMS, 7, 128, 0, &ramp(700)).unwrap();
        for block in 0..7 {
            let sum: usize = (100 * block..100 * block + 100).sum();
            assert_eq!(after[100 * block], sum as f32);
            assert_eq!(after[100 * block + 1], (100 * block + 1) as f32);
        }
    }
}

#[test]
fn a_tile_is_multiplied_as_tensor_cores_do() {
    // C[16, 8] = A[16, 16] B[16, 8], A and B row-major in bf16 as floats of few bits; fragments as the PTX manual gives them.
    const SOURCE: &str = r#"
extern "C" __global__ void k(float* x, int count) {
    const float *a = x, *b = x + 256;
    int group = threadIdx.x / 4, pair = threadIdx.x % 4 * 2;
    unsigned left[4], right[2];
    for (int i = 0; i < 4; i++) {
        const float* at = a + (group + i % 2 * 8) * 16 + pair + i / 2 * 8;
        left[i] = pack_bf16(at[0], at[1]);
    }
    for (int i = 0; i < 2; i++) right[i] = pack_bf16(b[(pair + 8 * i) * 8 + group], b[(pair + 8 * i + 1) * 8 + group]);
    float c[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    mma_bf16(c, left, right);
    for (int i = 0; i < 4; i++) x[384 + (group + i / 2 * 8) * 8 + pair + i % 2] = c[i];
}"#;
    let values: Vec<f32> = (0..512).map(|i| (i * 37 % 17) as f32 - 8.0).collect();
    let after = Gpu::open(&strict_libraries()).run(SOURCE, 1, 32, 0, &values).unwrap();
    for row in 0..16 {
        for column in 0..8 {
            let sum: f32 = (0..16).map(|k| values[row * 16 + k] * values[256 + k * 8 + column]).sum();
            assert_eq!(after[384 + row * 8 + column], 1.0 + sum, "{row} {column}");
        }
    }
}

#[test]
fn a_missing_barrier_is_found() {
    let source = r#"extern "C" __global__ void k(float* x, int n) {
        __shared__ float s[64];
        s[threadIdx.x] = x[threadIdx.x];
        x[threadIdx.x] = s[63 - threadIdx.x];
    }"#;
    let words = found(source, 1, 64, 0, 64);
    assert!(words.contains("`x[0]` differs when blocks and threads run in the reverse order"), "{words}");
}

#[test]
fn a_second_use_of_shared_memory_without_a_barrier_is_found() {
    let source = r#"extern "C" __global__ void k(float* x, int n) {
        __shared__ float s[64];
        for (int i = 0; i < 2; i++) {
            s[threadIdx.x] = x[threadIdx.x];
            __syncthreads();
            x[threadIdx.x] += s[63 - threadIdx.x];
        }
    }"#;
    assert!(found(source, 1, 64, 0, 64).contains("reverse order"));
}

#[test]
fn two_blocks_that_add_to_one_element_are_found() {
    // In either order the sum is 4 more: only that both write is wrong.
    let source = r#"extern "C" __global__ void k(float* x, int n) { x[3] += 2.0f; }"#;
    let words = found(source, 2, 1, 0, 4);
    assert!(words.contains("blocks 0 and 1 (counted along x, y, z) both write `x[3]`"), "{words}");
}

#[test]
fn a_block_that_reads_what_another_writes_is_found() {
    let source = r#"extern "C" __global__ void k(float* x, int n) { x[blockIdx.x + 1] = 1.5f * x[blockIdx.x]; }"#;
    let words = found(source, 2, 1, 0, 4);
    assert!(words.contains("`x[2]` differs when"), "{words}");
}

#[test]
fn a_kernel_that_reaches_one_element_too_far_is_found() {
    let write = r#"extern "C" __global__ void k(float* x, int n) { x[n] = 0.0f; }"#;
    let read = r#"extern "C" __global__ void k(float* x, int n) { x[0] = x[n]; }"#;
    let before = r#"extern "C" __global__ void k(float* x, int n) { x[0] = x[-1]; }"#;
    for (source, what) in
        [(write, "0 bytes after an allocation of 4096 bytes"), (read, "0 bytes after"), (before, "4 bytes before")]
    {
        let words = found(source, 1, 1, 0, 1024);
        assert!(words.starts_with("CUDA_ERROR_ILLEGAL_ADDRESS") && words.contains(what), "{words}");
    }
    // 12 bytes: memory is given in multiples of 16.
    assert!(found(write, 1, 1, 0, 3).contains("writes behind the end of `x`"));
}

#[test]
fn shared_memory_beyond_its_end_is_found() {
    let fixed = r#"extern "C" __global__ void k(float* x, int n) {
        __shared__ float s[32];
        s[threadIdx.x + 1] = x[threadIdx.x];
        __syncthreads();
        x[threadIdx.x] = s[threadIdx.x];
    }"#;
    assert!(found(fixed, 1, 32, 0, 32).contains("thread (31, 0, 0) reaches beyond the end of an array"));
    let dynamic = r#"extern "C" __global__ void k(float* x, int n) {
        DYNAMIC_SHARED(float, s);
        s[threadIdx.x] = x[threadIdx.x];
    }"#;
    assert!(found(dynamic, 1, 32, 16 * 4, 32).contains("thread (16, 0, 0) reaches for address"));
}

#[test]
fn a_barrier_or_a_shuffle_that_not_all_reach_is_found() {
    let some = r#"extern "C" __global__ void k(float* x, int n) {
        if (threadIdx.x < 40) __syncthreads();
        x[threadIdx.x] = 1.0f;
    }"#;
    let words = found(some, 1, 64, 0, 64);
    assert!(
        words.contains("a barrier is not reached by all") && words.contains("waits in line 2") && words.contains("has ended"),
        "{words}"
    );
    let two = r#"extern "C" __global__ void k(float* x, int n) {
        if (threadIdx.x < 40) __syncthreads();
        else
            __syncthreads();
        x[threadIdx.x] = 1.0f;
    }"#;
    let words = found(two, 1, 64, 0, 64);
    assert!(words.contains("waits in line 2") && words.contains("in line 4"), "{words}");
    let shuffle = r#"extern "C" __global__ void k(float* x, int n) {
        float value = x[threadIdx.x];
        if (threadIdx.x < 20) value = __shfl_down_sync(0xffffffffu, value, 1);
        x[threadIdx.x] = value;
    }"#;
    assert!(found(shuffle, 1, 32, 0, 32).contains("waits in line 3 for lanes of its warp that never come"));
}

#[test]
fn memory_that_was_freed_is_found_and_a_fault_stays() {
    let gpu = Gpu::open(libraries());
    let kernel = gpu.kernel(SUMS, "k");
    let array = gpu.put(&ramp(128));
    gpu.wait().unwrap();
    gpu.free(array);
    gpu.launch(kernel, 1, 128, 0, &[Value::Address(array), Value::Int(128)]).unwrap();
    let words = gpu.wait().unwrap_err();
    assert!(words.contains("argument 0 (`x`) is no memory of the device") && words.contains("that was freed"), "{words}");
    // As on a GPU nothing works any more in this context; another program's does.
    assert!(gpu.array(4).unwrap_err().starts_with("CUDA_ERROR_ILLEGAL_ADDRESS"));
    assert!(Gpu::open(libraries()).array(4).is_ok());
}

#[test]
fn what_is_not_waited_for_is_not_there_yet() {
    let slow = libraries_with(&[("DELAY_US", "50000")]);
    let gpu = Gpu::open(slow.path());
    let kernel = gpu.kernel(r#"extern "C" __global__ void k(float* x, int n) { x[0] = 7.0f; }"#, "k");
    let (host, device) = gpu.pinned(16);
    let begin = Instant::now();
    gpu.launch(kernel, 1, 1, 0, &[Value::Address(device), Value::Int(1)]).unwrap();
    // SAFETY: pinned memory of this process.
    let seen = || f32::from_bits(unsafe { host.read_volatile() });
    assert!(seen().is_nan());
    assert_eq!(call!(gpu.driver, b"cuStreamQuery\0", gpu.stream => Handle), 600);
    gpu.wait().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(50));
    assert_eq!(call!(gpu.driver, b"cuStreamQuery\0", gpu.stream => Handle), 0);
    assert_eq!(seen(), 7.0);
}

#[test]
fn what_a_host_waits_for_in_pinned_memory_is_seen_once_and_last() {
    let gpu = Gpu::open(&strict_libraries());
    let source = r#"extern "C" __global__ void k(unsigned* slot, const unsigned* x) {
        slot[0] = x[0];
        __threadfence_system();
        *(volatile unsigned*)(slot + 1) = slot[1] + 1;
    }"#;
    let kernel = gpu.kernel(source, "k");
    let (host, device) = gpu.pinned(8);
    // SAFETY: pinned memory of this process; the kernel writes each word at once.
    let (result, sequence) =
        unsafe { (&*host.cast::<std::sync::atomic::AtomicU32>(), &*host.add(1).cast::<std::sync::atomic::AtomicU32>()) };
    let ordering = std::sync::atomic::Ordering::SeqCst;
    sequence.store(0, ordering);
    let array = gpu.put(&[0u32]);
    for step in 1..200u32 {
        gpu.write(array, &[1000 + step]);
        gpu.launch(kernel, 1, 1, 0, &[Value::Address(device), Value::Address(array)]).unwrap();
        let begin = Instant::now();
        while sequence.load(ordering) != step {
            assert!(begin.elapsed() < Duration::from_secs(60), "{} instead of {step}", sequence.load(ordering));
        }
        assert_eq!(result.load(ordering), 1000 + step);
    }
}

#[test]
fn a_capture_records_and_a_graph_replays() {
    let gpu = Gpu::open(&strict_libraries());
    let kernel =
        gpu.kernel(r#"extern "C" __global__ void k(float* x, int n) { x[threadIdx.x] = 2.0f * x[threadIdx.x] + n; }"#, "k");
    let array = gpu.put(&[1.0f32, 10.0]);
    let begin = || gpu.check(call!(gpu.driver, b"cuStreamBeginCapture_v2\0", gpu.stream => Handle, 1 => c_int));
    let mut graph: Handle = null_mut();
    let end =
        |graph: &mut Handle| gpu.check(call!(gpu.driver, b"cuStreamEndCapture\0", gpu.stream => Handle, graph => *mut Handle));

    begin().unwrap();
    gpu.launch(kernel, 1, 2, 0, &[Value::Address(array), Value::Int(0)]).unwrap();
    gpu.launch(kernel, 1, 2, 0, &[Value::Address(array), Value::Int(1)]).unwrap();
    end(&mut graph).unwrap();
    assert_eq!(gpu.get::<f32>(array, 2).unwrap(), [1.0, 10.0]);
    let mut nodes = 0usize;
    gpu.check(call!(gpu.driver, b"cuGraphGetNodes\0", graph => Handle, null_mut() => Handle, &raw mut nodes => *mut usize))
        .unwrap();
    assert_eq!(nodes, 2);

    let mut executable: Handle = null_mut();
    gpu.check(call!(gpu.driver, b"cuGraphInstantiateWithFlags\0", &raw mut executable => *mut Handle, graph => Handle, 0 => u64))
        .unwrap();
    for _ in 0..2 {
        gpu.check(call!(gpu.driver, b"cuGraphLaunch\0", executable => Handle, gpu.stream => Handle)).unwrap();
    }
    assert_eq!(gpu.get::<f32>(array, 2).unwrap(), [21.0, 165.0]);

    // What a capture does not allow spoils it.
    begin().unwrap();
    assert_eq!(gpu.wait().unwrap_err(), "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED");
    assert_eq!(end(&mut graph).unwrap_err(), "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED");
    begin().unwrap();
    assert_eq!(gpu.array(4).unwrap_err(), "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED");
    assert!(end(&mut graph).is_err());
}

#[test]
fn the_compiler_says_what_is_wrong_and_the_driver_refuses_what_does_not_fit() {
    let gpu = Gpu::open(libraries());
    let log = gpu
        .compile("extern \"C\" __global__ void k(float* x) {\n    x[0] = missing;\n}", &["--gpu-architecture=sm_90"])
        .unwrap_err();
    assert!(log.contains("test.cu:2:") && log.contains("missing"), "{log}");
    assert!(gpu.compile(SUMS, &["--gpu-architecture=sm_123"]).unwrap_err().contains("invalid value for --gpu-architecture"));
    assert!(gpu.compile(SUMS, &["--no-such"]).unwrap_err().contains("unrecognized option --no-such"));
    // Kernels of a newer architecture than the GPU's.
    let image = gpu.compile(SUMS, &["--gpu-architecture=sm_100", "-DTHREE=3"]).unwrap();
    let mut module: Handle = null_mut();
    let code = call!(gpu.driver, b"cuModuleLoadData\0", &raw mut module => *mut Handle, image.as_ptr() => *const u8);
    assert_eq!(gpu.check(code).unwrap_err(), "CUDA_ERROR_NO_BINARY_FOR_GPU");

    let module = gpu.module(SUMS);
    let mut function: Handle = null_mut();
    let code = call!(gpu.driver, b"cuModuleGetFunction\0", &raw mut function => *mut Handle, module => Handle,
        c"warp_sum".as_ptr() => *const c_char);
    assert_eq!(gpu.check(code).unwrap_err(), "CUDA_ERROR_NOT_FOUND");
    let kernel = gpu.kernel(SUMS, "k");
    let array = Value::Address(gpu.put(&ramp(256)));
    let launch = |grid, block, shared| gpu.launch(kernel, grid, block, shared, &[array, Value::Int(256)]);
    assert_eq!(launch(1, 256, 0).unwrap_err(), "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES");
    assert_eq!(launch(0, 128, 0).unwrap_err(), "CUDA_ERROR_INVALID_VALUE");
    assert_eq!(launch(1, 128, 64 << 10).unwrap_err(), "CUDA_ERROR_INVALID_VALUE");
    gpu.check(call!(gpu.driver, b"cuFuncSetAttribute\0", kernel => Handle, 8 => c_int, 64 << 10 => c_int)).unwrap();
    launch(1, 128, 64 << 10).unwrap();
    gpu.wait().unwrap();
}

#[test]
fn settings_make_a_gpu_small_busy_old_or_faulty() {
    let small = libraries_with(&[("MEMORY", "1000000"), ("BUSY", "400000"), ("DEVICES", "3"), ("DRIVER_VERSION", "12040")]);
    let gpu = Gpu::open(small.path());
    let (mut free, mut total, mut value) = (0usize, 0usize, 0);
    gpu.check(call!(gpu.driver, b"cuMemGetInfo_v2\0", &raw mut free => *mut usize, &raw mut total => *mut usize)).unwrap();
    assert_eq!((free, total), (600_000, 1_000_000));
    let first = gpu.array(500_000).unwrap();
    assert_eq!(gpu.array(500_000).unwrap_err(), "CUDA_ERROR_OUT_OF_MEMORY");
    gpu.free(first);
    gpu.array(500_000).unwrap();
    call!(gpu.driver, b"cuDeviceGetCount\0", &raw mut value => *mut c_int);
    assert_eq!(value, 3);
    call!(gpu.driver, b"cuDriverGetVersion\0", &raw mut value => *mut c_int);
    assert_eq!(value, 12040);

    let faulty = libraries_with(&[("FAIL_LAUNCH", "2:214")]);
    let gpu = Gpu::open(faulty.path());
    let words = "CUDA_ERROR_ECC_UNCORRECTABLE, kernel `k`: was told to fail";
    assert!(gpu.run(SUMS, 1, 128, 0, &ramp(128)).is_ok());
    assert_eq!(gpu.run(SUMS, 1, 128, 0, &ramp(128)).unwrap_err(), words);
    assert_eq!(gpu.wait().unwrap_err(), words);

    let broken = libraries_with(&[("FAIL_COMPILE", "1")]);
    assert!(Gpu::open(broken.path()).compile(SUMS, &[]).unwrap_err().contains("told to fail"));
}
